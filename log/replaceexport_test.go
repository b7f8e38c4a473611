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
