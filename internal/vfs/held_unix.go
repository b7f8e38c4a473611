//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// held asks for the lock on the file's range, which every holder has, Leat and a
// Java program alike: the kernel can be asked for that one without taking it.
// (Where there is none such, on kernels before 3.15 and on some network
// filesystems, nobody is seen.)
func (o *osFS) held(name string) (*LockedError, error) {
	f, err := o.Open(name, ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.OS().Fd(), askLock, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return nil, nil
	}
	if lock.Pid > 0 {
		return &LockedError{Path: f.Path(), PID: int(lock.Pid)}, nil
	}
	return &LockedError{Path: f.Path(), PID: readPID(f.OS())}, nil // the kernel knows no process of it
}
