//go:build race || leatdebug

package leat

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

// TestKeptRun: in a debug build, whoever keeps the bytes of a run beyond its
// release sees them overwritten; what is sent, and the log, are as they were.
func TestKeptRun(t *testing.T) {
	forms(t, func(t *testing.T, p *Partition) {
		f, err := p.Fetch(FetchOptions{})
		require.NoError(t, err)
		b := f.Bytes()
		require.Len(t, b, f.Len())
		require.Same(t, &b[0], &f.Bytes()[0])
		clear(b) // which must not be done, but is noticed nowhere else
		batch, err := codec.Next(overTCP(t, f))
		require.NoError(t, err)
		require.NoError(t, batch.Check())
		f.Release()
		require.Equal(t, bytes.Repeat([]byte{poison}, len(b)), b)
		require.True(t, slices.Equal(count(0, 100), offsetsOf(t, p, ReaderOptions{})))
	})
}
