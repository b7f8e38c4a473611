//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// osFS reaches every name from the descriptor of the root, one element at a
// time and following no link, so that neither a link in the tree nor one put
// there between two calls leads out of it.
type osFS struct {
	dir    string
	o      Options
	mapped bool
	root   *os.File
	files  atomic.Int64 // that are open
	rc     syscall.RawConn
}

func openRoot(dir string, o Options) (FS, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, pathError("open", dir, err)
	}
	r := &osFS{dir: dir, o: o, root: f, rc: rc}
	if cerr := rc.Control(func(fd uintptr) { r.mapped = canMap && mappable(int(fd)) }); cerr != nil {
		f.Close()
		return nil, pathError("open", dir, cerr)
	}
	return r, nil
}

func (o *osFS) Close() error { return pathError("close", o.dir, o.root.Close()) }

// at walks to the directory that holds name and calls do there.
func (o *osFS) at(op, name string, do func(dir int, base string) error) error {
	if !valid(name) {
		return o.bad(op, name)
	}
	var err error
	if cerr := o.rc.Control(func(root uintptr) {
		dir, base := int(root), name
		for {
			elem, rest, more := strings.Cut(base, "/")
			if !more {
				break
			}
			next, oerr := openat(dir, elem, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if dir != int(root) {
				unix.Close(dir)
			}
			if oerr != nil {
				err = oerr
				return
			}
			dir, base = next, rest
		}
		err = do(dir, base)
		if dir != int(root) {
			unix.Close(dir)
		}
	}); cerr != nil {
		err = fs.ErrClosed
	}
	return pathError(op, o.Path(name), err)
}

// openat opens without following a link, without blocking on a FIFO, and
// without handing the descriptor (and a lock on it) to child processes.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openFile opens a regular file in dir, and refuses anything else.
func openFile(dir int, base, full string, flags int, mode uint32) (*os.File, error) {
	if base == "." {
		return nil, unix.EISDIR
	}
	fd, err := openat(dir, base, flags, mode)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, ErrType
	}
	// A regular file never blocks in this sense, and package os would offer a
	// non-blocking one to the poller, in vain.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), full), nil
}

func (o *osFS) Create(name string) (File, error) {
	if name == "." {
		return nil, o.bad("create", name)
	}
	return o.open("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (o *osFS) Open(name string, m Mode) (File, error) {
	if m == ReadOnly {
		return o.open("open", name, unix.O_RDONLY)
	}
	return o.open("open", name, unix.O_RDWR)
}

func (o *osFS) open(op, name string, flags int) (File, error) {
	var f *os.File
	full := o.Path(name)
	if err := o.at(op, name, func(dir int, base string) (err error) {
		f, err = openFile(dir, base, full, flags, uint32(o.o.FileMode))
		return err
	}); err != nil {
		return nil, err
	}
	return o.newFile(f, full, flags&unix.O_RDWR == 0)
}

func (o *osFS) Mkdir(name string) error {
	return o.at("mkdir", name, func(dir int, base string) error {
		return unix.Mkdirat(dir, base, uint32(o.o.DirMode))
	})
}

func (o *osFS) ReadDir(name string) (list []Info, err error) {
	err = o.at("readdir", name, func(dir int, base string) error {
		fd, err := openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		d := os.NewFile(uintptr(fd), o.Path(name))
		defer d.Close()
		names, err := d.Readdirnames(-1)
		if err != nil && err != io.EOF {
			return err
		}
		slices.Sort(names)
		list = make([]Info, 0, len(names))
		for _, n := range names {
			info, err := statat(fd, n)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since
			}
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		runtime.KeepAlive(d)
		return nil
	})
	return list, err
}

func (o *osFS) Stat(name string) (info Info, err error) {
	err = o.at("stat", name, func(dir int, base string) error {
		info, err = statat(dir, base)
		return err
	})
	return info, err
}

func statat(dir int, name string) (Info, error) {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return Info{}, err
		}
	}
	m := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	default:
		m |= fs.ModeIrregular
	}
	// The conversions are for 32-bit systems, where the fields are narrower.
	return Info{Name: path.Base(name), Size: int64(st.Size), Mode: m,
		ModTime: time.Unix(int64(st.Mtim.Sec), int64(st.Mtim.Nsec)),
		ID:      FileID{uint64(st.Dev), uint64(st.Ino)}}, nil
}

func (o *osFS) Rename(from, to string) error {
	if from == "." || to == "." {
		return o.bad("rename", ".")
	}
	return o.at("rename", from, func(dir int, base string) error {
		return o.at("rename", to, func(todir int, tobase string) error {
			return unix.Renameat(dir, base, todir, tobase)
		})
	})
}

func (o *osFS) Remove(name string) error {
	if name == "." {
		return o.bad("remove", name)
	}
	return o.at("remove", name, func(dir int, base string) error {
		err := unix.Unlinkat(dir, base, 0)
		if err == nil || err == unix.ENOENT {
			return err
		}
		// What unlink says of a directory differs by system (EISDIR, EPERM);
		// what rmdir says of a file does not.
		if rerr := unix.Unlinkat(dir, base, unix.AT_REMOVEDIR); rerr != unix.ENOTDIR {
			return rerr
		}
		return err
	})
}

func (o *osFS) SetModTime(name string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return pathError("utimes", o.Path(name), err)
	}
	return o.at("utimes", name, func(dir int, base string) error {
		return unix.UtimesNanoAt(dir, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (o *osFS) SyncDir(name string) error {
	return o.at("syncdir", name, func(dir int, base string) error {
		fd, err := openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		d := os.NewFile(uintptr(fd), o.Path(name))
		defer d.Close()
		return bare(d.Sync()) // package os knows each system's way
	})
}

// syncPath syncs a directory outside any tree.
func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func classify(err error) error {
	var kind error
	errno, ok := err.(syscall.Errno)
	if !ok {
		return err
	}
	switch errno {
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		kind = ErrNoSpace
	case unix.EOPNOTSUPP, unix.ENOSYS:
		kind = ErrNotSupported
	case unix.ELOOP, unix.EMLINK, // a link met with O_NOFOLLOW
		unix.ENOTDIR, unix.EISDIR, unix.ENXIO, unix.ENODEV:
		kind = ErrType
	case unix.EMFILE, unix.ENFILE:
		kind = ErrTooManyFiles
	case unix.ENOTEMPTY:
		kind = ErrNotEmpty
	case unix.EINVAL:
		kind = fs.ErrInvalid
	case unix.EROFS:
		kind = fs.ErrPermission
	default:
		return err
	}
	return &kindError{kind, err}
}
