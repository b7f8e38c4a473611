package log

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// Partitions that Apache Kafka wrote are opened as they are after an orderly
// stop and as they are after a crash, must answer as Kafka did, and must leave
// the files that Kafka leaves.

// goldenRig is a rig over a copy of a golden data directory.
func goldenRig(t *testing.T, w Writer, c golden.Config, topic string, partition int32, path ...string) (*rig, string) {
	dir := golden.CopyDir(t, path...)
	makeWritable(t, dir)
	fsys, err := vfs.OS(dir, vfs.Options{})
	require.NoError(t, err)
	g := &rig{t: t, fs: fsys}
	g.golden(c, topic, partition, dir)
	g.env = NewEnv(EnvOptions{FS: fsys, MaxMaps: 1000, Writer: w})
	t.Cleanup(func() {
		if g.log != nil {
			g.log.Abandon()
		}
		g.env.Close()
		_ = fsys.Close()
	})
	return g, filepath.Join(dir, g.dir)
}

// goldenMem is goldenRig in memory, where syncs cost nothing.
func goldenMem(t *testing.T, want *golden.Partition, path ...string) *rig {
	g := newRig(t, WriterPwrite, true, Config{})
	dir := golden.Path(t, path...)
	g.golden(want.Config, want.Topic, want.Partition, dir)
	require.NoError(t, g.fs.Mkdir(g.dir))
	list, err := os.ReadDir(filepath.Join(dir, g.dir))
	require.NoError(t, err)
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, g.dir, e.Name()))
		require.NoError(t, err)
		g.putFile(e.Name(), b)
	}
	return g
}

// golden configures a rig as the set was, and reads the checkpoints beside it.
func (g *rig) golden(c golden.Config, topic string, partition int32, dir string) {
	g.dir = fmt.Sprintf("%s-%d", topic, partition)
	g.cfg = Config{
		Topic: topic, Partition: partition,
		SegmentBytes: c.SegmentBytes, IndexInterval: int(c.IndexIntervalBytes), IndexBytes: int(c.SegmentIndexBytes),
		SegmentAge: time.Duration(c.SegmentMs) * time.Millisecond, ProducerExpiration: -1,
	}
	g.st = OpenState{Adopted: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}
	for name, into := range map[string]*int64{
		"recovery-point-offset-checkpoint": &g.st.RecoveryPoint,
		"log-start-offset-checkpoint":      &g.st.StartOffset,
		"replication-offset-checkpoint":    &g.st.HighWatermark,
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(g.t, err)
		m, err := ParseOffsetCheckpoint(b)
		require.NoError(g.t, err)
		if v, ok := m[TopicPartition{topic, partition}]; ok {
			*into = v
		}
	}
}

func makeWritable(t *testing.T, dir string) {
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(name, 0o600)
	}))
}

func partitionSets(t *testing.T) []string {
	var sets []string
	for _, s := range []string{"p1", "p2-deleted-head"} {
		if golden.Has("partition", s, "expected.json") {
			sets = append(sets, s)
		}
	}
	require.NotEmpty(t, sets)
	return sets
}

// forEachPartition runs a test over each set, clean and crashed, with each
// writer, opened.
func forEachPartition(t *testing.T, f func(t *testing.T, g *rig, dir string, want *golden.Partition, clean bool)) {
	for _, set := range partitionSets(t) {
		for _, state := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, state) {
				continue
			}
			for _, w := range []Writer{WriterMapped, WriterPwrite} {
				t.Run(fmt.Sprintf("%s/%s/mapped=%v", set, state, w == WriterMapped), func(t *testing.T) {
					var want golden.Partition
					golden.JSON(t, &want, "partition", set, "expected.json")
					g, dir := goldenRig(t, w, want.Config, want.Topic, want.Partition, "partition", set, state)
					g.st.Clean = state == "clean"
					if !g.st.Clean {
						require.Equal(t, want.RecoveryPointInCrash, g.st.RecoveryPoint)
					}
					g.open()
					require.Equal(t, g.st.Clean, g.rep.Clean)
					f(t, g, dir, &want, g.st.Clean)
				})
			}
		}
	}
}

func TestGoldenPartitionState(t *testing.T) {
	forEachPartition(t, func(t *testing.T, g *rig, _ string, want *golden.Partition, clean bool) {
		checkGoldenState(t, g.log, &want.State, clean)
		if !clean {
			require.Equal(t, 1, g.rep.SegmentsScanned)
			require.Empty(t, g.rep.Cuts)
			require.False(t, g.rep.Shortened)
		}
		// What a reader sees does not change when the log goes on, is closed in
		// order and opened again.
		g.reopen()
		require.True(t, g.rep.Clean)
		checkGoldenState(t, g.log, &want.State, true)
	})
}

func checkGoldenState(t *testing.T, l *Log, s *golden.PartitionState, clean bool) {
	require.Equal(t, s.LogStartOffset, l.LogStartOffset())
	require.Equal(t, s.LogEndOffset, l.LogEndOffset())
	require.Equal(t, s.HighWatermark, l.HighWatermark())
	require.Equal(t, s.LastStableOffset, l.LastStableOffset())
	require.Equal(t, s.LatestEpoch, l.LatestEpoch())
	var bases []int64
	for _, seg := range l.Segments() {
		bases = append(bases, seg.BaseOffset)
	}
	require.Equal(t, s.SegmentBaseOffsets, bases)
	var epochs []golden.LeaderEpoch
	for _, e := range l.epochs.Entries() {
		epochs = append(epochs, golden.LeaderEpoch{Epoch: e.Epoch, StartOffset: e.StartOffset})
	}
	require.Equal(t, s.LeaderEpochs, epochs)
	for _, e := range s.EndOffsetForEpoch {
		want := golden.Pair{-1, -1}
		if e.EndOffset != nil {
			want = *e.EndOffset
		}
		epoch, end := l.EndOffsetForEpoch(e.Epoch)
		require.Equal(t, want, golden.Pair{int64(epoch), end}, "epoch %d", e.Epoch)
	}
	checkGoldenProducers(t, l.producers.Active(), s.Producers, clean)
	checkGoldenAborted(t, l, s)
}

// checkGoldenProducers compares what is known of each producer: of a log that
// was loaded, the newest batch at least.
func checkGoldenProducers(t *testing.T, got []ProducerState, want []golden.ProducerState, clean bool) {
	require.Len(t, got, len(want))
	for i, w := range want {
		g := got[i]
		require.Equal(t, w.ProducerID, g.ProducerID)
		require.Equal(t, w.ProducerEpoch, g.ProducerEpoch, "producer %d", w.ProducerID)
		require.Equal(t, w.CoordinatorEpoch, g.CoordinatorEpoch, "producer %d", w.ProducerID)
		require.Equal(t, w.LastTimestamp, g.LastTimestamp, "producer %d", w.ProducerID)
		first := int64(-1)
		if w.CurrentTxnFirstOffset != nil {
			first = *w.CurrentTxnFirstOffset
		}
		require.Equal(t, first, g.CurrentTxnFirstOffset, "producer %d", w.ProducerID)
		var batches []golden.CachedBatch
		for _, b := range g.Batches {
			batches = append(batches, golden.CachedBatch{FirstSeq: b.FirstSequence, LastSeq: b.LastSequence,
				FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, Timestamp: b.Timestamp})
		}
		if clean && len(w.CachedBatches) > 0 {
			require.Len(t, batches, 1, "producer %d", w.ProducerID)
		}
		// A tail of what the running log remembered.
		require.LessOrEqual(t, len(batches), len(w.CachedBatches))
		tail := w.CachedBatches[len(w.CachedBatches)-len(batches):]
		if len(batches) > 0 {
			// A snapshot has one timestamp a producer, that of its last batch or
			// marker, so a batch that came from it may not have its own.
			batches[0].Timestamp = tail[0].Timestamp
		}
		require.Equal(t, tail, slices.Concat(tail[:0:0], batches), "producer %d", w.ProducerID)
		if len(w.CachedBatches) > 0 {
			require.NotEmpty(t, batches, "producer %d", w.ProducerID)
		}
	}
}

func checkGoldenAborted(t *testing.T, l *Log, s *golden.PartitionState) {
	all, err := l.AbortedTxns(0, noOffset, nil)
	require.NoError(t, err)
	var list []golden.AbortedTxn
	for _, a := range all {
		list = append(list, golden.AbortedTxn(a))
	}
	require.Equal(t, s.AbortedTransactions, list)

	for _, f := range s.Fetches {
		if f.Isolation != "TXN_COMMITTED" || f.Error != "" {
			continue
		}
		// Kafka's upper bound lies at or above the bytes fetched: what begins
		// below the next offset must be listed, what Kafka lists may be.
		upper := offsetAt(t, l, f.Segment, f.Position+f.SizeInBytes)
		got, err := l.AbortedTxns(f.StartOffset, upper, nil)
		require.NoError(t, err)
		var kafka, ours []golden.AbortedTxn
		for _, a := range f.AbortedTransactions {
			kafka = append(kafka, golden.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
		}
		for _, a := range got {
			ours = append(ours, golden.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
		}
		for _, a := range ours {
			require.Contains(t, kafka, a, "fetch %+v", f)
		}
		for _, a := range kafka {
			if a.FirstOffset < upper {
				require.Contains(t, ours, a, "fetch %+v", f)
			}
		}
	}

	plain, committed := readOffsets(t, l, all)
	require.Equal(t, s.ReadUncommittedOffsets, plain)
	require.Equal(t, s.ReadCommittedOffsets, committed)
}

// readOffsets are the data records that consumers see: all of them, and those
// not aborted.
func readOffsets(t *testing.T, l *Log, all []index.AbortedTxn) (plain, committed []int64) {
	t.Helper()
	start, stable := l.LogStartOffset(), l.LastStableOffset()
	eachBatch(t, l, start, func(b codec.Batch) {
		if b.IsControl() {
			return
		}
		aborted := isAborted(all, b)
		for _, r := range decode(t, l, b) {
			if r.Offset < start {
				continue
			}
			plain = append(plain, r.Offset)
			if r.Offset < stable && !aborted {
				committed = append(committed, r.Offset)
			}
		}
	})
	return plain, committed
}

// offsetAt is the base offset of the batch that a position of a segment lies
// in, or the offset behind the segment.
func offsetAt(t *testing.T, l *Log, base, pos int64) int64 {
	end := base
	c := l.NewCursor(max(base, l.LogStartOffset()))
	defer c.Close()
	for {
		b, err := c.Next(l.LogEndOffset())
		if err == ErrWait {
			return end
		}
		require.NoError(t, err)
		if c.Segment().Base() != base {
			return end
		}
		if _, p := c.Position(); p+int64(len(b)) > pos {
			return max(b.BaseOffset(), end)
		}
		end = b.NextOffset()
	}
}

func eachBatch(t testing.TB, l *Log, from int64, f func(codec.Batch)) {
	t.Helper()
	c := l.NewCursor(from)
	defer c.Close()
	for {
		b, err := c.Next(l.LogEndOffset())
		if err == ErrWait {
			return
		}
		require.NoError(t, err)
		f(b)
	}
}

func decode(t testing.TB, l *Log, b codec.Batch) []codec.Record {
	t.Helper()
	payload, err := codec.Unpack(b, nil, l.env.coders, MaxUnpacked)
	require.NoError(t, err)
	rs, err := codec.DecodeAll(b, payload, nil)
	require.NoError(t, err)
	return rs
}

func TestGoldenPartitionBatches(t *testing.T) {
	forEachPartition(t, func(t *testing.T, g *rig, _ string, want *golden.Partition, _ bool) {
		var batches []golden.Batch
		for name, f := range want.Clean {
			if strings.HasSuffix(name, ".log") {
				batches = append(batches, f.Batches...)
			}
		}
		slices.SortFunc(batches, func(a, b golden.Batch) int { return compare(a.BaseOffset, b.BaseOffset) })
		start := g.log.LogStartOffset()
		batches = slices.DeleteFunc(batches, func(b golden.Batch) bool { return b.LastOffset < start })
		c := g.log.NewCursor(start)
		defer c.Close()
		for _, w := range batches {
			b, err := c.Next(g.log.LogEndOffset())
			require.NoError(t, err)
			_, pos := c.Position()
			require.Equal(t, w.Position, pos)
			checkGoldenBatch(t, g.log, &w, b)
		}
		_, err := c.Next(g.log.LogEndOffset())
		require.ErrorIs(t, err, ErrWait)
	})
}

func checkGoldenBatch(t *testing.T, l *Log, w *golden.Batch, b codec.Batch) {
	require.Equal(t, w.SizeInBytes, int64(len(b)))
	require.Equal(t, w.BaseOffset, b.BaseOffset())
	require.Equal(t, w.LastOffset, b.LastOffset())
	require.Equal(t, w.NextOffset, b.NextOffset())
	require.Equal(t, w.PartitionLeaderEpoch, b.LeaderEpoch())
	require.Equal(t, w.CRC, b.CRC())
	require.Equal(t, w.Attributes, b.Attributes())
	require.Equal(t, w.LastOffsetDelta, b.LastOffsetDelta())
	require.Equal(t, w.BaseTimestamp, b.BaseTimestamp())
	require.Equal(t, w.MaxTimestamp, b.MaxTimestamp())
	require.Equal(t, w.ProducerID, b.ProducerID())
	require.Equal(t, w.ProducerEpoch, b.ProducerEpoch())
	require.Equal(t, w.BaseSequence, b.BaseSequence())
	require.Equal(t, w.RecordCount, b.RecordCount())
	require.Equal(t, w.Compression, b.Compression().String())
	records := decode(t, l, b)
	require.Len(t, records, len(w.Records))
	for i, r := range records {
		e := w.Records[i]
		require.Equal(t, e.Offset, r.Offset)
		require.Equal(t, e.Timestamp, r.Timestamp)
		require.True(t, e.Key.Equal(r.Key), "key of %d", r.Offset)
		require.True(t, e.Value.Equal(r.Value), "value of %d", r.Offset)
		require.Len(t, r.Headers, len(e.Headers))
		for k, h := range r.Headers {
			require.Equal(t, e.Headers[k].Key, h.Key)
			require.True(t, e.Headers[k].Value.Equal(h.Value))
		}
	}
}

func TestGoldenPartitionLookups(t *testing.T) {
	forEachPartition(t, func(t *testing.T, g *rig, _ string, want *golden.Partition, _ bool) {
		l := g.log
		for _, w := range want.State.OffsetLookups {
			if w.Target < l.LogStartOffset() {
				c := l.NewCursor(w.Target)
				_, err := c.Next(l.LogEndOffset())
				require.ErrorIs(t, err, ErrOffsetOutOfRange)
				continue
			}
			c := l.NewCursor(w.Target)
			b, err := c.Next(l.LogEndOffset())
			if w.Batch == nil {
				// Not in that segment: in the next, or nowhere yet.
				if err == nil {
					require.Greater(t, c.Segment().Base(), w.Segment)
				} else {
					require.ErrorIs(t, err, ErrWait)
				}
			} else {
				require.NoError(t, err)
				_, pos := c.Position()
				require.Equal(t, *w.Batch, golden.BatchSpot{BaseOffset: b.BaseOffset(), Position: pos, SizeInBytes: int64(len(b))})
			}
			c.Close()
		}
		for _, w := range want.State.TimestampLookups {
			checkGoldenTime(t, l, w)
		}
	})
}

func checkGoldenTime(t *testing.T, l *Log, w golden.TimeLookup) {
	switch w.Timestamp {
	case -1:
		require.Equal(t, w.Result.Offset, l.LogEndOffset())
	case -2:
		require.Equal(t, w.Result.Offset, l.LogStartOffset())
	default:
		find := func() (int64, int64, bool, error) { return l.OffsetForTimestamp(w.Timestamp) }
		if w.Timestamp == -3 {
			find = l.OffsetForMaxTimestamp
		}
		offset, ts, found, err := find()
		require.NoError(t, err)
		require.Equal(t, w.Result != nil, found, "%d", w.Timestamp)
		if found {
			require.Equal(t, w.Result.Offset, offset, "%d", w.Timestamp)
			require.Equal(t, w.Result.Timestamp, ts, "%d", w.Timestamp)
		}
	}
}

func TestGoldenPartitionFiles(t *testing.T) {
	forEachPartition(t, func(t *testing.T, g *rig, dir string, want *golden.Partition, clean bool) {
		require.NoError(t, g.log.Close())
		require.True(t, g.log.Clean())
		files := want.CrashAfterRecovery.Files
		if clean {
			files = want.Clean
		}
		checkGoldenFiles(t, dir, files)

		// Opened once more, appended to, closed and opened again.
		g.st.Clean, g.st.RecoveryPoint = true, g.log.RecoveryPoint()
		l := g.open()
		require.True(t, g.rep.Clean)
		end := l.LogEndOffset()
		for i := range 300 {
			base, err := l.Append(context.Background(), []Record{{Key: []byte("k"), Value: make([]byte, 100), Timestamp: time.Now()}}, Written)
			require.NoError(t, err)
			require.Equal(t, end+int64(i), base)
		}
		require.NoError(t, l.Sync(context.Background()))
		require.Greater(t, len(l.Segments()), len(want.State.SegmentBaseOffsets))
		g.st.StartOffset = l.LogStartOffset()
		require.NoError(t, g.log.Close())
		g.st.RecoveryPoint = g.log.RecoveryPoint()
		l = g.open()
		require.True(t, g.rep.Clean)
		require.Equal(t, end+300, l.LogEndOffset())
		require.Equal(t, want.State.LastStableOffset, l.LastStableOffset()) // a transaction is open
		require.Equal(t, want.State.LatestEpoch, l.LatestEpoch())
		n := 0
		eachBatch(t, l, end, func(b codec.Batch) {
			require.Equal(t, end+int64(n), b.BaseOffset())
			require.Equal(t, want.State.LatestEpoch, b.LeaderEpoch())
			n++
		})
		require.Equal(t, 300, n)
	})
}

// checkGoldenFiles compares a folder with what Kafka left: byte for byte, but
// for the order of the entries of snapshots.
func checkGoldenFiles(t *testing.T, dir string, want map[string]golden.File) {
	var names []string
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		if e.Name() != sumsName {
			names = append(names, e.Name())
		}
	}
	var expected []string
	for name := range want {
		expected = append(expected, name)
	}
	slices.Sort(expected)
	require.Equal(t, expected, names)
	for name, w := range want {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		if !strings.HasSuffix(name, ".snapshot") {
			if w.Text != nil {
				require.Equal(t, *w.Text, string(b), name)
			}
			require.Equal(t, w.SizeInBytes, int64(len(b)), name)
			require.Equal(t, w.SHA256, golden.Hash(b), name)
			continue
		}
		list, err := ParseSnapshot(b)
		require.NoError(t, err)
		var got []golden.ProducerSnapshot
		for _, p := range list {
			got = append(got, golden.ProducerSnapshot(p))
		}
		require.ElementsMatch(t, w.Entries.Producers, got, name)
	}
}
