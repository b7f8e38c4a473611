package leat

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/log"
)

// Commit makes positions those of the group: where it goes on, after this process
// too. Without positions, all that was given counts as done, in a loop over Records
// the record of this turn included; what is committed already is not again. When it
// returns nil, both the records before the positions and the commit are on stable
// storage; concurrent commits share one sync.
//
// A commit below the log start offset is allowed: what was done was done.
// *OffsetError: a position beyond the high watermark, negative, or reached before the
// log was cut below it, so that other records lie there now.
// ErrMetadataTooLarge: Metadata of more than 4096 bytes. ErrNotAssigned: of a
// partition that the consumer does not have; ErrRebalanced: of one that the group has
// taken from it. ErrGroupNotEmpty: the consumer has its partitions from Assign, and the
// group has members. ErrNoGroup. Others are those of an append. None of the positions is
// committed then, except that after ctx has ended, or with ErrFailed, all of them may
// be.
func (c *Consumer) Commit(ctx context.Context, at ...Position) error {
	was, err := c.within()
	if err != nil {
		return err
	}
	defer c.restore(was)
	if c.config.Group == "" {
		return ErrNoGroup
	}
	if len(at) == 0 {
		return c.commitFeeds(ctx, c.feeds, (*feed).position)
	}
	for i := range at {
		if _, err := c.feed(&at[i]); err != nil {
			return err
		}
	}
	if err := c.commit(ctx, at); err != nil {
		return err
	}
	for i := range at {
		if l, err := c.feed(&at[i]); err == nil {
			l.saved, l.done = at[i].Offset, max(l.done, at[i].Offset)
		}
	}
	return nil
}

// commitFeeds commits what of has moved since the last commit.
func (c *Consumer) commitFeeds(ctx context.Context, feeds []*feed, of func(*feed) int64) error {
	var at []Position
	for _, l := range feeds {
		if offset := of(l); offset >= 0 && offset != c.saved(l) {
			at = append(at, Position{Topic: l.part.topic.name, Partition: l.part.id, Offset: offset})
		}
	}
	if len(at) == 0 {
		return nil
	}
	if err := c.commit(ctx, at); err != nil {
		return err
	}
	for _, l := range feeds {
		if offset := of(l); offset >= 0 {
			l.saved, l.done = offset, offset
		}
	}
	return nil
}

// saved is the last commit of a feed, -1 if there is none, as far as is known. A
// member alone commits for what is his; of what was assigned by hand, others may have.
func (c *Consumer) saved(l *feed) int64 {
	if c.member != nil {
		return l.saved
	}
	if o, ok, err := c.committed(l); err == nil && ok {
		return o.offset
	}
	return -1
}

// commit commits positions of feeds.
func (c *Consumer) commit(ctx context.Context, at []Position) error {
	err := c.store.commitOffsets(ctx, c.config.Group, at, func() (func(), error) {
		// Here, with the epochs to be stored found out already: of a later cut they tell.
		for i := range at {
			if l := c.byPart[log.TopicPartition{Topic: at[i].Topic, Partition: at[i].Partition}]; l != nil {
				if err := l.standing(at[i].Offset); err != nil {
					return nil, err
				}
			}
		}
		if c.member == nil {
			return c.store.emptyGroup(c.config.Group)
		}
		parts := make([]log.TopicPartition, len(at))
		for i := range at {
			parts[i] = log.TopicPartition{Topic: at[i].Topic, Partition: at[i].Partition}
		}
		return c.member.fence(parts)
	})
	if err == nil && c.member != nil {
		c.member.hasCommitted(at)
	}
	return err
}

// Committed is what the group has committed of the partitions that the consumer
// has; those without a commit are left out. ErrNoGroup; ErrUnstableOffset, while a
// transaction has yet to decide; *CorruptError: __consumer_offsets is damaged.
func (c *Consumer) Committed(ctx context.Context) ([]Position, error) {
	was, err := c.within()
	if err != nil {
		return nil, err
	}
	defer c.restore(was)
	if c.config.Group == "" {
		return nil, ErrNoGroup
	}
	var list []Position
	for _, l := range c.feeds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		o, ok, err := c.committed(l)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, Position{Topic: l.part.topic.name, Partition: l.part.id, Offset: o.offset, Metadata: o.metadata})
		}
	}
	return list, nil
}

// committed is what the group has committed of a partition.
func (c *Consumer) committed(l *feed) (committed, bool, error) {
	if c.config.Group == "" {
		return committed{}, false, nil
	}
	o, err := c.store.committedOffsets(context.Background())
	if err != nil {
		return committed{}, false, err
	}
	found, ok, err := o.fetch(c.config.Group, l.key())
	if err == nil && found.unstable {
		err = ErrUnstableOffset
	}
	return found, ok, err
}

// autoCommit commits what the caller has come back from. A timer says when, and
// wakes a Poll that waits.
type autoCommit struct {
	timer *time.Timer
	armed bool
	due   atomic.Bool
}

// arm sees to a commit in time.
func (a *autoCommit) arm(c *Consumer) {
	if a.armed || c.config.AutoCommit <= 0 {
		return
	}
	a.armed = true
	if a.timer == nil {
		a.timer = time.AfterFunc(c.config.AutoCommit, func() {
			a.due.Store(true)
			c.wait.Nudge()
		})
		return
	}
	a.timer.Reset(c.config.AutoCommit)
}

func (a *autoCommit) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// commitDue is the automatic commit, when it is time for one.
func (c *Consumer) commitDue(ctx context.Context) error {
	if !c.auto.due.Load() {
		return nil
	}
	c.auto.due.Store(false)
	c.auto.armed = false
	err := c.commitDone(ctx, c.feeds)
	if err != nil {
		c.auto.arm(c)
	}
	return err
}

// commitDone commits, with AutoCommit, what of these feeds the caller has come back
// from. Of feeds that the group has taken meanwhile, that is another's. One that
// cannot be committed does not keep the others from it.
func (c *Consumer) commitDone(ctx context.Context, feeds []*feed) error {
	if c.config.AutoCommit <= 0 {
		return nil
	}
	done := func(l *feed) int64 { return l.done }
	err := c.commitFeeds(ctx, feeds, done)
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return err
	}
	// What is wrong with one shall not keep the others from being committed.
	var errs []error
	for _, l := range feeds {
		err := c.commitFeeds(ctx, []*feed{l}, done)
		if err == nil || errors.Is(err, ErrRebalanced) {
			continue
		}
		if n := len(errs); n == 0 || errs[n-1].Error() != err.Error() {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
