//go:build !race && !leatdebug

package leat

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStatsAllocations: Stats makes what it returns and little else, and counting
// costs appends and reads nothing.
func TestStatsAllocations(t *testing.T) {
	st := memStore(t)
	for name, partitions := range map[string]int32{"few": 10, "many": 500} {
		tp, err := st.CreateTopic(ctx, name, TopicConfig{Partitions: partitions})
		require.NoError(t, err)
		for id := range partitions {
			_, err := tp.Partition(id)
			require.NoError(t, err)
		}
	}
	require.Len(t, st.Stats().PerPartition, 510)
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { st.Stats() }), 60.0)

	p := part(t, openStore(t, diskFS(t), &Options{Observer: &Observer{Sync: func(Event) {}, Corrupt: func(*CorruptError) {}}}),
		"orders", TopicConfig{Durability: Written, FlushInterval: Unlimited})
	value := make([]byte, 100)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := p.Append(ctx, Record{Value: value}); err != nil {
			t.Error(err)
		}
	}))
	told := int64(0)
	p = part(t, openStore(t, diskFS(t), &Options{Observer: &Observer{Append: func(e Event) { told += e.Records }}}),
		"orders", TopicConfig{Durability: Written, FlushInterval: Unlimited})
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := p.Append(ctx, Record{Value: value}); err != nil {
			t.Error(err)
		}
	}), "nor does telling of them")
	require.Equal(t, int64(1001), told)
}
