package leat

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/log"
)

// Reader walks one partition, for one goroutine, and keeps one batch readable at
// a time. It costs nobody anything: not the writer, not retention, not other
// readers. Close it when done.
type Reader struct {
	p         *Partition
	log       *log.Log
	cur       *log.Cursor
	wait      *log.Waiter
	committed bool
	untilEnd  bool
	until     int64

	offset int64 // the next to read
	asked  int64 // where it was last set to: records below it are left out
	limit  int64 // what could be seen when last looked
	epoch  int32 // leader epoch of the last batch, -1 before

	gather *gather // with MinBytes; else nil

	batch   *Batch // the last one given
	count   log.ReadCount
	waited  bool // for the batch to be given next
	aborted abortedTxns
	moves   int // counts SeekTo, for a loop that it happens in
	closed  bool
}

// Reader returns a reader of the partition. *OffsetError: From is an offset that
// is not there, see At.
func (p *Partition) Reader(o ReaderOptions) (*Reader, error) {
	l, err := p.use()
	if err != nil {
		return nil, err
	}
	if err := p.topic.usable(); err != nil {
		return nil, err
	}
	if o.Isolation > ReadUncommitted {
		return nil, invalidConfig("ReaderOptions.Isolation is %v", o.Isolation)
	}
	if o.Until < 0 {
		return nil, invalidConfig("ReaderOptions.Until is %d: it must not be negative", o.Until)
	}
	g, err := newGather(o)
	if err != nil {
		return nil, err
	}
	r := &Reader{p: p, log: l, cur: l.NewCursor(0), wait: log.NewWaiter(), committed: o.Isolation == ReadCommitted, until: math.MaxInt64, epoch: -1, gather: g}
	if o.Until > 0 {
		r.until = o.Until
	}
	r.limit = l.Visible(r.committed)
	for try := 0; !r.cur.Settled() && try < settleTries; try++ {
		r.cur.Restart() // a follower that is beginning anew would make the end too low
		r.limit = l.Visible(r.committed)
	}
	if o.UntilEnd {
		r.until, r.untilEnd = min(r.until, r.limit), true
	}
	if r.offset, err = p.resolve(o.From, l, r.committed); err != nil {
		return nil, err
	}
	r.asked = r.offset
	r.gatherFrom(r.offset)
	r.cur.SeekTo(r.offset)
	r.count = l.NewReadCount()
	r.batch = r.newBatch()
	return r, nil
}

// settleTries is how often a reader that is made looks again when the writer, in
// another process, is changing what it looks at.
const settleTries = 100

func (r *Reader) newBatch() *Batch {
	return &Batch{topic: r.p.topic.name, partition: r.p.id, coders: r.p.topic.store.env.Coders()}
}

// Next returns the next batch, waiting for one, or for ReaderOptions.MinBytes, if
// it has to. The batch is valid
// until the next call; Batch.Retain keeps it. A batch that a position lies inside
// is given whole, and so is the last one below Until; Batch.Records leaves out
// the records outside.
//
// io.EOF: Until, or with UntilEnd the end, is reached. Other errors leave the
// reader where it was: ctx's; *OffsetError, when the log no longer has the
// position, *CorruptError, when the data there is damaged (SeekTo leads around
// both); ErrFailed, when the partition has failed while the reader waited;
// ErrUnknownTopic, when the topic was deleted; ErrClosed. After ErrClosed and
// ErrUnknownTopic the last batch stays readable until the reader is closed.
func (r *Reader) Next(ctx context.Context) (*Batch, error) {
	if r.closed {
		return nil, ErrClosed
	}
	return r.next(ctx, ctx)
}

// next is Next, but that it waits for nothing any longer than wait lasts.
func (r *Reader) next(ctx, wait context.Context) (*Batch, error) {
	begin := r.count.Begin()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.offset >= r.until {
			r.batch.Release()
			r.count.Publish()
			return nil, io.EOF
		}
		if r.cur.Offset() != r.offset {
			if err := r.p.topic.usable(); err != nil {
				return nil, err // with the last batch still there
			}
			r.batch.Release()
			r.cur.SeekTo(r.offset)
		}
		raw, err := r.cur.Next(r.limit)
		if err == nil {
			var ok bool
			if ok, err = r.take(raw); ok {
				if r.waited {
					r.waited, begin = false, 0
					r.count.Waited(raw.MaxTimestamp())
				}
				r.count.Batch(begin, int(raw.RecordCount()), len(raw))
				return r.batch, nil
			}
		} else if err == log.ErrWait {
			err = r.more(wait)
		}
		if err != nil {
			if err = r.recover(wait, err); err != nil {
				return nil, err
			}
		}
	}
}

// take makes a batch of what the cursor found, unless it is not for the caller.
func (r *Reader) take(raw codec.Batch) (ok bool, err error) {
	r.batch.Release() // the cursor has moved: its bytes are gone
	if raw.BaseOffset() >= r.until {
		r.offset = r.until
		return false, nil
	}
	if r.committed && raw.IsTransactional() && !raw.IsControl() {
		aborted, err := r.aborted.contains(r.log, raw)
		if err == nil && r.cur.Restarted() {
			err = log.ErrRestarted
		}
		if err != nil {
			return false, err // offset stays: the cursor is set back by the next call
		}
		if r.cur.Stale() {
			return false, log.ErrTruncated // they may be those of another log
		}
		if r.cur.Replaced() {
			return false, nil // they may lack this one's: it is read again where it is now
		}
		if aborted {
			r.offset = raw.NextOffset()
			return false, nil
		}
	}
	r.offset, r.epoch = raw.NextOffset(), raw.LeaderEpoch()
	if raw.IsControl() || raw.RecordCount() == 0 {
		return false, nil
	}
	b := r.batch
	if debugSlices {
		// A batch that is kept must not become the next one.
		b = r.newBatch()
		raw = append(make(codec.Batch, 0, len(raw)), raw...)
		r.batch = b
	}
	b.raw, b.cur, b.from, b.until = raw, r.cur, r.asked, r.until
	return true, nil
}

// more looks whether there is more to see than before, and waits for it if not.
func (r *Reader) more(ctx context.Context) error {
	if r.gather != nil {
		if err := r.gather.wait(ctx, r); err != nil {
			return err
		}
	}
	if limit := r.log.Visible(r.committed); limit > r.limit {
		r.limit = limit
		return nil
	}
	if r.untilEnd && r.limit >= r.until {
		r.offset = r.until // nothing below it is left
		return nil
	}
	r.count.Publish()
	r.waited = true
	if err := r.log.Wait(ctx, r.wait, max(r.offset, r.limit), r.committed); err != nil {
		r.waited = false
		return err
	}
	r.limit = r.log.Visible(r.committed)
	return nil
}

// recover goes on in the log that has taken the place of a failed one, after
// Partition.Reopen, and in one that was truncated. Other errors are the caller's.
func (r *Reader) recover(ctx context.Context, err error) error {
	if err == log.ErrTruncated {
		return r.truncated()
	}
	if err == log.ErrRestarted {
		return r.restart(ctx)
	}
	if !errors.Is(err, ErrClosed) {
		return err
	}
	if err := r.p.settled(ctx); err != nil {
		return err
	}
	l := r.p.log.Load()
	if uerr := r.p.topic.usable(); uerr != nil || l == r.log {
		return r.p.fail(err)
	}
	r.batch.Release()
	r.cur.Close()
	r.count.Publish()
	r.count = l.NewReadCount()
	r.log, r.cur, r.wait = l, l.NewCursor(r.offset), log.NewWaiter()
	r.limit, r.aborted = l.Visible(r.committed), abortedTxns{}
	r.gatherFrom(r.offset)
	return r.survived()
}

// settled waits for a Reopen that is under way.
func (p *Partition) settled(ctx context.Context) error {
	select {
	case p.opening <- struct{}{}:
		<-p.opening
		return nil
	default:
	}
	select {
	case p.opening <- struct{}{}:
		<-p.opening
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// survived tells whether what was read is still there. If not, the epoch that it
// was written in ended before, and what is there now under these offsets are
// other records (KIP-320).
func (r *Reader) survived() error {
	if r.epoch >= 0 {
		if _, end := r.log.EndOffsetForEpoch(r.epoch); end >= 0 && end < r.offset {
			return &OffsetError{Topic: r.p.topic.name, Partition: r.p.id, Offset: r.offset, Start: r.log.LogStartOffset(), End: end}
		}
	}
	return nil
}

// restart goes on when the writer, in another process, has begun anew.
func (r *Reader) restart(ctx context.Context) error {
	if err := r.log.Settle(ctx); err != nil {
		return r.p.fail(err)
	}
	r.batch.Release()
	r.cur.Restart() // first: if it happens once more, the look is repeated
	if err := r.survived(); err != nil {
		r.cur.Expire() // so that it is said again, until SeekTo leads elsewhere
		return err
	}
	r.limit, r.aborted = r.log.Visible(r.committed), abortedTxns{}
	if r.untilEnd && r.cur.Settled() { // else the look is repeated
		r.until = min(r.until, r.limit)
	}
	return nil
}

// Records yields record after record, as Next gives batches: waiting for more,
// and ending at Until or the end. Each lives for one turn of the loop;
// Record.Clone keeps it. An error ends the loop. After a loop that was left, the
// reader stands behind the last record that it gave.
func (r *Reader) Records(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) { r.each(ctx, yield) }
}

func (r *Reader) each(ctx context.Context, yield func(*Record, error) bool) {
	for {
		b, err := r.Next(ctx)
		if err != nil {
			if err != io.EOF {
				yield(nil, err)
			}
			return
		}
		next, moves := r.offset, r.moves
		r.offset = b.BaseOffset() // in case the first record cannot be read
		r.offset = max(r.offset, r.asked)
		all := b.each(func(rec *Record, err error) bool {
			if err != nil {
				yield(nil, err)
				return false
			}
			r.offset = rec.Offset + 1
			r.asked = r.offset
			return yield(rec, nil) && r.moves == moves
		})
		if r.moves != moves {
			continue
		}
		if !all {
			return
		}
		r.offset, r.asked = next, next
	}
}

// SeekTo moves the reader, also inside a loop over Records. The batch it gave
// last is no longer valid. *OffsetError: the offset is below the log start offset
// or beyond the log end offset.
func (r *Reader) SeekTo(offset int64) error {
	if r.closed {
		return ErrClosed
	}
	if err := r.p.topic.usable(); err != nil {
		return err
	}
	if err := r.p.checkRange(r.log, offset); err != nil {
		return err
	}
	r.batch.Release()
	r.offset, r.asked, r.epoch = offset, offset, -1
	r.gatherFrom(offset)
	r.moves++
	return nil
}

// Offset is where the reader stands: the offset to be read next.
func (r *Reader) Offset() int64 { return r.offset }

// Close ends the life of the last batch and lets go of the log. A second Close
// does nothing.
func (r *Reader) Close() error {
	if !r.closed {
		r.closed = true
		r.count.Publish()
		r.batch.Release()
		r.cur.Close()
	}
	return nil
}
