package log

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/segment"
)

// Compact cleans the log once: as many of its dirty segments as the map holds the
// keys of. The result's To is the first dirty offset of the next round; it is From
// when there was nothing to clean. Another cleaning of this log is waited for.
//
// An error leaves every segment that was not replaced as it was; what had been
// replaced stays. errors.Is(err, ErrSuperseded): the log was truncated or reset
// meanwhile, try again. ctx is looked at between two chunks. A *CorruptError says
// where the log is damaged: it is not cleaned then.
//
// (It is not called Clean, which tells whether the log was closed in order.)
func (l *Log) Compact(ctx context.Context, o CleanOptions) (Cleaned, error) {
	begun := time.Now()
	ctx, end, err := l.cleaning.begin(ctx, l)
	if err != nil {
		return Cleaned{}, err
	}
	defer end()
	c := &cleaner{l: l, ctx: ctx, o: o, now: o.Now.UnixMilli(), pace: pace{rate: o.Rate}, upper: -1}
	defer c.release()
	err = c.round()
	c.done.Duration = time.Since(begun)
	if err != nil && l.closed.Load() {
		err = ErrClosed
	}
	return c.done, spaceError(err)
}

// cleaning sees to it that a log is cleaned by one at a time, and that Close ends
// a cleaning instead of waiting for it.
type cleaning struct{ now atomic.Pointer[running] }

// running is the one that runs.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when it has ended
}

// begin waits for the turn. What it returns must be called.
func (c *cleaning) begin(ctx context.Context, l *Log) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{cancel, make(chan struct{})}
	for !c.now.CompareAndSwap(nil, r) {
		other := c.now.Load()
		if other == nil {
			continue
		}
		select {
		case <-other.ended:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			cancel()
			return nil, nil, err
		}
	}
	err = ctx.Err()
	if err == nil {
		err = l.holdOpen()
	}
	if err != nil {
		c.finish(r)
		return nil, nil, err
	}
	return ctx, func() { c.finish(r); l.work.Done() }, nil
}

func (c *cleaning) finish(r *running) {
	r.cancel()
	c.now.Store(nil)
	close(r.ended)
}

// stop ends the cleaning that runs, soon.
func (c *cleaning) stop() {
	if r := c.now.Load(); r != nil {
		r.cancel()
	}
}

// holdOpen makes Close wait for l.work.Done, unless the log refuses appends.
func (l *Log) holdOpen() error {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return err
	}
	l.work.Add(1)
	return nil
}

// cleaner is one round under way.
type cleaner struct {
	l   *Log
	ctx context.Context
	o   CleanOptions
	now int64

	generation int64 // of the log, when the round began
	from       int64 // the first dirty offset
	upper      int64 // the first uncleanable offset
	latest     int64 // every key of [from, latest] is in the map
	hash       keyHash
	keys       *keyMap
	txns       *cleanedTxns
	producers  map[int64]lastRecord
	out        cleanedSegment // what the current group is cleaned into
	left       int64          // bytes of the group that are still to be read
	wrote      int64          // bytes for out, of all groups
	pace       pace
	progress   CleanProgress
	done       Cleaned

	buf     segment.Buffer
	decoder codec.Decoder
	plain   *[]byte // a payload that was unpacked
	packing *[]byte // one that is to be packed
	record  int     // of the decoder's next
	probes  []probe
	keep    []uint64 // which records of a batch stay, a bit each
	kept    int      // how many do
	tombs   bool     // a tombstone is among them
	raw     []byte   // batches for out, and what it must know of them
	run     []segment.Placed
}

// cleanedSegment is what segments are cleaned into.
type cleanedSegment interface {
	append(raw []byte, run []segment.Placed) error
	abort(t index.AbortedTxn) error
	size() int64
}

const (
	cleanChunk    = 1 << 20 // bytes between two looks at the clock and ctx
	maxCleanedLog = 1<<31 - 1
)

func (c *cleaner) release() {
	for _, b := range []*[]byte{c.plain, c.packing} {
		if b != nil {
			c.l.env.release(b)
		}
	}
}

func (c *cleaner) round() error {
	l := c.l
	c.generation = l.generation.Load()
	d, err := l.Dirty(c.o)
	if err != nil {
		return err
	}
	c.from, c.upper, c.latest = d.From, d.To, d.From-1
	c.done.From, c.done.To = d.From, d.From
	if d.DirtyBytes == 0 && d.From >= d.To {
		return nil
	}
	list := l.segments.Load()
	if i := list.find(d.To - 1); i >= 0 { // under Written they wait for a timed flush otherwise
		if err := l.awaitSealed(c.ctx, list.segs[:i+1]); err != nil {
			return err
		}
	}
	c.progress.Total = d.DirtyBytes + l.bytesBelow(d.To)
	for {
		first := l.segments.Load().bases[0]
		err := c.mapKeys()
		if err == nil {
			break
		}
		if !errors.Is(err, errSuperseded) || c.truncated() != nil || l.segments.Load().bases[0] == first {
			return err
		}
		// Retention has taken what was being read: once more, from where it is now.
		c.from = max(c.from, min(l.start.Load(), d.To))
		c.latest = c.from - 1
		c.progress.Total += c.progress.Done
	}
	if err := c.copySegments(); err != nil {
		return err
	}
	c.done.To = c.latest + 1
	return nil
}

// bytesBelow is the size of the segments that begin below an offset.
func (l *Log) bytesBelow(offset int64) (n int64) {
	for _, s := range l.segments.Load().segs {
		if s.Base() < offset {
			n += s.Size()
		}
	}
	return n
}

// mapKeys is the first pass.
func (c *cleaner) mapKeys() error {
	l := c.l
	c.hash = newKeyHash()
	c.keys = newKeyMap(c.o.MapBytes, c.upper-c.from)
	defer func() { c.done.Keys, c.done.MapBytes = int64(c.keys.n), c.keys.bytes() }()
	c.txns = newCleanedTxns()
	aborted, err := l.AbortedTxns(c.from, c.upper, nil)
	if err != nil {
		return err
	}
	c.txns.add(aborted)
	list := l.segments.Load()
	i := max(list.find(c.from), 0)
	for ; i < len(list.segs)-1 && list.bases[i] < c.upper; i++ {
		full := false
		err := c.eachBatch(list, i, c.from, func(b codec.Batch) (bool, error) {
			var err error
			full, err = c.mapBatch(b)
			return !full, err
		})
		if err != nil {
			return err
		}
		if full {
			c.progress.Total = c.progress.Done + l.bytesBelow(c.latest+1)
			return nil
		}
		c.latest = max(c.latest, min(list.bases[i+1], c.upper)-1) // a gap behind the last batch is nobody's
	}
	return nil
}

// mapBatch takes the keys of a batch into the map. full says that they do not all
// fit: the round ends before this batch, or inside of it when it is the first,
// since a round must get on.
func (c *cleaner) mapBatch(b codec.Batch) (full bool, err error) {
	switch {
	case b.IsControl():
		_, _, err = c.txns.control(b)
	case c.txns.data(b):
	default:
		full, err = c.mapRecords(b)
	}
	if err == nil && !full {
		c.latest = max(c.latest, b.LastOffset())
	}
	return full, err
}

func (c *cleaner) mapRecords(b codec.Batch) (full bool, err error) {
	if err := c.decode(b); err != nil {
		return false, err
	}
	first := c.latest < c.from
	for more := true; more; {
		if more, err = c.gather(c.from, noOffset); err != nil {
			return false, err
		}
		for i := range c.probes {
			p := &c.probes[i]
			if !c.keys.put(p.key, p.offset) {
				return true, nil
			}
			if first {
				c.latest = p.offset
			}
		}
	}
	return false, nil
}

// gather makes the next records of the batch that have a key, and offsets from
// from up to latest, the probes. more says that there are others behind them.
func (c *cleaner) gather(from, latest int64) (more bool, err error) {
	c.probes = c.probes[:0]
	var r codec.Record
	for len(c.probes) < maxProbes {
		err := c.decoder.Next(&r)
		if err == io.EOF {
			c.keys.touch(c.probes)
			return false, nil
		}
		if err != nil {
			return false, err
		}
		i := c.record
		c.record++
		switch {
		case r.Offset > latest:
			c.keepRecord(i, r.Value == nil)
		case r.Key != nil && r.Offset >= from:
			c.probes = append(c.probes, probe{c.hash.sum(r.Key), r.Offset, i, r.Value != nil})
		}
	}
	c.keys.touch(c.probes)
	return true, nil
}

// decode begins with the records of a batch.
func (c *cleaner) decode(b codec.Batch) error {
	if c.plain == nil {
		c.plain = c.l.env.buffer()
	}
	payload, err := codec.Unpack(b, *c.plain, c.l.env.coders, MaxUnpacked)
	if err != nil {
		return err
	}
	if b.Compression() != 0 && payload != nil {
		*c.plain = payload
	}
	c.record = 0
	return c.decoder.Reset(b, payload)
}
