package vfs

const (
	usualMaxFiles = 1024 // the soft limit that most systems start a process with
	// maxMaxFiles bounds what is made of 'no limit', and of a limit that was set
	// to much the same.
	maxMaxFiles = 1 << 20
)
