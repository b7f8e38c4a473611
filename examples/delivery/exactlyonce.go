package main

import (
	"context"

	"github.com/leatlog/leat"
)

// exactlyOnce processes into a storage that is not Leat's, and keeps the positions
// there, too: what the records of a batch do, and where to go on behind them, is
// one step of the storage, which happens or does not. So whenever the process dies,
// the two agree, and a record is neither lost nor processed twice. The group's own
// committed offsets are not used.
func exactlyOnce(ctx context.Context, st *leat.Store, cfg leat.ConsumerConfig, db database) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	at := map[int32]int64{} // by partition
	cfg.OnAssign = func(_ context.Context, c *leat.Consumer, parts []leat.Position) {
		for i, p := range parts {
			at[p.Partition] = db.position(p.Partition)
			parts[i].Offset = at[p.Partition] // whatever the group may think
		}
		if err := c.Seek(parts...); err != nil {
			stop(err)
		}
	}
	c, err := st.Consumer(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		batches, err := c.Poll(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		for _, b := range batches {
			var lines []string
			for rec, err := range b.Records() {
				if err != nil {
					return err
				}
				lines = append(lines, line(rec))
			}
			part, next := b.Partition(), b.NextOffset()
			if err := db.store(part, at[part], next, lines); err != nil {
				return err
			}
			at[part] = next
		}
	}
}

// database is a storage with a step that is atomic: ledger is one, and so is
// every database that has transactions (see examples/hrsync).
type database interface {
	// position is where to go on in a partition, 0 at first.
	position(partition int32) int64
	// store adds lines and moves the position, both or neither. It refuses to move
	// it from where it is not: a process that is not the last one cannot do harm.
	store(partition int32, from, next int64, lines []string) error
}
