package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

// TestTogether does everything to one log at once: appends plain and raw, syncs,
// rests, truncations, resets, deletions, other configurations, fetches, cursors
// with pinned batches, waits, and now and then a close. What was acknowledged, and
// neither truncated nor deleted since, is there; pinned bytes stay; nothing hangs,
// and nothing is left open.
func TestTogether(t *testing.T) {
	rounds, each := 3, 150*time.Millisecond
	if os.Getenv("LEAT_LONG") != "" {
		rounds, each = 60, time.Second
	}
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		t.Run(fmt.Sprintf("mapped=%v", w == WriterMapped), func(t *testing.T) {
			c := smallSegments
			c.FlushInterval = 5 * time.Millisecond
			g := newRig(t, w, true, c)
			g.env.Close()
			files := &leakFS{FS: g.fs}
			g.env = NewEnv(EnvOptions{FS: files, MaxMaps: 12, MaxAwake: 1, Writer: w})
			g.open()
			s := &together{t: t, kept: map[int64]keptRecord{}}
			for range rounds {
				s.round(g.log, each)
				g.st.HighWatermark = -1
				g.reopen()
				s.forgetGenerations()
				s.check(g.log)
			}
			require.NoError(t, g.log.Close())
			g.env.Close()
			require.Zero(t, files.files.Load(), "files are left open")
			require.Zero(t, files.maps.Load(), "maps are left")
		})
	}
}

// keptRecord is one that was acknowledged in a generation.
type keptRecord struct {
	value      string
	generation int64
}

type together struct {
	t  *testing.T
	mu sync.Mutex
	// kept is what was acknowledged last at each offset.
	kept map[int64]keptRecord
}

// round lets all of them at the log for a while.
func (s *together) round(l *Log, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i, do := range []func(context.Context, *Log, *rand.Rand) error{
		s.append, s.append, s.raw, s.shorten, s.remove, s.configure, s.read, s.read, s.fetch, s.wait, s.rest,
	} {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano())))
			for ctx.Err() == nil {
				var outside *OffsetError
				err := do(ctx, l, rng)
				switch {
				case err == nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrTruncated), errors.As(err, &outside):
				default:
					s.t.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(d + 30*time.Second):
		panic("it hangs: " + string(stacks()))
	}
	s.check(l)
}

func (s *together) keep(offset int64, value string, before, after int64) {
	if before != after {
		return // it cannot be told whether it was there at the end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.kept[offset]; !ok || k.generation <= before {
		s.kept[offset] = keptRecord{value, before}
	}
}

func (s *together) append(ctx context.Context, l *Log, rng *rand.Rand) error {
	v := fmt.Sprintf("%d %080d", rng.Uint64(), 0)
	before := l.Generation()
	d := []Durability{Synced, Written}[rng.IntN(2)]
	base, err := l.Append(ctx, []Record{{Value: []byte(v)}}, d)
	if err == nil {
		s.keep(base, v, before, l.Generation())
	}
	return err
}

func (s *together) raw(ctx context.Context, l *Log, rng *rand.Rand) error {
	v := fmt.Sprintf("%d raw", rng.Uint64())
	r, err := l.AppendRaw(encode(s.t, []codec.Record{{Timestamp: time.Now().UnixMilli(), Value: []byte(v)}}, nil), RawOptions{})
	if err == nil {
		s.keep(r.BaseOffset, v, r.Generation, r.Generation)
		err = l.WaitDurable(ctx, r.Durable, r.Generation)
	}
	return err
}

// turns is how often the others are let by, for what comes less often.
const turns = 300

func yield(n int) {
	for range n {
		runtime.Gosched()
	}
}

func (s *together) shorten(ctx context.Context, l *Log, rng *rand.Rand) error {
	yield(rng.IntN(10) * turns)
	release, err := l.HoldDeletions(ctx)
	if err != nil {
		return err
	}
	defer release()
	start, end := l.LogStartOffset(), l.LogEndOffset()
	if rng.IntN(6) == 0 {
		return l.ResetTo(start+rng.Int64N(end-start+10), nil)
	}
	return l.TruncateTo(end-rng.Int64N(min(end-start, 40)+1), nil)
}

func (s *together) remove(ctx context.Context, l *Log, rng *rand.Rand) error {
	yield(rng.IntN(5) * turns)
	var err error
	switch rng.IntN(3) {
	case 0:
		_, err = l.DeleteRecords(ctx, max(l.HighWatermark()-rng.Int64N(60), 0))
	case 1:
		_, err = l.Retain(ctx, Retention{Delete: true, Age: -1, Bytes: rng.Int64N(20_000)}, time.Now())
	default:
		_, err = l.DeleteOldest(ctx, Floor{})
	}
	return err
}

func (s *together) configure(_ context.Context, l *Log, rng *rand.Rand) error {
	yield(rng.IntN(10) * turns)
	c := *l.cfg()
	c.SegmentBytes = 500 + rng.Int64N(3000)
	c.Durability = []Durability{Synced, Written}[rng.IntN(2)]
	c.FlushInterval = []time.Duration{-1, time.Millisecond, time.Second}[rng.IntN(3)]
	return l.Configure(c)
}

// read holds a batch and looks at its bytes again.
func (s *together) read(_ context.Context, l *Log, rng *rand.Rand) error {
	c := l.NewCursor(l.LogStartOffset())
	defer c.Close()
	for range rng.IntN(100) {
		b, err := c.Next(l.Visible(false))
		if err == ErrWait {
			return nil
		}
		if err != nil {
			return err
		}
		if rng.IntN(10) == 0 {
			yield(turns)
			if err := b.Check(); err != nil {
				return fmt.Errorf("a batch that was pinned: %w", err)
			}
		}
	}
	return nil
}

func (s *together) fetch(_ context.Context, l *Log, rng *rand.Rand) error {
	var f Fetched
	start, end := l.LogStartOffset(), l.LogEndOffset()
	err := l.Fetch(FetchOptions{Offset: start + rng.Int64N(max(end-start, 0)+1), MaxBytes: 2000, Committed: rng.IntN(2) == 0, Verify: true}, &f)
	if err == nil && f.Len() > 0 {
		yield(turns)
		if b, err := codec.Next(f.Bytes()); err != nil || b.Check() != nil {
			return fmt.Errorf("fetched bytes are no batch: %w", errors.Join(err, b.Check()))
		}
	}
	f.Release()
	return err
}

func (s *together) wait(ctx context.Context, l *Log, rng *rand.Rand) error {
	w := NewWaiter()
	if rng.IntN(2) == 0 {
		return l.Wait(ctx, w, l.LogEndOffset(), false)
	}
	return w.WaitFor(ctx, []Watch{{Log: l, Offset: l.LogEndOffset()}}, WaitOptions{MinBytes: 500, MaxWait: 10 * time.Millisecond})
}

func (s *together) rest(ctx context.Context, l *Log, rng *rand.Rand) error {
	yield(rng.IntN(3) * turns)
	l.tryRest(rng.IntN(2) == 0)
	return l.Sync(ctx)
}

// check looks for what was acknowledged in a log that nobody changes.
func (s *together) check(l *Log) {
	start, end := l.LogStartOffset(), l.LogEndOffset()
	there := map[int64]string{}
	next := start
	for _, r := range readAllRecords(s.t, l, start) {
		if r.Offset >= start {
			require.Equal(s.t, next, r.Offset)
			next++
			there[r.Offset] = string(r.Value)
		}
	}
	require.Equal(s.t, end, next)
	require.LessOrEqual(s.t, l.DurableEnd(), end)
	for offset, k := range s.kept {
		cut, ok := l.truncated.since(k.generation)
		if ok && cut <= offset || offset < start {
			delete(s.kept, offset)
			continue
		}
		require.Equal(s.t, k.value, there[offset], "offset %d of %d to %d", offset, start, end)
	}
}

// forgetGenerations is for after a reopen, which counts anew.
func (s *together) forgetGenerations() {
	for offset, k := range s.kept {
		k.generation = 0
		s.kept[offset] = k
	}
}
