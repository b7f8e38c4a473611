//go:build darwin || freebsd

package vfs

// mappable: no filesystem of these systems is known to keep blocks allocated.
func mappable(int) bool { return false }

func madvise([]byte, bool) error { return ErrNotSupported }
