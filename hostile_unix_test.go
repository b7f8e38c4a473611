//go:build linux || darwin || freebsd

package leat

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// Directories in which somebody else has been. Each fault is an error that names
// what and where, or is done without; nothing else is lost, and nobody waits on a
// FIFO.

// twoPartitions is a closed store, and what it returns copies it: topic orders,
// partitions 0 and 1, of several segments each.
func twoPartitions(t *testing.T) (again func() (dir string)) {
	from := t.TempDir()
	st, err := Open(from, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 2, SegmentBytes: 4 << 10, Durability: Written})
	require.NoError(t, err)
	for p := range tp.Partitions() {
		fillMore(t, p, 30)
	}
	require.NoError(t, st.Close())
	return func() string {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS(from)))
		return dir
	}
}

func TestHostileFiles(t *testing.T) {
	const first = "orders-0/00000000000000000000.log"
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	kinds := map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink(secret, path) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	}
	again := twoPartitions(t)
	for _, c := range []struct {
		name string
		open error // of Open
		part error // of the first use of orders-0
	}{
		{first, nil, vfs.ErrType},
		{"orders-0/00000000000000000000.index", nil, nil},
		{"orders-0/00000000000000000000.timeindex", nil, nil},
		{"orders-0/partition.metadata", nil, vfs.ErrType},
		{"orders-0/leader-epoch-checkpoint", nil, vfs.ErrType},
		{recoveryName, nil, nil},
		{startName, nil, nil},
		{watermarkName, nil, nil},
		{propertiesName, nil, nil},
		{cleanName, nil, nil},
		{lockName, vfs.ErrType, nil},
		{"__metadata-0/00000000000000000000.log", vfs.ErrType, nil},
	} {
		for kind, make := range kinds {
			what := kind + " " + c.name
			dir := again()
			path := filepath.Join(dir, filepath.FromSlash(c.name))
			require.NoError(t, os.RemoveAll(path))
			require.NoError(t, make(path))
			st, err := Open(dir, nil)
			if c.open != nil {
				require.ErrorIs(t, err, c.open, what)
				require.ErrorContains(t, err, path, what)
				continue
			}
			require.NoError(t, err, what)
			tp, err := st.Topic("orders")
			require.NoError(t, err)
			p, err := tp.Partition(0)
			if c.part != nil {
				require.ErrorIs(t, err, c.part, what)
				require.ErrorContains(t, err, path, what)
			} else {
				require.NoError(t, err, what)
				require.Equal(t, count(0, 30), offsetsOf(t, p, ReaderOptions{}), what)
				fillMore(t, p, 1)
			}
			other, err := tp.Partition(1)
			require.NoError(t, err, what)
			require.Equal(t, count(0, 30), offsetsOf(t, other, ReaderOptions{}), what)
			fillMore(t, other, 1)
			err = st.Close()
			if c.part == nil && kind != "folder" { // a folder cannot be replaced by a file
				require.NoError(t, err, what)
			}
			b, err := os.ReadFile(secret)
			require.NoError(t, err)
			require.Equal(t, "secret", string(b), what)
		}
	}
}

// TestForeignFiles in a partition folder are left alone, whatever they are.
func TestForeignFiles(t *testing.T) {
	dir := twoPartitions(t)()
	foreign := map[string]string{
		"123.log": "x", "000000000000000000000.log": "x", "0000000000000000000a.log": "x", "99999999999999999999.log": "x",
		"-0000000000000000001.log": "x", "00000000000000000000.LOG": "x", "00000000000000000000.log.bak": "x",
		"notes.txt": "x", ".hidden": "x", "leat.import": "",
	}
	for name, text := range foreign {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "orders-0", name), []byte(text), 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "orders-0", "lost+found", "x"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, propertiesName), []byte("version=7\nnode.id=3\n"), 0o600))
	for range 2 {
		st, err := Open(dir, nil)
		require.NoError(t, err)
		p := reopened(t, st, "orders")
		require.Equal(t, count(0, p.LogEndOffset()), offsetsOf(t, p, ReaderOptions{}))
		fillMore(t, p, 5)
		out := filepath.Join(t.TempDir(), "out")
		require.NoError(t, p.Export(ctx, out))
		for name := range foreign {
			require.NoFileExists(t, filepath.Join(out, name))
		}
		require.NoError(t, st.Close())
	}
	for name := range foreign {
		require.FileExists(t, filepath.Join(dir, "orders-0", name))
	}
	require.DirExists(t, filepath.Join(dir, "orders-0", "lost+found", "x"))
	b, err := os.ReadFile(filepath.Join(dir, propertiesName))
	require.NoError(t, err)
	require.Equal(t, "version=7\nnode.id=3\n", string(b), "it is the broker's")
	st, err := Open(dir, nil)
	require.NoError(t, err)
	// Not even a delete takes what is in a folder of somebody else's.
	require.Error(t, st.DeleteTopic(ctx, "orders"))
	require.DirExists(t, filepath.Join(dir, "orders-0", "lost+found", "x"))
	require.NoError(t, st.Close())
}

// TestOtherFormats: segments with another magic byte are refused by name, and not
// touched.
func TestOtherFormats(t *testing.T) {
	again := twoPartitions(t)
	for _, c := range []string{"magic0-none", "magic1-none", "magic3"} {
		dir := again()
		var b []byte
		if c == "magic3" {
			b = magic3(t, filepath.Join(dir, "orders-0", "00000000000000000000.log"))
		} else {
			if !golden.Has("batches", "old", c+".log") {
				continue
			}
			var err error
			b, err = os.ReadFile(golden.Path(t, "batches", "old", c+".log"))
			require.NoError(t, err)
		}
		require.NoError(t, os.Mkdir(filepath.Join(dir, "old-0"), 0o700))
		path := filepath.Join(dir, "old-0", "00000000000000000000.log")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "__metadata-0"))) // adopt all of it
		for range 2 {
			st, err := Open(dir, nil)
			require.NoError(t, err)
			tp, err := st.Topic("old")
			require.NoError(t, err)
			_, err = tp.Partition(0)
			require.ErrorIs(t, err, ErrUnsupported, c)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "magic byte "+c[5:6])
			p := reopened(t, st, "orders")
			require.Equal(t, count(0, 30), offsetsOf(t, p, ReaderOptions{}))
			require.NoError(t, st.Close())
			is, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, b, is)
		}
	}
}

// magic3 is a sound batch of a format to come.
func magic3(t *testing.T, from string) []byte {
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	b[16] = 3 // not under the CRC
	return b
}

// TestMissingInTheMiddle: the partition is read around it and not appended to;
// the other goes on.
func TestMissingInTheMiddle(t *testing.T) {
	dir := twoPartitions(t)()
	list, err := filepath.Glob(filepath.Join(dir, "orders-0", "*.log"))
	require.NoError(t, err)
	require.Greater(t, len(list), 2)
	require.NoError(t, os.Remove(list[1]))
	base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(list[1]), ".log"), 10, 64)
	require.NoError(t, err)
	st, err := Open(dir, nil)
	require.NoError(t, err)
	p := reopened(t, st, "orders")
	_, err = p.Append(ctx, Record{})
	var e *CorruptError
	require.ErrorAs(t, err, &e)
	require.Equal(t, list[1], e.Path)
	require.Equal(t, base, e.Offset)
	require.ErrorIs(t, p.Describe().Err, ErrCorrupt)
	var got []int64
	for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
		if err != nil {
			break
		}
		got = append(got, rec.Offset)
	}
	require.Equal(t, count(0, base), got, "never past the hole in silence")
	other, err := p.Topic().Partition(1)
	require.NoError(t, err)
	fillMore(t, other, 1)
	require.NoError(t, st.Close())
}

// TestChangedUnderneath: files that are cut or removed while the store is open.
// What is done to one partition is an error of that one, and a fault of memory is
// an error too.
func TestChangedUnderneath(t *testing.T) {
	again := twoPartitions(t)
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for what, change := range map[string]func(path string) error{
			"cut":     func(path string) error { return os.Truncate(path, 100) },
			"removed": os.Remove,
		} {
			dir := again()
			st, err := Open(dir, &Options{Writer: w})
			require.NoError(t, err)
			tp, err := st.Topic("orders")
			require.NoError(t, err)
			p, err := tp.Partition(0)
			require.NoError(t, err)
			path := filepath.Join(dir, "orders-0", "00000000000000000000.log")
			require.NoError(t, change(path))
			r := reader(t, p, ReaderOptions{UntilEnd: true})
			rerr := error(nil)
			for _, err := range r.Records(ctx) {
				rerr = errors.Join(rerr, err)
			}
			require.Error(t, rerr, "%s, %v", what, w)
			require.ErrorContains(t, rerr, path)
			next := p.log.Load().Segments()[1].BaseOffset
			require.Equal(t, count(next, 30), offsetsOf(t, p, ReaderOptions{From: At(next)}), "the rest of it is there")
			require.ErrorIs(t, p.Export(ctx, filepath.Join(t.TempDir(), "out")), ErrCorrupt, "%s, %v", what, w)
			other, err := tp.Partition(1)
			require.NoError(t, err)
			require.Equal(t, count(0, 30), offsetsOf(t, other, ReaderOptions{}))
			fillMore(t, other, 1)
			_ = st.Close()

			st, err = Open(dir, nil) // it is met again
			require.NoError(t, err)
			tp, err = st.Topic("orders")
			require.NoError(t, err)
			other, err = tp.Partition(1)
			require.NoError(t, err)
			require.Equal(t, count(0, 31), offsetsOf(t, other, ReaderOptions{}))
			_, err = os.Stat(path)
			require.Equal(t, what == "removed", errors.Is(err, fs.ErrNotExist))
			require.NoError(t, st.Close())
		}
	}
}
