package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// TestInternalTopics: topics in which Kafka keeps its own are shown to who asks
// for them, and marked.
func TestInternalTopics(t *testing.T) {
	dir := golden.CopyDir(t, "offsets")
	for _, args := range [][]string{{"topics", "list"}, {"topics", "describe"}, {"stat"}} {
		r := tool(t, append(args, "--dir", dir)...)
		require.Equal(t, exitOK, r.status, r.stderr)
		require.Empty(t, r.stdout)
		require.Equal(t, "leat: no topics in "+dir+" but internal ones, which --internal shows\n", r.stderr)
	}
	require.Equal(t, "__consumer_offsets\n", good(t, "topics", "list", "--internal", "--dir", dir))
	require.Equal(t, true, lines(t, good(t, "topics", "list", "--internal", "--json", "--dir", dir))[0]["internal"])
	for _, which := range []string{"__consumer_offsets", "--internal"} {
		require.Regexp(t, `^topic __consumer_offsets, 1 of 13 partitions, internal, adopted, id `, good(t, "topics", "describe", which, "--dir", dir))
	}
	require.Regexp(t, `\n__consumer_offsets +12 `, good(t, "stat", "--internal", "--dir", dir))
	require.Equal(t, good(t, "stat", "--internal", "--dir", dir), good(t, "stat", "__consumer_offsets", "--dir", dir))
	require.NotContains(t, tool(t, "__complete", "stat", "--dir", dir, "").stdout, "__consumer_offsets")
	require.Contains(t, tool(t, "__complete", "stat", "--dir", dir, "_").stdout, "__consumer_offsets\n")

	require.NotContains(t, lines(t, good(t, "topics", "list", "--json", "--dir", newStore(t)))[0], "internal")
}
