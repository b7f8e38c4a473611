//go:build !linux

package vfs

import "io"

// SendFile is sendfile(2) on Linux. Elsewhere it is ErrNotSupported: write the
// bytes.
func SendFile(io.Writer, File, int64, int64) (sent int64, err error) { return 0, ErrNotSupported }

// CanSend tells whether SendFile may do something for w.
func CanSend(io.Writer) bool { return false }
