//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// osFS stands on os.Root, which keeps every name inside the root. os.Root does
// follow links inside, so each element is looked at first; that a link is put
// there in between is not noticed on these systems, but cannot lead out.
type osFS struct {
	dir    string
	o      Options
	mapped bool
	root   *os.Root
	files  atomic.Int64 // that are open
}

func openRoot(dir string, o Options) (FS, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	return &osFS{dir: dir, o: o, root: r}, nil
}

func (o *osFS) Close() error { return pathError("close", o.dir, o.root.Close()) }

// local checks name and what leads to it, and spells it in the system's way.
func (o *osFS) local(op, name string) (string, error) {
	local, err := filepath.Localize(name)
	if err != nil || !valid(name) {
		return "", o.bad(op, name)
	}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		info, err := o.root.Lstat(filepath.FromSlash(name[:i]))
		if err == nil && !info.IsDir() {
			err = ErrType
		}
		if err != nil {
			return "", pathError(op, o.Path(name), err)
		}
	}
	return local, nil
}

func (o *osFS) Create(name string) (File, error) {
	if name == "." {
		return nil, o.bad("create", name)
	}
	local, err := o.local("create", name)
	if err != nil {
		return nil, err
	}
	f, err := o.root.OpenFile(local, os.O_RDWR|os.O_CREATE|os.O_EXCL, o.o.FileMode)
	if err != nil {
		return nil, pathError("create", o.Path(name), err)
	}
	return o.newFile(f, o.Path(name), false)
}

func (o *osFS) Open(name string, m Mode) (File, error) {
	flags := os.O_RDWR
	if m == ReadOnly {
		flags = os.O_RDONLY
	}
	f, err := o.open("open", name, flags)
	if err != nil {
		return nil, err
	}
	return o.newFile(f, o.Path(name), m == ReadOnly)
}

func (o *osFS) open(op, name string, flags int) (*os.File, error) {
	local, err := o.local(op, name)
	if err != nil {
		return nil, err
	}
	info, err := o.root.Lstat(local)
	switch {
	case err == nil && !info.Mode().IsRegular():
		err = ErrType
	case errors.Is(err, fs.ErrNotExist) && flags&os.O_CREATE != 0:
		err = nil
	}
	if err != nil {
		return nil, pathError(op, o.Path(name), err)
	}
	f, err := o.root.OpenFile(local, flags, o.o.FileMode)
	return f, pathError(op, o.Path(name), err)
}

func (o *osFS) Mkdir(name string) error {
	local, err := o.local("mkdir", name)
	if err != nil {
		return err
	}
	if name == "." {
		return pathError("mkdir", o.dir, fs.ErrExist)
	}
	return pathError("mkdir", o.Path(name), o.root.Mkdir(local, o.o.DirMode))
}

func (o *osFS) ReadDir(name string) ([]Info, error) {
	info, err := o.Stat(name)
	if err == nil && !info.IsDir() {
		err = ErrType
	}
	if err != nil {
		return nil, pathError("readdir", o.Path(name), err)
	}
	d, err := o.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, pathError("readdir", o.Path(name), err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, pathError("readdir", o.Path(name), err)
	}
	slices.Sort(names)
	list := make([]Info, 0, len(names))
	for _, n := range names {
		info, err := o.root.Lstat(filepath.Join(filepath.FromSlash(name), n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, pathError("readdir", o.Path(name), err)
		}
		list = append(list, infoOf(n, info))
	}
	return list, nil
}

func infoOf(name string, i fs.FileInfo) Info {
	return Info{Name: name, Size: i.Size(), Mode: i.Mode(), ModTime: i.ModTime()}
}

func (o *osFS) Stat(name string) (Info, error) {
	local, err := o.local("stat", name)
	if err != nil {
		return Info{}, err
	}
	info, err := o.root.Lstat(local)
	if err != nil {
		return Info{}, pathError("stat", o.Path(name), err)
	}
	return infoOf(path.Base(name), info), nil
}

func (o *osFS) Rename(from, to string) error {
	if from == "." || to == "." {
		return o.bad("rename", ".")
	}
	a, err := o.local("rename", from)
	if err != nil {
		return err
	}
	b, err := o.local("rename", to)
	if err != nil {
		return err
	}
	if err := o.root.Rename(a, b); err != nil {
		var link *os.LinkError
		if errors.As(err, &link) {
			err = link.Err
		}
		return pathError("rename", o.Path(from), err)
	}
	return nil
}

func (o *osFS) Remove(name string) error {
	if name == "." {
		return o.bad("remove", name)
	}
	local, err := o.local("remove", name)
	if err != nil {
		return err
	}
	return pathError("remove", o.Path(name), o.root.Remove(local))
}

func (o *osFS) SetModTime(name string, t time.Time) error {
	local, err := o.local("utimes", name)
	if err != nil {
		return err
	}
	return pathError("utimes", o.Path(name), bare(o.root.Chtimes(local, t, t)))
}

func (o *osFS) SyncDir(name string) error {
	info, err := o.Stat(name)
	if err == nil && !info.IsDir() {
		err = ErrType
	}
	if err != nil || runtime.GOOS == "windows" {
		// NTFS writes names to its journal, and has no call to sync a directory.
		return pathError("syncdir", o.Path(name), err)
	}
	d, err := o.root.Open(filepath.FromSlash(name))
	if err != nil {
		return pathError("syncdir", o.Path(name), err)
	}
	defer d.Close()
	return pathError("syncdir", o.Path(name), bare(d.Sync()))
}

// syncPath syncs a directory outside any tree.
func syncPath(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
