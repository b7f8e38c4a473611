package leat

import (
	"context"
	"math/bits"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// TestStateGolden compares what is known of Kafka's partitions, read without
// adopting them, with what Kafka's own log knew.
func TestStateGolden(t *testing.T) {
	for _, set := range goldenSets(t) {
		for _, form := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, form) {
				continue
			}
			t.Run(set+"/"+form, func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				w := &want.State
				r, err := OpenReadOnly(golden.Path(t, "partition", set, form), nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, r.Close()) }()
				s, err := follower(t, r, &want).State(ctx)
				require.NoError(t, err)
				require.NoError(t, s.Info.Err)
				require.Equal(t, w.LogEndOffset, s.Info.LogEndOffset)
				require.Equal(t, w.LastStableOffset, s.Info.LastStableOffset)
				require.NotNil(t, w.FirstUnstableOffset)
				require.Equal(t, *w.FirstUnstableOffset, s.FirstUnstableOffset)
				require.Len(t, s.Producers, len(w.Producers))
				for i, p := range w.Producers {
					require.Equal(t, p.ProducerID, s.Producers[i].ProducerID)
					require.Equal(t, p.LastTimestamp, s.Producers[i].LastTimestamp)
				}
				require.Len(t, s.LeaderEpochs, len(w.LeaderEpochs))
				for i, e := range w.LeaderEpochs {
					require.Equal(t, LeaderEpoch{Epoch: e.Epoch, StartOffset: e.StartOffset}, s.LeaderEpochs[i])
				}
				require.Len(t, s.AbortedTxns, len(w.AbortedTransactions))
				for i, a := range w.AbortedTransactions {
					require.Equal(t, TxnIndexEntry{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset, LastOffset: a.LastOffset,
						LastStableOffset: a.LastStableOffset}, s.AbortedTxns[i])
				}
				require.Len(t, s.Segments, len(w.SegmentBaseOffsets))
				for i, base := range w.SegmentBaseOffsets {
					require.Equal(t, base, s.Segments[i].BaseOffset)
				}
			})
		}
	}
}

// TestState: a writer and its follower know the same, of a log that is empty,
// grows, and is truncated.
func TestState(t *testing.T) {
	m := vfs.NewMem()
	m.SetMapped(true)
	w := openStore(t, m, nil)
	p := part(t, w, "orders", TopicConfig{SegmentBytes: 4096})
	q := reopened(t, followStore(t, m), "orders")
	same := func() *PartitionState {
		t.Helper()
		s, err := p.State(ctx)
		require.NoError(t, err)
		if bits.UintSize == 32 { // leat.state is not mapped there: who begins anew sees what the files say
			q = reopened(t, followStore(t, m), "orders")
		}
		f, err := q.State(ctx)
		require.NoError(t, err)
		require.Equal(t, s, f)
		require.Equal(t, p.Describe(), s.Info)
		return s
	}
	s := same()
	require.Equal(t, int64(-1), s.FirstUnstableOffset)
	require.Empty(t, s.Producers)
	require.Len(t, s.Segments, 1)
	fill(t, p, 200)
	s = same()
	require.Greater(t, len(s.Segments), 2)
	require.Len(t, s.LeaderEpochs, 1)
	require.NoError(t, p.TruncateTo(50))
	fill(t, p, 3)
	s = same()
	require.Equal(t, int64(53), s.Info.LogEndOffset)
	require.Equal(t, LeaderEpoch{Epoch: 1, StartOffset: 50}, s.LeaderEpochs[1])

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := p.State(ended)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, w.Close())
	_, err = p.State(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

// TestStateDamaged: a follower that cannot come as far as its writer says so,
// after a second, and tells what can be seen.
func TestStateDamaged(t *testing.T) {
	if bits.UintSize == 32 {
		t.Skip("leat.state is not mapped there, and what is damaged looks like the end of the log")
	}
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		m.SetMapped(true)
		w, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, w, "orders", TopicConfig{})
		fill(t, p, 5)
		f, err := m.Open("orders-0/00000000000000000000.log", vfs.ReadWrite)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xff}, p.Describe().Bytes-1)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		r, err := openFollower(m, nil)
		require.NoError(t, err)
		q := reopened(t, r, "orders")
		began := time.Now()
		s, err := q.State(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, s.Info.Err, ErrCorrupt)
		require.Equal(t, int64(4), s.Info.HighWatermark)
		require.Less(t, time.Since(began), 2*time.Second)
		require.NoError(t, r.Close())
		require.NoError(t, w.Close())
	})
}
