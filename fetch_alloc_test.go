//go:build !race && !leatdebug

package leat

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFetchAllocations: a fetch allocates what it returns and nothing else, in a
// sealed segment and in the active one; nor does a reader that gathers.
func TestFetchAllocations(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("without maps headers are read into a buffer")
	}
	st := openStore(t, diskFS(t), &Options{Writer: WriterMapped})
	p := part(t, st, "allocs", TopicConfig{Durability: Written, SegmentBytes: 64 << 10})
	for p.LogEndOffset() < 2000 {
		_, err := p.Append(ctx, Record{Value: make([]byte, 100)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Sync(ctx))
	for _, o := range []FetchOptions{
		{Offset: 3},
		{Offset: 333, MaxBytes: 5000},
		{Offset: 1990, Isolation: ReadUncommitted},
		{Offset: 2000},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(200, func() {
			f, err := p.Fetch(o)
			if err != nil {
				t.Error(err)
			}
			f.Bytes()
			f.Release()
		}), 1.0, "%+v", o)
	}
	r := reader(t, p, ReaderOptions{MinBytes: 1000})
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(ctx); err != nil {
			t.Error(err)
		}
	}))
}
