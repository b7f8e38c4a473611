package log

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/segment"
)

// Each cleaning of the golden sets is done again, from the folder that Kafka's
// cleaner found, with its clock, and must leave what that left: the same bytes in
// every file of a cleaned segment, or, where records are compressed, the same
// batches with the same records.

func TestCleanGolden(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", set, "expected.json")
		for i := range want.Steps {
			step := &want.Steps[i]
			if step.CurrentTimeMs == nil {
				continue
			}
			for _, w := range []Writer{WriterMapped, WriterPwrite} {
				t.Run(fmt.Sprintf("%s/%s/mapped=%v", set, step.Dir, w == WriterMapped), func(t *testing.T) {
					g, dir := goldenRig(t, w, want.Config, want.Topic, want.Partition, "compacted", set, want.Steps[i-1].Dir)
					if w == WriterPwrite { // and without maps
						g.env.Close()
						g.env = NewEnv(EnvOptions{FS: g.fs, Writer: w})
					}
					end := int64(0)
					for _, f := range want.Steps[i-1].Files {
						for _, b := range f.Batches {
							end = max(end, b.LastOffset+1)
						}
					}
					testCleanGolden(t, g, dir, step, end, set != "txn-compressed")
				})
			}
		}
	}
}

func testCleanGolden(t *testing.T, g *rig, dir string, step *golden.CompactStep, end int64, exact bool) {
	// What its transaction indexes say the log may not tell any more: they are not to
	// be made anew.
	g.st.Clean, g.st.RecoveryPoint = true, end
	l := g.open()
	if len(step.ActiveProducersBefore) > 0 { // else a recovery changes nothing
		require.True(t, g.rep.Clean)
	}

	o := CleanOptions{Now: time.UnixMilli(*step.CurrentTimeMs), From: *step.FirstDirtyOffset, MaxLag: -1,
		TombstoneRetain: time.Minute, MapBytes: 1 << 20}
	d, err := l.Dirty(o)
	require.NoError(t, err)
	require.Equal(t, *step.FirstDirtyOffset, d.From)
	require.Equal(t, *step.FirstUncleanableOffset, d.To)
	require.Equal(t, *step.LastStableOffset, l.LastStableOffset())
	last := l.lastRecords()
	require.Len(t, last, len(step.ActiveProducersBefore))
	for _, p := range step.ActiveProducersBefore {
		want := lastRecord{-1, p.ProducerEpoch}
		if p.LastDataOffset != nil {
			want.offset = *p.LastDataOffset
		}
		require.Equal(t, want, last[p.ProducerID], "producer %d", p.ProducerID)
	}

	r, err := l.Compact(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, *step.FirstDirtyOffset, r.From)
	require.Equal(t, *step.NewFirstDirtyOffset, r.To)
	require.Positive(t, r.Segments)
	require.Positive(t, r.Keys)

	var bases []int64
	for _, name := range slices.Sorted(maps.Keys(step.Files)) {
		if base, suffix, ok := segment.ParseName(name); ok && suffix == segment.LogSuffix {
			bases = append(bases, base)
		}
	}
	var got []int64
	for _, s := range l.Segments() {
		got = append(got, s.BaseOffset)
	}
	require.Equal(t, bases, got)
	cleanedFiles := 0
	for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
		for _, base := range bases[:len(bases)-1] {
			name := segment.FileName(base, suffix)
			b, err := os.ReadFile(filepath.Join(dir, name))
			want, there := step.Files[name]
			if !there || want.SizeInBytes == 0 && suffix == segment.TxnSuffix {
				require.ErrorIs(t, err, os.ErrNotExist, name)
				continue
			}
			require.NoError(t, err)
			if base < r.To {
				cleanedFiles++
			}
			if suffix == segment.LogSuffix && !exact {
				checkSameRecords(t, l, &want, b)
			} else if exact {
				require.Equal(t, want.SHA256, golden.Hash(b), name)
			}
		}
	}
	require.Greater(t, cleanedFiles, 2)
	// Snapshots of bases that are no more are gone, as in Kafka.
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if base, suffix, ok := segment.ParseName(e.Name()); ok && suffix == segment.SnapshotSuffix {
			require.True(t, base == end || slices.Contains(bases, base), e.Name())
		}
	}
	// And nothing of it depends on how the log is opened.
	after := readAllRecords(t, l, bases[0])
	require.NoError(t, l.Close())
	g.st = OpenState{Adopted: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}
	l = g.open()
	require.Nil(t, g.rep.Damage)
	require.Empty(t, g.rep.Cuts)
	require.Equal(t, after, readAllRecords(t, l, bases[0]))
	for _, p := range step.ActiveProducersBefore { // sequences are known without a snapshot
		if p.LastDataOffset != nil {
			require.Equal(t, lastRecord{*p.LastDataOffset, p.ProducerEpoch}, l.lastRecords()[p.ProducerID])
		}
	}
}

// checkSameRecords compares a file of batches with what the set says of Kafka's.
func checkSameRecords(t *testing.T, l *Log, want *golden.File, b []byte) {
	i := 0
	for ; len(b) > 0; i++ {
		batch, err := codec.Next(b)
		require.NoError(t, err)
		require.NoError(t, batch.Check())
		b = b[len(batch):]
		w := want.Batches[i]
		require.Equal(t, w.BaseOffset, batch.BaseOffset())
		require.Equal(t, w.LastOffset, batch.LastOffset())
		require.Equal(t, w.Attributes, batch.Attributes())
		require.Equal(t, w.BaseTimestamp, batch.BaseTimestamp())
		require.Equal(t, w.MaxTimestamp, batch.MaxTimestamp())
		require.Equal(t, w.ProducerID, batch.ProducerID())
		require.Equal(t, w.ProducerEpoch, batch.ProducerEpoch())
		require.Equal(t, w.BaseSequence, batch.BaseSequence())
		require.Equal(t, w.PartitionLeaderEpoch, batch.LeaderEpoch())
		require.Equal(t, w.RecordCount, batch.RecordCount())
		records := decode(t, l, batch)
		require.Len(t, records, len(w.Short))
		for k, r := range records {
			require.Equal(t, w.Short[k].Offset, r.Offset)
			require.Equal(t, w.Short[k].Timestamp, r.Timestamp)
			require.Equal(t, w.Short[k].ValueLen < 0, r.Value == nil)
			if !batch.IsControl() {
				require.Equal(t, w.Short[k].Key, string(r.Key))
			}
		}
	}
	require.Len(t, want.Batches, i)
}
