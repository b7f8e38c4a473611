package vfs

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"
)

// held takes a shared lock of the byte that a holder has locked, and gives it
// back: there is no other way of asking.
func (o *osFS) held(name string) (*LockedError, error) {
	f, err := o.Open(name, ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // which lets go
	at := windows.Overlapped{OffsetHigh: lockAt >> 32}
	err = windows.LockFileEx(windows.Handle(f.OS().Fd()), windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		b, _ := io.ReadAll(io.NewSectionReader(f, 0, 24))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return &LockedError{Path: f.Path(), PID: max(pid, 0)}, nil
	}
	return nil, pathError("lock", f.Path(), err)
}
