//go:build !linux

package vfs

// Systems other than Linux get the pwrite writer, which allocates as it goes:
// their ways to preallocate are either absent from x/sys or promise less.
func (f *osFile) allocate(int64, int64) error {
	return pathError("allocate", f.path, ErrNotSupported)
}

func (f *osFile) zero(off, n int64) error { return f.writeZeros(off, n) }

// sync is fsync, F_FULLFSYNC on darwin, FlushFileBuffers on windows.
func (f *osFile) sync() error { return pathError("sync", f.path, f.f.Sync()) }
