package vfs

import (
	"io"

	"golang.org/x/sys/unix"
)

// lockRange takes an open-file-description lock of the whole file. A classic
// POSIX lock would conflict with Java too, but closing any descriptor of the
// file would drop it.
func lockRange(fd int) (holder int, err error) {
	want := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	for {
		if err = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &want); err != unix.EINTR {
			break
		}
	}
	switch err {
	case nil:
		return 0, nil
	case unix.EINVAL, unix.EOPNOTSUPP, unix.ENOLCK:
		// Kernels before 3.15 and some network filesystems have no such locks.
		return 0, nil
	}
	// The kernel knows the process of a POSIX lock, not that of a lock like
	// ours, which may belong to several.
	held := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if gerr := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &held); gerr == nil &&
		held.Type != unix.F_UNLCK && held.Pid > 0 {
		holder = int(held.Pid)
	}
	return holder, err
}

func unlockRange(fd int) {
	none := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart}
	_ = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &none)
}

// askLock asks for a lock like that of lockRange, and takes none.
const askLock = unix.F_OFD_GETLK
