package vfs

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
)

// DirtyState is what a power cut at one moment may keep or lose. It does not
// change when the Mem goes on, and many clones can be made of it.
//
// Bytes are decided by page, here and in Choice by index in Pages, names by
// index in Names, sizes by index in Sizes.
type DirtyState struct {
	Pages []DirtyPage
	Names []DirtyName
	Sizes []DirtySize

	nodes  []frozen // the root first
	pages  []*page  // of Pages
	ops    []frozenOp
	mapped bool
}

// DirtyPage is a page whose bytes are not durable.
type DirtyPage struct {
	File  string
	Index int64 // in pages of 4096 bytes
}

// DirtyName is a change of names that is not durable, oldest first. A later one
// may be kept and an earlier one lost.
type DirtyName struct {
	Op       Op // OpCreate, OpMkdir, OpRename or OpRemove
	Name, To string
}

// DirtySize is a file whose length is not durable.
type DirtySize struct {
	File          string
	Durable, Live int64
}

func (p DirtyPage) String() string { return fmt.Sprintf("%s[%d]", p.File, p.Index) }

func (n DirtyName) String() string {
	if n.Op == OpRename {
		return fmt.Sprintf("rename %s %s", n.Name, n.To)
	}
	return n.Op.String() + " " + n.Name
}

func (s DirtySize) String() string { return fmt.Sprintf("%s %d->%d", s.File, s.Durable, s.Live) }

// frozen is an inode as it was; others are named by index in nodes.
type frozen struct {
	dir    bool
	mtime  int64
	synced []frozenEntry
	at     frozenEntry // the directory and the name in it; no name when there is none

	image       *image // as the shadow has it, maybe with pages beyond its size
	plain       *image // the same cut to its size
	size        int64  // live
	sizeIndex   int    // in Sizes, -1 when it is durable
	first, last int    // its pages are Pages[first:last]
}

type frozenEntry struct {
	name string
	node int
}

type frozenOp struct {
	nameOp
	ino, dir, todir int // todir is -1 when there is none
}

// Dirty lists what a power cut at this moment may keep or lose. Only a tree
// made by NewCrashMem knows.
func (m *Mem) Dirty() *DirtyState {
	if !m.tracked {
		panic("vfs: only a NewCrashMem knows what is durable")
	}
	m.cut.Lock()
	defer m.cut.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()

	var list []*inode
	var paths []string
	ids := make(map[*inode]int)
	add := func(path string, n *inode) {
		if _, ok := ids[n]; !ok && n != nil {
			ids[n] = len(list)
			list, paths = append(list, n), append(paths, path)
		}
	}
	// Live names first: they say most. Then what only the disk still has, or
	// only a pending change.
	add("", m.mu.root)
	for i := 0; i < len(list); i++ {
		for _, e := range list[i].entries {
			add(paths[i]+"/"+e.name, e.ino)
		}
	}
	for _, op := range m.mu.pending {
		add("/"+op.path, op.ino)
		add("", op.dir)
		add("", op.todir)
	}
	for i := 0; i < len(list); i++ {
		for _, e := range list[i].synced {
			add(paths[i]+"/"+e.name, e.ino)
		}
	}

	d := &DirtyState{nodes: make([]frozen, len(list)), mapped: m.Mapped()}
	for i, n := range list {
		f := &d.nodes[i]
		f.dir, f.mtime = n.dir, n.mtime.Load()
		if dir, ok := ids[n.at.dir]; ok && n.at.dir != nil {
			f.at = frozenEntry{n.at.name, dir}
		}
		if n.dir {
			f.synced = make([]frozenEntry, len(n.synced))
			for k, e := range n.synced {
				f.synced[k] = frozenEntry{e.name, ids[e.ino]}
			}
			continue
		}
		d.freezeFile(f, n, paths[i][1:])
	}
	for _, op := range m.mu.pending {
		f := frozenOp{nameOp: op, ino: ids[op.ino], dir: ids[op.dir], todir: -1}
		if op.todir != nil {
			f.todir = ids[op.todir]
		}
		d.ops = append(d.ops, f)
		d.Names = append(d.Names, DirtyName{Op: op.op, Name: op.path, To: op.topath})
	}
	return d
}

func (d *DirtyState) freezeFile(f *frozen, n *inode, path string) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	f.image, f.plain, f.size, f.sizeIndex = n.durable, n.durable, n.size, -1
	if end := n.durable.size; pagesOf(max(n.size, end)) > 0 && n.size != end {
		f.sizeIndex = len(d.Sizes)
		d.Sizes = append(d.Sizes, DirtySize{File: path, Durable: end, Live: n.size})
	}
	if n.touched {
		p := &image{pages: slices.Clone(n.durable.pages), size: n.durable.size}
		p.clip(p.size)
		f.plain = p
	}
	f.first = len(d.Pages)
	n.dirtyLocked(func(k int64, p *page) {
		d.Pages = append(d.Pages, DirtyPage{File: path, Index: k})
		d.pages = append(d.pages, p)
	})
	f.last = len(d.Pages)
}

// image is the file as c leaves it.
func (d *DirtyState) image(f *frozen, c Choice) *image {
	size := f.image.size
	if f.sizeIndex >= 0 && c.Sizes.Has(f.sizeIndex) {
		size = f.size
	}
	var pages []*page
	for i := f.first; i < f.last; i++ {
		if k := d.Pages[i].Index; c.Pages.Has(i) && k < pagesOf(size) {
			if pages == nil {
				pages = make([]*page, max(pagesOf(size), int64(len(f.image.pages))))
				copy(pages, f.image.pages)
			}
			pages[k] = d.pages[i]
		}
	}
	if pages == nil {
		if size == f.image.size {
			return f.plain
		}
		pages = slices.Clone(f.image.pages)
	}
	i := &image{pages: pages, size: size}
	i.clip(size)
	return i
}

// Clone is the tree after a power cut that kept what c says, opened again:
// nothing is dirty or pending, no lock is held, and there is no hook and no
// limit. It shares unchanged pages with others, and may be used beside them.
func (d *DirtyState) Clone(c Choice) *Mem {
	m := &Mem{tracked: true}
	m.mapped.Store(d.mapped)
	m.mu.locks = make(map[*inode]*inode)
	m.SetSeed(1)
	nodes := make([]inode, len(d.nodes))
	for i := range d.nodes {
		f, n := &d.nodes[i], &nodes[i]
		n.dir = f.dir
		n.mtime.Store(f.mtime)
		if f.at.name != "" {
			n.at.dir, n.at.name = &nodes[f.at.node], f.at.name
		}
		if !f.dir {
			n.durable = d.image(f, c)
			n.base, n.size = n.durable.pages, n.durable.size
			continue
		}
		n.synced = make(names, len(f.synced))
		for k, e := range f.synced {
			n.synced[k] = entry{e.name, &nodes[e.node]}
		}
	}
	for i, f := range d.ops {
		if c.Names.Has(i) {
			op := f.nameOp
			op.ino, op.dir, op.todir = &nodes[f.ino], &nodes[f.dir], nil
			if f.todir >= 0 {
				op.todir = &nodes[f.todir]
			}
			op.commit()
		}
	}
	for i := range nodes {
		nodes[i].entries = slices.Clone(nodes[i].synced)
	}
	m.mu.root = &nodes[0]
	return m
}

// CrashClone is the tree as a power cut at this moment may leave it. For more
// than one choice at a moment, use Dirty once and Clone.
func (m *Mem) CrashClone(c Choice) *Mem { return m.Dirty().Clone(c) }

// Snapshot is the tree as the kill of the process leaves it: everything live,
// no lock held, and the same things not durable. It has no hook.
func (m *Mem) Snapshot() *Mem {
	m.cut.Lock()
	defer m.cut.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Mem{tracked: m.tracked}
	c.mapped.Store(m.Mapped())
	c.limit.Store(m.limit.Load())
	c.mu.locks = make(map[*inode]*inode)
	c.mu.rng = rand.New(rand.NewPCG(m.mu.rng.Uint64(), 0))

	copies := make(map[*inode]*inode)
	var of func(n *inode) *inode
	of = func(n *inode) *inode {
		if n == nil {
			return nil
		}
		if have := copies[n]; have != nil {
			return have
		}
		to := n.copyFile()
		copies[n] = to
		for _, e := range n.entries {
			to.entries = append(to.entries, entry{e.name, of(e.ino)})
		}
		for _, e := range n.synced {
			to.synced = append(to.synced, entry{e.name, of(e.ino)})
		}
		to.at.dir, to.at.name = of(n.at.dir), n.at.name
		return to
	}
	c.mu.root = of(m.mu.root)
	for _, op := range m.mu.pending {
		op.ino, op.dir, op.todir = of(op.ino), of(op.dir), of(op.todir)
		c.mu.pending = append(c.mu.pending, op)
	}
	return c
}

func (n *inode) copyFile() *inode {
	to := &inode{dir: n.dir}
	to.mtime.Store(n.mtime.Load())
	n.mu.RLock()
	defer n.mu.RUnlock()
	to.size, to.durable, to.touched = n.size, n.durable, n.touched
	to.lost = maps.Clone(n.lost)
	switch {
	case n.buf == nil:
		to.base = n.base
	case n.durable != nil && !n.touched:
		to.base = n.durable.pages
	default:
		live := n.buf[:min(int64(len(n.buf)), n.size)]
		to.buf = alloc(int64(len(live)))
		copyLive(to.buf, live)
	}
	return to
}

// Hash tells states apart: names, sizes and bytes, as they are live. It differs
// from one process to the next.
func (m *Mem) Hash() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(hashSeed)
	m.mu.root.hash(&h)
	return h.Sum64()
}

func (n *inode) hash(h *maphash.Hash) {
	if n.dir {
		maphash.WriteComparable(h, len(n.entries))
		for _, e := range n.entries {
			maphash.WriteComparable(h, e.name)
			e.ino.hash(h)
		}
		return
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	maphash.WriteComparable(h, ^n.size) // no directory has so many names
	for k := range pagesOf(n.size) {
		b, p := n.liveLocked(k)
		sum := p.hash()
		if b != nil {
			sum = sumLive(b)
		}
		maphash.WriteComparable(h, sum)
	}
}

func sumLive(b []byte) uint64 {
	var p [pageSize]byte
	copyLive(p[:], b)
	return maphash.Bytes(hashSeed, p[:])
}
