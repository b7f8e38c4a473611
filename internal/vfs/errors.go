package vfs

import (
	"errors"
	"fmt"
	"io/fs"
)

// What a caller branches on, beside the sentinels of io/fs.
var (
	// ErrNoSpace: the disk, the quota or the file size limit is full.
	ErrNoSpace = errors.New("no space left")

	// ErrNotSupported: the filesystem, the system or the memory form cannot do
	// this. There is another way, which the method names.
	ErrNotSupported = errors.New("not supported here")

	// ErrType: a link, FIFO, device or socket, a directory where a file is
	// expected, or the reverse.
	ErrType = errors.New("wrong type of file")

	// ErrNotEmpty: a directory to be removed still has something in it.
	ErrNotEmpty = errors.New("directory not empty")

	// ErrTooManyMaps: the process holds MaxMaps maps.
	ErrTooManyMaps = errors.New("too many memory maps")

	// ErrTooManyFiles: the process or the system has no descriptor left. Nothing
	// has changed; it works again once others have been closed.
	ErrTooManyFiles = errors.New("too many open files")
)

// LockedError says that a directory is in use.
type LockedError struct {
	Path string // of the lock file
	PID  int    // of the holder, 0 when it cannot be told
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}

// FaultError says that a map could not be read or written: the disk failed, the
// filesystem was shut down, or another process cut the file.
type FaultError struct {
	Path     string
	Position int64 // in the file, -1 when it cannot be told
	Err      error // the runtime's error, with the address
}

func (e *FaultError) Error() string {
	if e.Position < 0 {
		return fmt.Sprintf("%s: memory fault: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: memory fault at position %d: %v", e.Path, e.Position, e.Err)
}

func (e *FaultError) Unwrap() error { return e.Err }

// kindError gives an error of the system one of the kinds above. The text is
// the system's, which says more.
type kindError struct{ kind, cause error }

func (e *kindError) Error() string   { return e.cause.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.cause} }

// pathError makes err, whatever it is, one with operation, path and kind. An
// error that already says operation and path, as those of *os.File do, keeps
// them.
func pathError(op, path string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *fs.PathError:
		return &fs.PathError{Op: e.Op, Path: path, Err: classify(e.Err)}
	case *LockedError:
		return e
	}
	return &fs.PathError{Op: op, Path: path, Err: classify(err)}
}

// bare takes operation and path from an error that pathError gives its own.
func bare(err error) error {
	if e, ok := err.(*fs.PathError); ok {
		return e.Err
	}
	return err
}
