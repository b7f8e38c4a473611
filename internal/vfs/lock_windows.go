package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"
)

// Locks are mandatory here: locking the pid would keep others from reading it.
// This byte is far beyond it, and inside what a Java program locks (all).
const lockAt = 1 << 62

type fileLock struct{ f *os.File }

func (l fileLock) Close() error { return l.f.Close() } // which lets go

func (o *osFS) Lock(name string) (io.Closer, error) {
	if name == "." {
		return nil, o.bad("lock", name)
	}
	f, err := o.open("lock", name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	at := windows.Overlapped{OffsetHigh: lockAt >> 32}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = fmt.Fprintln(f, os.Getpid())
		}
	} else if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		b, _ := io.ReadAll(io.LimitReader(f, 24))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		err = &LockedError{Path: o.Path(name), PID: max(pid, 0)}
	}
	if err != nil {
		f.Close()
		return nil, pathError("lock", o.Path(name), err)
	}
	return fileLock{f}, nil
}

func classify(err error) error {
	switch {
	case errors.Is(err, windows.ERROR_DISK_FULL), errors.Is(err, windows.ERROR_HANDLE_DISK_FULL),
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED):
		return &kindError{ErrNoSpace, err}
	case errors.Is(err, windows.ERROR_TOO_MANY_OPEN_FILES):
		return &kindError{ErrTooManyFiles, err}
	case errors.Is(err, windows.ERROR_DIR_NOT_EMPTY):
		return &kindError{ErrNotEmpty, err}
	case errors.Is(err, windows.ERROR_NOT_SUPPORTED):
		return &kindError{ErrNotSupported, err}
	case errors.Is(err, windows.ERROR_DIRECTORY):
		return &kindError{ErrType, err}
	}
	return err
}
