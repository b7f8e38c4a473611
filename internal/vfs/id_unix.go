//go:build unix

package vfs

import "golang.org/x/sys/unix"

func (f *osFile) ID() (id FileID, err error) {
	err = f.control("stat", func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		id = FileID{uint64(st.Dev), uint64(st.Ino)}
		return nil
	})
	return id, err
}
