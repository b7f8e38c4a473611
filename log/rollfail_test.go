package log

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// Running out of descriptors at a roll is no reason to fail the partition:
// nothing was written.
func TestRollThatCannotBeMade(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		g := newRig(t, w, true, Config{SegmentBytes: 1024})
		l := g.open()
		ctx := context.Background()
		add := func() error {
			_, err := l.Append(ctx, []Record{{Value: make([]byte, 200)}}, Synced)
			return err
		}
		for range 3 {
			require.NoError(t, add())
		}
		out := true
		g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
			if out && before && op == vfs.OpCreate && strings.HasSuffix(name, ".log") {
				return syscall.EMFILE
			}
			return nil
		})
		err := add()
		require.ErrorIs(t, err, syscall.EMFILE)
		require.False(t, errors.Is(err, ErrFailed), err)
		require.NoError(t, l.Failed())
		require.Len(t, readAllRecords(t, l, 0), 3)
		out = false
		require.NoError(t, add())
		require.Len(t, l.Segments(), 2)
		require.Len(t, readAllRecords(t, g.reopen(), 0), 4)
	}
}
