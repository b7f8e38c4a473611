//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (o *osFS) link(name string, to *osFS, as string) error {
	return o.at("link", name, func(dir int, base string) error {
		return to.at("link", as, func(todir int, tobase string) error {
			return unix.Linkat(dir, base, todir, tobase, 0)
		})
	})
}

// cannotLink tells whether an error says that there can be no link here.
func cannotLink(err error) bool {
	for _, e := range []error{unix.EXDEV, unix.EPERM, unix.EMLINK, unix.ENOSYS, unix.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func links(f *os.File) int {
	info, err := f.Stat()
	if err != nil {
		return 2 // whoever asks takes it for shared
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Nlink)
	}
	return 2
}
