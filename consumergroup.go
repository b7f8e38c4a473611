package leat

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/log"
)

// join makes the consumer a member of its group, if that is to assign.
func (c *Consumer) join() error {
	if len(c.config.Topics) == 0 && c.config.Pattern == "" {
		return nil
	}
	if c.config.Group == "" {
		c.config.PollTimeout = Unlimited // nobody waits for its partitions
	}
	m, err := c.store.join(context.Background(), &c.config, c.wait.Nudge)
	c.member = m
	return err
}

// changes does what the group has to say, on the caller's goroutine. What a panic
// of a callback, or an error, has left undone is done by the next Poll.
func (c *Consumer) changes(ctx context.Context) error {
	if c.member == nil {
		return nil
	}
	for {
		if err := c.change(ctx); err != nil {
			return err
		}
		var more bool
		if c.todo, more = c.member.change(); !more {
			return nil
		}
	}
}

// change does what is to be done.
func (c *Consumer) change(ctx context.Context) error {
	if parts := c.todo.revoke; len(parts) > 0 {
		c.todo.revoke = nil
		if err := c.giveUp(ctx, parts, c.todo.lost); err != nil {
			return err
		}
	}
	if parts := c.todo.assign; len(parts) > 0 {
		c.todo.assign = nil
		c.gain(ctx, parts)
	}
	err := c.todo.err
	c.todo.err = nil
	return err
}

// giveUp gives partitions up, or lost ones away.
func (c *Consumer) giveUp(ctx context.Context, parts []log.TopicPartition, lost bool) error {
	feeds := make([]*feed, 0, len(parts))
	for _, tp := range parts {
		if l := c.byPart[tp]; l != nil {
			feeds = append(feeds, l)
		}
	}
	if !lost {
		defer c.member.revoked(parts)
	}
	return c.revoke(ctx, feeds, lost)
}

// revoke takes feeds away, when the caller has had his say, even if he panics.
func (c *Consumer) revoke(ctx context.Context, feeds []*feed, lost bool) (err error) {
	defer c.unassign(feeds)
	if !lost {
		err = c.commitDone(ctx, feeds)
	}
	if len(feeds) > 0 {
		c.call(ctx, c.config.OnRevoke, feeds)
	}
	return err
}

// gain takes partitions on.
func (c *Consumer) gain(ctx context.Context, parts []assigned) {
	feeds := make([]*feed, len(parts))
	for i, a := range parts {
		start := c.config.Start
		if a.fresh {
			start = Earliest
		}
		l := newFeed(a.part, CommittedOffset, start)
		feeds[i] = l
		if old := c.byPart[l.key()]; old != nil {
			old.drop()
		}
		c.byPart[l.key()] = l
		delete(c.gone, l.key())
	}
	c.order()
	c.openAll()
	c.call(ctx, c.config.OnAssign, feeds)
}

// call calls OnAssign or OnRevoke, which may call the consumer.
func (c *Consumer) call(ctx context.Context, f func(context.Context, *Consumer, []Position), feeds []*feed) {
	if f == nil {
		return
	}
	c.state.Store(useCalling)
	defer c.state.Store(useBusy)
	f(ctx, c, positions(feeds))
}

// pulse makes a loop over Records come back in time for the group to know that it
// is there, however long the caller takes for a batch.
type pulse struct {
	timer *time.Timer
	armed atomic.Bool
}

func (p *pulse) arm(c *Consumer) {
	if c.member == nil || c.config.PollTimeout < 0 || p.armed.Load() {
		return
	}
	p.armed.Store(true)
	timeout := c.config.PollTimeout
	orDefault(&timeout, defaultPollTimeout)
	if p.timer != nil {
		p.timer.Reset(timeout / 3)
		return
	}
	p.timer = time.AfterFunc(timeout/3, func() {
		p.armed.Store(false)
		c.wait.Nudge()
	})
}

func (p *pulse) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
