//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package vfs

import (
	"errors"
	"os"
	"syscall"
)

func (o *osFS) link(name string, to *osFS, as string) error {
	if _, err := o.local("link", name); err != nil {
		return err
	}
	if _, err := to.local("link", as); err != nil {
		return err
	}
	return pathError("link", to.Path(as), os.Link(o.Path(name), to.Path(as)))
}

// cannotLink tells whether an error says that there can be no link here.
func cannotLink(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) // which one differs by system; copying meets the others again
}
