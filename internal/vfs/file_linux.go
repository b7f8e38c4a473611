package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mappable reports whether the filesystem of fd keeps a promise of fallocate:
// the blocks are where stores through a map will go. Copy-on-write filesystems
// allocate again on each write; network and FUSE ones may do anything; overlay
// hides what is below. Those not listed get the pwrite writer.
func mappable(fd int) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false
	}
	// Type is signed on some systems; magics with the top bit set are not.
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, // ext2 and ext3 too
		unix.XFS_SUPER_MAGIC,
		unix.TMPFS_MAGIC:
		return true
	}
	return false
}

func (f *osFile) allocate(off, n int64) error {
	return f.control("allocate", func(fd int) error {
		return unix.Fallocate(fd, 0, off, n)
	})
}

// zero is clipped to the file already, but a crash between its two steps on
// tmpfs does not matter there, and elsewhere there is one step.
func (f *osFile) zero(off, n int64) error {
	err := f.fallocate(off, n, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE)
	if !errors.Is(err, ErrNotSupported) {
		return err
	}
	// tmpfs has no ZERO_RANGE.
	err = f.fallocate(off, n, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
	if err == nil {
		err = f.fallocate(off, n, unix.FALLOC_FL_KEEP_SIZE)
	}
	if errors.Is(err, ErrNotSupported) {
		return f.writeZeros(off, n)
	}
	return err
}

func (f *osFile) fallocate(off, n int64, mode uint32) error {
	return f.control("zero", func(fd int) error {
		return unix.Fallocate(fd, mode, off, n)
	})
}

// sync is fdatasync: it writes the size too when the data needs it.
func (f *osFile) sync() error {
	return f.control("sync", func(fd int) error { return unix.Fdatasync(fd) })
}

// madvise asks for the pages of b, which begins on a page. Kernels before 5.14
// say EINVAL.
func madvise(b []byte, write bool) error {
	advice := unix.MADV_POPULATE_READ
	if write {
		advice = unix.MADV_POPULATE_WRITE
	}
	for {
		if err := unix.Madvise(b, advice); err != unix.EINTR {
			return err
		}
	}
}
