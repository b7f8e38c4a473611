package log

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestReplaceExport: a replacement between any two calls that an export makes of its target. The copy is
// the log of before, or of after, and never a segment of the one among the others.
func TestReplaceExport(t *testing.T) {
	for at, hit := 0, true; hit; at++ {
		g := newRig(t, WriterPwrite, true, smallSegments)
		l := g.open()
		g.add(40, Synced)
		waitSealed(t, l)
		bases := g.bases()
		n := 0
		hit = false
		to := vfs.NewMem()
		to.SetHook(func(vfs.Op, string, bool) error {
			if n++; n == at+1 {
				hit = true
				require.NoError(t, sift(l, 2, 2, even))
			}
			return nil
		})
		require.NoError(t, l.Export(context.Background(), to))
		to.SetHook(nil)
		want := upTo(40, func(o int64) bool { return o < bases[2] || o >= bases[4] || even(o) })
		copied := &rig{t: t, fs: to, cfg: g.cfg, dir: ".", st: OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1, Adopted: true}}
		copied.env = NewEnv(EnvOptions{FS: to})
		copied.open()
		require.Nil(t, copied.rep.Damage)
		require.Contains(t, [][]int64{want, upTo(40, all)}, offsetsOf(t, copied.log), at)
		copied.log.Abandon()
		copied.env.Close()
	}
}

// TestReplaceExportOpens: the replacement comes between the look at a segment and
// the opening of its file, whose name another has by then.
func TestReplaceExportOpens(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	l := g.open()
	g.add(40, Synced)
	waitSealed(t, l)
	bases := g.bases()
	for _, s := range l.segments.Load().segs { // no lock is held over the opens that follow
		require.NoError(t, s.Pin())
		defer s.Unpin()
	}
	hit := false
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpOpen && before && !hit && name == g.folder()+"/"+g.logFile(bases[2]) {
			hit = true
			return sift(l, 2, 1, even)
		}
		return nil
	})
	to := vfs.NewMem()
	require.NoError(t, l.Export(context.Background(), to))
	require.True(t, hit)
	g.fs.(*vfs.Mem).SetHook(nil)
	copied, err := readAll(to, g.logFile(bases[2]), 1<<20)
	require.NoError(t, err)
	require.Equal(t, g.getFile(g.logFile(bases[2])), copied)
}
