package log

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// TestTruncateGolden truncates the partitions that Kafka wrote at every batch and
// inside of some: what is there then is what a recovery finds in a folder that
// never had more.
func TestTruncateGolden(t *testing.T) {
	for _, set := range partitionSets(t) {
		for _, state := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, state) {
				continue
			}
			for _, external := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/external=%v", set, state, external), func(t *testing.T) {
					var want golden.Partition
					golden.JSON(t, &want, "partition", set, "expected.json")
					cuts := goldenCuts(&want)
					require.Greater(t, len(cuts), 20)
					for i, c := range cuts {
						if i%5 == 0 || os.Getenv("LEAT_LONG") != "" {
							testTruncateGolden(t, &want, c, external, i%2 == 0, "partition", set, state)
						}
					}
				})
			}
		}
	}
}

// goldenCut is a place to truncate at: offset is asked for, and batch is the one
// that goes first.
type goldenCut struct {
	file   string
	batch  golden.Batch
	offset int64
}

func goldenCuts(want *golden.Partition) (cuts []goldenCut) {
	names := slices.Sorted(maps.Keys(want.Clean))
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		for _, b := range want.Clean[name].Batches {
			if b.BaseOffset < want.State.LogStartOffset {
				continue
			}
			cuts = append(cuts, goldenCut{name, b, b.BaseOffset})
			if b.LastOffset > b.BaseOffset {
				cuts = append(cuts, goldenCut{name, b, b.LastOffset})
			}
		}
	}
	return cuts
}

func testTruncateGolden(t *testing.T, want *golden.Partition, c goldenCut, external, refill bool, path ...string) {
	at := fmt.Sprintf("%s, asked for %d, first to go %d", c.file, c.offset, c.batch.BaseOffset)
	end := c.batch.BaseOffset
	clean := path[len(path)-1] == "clean"

	// What never had more: whole segments as they are, and a piece of one.
	g2 := goldenMem(t, want, path...)
	g2.cfg.ExternalEpochs = true
	for _, name := range slices.Sorted(maps.Keys(g2.files())) {
		base, suffix, ok := segment.ParseName(name)
		cut, _, _ := segment.ParseName(c.file)
		switch {
		case ok && (base > cut || base == cut && suffix != segment.LogSuffix && suffix != segment.SnapshotSuffix),
			ok && suffix == segment.SnapshotSuffix && (base > end || !clean && base <= want.State.LogStartOffset):
			require.NoError(t, g2.fs.Remove(g2.dir+"/"+name))
		case name == c.file:
			g2.putFile(name, g2.getFile(name)[:c.batch.Position])
		}
	}
	require.NoError(t, g2.fs.Remove(g2.dir+"/"+epochsName))
	var e Epochs
	for _, old := range want.State.LeaderEpochs {
		e.Assign(old.Epoch, old.StartOffset)
	}
	e.TruncateFromEnd(end)
	g2.putFile(epochsName, e.Append(nil))
	g2.st.Clean, g2.st.RecoveryPoint, g2.st.HighWatermark = false, end, end
	g2.open()
	require.Equal(t, end, g2.log.LogEndOffset(), at)
	theirs := factsOf(t, g2.log, want)

	g := goldenMem(t, want, path...)
	g.cfg.ExternalEpochs = external
	g.st.Clean = clean
	require.NoError(t, g.fs.SyncDir("."))
	l := g.open()
	latest := l.LatestEpoch()
	_, err := l.AbortedTxns(0, noOffset, nil) // what was proved right is so no more
	require.NoError(t, err)
	lowered := false
	require.NoError(t, l.TruncateTo(c.offset, func() error {
		lowered = true
		require.Equal(t, end, l.RecoveryPoint())
		return nil
	}), at)
	require.True(t, lowered)

	compare := func(l *Log) {
		got := factsOf(t, l, want)
		if !external {
			entries := slices.Concat(theirs.epochs, []EpochEntry{{latest + 1, end}})
			require.Equal(t, entries, got.epochs, at)
			got.epochs = theirs.epochs
		}
		require.Equal(t, end, l.LogEndOffset(), at)
		require.Equal(t, end, l.DurableEnd(), at)
		require.Equal(t, theirs, got, at)
	}
	compare(l)
	if refill {
		refillGolden(t, l, theirs, at)
		return
	}

	// The files are the same once both are closed, but for what epochs began.
	tree := g.fs.(*vfs.Mem).CrashClone(vfs.None)
	require.NoError(t, l.Close())
	require.NoError(t, g2.log.Close())
	mine, other := g.files(), g2.files()
	for _, m := range []map[string]string{mine, other} {
		delete(m, sumsName)
		// A recovery removes those up to the log start, as Kafka does.
		maps.DeleteFunc(m, func(name, _ string) bool {
			offset, suffix, ok := segment.ParseName(name)
			return ok && suffix == segment.SnapshotSuffix && offset <= l.LogStartOffset()
		})
		if !external {
			delete(m, epochsName)
		}
	}
	require.Equal(t, other, mine, at)

	// And so they are when the power fails as soon as the truncation is done.
	g3 := &rig{t: t, fs: tree, cfg: g.cfg, dir: g.dir, env: NewEnv(EnvOptions{FS: tree})}
	defer g3.env.Close()
	g3.st = OpenState{RecoveryPoint: end, StartOffset: g.st.StartOffset, HighWatermark: -1, Adopted: true}
	l = g3.open()
	defer l.Abandon()
	require.Empty(t, g3.rep.Cuts)
	// How many of a producer's batches are known, beside the newest, depends on how
	// far before the end the recovery began.
	for _, p := range l.producers.byID {
		if p.count > 1 {
			p.batches[0], p.count = p.batches[p.count-1], 1
		}
	}
	for i := range theirs.producers {
		if b := theirs.producers[i].Batches; len(b) > 1 {
			theirs.producers[i].Batches = b[len(b)-1:]
		}
	}
	compare(l)
}

// refillGolden fills and seals the segment that was cut: what was known of it
// before is not believed any more.
func refillGolden(t *testing.T, l *Log, was logFacts, at string) {
	cut := l.w.active.Base()
	for i := 0; len(l.Segments()) < len(was.segments)+2; i++ {
		_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 500), Timestamp: time.Now()}}, Written)
		require.NoError(t, err)
		require.Less(t, i, 10_000)
	}
	l.writing.Lock()
	l.seals.start(l)
	l.seals.wait()
	l.unlock()
	require.Greater(t, l.w.active.Base(), cut)
	aborted, err := l.AbortedTxns(0, noOffset, nil)
	require.NoError(t, err)
	require.Equal(t, was.aborted, aborted, at)
}

// logFacts are all that the batches of a log lead to.
type logFacts struct {
	start, watermark, stable int64
	segments                 []SegmentInfo
	epochs                   []EpochEntry
	producers                []ProducerState
	aborted                  []index.AbortedTxn
	batches                  []codec.Batch
	times                    []string
}

func factsOf(t *testing.T, l *Log, want *golden.Partition) logFacts {
	f := logFacts{start: l.LogStartOffset(), watermark: l.HighWatermark(), stable: l.LastStableOffset(), segments: l.Segments(),
		epochs: append([]EpochEntry{}, l.epochs.Entries()...), producers: l.producers.Active()}
	var err error
	f.aborted, err = l.AbortedTxns(0, noOffset, nil)
	require.NoError(t, err)
	eachBatch(t, l, l.LogStartOffset(), func(b codec.Batch) { f.batches = append(f.batches, slices.Clone(b)) })
	for _, w := range want.State.TimestampLookups {
		if w.Timestamp >= 0 {
			offset, at, found, err := l.OffsetForTimestamp(w.Timestamp)
			f.times = append(f.times, fmt.Sprint(offset, at, found, err))
		}
	}
	return f
}

// TestExternalWatermarkTxns: what a committed reader may see below a high
// watermark that a wrapper has set, opened with it or moved to it: nothing of a
// transaction whose marker lies above.
func TestExternalWatermarkTxns(t *testing.T) {
	for _, set := range []string{"p1"} { // p2 has one that is open since before the log start
		for _, state := range []string{"clean", "crash"} {
			t.Run(set+"/"+state, func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				start, end := want.State.LogStartOffset, want.State.LogEndOffset
				rig := func(hw int64) *Log {
					g := goldenMem(t, &want, "partition", set, state)
					g.cfg.ExternalWatermark, g.st.Clean, g.st.HighWatermark = true, state == "clean", hw
					return g.open()
				}
				moved := rig(start)
				type txn struct{ first, marker int64 }
				var txns []txn
				open := map[int64]int{}
				eachBatch(t, moved, start, func(b codec.Batch) {
					i, ok := open[b.ProducerID()]
					switch {
					case b.IsControl() && ok:
						txns[i].marker = b.BaseOffset()
						delete(open, b.ProducerID())
					case !b.IsControl() && b.IsTransactional() && !ok:
						open[b.ProducerID()] = len(txns)
						txns = append(txns, txn{b.BaseOffset(), noOffset})
					}
				})
				require.NotEmpty(t, txns)
				held := 0
				for hw := start; hw <= end; hw++ {
					stable := hw
					for _, x := range txns {
						if x.marker >= hw {
							stable = min(stable, x.first)
						}
					}
					if stable < hw {
						held++
					}
					require.NoError(t, moved.SetHighWatermark(hw))
					require.Equal(t, stable, moved.LastStableOffset(), "moved to %d", hw)
					if hw%7 == 0 {
						l := rig(hw)
						require.Equal(t, hw, l.HighWatermark())
						require.Equal(t, stable, l.LastStableOffset(), "opened with %d", hw)
						l.Abandon()
					}
				}
				require.NotZero(t, held)
			})
		}
	}
}
