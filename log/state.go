package log

import (
	"context"
	"errors"
	"slices"

	"github.com/leatlog/leat/index"
)

// State is what a log knows at one moment: offsets, and Kafka's producer state,
// leader epoch cache and transaction indexes.
type State struct {
	LogStartOffset, LastStableOffset, HighWatermark, LogEndOffset, DurableEnd int64
	// FirstUnstableOffset is where the earliest transaction began that is open, or
	// was decided by a marker not yet below the high watermark; -1: there is none.
	FirstUnstableOffset int64
	LatestEpoch         int32
	Producers           []ProducerState    // by producer id
	Epochs              []EpochEntry       // oldest first
	Aborted             []index.AbortedTxn // in the order of their markers
	Segments            []SegmentInfo      // oldest first
}

// State gathers what the log knows. Appends wait while it copies what is in
// memory, not while it reads transaction indexes.
//
// A log that is followed is waited for while its writer is at work on what is
// read, a second at most: after that Trouble says what is the matter, and the
// state is of what can be seen.
func (l *Log) State(ctx context.Context) (*State, error) {
	for {
		if err := l.caughtUp(ctx); err != nil {
			return nil, err
		}
		s, run, generation, err := l.remembered()
		if err != nil {
			return nil, err
		}
		if run&1 == 0 {
			s.Aborted, err = l.AbortedTxns(s.LogStartOffset, s.LogEndOffset, nil)
		}
		switch {
		case errors.Is(err, ErrRestarted):
		case err != nil:
			return nil, err
		case run&1 == 0 && l.followRun() == run && l.generation.Load() == generation:
			s.Aborted = slices.DeleteFunc(s.Aborted, func(t index.AbortedTxn) bool { return t.LastOffset >= s.LogEndOffset })
			return s, nil
		}
	}
}

// caughtUp waits until a log that is followed can be read and has come as far as
// its writer, or has an error that stays.
func (l *Log) caughtUp(ctx context.Context) error {
	f := l.follow
	if err := ctx.Err(); err != nil || f == nil {
		return err
	}
	err := f.await(ctx, NewWaiter(), noOffset, false, func() bool {
		return f.run.Load()&1 == 0 && f.stuck.Load() == nil
	})
	if err != nil && !errors.Is(err, ErrClosed) && ctx.Err() == nil && f.run.Load()&1 == 0 {
		return nil // what comes before the trouble can be read
	}
	return err
}

// remembered copies what is in memory. Nobody changes it meanwhile: neither the
// log's writer nor, if it is followed, a poll.
func (l *Log) remembered() (s *State, run, generation int64, err error) {
	if f := l.follow; f != nil {
		f.turn <- struct{}{}
		defer func() { <-f.turn }()
	} else {
		l.writing.Lock()
		defer l.unlock()
	}
	if l.closed.Load() {
		return nil, 0, 0, ErrClosed
	}
	s = &State{
		LogStartOffset: l.LogStartOffset(), LogEndOffset: l.LogEndOffset(), FirstUnstableOffset: -1,
		LatestEpoch: l.LatestEpoch(), Segments: l.Segments(),
	}
	// Watermarks rise without either of them.
	s.HighWatermark = min(l.HighWatermark(), s.LogEndOffset)
	s.LastStableOffset = min(l.LastStableOffset(), s.HighWatermark)
	s.DurableEnd = min(l.DurableEnd(), s.LogEndOffset)
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if first, ok := l.producers.FirstUnstable(); ok {
		s.FirstUnstableOffset = first
	}
	s.Producers = l.producers.Active()
	s.Epochs = l.epochs.Entries()
	return s, l.followRun(), l.generation.Load(), nil
}
