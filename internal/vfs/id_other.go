//go:build !unix && !windows

package vfs

func (f *osFile) ID() (FileID, error) { return FileID{}, nil }
