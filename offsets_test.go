package leat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

func tpOf(topic string, id int32) log.TopicPartition {
	return log.TopicPartition{Topic: topic, Partition: id}
}

// fetched is what a group has committed of a partition, without metadata and time.
func fetched(t testing.TB, st *Store, group string, tp log.TopicPartition) int64 {
	t.Helper()
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	c, ok, err := o.fetch(group, tp)
	require.NoError(t, err)
	require.Equal(t, ok, c.offset >= 0)
	return c.offset
}

func TestCommit(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 10)
	tp := tpOf("orders", 0)
	require.Equal(t, int64(-1), fetched(t, st, "mailer", tp))
	_, err := st.Topic(offsetsTopic)
	require.ErrorIs(t, err, ErrUnknownTopic, "made by the first commit")
	require.NoError(t, st.commitOffsets(ctx, "mailer", []Position{{Topic: "orders", Offset: 7, Metadata: "m"}}, nil))
	require.Equal(t, int64(7), fetched(t, st, "mailer", tp))
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	require.Equal(t, int64(7), fetched(t, st, "mailer", tp))
}
