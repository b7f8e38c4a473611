//go:build !linux

package main

// resident is the memory that the process has for itself, where it is easily told.
func resident() (int64, bool) { return 0, false }
