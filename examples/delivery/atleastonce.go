package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/leatlog/leat"
)

// atLeastOnce processes, then commits. A record that was processed and not yet
// committed when the process died comes again: the next one begins with it. None is
// lost. It is the form for most work, with processing that does no harm when it
// is repeated, as an upsert by key.
func atLeastOnce(ctx context.Context, c consumer, to sink) error {
	for {
		batches, err := c.Poll(ctx)
		if err != nil {
			return err
		}
		for _, b := range batches {
			for rec, err := range b.Records() {
				if err != nil {
					return err
				}
				if err := to.process(rec); err != nil {
					return err
				}
			}
		}
		// A commit survives a power cut: what it stands for has to do so before.
		if err := to.sync(); err != nil {
			return err
		}
		// ErrRebalanced: it took so long that others have the partitions by now, and do
		// the records again. What this consumer still has, the next commit is about.
		if err := c.Commit(ctx); err != nil && !errors.Is(err, leat.ErrRebalanced) {
			return err
		}
	}
}

// sink is what records are processed into.
type sink interface {
	process(*leat.Record) error
	sync() error
}

// table is a file of rows, the row of id n being the nth. To put one there twice,
// or ten times, is the same as once: that is what makes repeats harmless.
type table struct{ file *os.File }

const rowBytes = 16 // a power of two, so that no row is on two pages

func row(id, amount int) string { return fmt.Sprintf("%7d %7d\n", id, amount) }

func (t table) upsert(id, amount int) error {
	_, err := t.file.WriteAt([]byte(row(id, amount)), int64(id-1)*rowBytes)
	return err
}
