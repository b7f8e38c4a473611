package log

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/segment"
)

// kafkaErrors are the errors that stand for Kafka's.
var kafkaErrors = map[string]error{
	"INVALID_TIMESTAMP":              ErrInvalidTimestamp,
	"INVALID_RECORD":                 ErrInvalidRecord,
	"OUT_OF_ORDER_SEQUENCE_NUMBER":   ErrOutOfOrderSequence,
	"INVALID_PRODUCER_EPOCH":         ErrFenced,
	"INVALID_TXN_STATE":              ErrTxnState,
	"TRANSACTION_COORDINATOR_FENCED": ErrCoordinatorFenced,
}

// encode makes one batch of records from offset 0 on.
func encode(t testing.TB, rs []codec.Record, change func(h *codec.Header)) []byte {
	t.Helper()
	for i := range rs {
		rs[i].Offset = int64(i)
	}
	h := codec.NewHeader(0, rs)
	if change != nil {
		change(&h)
	}
	for i := range rs {
		rs[i].Offset = h.BaseOffset + int64(i)
	}
	coders := compress.New()
	defer coders.Close()
	b, err := codec.AppendBatch(nil, h, rs, coders)
	require.NoError(t, err)
	return b
}

// TestRawTimestamps: Kafka's verdict on every timestamp, by the topic's settings.
func TestRawTimestamps(t *testing.T) {
	if !golden.Has("behaviour", "timestamps.json") {
		t.Skip("not in this copy")
	}
	var cases []golden.Timestamped
	golden.JSON(t, &cases, "behaviour", "timestamps.json")
	require.Len(t, cases, 54)
	gap := func(ms int64) time.Duration {
		if ms > math.MaxInt64/int64(time.Millisecond) {
			return -1
		}
		return time.Duration(ms) * time.Millisecond
	}
	for i, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.UnixMilli(c.Now)))
			g := newRig(t, WriterPwrite, true, Config{Durability: Written, FlushInterval: -1})
			l := g.open()
			cfg := *l.cfg()
			cfg.LogAppendTime = c.TimestampType == "LogAppendTime"
			cfg.TimestampBefore, cfg.TimestampAfter = gap(c.BeforeMaxMs), gap(c.AfterMaxMs)
			l.config.Store(&cfg) // in a Config 0 would be the default
			r := codec.Record{Timestamp: c.RecordTimestamp, Key: []byte("k"), Value: []byte("v")}
			if c.KeyIsNull {
				r.Key = nil
			}
			raw := encode(t, []codec.Record{r}, nil)
			got, err := l.AppendRaw(raw, RawOptions{Keyed: c.CleanupPolicy == "compact"})
			require.NoError(t, g.log.Close())
			if c.Result.Error != "" {
				require.ErrorIs(t, err, kafkaErrors[c.Result.Error], "case %d: %+v", i, c)
				require.Zero(t, l.LogEndOffset())
				return
			}
			require.NoError(t, err, "case %d: %+v", i, c)
			want := RawResult{BaseOffset: c.Result.FirstOffset, LastOffset: c.Result.LastOffset, AppendTime: -1}
			if cfg.LogAppendTime {
				want.AppendTime = c.Now
			}
			require.Equal(t, want, got)
			b := codec.Batch(g.getFile(g.logFile(0)))
			require.NoError(t, b.Check())
			if cfg.LogAppendTime {
				require.Equal(t, codec.LogAppendTime, b.TimestampType())
				require.Equal(t, c.Now, b.MaxTimestamp())
				require.Equal(t, c.RecordTimestamp, b.BaseTimestamp(), "the records stay as they are")
			} else {
				require.Equal(t, codec.CreateTime, b.TimestampType())
				require.Equal(t, c.RecordTimestamp, b.MaxTimestamp())
			}
			g.env.Close()
		})
	}
}

// TestRawProducerOps: scripts of producers that behave and that do not, and of
// markers. Every answer is Kafka's, and so is the state afterwards, which is that
// of a log recovered from what was written.
func TestRawProducerOps(t *testing.T) {
	if !golden.Has("behaviour", "producer-ops.json") {
		t.Skip("not in this copy")
	}
	var scripts []golden.ProducerOps
	golden.JSON(t, &scripts, "behaviour", "producer-ops.json")
	require.Len(t, scripts, 2)
	for _, s := range scripts {
		t.Run(s.Name, func(t *testing.T) {
			g := newRig(t, WriterMapped, true, Config{
				SegmentBytes: s.Config.SegmentBytes, IndexInterval: int(s.Config.IndexIntervalBytes), IndexBytes: int(s.Config.SegmentIndexBytes),
				Durability: Written, FlushInterval: -1, ProducerExpiration: -1, TimestampAfter: -1,
			})
			l := g.open()
			clock := int64(1700000000000)
			for i, o := range s.Ops {
				what := fmt.Sprintf("op %d: %+v", i, o)
				var got RawResult
				var err error
				switch o.Op {
				case "produce":
					rs := make([]codec.Record, o.Records)
					for k := range rs {
						rs[k] = codec.Record{Timestamp: clock, Key: []byte("k"), Value: fmt.Appendf(nil, "v%d", i)}
					}
					raw := encode(t, rs, func(h *codec.Header) {
						h.ProducerID, h.ProducerEpoch, h.BaseSequence = o.ProducerID, o.ProducerEpoch, o.BaseSequence
						if o.Transactional {
							h.Attributes |= codec.TransactionalBit
						}
					})
					got, err = l.AppendRaw(raw, RawOptions{Transactional: true})
				case "marker":
					got, err = l.AppendMarker(Marker{
						ProducerID: o.ProducerID, ProducerEpoch: o.ProducerEpoch, CoordinatorEpoch: o.CoordinatorEpoch, Commit: o.Commit,
						Time: time.UnixMilli(clock), Version: o.TransactionVersion,
					}, 0)
				}
				clock += 10
				if o.Result.Error != "" {
					require.ErrorIs(t, err, kafkaErrors[o.Result.Error], what)
				} else {
					require.NoError(t, err, what)
					require.Equal(t, o.Result, golden.Answer{FirstOffset: got.BaseOffset, LastOffset: got.LastOffset, Appended: !got.Duplicate}, what)
				}
				require.Equal(t, o.LogEndOffset, l.LogEndOffset(), what)
				require.Equal(t, o.LastStableOffset, l.LastStableOffset(), what)
			}
			states := goldenStates(l.producers.Active())
			requireStates(t, s.FinalProducers, states)
			require.Equal(t, s.FinalAbortedTransactions, goldenAborted(t, l))
			require.Greater(t, len(l.Segments()), 1)

			// Recovery makes the same of the batches, the snapshots and the index.
			ends := [2]int64{l.LogEndOffset(), l.LastStableOffset()}
			before := l.producers.Snapshot()
			l.Abandon()
			g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
			l = g.open()
			require.Equal(t, ends, [2]int64{l.LogEndOffset(), l.LastStableOffset()})
			require.Equal(t, before, l.producers.Snapshot())
			require.Equal(t, s.FinalAbortedTransactions, goldenAborted(t, l))
			g.reopen()
			require.Equal(t, before, g.log.producers.Snapshot())
			require.Equal(t, s.FinalAbortedTransactions, goldenAborted(t, g.log))
		})
	}
}

// requireStates compares states but for their timestamps, which depend on the
// clock of whoever made the script.
func requireStates(t *testing.T, want, got []golden.ProducerState) {
	t.Helper()
	timeless := func(list []golden.ProducerState) []golden.ProducerState {
		out := slices.Clone(list)
		for i := range out {
			out[i].LastTimestamp = 0
			out[i].CachedBatches = slices.Clone(out[i].CachedBatches)
			for k := range out[i].CachedBatches {
				out[i].CachedBatches[k].Timestamp = 0
			}
		}
		slices.SortFunc(out, func(a, b golden.ProducerState) int { return compare(a.ProducerID, b.ProducerID) })
		return out
	}
	require.Equal(t, timeless(want), timeless(got))
}

func goldenAborted(t *testing.T, l *Log) []golden.AbortedTxn {
	t.Helper()
	list, err := l.AbortedTxns(0, noOffset, nil)
	require.NoError(t, err)
	var out []golden.AbortedTxn
	for _, a := range list {
		out = append(out, golden.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset, LastOffset: a.LastOffset, LastStableOffset: a.LastStableOffset})
	}
	return out
}

// TestRawFollower reads every golden partition batch by batch and appends it, as
// a follower, to a new log: the same bytes, and all that follows from them.
func TestRawFollower(t *testing.T) {
	type set struct {
		path []string
		cfg  golden.Config
		name string
		part int32
	}
	var sets []set
	for _, s := range partitionSets(t) {
		var want golden.Partition
		golden.JSON(t, &want, "partition", s, "expected.json")
		sets = append(sets, set{[]string{"partition", s, "clean"}, want.Config, want.Topic, want.Partition})
	}
	for _, s := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", s, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", s, "expected.json")
		for _, step := range want.Steps {
			sets = append(sets, set{[]string{"compacted", s, step.Dir}, want.Config, want.Topic, want.Partition})
		}
	}
	for i, s := range sets {
		t.Run(strings.Join(s.path, "/"), func(t *testing.T) {
			src, _ := goldenRig(t, WriterPwrite, s.cfg, s.name, s.part, s.path...)
			leader := src.open()

			g := newRig(t, []Writer{WriterMapped, WriterPwrite}[i%2], true, src.cfg)
			g.dir = src.dir
			require.NoError(t, g.fs.Mkdir(g.dir))
			g.cfg.ExternalEpochs = true
			l := g.open()
			var calls [][]byte
			eachBatch(t, leader, leader.LogStartOffset(), func(b codec.Batch) {
				// As a fetch would give them: several at a time.
				if n := len(calls); n > 0 && n%3 != 0 && len(calls[n-1])+len(b) < int(g.cfg.SegmentBytes) {
					calls[n-1] = append(calls[n-1], b...)
				} else {
					calls = append(calls, slices.Clone(b))
				}
			})
			for _, raw := range calls {
				was := slices.Clone(raw)
				r, err := l.AppendRaw(raw, RawOptions{Follower: true, Durability: Synced})
				require.NoError(t, err)
				require.Equal(t, was, raw, "the input is not touched")
				require.Equal(t, l.LogEndOffset(), r.LastOffset+1)
				require.NoError(t, l.WaitDurable(context.Background(), r.Durable, r.Generation))
			}
			check := func(what string) {
				t.Helper()
				l := g.log
				require.Equal(t, slices.Concat(calls...), logBytes(t, l), what)
				require.Equal(t, leader.LogEndOffset(), l.LogEndOffset(), what)
				require.Equal(t, leader.HighWatermark(), l.HighWatermark(), what)
				require.Equal(t, leader.LastStableOffset(), l.LastStableOffset(), what)
				require.Equal(t, leader.LatestEpoch(), l.LatestEpoch(), what)
				requireSameAborted(t, leader, l, what)
				for off := l.LogStartOffset(); off < l.LogEndOffset(); off += 1 + l.LogEndOffset()/50 {
					a, b := leader.NewCursor(off), l.NewCursor(off)
					if off < leader.LogStartOffset() {
						a.SeekTo(leader.LogStartOffset())
					}
					x, err := a.Next(leader.LogEndOffset())
					require.NoError(t, err, "%s: offset %d", what, off)
					y, err := b.Next(l.LogEndOffset())
					require.NoError(t, err, "%s: offset %d", what, off)
					require.Equal(t, []byte(x), []byte(y), "%s: offset %d", what, off)
					a.Close()
					b.Close()
				}
			}
			check("appended")
			running := l.producers.Snapshot()
			batches := l.producers.Active()
			epochs := l.epochs.Entries()

			// What was kept on the way is what recovery finds.
			l.Abandon()
			g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
			l = g.open()
			require.Nil(t, g.rep.Damage)
			require.Empty(t, g.rep.Cuts)
			check("recovered")
			require.Equal(t, running, l.producers.Snapshot())
			require.Equal(t, batches, l.producers.Active(), "replayed from the start: %d segments", len(l.Segments()))
			require.Equal(t, epochs, l.epochs.Entries())
			g.remove("leader-epoch-checkpoint")
			l.Abandon()
			require.Equal(t, epochs, g.open().epochs.Entries())

			g.reopen()
			require.True(t, g.rep.Clean)
			check("reopened")
			require.NoError(t, g.log.Close())
			require.Equal(t, freshIndexes(t, g), closedIndexes(t, g), "indexes are those that a scan makes")
		})
	}
}

// logBytes are the batches of a log, all segments after each other.
func logBytes(t *testing.T, l *Log) (out []byte) {
	t.Helper()
	eachBatch(t, l, l.LogStartOffset(), func(b codec.Batch) { out = append(out, b...) })
	return out
}

// requireSameAborted asks both logs about every batch: their indexes may differ
// in what cannot matter.
func requireSameAborted(t *testing.T, a, b *Log, what string) {
	t.Helper()
	list := func(l *Log) []index.AbortedTxn {
		x, err := l.AbortedTxns(0, noOffset, nil)
		require.NoError(t, err)
		return x
	}
	x, y := list(a), list(b)
	eachBatch(t, a, a.LogStartOffset(), func(batch codec.Batch) {
		require.Equal(t, isAborted(x, batch), isAborted(y, batch), "%s: batch at %d", what, batch.BaseOffset())
	})
}

// closedIndexes are the index files of a closed log.
func closedIndexes(t *testing.T, g *rig) map[string]string {
	m := g.files()
	for name := range m {
		switch filepath.Ext(name) {
		case segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix:
		default:
			delete(m, name)
		}
	}
	return m
}

// freshIndexes are the index files that recovery makes of the log files alone.
func freshIndexes(t *testing.T, g *rig) map[string]string {
	fresh := newRig(t, WriterPwrite, true, g.cfg)
	fresh.dir = g.dir
	require.NoError(t, fresh.fs.Mkdir(fresh.dir))
	for name, b := range g.files() {
		if strings.HasSuffix(name, segment.LogSuffix) || name == sumsName {
			fresh.putFile(name, []byte(b))
		}
	}
	fresh.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
	fresh.open()
	require.NoError(t, fresh.log.Close())
	return closedIndexes(t, fresh)
}
