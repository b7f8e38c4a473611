package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// powerCut looks what is left of an append that was acknowledged when the power
// fails now.
func (s *stress) powerCut(id string, base int64, count int, rng *rand.Rand) {
	choice := vfs.None
	state := s.mem.Dirty()
	if rng.IntN(2) == 0 {
		choices := vfs.Choices(state, 4, rng.Uint64())
		choice = choices[rng.IntN(len(choices))]
	}
	s.stats.cuts.Add(1)
	if err := s.survives(state.Clone(choice), id, base, count); err != nil {
		s.fail("%s was acknowledged at %d; after a power cut that kept %v: %v", id, base, choice, err)
	}
}

func (s *stress) survives(m *vfs.Mem, id string, base int64, count int) error {
	env := NewEnv(EnvOptions{FS: m, MaxMaps: 100, Writer: s.writer})
	defer env.Close()
	l, _, err := Open(env, "t-0", s.cfg, OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1})
	if err != nil {
		return err
	}
	defer l.Abandon()
	records, err := tryRecords(l, base)
	if err != nil {
		return err
	}
	for len(records) > 0 && records[0].Offset < base {
		records = records[1:]
	}
	if len(records) < count {
		return fmt.Errorf("the log ends at %d", l.LogEndOffset())
	}
	return isCall(records[:count], id, base)
}

// isCall tells whether the records are those of one call, in order.
func isCall(records []codec.Record, id string, base int64) error {
	for k, r := range records {
		want := fmt.Sprintf("%s/%d/", id, k)
		if r.Offset != base+int64(k) || string(r.Key) != id || !strings.HasPrefix(string(r.Value), want) ||
			strings.Trim(string(r.Value[len(want):]), "x") != "" {
			return fmt.Errorf("record %d of %s, at %d, is %.40q %.40q at %d", k, id, base+int64(k), r.Key, r.Value, r.Offset)
		}
	}
	return nil
}

// follow reads from the start and waits for more, until the log ends.
func (s *stress) follow(end context.Context, n int) {
	rng := rand.New(rand.NewPCG(s.seed, 98))
	w := NewWaiter()
	c := s.log.NewCursor(0)
	defer c.Close()
	for {
		s.seen[n].Store(c.Offset())
		limit := s.log.Visible(true)
		b, err := c.Next(limit)
		switch {
		case err == ErrWait:
			ctx, cancel := end, context.CancelFunc(func() {})
			if n%2 == 1 {
				ctx, cancel = s.context(rng)
			}
			from := c.Offset()
			err = s.log.Wait(ctx, w, from, true)
			cancel()
			if err == nil && s.log.HighWatermark() <= from {
				s.fail("woken at %d, where nothing is to be seen", from)
			}
			if err != nil && ctx.Err() == nil || end.Err() != nil {
				if err != ErrClosed && !errors.Is(err, ErrFailed) && !errors.Is(err, context.Canceled) && err != nil {
					s.fail("wait: %v", err)
				}
				return
			}
		case err == ErrClosed:
			return
		case err != nil:
			s.fail("read: %v", err)
			return
		case b.NextOffset() > s.log.HighWatermark():
			s.fail("batch of %d to %d was seen below the high watermark %d", b.BaseOffset(), b.NextOffset(), s.log.HighWatermark())
			return
		}
	}
}

// search looks up times, until the log ends.
func (s *stress) search() {
	rng := rand.New(rand.NewPCG(s.seed, 97))
	for {
		end := s.log.LogEndOffset()
		_, _, _, err := s.log.OffsetForTimestamp(1_000_000 + rng.Int64N(2000))
		if err == nil && end > 0 {
			var ms int64
			if _, ms, _, err = s.log.OffsetForMaxTimestamp(); err == nil && ms < 1_000_000 {
				s.fail("the latest record of %d is of %d", end, ms)
				return
			}
		}
		if err == ErrClosed {
			return
		}
		if err != nil {
			s.fail("search: %v", err)
			return
		}
		runtime.Gosched()
	}
}

// check opens the log again, as after the death of the process or a power cut,
// and compares it with what the callers were told.
func (s *stress) check(m *vfs.Mem, cut bool) {
	t := s.t
	what := fmt.Sprintf("after a power cut %v, closed in order %v: %v", cut, s.log.Clean(), s)
	env := NewEnv(EnvOptions{FS: m, MaxMaps: 100, Writer: s.writer})
	defer env.Close()
	words := *s.words
	l, report, err := Open(env, "t-0", s.cfg, OpenState{Clean: s.log.Clean(), RecoveryPoint: s.log.RecoveryPoint(),
		StartOffset: -1, HighWatermark: -1, Marks: NewMarks(&words, nil), MarksValid: true})
	require.NoError(t, err, what)
	defer l.Abandon()
	require.Nil(t, l.Damage(), what)
	require.Equal(t, s.log.Clean(), report.Clean, what)
	if !cut || s.log.Clean() {
		require.Equal(t, s.log.LogEndOffset(), l.LogEndOffset(), what)
	}
	records := readAllRecords(t, l, 0)
	require.EqualValues(t, l.LogEndOffset(), len(records), what)

	calls := make(map[string]*stressCall)
	for i := range s.mu.calls {
		calls[s.mu.calls[i].id] = &s.mu.calls[i]
	}
	for len(records) > 0 {
		id, base := string(records[0].Key), records[0].Offset
		call := calls[id]
		require.NotNil(t, call, "%d: %q was not appended, or twice: %v", base, id, what)
		delete(calls, id)
		if call.err == nil {
			require.Equal(t, call.base, base, "%s was told another offset: %v", id, what)
		}
		require.NotErrorIs(t, call.err, ErrNoSpace, "%s at %d: %v", id, base, what)
		require.GreaterOrEqual(t, len(records), call.count, what)
		require.NoError(t, isCall(records[:call.count], id, base), what)
		records = records[call.count:]
	}
	for id, call := range calls {
		if !cut || call.synced {
			require.Error(t, call.err, "%s was acknowledged at %d and is not there: %v", id, call.base, what)
		}
	}
}
