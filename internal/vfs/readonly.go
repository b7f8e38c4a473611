package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// errReading is why a tree that is only read refuses to be changed.
var errReading error = &readingError{}

type readingError struct{}

func (*readingError) Error() string        { return "the tree is open for reading" }
func (*readingError) Is(target error) bool { return target == fs.ErrPermission }

// NewReadOnly is fsys for reading. Whatever would change the tree is an error
// that matches [fs.ErrPermission], before fsys is asked; locks are refused too,
// since they make a file.
func NewReadOnly(fsys FS) FS { return &readOnly{fsys} }

type readOnly struct{ FS }

// Under is the tree itself.
func (r *readOnly) Under() FS { return r.FS }

func (r *readOnly) refuse(op, name string) error {
	return &fs.PathError{Op: op, Path: r.Path(name), Err: errReading}
}

func (r *readOnly) Open(name string, m Mode) (File, error) {
	if m != ReadOnly {
		return nil, r.refuse("open", name)
	}
	return r.FS.Open(name, m)
}

func (r *readOnly) Create(name string) (File, error) { return nil, r.refuse("create", name) }
func (r *readOnly) Mkdir(name string) error          { return r.refuse("mkdir", name) }
func (r *readOnly) Rename(from, _ string) error      { return r.refuse("rename", from) }
func (r *readOnly) Remove(name string) error         { return r.refuse("remove", name) }
func (r *readOnly) SyncDir(name string) error        { return r.refuse("sync", name) }
func (r *readOnly) SetModTime(name string, _ time.Time) error {
	return r.refuse("utimes", name)
}
func (r *readOnly) Lock(name string) (io.Closer, error) { return nil, r.refuse("lock", name) }

// SameFile reports whether two open files are one, by whatever names they were
// opened.
func SameFile(a, b File) (bool, error) {
	if m, ok := a.(*memFile); ok {
		n, ok := b.(*memFile)
		return ok && m.n == n.n, nil
	}
	if a.OS() == nil || b.OS() == nil {
		return false, nil
	}
	x, err1 := a.OS().Stat()
	y, err2 := b.OS().Stat()
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}
