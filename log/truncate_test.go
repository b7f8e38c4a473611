package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// add appends records of one batch each, numbered from the log's end on.
func (g *rig) add(n int, d Durability) {
	g.t.Helper()
	for range n {
		_, err := g.log.Append(context.Background(), []Record{numbered(int(g.log.LogEndOffset()))}, d)
		require.NoError(g.t, err)
	}
}

// checkDense holds the records against what numbered made.
func checkDense(t testing.TB, l *Log) {
	t.Helper()
	rs := readAllRecords(t, l, l.LogStartOffset())
	require.EqualValues(t, l.LogEndOffset()-l.LogStartOffset(), len(rs))
	for i, r := range rs {
		require.Equal(t, l.LogStartOffset()+int64(i), r.Offset)
		require.Equal(t, string(numbered(int(r.Offset)).Value), string(r.Value))
	}
}

func names(files map[string]string, suffix string) (list []string) {
	for name := range files {
		if strings.HasSuffix(name, suffix) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// TestTruncateTo: at every offset of a log of several segments, with and without
// readers in it, and on from there.
func TestTruncateTo(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		g.open()
		g.add(40, Written)
		epoch := int32(0)
		for offset := int64(39); offset >= 0; offset -= 3 {
			l := g.log
			pinned := l.NewCursor(offset)
			if offset%2 == 0 {
				_, err := pinned.Next(l.LogEndOffset())
				require.NoError(t, err)
			}
			require.NoError(t, l.TruncateTo(offset, nil))
			require.Equal(t, offset, l.LogEndOffset())
			require.Equal(t, offset, l.DurableEnd())
			require.Equal(t, offset, l.HighWatermark())
			checkDense(t, l)
			epoch++
			require.Equal(t, epoch, l.LatestEpoch())
			_, end := l.EndOffsetForEpoch(epoch - 1)
			require.Equal(t, offset, end)
			for _, name := range append(names(g.files(), ".log"), names(g.files(), ".snapshot")...) {
				base, _, _ := segment.ParseName(name)
				require.LessOrEqual(t, base, offset)
			}
			require.Empty(t, names(g.files(), ".tmp"))
			pinned.Close()
			switch offset % 5 {
			case 0:
				g.reopen()
				require.True(t, g.rep.Clean)
			case 1:
				l.Abandon()
				g.st = OpenState{RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
				g.open()
				require.Empty(t, g.rep.Cuts)
			}
			require.Equal(t, epoch, g.log.LatestEpoch())
			require.Equal(t, offset, g.log.LogEndOffset())
			g.add(2, Synced)
			checkDense(t, g.log)
			require.NoError(t, g.log.TruncateTo(offset, nil))
			epoch++
		}
		g.add(30, Synced)
		checkDense(t, g.log)
		g.reopen()
		checkDense(t, g.log)
		require.Zero(t, g.log.LogStartOffset())
	})
}

// TestTruncateInsideABatch: batches are not cut.
func TestTruncateInsideABatch(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		for i := range 10 {
			_, err := l.Append(context.Background(), []Record{numbered(3 * i), numbered(3*i + 1), numbered(3*i + 2)}, Written)
			require.NoError(t, err)
		}
		for offset := int64(29); offset > 0; offset -= 2 {
			if offset >= l.LogEndOffset() {
				continue
			}
			require.NoError(t, l.TruncateTo(offset, nil))
			require.Equal(t, offset-offset%3, l.LogEndOffset())
			checkDense(t, l)
		}
	})
}

// TestTruncateRefuses: what cannot be done changes nothing.
func TestTruncateRefuses(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	g.open()
	g.add(20, Synced)
	g.reopen() // everything is sealed
	l := g.log
	before := g.files()
	called := func() error { t.Fatal("nothing is lowered"); return nil }
	for _, offset := range []int64{-1, 21, noOffset} {
		var oe *OffsetError
		require.ErrorAs(t, l.TruncateTo(offset, called), &oe)
		require.Equal(t, OffsetError{Topic: "t", Offset: offset, Start: 0, End: 20}, *oe)
	}
	require.ErrorIs(t, l.ResetTo(-1, called), ErrOffsetOutOfRange)
	require.NoError(t, l.TruncateTo(20, called))
	require.Equal(t, before, g.files())
	require.Zero(t, l.Generation())

	// What cannot be made durable is not done.
	why := errors.New("no checkpoint")
	words := &[8]uint64{markDurable: littleEndian(20)}
	l.marks = NewMarks(words, nil)
	for _, do := range []func(func() error) error{
		func(f func() error) error { return l.TruncateTo(5, f) },
		func(f func() error) error { return l.ResetTo(5, f) },
	} {
		var points []int64
		require.ErrorIs(t, do(func() error { points = append(points, l.RecoveryPoint()); return why }), why)
		require.Len(t, points, 2)
		require.LessOrEqual(t, points[0], int64(5))
		require.EqualValues(t, 20, points[1])
		require.EqualValues(t, 20, l.DurableEnd())
		require.EqualValues(t, 20, l.marks.Durable())
		require.EqualValues(t, 20, l.HighWatermark())
		require.Zero(t, l.Generation())
		checkDense(t, l)
		require.Equal(t, names(before, ""), names(g.files(), ""))
	}
	g.add(1, Synced)
	checkDense(t, l)

	l.fail(why)
	require.ErrorIs(t, l.TruncateTo(5, nil), ErrFailed)
	require.ErrorIs(t, l.ResetTo(5, nil), ErrFailed)
	l.Abandon()
	require.ErrorIs(t, l.TruncateTo(5, nil), ErrClosed)
	require.ErrorIs(t, l.ResetTo(5, nil), ErrClosed)
}

// TestTruncateDamage: damage below the new end is found before anything is done,
// and what has been found before refuses.
func TestTruncateDamage(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	g.open()
	name := g.logFile(bases[2])
	f, err := g.fs.Open(g.folder()+"/"+name, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 100)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	before := g.files()
	var ce *segment.CorruptError
	require.ErrorAs(t, g.log.TruncateTo(bases[3]-1, nil), &ce)
	require.Equal(t, bases[2], ce.Offset)
	require.EqualValues(t, 0, ce.Position)
	require.Equal(t, before, g.files())
	require.NoError(t, g.log.Failed())
	require.NoError(t, g.log.TruncateTo(bases[2], nil)) // what was damaged goes
	require.Equal(t, bases[2], g.log.LogEndOffset())
	checkDense(t, g.log)
	g.add(20, Synced)
	checkDense(t, g.log)

	g2 := newRig(t, WriterPwrite, true, smallSegments)
	bases = g2.fill(60)
	g2.damage(bases[2], func(b []byte) []byte { b[100] ^= 1; return b })
	g2.remove(sumsName)
	g2.putFile(sumsName, (&Sums{}).format())
	g2.st.Clean = false
	g2.open()
	require.NotNil(t, g2.rep.Damage)
	require.ErrorIs(t, g2.log.TruncateTo(10, nil), ErrCorrupt)
}

// TestResetDamaged: a reset gives up what is damaged, and the log is as good as
// new; one that cannot be done leaves the damage what it was.
func TestResetDamaged(t *testing.T) {
	for _, missing := range []bool{true, false} {
		for _, to := range []int64{0, 20, 100} {
			t.Run(fmt.Sprintf("missing=%v/to=%d", missing, to), func(t *testing.T) {
				g := newRig(t, WriterPwrite, true, smallSegments)
				require.NoError(t, g.fs.SyncDir("."))
				bases := g.fill(60)
				g.damage(bases[2], func(b []byte) []byte { b[100] ^= 1; return b })
				if missing {
					g.remove(g.logFile(bases[3]))
				}
				require.NoError(t, g.fs.SyncDir("t-0"))
				g.st.Clean = false
				g.remove(sumsName)
				g.putFile(sumsName, (&Sums{}).format())
				words := &[8]uint64{markDurable: littleEndian(60), markPublished: littleEndian(60), markGeneration: littleEndian(7)}
				g.st.Marks, g.st.MarksValid = NewMarks(words, nil), true
				l := g.open()
				require.NotNil(t, l.Damage())
				require.EqualValues(t, 60, l.RecoveryPoint())
				before := g.files()

				why := errors.New("no checkpoint")
				var points []int64
				require.ErrorIs(t, l.ResetTo(to, func() error { points = append(points, l.RecoveryPoint()); return why }), why)
				require.Equal(t, []int64{0, 60}, []int64{points[0], points[len(points)-1]})
				require.NotNil(t, l.Damage())
				require.EqualValues(t, 60, l.RecoveryPoint())
				require.EqualValues(t, 60, g.st.Marks.Durable())
				require.Equal(t, before, g.files())
				_, err := l.Append(context.Background(), []Record{numbered(0)}, Synced)
				require.ErrorIs(t, err, ErrCorrupt)

				require.NoError(t, l.ResetTo(to, nil))
				require.Nil(t, l.Damage())
				require.NoError(t, l.Failed())
				require.EqualValues(t, 8, g.st.Marks.Generation())
				g.add(10, Synced)
				checkDense(t, l)
				require.Equal(t, to, l.LogStartOffset())
				tree := g.fs.(*vfs.Mem).CrashClone(vfs.None)
				g.reopen()
				require.True(t, g.rep.Clean)
				checkDense(t, g.log)

				env := NewEnv(EnvOptions{FS: tree})
				defer env.Close()
				l, rep, err := Open(env, "t-0", g.cfg, OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1})
				require.NoError(t, err)
				defer l.Abandon()
				require.Nil(t, rep.Damage)
				require.Equal(t, to+10, l.LogEndOffset())
				checkDense(t, l)
			})
		}
	}
}

// TestTruncateKeepsPinnedBytes: batches that readers hold stay what they were,
// also when the log goes on with other records in the same place.
func TestTruncateKeepsPinnedBytes(t *testing.T) {
	for _, reset := range []bool{false, true} {
		t.Run(fmt.Sprintf("reset=%v", reset), func(t *testing.T) {
			forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
				l := g.open()
				g.add(40, Written)
				type held struct {
					seg  *segment.Segment
					b    codec.Batch
					copy string
				}
				var all []held
				for offset := int64(0); offset < 40; offset += 3 {
					c := l.NewCursor(offset)
					b, err := c.Next(40)
					require.NoError(t, err)
					c.Segment().Repin()
					all = append(all, held{c.Segment(), b, string(b)})
					if offset%2 == 0 {
						c.Close()
					} else {
						defer c.Close()
					}
				}
				for _, to := range []int64{33, 20, 19, 7, 0} {
					if reset {
						require.NoError(t, l.ResetTo(to, nil))
					} else {
						require.NoError(t, l.TruncateTo(to, nil))
					}
					for range 20 {
						_, err := l.Append(context.Background(), []Record{{Value: []byte(strings.Repeat("other", 30))}}, Written)
						require.NoError(t, err)
					}
					for _, h := range all {
						require.Equal(t, h.copy, string(h.b))
						require.True(t, h.b.CRCValid())
					}
				}
				for _, h := range all {
					h.seg.Unpin()
				}
			})
		})
	}
}

// TestTruncateTellsReaders: a cursor whose records went is told so once, with how
// far; one before them goes on.
func TestTruncateTellsReaders(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		g.add(40, Synced)
		cursors := make([]*Cursor, 41)
		for i := range cursors {
			cursors[i] = l.NewCursor(int64(i))
			defer cursors[i].Close()
			if i%2 == 0 {
				_, _ = cursors[i].Next(40)
				cursors[i].offset = int64(i) // back to it, in its segment
				cursors[i].SeekTo(int64(i))
			}
			if i%3 == 0 && i > 0 {
				cursors[i].SeekTo(int64(i - 1))
				_, err := cursors[i].Next(40)
				require.NoError(t, err) // in a segment, and pinned
			}
		}
		require.NoError(t, l.TruncateTo(30, nil))
		require.NoError(t, l.TruncateTo(17, nil))
		g.add(5, Synced)
		require.NoError(t, l.TruncateTo(20, nil))
		g.add(40, Synced)
		for i, c := range cursors {
			require.True(t, c.Stale())
			for range 2 {
				_, err := c.Next(l.LogEndOffset())
				require.ErrorIs(t, err, ErrTruncated)
			}
			err := c.Truncated()
			if i <= 17 {
				require.NoError(t, err)
			} else {
				var oe *OffsetError
				require.ErrorAs(t, err, &oe)
				require.Equal(t, OffsetError{Topic: "t", Offset: int64(i), Start: 0, End: 17}, *oe)
			}
			require.False(t, c.Stale())
			require.NoError(t, c.Truncated())
			b, err := c.Next(l.LogEndOffset())
			require.NoError(t, err)
			require.EqualValues(t, i, b.BaseOffset())
		}
		c := l.NewCursor(3)
		defer c.Close()
		require.NoError(t, l.ResetTo(10, nil))
		_, err := c.Next(3)
		require.ErrorIs(t, err, ErrTruncated)
		require.NoError(t, c.Truncated())
		_, err = c.Next(3)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
	})
}

// TestTakenBack: the least end since a generation, whatever came in which order.
func TestTakenBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var tb takenBack
		var ends []int64
		n := 1 + rng.IntN(maxTakenBack+20)
		for g := range n {
			ends = append(ends, int64(rng.IntN(50)))
			if rng.IntN(2) == 0 {
				ends[g] = int64(g)
			}
			tb.add(int64(g+1), ends[g])
		}
		require.LessOrEqual(t, len(tb.list), maxTakenBack)
		for g := range n {
			end, ok := tb.since(int64(g))
			require.True(t, ok)
			want := slices.Min(ends[g:])
			if n > maxTakenBack {
				require.LessOrEqual(t, end, want)
			} else {
				require.Equal(t, want, end)
			}
		}
		_, ok := tb.since(int64(n))
		require.False(t, ok)
	}
}

// TestTruncateWakesReaders: who waits at an end that is gone does not wait for
// the log to be as long again.
func TestTruncateWakesReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterPwrite, true, smallSegments)
		l := g.open()
		g.add(20, Synced)
		for _, do := range []func() error{
			func() error { return l.TruncateTo(10, nil) },
			func() error { return l.ResetTo(5, nil) },
		} {
			end := l.LogEndOffset()
			done := make(chan error, 1)
			go func() { done <- l.Wait(context.Background(), NewWaiter(), end, false) }()
			synctest.Wait()
			require.Empty(t, done)
			require.NoError(t, do())
			synctest.Wait()
			require.NoError(t, <-done)
		}
	})
}

// TestTruncateEndsSyncs: an append that waits to be durable while its record is
// taken back is told that it was, and nobody syncs for it for ever.
func TestTruncateEndsSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterPwrite, true, Config{Durability: Written, FlushInterval: -1})
		mem := g.fs.(*vfs.Mem)
		l := g.open()
		g.add(20, Synced)
		gate := make(chan struct{})
		mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if op == vfs.OpSync && before && strings.HasSuffix(name, ".log") {
				<-gate
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := l.Append(context.Background(), []Record{{Value: []byte("x")}}, Synced)
				require.NoError(t, err)
			})
		}
		wg.Go(func() { require.NoError(t, l.Sync(context.Background())) })
		synctest.Wait()
		wg.Go(func() { require.NoError(t, l.TruncateTo(10, nil)) })
		synctest.Wait()
		close(gate)
		wg.Wait()
		mem.SetHook(nil)
		syncs := l.Syncs()
		synctest.Wait()
		require.Equal(t, syncs, l.Syncs())
		require.Empty(t, l.sync.waiters)
		require.False(t, l.sync.busy.Load())

		// A waiter from before, which comes late.
		end := l.LogEndOffset()
		w := &syncWaiter{offset: end + 100, done: make(chan error, 1)}
		l.sync.Lock()
		l.sync.waiters = append(l.sync.waiters, w)
		l.sync.Unlock()
		g.add(1, Synced)
		require.NoError(t, <-w.done)
	})
}

// TestTruncateExternal: what a wrapper owns is left to it, but that no high
// watermark lies beyond the end.
func TestTruncateExternal(t *testing.T) {
	c := smallSegments
	c.ExternalEpochs, c.ExternalWatermark = true, true
	forEachWriter(t, c, func(t *testing.T, g *rig) {
		words := new([8]uint64)
		g.st.Marks = NewMarks(words, nil)
		l := g.open()
		g.add(40, Synced)
		require.Zero(t, l.HighWatermark())
		require.EqualValues(t, 40, l.DurableEnd()) // what an append waits for is not the watermark
		require.NoError(t, l.SetHighWatermark(30))
		require.ErrorIs(t, l.SetHighWatermark(41), ErrOffsetOutOfRange)
		require.NoError(t, l.SetHighWatermark(10)) // never back
		require.EqualValues(t, 30, l.HighWatermark())
		require.EqualValues(t, 0, l.LatestEpoch()) // of the first append, which named none

		require.NoError(t, l.TruncateTo(35, nil))
		require.EqualValues(t, 30, l.HighWatermark())
		require.NoError(t, l.TruncateTo(20, func() error {
			require.EqualValues(t, 20, l.HighWatermark())
			require.EqualValues(t, 20, g.st.Marks.Watermark())
			return nil
		}))
		require.EqualValues(t, 20, l.HighWatermark())
		require.EqualValues(t, 0, l.LatestEpoch()) // no new one
		_, end := l.EndOffsetForEpoch(0)
		require.EqualValues(t, 20, end)
		g.add(10, Synced)
		require.EqualValues(t, 20, l.HighWatermark())
		g.st.MarksValid = true
		g.reopen()
		require.EqualValues(t, 20, g.log.HighWatermark())
		require.NoError(t, g.log.SetHighWatermark(25))
		g.log.Abandon() // killed: the marks know
		g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: 3, Marks: g.st.Marks, MarksValid: true}
		l = g.open()
		require.EqualValues(t, 25, l.HighWatermark())
		require.EqualValues(t, 0, l.LatestEpoch())
		require.NoError(t, l.ResetTo(100, nil))
		require.EqualValues(t, 100, l.HighWatermark())
		require.EqualValues(t, 100, g.st.Marks.Watermark())
		require.NoError(t, l.ResetTo(50, nil))
		require.EqualValues(t, 50, l.HighWatermark())
		require.EqualValues(t, -1, l.LatestEpoch())
		l.Abandon()
		require.ErrorIs(t, l.SetHighWatermark(1), ErrClosed)
	})
}

// TestExternalWatermarkWakes: readers and waiters stop at the watermark that a
// wrapper has set, and are woken when it moves, not when something is appended.
func TestExternalWatermarkWakes(t *testing.T) {
	for _, d := range []Durability{Synced, Written} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, WriterPwrite, true, Config{ExternalWatermark: true, Durability: d, FlushInterval: time.Second})
			l := g.open()
			g.add(5, d)
			var woken [2]chan error
			for i, committed := range []bool{false, true} {
				woken[i] = make(chan error, 1)
				go func() { woken[i] <- l.Wait(context.Background(), NewWaiter(), 5, committed) }()
			}
			synctest.Wait()
			g.add(5, d)
			require.NoError(t, l.Sync(context.Background()))
			require.NoError(t, l.SetHighWatermark(5))
			synctest.Wait()
			require.Empty(t, woken[0])
			require.Empty(t, woken[1])
			require.EqualValues(t, 5, l.LastStableOffset())
			c := l.NewCursor(5)
			defer c.Close()
			_, err := c.Next(l.Visible(false))
			require.ErrorIs(t, err, ErrWait)
			require.NoError(t, l.SetHighWatermark(6))
			synctest.Wait()
			require.NoError(t, <-woken[0])
			require.NoError(t, <-woken[1])
			_, err = c.Next(l.Visible(true))
			require.NoError(t, err)
		})
	}
}

// TestResetTo: to places before, in and behind the log, and on from there.
func TestResetTo(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		words := new([8]uint64)
		g.st.Marks = NewMarks(words, nil)
		g.open()
		epoch := int32(0)
		for i, to := range []int64{1000, 1000, 1012, 1020, 990, 3, 5, 0, 0, 1 << 40, 7} {
			g.add(20, []Durability{Written, Synced}[i%2])
			l := g.log
			bases := l.Segments()
			if i == 3 {
				to = bases[1].BaseOffset
			}
			lowest := int64(noOffset)
			require.NoError(t, l.ResetTo(to, func() error { lowest = min(lowest, l.RecoveryPoint()); return nil }))
			require.LessOrEqual(t, lowest, to)
			require.LessOrEqual(t, lowest, bases[0].BaseOffset)
			epoch++
			check := func() {
				l := g.log
				require.Equal(t, to, l.LogStartOffset())
				require.Equal(t, to, l.LogEndOffset())
				require.Equal(t, to, l.HighWatermark())
				require.Equal(t, to, l.DurableEnd())
				require.Equal(t, []EpochEntry{{epoch, to}}, l.epochs.Entries())
				require.Equal(t, []SegmentInfo{{to, 0}}, l.Segments())
				files := g.files()
				require.Equal(t, []string{g.logFile(to)}, names(files, ".log"))
				require.Empty(t, names(files, ".snapshot"))
				require.Empty(t, names(files, ".tmp"))
				require.Equal(t, to, g.st.Marks.Start())
				require.Equal(t, to, g.st.Marks.Durable())
			}
			check()
			switch i % 3 {
			case 0:
				g.st.MarksValid = true
				g.reopen()
				check()
			case 1:
				l.Abandon()
				g.st = OpenState{RecoveryPoint: lowest, StartOffset: to, HighWatermark: -1, Marks: g.st.Marks, MarksValid: true}
				g.open()
				require.Empty(t, g.rep.Cuts)
				check()
			}
			g.add(3, Synced)
			checkDense(t, g.log)
		}
	})
}

// TestTruncateBelowTheStart: a log that starts inside of a batch does not end
// before it starts.
func TestTruncateBelowTheStart(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		for i := range 10 {
			_, err := l.Append(context.Background(), []Record{numbered(3 * i), numbered(3*i + 1), numbered(3*i + 2)}, Synced)
			require.NoError(t, err)
		}
		g.st.StartOffset = 13
		require.NoError(t, l.Close())
		g.st.Clean, g.st.RecoveryPoint = true, 30
		l = g.open()
		require.EqualValues(t, 13, l.LogStartOffset())
		require.ErrorIs(t, l.TruncateTo(12, nil), ErrOffsetOutOfRange)
		require.NoError(t, l.TruncateTo(14, nil))
		require.EqualValues(t, 13, l.LogStartOffset())
		require.EqualValues(t, 13, l.LogEndOffset())
		g.add(3, Synced)
		checkDense(t, l)
		require.Len(t, readAllRecords(t, l, 13), 3)
	})
}

// TestTruncateSparse: where offsets are missing the log ends behind what is there,
// and what is appended from then on has no gaps.
func TestTruncateSparse(t *testing.T) {
	for _, crash := range []bool{true, false} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			g := newRig(t, WriterPwrite, true, smallSegments)
			g.fill(40)
			// Others have cleaned: the second and the fourth batch are gone.
			b := g.getFile(g.logFile(0))
			n := len(b) / 5
			g.putFile(g.logFile(0), slices.Concat(b[:n], b[2*n:3*n], b[4*n:]))
			g.remove(sumsName)
			for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix} {
				g.remove(segment.FileName(0, suffix))
			}
			g.st.Adopted, g.st.Clean = true, false
			l := g.open()
			require.Nil(t, g.rep.Damage)
			require.EqualValues(t, 40, l.denseFrom.Load())
			require.NoError(t, l.TruncateTo(4, nil))
			require.EqualValues(t, 3, l.LogEndOffset())
			require.EqualValues(t, 3, l.denseFrom.Load())
			_, err := l.Append(context.Background(), []Record{numbered(3)}, Synced)
			require.NoError(t, err)
			if crash {
				l.Abandon()
				g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1, Adopted: true}
				l = g.open()
			} else {
				l = g.reopen()
			}
			require.Nil(t, g.rep.Damage)
			require.EqualValues(t, 3, l.denseFrom.Load())
			var offsets []int64
			for _, r := range readAllRecords(t, l, 0) {
				offsets = append(offsets, r.Offset)
			}
			require.Equal(t, []int64{0, 2, 3}, offsets)
		})
	}
}

// TestTruncateUnsealed: segments that were rolled and wait to be sealed go as
// well, with the snapshots that they were to leave.
func TestTruncateUnsealed(t *testing.T) {
	for _, reset := range []bool{false, true} {
		c := smallSegments
		c.Durability, c.FlushInterval = Written, time.Hour
		g := newRig(t, WriterMapped, true, c)
		l := g.open()
		g.add(40, Written)
		require.Greater(t, len(l.seals.queue), 5)
		if reset {
			require.NoError(t, l.ResetTo(3, nil))
			require.Empty(t, l.seals.queue)
		} else {
			require.NoError(t, l.TruncateTo(12, nil))
			require.Len(t, l.seals.queue, 2)
		}
		g.add(2, Written)
		g.reopen()
		checkDense(t, g.log)
		for _, name := range names(g.files(), ".snapshot") {
			base, _, _ := segment.ParseName(name)
			require.LessOrEqual(t, base, g.log.LogEndOffset())
		}
	}
}
