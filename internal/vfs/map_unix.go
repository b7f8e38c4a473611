//go:build linux || darwin || freebsd

package vfs

import (
	"io/fs"
	"math"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

func (f *osFile) Map(size int64, writable bool) (Map, error) {
	if err := f.mapError(size, writable); err != nil {
		return nil, pathError("map", f.path, err)
	}
	if size == 0 {
		return &osMap{path: f.path}, nil // mmap refuses it
	}
	if mapCount.Add(1) > int64(MaxMaps()) {
		mapCount.Add(-1)
		return nil, pathError("map", f.path, ErrTooManyMaps)
	}
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	m := &osMap{path: f.path}
	err := f.control("map", func(fd int) (err error) {
		m.b, err = unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED)
		if err == unix.ENOMEM { // others in the process map too
			err = &kindError{ErrTooManyMaps, err}
		}
		return err
	})
	if err != nil {
		mapCount.Add(-1)
		return nil, err
	}
	m.held.Store(true)
	return m, nil
}

func (f *osFile) mapError(size int64, writable bool) error {
	switch err := checkRange(size, 0); {
	case err != nil:
		return err
	case writable && f.readOnly:
		return f.writable(0, 0)
	case !canMap || size > math.MaxInt:
		return ErrNotSupported
	}
	return nil
}

type osMap struct {
	path string
	b    []byte
	held atomic.Bool
}

func (m *osMap) Bytes() []byte { return m.b }

func (m *osMap) Random() {
	if len(m.b) > 0 {
		_ = unix.Madvise(m.b, unix.MADV_RANDOM) // without it all works as well
	}
}

func (m *osMap) Populate(off, n int, write bool) (err error) {
	if off < 0 || n < 0 || off > len(m.b)-n {
		return pathError("populate", m.path, fs.ErrInvalid)
	}
	if n == 0 {
		return nil
	}
	start := off &^ (os.Getpagesize() - 1)
	b := m.b[start : off+n]
	if err = madvise(b, write); err == nil || write {
		// Touching for writing would be a store, beside stores of others.
		return pathError("populate", m.path, err)
	}
	defer Recover(m.path, m.b, &err, SetFault())
	touch(b)
	return nil
}

// touch reads one byte of each page. The sum keeps the reads from being left
// out.
//
//go:norace
func touch(b []byte) {
	var sum byte
	for i := 0; i < len(b); i += 4096 { // no system has smaller pages
		sum += b[i]
	}
	touched.Store(uint32(sum))
}

var touched atomic.Uint32

func (m *osMap) Unmap() error {
	if !m.held.CompareAndSwap(true, false) {
		return nil
	}
	b := m.b
	m.b = nil
	mapCount.Add(-1)
	return pathError("unmap", m.path, unix.Munmap(b))
}
