package log

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
	"github.com/stretchr/testify/require"
)

func producerFile(base int64, kind string) string { return fmt.Sprintf("%020d%s", base, kind) }

// producerLog are the batches of a golden segment.
func producerLog(t testing.TB, name ...string) []codec.Batch {
	var list []codec.Batch
	rest := golden.Bytes(t, name...)
	for {
		b, err := codec.Next(rest)
		if err == io.EOF {
			return list
		}
		require.NoError(t, err, path.Join(name...))
		require.NoError(t, b.Check(), path.Join(name...))
		list = append(list, b)
		rest = rest[len(b):]
	}
}

// producerBatches are the batches of all segments of a golden partition folder.
func producerBatches(t testing.TB, files map[string]golden.File, folder ...string) []codec.Batch {
	var list []codec.Batch
	for _, name := range slices.Sorted(producerFiles(files)) {
		if strings.HasSuffix(name, ".log") {
			list = append(list, producerLog(t, append(slices.Clone(folder), name)...)...)
		}
	}
	return list
}

func producerFiles(m map[string]golden.File) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func updateProducers(t testing.TB, p *Producers, b codec.Batch) *CompletedTxn {
	var control *codec.Control
	if b.IsControl() {
		if c, ok, err := codec.DecodeControl(b); ok {
			require.NoError(t, err)
			control = &c
		}
	}
	done, err := p.Update(b, control)
	require.NoError(t, err)
	return done
}

// replayProducers notes the batches of [from, to) and returns the aborted transactions
// as they belong into the transaction index.
func replayProducers(t testing.TB, p *Producers, list []codec.Batch, from, to int64) []golden.AbortedTxn {
	aborted := []golden.AbortedTxn{}
	for _, b := range list {
		if b.BaseOffset() < from || b.BaseOffset() >= to {
			continue
		}
		if done := updateProducers(t, p, b); done != nil && done.Aborted {
			aborted = append(aborted, golden.AbortedTxn{
				ProducerID:       done.ProducerID,
				FirstOffset:      done.FirstOffset,
				LastOffset:       done.LastOffset,
				LastStableOffset: p.LastStableAfter(*done),
			})
		}
	}
	return aborted
}

func goldenStates(list []ProducerState) []golden.ProducerState {
	var out []golden.ProducerState
	for _, s := range list {
		g := golden.ProducerState{
			ProducerID:       s.ProducerID,
			ProducerEpoch:    s.ProducerEpoch,
			CoordinatorEpoch: s.CoordinatorEpoch,
			LastTimestamp:    s.LastTimestamp,
			CachedBatches:    []golden.CachedBatch{},
		}
		if s.CurrentTxnFirstOffset >= 0 {
			g.CurrentTxnFirstOffset = &s.CurrentTxnFirstOffset
		}
		for _, b := range s.Batches {
			g.CachedBatches = append(g.CachedBatches, golden.CachedBatch{
				FirstSeq: b.FirstSequence, LastSeq: b.LastSequence,
				FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, Timestamp: b.Timestamp,
			})
		}
		out = append(out, g)
	}
	return out
}

func goldenSnapshots(list []ProducerSnapshot) []golden.ProducerSnapshot {
	out := []golden.ProducerSnapshot{}
	for _, s := range list {
		out = append(out, golden.ProducerSnapshot(s))
	}
	return out
}

// producerSnapshots are the offsets of the .snapshot files of a folder, rising.
func producerSnapshots(files map[string]golden.File) []int64 {
	var list []int64
	for name := range files {
		if stem, ok := strings.CutSuffix(name, ".snapshot"); ok {
			offset, err := strconv.ParseInt(stem, 10, 64)
			if err == nil {
				list = append(list, offset)
			}
		}
	}
	slices.Sort(list)
	return list
}

func loadProducers(t testing.TB, p *Producers, folder []string, offset int64) {
	list, err := ParseSnapshot(golden.Bytes(t, append(slices.Clone(folder), producerFile(offset, ".snapshot"))...))
	require.NoError(t, err)
	p.Load(list, 0, math.MaxInt64)
}

// Replaying a broker's log gives the state that the broker had, the transaction
// index that it wrote, and the snapshots on the way.
func TestProducersAreKafkas(t *testing.T) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set) {
			continue
		}
		t.Run(set, func(t *testing.T) {
			var e golden.Partition
			golden.JSON(t, &e, "partition", set, "expected.json")
			folder := []string{"partition", set, "clean", "orders-3"}
			list := producerBatches(t, e.Clean, folder...)
			first := e.State.SegmentBaseOffsets[0]

			p := NewProducers()
			if first > 0 {
				loadProducers(t, p, folder, first)
			}
			at, aborted := first, []golden.AbortedTxn{}
			for _, offset := range producerSnapshots(e.Clean) {
				aborted = append(aborted, replayProducers(t, p, list, at, offset)...)
				at = offset
				require.ElementsMatch(t, e.Clean[producerFile(offset, ".snapshot")].Entries.Producers,
					goldenSnapshots(p.Snapshot()), "snapshot at %d", offset)
			}
			aborted = append(aborted, replayProducers(t, p, list, at, e.State.LogEndOffset)...)
			require.Equal(t, e.State.AbortedTransactions, aborted)

			p.TruncateHead(e.State.LogStartOffset)
			p.OnHighWatermark(e.State.HighWatermark)
			unstable, ok := p.FirstUnstable()
			require.Equal(t, e.State.FirstUnstableOffset != nil, ok)
			require.Equal(t, *e.State.FirstUnstableOffset, unstable)
			require.Equal(t, e.State.LastStableOffset, p.LastStableOffset(e.State.HighWatermark))

			got := goldenStates(p.Active())
			require.Equal(t, len(e.State.Producers), len(got))
			for i, want := range e.State.Producers {
				one, ok := p.Producer(want.ProducerID)
				require.True(t, ok)
				require.Equal(t, []golden.ProducerState{got[i]}, goldenStates([]ProducerState{one}))
				if n := len(got[i].CachedBatches); first > 0 && n < len(want.CachedBatches) {
					// The broker also remembers batches of deleted segments.
					want.CachedBatches = want.CachedBatches[len(want.CachedBatches)-n:]
				}
				require.Equal(t, want, got[i])
			}

			// From each snapshot on the end is the same, but for older batches.
			for _, offset := range producerSnapshots(e.Clean) {
				q := NewProducers()
				loadProducers(t, q, folder, offset)
				replayProducers(t, q, list, offset, e.State.LogEndOffset)
				require.Equal(t, p.Snapshot(), q.Snapshot(), "from %d on", offset)
				q.TruncateHead(e.State.LogStartOffset)
				q.OnHighWatermark(e.State.HighWatermark)
				require.Equal(t, e.State.LastStableOffset, q.LastStableOffset(e.State.HighWatermark))
			}
		})
	}
}

// Logs with transactions that a cleaner has been at. Where it has not been yet,
// replaying leads from one snapshot to the next. Where it has, the newest data
// batch of each producer that was active comes out of what it left, before and
// after each cleaning.
func TestProducersOfCompactedLogs(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set) {
			continue // only in the full set
		}
		var e golden.Compacted
		golden.JSON(t, &e, "compacted", set, "expected.json")
		dirty, pairs := int64(0), 0
		for i, step := range e.Steps {
			folder := []string{"compacted", set, step.Dir, "kv-0"}
			list := producerBatches(t, step.Files, folder...)
			end := list[len(list)-1].NextOffset()
			if step.NewFirstDirtyOffset != nil {
				dirty = *step.NewFirstDirtyOffset
			}

			p, at := NewProducers(), int64(0)
			for _, offset := range producerSnapshots(step.Files) {
				if at >= dirty {
					pairs++
					replayProducers(t, p, list, at, offset)
					require.ElementsMatch(t, step.Files[producerFile(offset, ".snapshot")].Entries.Producers,
						goldenSnapshots(p.Snapshot()), "%s %s: snapshot at %d", set, step.Dir, offset)
				}
				loadProducers(t, p, folder, offset)
				at = offset
			}
			replayProducers(t, p, list, at, end)
			p.OnHighWatermark(end)

			// A cleaned step tells of the log before and after the cleaning.
			about := step
			if i+1 < len(e.Steps) && e.Steps[i+1].NewFirstDirtyOffset != nil {
				about = e.Steps[i+1]
			}
			if about.LastStableOffset == nil {
				continue
			}
			require.Equal(t, *about.LastStableOffset, p.LastStableOffset(end), "%s %s", set, step.Dir)
			whole := NewProducers()
			replayProducers(t, whole, list, 0, end)
			for _, q := range []*Producers{p, whole} {
				require.Equal(t, len(about.ActiveProducersBefore), q.Len(), "%s %s", set, step.Dir)
				for _, want := range about.ActiveProducersBefore {
					got, ok := q.Producer(want.ProducerID)
					require.True(t, ok)
					require.Equal(t, want.ProducerEpoch, got.ProducerEpoch)
					if want.LastDataOffset == nil {
						require.Empty(t, got.Batches)
						continue
					}
					require.Equal(t, *want.LastDataOffset, got.Batches[len(got.Batches)-1].LastOffset,
						"%s %s: producer %d", set, step.Dir, want.ProducerID)
				}
			}
		}
		require.Greater(t, pairs, 2, set)
	}
}

// The group offsets log: every transaction that begins ends, and the aborted
// ones are those whose marker says so.
func TestProducersOfOffsetsLog(t *testing.T) {
	var e golden.ConsumerOffsetsLog
	golden.JSON(t, &e, "offsets", "consumer_offsets_log.json")
	list := producerLog(t, "offsets", "__consumer_offsets-12", "00000000000000000000.log")
	require.Equal(t, len(e.Batches), len(list))
	p, open := NewProducers(), map[int64]int64{}
	for i, b := range list {
		done := updateProducers(t, p, b)
		want := e.Batches[i]
		switch {
		case want.ProducerID < 0:
			require.Nil(t, done)
		case want.IsControl:
			require.Equal(t, &CompletedTxn{want.ProducerID, open[want.ProducerID], want.BaseOffset, want.Control.Type == "ABORT"}, done)
			delete(open, want.ProducerID)
		default:
			if _, begun := open[want.ProducerID]; !begun && want.IsTransactional {
				open[want.ProducerID] = want.BaseOffset
			}
		}
		require.Equal(t, len(open), p.OpenTxns())
	}
	end := list[len(list)-1].NextOffset()
	p.OnHighWatermark(end)
	if len(open) == 0 {
		require.Equal(t, end, p.LastStableOffset(end))
	}
}

// Batches made by hand.

func producerData(id int64, epoch int16, sequence int32, offset, last int64, transactional bool) codec.Batch {
	h := codec.Header{
		BaseOffset: offset, LastOffsetDelta: int32(last - offset), Magic: codec.Magic, BatchLength: codec.HeaderSize - 12,
		BaseTimestamp: 1000 + offset, MaxTimestamp: 1000 + last, ProducerID: id, ProducerEpoch: epoch, BaseSequence: sequence,
	}
	if transactional {
		h.Attributes |= codec.TransactionalBit
	}
	b := make(codec.Batch, codec.HeaderSize)
	h.Put(b)
	return b
}

func producerMarker(id int64, epoch int16, offset int64, commit bool, coordinatorEpoch int32) codec.Batch {
	return codec.AppendMarker(nil, codec.Header{BaseOffset: offset, ProducerID: id, ProducerEpoch: epoch, BaseTimestamp: 1000 + offset}, commit, coordinatorEpoch)
}

func TestProducersRememberFive(t *testing.T) {
	p := NewProducers()
	for i := range int64(7) {
		updateProducers(t, p, producerData(9, 1, int32(i*2), i*2, i*2+1, false))
	}
	s, ok := p.Producer(9)
	require.True(t, ok)
	require.Len(t, s.Batches, 5)
	require.Equal(t, ProducerBatch{4, 5, 4, 5, 1005}, s.Batches[0])
	require.Equal(t, ProducerBatch{12, 13, 12, 13, 1013}, s.Batches[4])

	// A marker of the same epoch keeps them; a new epoch forgets them.
	updateProducers(t, p, producerMarker(9, 1, 14, true, 3))
	s, _ = p.Producer(9)
	require.Len(t, s.Batches, 5)
	require.Equal(t, int32(3), s.CoordinatorEpoch)
	updateProducers(t, p, producerMarker(9, 2, 15, true, 3))
	s, _ = p.Producer(9)
	require.Empty(t, s.Batches)
	require.Equal(t, int16(2), s.ProducerEpoch)
	require.Equal(t, []ProducerSnapshot{{9, 2, -1, -1, 0, 1015, 3, -1}}, p.Snapshot())

	// Replicated data with an old epoch is taken as it is.
	updateProducers(t, p, producerData(9, 1, 0, 16, 16, false))
	s, _ = p.Producer(9)
	require.Equal(t, int16(1), s.ProducerEpoch)
	require.Len(t, s.Batches, 1)
}

func TestProducersSequenceWrap(t *testing.T) {
	p := NewProducers()
	updateProducers(t, p, producerData(9, 0, math.MaxInt32-1, 0, 4, false))
	s, _ := p.Producer(9)
	require.Equal(t, ProducerBatch{math.MaxInt32 - 1, 2, 0, 4, 1004}, s.Batches[0])
	updateProducers(t, p, producerData(9, 0, -1, 5, 7, false))
	s, _ = p.Producer(9)
	require.Equal(t, ProducerBatch{-1, -1, 5, 7, 1007}, s.Batches[1])
}

func TestProducersTransactions(t *testing.T) {
	p := NewProducers()
	stable := func(hw int64) int64 {
		p.OnHighWatermark(hw)
		return p.LastStableOffset(hw)
	}
	require.Equal(t, int64(0), stable(0))
	updateProducers(t, p, producerData(1, 0, 0, 0, 4, false))
	require.Equal(t, int64(5), stable(5))
	updateProducers(t, p, producerData(2, 0, 0, 5, 9, true))
	updateProducers(t, p, producerData(3, 0, 0, 10, 14, true))
	updateProducers(t, p, producerData(2, 0, 5, 15, 19, true))
	require.Equal(t, int64(5), stable(20))
	require.Equal(t, int64(3), stable(3), "below the first transaction it is the high watermark")

	// The first one ends, and stays in the way until its marker is replicated.
	done := updateProducers(t, p, producerMarker(2, 0, 20, false, 0))
	require.Equal(t, &CompletedTxn{2, 5, 20, true}, done)
	require.Equal(t, int64(10), p.LastStableAfter(*done))
	require.Equal(t, int64(5), stable(20))
	require.Equal(t, int64(10), stable(21))
	require.Nil(t, updateProducers(t, p, producerMarker(2, 0, 21, false, 0)), "nothing is open")

	// The second is one producer's own: behind its marker all is stable.
	done = updateProducers(t, p, producerMarker(3, 0, 22, true, 0))
	require.Equal(t, &CompletedTxn{3, 10, 22, false}, done)
	require.Equal(t, int64(23), p.LastStableAfter(*done))
	require.Equal(t, int64(10), stable(22))
	require.Equal(t, int64(23), stable(23))
	_, ok := p.FirstUnstable()
	require.False(t, ok)
}

func TestProducersRefuse(t *testing.T) {
	p := NewProducers()
	updateProducers(t, p, producerData(2, 0, 0, 5, 9, true))
	before := p.Active()
	_, err := p.Update(producerData(2, 0, 5, 10, 11, false), nil)
	require.ErrorIs(t, err, ErrTxnState)
	require.ErrorContains(t, err, "producer 2 wrote data at offset 10 outside of its transaction open since offset 5")
	_, err = p.Update(producerMarker(7, 0, 12, true, 0), &codec.Control{Type: codec.ControlLeaderChange})
	require.ErrorIs(t, err, ErrTxnState)
	require.Equal(t, before, p.Active(), "an error changes nothing")

	// A control batch that the cleaner has emptied says nothing.
	done, err := p.Update(producerMarker(2, 0, 12, true, 0), nil)
	require.NoError(t, err)
	require.Nil(t, done)
	require.Equal(t, before, p.Active())
}

func TestProducersTruncateHead(t *testing.T) {
	p := NewProducers()
	updateProducers(t, p, producerData(2, 0, 0, 5, 9, true))
	updateProducers(t, p, producerData(3, 0, 0, 10, 14, true))
	updateProducers(t, p, producerMarker(3, 0, 15, true, 0))
	p.TruncateHead(12)
	first, ok := p.FirstUnstable()
	require.True(t, ok)
	require.Equal(t, int64(12), first, "never below the log start")
	p.TruncateHead(10)
	first, _ = p.FirstUnstable()
	require.Equal(t, int64(12), first, "the log start never goes back")
	require.Equal(t, 2, p.Len())
	done := updateProducers(t, p, producerMarker(2, 0, 16, false, 0))
	require.Equal(t, int64(5), done.FirstOffset, "the transaction index has the true one")
}

func TestProducersExpire(t *testing.T) {
	load := []ProducerSnapshot{
		{ProducerID: 1, Timestamp: 100, LastOffset: 3, CurrentTxnFirstOffset: -1},
		{ProducerID: 2, Timestamp: 101, LastOffset: 3, CurrentTxnFirstOffset: -1},
		{ProducerID: 3, Timestamp: 1, LastOffset: 3, CurrentTxnFirstOffset: 2}, // open
	}
	p := NewProducers()
	p.Load(load, 1100, 1000)
	require.Equal(t, 2, p.Len(), "as old as the limit is too old")
	require.Zero(t, p.Expire(1100, 1000))
	require.Equal(t, 1, p.Expire(1101, 1000))
	require.Equal(t, int64(2), p.LastStableOffset(100))
	p.Load([]ProducerSnapshot{{ProducerID: 4, LastSequence: -1, LastOffset: -1, CoordinatorEpoch: 2, CurrentTxnFirstOffset: -1}}, 0, 1000)
	marked, ok := p.Producer(4)
	require.True(t, ok)
	require.Empty(t, marked.Batches, "a producer of which only a marker is known")
	p.Load(nil, 0, 0)
	require.Zero(t, p.Len())
	require.Equal(t, int64(100), p.LastStableOffset(100), "Load replaces everything")

	p.Load([]ProducerSnapshot{{ProducerID: 1, Timestamp: math.MinInt64, CurrentTxnFirstOffset: -1}, {ProducerID: 2, Timestamp: math.MaxInt64, CurrentTxnFirstOffset: -1}}, math.MinInt64+5, math.MaxInt64)
	require.Equal(t, 1, p.Len())
	p.Load([]ProducerSnapshot{load[2], load[2]}, 0, math.MaxInt64)
	require.Equal(t, 1, p.OpenTxns(), "a producer that is listed twice counts once")
}

// Random transactions against a list that is searched from end to end.
func TestProducersModel(t *testing.T) {
	type txn struct{ id, first, marker int64 } // marker -1: open
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, all, next, hw := NewProducers(), []txn{}, int64(0), int64(0)
		open := func(id int64) int {
			return slices.IndexFunc(all, func(t txn) bool { return t.id == id && t.marker < 0 })
		}
		for range 400 {
			id := r.Int64N(12)
			i := open(id)
			if r.IntN(3) > 0 || i < 0 {
				if i < 0 {
					all = append(all, txn{id, next, -1})
				}
				updateProducers(t, p, producerData(id, 0, 0, next, next+2, true))
				next += 3
			} else {
				done := updateProducers(t, p, producerMarker(id, 0, next, r.IntN(2) == 0, 0))
				require.Equal(t, all[i].first, done.FirstOffset)
				all[i].marker = next
				next++
				want := next
				for _, o := range all {
					if o.marker < 0 {
						want = min(want, o.first)
					}
				}
				require.Equal(t, want, p.LastStableAfter(*done))
			}
			if r.IntN(4) == 0 {
				hw += r.Int64N(next - hw + 1)
				p.OnHighWatermark(hw)
			}
			want := hw
			for _, o := range all {
				if o.marker < 0 || o.marker >= hw {
					want = min(want, o.first)
				}
			}
			require.Equal(t, want, p.LastStableOffset(hw))
		}
		q := NewProducers()
		q.Load(p.Snapshot(), 0, math.MaxInt64)
		require.Equal(t, p.Snapshot(), q.Snapshot())
		require.Equal(t, p.OpenTxns(), q.OpenTxns())
	}
}

func TestProducersAllocations(t *testing.T) {
	p := NewProducers()
	plain, idempotent := producerData(-1, -1, -1, 0, 9, false), producerData(5, 0, 0, 0, 9, false)
	updateProducers(t, p, idempotent)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = p.Update(plain, nil)
		_, _ = p.Update(idempotent, nil)
	}))
	require.Equal(t, 1, p.Len())
}

func BenchmarkProducersUpdate(b *testing.B) {
	for name, id := range map[string]int64{"none": -1, "idempotent": 5} {
		b.Run(name, func(b *testing.B) {
			p := NewProducers()
			batches := make([]codec.Batch, 1000)
			for i := range batches {
				batches[i] = producerData(id, 0, 0, int64(i), int64(i), false)
				if id >= 0 {
					batches[i] = producerData(int64(i), 0, 0, int64(i), int64(i), false)
				}
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Update(batches[i], nil); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(batches) {
					i = 0
				}
			}
		})
	}
}
