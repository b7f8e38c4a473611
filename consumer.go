package leat

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Consumer reads the partitions that it is assigned: by its group, all of its
// topics, or those that Assign names. It is for one goroutine; run several
// consumers in a group to share the work.
//
// Two calls at once are ErrConcurrentUse for the one that comes second; methods
// that return no error do nothing then. What ends a Poll of another goroutine is
// that one's context, or Store.Close. OnAssign and OnRevoke may call every method
// but Poll, Records, Assign and Close.
//
// A position is the offset of what comes next: behind the batches that Poll has
// given, and in a loop over Records behind the record of the present turn.
type Consumer struct {
	store   *Store
	config  ConsumerConfig
	logger  func(msg string, args ...any) // at Warn
	state   atomic.Uint32                 // see enter
	closed  bool
	ended   atomic.Bool // the store is closed
	feeds   []*feed     // assigned, by topic and partition
	byPart  map[log.TopicPartition]*feed
	gone    map[log.TopicPartition]struct{} // were, and were taken away
	turn    int                             // of the feeds: where to go on
	burst   int                             // bytes that Records has given of that one
	failing *feed                           // it has failed, and that was not told yet

	wait    *log.Waiter
	watched []log.Watch

	// Of the last Poll:
	polls  int // how many there were
	given  []*Batch
	served []*feed
	bytes  int

	spare   []*Batch // to be given again
	blank   *Batch   // for the next batch that is found
	held    segment.Held
	reading atomic.Pointer[reading]

	auto   autoCommit
	member *member // nil: Assign says what to consume
	todo   change  // what the group has told, and is not done yet
	pulse  pulse
}

const defaultMaxBytes = 1 << 20 // as Kafka's max.partition.fetch.bytes

// Consumer returns a consumer. ErrInvalidConfig says which value is not allowed;
// ErrUnknownTopic: one of Topics is not there; ErrMemberExists; ErrReadOnly: the store
// is open for reading, and cannot keep positions of a Group; *CorruptError and
// ErrFailed: nobody can read what the group has committed; ErrClosed. Close it when
// done.
func (s *Store) Consumer(c ConsumerConfig) (*Consumer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Group != "" && s.follow != nil {
		return nil, ErrReadOnly
	}
	c.Topics = slices.Clone(c.Topics)
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	r := &Consumer{store: s, config: c, logger: s.logger.Warn, wait: log.NewWaiter(), byPart: map[log.TopicPartition]*feed{},
		gone: map[log.TopicPartition]struct{}{}}
	if !s.consumers.add(r) {
		return nil, ErrClosed
	}
	if err := r.join(); err != nil {
		s.consumers.remove(r)
		return nil, err
	}
	return r, nil
}

func (c *ConsumerConfig) check() error {
	switch {
	case len(c.Topics) > 0 && c.Pattern != "":
		return invalidConfig("ConsumerConfig has both Topics and a Pattern")
	case c.OutOfRange > OutOfRangeLatest:
		return invalidConfig("ConsumerConfig.OutOfRange is %v", c.OutOfRange)
	case c.Isolation > ReadUncommitted:
		return invalidConfig("ConsumerConfig.Isolation is %v", c.Isolation)
	case c.AutoCommit < 0:
		return invalidConfig("ConsumerConfig.AutoCommit is %v: it must not be negative", c.AutoCommit)
	case c.AutoCommit > 0 && c.Group == "":
		return invalidConfig("ConsumerConfig.AutoCommit needs a Group")
	case c.Member != "" && c.Group == "":
		return invalidConfig("ConsumerConfig.Member needs a Group")
	case max(len(c.Group), len(c.Member)) > maxGroupName:
		return invalidConfig("ConsumerConfig has a Group of %d bytes, and a Member of %d: allowed are up to %d", len(c.Group), len(c.Member), maxGroupName)
	case c.PollTimeout < Unlimited:
		return invalidConfig("ConsumerConfig.PollTimeout is %v: it must not be negative", c.PollTimeout)
	case c.MinBytes < 0:
		return invalidConfig("ConsumerConfig.MinBytes is %d: it must not be negative", c.MinBytes)
	case c.MaxBytes < 0:
		return invalidConfig("ConsumerConfig.MaxBytes is %d: it must not be negative", c.MaxBytes)
	case c.MaxWait < 0:
		return invalidConfig("ConsumerConfig.MaxWait is %v: it must not be negative", c.MaxWait)
	case c.Start.kind == startLastN && c.Start.n < 0:
		return invalidConfig("LastN is %d: it must not be negative", c.Start.n)
	case c.Start.kind == startAt && c.Start.n < 0:
		return invalidConfig("At is %d: it must not be negative", c.Start.n)
	}
	return nil
}

// Poll returns the batches that come next, of one partition or of several, each
// in its order: those that are there, up to MaxBytes, or else it waits for some.
// The slice and the batches are valid until the next Poll, turn of Records, or
// Close; Batch.Retain keeps one. A batch that a position lies inside is given
// whole; Batch.Records leaves out the records before. The partitions take turns.
//
// An error loses nothing: the next Poll goes on where this one would have. What is
// wrong with one partition is a *PartitionError, and does not stop the others:
// they are read first, and go on in the calls after. Errors to expect there are
// *OffsetError (the position is not there, see OutOfRange), *CorruptError,
// ErrFailed (see Partition.Reopen) and ErrUnknownTopic (deleted); each comes again
// until it is mended, or Seek, Pause or Assign leads around it. Other errors are
// ctx's; ErrClosed; ErrNotAssigned, when nothing ever was; ErrConcurrentUse; and
// what came of an automatic commit, once.
func (c *Consumer) Poll(ctx context.Context) ([]*Batch, error) {
	if err := c.enter("Poll"); err != nil {
		return nil, err
	}
	defer c.leave()
	if _, err := c.poll(ctx, c.config.MaxBytes); err != nil {
		return nil, err
	}
	return c.given, nil
}

// Records yields record after record, as Poll gives batches, and returns only
// with an error, which ends the loop. Each record lives for one turn of the loop;
// Record.Clone keeps it. After a loop that was left, the consumer stands behind
// the last record that it gave.
func (c *Consumer) Records(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for {
			l, err := c.one(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if !c.each(l, yield) {
				return
			}
		}
	}
}

// one gives one batch, of which nothing counts as given yet.
func (c *Consumer) one(ctx context.Context) (*feed, error) {
	if err := c.enter("Records"); err != nil {
		return nil, err
	}
	defer c.leave()
	c.pulse.arm(c)
	l, err := c.poll(ctx, 1)
	if err != nil {
		return nil, err
	}
	l.next = l.r.offset
	l.stand(max(c.given[0].BaseOffset(), l.r.asked), l.r.epoch)
	return l, nil
}

// each gives the records of the batch that one has found. It returns false when
// the loop is over. A nudge ends it before the batch's end: then one sees to what
// it is about, and finds the rest of the batch again.
func (c *Consumer) each(l *feed, yield func(*Record, error) bool) bool {
	r, next, moves, polls := l.r, l.next, l.moves, c.polls
	left := false
	all := c.given[0].each(func(rec *Record, err error) bool {
		if err != nil {
			left = true
			yield(nil, &PartitionError{l.part.topic.name, l.part.id, err})
			return false
		}
		if c.wait.Nudged() {
			return false
		}
		r.offset = rec.Offset + 1
		r.asked = r.offset
		l.done = rec.Offset // until the caller comes back
		if left = !yield(rec, nil); left {
			return false
		}
		if l.moves != moves || c.polls != polls {
			return false
		}
		l.done = r.offset
		return true
	})
	if all && l.moves == moves && c.polls == polls {
		r.offset, r.asked = next, next
	}
	return !left
}

// poll finds at least one batch, and more up to about most bytes. It returns
// the feed of the last.
func (c *Consumer) poll(ctx context.Context, most int) (*feed, error) {
	c.polls++
	c.back()
	if c.member != nil {
		c.member.enter()
		defer c.member.leave()
	}
	var since time.Time
	for {
		c.wait.Calm()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c.ended.Load() {
			return nil, ErrClosed
		}
		if err := c.changes(ctx); err != nil {
			return nil, err
		}
		if err := c.commitDue(ctx); err != nil {
			return nil, err
		}
		if len(c.feeds) == 0 && c.member == nil {
			return nil, fmt.Errorf("%w: there is no assignment", ErrNotAssigned)
		}
		if c.config.MinBytes > 1 && c.watchable() {
			o := log.WaitOptions{MinBytes: int64(min(c.config.MinBytes, c.config.MaxBytes)), MaxWait: c.config.MaxWait, Since: &since}
			if err := c.await(ctx, o); err != nil {
				return nil, err
			}
			if c.wait.Nudged() {
				continue
			}
		}
		l, blocked, err := c.collect(ctx, most)
		if l != nil {
			c.auto.arm(c)
		}
		if l != nil || err != nil {
			return l, err
		}
		if blocked != nil {
			err = blocked.unblock(ctx)
		} else if c.config.MinBytes <= 1 {
			err = c.await(ctx, log.WaitOptions{})
		}
		if err != nil {
			return nil, err
		}
	}
}

// back says that the caller has come back from what the last Poll gave: it is
// done with, and its life is over.
func (c *Consumer) back() {
	for i, l := range c.served {
		l.done, l.served = l.position(), false
		c.served[i] = nil
	}
	for i, b := range c.given {
		b.Release()
		if !debugSlices { // else whoever kept one shall not get the next one
			c.spare = append(c.spare, b)
		}
		c.given[i] = nil
	}
	c.served, c.given, c.bytes = c.served[:0], c.given[:0], 0
	c.held.Release()
}

// collect goes once round the feeds. A failure is told when nothing was found, or
// by the next call, if it still is there then. blocked is a feed that has to wait
// before it can tell what there is.
func (c *Consumer) collect(ctx context.Context, most int) (last, blocked *feed, err error) {
	if l := c.failing; l != nil {
		c.failing = nil
		if l.waits() {
			if err := c.fill(ctx, l, most); err != nil && !l.served {
				return nil, nil, err
			}
		}
	}
	n := len(c.feeds)
	var failed error
	for i := 0; i < n && c.bytes < most; i++ {
		at := c.turn + i
		if at >= n {
			at -= n
		}
		l := c.feeds[at]
		if !l.waits() || l.served {
			continue
		}
		if e := c.fill(ctx, l, most); e != nil {
			if failed == nil {
				c.failing, failed = l, e
			}
			continue
		}
		if !l.served && l.blocked() {
			blocked = l
		}
	}
	if len(c.served) == 0 {
		c.failing = nil
		return nil, blocked, failed
	}
	last = c.served[len(c.served)-1]
	c.pass(last, most)
	return last, nil, nil
}

// pass says whose turn it is next. Records, which takes batch after batch, stays
// with a partition for as much as a Poll would take.
func (c *Consumer) pass(last *feed, most int) {
	at, _ := slices.BinarySearchFunc(c.feeds, last, compareFeeds)
	if at != c.turn {
		c.burst = 0
	}
	c.turn = at
	if c.burst += c.bytes; c.burst >= c.config.MaxBytes || most > 1 {
		c.turn, c.burst = at+1, 0
	}
	if c.turn >= len(c.feeds) {
		c.turn = 0
	}
}

// fill takes batches of a feed, until there is none or there are most bytes.
func (c *Consumer) fill(ctx context.Context, l *feed, most int) error {
	for c.bytes < most {
		if c.blank == nil {
			c.blank = c.newBatch()
		}
		b, err := l.find(ctx, c)
		if b == nil {
			return err
		}
		c.blank = nil
		c.give(l, b)
	}
	return nil
}

func (c *Consumer) newBatch() *Batch {
	if n := len(c.spare); n > 0 {
		b := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return b
	}
	return &Batch{shared: &c.reading, coders: c.store.env.Coders()}
}

func (c *Consumer) give(l *feed, b *Batch) {
	c.bytes += len(b.raw)
	b.topic, b.partition = l.part.topic.name, l.part.id
	b.outlive(l.r.log, &c.held)
	c.given = append(c.given, b)
	if !l.served {
		l.served = true
		c.served = append(c.served, l)
	}
}

// watchable tells whether every feed can be waited for.
func (c *Consumer) watchable() bool {
	for _, l := range c.feeds {
		if l.waits() && (l.r == nil || l.cut != nil) {
			return false
		}
	}
	return true
}

// await waits until there is something to read, an error to meet, or a nudge.
func (c *Consumer) await(ctx context.Context, o log.WaitOptions) error {
	o.Committed = c.config.Isolation == ReadCommitted
	c.watched = c.watched[:0]
	for _, l := range c.feeds {
		if l.waits() {
			offset := l.r.offset
			if o.MinBytes == 0 {
				offset = max(offset, l.r.limit) // all below it has been looked at
			}
			c.watched = append(c.watched, log.Watch{Log: l.r.log, Offset: offset, Cursor: l.r.cur})
			l.r.count.Publish()
			l.r.waited = true
		}
	}
	defer clear(c.watched)
	if f := c.store.follow; f != nil && len(c.watched) == 0 {
		return f.await(ctx, c.wait)
	}
	return c.wait.WaitFor(ctx, c.watched, o)
}

// await is WaitFor of nothing but a nudge, which only comes when somebody looks.
func (f *following) await(ctx context.Context, w *log.Waiter) error {
	for !w.Nudged() {
		soon, cancel := context.WithTimeout(ctx, lookEvery)
		_ = w.WaitFor(soon, nil, log.WaitOptions{})
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		f.look(true)
	}
	return nil
}

// Close gives back what the consumer has: its partitions, its place in the group,
// its last batches. With AutoCommit it first commits what the caller has come back
// from, which is not what the last Poll gave; then OnRevoke is told of what it had,
// unless from Assign. A second Close does nothing. From within OnAssign and
// OnRevoke, and while another goroutine is in a method, it is ErrConcurrentUse and
// nothing is closed.
func (c *Consumer) Close() error {
	if err := c.enter("Close"); err != nil {
		if err == ErrClosed {
			return nil
		}
		return err
	}
	defer c.leave()
	c.closed = true
	defer c.end()
	c.auto.stop()
	c.pulse.stop()
	if c.member == nil {
		err := c.commitDone(context.Background(), c.feeds)
		c.unassign(c.feeds)
		return err
	}
	defer c.member.close()
	c.todo = change{}
	return c.revoke(context.Background(), slices.Clone(c.feeds), false)
}

// end lets go of what is left.
func (c *Consumer) end() {
	c.back()
	c.store.consumers.remove(c)
	c.spare, c.blank, c.held = nil, nil, segment.Held{}
	c.reading.Store(nil)
}

// unassign takes feeds away.
func (c *Consumer) unassign(feeds []*feed) {
	for _, l := range feeds {
		delete(c.byPart, l.key())
		if c.member != nil {
			c.gone[l.key()] = struct{}{}
		}
		l.drop()
		if c.failing == l {
			c.failing = nil
		}
	}
	c.order()
}

// order makes the list of feeds anew. The one whose turn it is keeps it.
func (c *Consumer) order() {
	var next *feed
	if c.turn < len(c.feeds) {
		next = c.feeds[c.turn]
	}
	c.feeds = slices.SortedFunc(maps.Values(c.byPart), compareFeeds)
	c.turn, c.burst = 0, 0
	if next != nil {
		c.turn, _ = slices.BinarySearchFunc(c.feeds, next, compareFeeds)
	}
	if c.turn >= len(c.feeds) {
		c.turn = 0
	}
}

// noWait is a context for looking without waiting.
type noWait struct{}

var errNothing = fmt.Errorf("leat: nothing yet")

var past = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (noWait) Deadline() (time.Time, bool) { return time.Unix(0, 0), true }
func (noWait) Done() <-chan struct{}       { return past }
func (noWait) Err() error                  { return errNothing }
func (noWait) Value(any) any               { return nil }
