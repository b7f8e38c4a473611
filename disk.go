package leat

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// minDiskLimit is less than the segments of a few partitions take.
const minDiskLimit = 1 << 20

// disk is the byte budget of a store: a directory tree that counts the bytes of
// the files in partition folders, and in those of imports. Log files do not grow beyond the limit; what
// else is kept beside them is small, is counted, and may pass it: refusing it
// would keep segments from being sealed, which gives space back. Internal topics
// may pass it as well, or no topic could be deleted in a store that is full.
//
// A file that readers hold is not counted once it is removed: its blocks are free
// when they let go.
type disk struct {
	vfs.FS
	limit int64
	used  atomic.Int64
	// pressed is called, and must not wait, when the bytes pass a mark.
	pressed func()
	ready   atomic.Bool // pressed may be called

	making atomic.Bool  // room is being made
	vain   atomic.Int64 // when that was last in vain, in Unix nanoseconds
}

// high is the mark above which old segments are deleted: an eighth is left for
// what comes meanwhile.
func (d *disk) high() int64 { return d.limit - d.limit/8 }

// step is how often the store is told of growth, and the size from which on an
// active segment is rolled: what is to be deleted must be in small pieces.
func (d *disk) step() int64 { return d.limit / 16 }

// partitionFile tells whether a file is counted, and whether it may be refused.
func partitionFile(name string) (counted, bounded bool) {
	folder, file, ok := strings.Cut(name, "/")
	if !ok {
		return false, false
	}
	topic, _, ok := parseFolder(folder)
	if !ok && !isDeletedFolder(folder) { // which is what an import copies to
		return false, false
	}
	grows := strings.HasSuffix(file, segment.LogSuffix) || file == segment.PreparedName
	return true, grows && !strings.HasPrefix(topic, "__")
}

// count begins with what is there.
func (d *disk) count(folders map[string][]int32) error {
	sum := int64(0)
	for topic, ids := range folders {
		for _, id := range ids {
			list, err := d.FS.ReadDir(folderName(topic, id))
			if err != nil {
				return err
			}
			for _, e := range list {
				sum += e.Size
			}
		}
	}
	d.used.Store(sum)
	return nil
}

// take counts n bytes more, unless that is too much.
func (d *disk) take(n int64, bounded bool) error {
	now := d.used.Add(n)
	if n <= 0 {
		return nil
	}
	full := bounded && now > d.limit
	if full {
		d.used.Add(-n)
	}
	if d.ready.Load() && (now > d.high() || now/d.step() != (now-n)/d.step()) {
		d.pressed()
	}
	if full {
		return fmt.Errorf("%w: Options.DiskLimit of %d bytes, of which %d are in use", vfs.ErrNoSpace, d.limit, now-n)
	}
	return nil
}

func (d *disk) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	counted, bounded := partitionFile(name)
	if err != nil || !counted {
		return f, err
	}
	return &diskFile{File: f, disk: d, bounded: bounded}, nil
}

func (d *disk) Open(name string, m vfs.Mode) (vfs.File, error) {
	f, err := d.FS.Open(name, m)
	counted, bounded := partitionFile(name)
	if err != nil || !counted || m == vfs.ReadOnly {
		return f, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	x := &diskFile{File: f, disk: d, bounded: bounded}
	x.size.Store(size)
	return x, nil
}

func (d *disk) Remove(name string) error {
	size := d.sizeOf(name)
	err := d.FS.Remove(name)
	if err == nil {
		d.used.Add(-size)
	}
	return err
}

// Under is the tree itself.
func (d *disk) Under() vfs.FS { return d.FS }

func (d *disk) Rename(from, to string) error {
	size := d.sizeOf(to) // what it replaces
	err := d.FS.Rename(from, to)
	if err == nil {
		d.used.Add(-size)
	}
	return err
}

// sizeOf is what a file counts for; one that is not there counts for nothing.
func (d *disk) sizeOf(name string) int64 {
	if counted, _ := partitionFile(name); !counted {
		return 0
	}
	info, err := d.FS.Stat(name)
	if err != nil || !info.Mode.IsRegular() {
		return 0
	}
	return info.Size
}

// diskFile is a file whose growth is counted.
type diskFile struct {
	vfs.File
	disk    *disk
	bounded bool
	size    atomic.Int64 // as it is counted
}

// Clip is how much of n bytes to allocate in advance: less and less as the budget
// comes to its end, so that what partitions hold in advance does not use it up.
func (f *diskFile) Clip(n int64) int64 {
	return min(n, max((f.disk.limit-f.disk.used.Load())/64, 0))
}

// grow counts the bytes up to end before f makes them, and corrects the count if
// it fails.
func (f *diskFile) grow(end int64, do func() error) error {
	n := end - f.size.Load()
	if n <= 0 {
		return do()
	}
	if err := f.disk.take(n, f.bounded); err != nil {
		return err
	}
	f.size.Store(end)
	err := do()
	if err != nil {
		if size, err2 := f.File.Size(); err2 == nil {
			f.settle(size)
		}
	}
	return err
}

func (f *diskFile) settle(size int64) { f.disk.used.Add(size - f.size.Swap(size)) }

func (f *diskFile) Allocate(off, n int64) error {
	return f.grow(off+n, func() error { return f.File.Allocate(off, n) })
}

func (f *diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.grow(off+int64(len(p)), func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *diskFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	if err == nil {
		f.settle(size)
	}
	return err
}

// limitDisk puts the budget under the store, before it opens anything.
func (s *Store) limitDisk() error {
	switch n := s.opts.DiskLimit; {
	case n == 0 || n == Unlimited:
		return nil
	case n < minDiskLimit:
		return invalidConfig("Options.DiskLimit is %d: allowed are %d bytes and more, or Unlimited (-1)", n, minDiskLimit)
	}
	s.disk = &disk{FS: s.fsys, limit: s.opts.DiskLimit, pressed: s.pressed}
	s.fsys = s.disk
	return nil
}
