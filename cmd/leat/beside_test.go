package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestBesideWriter: what reads works while another process has the store open for
// writing, and shows what is there now; what writes says who has it.
func TestBesideWriter(t *testing.T) {
	dir := newStore(t)
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	tp, err := st.CreateTopic(t.Context(), "new", leat.TopicConfig{})
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	for i := range int64(3) {
		_, err := p.Append(t.Context(), leat.Record{Value: []byte("v")})
		require.NoError(t, err)
		o := lines(t, good(t, "stat", "new", "--json", "--dir", dir))[0]
		require.Equal(t, i+1, number(t, o, "logEndOffset"))
		require.Equal(t, i+1, number(t, o, "highWatermark"))
	}
	require.Equal(t, "new\norders\n", good(t, "topics", "list", "--dir", dir))
	require.Contains(t, good(t, "topics", "describe", "--dir", dir), "topic new, 1 partition, id ")
	for _, args := range [][]string{
		{"create", "a"}, {"create", "a", "--if-not-exists"}, {"alter", "new", "--partitions", "2"}, {"delete", "new", "--yes"},
	} {
		r := tool(t, append(append([]string{"topics"}, args...), "--dir", dir)...)
		require.Equal(t, exitFailed, r.status)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, fmt.Sprintf("leat: store is open in another process: %s is locked by process %d\n",
			filepath.Join(dir, ".lock"), os.Getpid()))
		require.Contains(t, r.stderr, "leat: end that process first; what only reads works beside it\n")
	}
	require.Equal(t, int64(3), p.LogEndOffset())
}

// TestReadsWriteNothing: the commands that look change no file, and need no right
// to.
func TestReadsWriteNothing(t *testing.T) {
	dir := newStore(t)
	good(t, "groups", "reset", "g", "--to", "3", "--topic", "orders:0", "--execute", "--dir", dir)
	snapshot := func() (list []string) {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			list = append(list, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
			return err
		}))
		return list
	}
	var folders []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
			return nil
		}
		require.NoError(t, err)
		return os.Chmod(path, 0o400)
	}))
	for i := len(folders) - 1; i >= 0; i-- {
		require.NoError(t, os.Chmod(folders[i], 0o500))
		defer os.Chmod(folders[i], 0o700)
	}
	before := snapshot()
	good(t, "topics", "list", "--dir", dir)
	require.Contains(t, good(t, "topics", "describe", "--dir", dir), "10   10")
	good(t, "stat", "--dir", dir)
	good(t, "stat", "orders", "--partition", "0", "--dir", dir)
	require.Contains(t, good(t, "groups", "list", "--dir", dir), "\ng ")
	good(t, "groups", "describe", "--dir", dir)
	require.Equal(t, "g,orders,0,3\n", good(t, "groups", "export", "--dir", dir))
	require.Equal(t, exitOK, tool(t, "groups", "reset", "g", "--to", "latest", "--dir", dir).status)
	require.Contains(t, tool(t, "__complete", "groups", "describe", "--dir", dir, "").stdout, "g\n")
	require.Contains(t, tool(t, "__complete", "stat", "--dir", dir, "").stdout, "orders\n")
	require.Equal(t, before, snapshot())

	if f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		f.Close()
		t.Log("this user may write everything")
		return
	}
	for _, args := range [][]string{{"create", "a"}, {"alter", "orders", "--partitions", "9"}, {"delete", "orders", "--yes"}} {
		r := tool(t, append(append([]string{"topics"}, args...), "--dir", dir)...)
		require.Equal(t, exitFailed, r.status)
		require.Contains(t, r.stderr, "permission denied")
		require.Contains(t, r.stderr, "a store belongs to the user that made it")
	}
	require.Equal(t, before, snapshot())
}
