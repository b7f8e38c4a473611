package leat

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestGroupsFenceWaits: a later generation is seen when the commits of the one before
// are over, and not while one is on its way to the log.
func TestGroupsFenceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), nil)
		require.NoError(t, err)
		g := st.Groups()
		leave, err := g.enter(ctx, &Fence{Group: "g", Generation: 1})
		require.NoError(t, err)
		var in atomic.Bool
		go func() {
			leave, err := g.enter(ctx, &Fence{Group: "g", Generation: 2})
			if err == nil {
				in.Store(true)
				leave()
			}
		}()
		synctest.Wait()
		require.False(t, in.Load())
		same, err := g.enter(ctx, &Fence{Group: "g", Generation: 1})
		require.NoError(t, err, "the later one has not been seen")
		leave()
		synctest.Wait()
		require.False(t, in.Load())
		same()
		synctest.Wait()
		require.True(t, in.Load())
		_, err = g.enter(ctx, &Fence{Group: "g", Generation: 1})
		require.ErrorIs(t, err, ErrRebalanced)
		require.NoError(t, st.Close())
	})
}
