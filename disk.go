package leat

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// minDiskLimit is less than the segments of a few partitions take.
const minDiskLimit = 1 << 20

// disk is the byte budget of a store: a directory tree that counts the bytes of
// the files in partition folders. Log files do not grow beyond the limit; what
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
	if !ok {
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

// vainRest is how long nobody looks for old segments after there were none.
const vainRest = time.Second

// pressed makes room in the background. It is called by appends.
func (s *Store) pressed() {
	d := s.disk
	if time.Now().UnixNano()-d.vain.Load() < int64(vainRest) || !d.making.CompareAndSwap(false, true) {
		return
	}
	if s.enter() != nil {
		d.making.Store(false)
		return
	}
	go func() {
		defer s.leave()
		defer d.making.Store(false)
		s.makeRoom(s.retention.ctx)
		if d.used.Load() > d.high() {
			d.vain.Store(time.Now().UnixNano())
		}
	}()
}

// makeRoom rolls what is large, and deletes the oldest sealed segments of all
// topics that delete at all, whatever their age, until the store is below its
// mark.
func (s *Store) makeRoom(ctx context.Context) {
	d := s.disk
	var list []*oldSegment
	for _, t := range s.topics() {
		if !t.retention().Delete {
			continue
		}
		for id := range t.ids() {
			if ctx.Err() != nil {
				return
			}
			l := t.opened(id)
			if l != nil {
				if err := l.RollLarge(d.step()); err != nil {
					s.logger.Debug("segment not rolled", "partition", folderName(t.name, id), "err", err)
				}
			}
			if d.used.Load() > d.high() {
				if o := (&oldSegment{topic: t, id: id, log: l}); s.lookAt(o) {
					list = append(list, o)
				}
			}
		}
	}
	var sum Deleted
	for d.used.Load() > d.high() && len(list) > 0 && ctx.Err() == nil {
		i := 0
		for j := range list {
			if list[j].latest.Before(list[i].latest) {
				i = j
			}
		}
		deleted, err := s.deleteOldest(ctx, list[i])
		sum.Segments += deleted.Segments
		sum.Bytes += deleted.Bytes
		if err != nil && ctx.Err() == nil && !list[i].topic.deleted.Load() {
			s.logger.Error("disk limit: segment not deleted", "partition", folderName(list[i].topic.name, list[i].id), "err", err)
		}
		if err != nil || deleted.Segments == 0 || !s.lookAt(list[i]) {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
		}
	}
	if sum.Segments > 0 {
		s.logger.Warn("disk limit: old segments deleted", "segments", sum.Segments, "bytes", sum.Bytes, "limit", d.limit)
	}
}

// oldSegment is the oldest segment of a partition.
type oldSegment struct {
	topic  *Topic
	id     int32
	log    *log.Log // nil: not open
	latest time.Time
}

// lookAt finds out how old the oldest segment is; false when it cannot go.
func (s *Store) lookAt(o *oldSegment) bool {
	if o.log == nil {
		files, err := s.segmentFiles(folderName(o.topic.name, o.id))
		if err != nil || len(files) < 2 {
			return false
		}
		o.latest = s.latestIn(&files[0])
		return true
	}
	ms, ok, err := o.log.OldestSealed()
	if err != nil {
		s.logger.Warn("disk limit: oldest segment is passed over", "partition", folderName(o.topic.name, o.id), "err", err)
	}
	o.latest = time.UnixMilli(ms)
	return ok
}

func (s *Store) deleteOldest(ctx context.Context, o *oldSegment) (Deleted, error) {
	if o.log == nil {
		var err error
		if o.log, err = o.topic.handle(o.id).use(); err != nil {
			return Deleted{}, err
		}
	}
	d, err := o.log.DeleteOldest(ctx)
	s.touch()
	return d, err
}
