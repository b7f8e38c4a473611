package vfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mem is a tree in memory. Maps of its files are the files' memory itself, on
// the Go heap, so that a program's own stores through pointers run on it, seen
// by the race detector.
type Mem struct {
	tracked bool // a shadow of what is durable is kept
	mapped  atomic.Bool
	hook    atomic.Pointer[Hook]
	limit   atomic.Int64
	files   atomic.Int64 // that are open

	// cut is held shared while file contents change or become durable, and
	// alone while a clone is cut out of the tree. Otherwise the clone could
	// have what was written after a sync, and lack what that sync made
	// durable. Only tracked trees use it. It comes before mu, and that before
	// the mu of an inode.
	cut sync.RWMutex

	mu struct {
		sync.Mutex
		root    *inode
		pending []nameOp          // not durable yet, oldest first; tracked trees only
		locks   map[*inode]*inode // directory to lock file
		rng     *rand.Rand        // what a failed sync loses
	}
}

// NewMem returns an empty tree that remembers only what is. Syncs do nothing,
// and Mapped is false: writing by maps would reserve memory for what is not
// there yet.
func NewMem() *Mem { return newMem(false) }

// NewCrashMem returns an empty tree that remembers what is durable as well, and
// can be cloned as a power cut leaves it. Mapped is true.
func NewCrashMem() *Mem {
	m := newMem(true)
	m.mapped.Store(true)
	return m
}

func newMem(tracked bool) *Mem {
	m := &Mem{tracked: tracked}
	m.mu.root = m.newInode(true)
	m.mu.locks = make(map[*inode]*inode)
	m.SetSeed(1)
	return m
}

func (m *Mem) newInode(dir bool) *inode {
	n := &inode{dir: dir}
	n.mtime.Store(time.Now().UnixNano())
	if m.tracked && !dir {
		n.durable = &image{}
	}
	return n
}

// SetMapped sets what Mapped returns.
func (m *Mem) SetMapped(mapped bool) { m.mapped.Store(mapped) }

// SetSeed makes the losses of failed syncs those of seed.
func (m *Mem) SetSeed(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.rng = rand.New(rand.NewPCG(seed, 0x6c656174))
}

// SetLimit sets the size of the disk: what would make the files that have names
// longer than limit together is ErrNoSpace. Zero is no limit.
func (m *Mem) SetLimit(limit int64) { m.limit.Store(limit) }

// Used is the length of all files that have names.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return used(m.mu.root)
}

func used(n *inode) (sum int64) {
	if !n.dir {
		n.mu.RLock()
		defer n.mu.RUnlock()
		return n.size
	}
	for _, e := range n.entries {
		sum += used(e.ino)
	}
	return sum
}

// room checks that a file may grow by n bytes. It must be called without the
// file's lock.
func (m *Mem) room(n int64) error {
	if limit := m.limit.Load(); limit > 0 && n > 0 && n > limit-m.Used() {
		return ErrNoSpace
	}
	return nil
}

// shared holds off clones. The result lets them on.
func (m *Mem) shared() func() {
	if !m.tracked {
		return func() {}
	}
	m.cut.RLock()
	return m.cut.RUnlock
}

// Path shows that there is no such path on a disk.
func (m *Mem) Path(name string) string {
	if name == "." {
		return "mem:/"
	}
	return "mem:/" + name
}

func (m *Mem) Mapped() bool { return m.mapped.Load() }
func (m *Mem) Close() error { return nil }

func (m *Mem) OpenFiles() int { return int(m.files.Load()) }

// lookup walks to name.
func (m *Mem) lookup(name string) (*inode, error) {
	if !valid(name) {
		return nil, fs.ErrInvalid
	}
	n := m.mu.root
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "." {
			return n, nil
		}
		if !n.dir {
			return nil, ErrType
		}
		if n = n.entries.find(elem); n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent walks to the directory of name, which may not be the root itself.
func (m *Mem) parent(name string) (*inode, string, error) {
	if !valid(name) || name == "." {
		return nil, "", fs.ErrInvalid
	}
	dir, base := path.Split(name)
	n, err := m.lookup(path.Clean(dir))
	if err == nil && !n.dir {
		err = ErrType
	}
	return n, base, err
}

func (m *Mem) Create(name string) (f File, err error) {
	err = m.call(OpCreate, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		if dir.entries.find(base) != nil {
			return fs.ErrExist
		}
		n := m.newInode(false)
		m.link(OpCreate, name, dir, base, n)
		f = &memFile{m: m, n: n, name: name}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.files.Add(1)
	return f, nil
}

func (m *Mem) Open(name string, mode Mode) (f File, err error) {
	err = m.call(OpOpen, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, err := m.lookup(name)
		if err != nil {
			return err
		}
		if n.dir {
			return ErrType
		}
		f = &memFile{m: m, n: n, name: name, readOnly: mode == ReadOnly}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.files.Add(1)
	return f, nil
}

func (m *Mem) Mkdir(name string) error {
	return m.call(OpMkdir, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if name == "." {
			return fs.ErrExist
		}
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		if dir.entries.find(base) != nil {
			return fs.ErrExist
		}
		m.link(OpMkdir, name, dir, base, m.newInode(true))
		return nil
	})
}

func (m *Mem) ReadDir(name string) (list []Info, err error) {
	err = m.call(OpReadDir, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, err := m.lookup(name)
		if err != nil {
			return err
		}
		if !n.dir {
			return ErrType
		}
		list = make([]Info, 0, len(n.entries))
		for _, e := range n.entries {
			list = append(list, e.ino.info(e.name))
		}
		return nil
	})
	return list, err
}

func (m *Mem) Stat(name string) (info Info, err error) {
	err = m.call(OpStat, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, err := m.lookup(name)
		if err == nil {
			info = n.info(path.Base(name))
		}
		return err
	})
	return info, err
}

func (m *Mem) Rename(from, to string) error {
	return m.call(OpRename, from, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		dir, base, err := m.parent(from)
		if err != nil {
			return err
		}
		todir, tobase, err := m.parent(to)
		if err != nil {
			return err
		}
		n := dir.entries.find(base)
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir && (to == from || strings.HasPrefix(to, from+"/")) {
			if to == from {
				return nil
			}
			return fs.ErrInvalid // a directory into itself
		}
		if old := todir.entries.find(tobase); old == n {
			return nil
		} else if old != nil && (old.dir || n.dir) {
			switch {
			case old.dir != n.dir:
				return ErrType
			case len(old.entries) > 0:
				return ErrNotEmpty
			}
		}
		m.move(from, to, dir, base, todir, tobase, n)
		return nil
	})
}

func (m *Mem) Remove(name string) error {
	return m.call(OpRemove, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		n := dir.entries.find(base)
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir && len(n.entries) > 0 {
			return ErrNotEmpty
		}
		m.unlink(name, dir, base, n)
		return nil
	})
}

func (m *Mem) SetModTime(name string, t time.Time) error {
	return m.call(OpUtimes, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, err := m.lookup(name)
		if err == nil {
			n.mtime.Store(t.UnixNano())
		}
		return err
	})
}

func (m *Mem) SyncDir(name string) error {
	return m.call(OpSyncDir, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, err := m.lookup(name)
		if err != nil {
			return err
		}
		if !n.dir {
			return ErrType
		}
		m.syncNames(n)
		return nil
	})
}

// Lock locks the directory of name, as the other form does in effect.
func (m *Mem) Lock(name string) (l io.Closer, err error) {
	err = m.call(OpLock, name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		n := dir.entries.find(base)
		if n != nil && n.dir {
			return ErrType
		}
		if held := m.mu.locks[dir]; held != nil {
			e := &LockedError{Path: m.Path(name)}
			if held == n { // else the file that says who it is is gone
				e.PID = os.Getpid()
			}
			return e
		}
		if n == nil {
			n = m.newInode(false)
			m.link(OpCreate, name, dir, base, n)
		}
		m.mu.locks[dir] = n
		l = &memLock{m: m, dir: dir}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

type memLock struct {
	m    *Mem
	dir  *inode
	done atomic.Bool
}

func (l *memLock) Close() error {
	if l.done.Swap(true) {
		return fs.ErrClosed
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.mu.locks, l.dir)
	return nil
}
