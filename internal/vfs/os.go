package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Options of [OS].
type Options struct {
	FileMode fs.FileMode // permissions of new files; 0 is 0600
	DirMode  fs.FileMode // permissions of new directories; 0 is 0700
	Create   bool        // make the directory, and those above it, when missing
}

// OS opens the directory dir as a tree. dir itself may be or lead through
// symbolic links, for its owner chose it; nothing below it may.
func OS(dir string, o Options) (FS, error) {
	if o.FileMode &= fs.ModePerm; o.FileMode == 0 {
		o.FileMode = 0o600
	}
	if o.DirMode &= fs.ModePerm; o.DirMode == 0 {
		o.DirMode = 0o700
	}
	if dir == "" {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrInvalid}
	}
	// Absolute, so that errors still name the right file after a chdir.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if o.Create {
		if err := makeRoot(abs, o.DirMode); err != nil {
			return nil, err
		}
	}
	return openRoot(abs, o)
}

// makeRoot makes dir and what is missing above it, and makes their names
// durable: what is synced inside a directory that a power cut takes away was
// not durable. dir may be there only because an earlier call was killed between
// mkdir and sync, so its own name is synced always.
func makeRoot(dir string, mode fs.FileMode) error {
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil // the filesystem's root
	}
	made := true
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeRoot(parent, mode); err != nil {
			return err
		}
		err = os.Mkdir(dir, mode)
	}
	if err != nil {
		info, serr := os.Stat(dir)
		if serr != nil {
			return pathError("mkdir", dir, err) // it says why there is none
		}
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: &kindError{ErrType, syscall.ENOTDIR}}
		}
		made = false
	}
	err = syncPath(parent)
	if !made && errors.Is(err, fs.ErrPermission) {
		return nil // somebody else's directory, and somebody else made dir
	}
	return err
}

func (o *osFS) Path(name string) string {
	return filepath.Join(o.dir, filepath.FromSlash(name))
}

func (o *osFS) Mapped() bool { return o.mapped }

func (o *osFS) OpenFiles() int { return int(o.files.Load()) }

// bad is the error for a name that may not be used.
func (o *osFS) bad(op, name string) error {
	// Not Path: joining would make a harmless looking path of "../x".
	return &fs.PathError{Op: op, Path: o.dir + string(filepath.Separator) + name, Err: fs.ErrInvalid}
}

// osFile is a file of either kind of osFS.
type osFile struct {
	f        *os.File
	rc       syscall.RawConn
	path     string
	readOnly bool
	files    *atomic.Int64 // of its tree
}

func (o *osFS) newFile(f *os.File, path string, readOnly bool) (File, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, pathError("open", path, err)
	}
	o.files.Add(1)
	return &osFile{f: f, rc: rc, path: path, readOnly: readOnly, files: &o.files}, nil
}

// control runs a system call that package os does not offer. Through the
// RawConn the descriptor cannot be closed, and its number given to another
// file, in the middle of the call. Interrupted calls are made again, as package
// os does.
func (f *osFile) control(op string, call func(fd int) error) error {
	var err error
	if cerr := f.rc.Control(func(fd uintptr) {
		for {
			if err = call(int(fd)); err != syscall.EINTR {
				return
			}
		}
	}); cerr != nil {
		err = fs.ErrClosed // the only reason there is
	}
	return pathError(op, f.path, err)
}

func (f *osFile) Path() string { return f.path }
func (f *osFile) OS() *os.File { return f.f }

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("read", f.path, fs.ErrInvalid)
	}
	n, err := f.f.ReadAt(p, off)
	if _, ok := err.(*fs.PathError); ok {
		err = pathError("read", f.path, err)
	}
	return n, err
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.writable(off, int64(len(p))); err != nil {
		return 0, pathError("write", f.path, err)
	}
	n, err := f.f.WriteAt(p, off)
	return n, pathError("write", f.path, err)
}

// writable gives the errors that do not depend on the system, so that both
// forms have the same.
func (f *osFile) writable(off, n int64) error {
	if f.readOnly {
		return fs.ErrPermission
	}
	return checkRange(off, n)
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, pathError("stat", f.path, err)
	}
	return info.Size(), nil
}

func (f *osFile) Truncate(size int64) error {
	if err := f.writable(size, 0); err != nil {
		return pathError("truncate", f.path, err)
	}
	return pathError("truncate", f.path, f.f.Truncate(size))
}

func (f *osFile) Allocate(off, n int64) error {
	if err := f.writable(off, n); err != nil {
		return pathError("allocate", f.path, err)
	}
	size, err := f.Size()
	if err != nil || n == 0 {
		return err
	}
	err = f.allocate(off, n)
	if err != nil && size < off+n {
		// ext4 keeps the part that it could allocate, and the size of it.
		// Giving it back lets others use the last blocks. Failing in that
		// changes nothing: the caller goes by the size it knows.
		if now, serr := f.Size(); serr == nil && now >= size && !errors.Is(err, ErrNotSupported) {
			_ = f.f.Truncate(size)
		}
	}
	return err
}

func (f *osFile) Zero(off, n int64) error {
	if err := f.writable(off, n); err != nil {
		return pathError("zero", f.path, err)
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	if n = min(n, size-off); n <= 0 {
		return nil
	}
	return f.zero(off, n)
}

// writeZeros is Zero by writing, where the filesystem has no better way.
func (f *osFile) writeZeros(off, n int64) error {
	zeros := make([]byte, min(n, 64<<10))
	for n > 0 {
		p := zeros[:min(n, int64(len(zeros)))]
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return nil
}

func (f *osFile) Sync() error { return f.sync() }

func (f *osFile) Close() error {
	err := f.f.Close()
	if !errors.Is(err, fs.ErrClosed) { // after any other error it is closed all the same
		f.files.Add(-1)
	}
	return pathError("close", f.path, err)
}
