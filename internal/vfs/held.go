package vfs

import (
	"errors"
	"io/fs"
	"os"
)

// holder is a tree that can tell whether somebody holds [FS.Lock], without
// taking it, not even for a moment.
type holder interface {
	held(name string) (*LockedError, error)
}

// Held tells who holds the lock of that name, nil when nobody does. Nothing is
// made or changed, and nobody who wants the lock at that moment is kept from it,
// if the system can tell; else the lock is taken and given back, if there is a
// file to do it with.
func Held(fsys FS, name string) (*LockedError, error) {
	switch f := fsys.(type) {
	case *readOnly:
		return Held(f.FS, name)
	case *draft:
		return Held(f.FS, name)
	case holder:
		return f.held(name)
	}
	if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	l, err := fsys.Lock(name)
	var locked *LockedError
	switch {
	case errors.As(err, &locked):
		return locked, nil
	case err != nil:
		return nil, err
	}
	return nil, l.Close()
}

func (m *Mem) held(name string) (*LockedError, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	held := m.mu.locks[dir]
	if held == nil {
		return nil, nil
	}
	e := &LockedError{Path: m.Path(name)}
	if held == dir.entries.find(base) {
		e.PID = os.Getpid()
	}
	return e, nil
}
