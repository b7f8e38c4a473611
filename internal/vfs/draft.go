package vfs

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// NewDraft is fsys for reading, with renames and removals that are only noted
// down: the tree looks as it would after them, and nothing changes beneath. So
// the code that settles what a crash has left can be asked how it would, without
// doing it. What else would change the tree is refused, as by [NewReadOnly].
//
// Path is that of the file that would be opened. It may be used by many
// goroutines.
func NewDraft(fsys FS) FS { return &draft{FS: NewReadOnly(fsys), names: map[string]string{}} }

type draft struct {
	FS
	mu    sync.RWMutex
	names map[string]string // what a name stands for, "" for one that is gone; others for themselves
}

// beneath is the name of a file in the tree beneath.
func (d *draft) beneath(name string) (string, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if n, ok := d.names[name]; ok {
		return n, n != ""
	}
	return name, true
}

func (d *draft) gone(op, name string) error {
	return &fs.PathError{Op: op, Path: d.FS.Path(name), Err: fs.ErrNotExist}
}

func (d *draft) Open(name string, m Mode) (File, error) {
	n, ok := d.beneath(name)
	if !ok {
		return nil, d.gone("open", name)
	}
	return d.FS.Open(n, m)
}

func (d *draft) Stat(name string) (Info, error) {
	n, ok := d.beneath(name)
	if !ok {
		return Info{}, d.gone("stat", name)
	}
	info, err := d.FS.Stat(n)
	info.Name = path.Base(name)
	return info, err
}

func (d *draft) ReadDir(name string) ([]Info, error) {
	list, err := d.FS.ReadDir(name)
	if err != nil {
		return nil, err
	}
	d.mu.RLock()
	changed := map[string]string{}
	for n, to := range d.names {
		if path.Dir(n) == name {
			changed[path.Base(n)] = to
		}
	}
	d.mu.RUnlock()
	if len(changed) == 0 {
		return list, nil
	}
	list = slices.DeleteFunc(list, func(i Info) bool { _, ok := changed[i.Name]; return ok })
	for n, to := range changed {
		if to == "" {
			continue
		}
		info, err := d.FS.Stat(to)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info.Name = n
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (d *draft) Rename(from, to string) error {
	n, ok := d.beneath(from)
	if !ok {
		return d.gone("rename", from)
	}
	if _, err := d.FS.Stat(n); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[from] = ""
	d.names[to] = n
	return nil
}

func (d *draft) Remove(name string) error {
	if _, err := d.Stat(name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name] = ""
	return nil
}

// SyncDir has nothing to do.
func (d *draft) SyncDir(string) error { return nil }

func (d *draft) Path(name string) string {
	if n, ok := d.beneath(name); ok {
		name = n
	}
	return d.FS.Path(name)
}
