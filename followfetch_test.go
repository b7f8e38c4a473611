package leat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// TestFollowedReplicaFetch: a fetch for a replica is not cut at the last stable
// offset, neither of this process' log nor of another's, whatever the isolation
// level.
func TestFollowedReplicaFetch(t *testing.T) {
	set := goldenSets(t)[0]
	var want golden.Partition
	golden.JSON(t, &want, "partition", set, "expected.json")
	dir := golden.CopyDir(t, "partition", set, "clean")
	stable, end := want.State.LastStableOffset, want.State.LogEndOffset
	require.Less(t, stable, end)
	for _, open := range []func(string, *Options) (*Store, error){OpenReadOnly, Open} {
		st, err := open(dir, nil)
		require.NoError(t, err)
		p := follower(t, st, &want)
		for _, i := range []Isolation{ReadCommitted, ReadUncommitted} {
			f, err := p.Fetch(FetchOptions{Offset: stable, Follower: true, Isolation: i})
			require.NoError(t, err)
			require.Equal(t, end, f.NextOffset())
			require.Nil(t, f.Aborted)
			f.Release()
		}
		f, err := p.Fetch(FetchOptions{Offset: stable})
		require.NoError(t, err)
		require.Zero(t, f.Len())
		f.Release()
		require.NoError(t, st.Close())
	}
}
