package leat

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// seeded is a closed store in a directory, with ten records in topic orders.
func seeded(t *testing.T) (dir string) {
	dir = filepath.Join(t.TempDir(), "not", "there", "yet")
	st, err := Open(dir, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{Partitions: 2}), 10)
	require.NoError(t, st.Close())
	return dir
}

// requireSeeded opens dir and finds everything in it, then or on the way.
func requireSeeded(t *testing.T, dir string) {
	t.Helper()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	require.Equal(t, count(0, 10), offsetsOf(t, reopened(t, st, "orders"), ReaderOptions{}))
	require.NoError(t, st.Close())
}

func TestFilesOfAStore(t *testing.T) {
	dir := seeded(t)
	list := func() (names []string) {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := d.Info()
			require.NoError(t, err)
			if d.IsDir() {
				require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), path)
				return nil
			}
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), path)
			rel, err := filepath.Rel(dir, path)
			require.NoError(t, err)
			names = append(names, filepath.ToSlash(rel))
			return nil
		}))
		return names
	}
	require.Subset(t, list(), []string{
		".kafka_cleanshutdown", ".lock", "leat.state", "log-start-offset-checkpoint", "meta.properties",
		"recovery-point-offset-checkpoint", "replication-offset-checkpoint",
		"__metadata-0/00000000000000000000.log", "__metadata-0/partition.metadata",
		"orders-0/00000000000000000000.log", "orders-0/00000000000000000000.index", "orders-0/00000000000000000000.timeindex",
		"orders-0/00000000000000000010.snapshot", "orders-0/leader-epoch-checkpoint", "orders-0/partition.metadata",
		"orders-1/partition.metadata",
	})
	text := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, `{"version":0,"brokerEpoch":-1}`, text(cleanName))
	require.Equal(t, "0\n2\n__metadata 0 2\norders 0 10\n", text(recoveryName))
	require.Equal(t, "0\n2\n__metadata 0 2\norders 0 10\n", text(watermarkName))
	require.Equal(t, "0\n0\n", text(startName))
	require.Regexp(t, `^version=1\ncluster\.id=[\w-]{22}\nnode\.id=0\ndirectory\.id=[\w-]{22}\n$`, text(propertiesName))
	was := text(propertiesName)

	st, err := Open(dir, nil)
	require.NoError(t, err)
	require.NotContains(t, list(), cleanName, "gone while the store is open")
	require.NoError(t, st.Close())
	require.Equal(t, was, text(propertiesName))

	wide := filepath.Join(t.TempDir(), "wide")
	st, err = Open(wide, &Options{FileMode: 0o640})
	require.NoError(t, err)
	part(t, st, "orders", TopicConfig{})
	require.NoError(t, st.Close())
	for name, mode := range map[string]fs.FileMode{".": 0o750, "orders-0": 0o750, stateName: 0o640, "orders-0/partition.metadata": 0o640} {
		info, err := os.Stat(filepath.Join(wide, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
}

// TestUnknownFiles are left alone, and named in the log.
func TestUnknownFiles(t *testing.T) {
	dir := seeded(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "lost+found", "x"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "strange-0"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "strange-0", "00000000000000000000.log"), []byte("data"), 0o600))
	deleted := filepath.Join(dir, "old-0.0123456789abcdef0123456789abcdef-delete")
	require.NoError(t, os.Mkdir(deleted, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(deleted, "00000000000000000000.log"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, recoveryName+".tmp"), []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, cleanerName), []byte("0\n0\n"), 0o600))

	var said bytes.Buffer
	st, err := Open(dir, &Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	for _, name := range []string{"notes.txt", "lost+found", "strange-0"} {
		require.Contains(t, said.String(), name)
		_, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
	}
	require.NotContains(t, said.String(), cleanerName)
	require.NoDirExists(t, deleted, "Kafka had decided that")
	_, err = st.Topic("strange")
	require.ErrorIs(t, err, ErrUnknownTopic, "not adopted once there is a record of topics")
	_, err = st.CreateTopic(ctx, "strange", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	require.ErrorContains(t, err, filepath.Join(dir, "strange-0"))
	require.NoError(t, st.Close())
	requireSeeded(t, dir)
}

// TestLeftover: what a create left that was never committed is no hindrance.
func TestLeftover(t *testing.T) {
	dir := seeded(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mail-1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mail-1", partitionMetadata), []byte("version: 0\nto"), 0o600))
	st, err := Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "mail", TopicConfig{Partitions: 2})
	require.NoError(t, err)
	_, err = tp.Partition(1)
	require.NoError(t, err)
	require.NoError(t, st.Close())

	// Anything else in it is.
	require.NoError(t, os.Mkdir(filepath.Join(dir, "more-1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "more-1", "thesis.txt"), nil, 0o600))
	st, err = Open(dir, nil)
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "more", TopicConfig{Partitions: 2})
	require.ErrorIs(t, err, ErrTopicExists)
	require.ErrorContains(t, err, "thesis.txt")
	require.NoDirExists(t, filepath.Join(dir, "more-0"), "what was made before is undone")
	require.FileExists(t, filepath.Join(dir, "more-1", "thesis.txt"))
	require.NoError(t, st.Close())
}

func TestFolderGone(t *testing.T) {
	dir := seeded(t)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-1")))
	st, err := Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.Topic("orders")
	require.NoError(t, err)
	for range 2 {
		_, err = tp.Partition(1)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, filepath.Join(dir, "orders-1"))
	}
	require.NoDirExists(t, filepath.Join(dir, "orders-1"), "never made again as if it had been empty")
	for p := range tp.Partitions() {
		require.Equal(t, p.ID() == 1, p.LogEndOffset() == -1)
	}
	require.NoError(t, st.Close())
	requireSeeded(t, dir)
}

func TestFolderOfAnotherTopic(t *testing.T) {
	dir := seeded(t)
	name := filepath.Join(dir, "orders-0", partitionMetadata)
	was, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, formatPartitionMetadata(newTopicID()), 0o600))
	st, err := Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.Topic("orders")
	require.NoError(t, err)
	_, err = tp.Partition(0)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, name)
	require.NoError(t, st.Close())

	for _, bad := range [][]byte{nil, []byte("version: 0\ntopic_")} {
		require.NoError(t, os.WriteFile(name, bad, 0o600))
		requireSeeded(t, dir)
		again, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, was, again, "made again from the record of topics")
	}
}

// TestBadCheckpoints: hints that cannot be read cost time, and nothing else.
func TestBadCheckpoints(t *testing.T) {
	for _, name := range []string{recoveryName, startName, watermarkName, stateName, propertiesName} {
		for what, damage := range map[string]func(path string){
			"missing": func(path string) { require.NoError(t, os.Remove(path)) },
			"empty":   func(path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
			"garbage": func(path string) { require.NoError(t, os.WriteFile(path, []byte("7\nx\n\x00\x80"), 0o600)) },
			"long":    func(path string) { require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{0xff}, 1<<16), 0o600)) },
		} {
			dir := seeded(t)
			damage(filepath.Join(dir, name))
			var said bytes.Buffer
			st, err := Open(dir, &Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
			require.NoError(t, err, "%s %s", what, name)
			require.Equal(t, count(0, 10), offsetsOf(t, reopened(t, st, "orders"), ReaderOptions{}), "%s %s", what, name)
			require.NoError(t, st.Close())
			if strings.HasSuffix(name, "checkpoint") && (what == "garbage" || what == "long") {
				require.Contains(t, said.String(), name)
			}
			requireSeeded(t, dir)
		}
	}
}

// TestBadTypes: where a file belongs, there is a folder or a link.
func TestBadTypes(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	for _, name := range []string{recoveryName, propertiesName, stateName} {
		dir := seeded(t)
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		require.NoError(t, os.Symlink(secret, filepath.Join(dir, name)))
		requireSeeded(t, dir)
		b, err := os.ReadFile(secret)
		require.NoError(t, err)
		require.Equal(t, "secret", string(b), "a link is not followed")
	}
	dir := seeded(t)
	require.NoError(t, os.Rename(filepath.Join(dir, "orders-0"), filepath.Join(dir, "elsewhere")))
	require.NoError(t, os.Symlink("elsewhere", filepath.Join(dir, "orders-0")))
	st, err := Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.Topic("orders")
	require.NoError(t, err)
	_, err = tp.Partition(0)
	require.ErrorIs(t, err, vfs.ErrType)
	require.NoError(t, st.Close())
}
