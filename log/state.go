package log

import (
	"context"
	"errors"

	"github.com/leatlog/leat/index"
)

// State is what a log knows beside its offsets: Kafka's producer state, leader
// epoch cache and transaction indexes.
type State struct {
	// FirstUnstableOffset is where the earliest transaction began that is open, or
	// was decided by a marker not yet below the high watermark; -1: there is none.
	FirstUnstableOffset int64
	Producers           []ProducerState    // by producer id
	Epochs              []EpochEntry       // oldest first
	Aborted             []index.AbortedTxn // in the order of their markers
	Segments            []SegmentInfo      // oldest first
}

// State gathers what the log knows. Records that are appended meanwhile may be in
// one part of it and not in another; nothing in it has been taken back.
//
// A log that is followed is waited for while its writer is at work on what is
// read, a second at most: after that Trouble says what is the matter, and the
// state is of what can be seen.
func (l *Log) State(ctx context.Context) (*State, error) {
	for {
		if err := l.caughtUp(ctx); err != nil {
			return nil, err
		}
		run, generation := l.followRun(), l.generation.Load()
		s, err := l.gather()
		switch {
		case errors.Is(err, ErrRestarted):
		case err != nil:
			return nil, err
		case l.followRun() == run && l.generation.Load() == generation:
			return s, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// caughtUp waits until a log that is followed can be read and has come as far as
// its writer, or has an error that stays.
func (l *Log) caughtUp(ctx context.Context) error {
	f := l.follow
	if f == nil {
		return ctx.Err()
	}
	err := f.await(ctx, NewWaiter(), noOffset, false, func() bool {
		return f.run.Load()&1 == 0 && f.stuck.Load() == nil
	})
	if err != nil && err == f.trouble() && f.run.Load()&1 == 0 {
		return nil
	}
	return err
}

func (l *Log) gather() (*State, error) {
	if l.closed.Load() {
		return nil, ErrClosed
	}
	s := &State{FirstUnstableOffset: -1, Segments: l.Segments()}
	l.stateMu.Lock()
	if first, ok := l.producers.FirstUnstable(); ok {
		s.FirstUnstableOffset = first
	}
	s.Producers = l.producers.Active()
	s.Epochs = l.epochs.Entries()
	l.stateMu.Unlock()
	var err error
	s.Aborted, err = l.AbortedTxns(l.LogStartOffset(), l.LogEndOffset(), nil)
	return s, err
}
