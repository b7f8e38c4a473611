package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Indexes gives the indexes that the scan rebuilt, as they belong into files.
func (r *Scan) Indexes() (offsets index.Offsets, times index.Times, txns index.Txns) {
	return r.w.offsets.View(), r.w.times.View(), r.w.txns.View()
}

// AbortedTxn adds an entry to the transaction index that the scan rebuilds.
func (r *Scan) AbortedTxn(t index.AbortedTxn) error { return r.w.txns.Append(t) }

// Finish gives the time index its final entry, as Kafka's recovery does.
func (r *Scan) Finish() error { return r.w.times.MaybeAppend(r.w.maxTime, r.w.maxTimeAt, true) }

// Activate opens the segment for appending behind what the scan found valid.
// The file must hold nothing but zeros there.
func (s *Segment) Activate(r *Scan) error {
	f, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadWrite)
	if err != nil {
		return fmt.Errorf("segment %d: %w", s.base, err)
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w := r.w
	w.file, w.path = f, f.Path()
	w.limit = max(s.cfg.Bytes, size)
	// Bytes beyond the tail may be holes: they are allocated again before use.
	w.allocated.Store(r.Valid)
	w.step = min(max(r.Valid, firstStep), lastStep)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.maps.take(s); v != nil {
		s.maps.drop(v) // made for a file that did not grow
	}
	s.mu.writer = w
	s.size.Store(r.Valid)
	return nil
}

// Damaged makes the segment readable around the damage that a scan found, with
// the indexes that it made. Nothing on disk changes.
func (s *Segment) Damaged(r *Scan) {
	s.size.Store(r.Valid)
	s.damaged.Store(r)
}

// Resume makes what Scan would find of a segment that was closed cleanly, from
// its indexes and the few batches behind the last entry, so that a clean open
// reads next to nothing. An index that does not fit is an error: scan instead.
func (s *Segment) Resume() (*Scan, error) {
	if err := s.Pin(); err != nil {
		return nil, err
	}
	defer s.Unpin()
	var buf Buffer
	size := s.size.Load()
	r := &Scan{Next: s.base, w: s.newWriter(nil, size)}
	if size == 0 {
		return r, nil
	}
	x, err := s.loaded()
	if err != nil {
		return nil, err
	}
	txns, err := s.Txns()
	if err != nil {
		return nil, err
	}
	w := r.w
	w.offsets.Load(x.offsets)
	w.times.Load(x.times)
	w.txns.Load(txns)
	last, pos := x.offsets.Last()
	if pos > 0 {
		if err := s.proveEntry(last, pos, &buf); err != nil {
			return nil, err
		}
	}
	if t, o := x.times.Last(); t >= 0 {
		if err := s.proveTime(x, t, o, &buf); err != nil {
			return nil, err
		}
		w.maxTime, w.maxTimeAt = t, o
		s.maxTime.Store(t)
	}
	for {
		b, err := s.BatchAt(pos, r.Next, &buf)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			return nil, err
		}
		if b.MaxTimestamp() > w.maxTime {
			return nil, errIndexWrong // the final entry is missing
		}
		r.Next = b.NextOffset()
		pos += int64(len(b))
	}
	r.Valid = pos
	first, err := s.BatchAt(0, s.base, &buf)
	if err != nil {
		return nil, err
	}
	w.firstTime = codec.Batch(first).MaxTimestamp()
	return r, nil
}

// Sealed gives a scanned segment that is not the last its rebuilt indexes and
// writes their files.
func (s *Segment) Sealed(r *Scan) error {
	s.size.Store(r.Valid)
	files := []struct {
		suffix string
		b      []byte
	}{
		{IndexSuffix, r.w.offsets.Bytes()},
		{TimeSuffix, r.w.times.Bytes()},
		{TxnSuffix, r.w.txns.Bytes()},
	}
	for _, f := range files {
		if f.suffix == TxnSuffix && len(f.b) == 0 {
			if err := s.dropTxnFile(); err != nil {
				return err
			}
			continue
		}
		if err := s.writeIndex(f.suffix, f.b); err != nil {
			return err
		}
	}
	return nil
}

// Cut keeps the first size bytes and makes what the file has behind them read
// as zero, in place: another process may have it mapped, and would fault on a
// file that became shorter. It is durable when Cut returns.
func (s *Segment) Cut(size int64) (err error) {
	return s.change(func(f vfs.File) error {
		n, err := f.Size()
		if err != nil || n <= size {
			return err
		}
		return f.Zero(size, n-size)
	})
}

// Trim cuts the file to size bytes, which drops nothing but zeros.
func (s *Segment) Trim(size int64) error {
	return s.change(func(f vfs.File) error {
		n, err := f.Size()
		if err != nil || n <= size {
			return err
		}
		return f.Truncate(size)
	})
}

// Rewrite writes the bytes from one position to another again as they are, and
// syncs. After a failed sync the page cache may hold pages that look clean and
// are not on the disk: only bytes written again and synced are known to be.
func (s *Segment) Rewrite(from, to int64) error {
	return s.change(func(f vfs.File) error {
		buf := make([]byte, min(1<<20, max(to-from, 0)))
		for pos := from; pos < to; {
			b := buf[:min(int64(len(buf)), to-pos)]
			if n, err := f.ReadAt(b, pos); n < len(b) {
				return fmt.Errorf("%s: read at %d: %w", f.Path(), pos, err)
			}
			if _, err := f.WriteAt(b, pos); err != nil {
				return fmt.Errorf("%s: write at %d: %w", f.Path(), pos, err)
			}
			pos += int64(len(b))
		}
		return nil
	})
}

// change opens the log file, changes it and syncs it.
func (s *Segment) change(do func(vfs.File) error) (err error) {
	f, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadWrite)
	if err != nil {
		return fmt.Errorf("segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := do(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Path(), &SyncError{err})
	}
	return nil
}

// Quarantine copies what lies behind the first size bytes, up to the last byte
// that is not zero, to a file of its own beside the log, and returns its name
// and how many bytes it has; no name when there is nothing but zeros. An older
// quarantine of the same place is kept under its name and this one is not made,
// if it holds the same bytes; otherwise a number is added.
func (s *Segment) Quarantine(size int64) (name string, n int64, err error) {
	src, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return "", 0, err
	}
	defer src.Close()
	end, err := src.Size()
	if err != nil {
		return "", 0, err
	}
	end, err = lastNonZero(src, size, end)
	if err != nil || end <= size {
		return "", 0, err
	}
	for i := 0; ; i++ {
		name = fmt.Sprintf("%020d.%d.quarantine", s.base, size)
		if i > 0 {
			name = fmt.Sprintf("%020d.%d-%d.quarantine", s.base, size, i)
		}
		full := Join(s.dir, name)
		if _, err := s.fsys.Stat(full); err == nil {
			continue
		}
		dst, err := s.fsys.Create(full)
		if err != nil {
			return "", 0, err
		}
		err = copyRange(dst, src, size, end)
		if err == nil {
			err = dst.Sync()
		}
		if err = errors.Join(err, dst.Close()); err != nil {
			// Half a copy is worth nothing, and the original is still there.
			return "", 0, errors.Join(err, s.fsys.Remove(full))
		}
		return name, end - size, nil
	}
}

const copyWindow = 256 << 10

func lastNonZero(f vfs.File, from, to int64) (int64, error) {
	buf := make([]byte, min(copyWindow, max(to-from, 0)))
	for to > from {
		n := min(int64(len(buf)), to-from)
		b := buf[:n]
		if m, err := f.ReadAt(b, to-n); int64(m) < n {
			return 0, fmt.Errorf("%s: read at %d: %w", f.Path(), to-n, err)
		}
		for i := len(b); i > 0; i-- {
			if b[i-1] != 0 {
				return to - n + int64(i), nil
			}
		}
		to -= n
	}
	return from, nil
}

func copyRange(dst, src vfs.File, from, to int64) error {
	buf := make([]byte, min(copyWindow, to-from))
	for pos := from; pos < to; {
		b := buf[:min(int64(len(buf)), to-pos)]
		if n, err := src.ReadAt(b, pos); n < len(b) {
			return fmt.Errorf("%s: read at %d: %w", src.Path(), pos, err)
		}
		if _, err := dst.WriteAt(b, pos-from); err != nil {
			return err
		}
		pos += int64(len(b))
	}
	return nil
}
