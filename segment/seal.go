package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Sync makes every batch committed before the call durable. The caller has
// pinned the segment, or knows that it is active.
func (s *Segment) Sync() error {
	s.mu.Lock()
	w := s.mu.writer
	if w == nil {
		s.mu.Unlock()
		return nil // sealed: it was synced then
	}
	s.mu.pins++
	f := w.file
	s.mu.Unlock()
	defer s.Unpin()
	if err := f.Sync(); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.writer != w && !s.mu.closed {
			return nil // sealed meanwhile, which synced it
		}
		return fmt.Errorf("sync %s: %w", f.Path(), &SyncError{err})
	}
	return nil
}

// Inactivate ends the appending: the time index gets its final entry. Seal does
// the rest and may run elsewhere.
func (s *Segment) Inactivate() error {
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
	w := s.mu.writer
	if w == nil {
		s.mu.Unlock()
		return nil, nil
	}
	s.mu.pins++
	s.mu.Unlock()
	defer s.Unpin()

	size := s.size.Load()
	if err := w.trim(size); err != nil {
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
			continue // exists only when there are aborted transactions
		}
		if err := s.writeIndex(f.suffix, f.b); err != nil {
			return nil, err
		}
		if sums {
			out = append(out, FileSum{FileName(s.base, f.suffix), int64(len(f.b)), crc32.Checksum(f.b, castagnoli)})
		}
	}
	if err := w.file.Sync(); err != nil {
		return nil, fmt.Errorf("sync %s: %w", w.file.Path(), &SyncError{err})
	}
	if sums {
		sum, err := s.sumLog(w, size)
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
		v.indexes.Store(&indexes{
			offsets: index.OpenOffsets(s.base, w.offsets.Bytes()),
			times:   index.OpenTimes(s.base, w.times.Bytes()),
			bytes:   int64(len(w.offsets.Bytes()) + len(w.times.Bytes())),
		})
		if v.shared && v.m == nil {
			// Readers without a map go on with the file, which is theirs now.
			v.shared = false
			w.file = nil
		} else {
			v.file, v.shared = nil, false
		}
	}
	return out, w.close()
}

// SyncError marks a failed sync: the page cache can no longer be believed.
type SyncError struct{ Err error }

func (e *SyncError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *SyncError) Unwrap() error { return e.Err }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// trim gives back the blocks behind the tail.
func (w *writer) trim(size int64) error {
	w.growing.Lock()
	defer w.growing.Unlock()
	w.done = true
	n, err := w.file.Size()
	if err == nil && n > size {
		err = w.file.Truncate(size)
	}
	if err != nil {
		return fmt.Errorf("%s: cut to %d bytes: %w", w.file.Path(), size, err)
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

func (s *Segment) sumLog(w *writer, size int64) (uint32, error) {
	if w.data != nil {
		var sum uint32
		err := vfs.Guard(w.file.Path(), 0, func() error {
			sum = crc32.Checksum(w.data[:size], castagnoli)
			return nil
		})
		return sum, err
	}
	var sum uint32
	buf := make([]byte, min(size, 256<<10))
	for pos := int64(0); pos < size; {
		n, err := w.file.ReadAt(buf[:min(int64(len(buf)), size-pos)], pos)
		if n == 0 && err != nil {
			return 0, fmt.Errorf("%s: read at %d: %w", w.file.Path(), pos, err)
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		pos += int64(n)
	}
	return sum, nil
}

// dropTxnFile removes a transaction index that a scan found to be empty.
func (s *Segment) dropTxnFile() error {
	if err := s.fsys.Remove(s.name(TxnSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
