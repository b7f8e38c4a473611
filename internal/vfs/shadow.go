package vfs

import (
	"hash/maphash"
	"unsafe"
)

// pageSize is what becomes durable or not as one.
const pageSize = 4096

// page is an immutable page, shared between images and clones.
type page struct {
	data [pageSize]byte
	sum  uint64 // of data
}

// image is a file as it is durable. It is immutable: making more durable makes
// another image, which shares the pages that stay.
type image struct {
	pages []*page // nil is a page of zeros, as is one beyond the slice
	size  int64
}

func (i *image) page(k int64) *page {
	if k < int64(len(i.pages)) {
		return i.pages[k]
	}
	return nil
}

var (
	hashSeed = maphash.MakeSeed()
	zeroSum  = maphash.Bytes(hashSeed, make([]byte, pageSize))
)

func (p *page) hash() uint64 {
	if p == nil {
		return zeroSum
	}
	return p.sum
}

func pagesOf(size int64) int64 { return (size + pageSize - 1) / pageSize }

// The functions below read memory that the program may be storing into through
// a map at that moment. That is the point of them: a disk does so too. What is
// read then is of no consequence, for nothing that was stored during a sync is
// held to be durable. So the race detector must not look, and they copy and
// compare in loops of their own: copy itself tells it what it reads.

// copyLive copies src, which may be stored into meanwhile, to dst, which is at
// least as long.
//
//go:norace
func copyLive(dst, src []byte) {
	i := 0
	for ; i+8 <= len(src); i += 8 {
		*(*uint64)(unsafe.Pointer(&dst[i])) = *(*uint64)(unsafe.Pointer(&src[i]))
	}
	for ; i < len(src); i++ {
		dst[i] = src[i]
	}
}

// newPage copies a page; b may be shorter. A page of zeros is nil.
func newPage(b []byte) *page {
	p := new(page)
	copyLive(p.data[:], b)
	p.sum = maphash.Bytes(hashSeed, p.data[:])
	if p.sum == zeroSum && isZero(p.data[:]) {
		return nil
	}
	return p
}

// samePage reports whether b, continued by zeros, is p.
//
//go:norace
func samePage(b []byte, p *page) bool {
	if p == nil {
		return isZero(b)
	}
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if *(*uint64)(unsafe.Pointer(&b[i])) != *(*uint64)(unsafe.Pointer(&p.data[i])) {
			return false
		}
	}
	for ; i < len(b); i++ {
		if b[i] != p.data[i] {
			return false
		}
	}
	return len(b) == pageSize || isZero(p.data[len(b):])
}

//go:norace
func isZero(b []byte) bool {
	for len(b) > 0 && uintptr(unsafe.Pointer(&b[0]))&7 != 0 {
		if b[0] != 0 {
			return false
		}
		b = b[1:]
	}
	for len(b) >= 8 {
		if *(*uint64)(unsafe.Pointer(&b[0])) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// liveLocked is the k-th page of the live file: in memory, or as an image has
// it.
func (n *inode) liveLocked(k int64) ([]byte, *page) {
	if n.buf == nil {
		if k < int64(len(n.base)) {
			return nil, n.base[k]
		}
		return nil, nil
	}
	off, end := k*pageSize, min((k+1)*pageSize, n.size, int64(len(n.buf)))
	if off >= end {
		return nil, nil
	}
	return n.buf[off:end], nil
}

// dirtyLocked calls visit for each page below the size whose live content
// differs from the durable one and that the cache does not take for clean. The
// page is a copy, as visit may keep it.
func (n *inode) dirtyLocked(visit func(k int64, p *page)) {
	if !n.touched {
		return
	}
	for k := range pagesOf(n.size) {
		b, p := n.liveLocked(k)
		was := n.durable.page(k)
		if n.buf == nil {
			if p == was {
				continue
			}
		} else if samePage(b, was) {
			continue
		}
		if l, ok := n.lost[k]; ok && samePage(b, l) {
			continue
		}
		if n.buf != nil {
			p = newPage(b)
		}
		visit(k, p)
	}
}

// redirtyLocked is a write to a range: pages that a failed sync left clean are
// dirty again.
func (n *inode) redirtyLocked(off, end int64) {
	if len(n.lost) == 0 {
		return
	}
	for k := off / pageSize; k < pagesOf(end); k++ {
		delete(n.lost, k)
	}
}

// settleLocked makes the pages that keep chooses durable, and the size if asked.
func (n *inode) settleLocked(size bool, keep func(k int64, p *page) bool) {
	next := &image{size: n.durable.size}
	if size {
		next.size = n.size
	}
	next.pages = make([]*page, max(pagesOf(next.size), int64(len(n.durable.pages))))
	copy(next.pages, n.durable.pages)
	n.dirtyLocked(func(k int64, p *page) {
		if keep(k, p) {
			for k >= int64(len(next.pages)) {
				next.pages = append(next.pages, nil)
			}
			next.pages[k] = p
			delete(n.lost, k)
		}
	})
	next.clip(max(next.size, n.size))
	n.durable = next
}

// clip cuts what lies beyond size, so that a later growth shows zeros.
func (i *image) clip(size int64) {
	if k := pagesOf(size); int64(len(i.pages)) > k {
		i.pages = i.pages[:k]
	}
	if k, cut := size/pageSize, size%pageSize; cut != 0 && k < int64(len(i.pages)) && i.pages[k] != nil {
		if p := i.pages[k]; !isZero(p.data[cut:]) {
			i.pages[k] = newPage(p.data[:cut])
		}
	}
}

// syncPages makes durable what the file is at this moment. What is stored
// during the call may become durable too on a real disk; here it does not.
func (m *Mem) syncPages(n *inode) {
	if !m.tracked {
		return
	}
	defer m.shared()()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settleLocked(true, func(int64, *page) bool { return true })
	// Stores through a map are not seen, so only without one is it known that
	// nothing has changed until the next write.
	n.touched = n.writable > 0 || len(n.lost) > 0
}

// failSync is a sync that fails: each page it would have written is on the disk
// or not, and the cache takes all of them for clean, as measured on ext4 and
// XFS. Those that are not stay readable until the crash, and no later sync
// writes them unless they are changed or written again with WriteAt. (Storing
// the same bytes through a map goes unnoticed here, not on a real machine.)
func (m *Mem) failSync(n *inode) {
	if !m.tracked {
		return
	}
	defer m.shared()()
	m.mu.Lock()
	defer m.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	lost := make(map[int64]*page)
	n.settleLocked(m.mu.rng.IntN(2) == 0, func(k int64, p *page) bool {
		if m.mu.rng.IntN(2) == 0 {
			return true
		}
		lost[k] = p
		return false
	})
	if n.lost == nil {
		n.lost = lost
		return
	}
	for k, p := range lost {
		n.lost[k] = p
	}
}

// Writeback makes each dirty page durable with probability one half, as the
// system does in the background, at any time and in any order. Called between
// operations it gives crash states with versions of pages that were neither
// synced nor are live any more.
func (m *Mem) Writeback() {
	if !m.tracked {
		return
	}
	defer m.shared()()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.root.eachFile("", func(_ string, n *inode) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.settleLocked(m.mu.rng.IntN(2) == 0, func(int64, *page) bool { return m.mu.rng.IntN(2) == 0 })
	})
}

// eachFile visits the live files below a directory in order of name.
func (n *inode) eachFile(path string, visit func(path string, n *inode)) {
	for _, e := range n.entries {
		if e.ino.dir {
			e.ino.eachFile(path+e.name+"/", visit)
		} else {
			visit(path+e.name, e.ino)
		}
	}
}
