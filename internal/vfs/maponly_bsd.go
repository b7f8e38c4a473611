//go:build netbsd || openbsd || dragonfly

package vfs

func mappable(int) bool { return false }
