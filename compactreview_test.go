package leat

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestCompactKeepsTombstones: with TombstoneRetain Unlimited tombstones stay for
// good.
func TestCompactKeepsTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Off: true}})
		require.NoError(t, err)
		c := compacted
		c.Compaction.TombstoneRetain = Unlimited
		p := part(t, st, "orders", c)
		puts(t, p, 40, 4)
		put(t, p, "k2", "")
		want := latestOf(rowsOf(t, p))
		for range 3 {
			require.NoError(t, p.Compact(ctx, nil))
			require.Equal(t, want, rowsOf(t, p))
			time.Sleep(1000 * time.Hour)
		}
		require.NoError(t, st.Close())
	})
}
