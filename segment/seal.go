package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sync/atomic"

	"github.com/leatlog/leat/internal/vfs"
)

// Sync makes every batch committed before the call durable. After a *SyncError
// no later Sync or Seal of this segment succeeds.
func (s *Segment) Sync() error {
	s.mu.Lock()
	w := s.mu.writer
	if w == nil {
		defer s.mu.Unlock()
		if s.mu.closed {
			return ErrClosed
		}
		return nil // sealed or at rest: it was synced then
	}
	s.mu.pins++
	f := w.file
	s.mu.Unlock()
	defer s.Unpin()
	err := w.sync(f, &s.size)
	if errors.Is(err, fs.ErrClosed) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.closed {
			return ErrClosed
		}
		return nil // sealed, or put to rest, while this one waited
	}
	return err
}

// sync makes the file durable, one call at a time. The kernel tells of a failed
// write-back once, to whichever sync looks first, and the next one succeeds
// though nothing was written: so what has failed once has failed for good.
//
// size is the segment's: what it is before the sync is durable after it.
func (w *writer) sync(f vfs.File, size *atomic.Int64) error {
	w.syncing <- struct{}{} // not a mutex: see DESIGN.md, section 15
	defer func() { <-w.syncing }()
	if w.failed != nil {
		return w.failed
	}
	return w.syncNow(f, size.Load())
}

// syncNow is called with syncing held.
func (w *writer) syncNow(f vfs.File, size int64) error {
	w.touched.Store(false)
	err := f.Sync()
	if err == nil {
		w.synced.Store(size)
		return nil
	}
	if errors.Is(err, fs.ErrClosed) {
		return err
	}
	w.failed = &SyncError{fmt.Errorf("sync %s: %w", w.path, err)}
	return w.failed
}

// Inactivate ends the appending: the time index gets its final entry. Seal does
// the rest and may run elsewhere.
func (s *Segment) Inactivate() error {
	if err := s.Wake(); err != nil {
		return err
	}
	w := s.mu.writer
	return w.times.MaybeAppend(w.maxTime, w.maxTimeAt, true)
}

// Sums are the files of a sealed segment: what a later look at them must find.
type Sums []FileSum

// FileSum is the size and the CRC-32C of one file.
type FileSum struct {
	Name string
	Size int64
	CRC  uint32
}

// Seal writes the indexes, cuts the log file to its exact size and syncs all of
// them; the caller then syncs the folder. Readers are not disturbed. It can be
// called again after an error. sums asks for the checksums of the files.
func (s *Segment) Seal(sums bool) (Sums, error) {
	s.mu.Lock()
	if s.mu.rest != nil {
		s.mu.Unlock()
		if err := s.Wake(); err != nil {
			return nil, err
		}
		s.mu.Lock()
	}
	w := s.mu.writer
	if w == nil {
		s.mu.Unlock()
		return nil, nil
	}
	s.mu.pins++
	file := w.file
	s.mu.Unlock()
	defer s.Unpin()

	size := s.size.Load()
	if err := w.trim(file, size); err != nil {
		return nil, err
	}
	var out Sums
	files := []struct {
		suffix string
		b      []byte
	}{
		{IndexSuffix, w.offsets.Bytes()},
		{TimeSuffix, w.times.Bytes()},
		{TxnSuffix, w.txns.Bytes()},
	}
	for _, f := range files {
		if f.suffix == TxnSuffix && len(f.b) == 0 {
			// It exists only when there are aborted transactions. One may be left
			// from before a recovery that cut their markers off.
			if err := s.dropFile(TxnSuffix); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.writeIndex(f.suffix, f.b); err != nil {
			return nil, err
		}
		if sums {
			out = append(out, FileSum{FileName(s.base, f.suffix), int64(len(f.b)), crc32.Checksum(f.b, castagnoli)})
		}
	}
	if err := w.sync(file, &s.size); err != nil {
		return nil, err
	}
	if sums {
		sum, err := w.sum(file, size)
		if err != nil {
			return nil, err
		}
		out = append(out, FileSum{FileName(s.base, LogSuffix), size, sum})
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.writer != w {
		return out, nil // closed meanwhile
	}
	s.mu.writer = nil
	if v := s.mu.view; v != nil {
		v.indexes.Store(w.indexes())
		w.handOver(v)
	}
	return out, w.close()
}

// indexes are the writer's, with nothing to be added.
func (w *writer) indexes() *indexes {
	x := &indexes{offsets: w.offsets.View(), times: w.times.View(), ours: true}
	x.bytes = int64(len(x.offsets.Bytes()) + len(x.times.Bytes()))
	return x
}

// SyncError marks a failed sync: the page cache can no longer be believed.
type SyncError struct{ Err error }

func (e *SyncError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *SyncError) Unwrap() error { return e.Err }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// trim gives back the blocks behind the tail.
func (w *writer) trim(file vfs.File, size int64) error {
	w.growing.Lock()
	defer w.growing.Unlock()
	w.done = true
	n, err := file.Size()
	if err == nil && n > size {
		err = file.Truncate(size)
	}
	if err != nil {
		return fmt.Errorf("%s: cut to %d bytes: %w", w.path, size, err)
	}
	w.allocated.Store(min(w.allocated.Load(), size))
	w.populated.Store(min(w.populated.Load(), size))
	return nil
}

// writeIndex writes one index file whole and syncs it. What a crash leaves of it
// is found wrong when it is used, and rebuilt.
func (s *Segment) writeIndex(suffix string, b []byte) error {
	name := s.name(suffix)
	if err := s.fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fsys.Create(name)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", s.fsys.Path(name), err)
	}
	return nil
}

// sum is the checksum of the log file.
func (w *writer) sum(file vfs.File, size int64) (sum uint32, err error) {
	w.preparing.Lock() // a Close waits with unmapping
	defer w.preparing.Unlock()
	if data := w.data; data != nil {
		defer vfs.Recover(w.path, data, &err, vfs.SetFault())
		return crc32.Checksum(data[:size], castagnoli), nil
	}
	buf := make([]byte, min(size, copyWindow))
	for pos := int64(0); pos < size; {
		b := buf[:min(int64(len(buf)), size-pos)]
		if n, err := file.ReadAt(b, pos); n < len(b) {
			return 0, fmt.Errorf("%s: read at %d: %w", w.path, pos, err)
		}
		sum = crc32.Update(sum, castagnoli, b)
		pos += int64(len(b))
	}
	return sum, nil
}
