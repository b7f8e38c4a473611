package main

import (
	"context"
	"errors"

	"github.com/leatlog/leat"
)

// synchronise applies what is in the topic up to the end that it has now. It is the
// model to copy: the position is read from the database, the consumer is assigned
// there, and each change is applied in one transaction with the position behind
// it. No group is needed, since nothing is committed to Leat; with several
// partitions a group could share them out, and Seek would go to OnAssign (as in
// examples/delivery, exactlyonce.go).
func synchronise(ctx context.Context, st *leat.Store, db *database) error {
	topic, err := st.Topic(topicName)
	if err != nil {
		return err
	}
	part, err := topic.Partition(0)
	if err != nil {
		return err
	}
	end := part.HighWatermark()
	next, err := db.position(ctx)
	if err != nil {
		return err
	}

	c, err := st.Consumer(leat.ConsumerConfig{})
	if err != nil {
		return err
	}
	defer c.Close()
	at := leat.Position{Topic: topicName, Partition: 0, Offset: next}
	if err := c.Assign(at); err != nil {
		return err
	}
	return follow(ctx, c, db, at, end)
}

// follow applies what comes from at on, and is before end.
func follow(ctx context.Context, c *leat.Consumer, db *database, at leat.Position, end int64) error {
	for at.Offset < end {
		batches, err := c.Poll(ctx)
		if err != nil {
			return err // an *leat.OffsetError where the log does not have the position
		}
		at.Offset, err = applyAll(ctx, db, batches)
		if errors.Is(err, errMoved) {
			// From outside, while this was running: it is the database that decides.
			if at.Offset, err = db.position(ctx); err == nil {
				err = c.Seek(at)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// applyAll applies the changes of some batches, and returns where to go on.
func applyAll(ctx context.Context, db *database, batches []*leat.Batch) (next int64, err error) {
	for _, b := range batches {
		for rec, err := range b.Records() {
			if err != nil {
				return 0, err
			}
			c, err := parse(rec)
			if err != nil {
				return 0, err
			}
			if err := db.apply(ctx, c); err != nil {
				return 0, err
			}
		}
		next = b.NextOffset()
	}
	return next, nil
}
