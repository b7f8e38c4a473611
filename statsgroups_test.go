package leat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestStatsGroups: lag and members, of what is in memory already; nothing is read or
// opened for it.
func TestStatsGroups(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	orders, _ := twoTopics(t, st)
	require.Empty(t, st.Stats().Groups)
	commitAs(t, st, "b", spot("orders", 0, 4), spot("orders", 1, 10), spot("mail", 0, 0))
	commitAs(t, st, "a", spot("orders", 2, 1))
	p, err := orders.Partition(2)
	require.NoError(t, err)
	require.NoError(t, p.DeleteRecords(ctx, 3))
	member, err := st.join(ctx, &ConsumerConfig{Group: "c", Topics: []string{"orders"}}, func() {})
	require.NoError(t, err)
	awaitSaved(st, "c")
	_, err = st.Groups().List(ctx) // has what was saved read
	require.NoError(t, err)
	got := st.Stats().Groups
	require.Equal(t, []GroupStats{{"a", 0, 1, 7}, {"b", 0, 3, 6}, {"c", 1, 0, 0}}, got)
	require.Equal(t, "b: 0 members, 3 partitions, behind by 6 records", got[1].String())
	member.close()
	awaitSaved(st, "c")
	require.NoError(t, st.Groups().Delete(ctx, "a"))
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	require.Equal(t, []GroupStats{{"b", 0, 1, 0}, {"c", 0, 0, 0}}, st.Stats().Groups)
	require.NoError(t, st.Close())
	require.Empty(t, st.Stats().Groups)

	st = openStore(t, m, nil)
	require.Empty(t, st.Stats().Groups, "nobody has asked for them")
	_, err = st.Groups().List(ctx)
	require.NoError(t, err)
	require.Equal(t, []GroupStats{{"b", 0, 1, 0}, {"c", 0, 0, 0}}, st.Stats().Groups)
	require.Equal(t, 1, st.Stats().Open, "__consumer_offsets")
}
