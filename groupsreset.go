package leat

import (
	"context"
	"fmt"
	"slices"

	"github.com/leatlog/leat/log"
)

// ResetOptions say where a group is to go on. Without Topics and Partitions it is in
// all partitions that it has committed; those whose topic is gone are left out.
type ResetOptions struct {
	To Start // the zero value is Earliest; see Shift
	// Shift, instead of To, is by how many offsets to go forward from what is
	// committed, or back when it is negative.
	Shift int64
	// Topics are taken with all their partitions, Partitions one by one: their offsets
	// mean nothing. The group need not have committed there.
	Topics     []string
	Partitions []Position
	DryRun     bool // find out what would be done, and change nothing
}

// OffsetChange is what has become, or would become, of a committed offset.
type OffsetChange struct {
	Group     string
	Topic     string
	Partition int32
	From, To  int64 // From is -1 where nothing was committed
	// Clamped: what was asked for is not in the log, and To is the nearest that is.
	Clamped bool
}

// String is like "mailer orders-0: 17 to 4, the nearest there is".
func (c OffsetChange) String() string {
	s := fmt.Sprintf("%s %s: %d to %d", c.Group, folderName(c.Topic, c.Partition), c.From, c.To)
	if c.From < 0 {
		s = fmt.Sprintf("%s %s: to %d", c.Group, folderName(c.Topic, c.Partition), c.To)
	}
	if c.Clamped {
		s += ", the nearest there is"
	}
	return s
}

// Reset moves the committed offsets of a group that has no members, all of them in
// one batch or none, and tells from where to where, by topic and partition. As
// Kafka's tool does, it moves an offset that is not in the log into the range there
// is; OffsetChange.Clamped says so. Latest is the high watermark. What it commits has
// no metadata. A group that has committed nothing is made where Topics or Partitions
// name something.
//
// ErrGroupNotEmpty: it has members. ErrUnknownGroup: there is none, and nothing is
// named. ErrInvalidConfig: To and Shift, or a shift of what is not committed. Those of
// Commit besides [kafka-consumer-groups --reset-offsets].
func (g *Groups) Reset(ctx context.Context, group string, o ResetOptions) ([]OffsetChange, error) {
	if o.Shift != 0 && o.To != Earliest {
		return nil, invalidConfig("ResetOptions have To, %v, and Shift, %d: one of them is needed", o.To, o.Shift)
	}
	release, err := g.holdUnless(ctx, group, o.DryRun)
	if err != nil {
		return nil, err
	}
	defer release()
	parts, err := g.toReset(ctx, group, &o)
	if err != nil {
		return nil, err
	}
	changes := make([]OffsetChange, len(parts))
	for i, p := range parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if changes[i], err = g.resetOne(group, p, &o); err != nil {
			return nil, err
		}
	}
	if o.DryRun || len(changes) == 0 {
		return changes, nil
	}
	return changes, g.store.commitOffsets(ctx, group, positionsOf(changes), nil)
}

func positionsOf(changes []OffsetChange) []Position {
	at := make([]Position, len(changes))
	for i, c := range changes {
		at[i] = Position{Topic: c.Topic, Partition: c.Partition, Offset: c.To}
	}
	return at
}

// holdUnless is hold but for a dry run, which a store that is open for reading can do
// as well: whether the group has members is what its last record says.
func (g *Groups) holdUnless(ctx context.Context, group string, dry bool) (release func(), err error) {
	if !dry || g.store.follow == nil {
		return g.hold(ctx, group)
	}
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	info := GroupInfo{Group: group}
	if err := g.describeMembers(ctx, &info); err != nil {
		return nil, err
	}
	if len(info.Members) > 0 {
		return nil, fmt.Errorf("%w: %.300q", ErrGroupNotEmpty, group)
	}
	return func() {}, nil
}

// toReset are the partitions that options mean, each once, in order, with what is
// committed: -1 where nothing is.
func (g *Groups) toReset(ctx context.Context, group string, o *ResetOptions) ([]Position, error) {
	named := map[log.TopicPartition]bool{}
	for _, topic := range o.Topics {
		t, err := g.store.Topic(topic)
		if err != nil {
			return nil, err
		}
		for id := range t.ids() {
			named[log.TopicPartition{Topic: topic, Partition: id}] = true
		}
	}
	for _, p := range o.Partitions {
		named[log.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = true
	}
	var parts []Position
	if len(o.Topics)+len(o.Partitions) == 0 {
		all, err := g.offsets(ctx, group)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if _, err := g.store.Topic(all[i].tp.Topic); err == nil {
				parts = append(parts, Position{Topic: all[i].tp.Topic, Partition: all[i].tp.Partition})
			}
		}
	}
	for tp := range named {
		parts = append(parts, Position{Topic: tp.Topic, Partition: tp.Partition})
	}
	if len(parts) == 0 {
		return nil, nil
	}
	slices.SortFunc(parts, comparePositions)
	return g.Fetch(ctx, group, false, parts...)
}

// resetOne finds where one partition is to go on. p is where it is.
func (g *Groups) resetOne(group string, p Position, o *ResetOptions) (OffsetChange, error) {
	c := OffsetChange{Group: group, Topic: p.Topic, Partition: p.Partition, From: p.Offset}
	q, err := g.partition(p.Topic, p.Partition)
	if err != nil {
		return c, err
	}
	l, err := q.use()
	if err != nil {
		return c, err
	}
	low, high := l.LogStartOffset(), l.Visible(false)
	switch {
	case o.Shift != 0 && p.Offset < 0:
		return c, invalidConfig("%s cannot be shifted: group %.300q has committed nothing there", q, group)
	case o.Shift != 0:
		c.To = addClamped(p.Offset, o.Shift)
	case o.To.kind == startAt:
		c.To = o.To.n
	default:
		if c.To, err = q.resolve(o.To, l, false); err != nil {
			return c, err
		}
	}
	asked := c.To
	c.To = max(min(c.To, high), low)
	c.Clamped = c.To != asked
	return c, nil
}

// addClamped is a+b, for a of 0 or more, and not beyond what an int64 holds.
func addClamped(a, b int64) int64 {
	if sum := a + b; b < 0 || sum >= a {
		return sum
	}
	return 1<<63 - 1
}
