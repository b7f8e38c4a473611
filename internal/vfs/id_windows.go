package vfs

import "golang.org/x/sys/windows"

func (f *osFile) ID() (id FileID, err error) {
	err = f.control("stat", func(fd int) error {
		var info windows.ByHandleFileInformation
		if err := windows.GetFileInformationByHandle(windows.Handle(fd), &info); err != nil {
			return err
		}
		id = FileID{uint64(info.VolumeSerialNumber), uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow)}
		return nil
	})
	return id, err
}
