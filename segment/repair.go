package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/leatlog/leat/internal/vfs"
)

// Cut keeps the first size bytes and makes what the file has behind them read
// as zero, in place: another process may have it mapped, and would fault on a
// file that became shorter. It is durable when Cut returns. A file that has other
// names is left to them, and what is kept of it copied.
func (s *Segment) Cut(size int64) (err error) {
	return s.changeTail(size, func(f vfs.File, n int64) error { return f.Zero(size, n-size) })
}

// Trim cuts the file to size bytes, which drops nothing but zeros.
func (s *Segment) Trim(size int64) error {
	return s.changeTail(size, func(f vfs.File, _ int64) error { return f.Truncate(size) })
}

// changeTail changes what the file, of n bytes, has behind the first size.
func (s *Segment) changeTail(size int64, do func(f vfs.File, n int64) error) error {
	shared := false
	err := s.change(func(f vfs.File) error {
		n, err := f.Size()
		if err != nil || n <= size {
			return err
		}
		if shared = vfs.Links(f) > 1; shared {
			return nil
		}
		return do(f, n)
	})
	if err == nil && shared {
		err = s.own(size)
	}
	return err
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
	return s.quarantine(src, size, end)
}

// QuarantineRange is Quarantine of a stretch of the file, of which nothing is left
// out.
func (s *Segment) QuarantineRange(from, to int64) (name string, err error) {
	src, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return "", err
	}
	defer src.Close()
	name, _, err = s.quarantine(src, from, to)
	return name, err
}

func (s *Segment) quarantine(src vfs.File, size, end int64) (name string, n int64, err error) {
	for i := 0; ; i++ {
		name = fmt.Sprintf("%020d.%d.quarantine", s.base, size)
		if i > 0 {
			name = fmt.Sprintf("%020d.%d-%d.quarantine", s.base, size, i)
		}
		full := Join(s.dir, name)
		dst, err := s.fsys.Create(full)
		if errors.Is(err, fs.ErrExist) {
			same, err := s.sameRange(full, src, size, end)
			if err != nil {
				return "", 0, err
			}
			if same {
				return name, end - size, nil
			}
			continue
		}
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

// sameRange reports whether a file holds just what lies between two positions of
// src: it is synced then, for whoever wrote it may not have come that far.
func (s *Segment) sameRange(name string, src vfs.File, from, to int64) (same bool, err error) {
	f, err := s.fsys.Open(name, vfs.ReadWrite)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if n, err := f.Size(); err != nil || n != to-from {
		return false, err
	}
	a, b := make([]byte, min(copyWindow, to-from)), make([]byte, min(copyWindow, to-from))
	for pos := from; pos < to; pos += int64(len(a)) {
		a, b = a[:min(int64(len(a)), to-pos)], b[:min(int64(len(a)), to-pos)]
		if n, err := src.ReadAt(a, pos); n < len(a) {
			return false, fmt.Errorf("%s: read at %d: %w", src.Path(), pos, err)
		}
		if n, err := f.ReadAt(b, pos-from); n < len(b) {
			return false, fmt.Errorf("%s: read at %d: %w", f.Path(), pos-from, err)
		}
		if !bytes.Equal(a, b) {
			return false, nil
		}
	}
	return true, f.Sync()
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
