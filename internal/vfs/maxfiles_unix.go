//go:build unix

package vfs

import "golang.org/x/sys/unix"

// MaxFiles is how many descriptors the process may have, as of now: its soft
// limit, which package os has raised to the hard one unless somebody set it.
func MaxFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return usualMaxFiles
	}
	return int(min(uint64(r.Cur), maxMaxFiles))
}
