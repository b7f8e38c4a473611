package log

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// TestStateOfOneLog: records are taken back while the transaction indexes are
// read. What is told is of the log before or after it, and not of both.
func TestStateOfOneLog(t *testing.T) {
	for _, set := range partitionSets(t) {
		var want golden.Partition
		golden.JSON(t, &want, "partition", set, "expected.json")
		bases := want.State.SegmentBaseOffsets
		for _, cut := range []int64{bases[1], bases[len(bases)-1], want.State.LogEndOffset - 1} {
			g := goldenMem(t, &want, "partition", set, "clean")
			l := g.open()
			truncated := make(chan error, 1)
			began := false
			m := g.fs.(*vfs.Mem)
			m.SetHook(func(op vfs.Op, name string, before bool) error {
				if began || op != vfs.OpOpen || !strings.HasSuffix(name, ".txnindex") {
					return nil
				}
				began = true
				was := l.Generation()
				go func() { truncated <- l.TruncateTo(cut, nil) }()
				for l.Generation() == was { // and no more: it may have to wait for who reads here
					runtime.Gosched()
				}
				return nil
			})
			s, err := l.State(context.Background())
			require.NoError(t, err)
			require.True(t, began)
			require.NoError(t, <-truncated)
			m.SetHook(nil)
			after, err := l.State(context.Background())
			require.NoError(t, err)
			s.DurableEnd = after.DurableEnd
			require.Equal(t, after, s)
			require.LessOrEqual(t, s.LogEndOffset, cut)
			for _, a := range s.Aborted {
				require.Less(t, a.LastOffset, cut)
			}
			require.Equal(t, s.LogEndOffset, s.HighWatermark)
		}
	}
}

// TestStateBeforeMarker: a transaction that is open by what is told is not aborted
// as well, though its marker comes while the transaction indexes are read.
func TestStateBeforeMarker(t *testing.T) {
	var want golden.Partition
	golden.JSON(t, &want, "partition", "p1", "expected.json")
	g := goldenMem(t, &want, "partition", "p1", "clean")
	l := g.open()
	open := int64(-1)
	began := false
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if began || op != vfs.OpOpen || !strings.HasSuffix(name, ".txnindex") {
			return nil
		}
		began = true
		for _, p := range want.State.Producers {
			if p.CurrentTxnFirstOffset != nil {
				open = *p.CurrentTxnFirstOffset
				_, err := l.AppendMarker(Marker{ProducerID: p.ProducerID, ProducerEpoch: p.ProducerEpoch, CoordinatorEpoch: 99}, 0)
				require.NoError(t, err)
			}
		}
		return nil
	})
	s, err := l.State(context.Background())
	require.NoError(t, err)
	require.Equal(t, want.State.LogEndOffset, s.LogEndOffset)
	require.Equal(t, open, s.FirstUnstableOffset)
	require.Len(t, s.Aborted, len(want.State.AbortedTransactions))
	s, err = l.State(context.Background())
	require.NoError(t, err)
	require.Len(t, s.Aborted, len(want.State.AbortedTransactions)+1)
}
