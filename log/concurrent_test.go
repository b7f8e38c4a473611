package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// Many callers at once. Run with -race.

// TestManyAppend: offsets are distinct and dense, each caller's records lie
// together and in order, and callers share batches. Readers follow meanwhile.
func TestManyAppend(t *testing.T) {
	const callers, each = 16, 60
	for _, segmentBytes := range []int64{2000, 1 << 20} {
		for _, d := range []Durability{Synced, Written} {
			t.Run(fmt.Sprintf("segment=%d/durability=%d", segmentBytes, d), func(t *testing.T) {
				c := Config{SegmentBytes: segmentBytes, IndexInterval: 500, Durability: d, FlushInterval: time.Millisecond}
				forEachWriter(t, c, func(t *testing.T, g *rig) { testManyAppend(t, g, callers, each, d) })
			})
		}
	}
}

func testManyAppend(t *testing.T, g *rig, callers, each int, d Durability) {
	l := g.open()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var readers, writers sync.WaitGroup
	total := 0
	counts := make([][]int, callers)
	for c := range counts {
		rng := rand.New(rand.NewPCG(7, uint64(c)))
		for range each {
			n := 1 + rng.IntN(4)
			counts[c] = append(counts[c], n)
			total += n
		}
	}
	var batches atomic.Int64
	for range 3 {
		readers.Go(func() {
			cur := l.NewCursor(0)
			defer cur.Close()
			w := NewWaiter()
			n := int64(0)
			for next := int64(0); next < int64(total); {
				b, err := cur.Next(l.Visible(true))
				if err == ErrWait {
					if err = l.Wait(ctx, w, next, true); err == nil {
						continue
					}
				}
				if err != nil || b.BaseOffset() != next {
					t.Errorf("at %d: %v", next, err)
					return
				}
				next = b.NextOffset()
				n++
			}
			batches.Store(n)
		})
	}
	bases := make([][]int64, callers)
	for c := range callers {
		writers.Go(func() {
			for i, n := range counts[c] {
				rs := make([]Record, n)
				for k := range rs {
					rs[k] = Record{Key: fmt.Appendf(nil, "%d", c), Value: fmt.Appendf(nil, "%d/%d/%d", c, i, k)}
				}
				base, err := l.Append(ctx, rs, []Durability{0, Synced, Written}[i%3])
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				clear(rs)
				bases[c] = append(bases[c], base)
				if i%3 == 1 && l.DurableEnd() < base+int64(n) {
					t.Errorf("acknowledged at %d, and durable up to %d", base, l.DurableEnd())
				}
			}
		})
	}
	writers.Wait()
	require.NoError(t, l.Sync(ctx))
	readers.Wait()
	require.False(t, t.Failed())
	require.EqualValues(t, total, l.LogEndOffset())
	require.LessOrEqual(t, batches.Load(), int64(callers*each))
	t.Logf("%d appends in %d batches", callers*each, batches.Load())
	for range 2 {
		rs := readAllRecords(t, g.log, 0)
		require.Len(t, rs, total)
		for c := range callers {
			last := int64(-1)
			for i, base := range bases[c] {
				require.Greater(t, base, last)
				last = base
				for k := range counts[c][i] {
					r := rs[base+int64(k)]
					require.Equal(t, base+int64(k), r.Offset)
					require.Equal(t, fmt.Sprintf("%d/%d/%d", c, i, k), string(r.Value))
				}
			}
		}
		g.reopen()
		require.True(t, g.rep.Clean)
	}
}

// stalled is a log whose syncs wait until they are let go.
func stalled(t *testing.T, c Config) (g *rig, entered chan string, release chan struct{}) {
	g = newRig(t, WriterMapped, true, c)
	g.open()
	entered, release = make(chan string, 1000), make(chan struct{})
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpSync && before {
			entered <- name
			<-release
		}
		return nil
	})
	return g, entered, release
}

// TestCancelBeforeAppend: an ended context appends nothing.
func TestCancelBeforeAppend(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{})
	l := g.open()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := l.Append(ctx, make([]Record, 1), Synced)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, l.Sync(ctx), context.Canceled)
	require.Zero(t, l.LogEndOffset())
}

// TestCancelUnclaimed: an append that waits for another's is taken back: nothing
// of it is stored, and the records are the caller's again.
func TestCancelUnclaimed(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{})
	l := g.open()
	l.writing.Lock() // somebody is appending
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := l.Append(ctx, []Record{{Value: []byte("cancelled")}}, Written)
		done <- err
	}()
	await(l, 1)
	kept := make(chan error)
	go func() {
		_, err := l.Append(context.Background(), []Record{{Value: []byte("kept")}}, Written)
		kept <- err
	}()
	await(l, 2)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	l.unlock()
	require.NoError(t, <-kept)
	rs := readAllRecords(t, l, 0)
	require.Len(t, rs, 1)
	require.Equal(t, "kept", string(rs[0].Value))
}

// waiting counts the appends that have been handed over.
func waiting(l *Log) (n int) {
	for r := l.pending.Load(); r != nil; r = r.next {
		n++
	}
	return n
}

// await spins until n appends wait.
func await(l *Log, n int) {
	for waiting(l) < n {
		runtime.Gosched()
	}
}

// TestCancelWhileSyncing: whoever waits while another's records are synced stops
// waiting when his context ends, and nothing of his is stored.
func TestCancelWhileSyncing(t *testing.T) {
	g, entered, release := stalled(t, Config{})
	l := g.log
	first := make(chan error, 1)
	go func() {
		_, err := l.Append(context.Background(), []Record{{Value: []byte("first")}}, Synced)
		first <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan error, 1)
	go func() {
		_, err := l.Append(ctx, []Record{{Value: []byte("second")}}, Synced)
		second <- err
	}()
	await(l, 1)
	cancel()
	require.ErrorIs(t, <-second, context.Canceled)
	require.Zero(t, l.DurableEnd())
	close(release)
	require.NoError(t, <-first)
	require.NoError(t, l.Sync(context.Background()))
	rs := readAllRecords(t, l, 0)
	require.Len(t, rs, 1)
	require.EqualValues(t, len(rs), l.DurableEnd())
	g.reopen()
	require.Len(t, readAllRecords(t, g.log, 0), len(rs))
}

// TestCancelSync: Sync returns when its context ends while another's sync hangs.
func TestCancelSync(t *testing.T) {
	g, entered, release := stalled(t, Config{Durability: Written, FlushInterval: -1})
	l := g.log
	_, err := l.Append(context.Background(), make([]Record, 1), Written)
	require.NoError(t, err)
	first := make(chan error, 1)
	go func() { first <- l.Sync(context.Background()) }()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan error, 1)
	go func() { second <- l.Sync(ctx) }()
	cancel()
	require.ErrorIs(t, <-second, context.Canceled)
	close(release)
	require.NoError(t, <-first)
}

// TestCloseWhileSyncing: Close waits for a sync under way. Appends that wait get
// an answer, and those that got a good one are there.
func TestCloseWhileSyncing(t *testing.T) {
	g, entered, release := stalled(t, Config{})
	l := g.log
	const n = 8
	type answer struct {
		base int64
		err  error
	}
	answers := make(chan answer, n)
	appendOne := func() {
		base, err := l.Append(context.Background(), []Record{{Value: []byte("v")}}, Synced)
		answers <- answer{base, err}
	}
	go appendOne()
	<-entered
	for range n - 1 {
		go appendOne()
	}
	await(l, n-1)
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	for !l.closed.Load() {
		runtime.Gosched()
	}
	close(release)
	good := 0
	for range n {
		if a := <-answers; a.err == nil {
			good++
		} else {
			require.ErrorIs(t, a.err, ErrClosed)
		}
	}
	require.NoError(t, <-closed)
	require.True(t, l.Clean())
	g.fs.(*vfs.Mem).SetHook(nil)
	g.st = OpenState{Clean: true, RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
	g.open()
	require.True(t, g.rep.Clean)
	require.EqualValues(t, good, g.log.LogEndOffset())
}

// TestGroupCommit: appends that come while a sync runs share the next one.
func TestGroupCommit(t *testing.T) {
	g, entered, release := stalled(t, Config{})
	l := g.log
	const n = 50
	answers := make(chan error, n)
	appendOne := func() {
		_, err := l.Append(context.Background(), make([]Record, 1), Synced)
		answers <- err
	}
	go appendOne()
	<-entered
	for range n - 1 {
		go appendOne()
	}
	await(l, n-1)
	close(release)
	for range n {
		require.NoError(t, <-answers)
	}
	require.Len(t, entered, 1)
	require.EqualValues(t, n, l.DurableEnd())
}

// TestFailWhileWaiting: a sync that fails tells everybody who waits for it, and
// everybody who waits for the next.
func TestFailWhileWaiting(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{})
	l := g.open()
	entered, release := make(chan bool), make(chan struct{})
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpSync && before {
			entered <- true
			<-release
			return syscall.EIO
		}
		return nil
	})
	const n = 20
	answers := make(chan error, n)
	appendOne := func() {
		_, err := l.Append(context.Background(), make([]Record, 1), Synced)
		answers <- err
	}
	go appendOne()
	<-entered
	for range n - 1 {
		go appendOne()
	}
	await(l, n-1)
	close(release)
	for range n {
		require.ErrorIs(t, <-answers, ErrFailed)
	}
	require.ErrorIs(t, l.Failed(), syscall.EIO)
	require.Zero(t, l.DurableEnd())
	require.Error(t, l.Wait(context.Background(), NewWaiter(), 0, false))
	require.NoError(t, l.Close())
	require.False(t, l.Clean())
}

// TestReadersWhileClosing: readers and appenders that run into a Close get
// ErrClosed, and nothing else.
func TestReadersWhileClosing(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for range 20 {
			g := newRig(t, w, true, Config{SegmentBytes: 3000, Durability: Written, FlushInterval: time.Millisecond})
			l := g.open()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for {
						if _, err := l.Append(context.Background(), []Record{{Value: make([]byte, 50)}}, Written); err != nil {
							if err != ErrClosed {
								t.Errorf("append: %v", err)
							}
							return
						}
					}
				})
				wg.Go(func() {
					c, wait := l.NewCursor(0), NewWaiter()
					defer c.Close()
					var b codec.Batch
					for {
						next, err := c.Next(l.HighWatermark())
						if err == ErrWait {
							err = l.Wait(context.Background(), wait, c.Offset(), false)
						} else if err == nil {
							b = next
						}
						if err == ErrClosed {
							if b != nil && !b.CRCValid() {
								t.Error("the last batch is not what it was")
							}
							return
						}
						if err != nil {
							t.Errorf("read: %v", err)
							return
						}
						if _, _, _, err := l.OffsetForTimestamp(0); err != nil && err != ErrClosed {
							t.Errorf("time: %v", err)
							return
						}
					}
				})
			}
			for l.LogEndOffset() < 200 {
				runtime.Gosched()
			}
			require.NoError(t, l.Close())
			wg.Wait()
			require.True(t, l.Clean())
			g.env.Close()
			require.Zero(t, g.env.Maps().Count())
		}
	}
}
