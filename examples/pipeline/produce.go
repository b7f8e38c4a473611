package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat"
)

// producer hands bursts of records over.
type producer struct {
	*leat.Producer
	topic  *leat.Topic
	filler string
	next   []int64 // the number that the next record of each partition has

	stored atomic.Int64 // records that are on stable storage
	once   sync.Once
	err    error // of the first record that could not be stored
	failed func()
}

// minSize is enough for a record's number.
const minSize = 20

func newProducer(st *leat.Store, topic *leat.Topic, s *settings, failed func()) (*producer, error) {
	lp, err := st.Producer(leat.ProducerConfig{
		Linger:      5 * time.Millisecond, // larger batches; nobody waits for them
		BatchBytes:  128 << 10,
		MaxBuffered: s.buffer, // when so much waits for the disk, ProduceAsync waits
	})
	if err != nil {
		return nil, err
	}
	p := &producer{Producer: lp, topic: topic, failed: failed, filler: strings.Repeat("x", s.size-minSize)}
	for part := range topic.Partitions() {
		p.next = append(p.next, part.LogEndOffset())
	}
	return p, nil
}

// bursts produces them, one after the other, with time to spare between.
func (p *producer) bursts(ctx context.Context, s *settings, out io.Writer) error {
	for i := range s.bursts {
		began := time.Now()
		if err := p.burst(ctx, s.burst, out); err != nil {
			return err
		}
		last := i == s.bursts-1
		if last || !sleep(ctx, s.every-time.Since(began)) {
			break
		}
	}
	return nil
}

// burst hands n records over. Then they are the topic's, and the producer is free
// for something else, long before anybody has processed them.
func (p *producer) burst(ctx context.Context, n int, out io.Writer) error {
	began := time.Now()
	for i := 0; i < n && ctx.Err() == nil; i++ {
		p.ProduceAsync(ctx, p.record(), p.done)
	}
	given := time.Since(began)
	// Nobody has to wait for this: it is done to tell when all was stored. What was
	// handed over is stored also when the run is to end.
	if err := p.Flush(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	fmt.Fprintf(out, "burst    handed over in %v, on stable storage after %v\n",
		given.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	return p.err // all callbacks have returned
}

// record makes one of some customer's. Its value begins with the offset that it
// must get if none is lost and none is stored twice: so the ledger can tell.
func (p *producer) record() *leat.Record {
	key := fmt.Appendf(nil, "customer-%d", rand.IntN(10_000))
	id := p.topic.PartitionFor(key) // the one that the producer chooses
	number := p.next[id]
	p.next[id]++
	return &leat.Record{Topic: p.topic.Name(), Key: key, Value: fmt.Appendf(nil, "%-*d%s", minSize, number, p.filler)}
}

// done is told of each record, in the order of its partition, when it is stored, or
// why it is not.
func (p *producer) done(_ *leat.Record, err error) {
	switch {
	case err == nil:
		p.stored.Add(1)
	case errors.Is(err, context.Canceled) && !errors.Is(err, leat.ErrUnknownOutcome):
		// The run has ended while ProduceAsync waited for room: it was not handed over.
	default:
		p.once.Do(func() { p.err = err; p.failed() })
	}
}
