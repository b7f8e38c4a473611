package vfs

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadOnly: reading works, all else is an error and no call to the tree.
func TestReadOnly(t *testing.T) {
	for name, fsys := range map[string]FS{"mem": NewMem(), "os": osTree(t, t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, fsys.Mkdir("d"))
			f, err := fsys.Create("d/f")
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("text"), 0)
			require.NoError(t, err)
			g, err := fsys.Create("d/g")
			require.NoError(t, err)

			r := NewReadOnly(fsys)
			_, err1 := r.Create("x")
			_, err2 := r.Open("d/f", ReadWrite)
			_, err3 := r.Lock(".lock")
			for _, err := range []error{err1, err2, err3, r.Mkdir("x"), r.Rename("d/f", "x"), r.Remove("d/f"), r.SyncDir("d")} {
				require.ErrorIs(t, err, fs.ErrPermission)
				var path *fs.PathError
				require.ErrorAs(t, err, &path)
			}
			read, err := r.Open("d/f", ReadOnly)
			require.NoError(t, err)
			b := make([]byte, 4)
			_, err = read.ReadAt(b, 0)
			require.NoError(t, err)
			require.Equal(t, "text", string(b))
			_, err = read.WriteAt(b, 0)
			require.ErrorIs(t, err, fs.ErrPermission)
			list, err := r.ReadDir(".")
			require.NoError(t, err)
			require.Len(t, list, 1)

			same, err := SameFile(f, read)
			require.NoError(t, err)
			require.True(t, same)
			same, err = SameFile(f, g)
			require.NoError(t, err)
			require.False(t, same)
			for _, f := range []File{f, g, read} {
				require.NoError(t, f.Close())
			}
		})
	}
}
