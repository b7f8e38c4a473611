package segment

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Space is allocated in steps that double, so that ten thousand small topics do
// not take ten thousand gigabytes, and a large one is not asked for often.
const (
	firstStep = 64 << 10
	lastStep  = 64 << 20
)

// writer is the appending half of the active segment.
//
// The log's writer is its one user, but for prepare, which a helper calls to
// make the road ahead of the tail, and sync.
type writer struct {
	maps *Maps
	file vfs.File
	path string
	m    vfs.Map // nil: the pwrite writer
	data []byte  // m's bytes
	// limit is the size of the map, beyond which the segment cannot grow.
	limit int64
	buf   []byte // of the pwrite writer: the batch being encoded

	// allocated is how much of the file has blocks of its own. It grows under
	// growing, and only grows.
	allocated atomic.Int64
	growing   sync.Mutex
	step      int64
	done      bool // trimmed: no more growth; guarded by growing
	// preparing is held while the map is populated ahead, and to unmap it.
	preparing sync.Mutex
	// populated is how far the pages of the map have been faulted in ahead.
	populated atomic.Int64

	offsets    *index.OffsetBuilder
	times      *index.TimeBuilder
	txns       *index.TxnBuilder
	sinceIndex int64 // bytes since the last index entry
	maxTime    int64 // of all batches, and the offset of the first that has it
	maxTimeAt  int64
	firstTime  int64 // max timestamp of the first batch
}

func (s *Segment) newWriter(f vfs.File, size int64) *writer {
	w := &writer{
		maps:  s.maps,
		file:  f,
		limit: max(s.cfg.Bytes, size),
		step:  firstStep,
		txns:  index.NewTxnBuilder(),
	}
	if f != nil {
		w.path = f.Path()
	}
	w.rebase(s.base, s.cfg)
	return w
}

// rebase starts the indexes for a base offset.
func (w *writer) rebase(base int64, c Config) {
	w.offsets = index.NewOffsetBuilder(base, c.IndexBytes/index.OffsetEntrySize)
	w.times = index.NewTimeBuilder(base, c.IndexBytes/index.TimeEntrySize)
	w.maxTime, w.maxTimeAt, w.firstTime = -1, base, -1
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
	if w.m == nil {
		return nil
	}
	err := w.m.Unmap()
	w.m, w.data = nil, nil
	w.maps.unreserve()
	return err
}

// grow allocates blocks up to at least end. More is asked for than is needed,
// and where the disk has not that much, just what is needed.
func (w *writer) grow(end int64) error {
	w.growing.Lock()
	defer w.growing.Unlock()
	have := w.allocated.Load()
	if have >= end {
		return nil
	}
	if end > w.limit || w.done {
		return ErrFull
	}
	want := min(max(have+w.step, end), w.limit)
	err := w.file.Allocate(have, want-have)
	if errors.Is(err, vfs.ErrNoSpace) && want > end {
		want = end
		err = w.file.Allocate(have, want-have)
	}
	if err != nil {
		return fmt.Errorf("%s: allocate %d bytes at %d: %w", w.file.Path(), want-have, have, err)
	}
	w.step = min(2*w.step, lastStep)
	w.allocated.Store(want)
	return nil
}

// Reserve returns room for n bytes at the tail, to encode a batch into. The
// bytes are not part of the segment until Commit. ErrFull says that the segment
// cannot take them, an error that is vfs.ErrNoSpace that the disk cannot; both
// leave everything as it was.
func (s *Segment) Reserve(n int) ([]byte, error) {
	w := s.mu.writer
	pos := s.size.Load()
	end := pos + int64(n)
	if w.data != nil {
		if end > w.allocated.Load() {
			if err := w.grow(end); err != nil {
				return nil, err
			}
		}
		return w.data[pos:end:end], nil
	}
	return s.reserveSlow(w, pos, n)
}

// reserveSlow makes the map on the first append of a mapped segment, and serves
// the pwrite writer.
func (s *Segment) reserveSlow(w *writer, pos int64, n int) ([]byte, error) {
	end := pos + int64(n)
	if end > w.limit {
		return nil, ErrFull
	}
	if s.cfg.Mapped {
		if err := w.grow(end); err == nil {
			if err := s.mapWriter(w); err != nil {
				return nil, err
			}
			if w.data != nil {
				return w.data[pos:end:end], nil
			}
		} else if !errors.Is(err, vfs.ErrNotSupported) {
			return nil, err
		} else {
			s.cfg.Mapped = false // without real blocks a full disk would be a signal
		}
	}
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	return w.buf[:n], nil
}

// mapWriter reserves the whole segment's addresses once: the map never moves.
func (s *Segment) mapWriter(w *writer) error {
	if !s.maps.reserve() {
		s.cfg.Mapped = false
		return nil
	}
	m, err := w.file.Map(w.limit, true)
	if err != nil {
		s.maps.unreserve()
		if errors.Is(err, vfs.ErrNotSupported) {
			s.cfg.Mapped = false
			return nil
		}
		return fmt.Errorf("%s: map: %w", w.file.Path(), err)
	}
	w.m, w.data = m, m.Bytes()
	return nil
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
	if w.data == nil {
		if err := s.writeAt(w, w.buf[:n], pos); err != nil {
			return err
		}
	}
	if err := w.note(s, e, pos, int64(n)); err != nil {
		return err
	}
	s.size.Store(pos + int64(n))
	return nil
}

// writeAt appends with pwrite. What a failed write leaves behind is cut off
// again: a later, shorter batch would be followed by the rest of it, which is a
// user's bytes and may look like a batch.
func (s *Segment) writeAt(w *writer, b []byte, pos int64) error {
	end := pos + int64(len(b))
	if end > w.allocated.Load() {
		err := w.grow(end)
		if err != nil && !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
	}
	if _, err := w.file.WriteAt(b, pos); err != nil {
		err = fmt.Errorf("%s: write %d bytes at %d: %w", w.file.Path(), len(b), pos, err)
		if !errors.Is(err, vfs.ErrNoSpace) {
			return err
		}
		if err2 := w.file.Truncate(pos); err2 != nil {
			return fmt.Errorf("%v; and cutting it off again: %w", err, err2)
		}
		w.allocated.Store(min(w.allocated.Load(), pos))
		return err
	}
	return nil
}

// note keeps the indexes, batch by batch, as Kafka does since 4.1 (KAFKA_RULES
// 4.3): the time of the first batch that is later than all before it, and an
// entry in both indexes when more than the interval has been written since the
// last one.
func (w *writer) note(s *Segment, e Entry, pos, n int64) error {
	if pos == 0 {
		w.firstTime = e.MaxTimestamp
	}
	if e.MaxTimestamp > w.maxTime {
		w.maxTime, w.maxTimeAt = e.MaxTimestamp, e.LastOffset
		s.maxTime.Store(e.MaxTimestamp)
	}
	if w.sinceIndex > int64(s.cfg.IndexInterval) {
		if err := w.offsets.Append(e.LastOffset, pos); err != nil {
			return err
		}
		if err := w.times.MaybeAppend(w.maxTime, w.maxTimeAt, false); err != nil {
			return err
		}
		w.sinceIndex = 0
	}
	w.sinceIndex += n
	return nil
}

// AbortedTxn adds an entry to the active segment's transaction index.
func (s *Segment) AbortedTxn(t index.AbortedTxn) error { return s.mu.writer.txns.Append(t) }

// Rolling facts, for the log's decision (Kafka's LogSegment.shouldRoll).

// Room is how many bytes the segment can still take.
func (s *Segment) Room() int64 { return s.cfg.Bytes - s.size.Load() }

// IndexFull reports that one of the indexes takes no further entry.
func (s *Segment) IndexFull() bool {
	w := s.mu.writer
	return w.offsets.Full() || w.times.Full()
}

// FirstTimestamp is the max timestamp of the active segment's first batch; -1
// when there is none.
func (s *Segment) FirstTimestamp() int64 { return s.mu.writer.firstTime }

// Active reports whether the segment can be appended to. Only the log's writer
// may rely on it.
func (s *Segment) Active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.writer != nil
}

// Prepare makes the road ahead: blocks for the next ahead bytes and, for a
// mapped segment, their pages faulted in. It is called by a helper while the
// writer goes on, and is a hint: failures are left for the writer to meet.
func (s *Segment) Prepare(ahead int64) {
	s.mu.Lock()
	w := s.mu.writer
	s.mu.Unlock()
	if w == nil {
		return
	}
	w.preparing.Lock()
	defer w.preparing.Unlock()
	if w.m == nil {
		return
	}
	pos := s.size.Load()
	end := min(pos+ahead, w.limit)
	if end > w.allocated.Load() && w.grow(end) != nil {
		return
	}
	if from := max(w.populated.Load(), pos); from < end {
		_ = w.m.Populate(int(from), int(end-from), true)
		w.populated.Store(end)
	}
}

// Prepared is how far ahead of the tail the road is made, in bytes.
func (s *Segment) Prepared() int64 { return s.mu.writer.populated.Load() - s.size.Load() }
