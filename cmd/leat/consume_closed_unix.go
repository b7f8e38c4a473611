//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// untilClosed ends the work with EPIPE when nobody reads the output any more,
// which a write would notice only when there is something to write.
func untilClosed(ctx context.Context, stdout io.Writer, stop context.CancelCauseFunc) {
	f, ok := stdout.(*os.File)
	if !ok {
		return
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) == 0 {
		return
	}
	// Errors and hang-ups are told without being asked for.
	poll := []unix.PollFd{{Fd: int32(f.Fd())}}
	for ctx.Err() == nil {
		n, err := unix.Poll(poll, -1)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case err != nil || n != 1 || poll[0].Revents&unix.POLLNVAL != 0:
			return
		default:
			stop(fmt.Errorf("write: %w", unix.EPIPE))
			return
		}
	}
}
