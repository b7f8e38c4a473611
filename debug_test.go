//go:build race || leatdebug

package leat

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKeptSlices: in a debug build, whoever keeps a slice without cloning it sees
// it overwritten, whatever the batch lies in.
func TestKeptSlices(t *testing.T) {
	dead := func(b []byte) bool { return len(b) > 0 && len(bytes.Trim(b, "\xdb")) == 0 }
	forms(t, func(t *testing.T, p *Partition) {
		var kept, cloned *Record
		turns := 0
		for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
			require.NoError(t, err)
			if turns++; turns == 1 {
				kept = &Record{Value: rec.Value}
				cloned = rec.Clone()
				continue
			}
			require.True(t, dead(kept.Value), "at the next turn")
			break
		}
		require.Equal(t, string(bytes.Repeat([]byte("a"), 1000)), string(cloned.Value))

		r := reader(t, p, ReaderOptions{UntilEnd: true})
		b, err := r.Next(ctx)
		require.NoError(t, err)
		bytes0 := b.Bytes()
		retained := b.Retain()
		next, err := r.Next(ctx)
		require.NoError(t, err)
		require.True(t, dead(bytes0), "at the next call")
		requireOver(t, b)
		require.NotSame(t, b, next)
		require.NotEmpty(t, contents(t, retained))
		held := retained.Bytes()
		retained.Release()
		require.True(t, dead(held), "after Release")
		bytes1 := next.Bytes()
		require.NoError(t, r.Close())
		require.True(t, dead(bytes1), "after Close")
		require.Equal(t, count(0, 100), offsetsOf(t, p, ReaderOptions{}), "the log itself is as it was")
	})
}
