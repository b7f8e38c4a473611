package vfs

// FileID tells two files that exist at the same time apart, whatever their
// names. The zero FileID says that the system has none. A file that is made
// after another is gone may get its FileID.
type FileID struct{ device, file uint64 }
