package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"sync/atomic"
	"time"
)

type memFile struct {
	m        *Mem
	n        *inode
	name     string
	readOnly bool
	closed   atomic.Bool
}

func (f *memFile) Path() string { return f.m.Path(f.name) }
func (f *memFile) OS() *os.File { return nil }

func (f *memFile) ID() (FileID, error) {
	return f.n.id(), nil
}

// do is Mem.call for a file that must be open.
func (f *memFile) do(op Op, do func() error) error {
	if f.closed.Load() {
		return f.m.error(op, f.name, fs.ErrClosed)
	}
	return f.m.call(op, f.name, do)
}

// write is do for what changes the file, with off and n checked.
func (f *memFile) write(op Op, off, n int64, do func() error) error {
	return f.do(op, func() error {
		if f.readOnly {
			return fs.ErrPermission
		}
		if err := checkRange(off, n); err != nil {
			return err
		}
		defer f.m.shared()()
		if err := do(); err != nil {
			return err
		}
		f.n.mtime.Store(time.Now().UnixNano())
		return nil
	})
}

func (f *memFile) ReadAt(p []byte, off int64) (k int, err error) {
	err = f.do(OpReadAt, func() error {
		if off < 0 {
			return fs.ErrInvalid
		}
		f.n.mu.RLock()
		defer f.n.mu.RUnlock()
		if off < f.n.size {
			k = int(min(int64(len(p)), f.n.size-off))
			f.n.readLocked(p[:k], off)
		}
		return nil
	})
	if err == nil && k < len(p) {
		err = io.EOF
	}
	return k, err
}

func (f *memFile) WriteAt(p []byte, off int64) (k int, err error) {
	if h := f.m.hook.Load(); h != nil && !f.closed.Load() && !f.readOnly {
		return f.hooked(*h, p, off)
	}
	err = f.write(OpWriteAt, off, int64(len(p)), func() error { return f.store(p, off) })
	if err == nil {
		k = len(p)
	}
	return k, err
}

// hooked is WriteAt where a hook may ask for a part.
func (f *memFile) hooked(h Hook, p []byte, off int64) (k int, err error) {
	var short *ShortWrite
	if err = h(OpWriteAt, f.name, true); err != nil && !errors.As(err, &short) {
		return 0, f.m.error(OpWriteAt, f.name, err)
	}
	if short != nil {
		p = p[:max(0, min(short.N, len(p)))]
	}
	if werr := checkRange(off, int64(len(p))); werr != nil {
		return 0, f.m.error(OpWriteAt, f.name, werr)
	}
	leave := f.m.shared()
	werr := f.store(p, off)
	leave()
	if werr == nil {
		k = len(p)
		f.n.mtime.Store(time.Now().UnixNano())
	}
	return k, f.m.error(OpWriteAt, f.name, firstError(err, werr, h(OpWriteAt, f.name, false)))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *memFile) store(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, end := f.n, off+int64(len(p))
	if err := f.roomTo(end); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.writable > 0 && end > int64(len(n.buf)) {
		// Moving the memory would cut off those who store through the map.
		return ErrNotSupported
	}
	if end > n.size {
		n.extendLocked(end)
	}
	n.growLocked(end)
	copy(n.buf[off:], p)
	n.touched = true
	n.redirtyLocked(off, end)
	return nil
}

// roomTo checks that the disk has room for the file at a size.
func (f *memFile) roomTo(size int64) error {
	if f.m.limit.Load() == 0 {
		return nil
	}
	f.n.mu.RLock()
	more := size - f.n.size
	f.n.mu.RUnlock()
	return f.m.room(more)
}

func (f *memFile) Size() (size int64, err error) {
	err = f.do(OpSize, func() error {
		f.n.mu.RLock()
		defer f.n.mu.RUnlock()
		size = f.n.size
		return nil
	})
	return size, err
}

func (f *memFile) Truncate(size int64) error {
	return f.write(OpTruncate, size, 0, func() error {
		n := f.n
		n.mu.Lock()
		defer n.mu.Unlock()
		if size >= n.size {
			n.extendLocked(size)
			return nil
		}
		n.clearLocked(size, n.size)
		n.redirtyLocked(size, n.size)
		n.size = size
		n.touched = true
		if !f.m.tracked && n.writable == 0 && size < int64(len(n.buf))/2 {
			// A sealed segment is cut to its size: give the rest back.
			old := n.buf[:size]
			n.buf = nil
			n.reserveLocked(size)
			copy(n.buf, old)
		}
		return nil
	})
}

// Allocate takes no memory: there is nothing that could be short later but the
// heap, which no reservation helps.
func (f *memFile) Allocate(off, n int64) error {
	return f.write(OpAllocate, off, n, func() error {
		if n == 0 {
			return nil
		}
		if err := f.roomTo(off + n); err != nil {
			return err
		}
		f.n.mu.Lock()
		defer f.n.mu.Unlock()
		if off+n > f.n.size {
			f.n.extendLocked(off + n)
		}
		return nil
	})
}

func (f *memFile) Zero(off, n int64) error {
	return f.write(OpZero, off, n, func() error {
		f.n.mu.Lock()
		defer f.n.mu.Unlock()
		if end := min(off+n, f.n.size); off < end {
			f.n.clearLocked(off, end)
			f.n.redirtyLocked(off, end)
			f.n.touched = true
		}
		return nil
	})
}

func (f *memFile) Sync() error {
	if f.closed.Load() {
		return f.m.error(OpSync, f.name, fs.ErrClosed)
	}
	h := f.m.hook.Load()
	if h != nil {
		if err := (*h)(OpSync, f.name, true); err != nil {
			f.m.failSync(f.n)
			return f.m.error(OpSync, f.name, err)
		}
	}
	f.m.syncPages(f.n)
	if h != nil {
		return f.m.error(OpSync, f.name, (*h)(OpSync, f.name, false))
	}
	return nil
}

func (f *memFile) Map(size int64, writable bool) (mm Map, err error) {
	err = f.do(OpMap, func() error {
		switch err := checkRange(size, 0); {
		case err != nil:
			return err
		case writable && f.readOnly:
			return fs.ErrPermission
		case size > math.MaxInt:
			return ErrNotSupported
		}
		n := f.n
		n.mu.Lock()
		defer n.mu.Unlock()
		if size > int64(len(n.buf)) {
			have := max(int64(len(n.buf)), min(n.size, int64(len(n.base))*pageSize))
			if size > have && size > maxReserve {
				return ErrNotSupported
			}
			if n.writable > 0 && !writable {
				return ErrNotSupported // as in store
			}
			n.reserveLocked(size)
		}
		mm = &memMap{m: f.m, n: n, name: f.name, b: n.buf[:size:size], writable: writable && size > 0}
		if mm.(*memMap).writable {
			n.writable++
			n.touched = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return mm, nil
}

func (f *memFile) Close() error {
	return f.do(OpClose, func() error {
		if f.closed.Swap(true) {
			return fs.ErrClosed
		}
		f.m.files.Add(-1)
		return nil
	})
}

type memMap struct {
	m        *Mem
	n        *inode
	name     string
	b        []byte
	writable bool
	gone     atomic.Bool
}

func (m *memMap) Bytes() []byte { return m.b }

func (m *memMap) Random() {}

func (m *memMap) Populate(off, n int, _ bool) error {
	return m.m.call(OpPopulate, m.name, func() error {
		if off < 0 || n < 0 || off > len(m.b)-n {
			return fs.ErrInvalid
		}
		return nil
	})
}

func (m *memMap) Unmap() error {
	if m.gone.Swap(true) {
		return nil
	}
	if m.writable {
		m.n.mu.Lock()
		m.n.writable--
		m.n.mu.Unlock()
	}
	m.b = nil
	// An injected error does not keep the map, as the system's would not: there
	// is no way to try again.
	return m.m.call(OpUnmap, m.name, func() error { return nil })
}
