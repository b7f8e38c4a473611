//go:build !linux

package vfs

// MaxMaps is the number of OS maps the process may hold through this package.
// Only Linux is known to have a limit; this one bounds the address space.
func MaxMaps() int { return 65530 / 2 }
