package log

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCleanLeavesWhatStays: a cleaned segment that holds none of the new keys is
// not written again, and one that does is, up to its last record.
func TestCleanLeavesWhatStays(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{SegmentBytes: 2000, IndexInterval: 100})
	l := g.open()
	add := func(keys ...int) {
		var rs []Record
		for _, key := range keys {
			rs = append(rs, Record{Key: fmt.Appendf(nil, "key-%05d", key), Value: make([]byte, 100)})
		}
		_, err := l.Append(context.Background(), rs, Synced)
		require.NoError(t, err)
	}
	for key := 0; key < 100; key += 2 {
		add(key, key+1)
	}
	require.NoError(t, l.RollLarge(1))
	o := CleanOptions{Now: time.Now(), From: 0, MaxLag: -1, TombstoneRetain: time.Hour, MapBytes: 1 << 16}
	r, err := l.Compact(context.Background(), o)
	require.NoError(t, err)
	first := l.segments.Load()
	require.Greater(t, len(first.segs), 5)
	require.Equal(t, len(first.segs)-1, r.Into, "dirty segments are")

	// The last record of the third segment, and one of the log's that is new.
	changed := first.segs[2]
	add(int(first.bases[3]) - 1)
	add(1000)
	require.NoError(t, l.RollLarge(1))
	o.From = r.To
	want := newest(t, l)
	r, err = l.Compact(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, want, newest(t, l))
	require.Equal(t, 2, r.Into, "the one that has the key, and the dirty one with the small one before it")
	require.EqualValues(t, 102, r.RecordsRead)
	require.EqualValues(t, 101, r.RecordsKept)
	now := l.segments.Load()
	for i, s := range first.segs[:len(first.segs)-2] {
		require.Equal(t, s != changed, now.segs[i] == s, "segment %d", i)
	}
	g.reopen()
	require.Equal(t, want, newest(t, g.log))
}
