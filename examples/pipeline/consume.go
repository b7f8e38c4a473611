package main

import (
	"context"
	"errors"
	"time"

	"github.com/leatlog/leat"
)

// member is one member of the group. It processes what it is given, commits, and
// asks for more: at least once. When ctx ends it finishes what it has begun.
func member(ctx context.Context, st *leat.Store, topic string, process func(*leat.Record) error) (err error) {
	c, err := st.Consumer(leat.ConsumerConfig{
		Group:    group,
		Topics:   []string{topic},
		MaxBytes: fetchBytes,
	})
	if err != nil {
		return err
	}
	// Its partitions go to the other members at once.
	defer func() { err = errors.Join(err, c.Close()) }()
	for {
		batches, err := c.Poll(ctx) // waits; partitions come and go in here
		if err != nil {
			if ctx.Err() != nil {
				return nil // all that was processed is committed
			}
			return err
		}
		for _, b := range batches {
			for rec, err := range b.Records() {
				if err != nil {
					return err
				}
				if err := process(rec); err != nil {
					return err
				}
			}
		}
		err = c.Commit(context.WithoutCancel(ctx))
		if err != nil && !errors.Is(err, leat.ErrRebalanced) {
			return err
		}
	}
}

// fetchBytes is about what a member takes at a time. The rest waits in the topic.
const fetchBytes = 256 << 10

// pace lets through so many a second, about, as work that takes its time would. It
// is for one goroutine.
type pace struct {
	each time.Duration
	next time.Time
	over <-chan struct{} // when the run ends, what was begun is hurried through
}

func (p *pace) wait() {
	now := time.Now()
	if p.next.Before(now) {
		p.next = now // who had nothing to do is not faster for it
	}
	p.next = p.next.Add(p.each)
	if ahead := p.next.Sub(now); ahead > 20*time.Millisecond {
		select { // not for every record: that would be too short a sleep
		case <-time.After(ahead):
		case <-p.over:
		}
	}
}
