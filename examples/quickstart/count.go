package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/leatlog/leat"
)

// count reads what the group "counter" has not read yet, and counts it by status
// code. The counts of a partition are committed with the position that they belong
// to, as its metadata. So every record is counted once, whenever the process ends.
func count(ctx context.Context, st *leat.Store, out io.Writer) (err error) {
	totals, waiting, err := resume(ctx, st, out)
	if err != nil {
		return err
	}
	c, err := st.Consumer(leat.ConsumerConfig{Group: "counter", Topics: []string{"access"}, MaxBytes: pollBytes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	var t tally
	stored, status := 0, counts{}
	t.start()
	for int64(t.records) < waiting {
		batches, err := c.Poll(ctx)
		if err != nil {
			return err
		}
		for _, b := range batches {
			stored += len(b.Bytes())
			// A record's slices point into the consumer's buffer (where nothing is
			// compressed, into the file itself) and live for one turn.
			for rec, err := range b.Records() {
				if err != nil {
					return err
				}
				t.add(rec)
				code := statusOf(rec.Value)
				status.add(code)
				totals[rec.Partition].add(code)
			}
		}
		done := c.Assignment() // each position is one past the last record
		for i := range done {
			done[i].Metadata = totals[done[i].Partition].String()
		}
		// On stable storage when it returns nil.
		if err := c.Commit(ctx, done...); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "read     %s, after opening again\n", t.rate())
	if stored > 0 {
		fmt.Fprintf(out, "stored   %.2f MB as zstd batches: compressed %.1f to 1\n", float64(stored)/1e6, float64(t.bytes)/float64(stored))
	}
	fmt.Fprintf(out, "status   %v\n", status)
	all := counts{}
	for _, n := range totals {
		all.merge(n)
	}
	if all.sum() > status.sum() {
		fmt.Fprintf(out, "total    %v, of all runs\n", all)
	}
	return nil
}

// resume takes the counts of earlier runs from what they have committed. It says
// where the group goes on, and how many records are waiting for it.
func resume(ctx context.Context, st *leat.Store, out io.Writer) (totals map[int32]counts, waiting int64, err error) {
	access, err := st.Topic("access")
	if err != nil {
		return nil, 0, err
	}
	totals = map[int32]counts{}
	var from []string
	for p := range access.Partitions() {
		at, err := st.Groups().Fetch(ctx, "counter", true, leat.Position{Topic: "access", Partition: p.ID()})
		if err != nil {
			return nil, 0, err
		}
		if totals[p.ID()], err = parseCounts(at[0].Metadata); err != nil {
			return nil, 0, err
		}
		lag, err := p.Lag(at[0].Offset, leat.ReadCommitted)
		if err != nil {
			return nil, 0, err
		}
		waiting += lag.Records
		if at[0].Offset >= 0 { // else nothing is committed
			from = append(from, fmt.Sprintf("%v@%d", p, at[0].Offset))
		}
	}
	if len(from) > 0 {
		fmt.Fprintf(out, "group    counter goes on at %s\n", strings.Join(from, ", "))
	}
	return totals, waiting, nil
}

// pollBytes is what Poll gives at a time, and what is counted again when the process
// ends in the middle of it.
var pollBytes = 1 << 20
