package log

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// TestCleanEndedInOldSnapshot: a transaction that is open in an old snapshot, and
// of which a cleaning has left nothing, not even its marker, stays ended when the
// producer state has to be made from that snapshot.
func TestCleanEndedInOldSnapshot(t *testing.T) {
	fill := strings.Repeat("a", 250)
	for _, end := range []string{"commit", "abort"} {
		for _, how := range []string{"snapshots lost", "truncated"} {
			t.Run(end+", "+how, func(t *testing.T) {
				g := newRules(t, func(c *Config) { c.SegmentBytes = 500 })
				script(t, g.log, "f0="+fill, "p1 txn a=1", "--", "p1 "+end, "f1="+fill, "g1=1", "--", "p1 e1 a=2", "f2="+fill, "--", "x=1", "--", "y=1")
				list := g.log.segments.Load()
				require.NoError(t, g.log.awaitSealed(context.Background(), list.segs[:len(list.segs)-1]))
				o := ruleOptions()
				for range 4 {
					_, err := g.log.Compact(context.Background(), o)
					require.NoError(t, err)
					o.Now = o.Now.Add(time.Hour)
				}
				for _, w := range written(t, g.log) {
					require.NotContains(t, w, "marker")
					require.NotContains(t, w, "txn")
				}
				old := list.bases[1]
				require.Contains(t, names(g.files(), segment.SnapshotSuffix), segment.FileName(old, segment.SnapshotSuffix))
				stable := g.log.LogEndOffset()
				require.Equal(t, stable, g.log.LastStableOffset())
				switch how {
				case "snapshots lost":
					g.log.Abandon()
					for _, name := range names(g.files(), segment.SnapshotSuffix) {
						if name != segment.FileName(old, segment.SnapshotSuffix) {
							g.remove(name)
						}
					}
					g.st = OpenState{RecoveryPoint: stable, StartOffset: -1, HighWatermark: -1}
					g.open()
				case "truncated":
					stable = list.bases[2] - 1
					require.NoError(t, g.log.TruncateTo(stable, nil))
					stable = g.log.LogEndOffset()
				}
				require.Equal(t, stable, g.log.LogEndOffset())
				require.Equal(t, stable, g.log.LastStableOffset())
			})
		}
	}
}

// TestCleanUnlikeSealed: where offsets may be missing, a batch that has come by
// another offset, or is gone, is damage all the same, and not taken into a new
// segment.
func TestCleanUnlikeSealed(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"an offset": func(b []byte) []byte {
			first, err := codec.Next(b)
			require.NoError(t, err)
			codec.SetBaseOffset(first, first.BaseOffset()-1)
			return b
		},
		"the epoch": func(b []byte) []byte { b[15]++; return b },
		"a batch is gone": func(b []byte) []byte {
			first, err := codec.Next(b)
			require.NoError(t, err)
			return b[len(first):]
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRules(t)
			script(t, g.log, "a=1", "a=2", "b=1", "a=3", "--", "b=2 c=1", "c=2", "--", "x=1")
			o := ruleOptions()
			_, err := g.log.Compact(context.Background(), o)
			require.NoError(t, err)
			require.Equal(t, []string{"3-3 a=3", "4-5 b=2", "6-6 c=2", "7-7 x=1"}, written(t, g.log))
			script(t, g.log, "--", "y=1")
			g.reopen()
			g.damage(0, change)
			files := g.files()
			_, err = g.log.Compact(context.Background(), o)
			var damage *segment.CorruptError
			require.ErrorAs(t, err, &damage)
			require.Contains(t, damage.Path, segment.FileName(0, segment.LogSuffix))
			require.True(t, maps.Equal(files, g.files()))
			require.NoError(t, g.log.Failed())
		})
	}
}

// TestCleanSumsLost: a compacted log without segments.sum, which is a hint, opens
// after a crash as any other.
func TestCleanSumsLost(t *testing.T) {
	g := newRules(t, func(c *Config) { c.SegmentBytes = 300 })
	fill := strings.Repeat("a", 150)
	script(t, g.log, "f0="+fill, "a=1", "--", "f1="+fill, "a=2", "--", "f2="+fill, "a=3", "--", "f3="+fill, "a=4", "--", "x=1", "--", "y=1")
	_, err := g.log.Compact(context.Background(), ruleOptions())
	require.NoError(t, err)
	want := written(t, g.log)
	require.Len(t, g.log.Segments(), 6)
	end := g.log.LogEndOffset()
	g.log.Abandon()
	g.remove(sumsName)
	for _, point := range []int64{end, 3, 0} {
		g.st = OpenState{RecoveryPoint: point, StartOffset: -1, HighWatermark: -1}
		g.open()
		require.NoError(t, g.log.Failed())
		require.NoError(t, g.log.Trouble())
		require.Equal(t, want, written(t, g.log))
		g.log.Abandon()
		g.remove(sumsName)
	}
}
