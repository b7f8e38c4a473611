//go:build !unix

package main

import (
	"errors"
	"syscall"
)

func ownPipe() (breakPipe func()) { return func() {} }

// isPipe knows Windows' names for it, too: ERROR_BROKEN_PIPE and ERROR_NO_DATA.
func isPipe(err error) bool {
	var n syscall.Errno
	return errors.Is(err, syscall.EPIPE) || errors.As(err, &n) && (n == 109 || n == 232)
}
