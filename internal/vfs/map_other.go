//go:build !(linux || darwin || freebsd)

package vfs

// Map is not offered where maps and writes are not coherent (openbsd), or the
// file could not be renamed or cut while mapped (windows).
func (f *osFile) Map(size int64, writable bool) (Map, error) {
	err := checkRange(size, 0)
	if err == nil && writable {
		err = f.writable(0, 0)
	}
	if err == nil {
		err = ErrNotSupported
	}
	return nil, pathError("map", f.path, err)
}
