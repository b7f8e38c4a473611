package leat

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leatlog/leat/log"
)

// CommittedOffset, as the Offset of a Position for Consumer.Assign and Seek, means
// where the group has committed; without a commit, or without a group, where
// ConsumerConfig.Start says.
const CommittedOffset = -1

// Assign makes these partitions those of the consumer, and no others, each to be
// read from its offset on. One that was paused stays so. No positions: none.
//
// Nothing changes if there is an error: ErrUnknownTopic, ErrUnknownPartition,
// *OffsetError for an offset that is not there, ErrInvalidConfig when one partition
// is named twice, or the consumer has Topics or a Pattern: its group assigns. A
// partition that cannot be opened is assigned; Poll tells what is wrong with it.
// OnAssign and OnRevoke are not called.
func (c *Consumer) Assign(at ...Position) error {
	if err := c.enter("Assign"); err != nil {
		return err
	}
	defer c.leave()
	if len(c.config.Topics) > 0 || c.config.Pattern != "" {
		return invalidConfig("Assign, of a consumer that has subscribed to topics")
	}
	feeds := map[log.TopicPartition]*feed{}
	for i := range at {
		p, err := c.store.partition(at[i].Topic, at[i].Partition)
		if err != nil {
			return err
		}
		l := newFeed(p, at[i].Offset, c.config.Start)
		if err := l.check(); err != nil {
			return err
		}
		if feeds[l.key()] != nil {
			return invalidConfig("Assign: %s is named twice", p)
		}
		feeds[l.key()] = l
	}
	for key, l := range feeds {
		if old := c.byPart[key]; old != nil && old.part == l.part {
			l.paused = old.paused
		}
	}
	for _, l := range c.feeds {
		l.drop()
	}
	c.failing, c.byPart = nil, feeds
	c.order()
	c.openAll()
	return nil
}

// check tells whether the offset of a new feed is there. If the partition cannot be
// opened, that is for Poll to tell.
func (l *feed) check() error {
	if l.offset == CommittedOffset {
		return nil
	}
	g, err := l.part.use()
	if err != nil && l.offset >= 0 {
		return nil
	} else if err != nil {
		return &OffsetError{Topic: l.part.topic.name, Partition: l.part.id, Offset: l.offset, Start: -1, End: -1}
	}
	return l.part.checkRange(g, l.offset)
}

// openAll opens the readers of new feeds: what comes from now on is behind a Start
// that is Latest. What is wrong is left to Poll.
func (c *Consumer) openAll() {
	for _, l := range c.feeds {
		if l.r == nil {
			_ = l.open(c) // Poll tries again
		}
	}
}

// partition is one by its name, opened or not.
func (s *Store) partition(topic string, id int32) (*Partition, error) {
	t, err := s.Topic(topic)
	if err != nil {
		return nil, err
	}
	if !t.has(id) {
		return nil, unknownPartition(topic, id)
	}
	return t.handle(id), nil
}

// Assignment are the partitions that are the consumer's now, by topic and number,
// with its positions. An offset is -1 as long as the partition cannot be opened,
// and where it begins depends on that.
func (c *Consumer) Assignment() []Position {
	was, err := c.within()
	if err != nil {
		return nil
	}
	defer c.restore(was)
	return positions(c.feeds)
}

func positions(feeds []*feed) []Position {
	list := make([]Position, len(feeds))
	for i, l := range feeds {
		list[i] = Position{Topic: l.part.topic.name, Partition: l.part.id, Offset: l.position()}
	}
	return list
}

// Position is the offset that is read next. ErrNotAssigned, ErrRebalanced,
// ErrConcurrentUse, ErrClosed.
func (c *Consumer) Position(topic string, partition int32) (int64, error) {
	was, err := c.within()
	if err != nil {
		return -1, err
	}
	defer c.restore(was)
	l, err := c.feed(&Position{Topic: topic, Partition: partition})
	if err != nil {
		return -1, err
	}
	return l.position(), nil
}

// feed is the feed of a position.
func (c *Consumer) feed(at *Position) (*feed, error) {
	key := log.TopicPartition{Topic: at.Topic, Partition: at.Partition}
	if l := c.byPart[key]; l != nil {
		return l, nil
	}
	if _, gone := c.gone[key]; gone {
		return nil, fmt.Errorf("%w: %s", ErrRebalanced, folderName(at.Topic, at.Partition))
	}
	return nil, fmt.Errorf("%w: %s", ErrNotAssigned, folderName(at.Topic, at.Partition))
}

// Seek moves partitions that are assigned, also from within a loop over Records and
// OnAssign. What Poll gave stays valid. Nothing moves if there is an error:
// ErrNotAssigned, ErrRebalanced, *OffsetError for an offset that is not there, what
// opening a partition has met, ErrConcurrentUse, ErrClosed.
func (c *Consumer) Seek(at ...Position) error {
	was, err := c.within()
	if err != nil {
		return err
	}
	defer c.restore(was)
	to := make([]target, len(at))
	for i := range at {
		l, err := c.feed(&at[i])
		if err != nil {
			return err
		}
		to[i] = target{feed: l, offset: at[i].Offset, epoch: -1, start: &l.start}
		if at[i].Offset != CommittedOffset {
			to[i].start = nil
			continue
		}
		o, ok, err := c.committed(l)
		if err != nil {
			return named(l, err)
		}
		if ok {
			to[i].offset, to[i].epoch, to[i].start = o.offset, o.epoch, nil
		}
	}
	return c.move(to)
}

// SeekAll moves all that is assigned to where a Start leads. Errors are those of
// Seek.
func (c *Consumer) SeekAll(ctx context.Context, to Start) error {
	was, err := c.within()
	if err != nil {
		return err
	}
	defer c.restore(was)
	list := make([]target, len(c.feeds))
	for i, l := range c.feeds {
		if err := ctx.Err(); err != nil {
			return err
		}
		list[i] = target{feed: l, offset: -1, epoch: -1, start: &to}
	}
	return c.move(list)
}

// target is where a feed is to be moved.
type target struct {
	feed   *feed
	offset int64
	epoch  int32  // of the record before, of a committed offset
	start  *Start // if not nil, in place of offset
}

// move checks all, and then moves all.
func (c *Consumer) move(to []target) error {
	for i := range to {
		x := &to[i]
		x.feed.settle()
		p := x.feed.part
		l, err := p.use()
		if err == nil {
			err = p.topic.usable()
		}
		if err == nil && x.feed.r == nil {
			err = x.feed.open(c)
		}
		if err == nil && x.start != nil {
			x.offset, err = p.resolve(*x.start, l, c.config.Isolation == ReadCommitted)
		} else if err == nil && x.epoch < 0 {
			err = p.checkRange(l, x.offset)
		}
		if err != nil {
			return named(x.feed, err)
		}
	}
	for _, x := range to {
		x.feed.stand(x.offset, x.epoch)
		if !x.feed.served || x.offset < x.feed.done { // else what it gave may not be done with
			x.feed.done = x.offset
		}
		x.feed.moves++
		x.feed.cut = x.feed.r.lost()
	}
	return nil
}

// Lag is how much there is in front of the consumer's positions, in all that it is
// assigned together, paused ones included. A partition that cannot be read does not
// count. For the commits of a group, see Groups.
func (c *Consumer) Lag() Lag {
	was, err := c.within()
	if err != nil {
		return Lag{}
	}
	defer c.restore(was)
	var total Lag
	for _, l := range c.feeds {
		one, err := lagOf(l.part, l.position(), c.config.Isolation == ReadCommitted)
		if err == nil || errors.Is(err, ErrCorrupt) { // Records holds then
			total = total.plus(one)
		}
	}
	return total
}

// Pause leaves partitions out of what Poll gives, until Resume. They keep their
// positions and stay the consumer's, for as long as it has them. Others than
// assigned ones are not looked at; the offsets mean nothing.
func (c *Consumer) Pause(parts ...Position) { c.pause(parts, true) }

// Resume ends what Pause began.
func (c *Consumer) Resume(parts ...Position) { c.pause(parts, false) }

func (c *Consumer) pause(parts []Position, paused bool) {
	was, err := c.within()
	if err != nil {
		return
	}
	defer c.restore(was)
	for i := range parts {
		l, err := c.feed(&parts[i])
		if err != nil {
			continue
		}
		if l.paused = paused; paused {
			l.moves++ // a loop over Records goes elsewhere
		}
	}
}

// Paused are the partitions that are paused now, with their positions.
func (c *Consumer) Paused() []Position {
	was, err := c.within()
	if err != nil {
		return nil
	}
	defer c.restore(was)
	return positions(slices.DeleteFunc(slices.Clone(c.feeds), func(l *feed) bool { return !l.paused }))
}
