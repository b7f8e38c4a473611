package leat

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// goldenSets are the sets of golden/partition.
func goldenSets(t *testing.T) []string {
	list, err := os.ReadDir(golden.Path(t, "partition"))
	require.NoError(t, err)
	var sets []string
	for _, e := range list {
		if e.IsDir() && golden.Has("partition", e.Name(), "expected.json") {
			sets = append(sets, e.Name())
		}
	}
	require.NotEmpty(t, sets)
	return sets
}

// TestGoldenPartitions adopts directories that Kafka wrote, cleanly closed and
// copied while open, and sees through a reader what a Kafka consumer sees; then
// appends, closes and opens again.
func TestGoldenPartitions(t *testing.T) {
	for _, set := range goldenSets(t) {
		for _, form := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, form) {
				continue
			}
			t.Run(set+"/"+form, func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				dir := golden.CopyDir(t, "partition", set, form)
				st, err := Open(dir, nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, st.Close()) }()

				tp, err := st.Topic(want.Topic)
				require.NoError(t, err)
				require.Equal(t, want.TopicID, tp.ID().String())
				require.Equal(t, want.Partition+1, tp.Config().Partitions)
				require.Equal(t, Retention{Age: Unlimited, Bytes: Unlimited, GroupsBytes: Unlimited}, tp.Config().Retention)
				for id := range want.Partition {
					_, err := tp.Partition(id)
					require.ErrorIs(t, err, ErrUnknownPartition, "only partition %d was copied", want.Partition)
				}
				p, err := tp.Partition(want.Partition)
				require.NoError(t, err)
				requireGolden(t, p, &want)

				end := p.LogEndOffset()
				base, err := p.Append(ctx, Record{Value: []byte("ours")}, Record{Value: []byte("too")})
				require.NoError(t, err)
				require.Equal(t, end, base)
				require.NoError(t, st.Close())

				st, err = Open(dir, nil)
				require.NoError(t, err)
				tp, err = st.Topic(want.Topic)
				require.NoError(t, err)
				require.Equal(t, want.TopicID, tp.ID().String())
				p, err = tp.Partition(want.Partition)
				require.NoError(t, err)
				require.Equal(t, append(want.State.ReadUncommittedOffsets, end, end+1), offsetsOf(t, p, ReaderOptions{Isolation: ReadUncommitted}))
				require.NoError(t, st.Close())
			})
		}
	}
}

func requireGolden(t *testing.T, p *Partition, want *golden.Partition) {
	s := &want.State
	require.Equal(t, s.LogStartOffset, p.LogStartOffset())
	require.Equal(t, s.LogEndOffset, p.LogEndOffset())
	require.Equal(t, s.HighWatermark, p.HighWatermark())
	require.Equal(t, s.LastStableOffset, p.LastStableOffset())
	require.Equal(t, s.ReadUncommittedOffsets, offsetsOf(t, p, ReaderOptions{Isolation: ReadUncommitted}))
	require.Equal(t, s.ReadCommittedOffsets, offsetsOf(t, p, ReaderOptions{}))

	// From every offset, and as batches: the same.
	for i, offset := range s.ReadCommittedOffsets {
		require.Equal(t, s.ReadCommittedOffsets[i:], offsetsOf(t, p, ReaderOptions{From: At(offset)}), "from %d", offset)
		if i == 50 {
			break
		}
	}
	got := []int64{}
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	for {
		b, err := r.Next(ctx)
		if isEOF(err) {
			break
		}
		require.NoError(t, err)
		got = append(got, offsetsIn(t, b)...)
	}
	require.Equal(t, s.ReadCommittedOffsets, got)

	for _, c := range s.TimestampLookups {
		if c.Timestamp < 0 || c.Result == nil {
			continue
		}
		offset, err := p.OffsetForTime(time.UnixMilli(c.Timestamp))
		require.NoError(t, err)
		require.Equal(t, c.Result.Offset, offset, "at %d", c.Timestamp)
	}
	requireGoldenRecords(t, p, want)
}

// requireGoldenRecords compares what the records hold.
func requireGoldenRecords(t *testing.T, p *Partition, want *golden.Partition) {
	byOffset := map[int64]golden.Record{}
	for name, f := range want.Clean {
		if filepath.Ext(name) == ".log" {
			for _, b := range f.Batches {
				for _, r := range b.Records {
					byOffset[r.Offset] = r
				}
			}
		}
	}
	for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
		require.NoError(t, err)
		w, ok := byOffset[rec.Offset]
		require.True(t, ok)
		require.Equal(t, w.Timestamp, rec.Timestamp.UnixMilli())
		require.True(t, w.Key.Equal(rec.Key), "offset %d: key %q, want %v", rec.Offset, rec.Key, w.Key)
		require.True(t, w.Value.Equal(rec.Value), "offset %d: value", rec.Offset)
		require.Len(t, rec.Headers, len(w.Headers))
		for i, h := range w.Headers {
			require.Equal(t, h.Key, rec.Headers[i].Key)
			require.True(t, h.Value.Equal(rec.Headers[i].Value))
		}
	}
}

// TestAdoptInternalTopic: one partition of many, as a group coordinator's broker
// has it.
func TestAdoptInternalTopic(t *testing.T) {
	if !golden.Has("offsets", "__consumer_offsets-12") {
		t.Skip("not in the small copy")
	}
	dir := golden.CopyDir(t, "offsets")
	st, err := Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.Topic("__consumer_offsets")
	require.NoError(t, err)
	require.Equal(t, int32(13), tp.Config().Partitions)
	var ids []int32
	for p := range tp.Partitions() {
		ids = append(ids, p.ID())
	}
	require.Equal(t, []int32{12}, ids)
	p, err := tp.Partition(12)
	require.NoError(t, err)
	require.NotEmpty(t, offsetsOf(t, p, ReaderOptions{}))
	end, id := p.LogEndOffset(), tp.ID()
	require.NoError(t, st.Close())

	st, err = Open(dir, nil)
	require.NoError(t, err)
	tp, err = st.Topic("__consumer_offsets")
	require.NoError(t, err)
	require.Equal(t, id, tp.ID(), "made up once, and kept")
	_, err = tp.Partition(11)
	require.ErrorIs(t, err, ErrUnknownPartition)
	p, err = tp.Partition(12)
	require.NoError(t, err)
	require.Equal(t, end, p.LogEndOffset())
	require.NoError(t, st.Close())
}

// TestGapBeforeAnOpenTransaction: compaction left nothing below the last stable
// offset, and the end that a committed reader can see is reached all the same.
func TestGapBeforeAnOpenTransaction(t *testing.T) {
	coders := compress.New()
	batch := func(dst []byte, offset int64, transactional bool) []byte {
		records := []codec.Record{{Offset: offset, Timestamp: 1, Key: []byte("k")}, {Offset: offset + 1, Timestamp: 1, Key: []byte("k")}}
		h := codec.NewHeader(offset, records)
		if transactional {
			h.Attributes |= codec.TransactionalBit
			h.ProducerID, h.ProducerEpoch, h.BaseSequence = 1, 0, 0
		}
		dst, err := codec.AppendBatch(dst, h, records, coders)
		require.NoError(t, err)
		return dst
	}
	m := vfs.NewMem()
	require.NoError(t, m.Mkdir("gap-0"))
	f, err := m.Create("gap-0/00000000000000000000.log")
	require.NoError(t, err)
	_, err = f.WriteAt(batch(batch(nil, 0, false), 10, true), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	st := openStore(t, m, nil)
	p := reopened(t, st, "gap")
	require.Equal(t, int64(12), p.HighWatermark())
	require.Equal(t, int64(10), p.LastStableOffset())
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	var got []int64
	for rec, err := range r.Records(soon) {
		require.NoError(t, err)
		got = append(got, rec.Offset)
	}
	require.Equal(t, []int64{0, 1}, got)
	require.Equal(t, int64(10), r.Offset())
	require.Equal(t, []int64{0, 1, 10, 11}, offsetsOf(t, p, ReaderOptions{Isolation: ReadUncommitted}))
	require.Equal(t, []int64{10, 11}, offsetsOf(t, p, ReaderOptions{From: At(5), Isolation: ReadUncommitted}))
}

// TestGoldenCompacted reads what Kafka's cleaner left: gaps, emptied batches,
// tombstones, markers with a horizon.
func TestGoldenCompacted(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", set, "expected.json")
		for _, step := range want.Steps {
			if !golden.Has("compacted", set, step.Dir) {
				continue
			}
			t.Run(set+"/"+step.Dir, func(t *testing.T) {
				st, err := Open(golden.CopyDir(t, "compacted", set, step.Dir), nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, st.Close()) }()
				p := reopened(t, st, want.Topic)
				requireShort(t, p, &step, ReadUncommitted, p.HighWatermark())
				requireShort(t, p, &step, ReadCommitted, p.LastStableOffset())
			})
		}
	}
}

func requireShort(t *testing.T, p *Partition, step *golden.CompactStep, isolation Isolation, end int64) {
	var want []golden.ShortRecord
	var aborted []golden.AbortedTxn
	for _, name := range slices.Sorted(maps.Keys(step.Files)) {
		if f := step.Files[name]; f.Entries != nil {
			aborted = append(aborted, f.Entries.Aborted...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(step.Files)) {
		for _, b := range step.Files[name].Batches {
			skip := b.IsControl || b.LastOffset >= end
			for _, a := range aborted {
				skip = skip || isolation == ReadCommitted && b.IsTransactional && a.ProducerID == b.ProducerID &&
					a.FirstOffset <= b.BaseOffset && b.LastOffset <= a.LastOffset
			}
			if !skip {
				want = append(want, b.Short...)
			}
		}
	}
	var got []golden.ShortRecord
	for rec, err := range reader(t, p, ReaderOptions{Isolation: isolation, UntilEnd: true}).Records(ctx) {
		require.NoError(t, err)
		s := golden.ShortRecord{Offset: rec.Offset, Timestamp: rec.Timestamp.UnixMilli(), Key: string(rec.Key), HasKey: rec.Key != nil, ValueLen: -1}
		if rec.Value != nil {
			s.ValueLen = int64(len(rec.Value))
		}
		got = append(got, s)
	}
	require.Equal(t, want, got, "%v", isolation)
}
