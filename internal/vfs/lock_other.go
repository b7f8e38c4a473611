//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package vfs

import "io"

// Lock refuses: two writers would destroy a log, and nothing here is known to
// keep them apart.
func (o *osFS) Lock(name string) (io.Closer, error) {
	return nil, pathError("lock", o.Path(name), ErrNotSupported)
}

func classify(err error) error { return err }
