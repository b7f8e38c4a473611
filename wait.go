package leat

import (
	"context"
	"errors"

	"github.com/leatlog/leat/log"
)

// Wait returns nil when minBytes of whole batches (0: anything at all) can be
// read past the positions, in all of them together: the long poll of a server
// that has answered nothing yet. Position.Metadata means nothing here. It waits
// without a goroutine and without polling, and opens the partitions it is asked
// about.
//
// It returns nil at once, so that the next Fetch tells, when a position is not in
// its partition's range, or its partition cannot be read: unknown, deleted,
// failed, damaged; and when at is empty. The errors are ctx's, ErrClosed,
// and ErrInvalidConfig for an isolation that there is not.
func (s *Store) Wait(ctx context.Context, at []Position, minBytes int, i Isolation) error {
	if i > ReadUncommitted {
		return invalidConfig("Isolation is %v", i)
	}
	if s.isClosed() {
		return ErrClosed
	}
	watched := make([]log.Watch, len(at))
	for n := range at {
		l, err := s.logOf(&at[n])
		if err != nil {
			if errors.Is(err, ErrClosed) && s.isClosed() {
				return ErrClosed
			}
			return ctx.Err()
		}
		watched[n] = log.Watch{Log: l, Offset: at[n].Offset}
	}
	if len(at) == 0 {
		return ctx.Err()
	}
	o := log.WaitOptions{MinBytes: int64(max(minBytes, 1)), Committed: i == ReadCommitted}
	if err := log.NewWaiter().WaitFor(ctx, watched, o); err != nil {
		return err
	}
	if s.isClosed() {
		return ErrClosed
	}
	return nil
}

// logOf is the log of a position, opened if it is not.
func (s *Store) logOf(at *Position) (*log.Log, error) {
	t, err := s.Topic(at.Topic)
	if err != nil {
		return nil, err
	}
	p, err := t.Partition(at.Partition)
	if err != nil {
		return nil, err
	}
	return p.use()
}
