package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// A truncation or a reset that a power cut ends leaves what was there, a piece of
// it, or what was asked for; and so does a recovery from that which another power
// cut ends.

var truncateCrashes = []struct {
	name  string
	start int64 // of the log of 40, inside of a segment
	to    int64
	reset bool
	pin   bool
}{
	{name: "in the middle", to: 17},
	{name: "in the middle, pinned", to: 17, pin: true},
	{name: "at a segment", to: 15, pin: true},
	{name: "in the last segment", to: 38},
	{name: "to nothing", to: 0},
	{name: "to the start", start: 7, to: 7},
	{name: "reset to the same", to: 0, reset: true},
	{name: "reset up", to: 100, reset: true},
	{name: "reset up, pinned", to: 100, reset: true, pin: true},
	{name: "reset to a segment", to: 15, reset: true},
	{name: "reset to the end", to: 40, reset: true},
	{name: "reset down", start: 7, to: 3, reset: true},
	{name: "reset up from within", start: 7, to: 50, reset: true},
	{name: "reset to within", start: 7, to: 20, reset: true},
}

func TestTruncateCrashes(t *testing.T) {
	per, long := 1, os.Getenv("LEAT_LONG") != ""
	if long {
		per = 100
	}
	for i, tc := range truncateCrashes {
		for k, w := range []Writer{WriterMapped, WriterPwrite} {
			if !long && i%2 != k {
				continue
			}
			t.Run(fmt.Sprintf("%s/mapped=%v", tc.name, w == WriterMapped), func(t *testing.T) {
				g := newRig(t, w, true, smallSegments)
				require.NoError(t, g.fs.SyncDir("."))
				g.fill(40)
				g.st.StartOffset = tc.start
				words := new([8]uint64)
				c := &truncateCrash{t: t, g: g, start: tc.start, least: tc.to, to: tc.to, reset: tc.reset, w: w, per: per,
					rng: rand.New(rand.NewPCG(1, 2))}
				if tc.reset {
					c.least = tc.start
				}
				c.point, c.startPoint = 40, tc.start
				sync := func() error {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.durable = []([8]uint64){NewMarks(words, nil).snapshot()}
					return nil
				}
				g.st.Marks = NewMarks(words, sync)
				l := g.open()
				require.Equal(t, tc.start, l.LogStartOffset())
				require.NoError(t, sync())
				if tc.pin {
					cur := l.NewCursor(17)
					defer cur.Close()
					_, err := cur.Next(40)
					require.NoError(t, err)
				}
				mem := g.fs.(*vfs.Mem)
				mem.SetHook(func(op vfs.Op, name string, before bool) error {
					if op.Mutates() && before {
						c.mu.Lock()
						if now := NewMarks(words, nil).snapshot(); c.durable[len(c.durable)-1] != now {
							c.durable = append(c.durable, now)
						}
						c.mu.Unlock()
						// A failing check ends its goroutine, which must not be the log's.
						checked := make(chan struct{})
						go func() {
							defer close(checked)
							if !t.Failed() {
								c.cut(mem, fmt.Sprintf("%v %s", op, name))
							}
						}()
						<-checked
					}
					return nil
				})
				do := l.TruncateTo
				if tc.reset {
					do = l.ResetTo
				}
				require.NoError(t, do(tc.to, func() error {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.point, c.startPoint = l.RecoveryPoint(), -1
					if start := l.LogStartOffset(); start > l.Segments()[0].BaseOffset {
						c.startPoint = start
					}
					return nil
				}))
				require.False(t, t.Failed())
				c.mu.Lock()
				c.done = true
				c.mu.Unlock()
				for range 10 {
					c.cut(mem, "done")
				}
				// Nor does what is appended then make anything come back.
				for range 10 {
					_, err := l.Append(context.Background(), []Record{{Value: []byte("after")}}, Synced)
					require.NoError(t, err)
					c.cut(mem, fmt.Sprintf("appended %d", c.after.Add(1)))
				}
				mem.SetHook(nil)
				c.mu.Lock()
				defer c.mu.Unlock()
				require.Greater(t, c.states, 30)
				require.NotZero(t, c.deep)
			})
		}
	}
}

type truncateCrash struct {
	t                 *testing.T
	g                 *rig
	w                 Writer
	start, least, to  int64
	reset, done       bool
	point, startPoint int64
	durable           [][8]uint64 // the words that leat.state may have
	rng               *rand.Rand
	per               int
	states, deep      int
	mu                sync.Mutex   // of a check: background work is looked at too
	after             atomic.Int64 // appended since it was done, and durable
	sure              int64        // of those, when the tree was taken
}

func (c *truncateCrash) cut(tree *vfs.Mem, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sure = c.after.Load()
	d := tree.Dirty()
	all := vfs.Choices(d, 2, c.rng.Uint64())
	for range c.per {
		choice := all[c.rng.IntN(len(all))]
		c.check(d.Clone(choice), 2, fmt.Sprintf("%s: %v", what, choice), c.done)
	}
	if c.rng.IntN(4) == 0 {
		c.check(tree.Snapshot(), 2, what+": killed", c.done)
	}
}

func (c *truncateCrash) check(tree *vfs.Mem, depth int, what string, done bool) {
	c.states++
	st := OpenState{RecoveryPoint: c.point, StartOffset: c.startPoint, HighWatermark: -1}
	words := c.durable[c.rng.IntN(len(c.durable))]
	if c.rng.IntN(3) > 0 {
		st.Marks, st.MarksValid = NewMarks(&words, nil), true
	}
	at := -1
	if depth > 0 && c.rng.IntN(4) == 0 {
		at = c.rng.IntN(25)
	}
	var again *vfs.Mem
	tree.SetHook(func(op vfs.Op, name string, _ bool) error {
		if op.Mutates() && again == nil {
			if at--; at == -1 {
				d := tree.Dirty()
				all := vfs.Choices(d, 2, c.rng.Uint64())
				again = d.Clone(all[c.rng.IntN(len(all))])
				what += fmt.Sprintf(", then at %v %s", op, name)
			}
		}
		return nil
	})
	env := NewEnv(EnvOptions{FS: tree, MaxMaps: 100, Writer: c.w})
	defer env.Close()
	l, rep, err := Open(env, "t-0", c.g.cfg, st)
	tree.SetHook(nil)
	require.NoError(c.t, err, what)
	defer l.Abandon()
	require.Nil(c.t, rep.Damage, what)
	start, end := l.LogStartOffset(), l.LogEndOffset()
	if done {
		want := c.start
		if c.reset {
			want = c.to
		}
		require.Equal(c.t, want, start, what)
		require.GreaterOrEqual(c.t, end, c.to+c.sure, what)
		require.LessOrEqual(c.t, end, c.to+10, what)
		for _, r := range readAllRecords(c.t, l, start) {
			if r.Offset >= c.to {
				require.Equal(c.t, "after", string(r.Value), what)
			}
		}
	} else if c.reset && start == c.to && end == c.to {
		require.NotEqual(c.t, int32(0), l.LatestEpoch(), what)
	} else {
		require.Equal(c.t, c.start, start, what)
		require.GreaterOrEqual(c.t, end, c.least, what)
		require.LessOrEqual(c.t, end, int64(40), what)
		if end < 40 {
			require.NotEqual(c.t, int32(0), l.LatestEpoch(), "%s: ends at %d", what, end)
		}
		checkDense(c.t, l)
	}
	_, err = l.Append(context.Background(), []Record{{Value: []byte("x")}}, Synced)
	require.NoError(c.t, err, what)
	if again != nil {
		c.deep++
		c.check(again, depth-1, what, done)
	}
}

// TestTruncateConcurrently: appends, syncs, flushes, sealing and readers beside
// truncations and resets. A reader that does what it is told ends up with what
// the log has.
func TestTruncateConcurrently(t *testing.T) {
	for _, d := range []Durability{Synced, Written} {
		t.Run(fmt.Sprintf("durability=%d", d), func(t *testing.T) {
			c := Config{SegmentBytes: 2000, IndexInterval: 300, Durability: d, FlushInterval: time.Millisecond}
			forEachWriter(t, c, func(t *testing.T, g *rig) { testTruncateConcurrently(t, g, d) })
		})
	}
}

func testTruncateConcurrently(t *testing.T, g *rig, d Durability) {
	goroutines := runtime.NumGoroutine()
	l := g.open()
	var writers, readers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for w := range 3 {
		writers.Go(func() {
			for i := range 60 {
				_, err := l.Append(ctx, []Record{{Value: fmt.Appendf(nil, "%d/%d/%060d", w, i, i)}}, d)
				require.NoError(t, err)
			}
		})
	}
	writers.Go(func() {
		rng := rand.New(rand.NewPCG(3, 4))
		for range 25 {
			start, end := l.LogStartOffset(), l.LogEndOffset()
			var err error
			if rng.IntN(5) == 0 {
				err = l.ResetTo(max(0, start-5)+rng.Int64N(end-start+10), nil)
			} else {
				err = l.TruncateTo(start+rng.Int64N(end-start+1), nil)
			}
			require.NoError(t, err)
			_ = l.Sync(ctx)
		}
	})
	type seen struct {
		from   int64
		values []string
	}
	results := make(chan seen, 4)
	for range 4 {
		readers.Go(func() {
			s := seen{}
			cur := l.NewCursor(0)
			defer cur.Close()
			w := NewWaiter()
			back := func(err error) {
				var oe *OffsetError
				require.ErrorAs(t, err, &oe)
				to := oe.End
				if cur.Offset() < l.LogStartOffset() || to < l.LogStartOffset() {
					to = l.LogStartOffset()
				}
				if keep := to - s.from; keep >= 0 && keep <= int64(len(s.values)) {
					s.values = s.values[:keep]
				} else {
					s.from, s.values = to, nil
				}
				cur.SeekTo(to)
			}
			for {
				b, err := cur.Next(l.Visible(true))
				switch {
				case err == nil:
					rs, err := codec.DecodeAll(b, b[codec.HeaderSize:], nil)
					require.NoError(t, err)
					for _, r := range rs {
						if r.Offset < s.from+int64(len(s.values)) {
							continue // of a batch that the position lies in
						}
						require.Equal(t, s.from+int64(len(s.values)), r.Offset)
						s.values = append(s.values, string(r.Value))
					}
				case err == ErrTruncated:
					if err := cur.Truncated(); err != nil {
						back(err)
					}
				case err == ErrWait:
					if l.Wait(ctx, w, cur.Offset(), true) != nil {
						// All is over: what is there now?
						if cur.Stale() {
							continue
						}
						if cur.Offset() == l.LogEndOffset() {
							results <- s
							return
						}
					}
				default:
					back(err)
				}
			}
		})
	}
	for range 2 {
		writers.Go(func() {
			for range 40 {
				_, _, _, err := l.OffsetForTimestamp(0)
				require.NoError(t, err)
				_, _, _, err = l.OffsetForMaxTimestamp()
				require.NoError(t, err)
				_, err = l.AbortedTxns(l.LogStartOffset(), noOffset, nil)
				require.NoError(t, err)
			}
		})
	}
	writers.Wait()
	require.NoError(t, l.Sync(ctx))
	cancel()
	readers.Wait()
	close(results)
	start := l.LogStartOffset()
	var want []string
	for _, r := range readAllRecords(t, l, start) {
		want = append(want, string(r.Value))
	}
	for s := range results {
		skip := start - s.from
		require.GreaterOrEqual(t, skip, int64(0))
		require.LessOrEqual(t, skip, int64(len(s.values)))
		require.Equal(t, want, append([]string(nil), s.values[skip:]...))
	}
	l.sync.Lock()
	require.Empty(t, l.sync.waiters)
	l.sync.Unlock()
	g.reopen()
	require.Len(t, readAllRecords(t, g.log, start), len(want))
	require.NoError(t, g.log.Close())
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines+1; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "goroutines are left")
	}
	require.Zero(t, g.env.Maps().Count())
}
