package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// seen keeps what an Observer is told.
type seen struct {
	sync.Mutex
	append, sync, roll, delete, recover []Event
	corrupt                             []*segment.CorruptError
	background                          []error
}

func (s *seen) observer() *Observer {
	keep := func(list *[]Event) func(Event) {
		return func(e Event) {
			s.Lock()
			defer s.Unlock()
			*list = append(*list, e)
		}
	}
	return &Observer{
		Append: keep(&s.append), Sync: keep(&s.sync), Roll: keep(&s.roll), Delete: keep(&s.delete), Recover: keep(&s.recover),
		Corrupt:    func(e *segment.CorruptError) { s.Lock(); s.corrupt = append(s.corrupt, e); s.Unlock() },
		Background: func(err error) { s.Lock(); s.background = append(s.background, err); s.Unlock() },
	}
}

// observe makes the rig's next logs tell o.
func (g *rig) observe(o *Observer) { g.env.observed.Observer = *o }

// batchesOf walks the log, giving for each batch what an Append event should say.
func batchesOf(t testing.TB, l *Log) (list []Event) {
	t.Helper()
	c := l.NewCursor(l.LogStartOffset())
	defer c.Close()
	for {
		b, err := c.Next(l.LogEndOffset())
		if err == ErrWait {
			return list
		}
		require.NoError(t, err)
		list = append(list, Event{Topic: "t", Offset: b.BaseOffset(), Records: int64(b.RecordCount()), Bytes: int64(len(b))})
	}
}

// appendMany appends from many goroutines, some of which give up now and then.
func appendMany(t testing.TB, l *Log, callers, each int) {
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(c)))
			for range each {
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(4) == 0 {
					go cancel()
				}
				rs := make([]Record, 1+rng.IntN(5))
				for i := range rs {
					rs[i].Value = make([]byte, rng.IntN(100))
				}
				if _, err := l.Append(ctx, rs, Durability(rng.IntN(3))); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if rng.IntN(8) == 0 {
					if err := l.Sync(ctx); err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// TestObserved: counts and events are those of what lies in the log afterwards,
// however its batches came to be: one event a batch, syncs that follow one
// another to the end, one roll a segment.
func TestObserved(t *testing.T) {
	for _, codec := range []compress.Codec{compress.None, compress.LZ4} {
		for _, callers := range []int{1, 8} {
			t.Run(fmt.Sprintf("codec=%v/callers=%d", codec, callers), func(t *testing.T) {
				c := Config{SegmentBytes: 4000, IndexInterval: 500, Compression: codec, FlushInterval: time.Millisecond}
				forEachWriter(t, c, func(t *testing.T, g *rig) { testObserved(t, g, callers) })
			})
		}
	}
}

func testObserved(t *testing.T, g *rig, callers int) {
	var s seen
	g.observe(s.observer())
	l := g.open()
	appendMany(t, l, callers, 200/callers)
	require.NoError(t, l.Sync(context.Background()))
	batches := batchesOf(t, l)
	stats := l.Stats()
	// An append that its caller has not waited for is counted by who has synced it.
	for begun := time.Now(); stats.Appended.Batches < int64(len(batches)) && time.Since(begun) < time.Minute; stats = l.Stats() {
		runtime.Gosched()
	}
	require.NoError(t, l.Close())
	g.env.Close() // what is told by the store's own goroutines has been
	end := l.LogEndOffset()

	var want Counts
	for _, b := range batches {
		want.add(Counts{1, b.Records, b.Bytes})
	}
	require.Equal(t, end, want.Records)
	require.Equal(t, want, stats.Appended)
	require.Equal(t, want.Bytes, stats.Bytes)
	require.Equal(t, Stats{
		LastStableOffset: end, HighWatermark: end, DurableEnd: end, EndOffset: end,
		Segments: len(l.Segments()), Bytes: l.Size(), Appended: want,
	}, stats)
	require.Equal(t, want, g.env.Totals().Appended)

	told := s.append
	slices.SortFunc(told, func(a, b Event) int { return compare(a.Offset, b.Offset) })
	for i := range told {
		require.Positive(t, told[i].Duration)
		if told[i].Err != nil {
			require.ErrorIs(t, told[i].Err, context.Canceled)
		}
		told[i].Duration, told[i].Err = 0, nil
	}
	require.Equal(t, batches, told)

	require.EqualValues(t, len(s.sync), g.env.Totals().Syncs)
	require.EqualValues(t, len(s.sync), g.env.Totals().Sync.Count())
	require.NotEmpty(t, s.sync)
	slices.SortStableFunc(s.sync, func(a, b Event) int { return compare(a.Offset+a.Records, b.Offset+b.Records) })
	next := int64(0)
	for _, e := range s.sync {
		require.Equal(t, "t", e.Topic)
		require.NoError(t, e.Err)
		require.GreaterOrEqual(t, e.Records, int64(0))
		next = max(next, e.Offset+e.Records)
	}
	require.Equal(t, end, next)

	segs := l.Segments()
	require.Greater(t, len(segs), 2)
	require.Len(t, s.roll, len(segs)-1)
	require.EqualValues(t, len(s.roll), g.env.Totals().Rolls)
	slices.SortFunc(s.roll, func(a, b Event) int { return compare(a.Offset, b.Offset) })
	for i, e := range s.roll {
		require.Positive(t, e.Duration)
		e.Duration = 0
		require.Equal(t, Event{Topic: "t", Offset: segs[i+1].BaseOffset, Records: segs[i+1].BaseOffset - segs[i].BaseOffset,
			Bytes: segs[i].Size, Segments: 1}, e)
	}
	require.Empty(t, s.background)
	require.Empty(t, s.corrupt)
	require.Empty(t, s.recover)
}

// TestObserverReenters: what is told may append to the very partition, durably,
// sync it, read it and ask for its numbers, from any of the calls. Nothing is held
// that this would need; the bubble fails if it is.
func TestObserverReenters(t *testing.T) {
	for _, codec := range []compress.Codec{compress.None, compress.LZ4} {
		for _, d := range []Durability{Synced, Written} {
			t.Run(fmt.Sprintf("codec=%v/durability=%d", codec, d), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testReenters(t, codec, d) })
			})
		}
	}
}

func testReenters(t *testing.T, codec compress.Codec, d Durability) {
	g := newRig(t, WriterMapped, true, Config{SegmentBytes: 2000, Compression: codec, Durability: d, FlushInterval: time.Second, FlushBytes: 3000})
	slow := func(op vfs.Op, _ string, before bool) error {
		if op == vfs.OpSync && before {
			time.Sleep(time.Millisecond) // others gather meanwhile
		}
		return nil
	}
	g.fs.(*vfs.Mem).SetHook(slow)
	var l *Log
	var calls [4]atomic.Int64
	again := func(which int) func(Event) {
		return func(Event) {
			if n := calls[which].Add(1); n > 40 {
				return // or it would never end
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			_, err := l.Append(ctx, []Record{{Value: []byte("again")}}, Synced)
			if err == nil {
				_, err = l.Append(ctx, []Record{{Value: []byte("and again")}}, Written)
			}
			if err == nil {
				err = l.Sync(ctx)
			}
			if err != nil && !errors.Is(err, ErrFailed) {
				t.Error(err)
			}
			if st := l.Stats(); st.EndOffset < 2 {
				t.Error(st)
			}
			c := l.NewCursor(0)
			defer c.Close()
			if _, err := c.Next(l.LogEndOffset()); err != nil {
				t.Error(err)
			}
		}
	}
	g.observe(&Observer{Append: again(0), Sync: again(1), Roll: again(2), Background: func(error) { again(3)(Event{}) }})
	l = g.open()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				if _, err := l.Append(context.Background(), []Record{{Value: make([]byte, 100)}}, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Minute)
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpSync && before {
			return syscall.EIO
		}
		return nil
	})
	_, err := l.Append(context.Background(), []Record{{}}, Synced)
	require.ErrorIs(t, err, ErrFailed)
	synctest.Wait()
	for i := range calls {
		require.Positive(t, calls[i].Load(), i)
	}
}

// TestSlowObserver: a callback that takes its time delays those whose work it
// is, and nobody else.
func TestSlowObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterMapped, true, Config{})
		hold := make(chan struct{})
		first := true
		g.observe(&Observer{Append: func(Event) {
			if first {
				first = false
				<-hold
			}
		}})
		l := g.open()
		done := make(chan struct{})
		go func() {
			_, err := l.Append(context.Background(), []Record{{}}, 0)
			require.NoError(t, err)
			close(done)
		}()
		synctest.Wait()
		for range 10 {
			_, err := l.Append(context.Background(), []Record{{}}, 0)
			require.NoError(t, err)
		}
		require.EqualValues(t, 11, l.DurableEnd())
		select {
		case <-done:
			t.Error("it did not wait for its call")
		default:
		}
		close(hold)
		<-done
	})
}

// handler calls f with each message.
type handler struct{ f func(string) }

func (h handler) Enabled(context.Context, slog.Level) bool      { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error { h.f(r.Message); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

// TestLogHandlerAppends: a handler that appends to the partition whose failure it
// is given gets the failure, not a deadlock.
func TestLogHandlerAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterPwrite, true, Config{})
		var l *Log
		var got []error
		g.env.logger = slog.New(handler{func(m string) {
			if m == "partition failed" {
				for _, d := range []Durability{Synced, Written} {
					_, err := l.Append(context.Background(), []Record{{}}, d)
					got = append(got, err)
				}
				got = append(got, l.Sync(context.Background()))
			}
		}})
		l = g.open()
		g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, _ string, before bool) error {
			if op == vfs.OpWriteAt && before {
				return syscall.EIO
			}
			return nil
		})
		_, err := l.Append(context.Background(), []Record{{}}, 0) // fails with the lock held
		require.ErrorIs(t, err, ErrFailed)
		require.Len(t, got, 3)
		for _, err := range got {
			require.ErrorIs(t, err, ErrFailed)
		}
	})
}

// TestSyncFails: the failure is an event, and an error of the background, once.
func TestSyncFails(t *testing.T) {
	var s seen
	g := newRig(t, WriterMapped, true, Config{})
	g.observe(s.observer())
	l := g.open()
	_, err := l.Append(context.Background(), []Record{{}}, 0)
	require.NoError(t, err)
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, _ string, before bool) error {
		if op == vfs.OpSync && before {
			return syscall.EIO
		}
		return nil
	})
	for range 3 {
		_, err = l.Append(context.Background(), []Record{{}, {}}, 0)
		require.ErrorIs(t, err, ErrFailed)
	}
	l.Abandon()
	g.env.Close()
	require.Len(t, s.sync, 2)
	require.NoError(t, s.sync[0].Err)
	require.ErrorIs(t, s.sync[1].Err, syscall.EIO)
	require.EqualValues(t, 1, s.sync[1].Offset)
	require.Zero(t, s.sync[1].Records)
	require.Len(t, s.background, 1)
	require.ErrorIs(t, s.background[0], ErrFailed)
	require.ErrorIs(t, s.background[0], syscall.EIO)
	require.ErrorContains(t, s.background[0], "t-0")
	require.Len(t, s.append, 2, "the second was stored, and is not known to be durable")
	require.NoError(t, s.append[0].Err)
	require.ErrorIs(t, s.append[1].Err, ErrFailed)
	require.EqualValues(t, 2, s.append[1].Records)
	n := g.env.Totals()
	require.EqualValues(t, 1, n.Syncs)
	require.EqualValues(t, 1, n.Append.Count())
	require.ErrorIs(t, l.Stats().Failed, ErrClosed)
}

// TestRollFails: a roll that cannot be made is told with its reason, and so is the
// one that the next append makes.
func TestRollFails(t *testing.T) {
	var s seen
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 200, Durability: Written, FlushInterval: -1})
	g.observe(s.observer())
	l := g.open()
	_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 100)}}, 0)
	require.NoError(t, err)
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, _ string, before bool) error {
		if op == vfs.OpCreate && before {
			return errors.Join(vfs.ErrNoSpace, syscall.ENOSPC)
		}
		return nil
	})
	_, err = l.Append(context.Background(), []Record{{Value: make([]byte, 100)}}, 0)
	require.ErrorIs(t, err, ErrNoSpace)
	g.fs.(*vfs.Mem).SetHook(nil)
	_, err = l.Append(context.Background(), []Record{{Value: make([]byte, 100)}}, 0)
	require.NoError(t, err)
	require.Len(t, s.roll, 2)
	require.ErrorIs(t, s.roll[0].Err, ErrNoSpace)
	require.NoError(t, s.roll[1].Err)
	require.EqualValues(t, 1, s.roll[1].Offset)
	require.EqualValues(t, 1, g.env.Totals().Rolls)
	require.Len(t, s.append, 2)

	// One that no append asked for is told all the same.
	l.writing.Lock()
	require.NoError(t, l.roll(l.end.Load()))
	l.unlock()
	require.NoError(t, l.Close())
	g.env.Close()
	require.Len(t, s.roll, 3)
	require.EqualValues(t, 2, s.roll[2].Offset)
}

// TestSampling: of appends that do not wait for the disk one in 64 is measured,
// and stands for all.
func TestSampling(t *testing.T) {
	for _, codec := range []compress.Codec{compress.None, compress.LZ4} {
		g := newRig(t, WriterMapped, true, Config{Durability: Written, Compression: codec})
		l := g.open()
		const n = 100 * sampleEvery
		for range n {
			_, err := l.Append(context.Background(), []Record{{}}, 0)
			require.NoError(t, err)
		}
		h := g.env.Totals().Append
		require.Zero(t, h.Count()%sampleEvery)
		if codec == compress.None {
			require.EqualValues(t, n, h.Count())
		} else {
			require.Positive(t, h.Count()) // by chance
			require.Less(t, h.Count(), uint64(4*n))
		}
		require.Positive(t, h.Quantile(0.5))
		before := h.Count()
		_, err := l.Append(context.Background(), []Record{{}}, Synced)
		require.NoError(t, err)
		require.Equal(t, before+1, g.env.Totals().Append.Count(), "what waits for the disk is measured always")
	}
	// Logs with few appends each are measured together.
	g := newRig(t, WriterMapped, true, Config{Durability: Written})
	for i := range 3 * sampleEvery {
		g.dir = fmt.Sprintf("t-%d", i)
		if i > 0 {
			require.NoError(t, g.fs.Mkdir(g.dir))
		}
		l := g.open()
		_, err := l.Append(context.Background(), []Record{{}}, 0)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	require.EqualValues(t, 3*sampleEvery, g.env.Totals().Append.Count())
	require.EqualValues(t, 3*sampleEvery, g.env.Totals().Appended.Batches, "closed logs count")
}

// TestCorruptOnce: damage is told and counted once a place, however often and by
// whomever it is met, and the memory of places is bounded.
func TestCorruptOnce(t *testing.T) {
	var s seen
	g := newRig(t, WriterPwrite, true, Config{})
	g.observe(s.observer())
	l := g.open()
	bases := []int64{}
	for range 4 {
		_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 50)}}, 0)
		require.NoError(t, err)
		bases = append(bases, l.Size())
	}
	f, err := g.fs.Open("t-0/"+g.logFile(0), vfs.ReadWrite)
	require.NoError(t, err)
	for _, at := range bases[:2] { // the second and third batch
		_, err = f.WriteAt([]byte{0xee}, at+80)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	for range 5 {
		c := l.NewCursor(0)
		_, err = c.Next(4)
		require.NoError(t, err)
		for _, offset := range []int64{1, 1, 2} {
			c.SeekTo(offset)
			_, err = c.Next(4)
			require.ErrorIs(t, err, ErrCorrupt)
		}
		c.SeekTo(99)
		_, err = c.Next(4)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		c.Close()
	}
	require.Len(t, s.corrupt, 2)
	require.Equal(t, bases[0], s.corrupt[0].Position)
	require.EqualValues(t, 1, s.corrupt[0].Offset)
	require.EqualValues(t, 2, s.corrupt[1].Offset)
	require.EqualValues(t, 2, g.env.Totals().Damages)

	var p places
	for round := range 2 {
		for i := range int64(3 * maxPlaces) {
			require.True(t, p.add(place{"x", i, i}), "round %d", round)
			require.False(t, p.add(place{"x", i, i}))
			require.LessOrEqual(t, len(p.known), maxPlaces)
			require.LessOrEqual(t, len(p.order), maxPlaces)
		}
	}
}

// TestDeletedAndFetched: what retention and fetches report is counted and told.
func TestDeletedAndFetched(t *testing.T) {
	var s seen
	g := newRig(t, WriterMapped, true, Config{})
	g.observe(s.observer())
	l := g.open()
	l.EndDelete(l.BeginDelete(), 0, 0, 0, 0, nil)
	require.Empty(t, s.delete)
	l.EndDelete(l.BeginDelete(), 10, 2, 30, 4000, nil)
	l.EndDelete(l.BeginDelete(), 40, 0, 0, 0, syscall.EIO)
	require.Len(t, s.delete, 2)
	require.Positive(t, s.delete[0].Duration)
	s.delete[0].Duration = 0
	require.Equal(t, Event{Topic: "t", Offset: 10, Segments: 2, Records: 30, Bytes: 4000}, s.delete[0])
	require.ErrorIs(t, s.delete[1].Err, syscall.EIO)
	l.EndFetch(l.obs.now(), 3, 20, 900)
	l.EndFetch(l.obs.now(), 0, 0, 0)
	l.EndFetch(0, 1, 1, 100)
	n := g.env.Totals()
	require.EqualValues(t, 2, n.SegmentsDeleted)
	require.Equal(t, Counts{Records: 30, Bytes: 4000}, n.Deleted)
	require.Equal(t, Counts{4, 21, 1000}, n.Read)
	require.Equal(t, Counts{4, 21, 1000}, l.Stats().Read)
	require.EqualValues(t, sampleEvery, n.Fetch.Count())
}

// TestRecoverEvent: an open that had to recover says so once; one after a clean
// close does not.
func TestRecoverEvent(t *testing.T) {
	var s seen
	g := newRig(t, WriterPwrite, true, Config{})
	g.observe(s.observer())
	l := g.open()
	for range 5 {
		_, err := l.Append(context.Background(), []Record{{}}, 0)
		require.NoError(t, err)
	}
	l = g.reopen()
	l.Recovered()
	require.Empty(t, s.recover)
	require.Zero(t, g.env.Totals().Recoveries)
	size := l.Size()
	l.Abandon()
	f, err := g.fs.Open("t-0/"+g.logFile(0), vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("torn"), size)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	g.st = OpenState{RecoveryPoint: 2, StartOffset: -1, HighWatermark: -1}
	l = g.open()
	l.Recovered()
	l.Recovered()
	require.Len(t, s.recover, 1)
	e := s.recover[0]
	require.Positive(t, e.Duration)
	require.ErrorContains(t, e.Err, "quarantine")
	e.Duration, e.Err = 0, nil
	require.Equal(t, Event{Topic: "t", Offset: 5, Records: 5, Segments: 1, Bytes: size}, e)
	n := g.env.Totals()
	require.EqualValues(t, 1, n.Recoveries)
	require.EqualValues(t, 1, n.Cuts)
	require.EqualValues(t, 4, n.BytesCut)
	require.Empty(t, s.corrupt)

	// Damage is told as well.
	l.Abandon()
	g.damage(0, func(b []byte) []byte { b[90] ^= 1; return b })
	g.st.RecoveryPoint = 5
	l = g.open()
	l.Recovered()
	require.Len(t, s.recover, 2)
	require.ErrorIs(t, s.recover[1].Err, ErrCorrupt)
	require.Len(t, s.corrupt, 1)
	require.True(t, l.Stats().Damaged)
}

// TestCloseWaitsForCalls: no call is made, or goes on, after Close, whichever
// goroutine of the log's own makes it.
func TestCloseWaitsForCalls(t *testing.T) {
	for name, c := range map[string]Config{
		"timer": {Durability: Written, FlushInterval: time.Second},
		"bytes": {Durability: Written, FlushInterval: -1, FlushBytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, WriterMapped, true, c)
				hold := make(chan struct{})
				told := false
				g.observe(&Observer{Sync: func(Event) { <-hold; told = true }})
				l := g.open()
				_, err := l.Append(context.Background(), []Record{{}}, 0)
				require.NoError(t, err)
				time.Sleep(time.Minute)
				closed := make(chan struct{})
				go func() {
					require.NoError(t, l.Close())
					g.env.Close()
					close(closed)
				}()
				synctest.Wait()
				select {
				case <-closed:
					t.Error("it did not wait")
				default:
				}
				close(hold)
				<-closed
				require.True(t, told)
			})
		})
	}
}
