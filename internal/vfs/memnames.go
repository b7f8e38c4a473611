package vfs

import (
	"cmp"
	"slices"
	"time"
)

// names is a directory's content, sorted. A slice, because clones copy it and
// ReadDir wants it sorted.
type names []entry

type entry struct {
	name string
	ino  *inode
}

func (d names) search(name string) (int, bool) {
	return slices.BinarySearchFunc(d, name, func(e entry, name string) int {
		return cmp.Compare(e.name, name)
	})
}

func (d names) find(name string) *inode {
	if i, ok := d.search(name); ok {
		return d[i].ino
	}
	return nil
}

func (d *names) put(name string, n *inode) {
	i, ok := d.search(name)
	if ok {
		(*d)[i].ino = n
		return
	}
	*d = slices.Insert(*d, i, entry{name, n})
}

// drop removes name if it is n's.
func (d *names) drop(name string, n *inode) {
	if i, ok := d.search(name); ok && (*d)[i].ino == n {
		*d = slices.Delete(*d, i, i+1)
	}
}

// nameOp is a change of names that a crash may undo. path and topath are how
// it was called, for people.
type nameOp struct {
	op           Op
	path, topath string
	ino          *inode
	dir, todir   *inode // todir and toname: where a rename leads
	name, toname string
}

// link, unlink and move change the live names and note what is pending. The
// caller holds m.mu.
func (m *Mem) link(op Op, path string, dir *inode, name string, n *inode) {
	dir.entries.put(name, n)
	m.note(nameOp{op: op, path: path, ino: n, dir: dir, name: name})
}

func (m *Mem) unlink(path string, dir *inode, name string, n *inode) {
	dir.entries.drop(name, n)
	m.note(nameOp{op: OpRemove, path: path, ino: n, dir: dir, name: name})
}

func (m *Mem) move(path, topath string, dir *inode, name string, todir *inode, toname string, n *inode) {
	dir.entries.drop(name, n)
	todir.entries.put(toname, n)
	m.note(nameOp{op: OpRename, path: path, topath: topath, ino: n,
		dir: dir, name: name, todir: todir, toname: toname})
}

func (m *Mem) note(op nameOp) {
	now := time.Now().UnixNano()
	op.dir.mtime.Store(now)
	if op.todir != nil {
		op.todir.mtime.Store(now)
	}
	if m.tracked {
		m.mu.pending = append(m.mu.pending, op)
	}
}

// syncNames makes durable what is pending in dir, and with a rename that leads
// in or out of it what that came after: the earlier changes of the same names
// elsewhere (and so of the same file), which could undo it otherwise. The caller
// holds m.mu.
func (m *Mem) syncNames(dir *inode) {
	type key struct {
		dir  *inode
		name string
	}
	taken := make(map[key]bool)
	due := make([]bool, len(m.mu.pending))
	for i, op := range slices.Backward(m.mu.pending) {
		from, to := key{op.dir, op.name}, key{op.todir, op.toname}
		if op.dir == dir || op.todir == dir || taken[from] || taken[to] {
			due[i], taken[from] = true, true
			if op.todir != nil {
				taken[to] = true
			}
		}
	}
	rest := m.mu.pending[:0]
	for i, op := range m.mu.pending {
		if due[i] {
			op.commit()
		} else {
			rest = append(rest, op)
		}
	}
	clear(m.mu.pending[len(rest):])
	m.mu.pending = rest
}

// commit makes the change in the durable names. It may come without the changes
// before it, in any subset: a create that is skipped is made up for by a rename
// of the same file, and a rename takes away whatever name the file has, so that
// it is never half done.
func (o *nameOp) commit() {
	switch o.op {
	case OpRemove:
		o.dir.synced.drop(o.name, o.ino)
		if o.ino.at.dir == o.dir && o.ino.at.name == o.name {
			o.ino.at.dir = nil
		}
		return
	case OpRename:
		if o.ino.at.dir != nil {
			o.ino.at.dir.synced.drop(o.ino.at.name, o.ino)
		}
		o.todir.synced.put(o.toname, o.ino)
		o.ino.at.dir, o.ino.at.name = o.todir, o.toname
	default:
		o.dir.synced.put(o.name, o.ino)
		o.ino.at.dir, o.ino.at.name = o.dir, o.name
	}
}
