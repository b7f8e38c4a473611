package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/leatlog/leat"
)

// newsEvery is how often a look is taken for new partitions.
const newsEvery = time.Second

// consumer prints what goroutines read, one for each partition: they wait, each
// with one batch in hand at most.
type consumer struct {
	ctx  context.Context
	stop context.CancelFunc
	st   *leat.Store
	o    *consumeOptions
	out  recordWriter
	left int64 // to be printed; negative: no limit

	reading map[int32]*partitionReader
	damaged error // a partition that ended before its end
	open    int   // partitions that have not ended
	next    chan arrival
	readers sync.WaitGroup
}

// arrival is the next batch of a partition, or its end.
type arrival struct {
	from  *partitionReader
	batch *leat.Batch // valid until from.done is told
	err   error
}

type partitionReader struct {
	part   *leat.Partition
	reader *leat.Reader
	skip   int64 // records that are left out
	done   chan struct{}
}

func newConsumer(ctx context.Context, st *leat.Store, o *consumeOptions, out io.Writer) *consumer {
	c := &consumer{st: st, o: o, out: recordWriter{form: o.form, out: out}, left: -1, reading: map[int32]*partitionReader{}, next: make(chan arrival)}
	c.ctx, c.stop = context.WithCancel(ctx)
	if o.max > 0 {
		c.left = o.max
	}
	return c
}

// begin opens the partitions, so that for all of them the end is that of now.
func (c *consumer) begin() error {
	topic, err := c.st.Topic(c.o.topics[0])
	if err != nil {
		return err
	}
	ids := c.o.partitions
	if len(ids) == 0 {
		for p := range topic.Partitions() {
			ids = append(ids, p.ID())
		}
	}
	var readers []*partitionReader
	for _, id := range ids {
		if c.reading[id] != nil {
			continue // named twice
		}
		r, err := c.read(topic, id, c.o.from)
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	if c.out.form == nil {
		c.out.form = offsetForm{alone: len(readers) == 1}
	}
	for _, r := range readers {
		c.start(r)
	}
	return nil
}

// read prepares to read a partition.
func (c *consumer) read(topic *leat.Topic, id int32, at from) (*partitionReader, error) {
	p, err := topic.Partition(id)
	if err != nil {
		return nil, err
	}
	// What is damaged shows only to who waits for what lies behind it.
	if _, err := p.State(c.ctx); err != nil {
		return nil, err
	}
	start, skip, err := at.resolve(c.ctx, p, c.o.isolation)
	if err != nil {
		return nil, err
	}
	r, err := p.Reader(leat.ReaderOptions{From: start, UntilEnd: !c.o.follow, Isolation: c.o.isolation})
	if err != nil {
		return nil, cmp.Or(p.Describe().Err, err)
	}
	c.reading[id] = &partitionReader{part: p, reader: r, skip: skip, done: make(chan struct{})}
	return c.reading[id], nil
}

func (c *consumer) start(r *partitionReader) {
	c.open++
	c.readers.Go(func() {
		for {
			b, err := r.reader.Next(c.ctx)
			select {
			case c.next <- arrival{r, b, err}:
			case <-c.ctx.Done():
				return
			}
			if err != nil {
				return
			}
			select {
			case <-r.done:
			case <-c.ctx.Done():
				return
			}
		}
	})
}

// run prints until all partitions have ended, or enough is printed.
func (c *consumer) run() error {
	news := time.NewTicker(newsEvery)
	defer news.Stop()
	if !c.o.follow || len(c.o.partitions) > 0 {
		news.Stop()
	}
	for c.open > 0 && c.left != 0 {
		var a arrival
		select {
		case a = <-c.next:
		default:
			// Nothing more for now: what there is is shown.
			if err := c.out.flush(); err != nil {
				return err
			}
			select {
			case a = <-c.next:
			case <-news.C:
				if err := c.look(); err != nil {
					return err
				}
				continue
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
		}
		if err := c.print(a); err != nil {
			return err
		}
	}
	return c.damaged
}

// look follows partitions that are new, from their beginning.
func (c *consumer) look() error {
	topic, err := c.st.Topic(c.o.topics[0])
	if err != nil {
		return err
	}
	for p := range topic.Partitions() {
		if c.reading[p.ID()] != nil {
			continue
		}
		r, err := c.read(topic, p.ID(), from{})
		if err != nil {
			return err
		}
		if _, ok := c.out.form.(offsetForm); ok {
			c.out.form = offsetForm{}
		}
		c.start(r)
	}
	return nil
}

// print prints a batch, and lets its reader go on.
func (c *consumer) print(a arrival) error {
	switch {
	case errors.Is(a.err, io.EOF):
		c.open--
		c.damaged = cmp.Or(c.damaged, a.from.part.Describe().Err)
		return nil
	case a.err != nil:
		return c.why(a)
	}
	for r, err := range a.batch.Records() {
		if err != nil {
			return err
		}
		if a.from.skip > 0 {
			a.from.skip--
			continue
		}
		if err := c.out.print(r); err != nil {
			return err
		}
		if c.left > 0 {
			c.left--
		}
		if c.left == 0 || c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
	a.from.done <- struct{}{}
	return nil
}

// why tells what an error means that ends the reading of a partition.
func (c *consumer) why(a arrival) error {
	if errors.Is(a.err, leat.ErrUnknownTopic) {
		return fmt.Errorf("%w: it was deleted", a.err)
	}
	return a.err
}

// end ends all reading, and prints what is left.
func (c *consumer) end() error {
	c.stop()
	c.readers.Wait()
	// Only now: what was being printed lived until here.
	for _, r := range c.reading {
		_ = r.reader.Close()
	}
	return c.out.flush()
}
