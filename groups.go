package leat

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/leatlog/leat/log"
)

// Groups administers the consumer groups of a store, and keeps the positions of
// those that run a group protocol of their own over it. All methods may be called
// from many goroutines.
//
// A group's name is any text that is not empty, up to 32,767 bytes. What is known of
// groups is read when it is first asked for, which takes a moment where there are
// many. Of a store that is open for reading, List, Describe, Lag, Fetch and Export
// say what the writer has made of it so far; the others are ErrReadOnly, but for a dry
// run.
type Groups struct{ store *Store }

// Groups is where the groups are administered.
func (s *Store) Groups() *Groups { return &Groups{s} }

// maxGroupName is what fits a record's string.
const maxGroupName = math.MaxInt16

func checkGroup(name string) error {
	if name == "" {
		return fmt.Errorf("%w: the group's name is empty", ErrNoGroup)
	}
	if len(name) > maxGroupName {
		return invalidConfig("the name of a group has %d bytes: allowed are 1 to %d", len(name), maxGroupName)
	}
	return nil
}

func unknownGroup(name string) error { return fmt.Errorf("%w: %.300q", ErrUnknownGroup, name) }

// List gives the names of the groups, sorted: those that have members, have committed
// an offset, or have had members and were not deleted.
func (g *Groups) List(ctx context.Context) ([]string, error) {
	o, err := g.store.committedOffsets(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, list := range [][]string{o.groups(), g.store.liveGroups()} {
		for _, name := range list {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// Fetch gives the committed offsets of a group: those of parts, in their order, of
// which Topic and Partition count, or without parts all there are, by topic and
// partition. Where nothing is committed the Offset is -1, also when there is no such
// group, topic or partition [OffsetFetch].
//
// stable refuses offsets that a transaction is about to replace: ErrUnstableOffset
// [UNSTABLE_OFFSET_COMMIT], to be tried again. Without it they are what was committed
// before.
func (g *Groups) Fetch(ctx context.Context, group string, stable bool, parts ...Position) ([]Position, error) {
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	o, err := g.store.committedOffsets(ctx)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		all, err := o.all(group)
		if err != nil {
			return nil, err
		}
		list := make([]Position, len(all))
		for i := range all {
			if list[i], err = position(all[i].tp, &all[i].committed, stable); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	list := make([]Position, len(parts))
	for i, p := range parts {
		tp := log.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		c, ok, err := o.fetch(group, tp)
		if err != nil {
			return nil, err
		}
		if !ok {
			c.offset, c.metadata = -1, ""
		}
		if list[i], err = position(tp, &c, stable); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func position(tp log.TopicPartition, c *committed, stable bool) (Position, error) {
	if stable && c.unstable {
		return Position{}, fmt.Errorf("%w: %s", ErrUnstableOffset, folderName(tp.Topic, tp.Partition))
	}
	return Position{Topic: tp.Topic, Partition: tp.Partition, Offset: c.offset, Metadata: c.metadata}, nil
}

// Delete deletes a group with all its offsets: it is as if it had never been.
// ErrGroupNotEmpty: it has members. ErrUnknownGroup: there is none [DeleteGroups].
func (g *Groups) Delete(ctx context.Context, group string) error {
	release, err := g.hold(ctx, group)
	if err != nil {
		return err
	}
	defer release()
	if known, err := g.known(ctx, group); err != nil || !known {
		if err == nil {
			err = unknownGroup(group)
		}
		return err
	}
	if err := g.store.removeOffsets(ctx, group, nil); err != nil {
		return err
	}
	g.store.forgetBegun(group, func(string) bool { return true })
	return nil
}

// DeleteOffsets deletes what a group has committed in some topics. One that it has
// committed nothing of is ErrUnknownTopic, and then nothing is deleted; the errors of
// Delete besides [OffsetDelete].
func (g *Groups) DeleteOffsets(ctx context.Context, group string, topics ...string) error {
	release, err := g.hold(ctx, group)
	if err != nil {
		return err
	}
	defer release()
	all, err := g.offsets(ctx, group)
	if err != nil {
		return err
	}
	var parts []log.TopicPartition
	for _, topic := range topics {
		n := len(parts)
		for i := range all {
			if all[i].tp.Topic == topic {
				parts = append(parts, all[i].tp)
			}
		}
		if len(parts) == n {
			return fmt.Errorf("%w, of group %.300q: nothing is committed", unknownTopic(topic), group)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	if err := g.store.removeOffsets(ctx, group, parts); err != nil {
		return err
	}
	g.store.forgetBegun(group, func(topic string) bool { return slices.Contains(topics, topic) })
	return nil
}

// hold keeps members from joining a group that has none, until release is called.
func (g *Groups) hold(ctx context.Context, group string) (release func(), err error) {
	if g.store.follow != nil {
		return nil, ErrReadOnly
	}
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	if g.store.isClosed() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return g.store.emptyGroup(group)
}

// known tells whether there is such a group, with or without members.
func (g *Groups) known(ctx context.Context, group string) (bool, error) {
	o, err := g.store.committedOffsets(ctx)
	if err != nil {
		return false, err
	}
	if _, ok := o.metadata(group); ok {
		return true, nil
	}
	if _, ok := g.store.liveGroup(group); ok {
		return true, nil
	}
	all, err := o.all(group)
	return len(all) > 0, err
}

// offsets are the committed offsets of a group that there is.
func (g *Groups) offsets(ctx context.Context, group string) ([]groupOffset, error) {
	o, err := g.store.committedOffsets(ctx)
	if err != nil {
		return nil, err
	}
	all, err := o.all(group)
	if err != nil || len(all) > 0 {
		return all, err
	}
	if known, err := g.known(ctx, group); err != nil || known {
		return nil, err
	}
	return nil, unknownGroup(group)
}
