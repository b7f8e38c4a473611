package vfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain is also the other process of some tests: what it does then is in the
// environment.
func TestMain(m *testing.M) {
	if what := os.Getenv("LEAT_VFS_CHILD"); what != "" {
		if err := child(what, os.Getenv("LEAT_VFS_DIR")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(what, dir string) error {
	hold := func() error {
		fmt.Println("held")
		_, err := io.Copy(io.Discard, os.Stdin) // until the parent closes it
		return err
	}
	path := filepath.Join(dir, ".lock")
	switch what {
	case "leat":
		tree, err := OS(dir, Options{})
		if err != nil {
			return err
		}
		l, err := tree.Lock(".lock")
		if err != nil {
			return err
		}
		defer l.Close()
		return hold()
	case "posix", "ofd": // posix is what Java's FileChannel.tryLock does
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd := map[string]int{"posix": unix.F_SETLK, "ofd": unix.F_OFD_SETLK}[what]
		if err := unix.FcntlFlock(f.Fd(), cmd, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
			return err
		}
		return hold()
	case "fds":
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		for _, e := range list {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
				fmt.Println(to)
			}
		}
		return nil
	case "fsize":
		err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		if err != nil {
			return err
		}
		return fillUp(dir, 1<<20)
	case "denied":
		return denied(dir)
	case "tmpfs":
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
			fmt.Println("skip:", err)
			return nil
		}
		return fillUp(dir, 1<<20)
	case "ext4":
		if err := mountExt4(dir); err != nil {
			fmt.Println("skip:", err)
			return nil
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return err
		}
		return fillUp(dir, int64(st.Bavail)*int64(st.Bsize))
	}
	return fmt.Errorf("no such child: %s", what)
}

// mountExt4 needs root, in a mount namespace of its own.
func mountExt4(dir string) error {
	img, err := os.CreateTemp("", "leat-ext4")
	if err != nil {
		return err
	}
	defer os.Remove(img.Name())
	if err := img.Truncate(20 << 20); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, c := range []*exec.Cmd{
		exec.Command("mkfs.ext4", "-q", "-m", "0", img.Name()),
		exec.Command("mount", "-o", "loop", img.Name(), dir),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return img.Close()
}

// fillUp writes where there is little room. The first two calls that do not fit
// fail and change nothing; then there is still room for what fits.
func fillUp(dir string, room int64) error {
	tree, err := OS(dir, Options{})
	if err != nil {
		return err
	}
	f, err := tree.Create("a")
	if err != nil {
		return err
	}
	half := room / 2 &^ 4095
	if err := f.Allocate(0, half); err != nil {
		return fmt.Errorf("what fits: %w", err)
	}
	if err := f.Allocate(half, 8*room); !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("too much: %v", err)
	}
	if size, err := f.Size(); size != half || err != nil {
		return fmt.Errorf("after it: %d %v", size, err)
	}
	if g, err := tree.Create("b"); err != nil {
		return err
	} else if err := errors.Join(g.Allocate(0, room/8), tree.Remove("b"), g.Close()); err != nil {
		return fmt.Errorf("what others need: %w", err)
	}
	if _, err := f.WriteAt(make([]byte, 2*room), half); !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("too long: %v", err)
	}
	if err := f.Truncate(half); err != nil {
		return err
	}
	if err := f.Allocate(half, room/4); err != nil {
		return fmt.Errorf("what fits then: %w", err)
	}
	return errors.Join(f.Sync(), f.Close(), tree.Close())
}

type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t *testing.T, what, dir string, attr *syscall.SysProcAttr) *process {
	exe, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(exe)
	c.Env = append(os.Environ(), "LEAT_VFS_CHILD="+what, "LEAT_VFS_DIR="+dir)
	c.SysProcAttr = attr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	if err := c.Start(); err != nil {
		if attr != nil {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return &process{c, in, bufio.NewReader(out)}
}

func (p *process) held(t *testing.T) *process {
	line, err := p.out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	return p
}

func TestLockOfAnotherProcess(t *testing.T) {
	for _, c := range []struct {
		holder string
		knows  bool // who it is
	}{{"leat", true}, {"posix", true}, {"ofd", false}} {
		t.Run(c.holder, func(t *testing.T) {
			dir := t.TempDir()
			tree := osTree(t, dir)
			// The pid of somebody who is long gone must not be reported.
			require.NoError(t, os.WriteFile(filepath.Join(dir, ".lock"), []byte("1\n"), 0o600))
			p := start(t, c.holder, dir, nil).held(t)
			_, err := tree.Lock(".lock")
			var locked *LockedError
			require.ErrorAs(t, err, &locked)
			require.Equal(t, filepath.Join(dir, ".lock"), locked.Path)
			if c.knows {
				require.Equal(t, p.Process.Pid, locked.PID)
				require.ErrorContains(t, err, strconv.Itoa(p.Process.Pid))
			} else {
				require.Zero(t, locked.PID)
			}

			// kill -9 leaves the file, and no lock.
			require.NoError(t, p.Process.Kill())
			p.Wait()
			l, err := tree.Lock(".lock")
			require.NoError(t, err)
			b, err := os.ReadFile(filepath.Join(dir, ".lock"))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintln(os.Getpid()), string(b))

			// And what Leat holds, each of the others meets.
			p = start(t, c.holder, dir, nil)
			out, err := io.ReadAll(p.out)
			require.NoError(t, err)
			require.NotContains(t, string(out), "held")
			require.Error(t, p.Wait())
			require.NoError(t, l.Close())
			p = start(t, c.holder, dir, nil).held(t)
			p.in.Close()
			require.NoError(t, p.Wait())
		})
	}
}

func TestLockFileDeletedWhileHeld(t *testing.T) {
	dir := t.TempDir()
	tree := osTree(t, dir)
	start(t, "leat", dir, nil).held(t)
	require.NoError(t, os.Remove(filepath.Join(dir, ".lock")))
	_, err := tree.Lock(".lock")
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
}

// A lock on a file that lost its name between open and lock is none.
func TestLockComparesInodes(t *testing.T) {
	dir := t.TempDir()
	tree := osTree(t, dir).(*osFS)
	require.NoError(t, tree.at("lock", ".lock", func(fd int, base string) error {
		l, again, err := tree.lock(fd, base, "full")
		require.NoError(t, err)
		require.False(t, again)
		require.NoError(t, l.Close())
		return nil
	}))
	// The same through a name that leads elsewhere by then.
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.Rename(filepath.Join(dir, ".lock"), filepath.Join(dir, "old")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".lock"), nil, 0o600))
	require.NoError(t, tree.at("lock", ".lock", func(fd int, base string) error {
		same, err := sameFile(int(f.Fd()), fd, base)
		require.NoError(t, err)
		require.False(t, same)
		same, err = sameFile(int(f.Fd()), fd, "old")
		require.NoError(t, err)
		require.True(t, same)
		same, err = sameFile(int(f.Fd()), fd, "gone")
		require.NoError(t, err)
		require.False(t, same)
		return nil
	}))
}

func TestDescriptorsAreNotInherited(t *testing.T) {
	dir := t.TempDir()
	tree := osTree(t, dir)
	l, err := tree.Lock(".lock")
	require.NoError(t, err)
	defer l.Close()
	f, err := tree.Create("a")
	require.NoError(t, err)
	defer f.Close()
	out, err := io.ReadAll(start(t, "fds", dir, nil).out)
	require.NoError(t, err)
	require.Empty(t, string(out))
}

func TestFullDisk(t *testing.T) {
	for name, attr := range map[string]*syscall.SysProcAttr{
		"fsize": nil,
		// Filesystems of their own, in namespaces of their own: nothing is left.
		"tmpfs": {
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		},
		"ext4": {Cloneflags: syscall.CLONE_NEWNS},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, name, t.TempDir(), attr)
			out, err := io.ReadAll(p.out)
			require.NoError(t, err)
			if s := string(out); strings.HasPrefix(s, "skip:") {
				t.Skip(s)
			}
			require.NoError(t, p.Wait(), "%s", out)
		})
	}
}

// Nothing below the root is reached through a link, and nothing that is not a
// regular file is opened, or waited for.
func TestWrongTypes(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "a"), []byte("secret"), 0o600))
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Mkdir(in("real"), 0o700))
	require.NoError(t, os.WriteFile(in("real/a"), nil, 0o600))
	require.NoError(t, os.Symlink(filepath.Join(outside, "a"), in("link")))
	require.NoError(t, os.Symlink("real/a", in("inside")))
	require.NoError(t, os.Symlink("nowhere", in("dangling")))
	require.NoError(t, os.Symlink(outside, in("dir")))
	require.NoError(t, os.Symlink("real", in("insidedir")))
	require.NoError(t, unix.Mkfifo(in("fifo"), 0o600))
	s, err := net.Listen("unix", in("socket"))
	require.NoError(t, err)
	defer s.Close()
	tree := osTree(t, dir)

	for _, name := range []string{"link", "inside", "dangling", "dir/a", "insidedir/a", "dir", "insidedir", "fifo", "socket", "real"} {
		for _, m := range []Mode{ReadOnly, ReadWrite} {
			_, err := tree.Open(name, m)
			require.ErrorIs(t, err, ErrType, name)
		}
		_, err := tree.Lock(name)
		require.ErrorIs(t, err, ErrType, name)
	}
	for _, name := range []string{"link", "inside", "dangling", "dir", "fifo"} {
		_, err := tree.Create(name)
		require.ErrorIs(t, err, fs.ErrExist, name)
	}
	for _, d := range []string{"dir", "insidedir"} {
		_, err := tree.Create(d + "/new")
		require.ErrorIs(t, err, ErrType)
		require.ErrorIs(t, tree.Mkdir(d+"/new"), ErrType)
		_, err = tree.ReadDir(d)
		require.ErrorIs(t, err, ErrType)
		require.ErrorIs(t, tree.SyncDir(d), ErrType)
		_, err = tree.Stat(d + "/a")
		require.ErrorIs(t, err, ErrType)
		require.ErrorIs(t, tree.Remove(d+"/a"), ErrType)
		require.ErrorIs(t, tree.Rename(d+"/a", "b"), ErrType)
		require.ErrorIs(t, tree.Rename("real/a", d+"/b"), ErrType)
	}
	list, err := tree.ReadDir(".")
	require.NoError(t, err)
	types := make(map[string]fs.FileMode)
	for _, i := range list {
		types[i.Name] = i.Mode.Type()
	}
	require.Equal(t, map[string]fs.FileMode{
		"link": fs.ModeSymlink, "inside": fs.ModeSymlink, "dangling": fs.ModeSymlink,
		"dir": fs.ModeSymlink, "insidedir": fs.ModeSymlink, "real": fs.ModeDir,
		"fifo": fs.ModeNamedPipe, "socket": fs.ModeSocket,
	}, types)
	require.NoError(t, tree.Remove("link"), "the link, not what it leads to")
	b, err := os.ReadFile(filepath.Join(outside, "a"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(b))

	// The root itself may be a link.
	require.NoError(t, os.Symlink(dir, filepath.Join(outside, "root")))
	_, err = osTree(t, filepath.Join(outside, "root")).Stat("real")
	require.NoError(t, err)
}

func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	base := t.TempDir()
	for _, c := range []struct {
		o         Options
		file, dir fs.FileMode
	}{
		{Options{Create: true}, 0o600, 0o700},
		{Options{Create: true, FileMode: 0o640, DirMode: 0o750}, 0o640, 0o750},
	} {
		root := filepath.Join(base, c.file.String(), "x", "y")
		tree, err := OS(root, c.o)
		require.NoError(t, err)
		defer tree.Close()
		require.NoError(t, tree.Mkdir("d"))
		f, err := tree.Create("d/a")
		require.NoError(t, err)
		require.NoError(t, f.Close())
		l, err := tree.Lock(".lock")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		for path, mode := range map[string]fs.FileMode{
			"d": c.dir, "d/a": c.file, ".lock": c.file, ".": c.dir, "..": c.dir, "../..": c.dir,
		} {
			info, err := os.Stat(filepath.Join(root, path))
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), path)
		}
	}
}

func TestRoot(t *testing.T) {
	dir := t.TempDir()
	_, err := OS("", Options{Create: true})
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = OS(filepath.Join(dir, "none"), Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for _, create := range []bool{false, true} {
		_, err = OS(filepath.Join(dir, "file"), Options{Create: create})
		require.ErrorIs(t, err, ErrType)
		_, err = OS(filepath.Join(dir, "file", "x"), Options{Create: create})
		require.ErrorIs(t, err, ErrType)
	}
	tree, err := OS("/", Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, tree.Close())
	_, err = tree.Stat(".")
	require.ErrorIs(t, err, fs.ErrClosed)

	// Paths in errors still lead there after a chdir.
	t.Chdir(dir)
	tree, err = OS("rel", Options{Create: true})
	require.NoError(t, err)
	defer tree.Close()
	require.Equal(t, filepath.Join(dir, "rel", "a", "b"), tree.Path("a/b"))
}

// Allocated blocks are there before anything is stored, and after Zero still.
func TestAllocatedBlocksAreReal(t *testing.T) {
	for name, dir := range map[string]func() string{
		"default": t.TempDir, "tmpfs": func() string { return tmpfs(t) },
	} {
		t.Run(name, func(t *testing.T) {
			tree := osTree(t, dir())
			if !tree.Mapped() {
				t.Skip("a filesystem where allocation means nothing")
			}
			f, err := tree.Create("a")
			require.NoError(t, err)
			defer f.Close()
			blocks := func() int64 {
				info, err := f.OS().Stat()
				require.NoError(t, err)
				return info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			require.NoError(t, f.Allocate(0, 1<<20))
			require.GreaterOrEqual(t, blocks(), int64(1<<20))
			_, err = f.WriteAt([]byte("hello"), 1<<19)
			require.NoError(t, err)
			require.NoError(t, f.Zero(100, 1<<20-100))
			require.GreaterOrEqual(t, blocks(), int64(1<<20))
		})
	}
}

func TestTooManyMaps(t *testing.T) {
	f, err := osTree(t, t.TempDir()).Create("a")
	require.NoError(t, err)
	defer f.Close()
	have := Maps()
	m, err := f.Map(4096, false)
	if errors.Is(err, ErrNotSupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.Equal(t, have+1, Maps())
	mapCount.Add(int64(MaxMaps()))
	defer mapCount.Add(-int64(MaxMaps()))
	_, err = f.Map(4096, false)
	require.ErrorIs(t, err, ErrTooManyMaps)
	require.NoError(t, m.Unmap())
	require.Equal(t, have+MaxMaps(), Maps())
}

// A 32-bit process never maps.
func TestMappedIsFor64Bit(t *testing.T) {
	tree := osTree(t, tmpfs(t))
	require.Equal(t, strconv.IntSize == 64, tree.Mapped())
	f, err := tree.Create("a")
	require.NoError(t, err)
	defer f.Close()
	m, err := f.Map(10, false)
	if strconv.IntSize == 32 {
		require.ErrorIs(t, err, ErrNotSupported)
		return
	}
	require.NoError(t, err)
	require.NoError(t, m.Unmap())
}

// A filesystem that is not in the table gets no writable maps.
func TestUnknownFilesystem(t *testing.T) {
	tree, err := OS("/proc/self", Options{})
	require.NoError(t, err)
	defer tree.Close()
	require.False(t, tree.Mapped())
}

// In a directory that may not be written, all that writes says so, and reading
// goes on. Root may write anywhere: the child is somebody else in a namespace.
func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("hello"), 0o400))
	require.NoError(t, os.Chmod(dir, 0o500))
	var attr *syscall.SysProcAttr
	if os.Getuid() == 0 {
		attr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		}
	}
	p := start(t, "denied", dir, attr)
	out, err := io.ReadAll(p.out)
	require.NoError(t, err)
	require.NoError(t, p.Wait(), "%s", out)
}

func denied(dir string) error {
	tree, err := OS(dir, Options{Create: true})
	if err != nil {
		return err
	}
	for name, call := range map[string]func() error{
		"lock":   func() error { _, err := tree.Lock(".lock"); return err },
		"create": func() error { _, err := tree.Create("b"); return err },
		"mkdir":  func() error { return tree.Mkdir("d") },
		"rename": func() error { return tree.Rename("a", "b") },
		"remove": func() error { return tree.Remove("a") },
		"open":   func() error { _, err := tree.Open("a", ReadWrite); return err },
	} {
		if err := call(); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
			return fmt.Errorf("%s: %v", name, err)
		}
	}
	f, err := tree.Open("a", ReadOnly)
	if err != nil {
		return err
	}
	_, err = f.ReadAt(make([]byte, 5), 0)
	return errors.Join(err, f.Close())
}

func TestKinds(t *testing.T) {
	for errno, kind := range map[syscall.Errno]error{
		unix.ENOSPC: ErrNoSpace, unix.EDQUOT: ErrNoSpace, unix.EFBIG: ErrNoSpace,
		unix.EOPNOTSUPP: ErrNotSupported, unix.ENOSYS: ErrNotSupported,
		unix.ELOOP: ErrType, unix.EISDIR: ErrType, unix.ENOTDIR: ErrType, unix.ENXIO: ErrType,
		unix.EMFILE: ErrTooManyFiles, unix.ENFILE: ErrTooManyFiles,
		unix.ENOTEMPTY: ErrNotEmpty, unix.EINVAL: fs.ErrInvalid, unix.EROFS: fs.ErrPermission,
		unix.EACCES: fs.ErrPermission, unix.ENOENT: fs.ErrNotExist, unix.EIO: unix.EIO,
	} {
		err := pathError("op", "/path", errno)
		require.ErrorIs(t, err, kind)
		require.ErrorIs(t, err, errno)
		require.EqualError(t, err, "op /path: "+errno.Error())
	}
}
