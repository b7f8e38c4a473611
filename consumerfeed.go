package leat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/leatlog/leat/log"
)

// feed is one partition that a consumer is assigned, with its reader.
type feed struct {
	part *Partition
	// r is nil until the partition could be opened; offset and epoch are where it
	// begins then.
	r      *Reader
	start  Start // if offset is -1: where to begin, once that can be told
	first  int64 // what start meant, when it could not be told what is committed; else -1
	offset int64
	epoch  int32 // of the record before offset, -1: not known

	next  int64 // behind the batch that Records is in
	moves int   // counts what takes a loop over Records out of its batch

	paused   bool
	vanished bool  // with its topic
	served   bool  // by the last Poll
	done     int64 // position up to which the caller has come back
	saved    int64 // the last commit, -1: none
	cut      *OffsetError
}

func (l *feed) key() log.TopicPartition {
	return log.TopicPartition{Topic: l.part.topic.name, Partition: l.part.id}
}

func compareFeeds(a, b *feed) int {
	return cmp.Or(strings.Compare(a.part.topic.name, b.part.topic.name), cmp.Compare(a.part.id, b.part.id))
}

// PartitionError says in which partition Consumer.Poll has met an error.
type PartitionError struct {
	Topic     string
	Partition int32
	Err       error
}

func (e *PartitionError) Error() string {
	return fmt.Sprintf("leat: consume %s: %s", folderName(e.Topic, e.Partition), strings.TrimPrefix(e.Err.Error(), "leat: "))
}

func (e *PartitionError) Unwrap() error { return e.Err }

func named(l *feed, err error) error {
	if errors.Is(err, ErrClosed) {
		return err
	}
	return &PartitionError{l.part.topic.name, l.part.id, err}
}

// waits tells whether there may be something for the caller.
func (l *feed) waits() bool { return !l.paused && !l.vanished }

// position is where the feed stands, -1 if that is not known yet.
func (l *feed) position() int64 {
	if l.r == nil {
		return l.offset
	}
	return l.r.offset
}

// newFeed is a partition to be read from offset on, or, if that is CommittedOffset,
// from where the group has committed or else from start.
func newFeed(p *Partition, offset int64, start Start) *feed {
	return &feed{part: p, start: start, first: -1, offset: offset, epoch: -1, done: offset, saved: -1}
}

// open makes the reader, and finds out where to begin.
func (l *feed) open(c *Consumer) error {
	r, err := l.part.Reader(ReaderOptions{Isolation: c.config.Isolation})
	if err != nil {
		return err
	}
	if l.offset < 0 {
		if err := l.begin(c, r); err != nil {
			return errors.Join(err, r.Close())
		}
		l.done = l.offset
	}
	l.r = r
	l.stand(l.offset, l.epoch)
	l.cut = r.lost()
	return nil
}

// begin finds where the group has committed, or has begun, or what Start means.
func (l *feed) begin(c *Consumer, r *Reader) error {
	o, ok, err := c.committed(l)
	switch {
	case err != nil:
		if l.first < 0 && l.start.kind != startAt {
			// What comes from now on is not to be skipped, if nothing is committed.
			if offset, e := l.part.resolve(l.start, r.log, r.committed); e == nil {
				l.first = offset
			}
		}
		return err
	case ok:
		l.offset, l.epoch, l.saved = o.offset, o.epoch, o.offset
		return nil
	}
	offset := l.start.n // OutOfRange says what happens if it is not there
	if l.first >= 0 {
		offset = l.first
	} else if l.start.kind != startAt {
		if offset, err = l.part.resolve(l.start, r.log, r.committed); err != nil {
			return err
		}
	}
	if c.member != nil {
		offset = c.member.begin(l.key(), offset)
	}
	l.offset = offset
	return nil
}

// lost is survived for where the reader was set to: the record before may have
// been taken back since the position was committed.
func (r *Reader) lost() *OffsetError {
	if e, _ := r.survived().(*OffsetError); e != nil {
		return e
	}
	start, known := r.log.LogStartOffset(), r.log.LatestEpoch()
	if r.epoch > known && known >= 0 && r.offset > start && !r.log.Followed() { // which may not know it yet
		return &OffsetError{Topic: r.p.topic.name, Partition: r.p.id, Offset: r.offset, Start: start, End: start}
	}
	return nil
}

// settle notes that the log was cut below the position, if it was, so that what
// is then looked up is of the log as it is now.
func (l *feed) settle() {
	if l.r == nil || !l.r.cur.Stale() {
		return
	}
	l.r.batch = new(Batch) // the one it has may be the caller's
	var gone *OffsetError
	if errors.As(l.r.truncated(), &gone) && l.cut == nil {
		l.cut = gone
	}
}

// standing tells whether what was read up to an offset is still what lies there.
func (l *feed) standing(offset int64) error {
	if l.r == nil {
		return nil
	}
	l.settle()
	offset = min(offset, l.r.offset)
	end := offset
	if l.cut != nil {
		end = min(end, l.cut.End)
	}
	now := l.r.log
	if g := l.part.log.Load(); g != now && g != nil && l.r.epoch >= 0 { // it was reopened
		now = g
		if _, e := g.EndOffsetForEpoch(l.r.epoch); e >= 0 {
			end = min(end, e)
		}
	}
	if offset > end {
		return &OffsetError{Topic: l.part.topic.name, Partition: l.part.id, Offset: offset, Start: now.LogStartOffset(), End: end}
	}
	return nil
}

// stand moves the reader, without a look whether it can be there.
func (l *feed) stand(offset int64, epoch int32) {
	l.r.offset, l.r.asked, l.r.epoch = offset, offset, epoch
}

// find is the next batch; nil, with the error if there is one, when there is none
// now.
func (l *feed) find(ctx context.Context, c *Consumer) (*Batch, error) {
	for {
		b, err := l.try(ctx, c)
		if err == nil {
			return b, nil
		}
		if err == errNothing {
			if !l.served {
				l.done = l.r.offset // what lies before it is not for the caller
			}
			return nil, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return nil, err
		}
		if c.member != nil && errors.Is(err, ErrUnknownTopic) {
			l.vanished = true // the group is about to tell what that means
			return nil, nil
		}
		var gone *OffsetError
		if !errors.As(err, &gone) || c.config.OutOfRange == OutOfRangeError {
			l.cut = gone
			return nil, named(l, err)
		}
		l.cut = nil
		l.reset(gone, c)
	}
}

func (l *feed) try(ctx context.Context, c *Consumer) (*Batch, error) {
	if l.r == nil {
		if err := l.open(c); err != nil {
			return nil, err
		}
	}
	if e := l.cut; e != nil {
		return nil, &OffsetError{Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Start: l.r.log.LogStartOffset(), End: e.End}
	}
	l.r.batch = c.blank
	return l.r.next(ctx, noWait{})
}

// reset goes on where the policy says when the position is not there: what was
// begun with the record at End, if the log was cut, is read from there, as Kafka
// does (KIP-320): all before it was read, and all behind it is new.
func (l *feed) reset(gone *OffsetError, c *Consumer) {
	r := l.r
	to, end := r.log.LogStartOffset(), r.log.Visible(r.committed)
	from, what := gone.Offset, "retention has overtaken the position"
	switch {
	case gone.End < gone.Offset:
		to, what = max(to, gone.End), "the log was cut below the position"
	case c.config.OutOfRange == OutOfRangeLatest:
		to = max(to, end)
	}
	c.logger("consumer's position is out of range: "+what, "topic", l.part.topic.name, "partition", l.part.id,
		"group", c.config.Group, "position", from, "start", r.log.LogStartOffset(), "end", end, "to", to,
		"left out", max(to-from, 0), "policy", c.config.OutOfRange)
	l.stand(to, -1)
	if !l.served {
		l.done = to
	}
}

// blocked tells whether the reader has to wait for a Reopen, or for a writer that
// begins anew, before it can tell what there is.
func (l *feed) blocked() bool {
	return l.r != nil && (len(l.part.opening) > 0 || !l.r.cur.Settled())
}

func (l *feed) unblock(ctx context.Context) error {
	if l.r.log.Followed() {
		if err := l.r.log.Settle(ctx); err != nil {
			return l.part.fail(err)
		}
	}
	return l.part.settled(ctx)
}

// drop lets go of the partition. The batches it gave live on.
func (l *feed) drop() {
	l.moves++
	if l.r != nil {
		l.r.batch = new(Batch) // the one it has is the consumer's
		_ = l.r.Close()        // it returns none
	}
}
