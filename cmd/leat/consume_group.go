package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// groupOptions are what consume is told about a group.
type groupOptions struct {
	name        string        // empty: there is none
	pattern     string        // of topics; empty: they are named
	commitEvery time.Duration // how long what was printed may not be committed
}

// defaultCommitEvery is how many records, in time, are printed again after a
// kill, for one sync of the disk.
const defaultCommitEvery = time.Second

// notInGroup are the flags that say where to read, and why a group takes none of
// them.
var notInGroup = []struct{ flag, why string }{
	{"offset", "a group goes on where it stopped; 'leat groups reset' moves it"},
	{"time", "a group goes on where it stopped; 'leat groups reset' moves it"},
	{"last", "a group goes on where it stopped; 'leat groups reset' moves it"},
	{"partition", "a group has all partitions of its topics"},
}

// check tells what a command line says of a group that cannot be meant.
func (o *groupOptions) check(cmd *cobra.Command, topics []string) error {
	f := cmd.Flags()
	if !f.Changed("group") {
		for _, name := range []string{"pattern", "commit-every"} {
			if f.Changed(name) {
				return fmt.Errorf("--%s needs --group", name)
			}
		}
		return oneTopic(cmd, topics)
	}
	for _, n := range notInGroup {
		if f.Changed(n.flag) {
			return fmt.Errorf("--%s and --group: %s", n.flag, n.why)
		}
	}
	switch {
	case o.name == "":
		return errors.New("--group must not be empty")
	case o.commitEvery < 0:
		return errors.New("--commit-every must not be negative")
	case f.Changed("pattern") && o.pattern == "":
		return errors.New("--pattern must not be empty; '.*' is all topics")
	case o.pattern != "" && len(topics) > 0:
		return errors.New("--pattern and a topic: which?")
	case o.pattern == "" && len(topics) == 0:
		return errors.New("which topic?")
	case f.Changed("offsets-only") && (o.pattern != "" || len(topics) > 1):
		return errors.New("--offsets-only is of one topic; --format '%t %p %o' prints as much of several")
	}
	if _, err := regexp.Compile(o.pattern); err != nil {
		return fmt.Errorf("--pattern: %w", err)
	}
	return nil
}

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// groupConsumer prints what a group has not committed, as its only member, and
// commits it behind that: what is committed has been written out before.
type groupConsumer struct {
	o    *consumeOptions
	out  recordWriter
	file *os.File // standard output, where it is a file, which has to be synced
	left int64    // to be printed; negative: no limit

	st      *leat.Store
	c       *leat.Consumer
	drained func()                  // called when there is nothing to be read
	done    map[place]leat.Position // printed, and not committed
	due     time.Time               // when that is to be committed
	cut     bool                    // not all that Poll has given is printed, or it is not known yet
}

// consumeInGroup prints until the end, whatever that is.
func consumeInGroup(ctx context.Context, o *consumeOptions, stdout, stderr io.Writer) error {
	g := &groupConsumer{o: o, out: recordWriter{form: o.form, out: stdout}, left: -1, done: map[place]leat.Position{}}
	if o.max > 0 {
		g.left = o.max
	}
	if f, ok := stdout.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			g.file = f
		}
	}
	st, err := openExisting(o.dir, nil)
	for err == nil {
		var at []leat.Position
		at, err = g.turn(ctx, st)
		if err != nil || !o.follow || g.left == 0 {
			break
		}
		// Nothing can be appended as long as the store is in this process: others get
		// it while there is nothing to do.
		if err = awaitNews(ctx, o, at); err == nil {
			st, err = reopen(ctx, o.dir, stderr)
		}
	}
	return explainOffset(err, o.group.name)
}

// turn prints all that there is in the store, closes it, and tells where that
// ended. As the store is in this process alone, that is all that there will be.
func (g *groupConsumer) turn(ctx context.Context, st *leat.Store) (at []leat.Position, err error) {
	defer closing(st, &err)
	g.st = st
	if g.out.form == nil {
		t, err := st.Topic(g.o.topics[0])
		if err != nil {
			return nil, err
		}
		g.out.form = offsetForm{alone: len(t.Describe().Partitions) == 1}
	}
	g.c, err = st.Consumer(leat.ConsumerConfig{
		Group: g.o.group.name, Topics: g.o.topics, Pattern: g.o.group.pattern, Isolation: g.o.isolation,
		// Who reads the output may take his time: nobody else waits for the partitions.
		PollTimeout: leat.Unlimited,
		OnAssign: func(_ context.Context, _ *leat.Consumer, parts []leat.Position) {
			if !g.behind(parts) {
				g.drained()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	err = g.run(ctx)
	// What was printed is committed however it ended, unless who read it has gone:
	// what is left in a pipe nobody has had.
	if !isPipe(context.Cause(ctx)) {
		if cerr := g.commit(context.WithoutCancel(ctx)); cerr != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = cerr
		}
	}
	at = g.c.Assignment()
	if cerr := g.c.Close(); err == nil {
		err = cerr
	}
	return at, err
}

// run prints until there is no more, or enough is printed.
func (g *groupConsumer) run(ctx context.Context) error {
	for g.left != 0 {
		batches, err := g.poll(ctx)
		if err != nil {
			return err
		}
		if err := g.print(ctx, batches); err != nil {
			return err
		}
		if !g.due.IsZero() && !time.Now().Before(g.due) {
			if err := g.commit(ctx); err != nil {
				return err
			}
		}
		if len(batches) == 0 || !g.behind(g.c.Assignment()) {
			return nil
		}
	}
	return nil
}

// poll is Poll that does not wait for what is not there: no batch.
func (g *groupConsumer) poll(ctx context.Context) ([]*leat.Batch, error) {
	// At the end may be what nobody is given, like markers of transactions: then
	// Poll waits behind them, and only the positions tell. A wait that is too short
	// is followed by another.
	const look = 100 * time.Millisecond
	for {
		polling, stop := context.WithTimeout(ctx, look)
		g.drained = stop
		batches, err := g.c.Poll(polling)
		stop()
		switch {
		case err == nil:
			return batches, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
			return nil, err
		case !g.behind(g.c.Assignment()):
			return nil, nil
		}
	}
}

// behind tells whether there is something to be read at one of the positions,
// or something wrong with it, which Poll tells.
func (g *groupConsumer) behind(at []leat.Position) bool {
	for _, p := range at {
		t, err := g.st.Topic(p.Topic)
		if err != nil {
			return true
		}
		part, err := t.Partition(p.Partition)
		if err != nil {
			return true
		}
		end := part.HighWatermark()
		if g.o.isolation == leat.ReadCommitted {
			end = min(end, part.LastStableOffset())
		}
		if p.Offset < end || p.Offset > part.LogEndOffset() {
			return true
		}
	}
	return false
}

// print prints what Poll has given, or as much as is wanted.
func (g *groupConsumer) print(ctx context.Context, batches []*leat.Batch) error {
	if g.due.IsZero() {
		g.due = time.Now().Add(g.o.group.commitEvery)
	}
	g.cut = true
	for _, b := range batches {
		at := leat.Position{Topic: b.Topic(), Partition: b.Partition()}
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			if ctx.Err() != nil || g.left == 0 {
				return ctx.Err()
			}
			if err := g.out.print(r); err != nil {
				return err
			}
			at.Offset = r.Offset + 1
			g.done[place{at.Topic, at.Partition}] = at
			if g.left > 0 {
				g.left--
			}
			// Just written out, which takes as long as who reads it takes: what Poll
			// has given may be there for hours.
			if len(g.out.buf) == 0 && !time.Now().Before(g.due) {
				if err := g.commit(ctx); err != nil {
					return err
				}
				g.due = time.Now().Add(g.o.group.commitEvery)
			}
		}
		at.Offset = b.NextOffset()
		g.done[place{at.Topic, at.Partition}] = at
	}
	g.cut = false
	return nil
}

// commit writes out what was printed, and then commits it.
func (g *groupConsumer) commit(ctx context.Context) error {
	if err := g.out.flush(); err != nil {
		return err
	}
	if g.file != nil && len(g.done) > 0 {
		// As durable as the commit will be, or a power cut could leave that alone.
		if err := g.file.Sync(); err != nil {
			return writeError(err)
		}
	}
	var at []leat.Position // none: all that was given, and what lies behind it that nobody is given
	if g.cut {
		if len(g.done) == 0 {
			return nil
		}
		at = slices.Collect(maps.Values(g.done))
	}
	if err := g.c.Commit(ctx, at...); err != nil {
		return &regarding{fmt.Sprintf("group %s: what was printed is not committed, and will be printed again", printable(g.o.group.name)), err}
	}
	clear(g.done)
	g.due = time.Time{}
	return nil
}
