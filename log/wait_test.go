package log

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// waitCall is a WaitFor on its goroutine.
type waitCall struct {
	done chan error
	w    *Waiter
	at   []Watch
}

func startWait(ctx context.Context, at []Watch, o WaitOptions) *waitCall {
	w := &waitCall{done: make(chan error, 1), w: NewWaiter(), at: at}
	go func() { w.done <- w.w.WaitFor(ctx, w.at, o) }()
	return w
}

// over tells whether it has returned, when nothing moves any more.
func (w *waitCall) over(t *testing.T) (bool, error) {
	synctest.Wait()
	select {
	case err := <-w.done:
		require.Empty(t, w.w.ch, "no wake-up is left")
		for i := range w.at {
			require.False(t, w.at[i].ticket.listed.Load())
		}
		return true, err
	default:
		return false, nil
	}
}

// waitRigs are logs in memory within a bubble.
func waitRigs(t *testing.T, n int, c Config) []*Log {
	logs := make([]*Log, n)
	for i := range logs {
		logs[i] = newRig(t, WriterPwrite, true, c).open()
	}
	return logs
}

func requireNobody(t *testing.T, logs ...*Log) {
	t.Helper()
	for _, l := range logs {
		require.Zero(t, l.tail.count.Load())
		require.Empty(t, l.tail.mu.list)
	}
}

// TestWaitForModel waits for random amounts behind random offsets of several logs,
// and returns with the append that makes it enough: neither before nor later.
func TestWaitForModel(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			logs := waitRigs(t, 3, Config{SegmentBytes: 2000, IndexInterval: 300, Durability: Written})
			sizes := make([][]int64, len(logs)) // of the batch that holds each offset
			grow := func(i int) {
				before := logs[i].Size()
				n := 1 + r.IntN(3)
				_, err := logs[i].Append(context.Background(), make([]Record, n), Written)
				require.NoError(t, err)
				for range n {
					sizes[i] = append(sizes[i], logs[i].Size()-before)
				}
			}
			// behind is how many bytes of batches lie from an offset on.
			behind := func(i int, offset int64) (n int64) {
				for o := offset; o < int64(len(sizes[i])); {
					n += sizes[i][o]
					c := logs[i].NewCursor(o)
					_, err := c.Next(noOffset)
					require.NoError(t, err)
					o = c.Offset()
					c.Close()
				}
				return n
			}
			for range 30 {
				at := make([]Watch, 1+r.IntN(len(logs)))
				for i := range at {
					at[i] = Watch{Log: logs[i], Offset: max(0, int64(len(sizes[i]))-r.Int64N(4))}
				}
				least := 1 + r.Int64N(400)
				if r.IntN(3) == 0 {
					least = 1
				}
				ctx, cancel := context.WithCancel(context.Background())
				w := startWait(ctx, at, WaitOptions{MinBytes: least, Committed: r.IntN(2) == 0})
				for {
					total := int64(0)
					for i := range at {
						total += behind(i, at[i].Offset)
					}
					over, err := w.over(t)
					require.Equal(t, total >= least, over, "%d of %d bytes", total, least)
					require.NoError(t, err)
					if over {
						break
					}
					if r.IntN(6) == 0 {
						cancel()
						over, err := w.over(t)
						require.True(t, over)
						require.ErrorIs(t, err, context.Canceled)
						break
					}
					grow(r.IntN(len(logs)))
				}
				cancel()
				requireNobody(t, logs...)
			}
		})
	}
}

// TestWaitForEnds: whatever ends a log, or leaves an offset without one, ends the
// waiting without an error.
func TestWaitForEnds(t *testing.T) {
	ends := map[string]func(t *testing.T, l *Log){
		"close":     func(t *testing.T, l *Log) { require.NoError(t, l.Close()) },
		"abandon":   func(_ *testing.T, l *Log) { l.Abandon() },
		"fail":      func(_ *testing.T, l *Log) { l.fail(errors.New("so")) },
		"start":     func(_ *testing.T, l *Log) { l.start.Store(5); l.tail.wakeAll() },
		"truncated": func(_ *testing.T, l *Log) { l.end.Store(2); l.tail.wakeAll() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := waitRigs(t, 2, Config{Durability: Written})
				for range 6 {
					_, err := logs[1].Append(context.Background(), make([]Record, 1), Written)
					require.NoError(t, err)
				}
				at := func() []Watch { return []Watch{{Log: logs[0]}, {Log: logs[1], Offset: 4}} }
				w := startWait(context.Background(), at(), WaitOptions{MinBytes: 1 << 20})
				over, _ := w.over(t)
				require.False(t, over)
				end(t, logs[1])
				over, err := w.over(t)
				require.True(t, over)
				require.NoError(t, err)
				requireNobody(t, logs...)
				over, err = startWait(context.Background(), at(), WaitOptions{MinBytes: 1 << 20}).over(t)
				require.True(t, over, "and at once when it has happened before")
				require.NoError(t, err)
			})
		})
	}
}

// TestWaitForVisible: what counts are whole batches below the end that the
// isolation lets one see, which a wrapper or a transaction may hold back.
func TestWaitForVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := waitRigs(t, 1, Config{Durability: Written, ExternalWatermark: true})[0]
		for range 4 {
			_, err := l.Append(context.Background(), make([]Record, 10), Written)
			require.NoError(t, err)
		}
		begin := func(committed bool, least int64) *waitCall {
			w := startWait(context.Background(), []Watch{{Log: l, Offset: 10}}, WaitOptions{MinBytes: least, Committed: committed})
			over, _ := w.over(t)
			require.False(t, over)
			return w
		}
		l.unstable.Store(20)
		plain, committed, all := begin(false, 1), begin(true, 1), begin(true, l.Size()*3/4)
		check := func(w *waitCall, want bool) {
			t.Helper()
			over, err := w.over(t)
			require.NoError(t, err)
			require.Equal(t, want, over)
		}
		require.NoError(t, l.SetHighWatermark(15)) // inside of a batch
		check(plain, false)
		require.NoError(t, l.SetHighWatermark(20))
		check(plain, true)
		check(committed, true)
		require.NoError(t, l.SetHighWatermark(40))
		check(all, false)
		l.unstable.Store(noOffset)
		l.watermarkMoved()
		check(all, true)
		requireNobody(t, l)
	})
}

// TestWaitForMaxWait: the time begins when something is there.
func TestWaitForMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := waitRigs(t, 1, Config{Durability: Written})[0]
		add := func() {
			_, err := l.Append(context.Background(), make([]Record, 1), Written)
			require.NoError(t, err)
		}
		w := startWait(context.Background(), []Watch{{Log: l}}, WaitOptions{MinBytes: 1000, MaxWait: time.Minute})
		time.Sleep(time.Hour)
		add()
		begun := time.Now()
		time.Sleep(50 * time.Second)
		add()
		over, _ := w.over(t)
		require.False(t, over)
		require.NoError(t, <-w.done)
		require.Equal(t, time.Minute, time.Since(begun))

		w = startWait(context.Background(), []Watch{{Log: l}}, WaitOptions{MinBytes: 1000, Until: 3})
		over, _ = w.over(t)
		require.False(t, over)
		add()
		over, err := w.over(t)
		require.True(t, over, "nothing more is wanted")
		require.NoError(t, err)
		requireNobody(t, l)
	})
}

// TestWaitForTickets takes apart what the race test meets by chance only.
func TestWaitForTickets(t *testing.T) {
	logs := []*Log{
		newRig(t, WriterPwrite, true, Config{Durability: Written}).open(),
		newRig(t, WriterPwrite, true, Config{Durability: Written}).open(),
	}
	add := func(i int) {
		_, err := logs[i].Append(context.Background(), make([]Record, 1), Written)
		require.NoError(t, err)
	}
	begin := func(offsets ...int64) (*Waiter, []Watch) {
		w := NewWaiter()
		at := make([]Watch, len(offsets))
		for i := range at {
			at[i] = Watch{Log: logs[i], Offset: offsets[i]}
		}
		_, enough := w.look(at, WaitOptions{MinBytes: 1 << 20}, true)
		require.False(t, enough)
		return w, at
	}
	// What comes between the look and the ticket is seen.
	w, at := begin(0, 0)
	add(0)
	require.False(t, w.enlist(at, false))
	w.leave(at)
	// Two logs wake a waiter that is elsewhere: no writer waits for it, and
	// nothing is left when it leaves.
	w, at = begin(0, 0)
	require.True(t, w.enlist(at, false))
	add(0)
	add(1)
	require.Len(t, w.ch, 1)
	w.leave(at)
	require.Empty(t, w.ch)
	requireNobody(t, logs...)
	// Those that stay when others are woken can still be taken back one by one.
	var tail tail
	var tickets [4]ticket
	for i := range tickets {
		tickets[i].w = NewWaiter()
		tail.add(&tickets[i], int64(i%2)*10, false)
	}
	tail.wake(logs[0]) // those at 0
	require.Equal(t, []*ticket{&tickets[1], &tickets[3]}, tail.mu.list)
	tail.remove(&tickets[0])
	tail.remove(&tickets[1])
	require.Equal(t, []*ticket{&tickets[3]}, tail.mu.list)
	tail.remove(&tickets[3])
	tail.remove(&tickets[3])
	require.Empty(t, tail.mu.list)
	require.Zero(t, tail.count.Load())
}

// TestWaitForRace: waiters of both kinds come and go beside appends, and none is
// forgotten. Run with -race.
func TestWaitForRace(t *testing.T) {
	const total = 2000
	var logs []*Log
	for range 2 {
		logs = append(logs, newRig(t, WriterMapped, true, Config{Durability: Written}).open())
	}
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(reader)))
			w := NewWaiter()
			var at [2]int64
			for at[0] < total || at[1] < total {
				if i := r.IntN(2); r.IntN(3) == 0 && at[i] < total {
					if err := logs[i].Wait(context.Background(), w, at[i], true); err != nil {
						t.Error(err)
						return
					}
					at[i] = logs[i].Visible(true)
					continue
				}
				list := []Watch{{Log: logs[0], Offset: at[0]}, {Log: logs[1], Offset: at[1]}}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				if r.IntN(4) == 0 {
					cancel()
				}
				err := w.WaitFor(ctx, list, WaitOptions{MinBytes: 1})
				cancel()
				if err == context.DeadlineExceeded {
					t.Error("forgotten")
					return
				}
				for i, l := range logs {
					at[i] = l.Visible(true)
				}
			}
		})
	}
	for i := range logs {
		wg.Go(func() {
			for range total {
				if _, err := logs[i].Append(context.Background(), make([]Record, 1), Written); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	requireNobody(t, logs...)
}
