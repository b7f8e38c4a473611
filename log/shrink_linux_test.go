package log

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// A file that somebody else cuts while it is mapped is a memory fault at the next
// touch. It must be an error of that call, and end nothing but the partition.

func shrinkRig(t *testing.T, w Writer) (*rig, string) {
	dir := t.TempDir()
	fsys, err := vfs.OS(dir, vfs.Options{})
	require.NoError(t, err)
	require.NoError(t, fsys.Mkdir("t-0"))
	g := &rig{t: t, fs: fsys, cfg: Config{Topic: "t", SegmentBytes: 100_000}, st: OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}}
	g.env = NewEnv(EnvOptions{FS: fsys, MaxMaps: 100, Writer: w})
	t.Cleanup(func() {
		g.log.Abandon()
		g.env.Close()
		_ = fsys.Close()
	})
	g.open()
	for range 10 {
		_, err := g.log.Append(context.Background(), []Record{{Value: make([]byte, 20_000)}}, Written)
		require.NoError(t, err)
	}
	require.NoError(t, g.log.Sync(context.Background()))
	require.Len(t, g.log.Segments(), 3)
	return g, filepath.Join(dir, "t-0")
}

func TestSegmentCutUnderReader(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		g, dir := shrinkRig(t, w)
		l := g.log
		c := l.NewCursor(0)
		defer c.Close()
		_, err := c.Next(10)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(filepath.Join(dir, g.logFile(0)), 0))
		if c.Mapped() {
			_, err = c.Next(10)
			require.Error(t, err)
		}
		fresh := l.NewCursor(2) // what c has read without a map it keeps
		defer fresh.Close()
		_, err = fresh.Next(10)
		require.Error(t, err)
		require.Contains(t, err.Error(), g.logFile(0))
		_, _, _, err = l.OffsetForTimestamp(0)
		require.Error(t, err)
		// The rest goes on.
		base := l.Segments()[1].BaseOffset
		c.SeekTo(base)
		_, err = c.Next(10)
		require.NoError(t, err)
		_, err = l.Append(context.Background(), make([]Record, 1), Synced)
		require.NoError(t, err)
	}
}

func TestActiveSegmentCut(t *testing.T) {
	g, dir := shrinkRig(t, WriterMapped)
	l := g.log
	segs := l.Segments()
	require.NoError(t, os.Truncate(filepath.Join(dir, g.logFile(segs[len(segs)-1].BaseOffset)), 0))
	_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 20_000)}}, Synced)
	if strconv.IntSize == 32 {
		return // there are no maps, and what is written is a hole before it
	}
	require.ErrorIs(t, err, ErrFailed)
	_, err = l.Append(context.Background(), make([]Record, 1), Synced)
	require.ErrorIs(t, err, ErrFailed)
	_, err = l.NewCursor(0).Next(1)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.False(t, l.Clean())
}
