//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import "golang.org/x/sys/unix"

// askLock asks for a lock, of either kind, and takes none.
const askLock = unix.F_GETLK

// On these systems flock and POSIX locks are of one kind and conflict, so a
// Java program's lock has been met already.
func lockRange(int) (int, error) { return 0, nil }

func unlockRange(int) {}
