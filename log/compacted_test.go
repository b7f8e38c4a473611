package log

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/segment"
)

// Compacted partitions have gaps between and inside of batches, emptied batches
// and delete horizons. Each step of the golden sets is opened without being told
// anything, as a folder found somewhere would be.

func TestGoldenCompacted(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", set, "expected.json")
		for _, step := range want.Steps {
			for _, w := range []Writer{WriterMapped, WriterPwrite} {
				t.Run(fmt.Sprintf("%s/%s/mapped=%v", set, step.Dir, w == WriterMapped), func(t *testing.T) {
					g, dir := goldenRig(t, w, want.Config, want.Topic, want.Partition, "compacted", set, step.Dir)
					g.open()
					require.Empty(t, g.rep.Cuts)
					require.Nil(t, g.rep.Damage)
					end := checkCompactedBatches(t, g.log, &step)
					require.Equal(t, end, g.log.LogEndOffset())
					require.NoError(t, g.log.Close())
					checkCompactedFiles(t, dir, &step)

					g.st.Clean, g.st.RecoveryPoint = true, g.log.RecoveryPoint()
					g.open()
					require.True(t, g.rep.Clean)
					base, err := g.log.Append(context.Background(), []Record{{Key: []byte("k"), Value: []byte("v")}}, Synced)
					require.NoError(t, err)
					require.Equal(t, end, base)
					g.st.RecoveryPoint = g.reopen().LogEndOffset()
					require.True(t, g.rep.Clean)
					require.Equal(t, end, readAllRecords(t, g.log, end)[0].Offset)
				})
			}
		}
	}
}

// checkCompactedBatches walks the whole log, and seeks every offset in it. It
// returns its end.
func checkCompactedBatches(t *testing.T, l *Log, step *golden.CompactStep) (end int64) {
	var batches []golden.Batch
	for name, f := range step.Files {
		if strings.HasSuffix(name, ".log") {
			batches = append(batches, f.Batches...)
		}
	}
	slices.SortFunc(batches, func(a, b golden.Batch) int { return compare(a.BaseOffset, b.BaseOffset) })
	var kafka []index.AbortedTxn
	for _, name := range slices.Sorted(maps.Keys(step.Files)) {
		if strings.HasSuffix(name, segment.TxnSuffix) {
			for _, a := range step.Files[name].Entries.Aborted {
				kafka = append(kafka, index.AbortedTxn(a))
			}
		}
	}
	ours, err := l.AbortedTxns(0, noOffset, nil)
	require.NoError(t, err)

	i := 0
	eachBatch(t, l, 0, func(b codec.Batch) {
		require.Equal(t, isAborted(kafka, b), isAborted(ours, b), "batch at %d", b.BaseOffset())
		w := batches[i]
		require.Equal(t, w.BaseOffset, b.BaseOffset())
		require.Equal(t, w.LastOffset, b.LastOffset())
		require.Equal(t, w.SizeInBytes, int64(len(b)))
		require.Equal(t, w.DeleteHorizonMs != nil, b.HasDeleteHorizon())
		records := decode(t, l, b)
		require.Len(t, records, len(w.Short))
		for k, r := range records {
			require.Equal(t, w.Short[k].Offset, r.Offset)
			require.Equal(t, w.Short[k].Timestamp, r.Timestamp)
			if w.Short[k].ValueLen < 0 {
				require.Nil(t, r.Value)
			} else {
				require.Len(t, r.Value, int(w.Short[k].ValueLen))
			}
		}
		i++
		end = b.NextOffset()
	})
	require.Len(t, batches, i)

	// From any offset, also one that compaction took, the next batch that
	// reaches it is found.
	c := l.NewCursor(0)
	defer c.Close()
	i = 0
	for offset := range end {
		if batches[i].LastOffset < offset {
			i++
		}
		c.SeekTo(offset)
		b, err := c.Next(end)
		require.NoError(t, err)
		require.Equal(t, batches[i].BaseOffset, b.BaseOffset(), "offset %d", offset)
	}
	return end
}

// isAborted is what a read-committed reader makes of a batch.
func isAborted(list []index.AbortedTxn, b codec.Batch) bool {
	return b.IsTransactional() && !b.IsControl() && slices.ContainsFunc(list, func(a index.AbortedTxn) bool {
		return a.ProducerID == b.ProducerID() && a.FirstOffset <= b.BaseOffset() && b.LastOffset() <= a.LastOffset
	})
}

// checkCompactedFiles looks at what recovery and an orderly close left: log
// files as they were, and the indexes that Kafka has for them.
func checkCompactedFiles(t *testing.T, dir string, step *golden.CompactStep) {
	for name, f := range step.Files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		suffix := filepath.Ext(name)
		if suffix == segment.SnapshotSuffix || suffix == segment.TxnSuffix {
			continue // Kafka keeps in them what the log no longer tells
		}
		if f.Preallocated {
			continue // the active segment: copied before it got its final entries
		}
		require.NoError(t, err)
		base, _, _ := segment.ParseName(name)
		switch suffix {
		case segment.LogSuffix, "leader-epoch-checkpoint", "partition.metadata":
			require.Equal(t, f.SHA256, golden.Hash(b), name)
		case segment.IndexSuffix:
			x := index.OpenOffsets(base, b)
			var got []golden.Pair
			for i := range x.Len() {
				o, p := x.Entry(i)
				got = append(got, golden.Pair{o, p})
			}
			require.Equal(t, fmt.Sprint(f.Offsets), fmt.Sprint(got), name)
		case segment.TimeSuffix:
			x := index.OpenTimes(base, b)
			var got []golden.Pair
			for i := range x.Len() {
				ts, o := x.Entry(i)
				got = append(got, golden.Pair{ts, o})
			}
			require.Equal(t, fmt.Sprint(f.Times), fmt.Sprint(got), name)
		}
	}
}
