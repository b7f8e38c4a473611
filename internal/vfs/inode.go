package vfs

import (
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// maxReserve bounds what a map may reserve beyond what a file holds. A
// segment's full size, 1 GiB by default, would weigh on the heap whether used
// or not; ErrNotSupported sends such a writer to WriteAt.
const maxReserve = 64 << 20

// inode is a file or directory of a Mem. The fields of a directory are guarded
// by the Mem's mu, those of a file by its own.
type inode struct {
	dir   bool
	mtime atomic.Int64

	entries names // live
	synced  names // durable, in tracked trees
	at      struct {
		dir  *inode // the durable name, if there is one
		name string
	}

	mu       sync.RWMutex
	size     int64
	buf      []byte  // the live bytes up to len(buf); from there to size is zero
	base     []*page // the live bytes when buf is nil: a clone not yet touched
	writable int     // writable maps of buf: while there are any it must not move
	touched  bool    // live and durable may differ
	durable  *image  // nil in trees that are not tracked
	lost     map[int64]*page
}

func (n *inode) id() FileID { return FileID{1, uint64(uintptr(unsafe.Pointer(n)))} }

func (n *inode) info(name string) Info {
	i := Info{Name: name, Mode: 0o600, ModTime: time.Unix(0, n.mtime.Load()), ID: n.id()}
	if n.dir {
		i.Mode = fs.ModeDir | 0o700
		return i
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	i.Size = n.size
	return i
}

// alloc makes memory that begins on a cache line: words in maps are stored and
// loaded atomically, and a cache line is what real maps have at least.
func alloc(n int64) []byte {
	b := make([]byte, n+63)
	skip := int64(-uintptr(unsafe.Pointer(&b[0])) & 63)
	return b[skip : skip+n : skip+n]
}

// reserveLocked makes buf at least c bytes long. Maps of the old buf keep it,
// as it was.
func (n *inode) reserveLocked(c int64) {
	if n.buf != nil && c <= int64(len(n.buf)) {
		return
	}
	c = max(c, min(n.size, int64(len(n.base))*pageSize))
	old := n.buf
	n.buf = alloc(c)
	copy(n.buf, old)
	for i, p := range n.base {
		if p != nil && int64(i)*pageSize < c {
			copy(n.buf[int64(i)*pageSize:], p.data[:])
		}
	}
	n.base = nil
}

// growLocked is reserveLocked for writes, with room for more of them.
func (n *inode) growLocked(c int64) {
	if have := int64(len(n.buf)); c > have {
		// Doubling up to where half of it unused would be a waste.
		c = max(c, have+min(have, 16<<20))
	}
	n.reserveLocked(c)
}

// readLocked copies what is at off. The caller has checked that off+len(p) is
// within the size.
func (n *inode) readLocked(p []byte, off int64) {
	if n.buf != nil || n.base == nil {
		k := 0
		if off < int64(len(n.buf)) {
			k = copy(p, n.buf[off:])
		}
		clear(p[k:])
		return
	}
	for len(p) > 0 {
		i, skip := off/pageSize, off%pageSize
		k := min(int64(len(p)), pageSize-skip)
		if i < int64(len(n.base)) && n.base[i] != nil {
			copy(p[:k], n.base[i].data[skip:])
		} else {
			clear(p[:k])
		}
		p, off = p[k:], off+k
	}
}

// clearLocked zeroes from off to end, where there is memory.
func (n *inode) clearLocked(off, end int64) {
	n.reserveLocked(0)
	if end = min(end, int64(len(n.buf))); off < end {
		clear(n.buf[off:end])
	}
}

// extendLocked sets a size that is not smaller. Bytes beyond the old one were
// nobody's to store: on a disk that is a memory fault or lost.
func (n *inode) extendLocked(size int64) {
	if n.durable != nil && n.size < int64(len(n.buf)) &&
		!isZero(n.buf[n.size:min(size, int64(len(n.buf)))]) {
		panic("vfs: a store through a map beyond the end of the file")
	}
	n.size = size
	n.touched = true
}
