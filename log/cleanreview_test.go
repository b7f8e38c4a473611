package log

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
