package leat

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestFollowCompacted: a follower that was opened before the first record, or in
// the middle, goes on over cleanings, with words in leat.state that are live and by
// the files alone, and sees what is left.
func TestFollowCompacted(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for _, d := range []Durability{Synced, Written} {
			for _, first := range []int{0, 1, 30} {
				t.Run(fmt.Sprintf("mapped=%v/%v/first=%d", mapped, d, first), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { followCompacted(t, mapped, d, first) })
				})
			}
		}
	}
}

func followCompacted(t *testing.T, mapped bool, d Durability, first int) {
	m := vfs.NewMem()
	m.SetMapped(mapped)
	st, err := openFS(m, &Options{Cleaner: Cleaner{Off: true}})
	require.NoError(t, err)
	c := compacted
	c.Durability = d
	p := part(t, st, "orders", c)
	f, err := openFollower(m, nil)
	require.NoError(t, err)
	q := reopened(t, f, "orders")
	r, err := q.Reader(ReaderOptions{})
	require.NoError(t, err)
	table := map[string]string{}
	last := int64(-1)
	read := func() {
		t.Helper()
		for {
			soon, cancel := context.WithTimeout(ctx, time.Second)
			b, err := r.Next(soon)
			cancel()
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				break
			}
			for rec, err := range b.Records() {
				require.NoError(t, err)
				require.Greater(t, rec.Offset, last)
				last = rec.Offset
				table[string(rec.Key)] = string(rec.Value)
			}
		}
		require.Equal(t, p.LogEndOffset(), r.Offset())
		for _, w := range latestOf(rowsOf(t, p)) {
			require.Equal(t, w.value, table[w.key])
		}
	}
	puts(t, p, first, 7)
	if first > 0 {
		read()
	}
	for range 4 {
		puts(t, p, 100, 7)
		require.NoError(t, p.Compact(ctx, nil))
		read()
		puts(t, p, 20, 7)
		read()
		again, err := openFollower(m, nil)
		require.NoError(t, err)
		require.Equal(t, rowsOf(t, p), rowsOf(t, reopened(t, again, "orders")))
		require.NoError(t, again.Close())
	}
	require.NoError(t, r.Close())
	require.NoError(t, f.Close())
	require.NoError(t, st.Close())
}
