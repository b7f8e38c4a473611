package leat

import (
	"context"
	"math"
	"time"

	"github.com/leatlog/leat/log"
)

// gather is what a reader with MinBytes waits with.
type gather struct {
	min     int64
	maxWait time.Duration
	watch   [1]log.Watch
}

// newGather checks the options; nil: there is nothing to gather.
func newGather(o ReaderOptions) (*gather, error) {
	switch {
	case o.MinBytes < 0:
		return nil, invalidConfig("ReaderOptions.MinBytes is %d: it must not be negative", o.MinBytes)
	case o.MaxWait < 0:
		return nil, invalidConfig("ReaderOptions.MaxWait is %v: it must not be negative", o.MaxWait)
	case o.MinBytes <= 1:
		return nil, nil // one byte is a batch, for which every reader waits
	}
	return &gather{min: int64(o.MinBytes), maxWait: o.MaxWait}, nil
}

// gatherFrom makes the reader gather before it goes on at offset.
func (r *Reader) gatherFrom(offset int64) {
	if r.gather != nil {
		r.limit = min(r.limit, offset)
	}
}

// wait waits until there is enough behind the reader, or to say about it.
func (g *gather) wait(ctx context.Context, r *Reader) error {
	until := r.until
	if until == math.MaxInt64 {
		until = 0
	}
	g.watch[0] = log.Watch{Log: r.log, Offset: r.offset}
	return r.wait.WaitFor(ctx, g.watch[:], log.WaitOptions{MinBytes: g.min, Committed: r.committed, Until: until, MaxWait: g.maxWait})
}
