//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package vfs

import "os"

// links is 2 where nobody can tell: who asks makes a copy then.
func links(*os.File) int { return 2 }
