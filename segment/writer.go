package segment

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// writer is the appending half of the active segment.
//
// The log's writer is its one user, but for Prepare, which a helper calls to
// make the road ahead of the tail, Sync, and Seal.
type writer struct {
	maps *Maps
	cfg  Config
	file vfs.File
	path string
	// m is the map, nil of the pwrite writer, and data its bytes. They are made
	// by the first append under both the segment's mu and preparing, so that
	// others may look holding either.
	m      vfs.Map
	data   []byte
	mapped bool // m is there or still to be made
	// limit is the size of the map, beyond which the segment cannot grow.
	limit int64
	buf   []byte // of the pwrite writer: the batch being encoded

	// allocated is how much of the file has blocks of its own. It changes under
	// growing.
	allocated atomic.Int64
	growing   sync.Mutex
	step      int64
	done      bool // trimmed: no more growth; guarded by growing
	// preparing is held while others than the writer use the map, and to unmap it.
	preparing sync.Mutex
	// populated is how far the pages of the map have been faulted in ahead.
	populated atomic.Int64

	syncing chan struct{} // a lock: holds one token while a sync runs
	failed  error         // of the first sync that failed; guarded by syncing
	synced  atomic.Int64  // the segment's size when the last good sync began
	// touched: pages ahead of the tail were made dirty, and not synced since.
	touched atomic.Bool

	offsets    *index.OffsetBuilder
	times      *index.TimeBuilder
	txns       *index.TxnBuilder
	sinceIndex int64 // bytes since the last index entry
	atLimit    bool  // an index takes no further entry
	maxTime    int64 // of all batches, and the offset of the first that has it
	maxTimeAt  int64
	firstTime  int64 // max timestamp of the first batch
	next       int64 // the least offset that the next batch may have
}

func (s *Segment) newWriter(f vfs.File, size int64) *writer {
	w := &writer{
		maps:    s.maps,
		cfg:     s.cfg,
		file:    f,
		mapped:  s.cfg.Mapped,
		limit:   max(s.cfg.Bytes, size),
		step:    firstStep,
		syncing: make(chan struct{}, 1),
		txns:    index.NewTxnBuilder(),
	}
	if f != nil {
		w.path = f.Path()
	}
	w.rebase(s.base)
	return w
}

// rebase starts the indexes for a base offset.
func (w *writer) rebase(base int64) {
	w.offsets = index.NewOffsetBuilder(base, w.cfg.IndexBytes/index.OffsetEntrySize)
	w.times = index.NewTimeBuilder(base, w.cfg.IndexBytes/index.TimeEntrySize)
	w.atLimit = w.offsets.Full() || w.times.Full()
	w.maxTime, w.maxTimeAt, w.firstTime, w.next = -1, base, -1, base
}

// WriterPath is Path of the active segment, made once: for errors of hot paths.
func (s *Segment) WriterPath() string { return s.mu.writer.path }

// Create makes the file of a new active segment. The name is durable once the
// caller has synced the folder.
func Create(fsys vfs.FS, maps *Maps, dir string, base int64, c Config) (*Segment, error) {
	s := Open(fsys, maps, dir, base, 0, c)
	f, err := fsys.Create(s.name(LogSuffix))
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", base, err)
	}
	w := s.newWriter(f, 0)
	s.mu.writer = w
	s.maxTime.Store(-1)
	return s, nil
}

// handOver leaves the file to the readers who have no map and need it, when the
// writer ends before them.
func (w *writer) handOver(v *view) {
	switch {
	case !v.shared:
	case v.m == nil:
		v.shared = false
		w.file = nil
	default:
		v.file, v.shared = nil, false
	}
}

// close gives the map and the file up.
func (w *writer) close() error {
	err := w.unmap()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
		w.file = nil
	}
	return err
}

func (w *writer) unmap() error {
	w.preparing.Lock()
	defer w.preparing.Unlock()
	return w.unmapLocked()
}

// unmapLocked is called with preparing held.
func (w *writer) unmapLocked() error {
	if w.m == nil {
		return nil
	}
	err := w.m.Unmap()
	w.m, w.data = nil, nil
	w.maps.unreserve()
	return err
}

// Reserve returns room for n bytes at the tail, to encode a batch into. The
// bytes are not part of the segment until Commit. ErrFull says that the segment
// cannot take them, an error that is vfs.ErrNoSpace that the disk cannot; both
// leave everything as it was, and so does what Wake says when the segment rests.
func (s *Segment) Reserve(n int) ([]byte, error) {
	w := s.mu.writer
	pos := s.size.Load()
	end := pos + int64(n)
	if w != nil && w.data != nil {
		if end > w.allocated.Load() {
			if err := w.grow(end); err != nil {
				return nil, err
			}
		}
		return w.data[pos:end:end], nil
	}
	return s.reserveSlow(w, pos, n)
}

// reserveSlow wakes a resting segment, makes the map on the first append of a
// mapped one, and serves the pwrite writer.
func (s *Segment) reserveSlow(w *writer, pos int64, n int) ([]byte, error) {
	if w == nil {
		if err := s.Wake(); err != nil {
			return nil, err
		}
		w = s.mu.writer
	}
	end := pos + int64(n)
	if end > w.limit {
		return nil, ErrFull
	}
	if w.mapped {
		switch err := w.grow(end); {
		case err == nil:
			s.mapWriter(w)
			if w.data != nil {
				return w.data[pos:end:end], nil
			}
		case !errors.Is(err, vfs.ErrNotSupported):
			return nil, err
		}
		// Without real blocks a full disk would be a signal; and whatever
		// forbids the map, pwrite does as well.
		w.mapped = false
	}
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	return w.buf[:n:n], nil
}

// mapWriter reserves the whole segment's addresses once: the map never moves.
func (s *Segment) mapWriter(w *writer) {
	if !s.maps.reserve() {
		return
	}
	m, err := w.file.Map(w.limit, true)
	if err != nil {
		s.maps.unreserve()
		return
	}
	if s.cfg.Synced {
		m.Random()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.preparing.Lock()
	defer w.preparing.Unlock()
	w.m, w.data = m, m.Bytes()
}

// Entry is what a segment's indexes and end need to know of a committed batch.
type Entry struct {
	LastOffset   int64
	MaxTimestamp int64
}

// Commit makes the first n bytes of what Reserve returned the segment's next
// batch and publishes them. After an error nothing of them is part of the
// segment; an error that is not ErrNoSpace means that the file can no longer be
// trusted.
func (s *Segment) Commit(n int, e Entry) error {
	w := s.mu.writer
	pos := s.size.Load()
	switch {
	case e.LastOffset < w.next:
		return fmt.Errorf("%s: batch up to offset %d where %d is next: %w", w.path, e.LastOffset, w.next, ErrInvalidOffset)
	case e.LastOffset-s.base > maxRelative:
		return fmt.Errorf("%s: batch at offset %d: %w", w.path, e.LastOffset, ErrOffsetOverflow)
	}
	if w.data == nil {
		if err := w.writeAt(w.buf[:n], pos); err != nil {
			return err
		}
	}
	// The batch comes before its index entries: a reader who found an entry of a
	// batch that is not there yet would take the index for a wrong one.
	s.size.Store(pos + int64(n))
	if err := w.note(e, pos, int64(n)); err != nil {
		return err
	}
	w.next = e.LastOffset + 1
	if w.maxTime != s.maxTime.Load() {
		s.maxTime.Store(w.maxTime)
	}
	return nil
}

// writeAt appends with pwrite. What a failed write leaves behind is cut off
// again: a later, shorter batch would be followed by the rest of it, which is a
// user's bytes and may look like a batch.
func (w *writer) writeAt(b []byte, pos int64) error {
	end := pos + int64(len(b))
	if end > w.allocated.Load() {
		err := w.grow(end)
		if errors.Is(err, vfs.ErrNotSupported) {
			w.setAllocated(w.limit) // as good as it gets: not asked again
		} else if err != nil {
			return err
		}
	}
	if _, err := w.file.WriteAt(b, pos); err != nil {
		err = fmt.Errorf("%s: write %d bytes at %d: %w", w.path, len(b), pos, err)
		if !errors.Is(err, vfs.ErrNoSpace) {
			return err
		}
		if err2 := w.file.Truncate(pos); err2 != nil {
			return fmt.Errorf("%v; and cutting it off again: %w", err, err2)
		}
		w.setAllocated(pos)
		return err
	}
	return nil
}

// note keeps the indexes, batch by batch, as Kafka does since 4.1 (KAFKA_RULES
// 4.3): the time of the first batch that is later than all before it, and an
// entry in both indexes when more than the interval has been written since the
// last one. Entries that an index has no room for are left out: the log rolls
// before, but a scan may meet a segment written under other settings, and a
// longer way from the last entry is all that it costs.
func (w *writer) note(e Entry, pos, n int64) error {
	if pos == 0 {
		w.firstTime = e.MaxTimestamp
	}
	if e.MaxTimestamp > w.maxTime {
		w.maxTime, w.maxTimeAt = e.MaxTimestamp, e.LastOffset
	}
	if w.sinceIndex > int64(w.cfg.IndexInterval) && pos <= maxRelative && !w.atLimit {
		if err := w.offsets.Append(e.LastOffset, pos); err != nil {
			return err
		}
		if err := w.times.MaybeAppend(w.maxTime, w.maxTimeAt, false); err != nil {
			return err
		}
		w.atLimit = w.offsets.Full() || w.times.Full()
		w.sinceIndex = 0
	}
	w.sinceIndex += n
	return nil
}

// AbortedTxn adds an entry to the active segment's transaction index.
func (s *Segment) AbortedTxn(t index.AbortedTxn) error {
	if err := s.Wake(); err != nil {
		return err
	}
	return s.mu.writer.txns.Append(t)
}

// Rolling facts, for the log's decision (Kafka's LogSegment.shouldRoll).

// Room is how many bytes the segment can still take.
func (s *Segment) Room() int64 { return s.cfg.Bytes - s.size.Load() }

// IndexFull reports that one of the indexes takes no further entry.
func (s *Segment) IndexFull() bool {
	if w := s.mu.writer; w != nil {
		return w.atLimit
	}
	return s.mu.rest.atLimit
}

// FirstTimestamp is the max timestamp of the active segment's first batch; -1
// when there is none.
func (s *Segment) FirstTimestamp() int64 {
	if w := s.mu.writer; w != nil {
		return w.firstTime
	}
	return s.mu.rest.firstTime
}

// Active reports whether the segment can be appended to. Only the log's writer
// may rely on it.
func (s *Segment) Active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.writer != nil || s.mu.rest != nil
}
