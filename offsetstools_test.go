package leat

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// TestOffsetsAndTools: check, backup, compaction, recovery and repair take
// __consumer_offsets for a topic like another, and what they leave is read.
func TestOffsetsAndTools(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	st, err := Open(dir, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	require.NoError(t, st.makeOffsetsTopic(ctx))
	ops, err := st.Topic(offsetsTopic)
	require.NoError(t, err)
	require.NoError(t, ops.SetProperties(ctx, map[string]string{"segment.bytes": "2048"}))
	for i := range int64(100) {
		commitAt(t, st, "g", i%10)
		commitAt(t, st, "h", 9-i%10)
	}
	l := offsetsPart(t, st, 0).log.Load()
	before := l.Size()
	require.Greater(t, len(l.Segments()), 3)
	require.NoError(t, ops.Compact(ctx, nil))
	require.Less(t, l.Size(), before)
	names := []string{}
	for tp := range st.Topics() {
		names = append(names, tp.Name())
	}
	require.Equal(t, []string{offsetsTopic, "orders"}, names)
	require.Equal(t, 2, st.Stats().Topics)
	require.NotZero(t, ops.Describe())

	copied := filepath.Join(t.TempDir(), "copy")
	_, err = st.Backup(ctx, copied, BackupOptions{})
	require.NoError(t, err)
	require.NoError(t, st.Close())
	for _, dir := range []string{dir, copied} {
		for f, err := range Check(ctx, dir, nil) {
			require.NoError(t, err)
			require.Less(t, f.Severity, SeverityDamage, "%v", f)
		}
		st, err = Open(dir, nil)
		require.NoError(t, err)
		require.Equal(t, int64(9), fetched(t, st, "g", tpOf("orders", 0)))
		require.Equal(t, int64(0), fetched(t, st, "h", tpOf("orders", 0)))
		for r, err := range st.Recover(ctx) {
			require.NoError(t, err)
			require.NoError(t, r.Err)
		}
		commitAt(t, st, "k", 1)
		require.NoError(t, st.Close())
	}

	// One batch is damaged and taken out: what the others say holds again.
	list, err := filepath.Glob(filepath.Join(dir, offsetsTopic+"-0", "*"+segment.LogSuffix))
	require.NoError(t, err)
	last := list[len(list)-1]
	b, err := os.ReadFile(last)
	require.NoError(t, err)
	b[70] ^= 1
	require.NoError(t, os.WriteFile(last, b, 0o600))
	st, err = Open(dir, nil)
	require.NoError(t, err)
	require.ErrorIs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 3}}, nil), ErrCorrupt)
	require.NoError(t, st.Close())
	require.NotEmpty(t, repaired(t, dir, true))
	st, err = Open(dir, nil)
	require.NoError(t, err)
	require.Equal(t, int64(9), fetched(t, st, "g", tpOf("orders", 0)))
	require.Equal(t, int64(-1), fetched(t, st, "k", tpOf("orders", 0)), "its only commit was in the batch")
	commitAt(t, st, "g", 4)
	require.Equal(t, int64(4), fetched(t, st, "g", tpOf("orders", 0)))
	require.NoError(t, st.Close())
}
