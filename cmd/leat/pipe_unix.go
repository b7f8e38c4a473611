//go:build unix

package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// ownPipe makes a write to an output that nobody reads an error. What it returns
// lets SIGPIPE end the process after all, if whoever started it has not ignored
// that signal.
func ownPipe() (breakPipe func()) {
	if signal.Ignored(syscall.SIGPIPE) {
		return func() {}
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return func() {
		signal.Reset(syscall.SIGPIPE)
		// The runtime raises the signal at a write to a broken standard output.
		_, _ = os.Stdout.Write([]byte{'\n'})
	}
}

func isPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }
