package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/segment"
)

// TestGoldenFetches makes every read of the golden sets, and gets the bytes, the
// aborted transactions or the error that Kafka gave. The one difference: Kafka
// cuts a run anywhere, in the middle of a batch too, and Leat behind the last
// whole batch; where the sidecar's run ends inside a batch, so much of it is
// expected as is whole.
func TestGoldenFetches(t *testing.T) {
	forEachPartition(t, func(t *testing.T, g *rig, _ string, want *golden.Partition, _ bool) {
		checkGoldenFetches(t, g, want)
	})
	for _, set := range partitionSets(t) {
		t.Run(set+"/mem", func(t *testing.T) {
			var want golden.Partition
			golden.JSON(t, &want, "partition", set, "expected.json")
			g := goldenMem(t, &want, "partition", set, "clean")
			g.st.Clean = true
			g.open()
			checkGoldenFetches(t, g, &want)
		})
	}
}

func checkGoldenFetches(t *testing.T, g *rig, want *golden.Partition) {
	l := g.log
	require.Equal(t, want.State.HighWatermark, l.HighWatermark())
	exact, whole := 0, 0
	for _, f := range want.State.Fetches {
		o := FetchOptions{Offset: f.StartOffset, MaxBytes: int64(f.MaxBytes),
			Committed: f.Isolation == "TXN_COMMITTED", Follower: f.Isolation == "LOG_END"}
		if f.Error != "" {
			require.Equal(t, "OffsetOutOfRangeException", f.Error)
			require.ErrorIs(t, l.Fetch(o, new(Fetched)), ErrOffsetOutOfRange, "%+v", f)
			continue
		}
		name := segment.FileName(f.Segment, segment.LogSuffix)
		cut := wholeBatches(want.Clean[name], f.Position, f.SizeInBytes)
		if !f.MinOneMessage && (cut == 0 || f.FirstEntryIncomplete) {
			continue // Leat gives the first batch always
		}
		for _, o.Verify = range []bool{false, true} {
			var got Fetched
			require.NoError(t, l.Fetch(o, &got), "%+v", f)
			require.Equal(t, cut, got.Len(), "%+v", f)
			require.Equal(t, want.State.LogStartOffset, got.LogStartOffset)
			require.Equal(t, want.State.HighWatermark, got.HighWatermark)
			require.Equal(t, want.State.LastStableOffset, got.LastStableOffset)
			var sent bytes.Buffer
			n, err := got.WriteTo(&sent)
			require.NoError(t, err)
			require.Equal(t, cut, n)
			require.True(t, bytes.Equal(sent.Bytes(), got.Bytes()))
			file := g.getFile(name)[f.Position:]
			sum := sha256.Sum256(file[:f.SizeInBytes])
			require.Equal(t, f.SHA256, hex.EncodeToString(sum[:]), "%+v", f)
			require.True(t, bytes.Equal(file[:cut], got.Bytes()), "%+v", f)
			if cut == f.SizeInBytes {
				exact++
			} else {
				whole++
			}
			if cut > 0 {
				requireRun(t, want.Clean[name], f.Position, cut, &got)
			}
			aborted := []golden.AbortedTxn{}
			for _, a := range got.Aborted {
				aborted = append(aborted, golden.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
			}
			if o.Committed {
				require.Equal(t, f.AbortedTransactions, aborted, "%+v", f)
			} else {
				require.Nil(t, got.Aborted)
			}
			got.Release()
		}
	}
	require.Positive(t, exact)
	t.Log(exact, "runs are Kafka's,", whole, "end before a batch that Kafka cuts")
}

// wholeBatches is how much of a stretch of a segment are whole batches.
func wholeBatches(f golden.File, pos, size int64) (n int64) {
	for _, b := range f.Batches {
		if end := b.Position + b.SizeInBytes; b.Position >= pos && end <= pos+size {
			n = end - pos
		}
	}
	return n
}

// requireRun compares a run with the batches of a segment's sidecar.
func requireRun(t *testing.T, f golden.File, pos, size int64, got *Fetched) {
	t.Helper()
	b := got.Bytes()
	next := int64(-1)
	for _, w := range f.Batches {
		if w.Position < pos || w.Position >= pos+size {
			continue
		}
		if w.Position == pos {
			require.Equal(t, w.BaseOffset, got.First)
		}
		batch := codec.Batch(b[w.Position-pos:][:w.SizeInBytes])
		require.Equal(t, w.BaseOffset, batch.BaseOffset())
		require.EqualValues(t, w.CRC, batch.CRC())
		next = w.NextOffset
	}
	require.Equal(t, next, got.Next)
}
