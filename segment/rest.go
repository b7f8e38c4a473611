package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// An active segment that nobody appends to rests: it has no file, no map and no
// builders of indexes, so that ten thousand idle partitions cost next to nothing.
// It wakes at the next append. Readers do not notice: they open views of their
// own, as those of a sealed segment, but with room for the segment to grow.
//
// A segment may rest only when all of it has been synced. The system reports a
// page that it could not write to a descriptor that was open at the time: with the
// last one closed the error would be nobody's.

// resting is what a segment at rest goes on from.
type resting struct {
	id    vfs.FileID // of the log file
	limit int64      // as in writer

	sinceIndex                          int64 // as in writer
	maxTime, maxTimeAt, firstTime, next int64
	atLimit                             bool

	// inFiles says that the offset and time index are in their files, to be read
	// when they are needed: crc is what they must have. Else they are here.
	inFiles bool
	crc     uint32
	// entries are those of the offset, the time and the transaction index, one
	// behind the other; split says where the second and the third begin.
	entries []byte
	split   [2]uint32
}

func (r *resting) offsets(base int64) index.Offsets {
	return index.OpenOffsets(base, r.entries[:r.split[0]:r.split[0]])
}

func (r *resting) times(base int64) index.Times {
	return index.OpenTimes(base, r.entries[r.split[0]:r.split[1]:r.split[1]])
}

func (r *resting) txns() index.Txns { return index.OpenTxns(slices.Clip(r.entries[r.split[1]:])) }

// smallIndexes is how many bytes of indexes a segment at rest keeps in memory
// though they are in files as well: those of a few hundred records.
const smallIndexes = 256

// rest is what w goes on from. filed says that its indexes are in their files.
func (w *writer) rest(id vfs.FileID, limit int64, filed bool) *resting {
	r := &resting{
		id: id, limit: limit, sinceIndex: w.sinceIndex,
		maxTime: w.maxTime, maxTimeAt: w.maxTimeAt, firstTime: w.firstTime, next: w.next,
		atLimit: w.atLimit,
	}
	offsets, times, txns := w.offsets.Bytes(), w.times.Bytes(), w.txns.Bytes()
	if filed && len(offsets)+len(times) > smallIndexes {
		r.inFiles, r.crc = true, indexSum(offsets, times)
		offsets, times = nil, nil
	}
	r.split = [2]uint32{uint32(len(offsets)), uint32(len(offsets) + len(times))}
	if n := len(offsets) + len(times) + len(txns); n > 0 {
		r.entries = slices.Concat(offsets, times, txns)[:n:n]
	}
	return r
}

func indexSum(offsets, times []byte) uint32 {
	return crc32.Update(crc32.Checksum(offsets, castagnoli), castagnoli, times)
}

// indexes are those at rest, nil when they are in their files.
func (r *resting) indexes(base int64) *indexes {
	if r.inFiles {
		return nil
	}
	return &indexes{
		offsets: r.offsets(base), times: r.times(base),
		ours: true, bytes: int64(r.split[1]),
	}
}

// Resting reports whether an append would have to wake the segment. Only the
// log's writer may rely on it.
func (s *Segment) Resting() bool { return s.mu.writer == nil }

// Rest gives up what an active segment needs only to be appended to, if it can:
// it must be synced, which Rest sees to, and nobody may be at work on it. Only the
// log's writer may call it. A *SyncError is one as of Sync.
func (s *Segment) Rest() (rested bool, err error) {
	w := s.mu.writer
	if w == nil {
		return true, nil
	}
	select {
	case w.syncing <- struct{}{}:
	default:
		return false, nil
	}
	defer func() { <-w.syncing }()
	if w.failed != nil {
		return false, w.failed
	}
	size := s.size.Load()
	if w.synced.Load() != size || w.touched.Load() {
		if err := w.syncNow(w.file, size); err != nil {
			return false, err
		}
	}
	id, err := w.file.ID()
	if err != nil {
		return false, nil // it stays awake, and whatever is wrong is met there
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || !w.preparing.TryLock() {
		return false, nil
	}
	defer w.preparing.Unlock()
	if w.touched.Load() {
		return false, nil // the road was made since the sync
	}
	s.mu.writer, s.mu.rest = nil, w.rest(id, w.limit, false)
	if v := s.mu.view; v != nil {
		if s.mu.pins == 0 {
			s.mu.view = nil
			s.maps.drop(v)
		} else {
			w.handOver(v)
		}
	}
	err = w.unmapLocked()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
		w.file = nil
	}
	_ = err // all that was written is synced: there is nothing left to go wrong
	return true, nil
}

// Wake makes a resting segment ready to be appended to. Only the log's writer may
// call it. An error that is vfs.ErrTooManyFiles changes nothing, and a later call
// may do better; a *CorruptError says that the file is not what it was.
func (s *Segment) Wake() error {
	s.mu.Lock()
	w, r := s.mu.writer, s.mu.rest
	s.mu.Unlock()
	if w != nil {
		return nil
	}
	if r == nil {
		return ErrClosed
	}
	f, err := s.maps.open(s.fsys, s.name(LogSuffix), vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		return s.corrupt(0, s.base, fmt.Errorf("segment file is missing: %w", err))
	}
	if err != nil {
		return fmt.Errorf("segment %d: %w", s.base, err)
	}
	if w, err = s.wakeWriter(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return errors.Join(ErrClosed, f.Close())
	}
	s.mu.writer, s.mu.rest = w, nil
	v := s.mu.view
	if v == nil {
		if v = s.maps.take(s); v != nil && v.m == nil {
			s.maps.drop(v) // reading through the writer's file costs no descriptor
			v = nil
		}
		s.mu.view = v
	}
	if v != nil {
		v.indexes.Store(nil) // they do not grow; the writer's do
	}
	return nil
}

// wakeWriter makes the writer of a file that was left as r says.
func (s *Segment) wakeWriter(f vfs.File, r *resting) (*writer, error) {
	size := s.size.Load()
	if _, err := s.checkFile(f, r.id, size); err != nil {
		return nil, err
	}
	w := s.newWriter(f, size)
	w.limit = r.limit
	if err := s.wakeIndexes(f, w, r); err != nil {
		return nil, err
	}
	w.txns.Load(r.txns())
	// Bytes beyond the tail may be holes: they are allocated again before use.
	w.allocated.Store(size)
	w.step = min(max(size, firstStep), lastStep)
	w.synced.Store(size)
	w.sinceIndex, w.atLimit, w.next = r.sinceIndex, r.atLimit, r.next
	w.maxTime, w.maxTimeAt, w.firstTime = r.maxTime, r.maxTimeAt, r.firstTime
	return w, nil
}

// wakeIndexes gives w the offset and time index, made anew from the batches if
// the files do not have what they had.
func (s *Segment) wakeIndexes(f vfs.File, w *writer, r *resting) error {
	if !r.inFiles {
		w.offsets.Load(r.offsets(s.base))
		w.times.Load(r.times(s.base))
		return nil
	}
	offsets, err := s.readFile(IndexSuffix)
	if errors.Is(err, vfs.ErrTooManyFiles) {
		return err
	}
	times, err2 := s.readFile(TimeSuffix)
	if errors.Is(err2, vfs.ErrTooManyFiles) {
		return err2
	}
	if err == nil && err2 == nil && indexSum(offsets, times) == r.crc {
		w.offsets.Load(index.OpenOffsets(s.base, offsets))
		w.times.Load(index.OpenTimes(s.base, times))
		return nil
	}
	scan, err := s.scanFile(f, ScanOptions{})
	if err != nil {
		return err
	}
	if scan.Valid < s.size.Load() {
		return s.corrupt(scan.Valid, scan.Next, scan.Err)
	}
	w.offsets, w.times = scan.w.offsets, scan.w.times
	return nil
}

// checkFile tells whether a file that was closed meanwhile is the one it was, if
// that is known, and has what it had.
func (s *Segment) checkFile(f vfs.File, was vfs.FileID, size int64) (id vfs.FileID, err error) {
	if id, err = f.ID(); err != nil {
		return id, err
	}
	if was != (vfs.FileID{}) && id != was {
		return id, s.replaced()
	}
	n, err := f.Size()
	if err == nil && n < size {
		err = s.corrupt(n, -1, fmt.Errorf("file has %d bytes, and had %d", n, size))
	}
	return id, err
}
