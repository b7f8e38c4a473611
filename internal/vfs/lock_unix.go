//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dirLock is a held lock: the lock file, and the directory it is in.
type dirLock struct{ file, dir *os.File }

// Close lets go explicitly: a child process between fork and exec holds copies
// of the descriptors, and closing ours alone would leave it the locks for that
// moment.
func (l *dirLock) Close() error {
	_ = unix.Flock(int(l.dir.Fd()), unix.LOCK_UN)
	unlockRange(int(l.file.Fd()))
	_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	return errors.Join(l.file.Close(), l.dir.Close())
}

// Lock takes three locks. flock conflicts with another Leat, in this process
// too. A lock on the file's range conflicts with a Java program, a Kafka broker
// above all, which knows only those. And flock on the directory still stands
// when somebody has deleted the lock file and a second process made a new one.
func (o *osFS) Lock(name string) (io.Closer, error) {
	if name == "." {
		return nil, o.bad("lock", name)
	}
	full := o.Path(name)
	var l io.Closer
	err := o.at("lock", name, func(dir int, base string) (err error) {
		// A holder that is just going may delete nothing, but an operator may,
		// at any moment: a lock on a file that is no longer the one of this
		// name locks nothing. Three times in a row is not an accident.
		for range 3 {
			var again bool
			if l, again, err = o.lock(dir, base, full); !again {
				return err
			}
		}
		return &LockedError{Path: full}
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (o *osFS) lock(dir int, base, full string) (_ io.Closer, again bool, err error) {
	f, err := openFile(dir, base, full, unix.O_RDWR|unix.O_CREAT, uint32(o.o.FileMode))
	if err != nil {
		return nil, false, err
	}
	d, err := openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		f.Close()
		return nil, false, err
	}
	l := &dirLock{file: f, dir: os.NewFile(uintptr(d), full)}
	defer func() {
		if err != nil || again {
			l.Close()
		}
	}()
	fd := int(f.Fd())
	if err := flock(fd); err != nil {
		return nil, false, lockError(err, full, readPID(f))
	}
	if pid, err := lockRange(fd); err != nil {
		// The pid in the file is of some earlier Leat: a Leat that holds this
		// lock holds the first as well.
		return nil, false, lockError(err, full, pid)
	}
	// Network filesystems may lock no directories. There the file must do.
	if err := flock(d); err == unix.EWOULDBLOCK {
		return nil, false, lockError(err, full, 0)
	}
	if same, err := sameFile(fd, dir, base); err != nil || !same {
		return nil, err == nil, err
	}
	return l, false, writePID(f)
}

// sameFile reports whether base in dir is still the file that fd is.
func sameFile(fd, dir int, base string) (bool, error) {
	var mine, named unix.Stat_t
	if err := unix.Fstat(fd, &mine); err != nil {
		return false, err
	}
	if err := unix.Fstatat(dir, base, &named, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return mine.Dev == named.Dev && mine.Ino == named.Ino, nil
}

func flock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

// lockError tells held (EWOULDBLOCK, EACCES by the rules of POSIX) from broken.
func lockError(err error, path string, pid int) error {
	if err == unix.EWOULDBLOCK || err == unix.EAGAIN || err == unix.EACCES {
		return &LockedError{Path: path, PID: pid}
	}
	return err
}

// writePID says who holds the lock. Nothing depends on it but the error text.
func writePID(f *os.File) error {
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(pid), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(pid)))
}

func readPID(f *os.File) int {
	var b [24]byte
	n, _ := f.ReadAt(b[:], 0)
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
