// Package vfs is the one place where Leat touches the operating system for
// data files: a directory tree with exactly the calls a log needs, no more.
//
// It has two forms. [OS] is a real directory. [Mem] is a tree in memory for
// tests and for leat.OpenMem; made by [NewCrashMem] it also remembers, page by
// page and name by name, what was made durable, and can be cloned as a power
// cut would have left it.
//
// The crash model both forms promise, and callers may rely on: bytes are
// durable once a [File.Sync] that began after they were stored has returned
// nil, names once [FS.SyncDir] has. Everything else may be on the disk or not,
// page by page and name by name, in any order; only a rename is never half
// done. After a failed Sync the pages it should have written may be on the disk
// or not, and a later Sync that succeeds proves nothing about them.
package vfs

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// Mode says what an opened file is for.
type Mode uint8

// The modes of [FS.Open].
const (
	ReadOnly Mode = iota
	ReadWrite
)

// FS is a directory tree. Names are slash-separated and relative to its root,
// as [fs.ValidPath] has them; "." is the root itself. Symbolic links below the
// root are never followed: a name that leads through one, or ends at one, is an
// error that matches [ErrType].
//
// Errors are [*fs.PathError] with the full path, and match [fs.ErrExist],
// [fs.ErrNotExist], [fs.ErrInvalid], [fs.ErrPermission], [fs.ErrClosed] or one
// of this package's sentinels. An FS may be used by many goroutines.
type FS interface {
	// Create makes a new file and opens it for reading and writing. A name
	// that exists, whatever it is, is fs.ErrExist.
	Create(name string) (File, error)

	// Open opens an existing regular file. Anything else (a link, a FIFO, a
	// device, a directory) is ErrType, at once.
	Open(name string, m Mode) (File, error)

	// Mkdir makes one directory.
	Mkdir(name string) error

	// ReadDir lists a directory, sorted by name. Links are listed, not followed.
	ReadDir(name string) ([]Info, error)

	// Stat describes what name is, without following a link.
	Stat(name string) (Info, error)

	// Rename moves a file or directory. A file in the way is replaced
	// atomically; a directory in the way is an error.
	Rename(from, to string) error

	// Remove removes a file or an empty directory (else ErrNotEmpty). Files
	// and maps that are open stay usable.
	Remove(name string) error

	// SetModTime sets the time of a file's last change, which is of no more
	// consequence for what is durable than any other write.
	SetModTime(name string, t time.Time) error

	// SyncDir makes the creates, renames and removes in a directory durable.
	// The directory's own name is in its parent, and durable by syncing that.
	SyncDir(name string) error

	// Lock takes the directory that name is in for this process, with name as
	// the lock file, made when it is missing. Held by another process, or by
	// another Lock of this one, it fails at once with *LockedError. Closing
	// what it returns, or the end of the process, lets go; the file stays.
	Lock(name string) (io.Closer, error)

	// Path is the full path of name, for error texts.
	Path(name string) string

	// Mapped reports whether storing into a writable map of an allocated file
	// is safe here: that allocated blocks stay allocated, so that a full disk
	// shows in Allocate and not as SIGBUS. When false, write with WriteAt.
	Mapped() bool

	// OpenFiles is how many files are open.
	OpenFiles() int

	// Close lets go of what the tree itself holds. Files stay open.
	Close() error
}

// Info describes a file or directory.
type Info struct {
	Name    string // the last element
	Size    int64
	Mode    fs.FileMode // with type bits
	ModTime time.Time
	ID      FileID // as File.ID has it; zero where it takes an open file to know
}

// IsDir reports whether it is a directory.
func (i Info) IsDir() bool { return i.Mode.IsDir() }

// File is an open regular file. It may be used by many goroutines, but calls
// that change its size must not run beside each other.
type File interface {
	// ReadAt reads as io.ReaderAt has it.
	io.ReaderAt

	// WriteAt writes all of p or returns an error. Beyond the end it extends
	// the file. A full disk is ErrNoSpace.
	io.WriterAt

	// Path is the full path the file was opened by.
	Path() string

	// Size is the file's length in bytes.
	Size() (int64, error)

	// ID is the file's identity, which a rename does not change.
	ID() (FileID, error)

	// Truncate sets the length. What it adds reads as zero and is not
	// allocated. Below a length that a map reaches, touching the map beyond
	// the new end is a memory fault.
	Truncate(size int64) error

	// Allocate allocates the blocks of n bytes from off, so that storing there
	// cannot fail for want of space, and extends the file to off+n when it is
	// shorter. Bytes that exist stay. ErrNoSpace: nothing has changed.
	// ErrNotSupported: the filesystem cannot; write with WriteAt.
	Allocate(off, n int64) error

	// Zero makes n bytes from off read as zero and stay allocated. It does not
	// change the size: what is beyond the end is left out. After an error the
	// range may hold anything.
	Zero(off, n int64) error

	// Sync makes the bytes and the size, as they were when it was called,
	// durable. After an error nothing is known of the bytes since the last
	// good Sync, and only writing them again and syncing that tells.
	Sync() error

	// Map maps the first size bytes, which may be more than the file has: the
	// address range is reserved, and bytes may be touched as soon as the file
	// reaches beyond them. ErrNotSupported: read with ReadAt, write with
	// WriteAt. ErrTooManyMaps: unmap others first, or do the same.
	//
	// In memory form, a size beyond what the file ever held or reserved moves
	// the file's memory: maps taken before keep showing the bytes of that
	// moment, and stores into them no longer reach the file. So take the
	// writable map first, at its full size.
	Map(size int64, writable bool) (Map, error)

	// OS is the operating system's file, nil in memory form. Its offset is
	// nobody's: use only ReadAt, or what does not move it.
	OS() *os.File

	// Close closes the file. Maps stay. It does not sync: errors of the
	// background write-back that no Sync has seen are lost with it.
	Close() error
}

// Clipper is a File of a tree whose space is bounded by more than the disk. Clip
// is how many of n bytes, which are not all needed yet, may sensibly be allocated
// now.
type Clipper interface {
	Clip(n int64) int64
}

// Map is a file's memory.
type Map interface {
	// Bytes is the mapped memory, len and cap as mapped, 8-byte aligned at
	// least. It lives until Unmap, and may be written only if mapped writable.
	// Touching it beyond the end of the file is a memory fault: see Guard.
	Bytes() []byte

	// Populate asks for n bytes from off to be present, for writing (which
	// makes them dirty) or for reading, so that touching them does not fault.
	// It is a hint: an error says only that it was of no use.
	Populate(off, n int, write bool) error

	// Random says that the pages are touched one by one, with a Sync after
	// each: a fault is to bring in one page and not a large stretch around it,
	// which a Sync would then write whole (measured on ext4: 20 us become 140).
	// It is a hint.
	Random()

	// Unmap ends the map. Nothing may touch its bytes any more. Calling it
	// again does nothing.
	Unmap() error
}

// valid reports whether name may be used with an FS at all. A NUL byte would
// end the name early in the system call.
func valid(name string) bool {
	if !fs.ValidPath(name) {
		return false
	}
	for i := range len(name) {
		if name[i] == 0 {
			return false
		}
	}
	return true
}

// checkRange refuses ranges whose ends do not fit an int64.
func checkRange(off, n int64) error {
	if off < 0 || n < 0 || off+n < 0 {
		return fs.ErrInvalid
	}
	return nil
}
