package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scripts say what every form of FS must answer. A line is a call and, after
// "=", its result: what it read, or the kind of its error, or "ok".
//
// Files are named by handles: "create a as f", "open a r as f", "open a rw as f".
var scripts = map[string]string{
	"create, write, read": `
		create a as f                = ok
		write f 0 hello              = ok
		write f 8 world              = ok
		size f                       = 13
		read f 0 13                  = hello...world
		read f 8 100                 = world eof
		read f 13 1                  =  eof
		read f 100 1                 =  eof
		read f 0 0                   = 
		sync f                       = ok
		close f                      = ok
		stat a                       = a 13 -rw-------
		open a r as g                = ok
		read g 0 5                   = hello
	`,
	"errors of names": `
		create .                     = invalid
		create ../a                  = invalid
		create /a                    = invalid
		create a//b                  = invalid
		create a/                    = invalid
		create a\0b                  = invalid
		open . r                     = type
		open a r                     = notexist
		open d/a r                   = notexist
		stat a                       = notexist
		remove a                     = notexist
		remove .                     = invalid
		mkdir d                      = ok
		mkdir d                      = exist
		mkdir .                      = exist
		mkdir x/y                    = notexist
		create d                     = exist
		create a as f                = ok
		create a                     = exist
		mkdir a                      = exist
		create a/b                   = type
		open a/b r                   = type
		stat a/b                     = type
		open d r                     = type
		open d rw                    = type
		readdir a                    = type
		readdir x                    = notexist
		syncdir a                    = type
		syncdir x                    = notexist
		lock .                       = invalid
		lock d                       = type
		lock x/y                     = notexist
	`,
	"errors of files": `
		create a as f                = ok
		write f 0 hello              = ok
		open a r as g                = ok
		write g 0 x                  = permission
		truncate g 0                 = permission
		allocate g 0 1               = permission
		zero g 0 1                   = permission
		map g 5 rw as m              = permission
		read f -1 1                  = invalid
		write f -1 x                 = invalid
		truncate f -1                = invalid
		allocate f -1 1              = invalid
		allocate f 0 -1              = invalid
		allocate f 9223372036854775807 1 = invalid
		zero f -1 1                  = invalid
		map f -1 r as m              = invalid
		close f                      = ok
		close f                      = closed
		read f 0 1                   = closed
		write f 0 x                  = closed
		size f                       = closed
		truncate f 0                 = closed
		allocate f 0 1               = closed
		zero f 0 1                   = closed
		sync f                       = closed
		map f 1 r as m               = closed
		read g 0 5                   = hello
	`,
	"directories": `
		mkdir d                      = ok
		mkdir d/e                    = ok
		create d/b as f              = ok
		create d/a as f              = ok
		write f 0 xy                 = ok
		readdir d                    = a:2 b:0 e/
		readdir .                    = d/
		stat d                       = d dir drwx------
		syncdir d                    = ok
		syncdir .                    = ok
		remove d                     = notempty
		remove d/e                   = ok
		remove d/a                   = ok
		remove d/b                   = ok
		remove d                     = ok
		readdir .                    = 
	`,
	"rename": `
		create a as f                = ok
		write f 0 aaa                = ok
		create b as g                = ok
		write g 0 b                  = ok
		rename a b                   = ok
		readdir .                    = b:3
		read g 0 1                   = b
		read f 0 3                   = aaa
		rename a b                   = notexist
		rename b x/y                 = notexist
		rename b .                   = invalid
		rename . b                   = invalid
		rename b ../b                = invalid
		rename b b                   = ok
		mkdir d                      = ok
		rename b d                   = type
		rename d b                   = type
		rename b d/c                 = ok
		readdir d                    = c:3
		rename d e                   = ok
		readdir .                    = e/
		open e/c r as h              = ok
		read h 0 3                   = aaa
		mkdir d                      = ok
		rename e d                   = ok
		mkdir e                      = ok
		rename e d                   = notempty
		rename d d/x                 = invalid
		rename d d                   = ok
	`,
	"removed while open": `
		create a as f                = ok
		write f 0 abc                = ok
		remove a                     = ok
		read f 0 3                   = abc
		write f 3 def                = ok
		size f                       = 6
		create a as g                = ok
		size g                       = 0
		sync f                       = ok
		close f                      = ok
	`,
	"truncate": `
		create a as f                = ok
		write f 0 abcdef             = ok
		truncate f 3                 = ok
		size f                       = 3
		truncate f 6                 = ok
		read f 0 6                   = abc...
		truncate f 10000             = ok
		read f 9998 10               = .. eof
		truncate f 0                 = ok
		size f                       = 0
	`,
	"allocate": `
		create a as f                = ok
		write f 0 abc                = ok
		allocate f 0 8192            = ok
		size f                       = 8192
		read f 0 6                   = abc...
		write f 8191 xyz             = ok
		size f                       = 8194
		allocate f 0 10              = ok
		size f                       = 8194
		read f 8190 4                = .xyz
		allocate f 8194 0            = ok
		size f                       = 8194
		allocate f 9000 1000         = ok
		size f                       = 10000
	`,
	"zero": `
		create a as f                = ok
		write f 0 abcdefgh           = ok
		zero f 2 3                   = ok
		read f 0 8                   = ab...fgh
		zero f 6 100                 = ok
		size f                       = 8
		read f 0 8                   = ab...f..
		zero f 100 100               = ok
		zero f 0 0                   = ok
		allocate f 0 20000           = ok
		write f 4094 xxxxxxxx        = ok
		zero f 4096 8192             = ok
		read f 4093 6                = .xx...
	`,
	"maps": `
		create a as f                = ok
		allocate f 0 8192            = ok
		map f 8192 rw as m           = ok
		map f 8192 r as n            = ok
		store m 10 hello             = ok
		load n 8 8                   = ..hello.
		read f 10 5                  = hello
		write f 12 LL                = ok
		load m 10 5                  = heLLo
		populate m 0 8192 w          = ok
		populate n 100 8000 r        = ok
		populate n 0 8193 r          = invalid
		populate n -1 1 r            = invalid
		populate n 0 -1 r            = invalid
		unmap m                      = ok
		unmap m                      = ok
		load n 10 5                  = heLLo
		close f                      = ok
		load n 10 5                  = heLLo
		remove a                     = ok
		load n 10 5                  = heLLo
		unmap n                      = ok
	`,
	"maps beyond the end": `
		create a as f                = ok
		map f 65536 rw as m          = ok
		allocate f 0 4096            = ok
		store m 4090 abcdef          = ok
		allocate f 4096 4096         = ok
		store m 4096 ghi             = ok
		size f                       = 8192
		read f 4090 9                = abcdefghi
		map f 0 r as e               = ok
		load e 0 0                   = 
		map f 4096 r as n            = ok
		load n 4090 6                = abcdef
		unmap m                      = ok
		truncate f 4099              = ok
		open a r as g                = ok
		map g 4099 r as n            = ok
		load n 4096 3                = ghi
	`,
	"lock": `
		lock .lock as l              = ok
		lock .lock as k              = locked by me
		mkdir d                      = ok
		lock d/.lock as j            = ok
		unlock l                     = ok
		lock .lock as k              = ok
		remove .lock                 = ok
		lock .lock as i              = locked
		unlock k                     = ok
		unlock k                     = closed
		lock .lock as i              = ok
	`,
}

func TestConformance(t *testing.T) {
	forms := map[string]func(t *testing.T) FS{
		"mem":   func(*testing.T) FS { return NewMem() },
		"crash": func(*testing.T) FS { return NewCrashMem() },
		"clone": func(*testing.T) FS { return NewCrashMem().CrashClone(None) },
		"os":    func(t *testing.T) FS { return osTree(t, t.TempDir()) },
		"tmpfs": func(t *testing.T) FS { return osTree(t, tmpfs(t)) },
	}
	for form, tree := range forms {
		for name, script := range scripts {
			t.Run(form+"/"+name, func(t *testing.T) {
				run(t, tree(t), script)
			})
		}
	}
}

func osTree(t testing.TB, dir string) FS {
	f, err := OS(dir, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// tmpfs makes a directory on a tmpfs, whose fallocate knows less.
func tmpfs(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "leat-vfs")
	if err != nil {
		t.Skip("no /dev/shm")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run calls what each line of a script says and compares the answers.
func run(t *testing.T, tree FS, script string) {
	c := &caller{tree: tree, held: make(map[string]any)}
	defer c.close()
	for line := range strings.Lines(script) {
		call, want, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		want = strings.TrimPrefix(strings.TrimRight(want, "\n"), " ")
		got, err := c.call(strings.Fields(strings.ReplaceAll(call, `\0`, "\x00")))
		if errors.Is(err, ErrNotSupported) && !c.mappable() {
			t.Skip(err)
		}
		if k := kind(err); k != "" {
			got = strings.TrimPrefix(got+" "+k, " ")
			if k == "eof" && got == "eof" {
				got = " eof"
			}
			checkPath(t, tree, err)
		}
		require.Equal(t, want, got, "%s\n%v", line, err)
	}
}

// checkPath: every error but io.EOF names the full path, once.
func checkPath(t *testing.T, tree FS, err error) {
	if err == io.EOF {
		return
	}
	var p *fs.PathError
	var l *LockedError
	switch {
	case errors.As(err, &p):
		require.True(t, strings.HasPrefix(p.Path, tree.Path(".")), "%v", err)
	case errors.As(err, &l):
		require.Equal(t, tree.Path(".lock"), l.Path)
	default:
		t.Fatalf("%T has no path: %v", err, err)
	}
	require.Equal(t, 1, strings.Count(err.Error(), tree.Path(".")), "%v", err)
}

func kind(err error) string {
	var locked *LockedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &locked):
		if locked.PID == os.Getpid() {
			return "locked by me"
		}
		return "locked"
	}
	for k, name := range map[error]string{
		io.EOF: "eof", fs.ErrExist: "exist", fs.ErrNotExist: "notexist", fs.ErrInvalid: "invalid",
		fs.ErrPermission: "permission", fs.ErrClosed: "closed", ErrNoSpace: "nospace",
		ErrNotSupported: "notsupported", ErrType: "type",
	} {
		if errors.Is(err, k) && !errors.Is(err, ErrNotEmpty) {
			return name
		}
	}
	if errors.Is(err, ErrNotEmpty) {
		return "notempty"
	}
	return err.Error()
}

type caller struct {
	tree FS
	held map[string]any
}

// mappable: whether this form has maps and allocation at all.
func (c *caller) mappable() bool {
	_, mem := c.tree.(*Mem)
	return mem || c.tree.Mapped()
}

func (c *caller) close() {
	for _, h := range c.held {
		switch h := h.(type) {
		case Map:
			h.Unmap()
		case io.Closer:
			h.Close()
		}
	}
}

func (c *caller) keep(args []string, h any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	name := fmt.Sprint(len(c.held))
	if len(args) > 1 && args[len(args)-2] == "as" {
		name = args[len(args)-1]
	}
	c.held[name] = h
	return "ok", nil
}

func (c *caller) call(a []string) (string, error) {
	num := func(i int) int64 {
		n, err := strconv.ParseInt(a[i], 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	file := func() File { return c.held[a[1]].(File) }
	mem := func() Map { return c.held[a[1]].(Map) }
	done := func(err error) (string, error) {
		if err != nil {
			return "", err
		}
		return "ok", nil
	}
	switch a[0] {
	case "create":
		f, err := c.tree.Create(a[1])
		return c.keep(a, f, err)
	case "open":
		f, err := c.tree.Open(a[1], map[string]Mode{"r": ReadOnly, "rw": ReadWrite}[a[2]])
		return c.keep(a, f, err)
	case "mkdir":
		return done(c.tree.Mkdir(a[1]))
	case "remove":
		return done(c.tree.Remove(a[1]))
	case "rename":
		return done(c.tree.Rename(a[1], a[2]))
	case "syncdir":
		return done(c.tree.SyncDir(a[1]))
	case "stat":
		i, err := c.tree.Stat(a[1])
		if err != nil {
			return "", err
		}
		if i.IsDir() {
			return fmt.Sprintf("%s dir %v", i.Name, i.Mode), nil
		}
		return fmt.Sprintf("%s %d %v", i.Name, i.Size, i.Mode), nil
	case "readdir":
		list, err := c.tree.ReadDir(a[1])
		var s []string
		for _, i := range list {
			if i.IsDir() {
				s = append(s, i.Name+"/")
			} else {
				s = append(s, fmt.Sprintf("%s:%d", i.Name, i.Size))
			}
		}
		return strings.Join(s, " "), err
	case "lock":
		l, err := c.tree.Lock(a[1])
		return c.keep(a, l, err)
	case "unlock":
		err := c.held[a[1]].(io.Closer).Close()
		if errors.Is(err, fs.ErrClosed) {
			return "closed", nil // it says no path; nobody needs one
		}
		return done(err)
	case "write":
		n, err := file().WriteAt([]byte(a[3]), num(2))
		if err == nil && n != len(a[3]) {
			return fmt.Sprintf("wrote %d", n), nil
		}
		return done(err)
	case "read":
		p := make([]byte, num(3))
		n, err := file().ReadAt(p, num(2))
		return dots(p[:n]), err
	case "size":
		n, err := file().Size()
		if err != nil {
			return "", err
		}
		return fmt.Sprint(n), nil
	case "truncate":
		return done(file().Truncate(num(2)))
	case "allocate":
		return done(file().Allocate(num(2), num(3)))
	case "zero":
		return done(file().Zero(num(2), num(3)))
	case "sync":
		return done(file().Sync())
	case "close":
		return done(file().Close())
	case "map":
		m, err := file().Map(num(2), a[3] == "rw")
		if err == nil && (int64(len(m.Bytes())) != num(2) || len(m.Bytes()) != cap(m.Bytes())) {
			return "wrong length", nil
		}
		return c.keep(a, m, err)
	case "store":
		copy(mem().Bytes()[num(2):], a[3])
		return "ok", nil
	case "load":
		return dots(mem().Bytes()[num(2) : num(2)+num(3)]), nil
	case "populate":
		return done(mem().Populate(int(num(2)), int(num(3)), a[4] == "w"))
	case "unmap":
		return done(mem().Unmap())
	}
	panic("no such call: " + a[0])
}

// dots shows zero bytes as dots.
func dots(b []byte) string { return string(bytes.ReplaceAll(b, []byte{0}, []byte("."))) }

// TestOpenFiles: every form counts the files that are open, each once however
// often it is closed.
func TestOpenFiles(t *testing.T) {
	dir, err := OS(t.TempDir(), Options{})
	require.NoError(t, err)
	for name, fsys := range map[string]FS{"os": dir, "memory": NewMem(), "crash": NewCrashMem()} {
		t.Run(name, func(t *testing.T) {
			require.Zero(t, fsys.OpenFiles())
			f, err := fsys.Create("a")
			require.NoError(t, err)
			g, err := fsys.Open("a", ReadOnly)
			require.NoError(t, err)
			_, err = fsys.Open("b", ReadOnly)
			require.Error(t, err)
			_, err = fsys.Create("a")
			require.Error(t, err)
			require.Equal(t, 2, fsys.OpenFiles())
			require.NoError(t, fsys.Remove("a"))
			require.NoError(t, f.Close())
			require.Error(t, f.Close())
			require.Equal(t, 1, fsys.OpenFiles())
			require.NoError(t, g.Close())
			require.Zero(t, fsys.OpenFiles())
			require.NoError(t, fsys.Close())
		})
	}
}
