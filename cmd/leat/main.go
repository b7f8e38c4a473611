// Command leat looks at and looks after directories that Leat or Apache Kafka
// keeps logs in. "leat --help" lists what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	var heard []os.Signal
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as it is for what a shell script runs in the background, or nohup
			heard = append(heard, s)
		}
	}
	if len(heard) > 0 { // signal.Notify takes none for all
		c := make(chan os.Signal, 1)
		signal.Notify(c, heard...)
		go func() {
			s := <-c
			// The first one ends the work at a whole line, and closes the store; should
			// that be stuck, in a pipe that nobody reads for instance, the second kills.
			signal.Reset(heard...)
			cancel(&signalled{s})
		}()
	}
	// A closed output is an error of writing, so that a store is closed cleanly
	// first. Only then SIGPIPE ends the process, as it does others.
	breakPipe := ownPipe()
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if status == exitPipe {
		breakPipe()
	}
	os.Exit(status)
}

// signalled is why the work was ended early.
type signalled struct{ signal os.Signal }

func (s *signalled) Error() string {
	if s.signal == os.Interrupt {
		return "interrupted"
	}
	return s.signal.String()
}

// status is the exit status by which a shell tells that a signal ended a
// process.
func (s *signalled) status() int {
	if n, ok := s.signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitInterrupted
}
