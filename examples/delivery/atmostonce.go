package main

import (
	"context"

	"github.com/leatlog/leat"
)

// atMostOnce commits, then processes. A record that was committed and not yet
// processed when the process died is lost: the next one goes on behind it. None is
// processed twice. It is for what is worth nothing when late, or bad when it comes
// again: a measurement, a reminder.
func atMostOnce(ctx context.Context, c consumer, process func(*leat.Record) error) error {
	for {
		batches, err := c.Poll(ctx)
		if err != nil {
			return err
		}
		// All that Poll gave is done with, for the group: synced when it returns nil.
		// After an error nothing may be processed, not knowing who else will.
		if err := c.Commit(ctx); err != nil {
			return err
		}
		for _, b := range batches {
			for rec, err := range b.Records() {
				if err != nil {
					return err
				}
				if err := process(rec); err != nil {
					return err // what it did by then, it did; it is not tried again
				}
			}
		}
	}
}

// consumer is what this form and the next use of a *leat.Consumer in a group.
type consumer interface {
	Poll(ctx context.Context) ([]*leat.Batch, error)
	Commit(ctx context.Context, at ...leat.Position) error
}
