//go:build !unix

package vfs

// MaxFiles is how many descriptors the process may have. The limits of these
// systems are so high that memory is what bounds it.
func MaxFiles() int { return 1 << 16 }
