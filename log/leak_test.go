package log

import (
	"sync/atomic"

	"github.com/leatlog/leat/internal/vfs"
)

// leakFS counts the files and maps that are open.
type leakFS struct {
	vfs.FS
	files, maps atomic.Int64
}

func (l *leakFS) Create(name string) (vfs.File, error) { return l.file(l.FS.Create(name)) }
func (l *leakFS) Open(name string, m vfs.Mode) (vfs.File, error) {
	return l.file(l.FS.Open(name, m))
}

func (l *leakFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	l.files.Add(1)
	return &leakFile{File: f, fs: l}, nil
}

type leakFile struct {
	vfs.File
	fs     *leakFS
	closed atomic.Bool
}

func (f *leakFile) Close() error {
	if !f.closed.Swap(true) { // also when it fails: the system has taken the descriptor then
		f.fs.files.Add(-1)
	}
	return f.File.Close()
}

func (f *leakFile) Map(size int64, writable bool) (vfs.Map, error) {
	m, err := f.File.Map(size, writable)
	if err != nil {
		return nil, err
	}
	f.fs.maps.Add(1)
	return &leakMap{Map: m, fs: f.fs}, nil
}

type leakMap struct {
	vfs.Map
	fs   *leakFS
	gone atomic.Bool
}

func (m *leakMap) Unmap() error {
	if !m.gone.Swap(true) {
		m.fs.maps.Add(-1)
	}
	return m.Map.Unmap()
}
