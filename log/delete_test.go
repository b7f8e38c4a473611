package log

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDelete: the folder goes at once, and what a reader has pinned stays
// readable until it lets go.
func TestDelete(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		for i := range 30 {
			_, err := l.Append(context.Background(), []Record{numbered(i)}, Written)
			require.NoError(t, err)
		}
		c := l.NewCursor(7)
		b, err := c.Next(l.LogEndOffset())
		require.NoError(t, err)
		kept := string(b)
		require.NoError(t, l.Delete())
		_, err = g.fs.Stat(g.folder())
		require.True(t, errors.Is(err, fs.ErrNotExist))
		require.Equal(t, kept, string(b))
		require.True(t, b.CRCValid())
		_, err = c.Next(30)
		require.ErrorIs(t, err, ErrClosed)
		c.Close()
		require.NoError(t, RemoveFolder(g.env, g.folder())) // again is no error
		require.Zero(t, g.env.Maps().Count())
	})
}
