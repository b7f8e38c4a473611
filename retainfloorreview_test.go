package leat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestRetentionFloorOfCutLog: a commit from before the log was cut is not one of what
// has come in its place, whether the partition is open or not.
func TestRetentionFloorOfCutLog(t *testing.T) {
	for _, open := range []bool{true, false} {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "orders", forGroups(0, "g"))
		kilobytes(t, p, 10)
		commitAs(t, st, "g", spot("orders", 0, 9))
		require.NoError(t, p.TruncateTo(4))
		kilobytes(t, p, 8)
		if !open {
			require.NoError(t, st.Close())
			st, err = openFS(m, nil)
			require.NoError(t, err)
			p = nil
		}
		_, err = st.Retain(ctx)
		require.NoError(t, err)
		if p == nil {
			p = reopened(t, st, "orders")
		}
		require.EqualValues(t, 4, p.LogStartOffset(), "open: %v", open)
		c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, OutOfRange: OutOfRangeEarliest})
		batches, err := c.Poll(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 4, batches[0].BaseOffset())
		require.NoError(t, c.Close())
		require.NoError(t, st.Close())
	}
}

// TestRetentionFloorAtBoundary: of a partition that is not open the oldest segment
// goes when all of it is committed, and not a record before.
func TestRetentionFloorAtBoundary(t *testing.T) {
	m := vfs.NewMem()
	for i, want := range []int64{0, 1, 3} {
		st, err := openFS(m, nil)
		require.NoError(t, err)
		if i == 0 {
			kilobytes(t, part(t, st, "orders", forGroups(0, "g")), 10)
		}
		commitAs(t, st, "g", spot("orders", 0, want))
		require.NoError(t, st.Close())
		st, err = openFS(m, nil)
		require.NoError(t, err)
		_, err = st.Retain(ctx)
		require.NoError(t, err)
		require.EqualValues(t, want, reopened(t, st, "orders").LogStartOffset())
		require.NoError(t, st.Close())
	}
}
