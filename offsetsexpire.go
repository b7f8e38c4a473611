package leat

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// expireOffsets removes what groups have committed longer ago than
// Options.OffsetsRetention, and whole groups that nothing is left of. As in Kafka
// (KIP-211) the time runs from when the group was left by its last member, or
// without members from the commit on; a commit that says itself when it expires (of
// old clients, in an adopted topic) does so then. Groups that have members keep
// all.
func (s *Store) expireOffsets(ctx context.Context) error {
	o, keep := &s.offsets, s.opts.OffsetsRetention
	if keep <= 0 || o.view().topic == nil {
		return nil
	}
	var errs []error
	for _, g := range o.view().parts {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.noteLeft(ctx, g); err != nil {
			errs = append(errs, err)
			continue
		}
		// First with commits under way: mostly there is nothing to be done. Who is
		// live is asked before anything is shut or locked: a group's lock comes first.
		err := g.catchUp(ctx)
		if err == nil {
			live := g.live()
			if len(g.expired(keep, live)) > 0 {
				err = o.expire(ctx, g, keep, live)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		return errors.Is(err, ErrFailed) || errors.Is(err, ErrCorrupt) // which were told when they were found
	})...)
}

// noteLeft writes down that groups have no members whose last record has some: those
// ended with their process, and their time runs from now on, as in Kafka it does when
// their sessions have timed out.
func (s *Store) noteLeft(ctx context.Context, g *offsetsPartition) error {
	if err := g.catchUp(ctx); err != nil {
		return err
	}
	live := g.live()
	var left []string
	g.mu.RLock()
	for name, group := range g.mu.state.groups {
		if group.hadMembers() && !live[name] {
			left = append(left, name)
		}
	}
	g.mu.RUnlock()
	var errs []error
	for _, name := range left {
		errs = append(errs, s.noteLeftOne(ctx, name))
	}
	return errors.Join(errs...)
}

func (s *Store) noteLeftOne(ctx context.Context, name string) error {
	release, err := s.emptyGroup(name)
	if errors.Is(err, ErrGroupNotEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	v, _, err := s.offsets.saved(ctx, name)
	if err != nil || len(v.Members) == 0 {
		return err
	}
	v.Members, v.Protocol, v.Leader, v.CurrentStateTimestamp = nil, nil, nil, time.Now().UnixMilli()
	return s.saveGroup(ctx, name, v)
}

// hadMembers tells whether the last record of the group names any.
func (g *groupState) hadMembers() bool { return g.meta != nil && len(g.meta.Members) > 0 }

// expire removes what has expired while nobody can commit.
func (o *offsets) expire(ctx context.Context, g *offsetsPartition, keep time.Duration, live map[string]bool) error {
	if err := o.gate.shut(ctx); err != nil {
		return err
	}
	defer o.gate.open()
	if err := g.catchUp(ctx); err != nil {
		return err
	}
	keys := g.expired(keep, live)
	if len(keys) == 0 {
		return nil
	}
	g.mu.RLock()
	old := g.mu.state.old
	g.mu.RUnlock()
	return g.bury(ctx, keys, old)
}

// expired are the keys that are to be removed now, of what is known.
func (g *offsetsPartition) expired(keep time.Duration, live map[string]bool) []offsetsKey {
	now := time.Now().UnixMilli()
	g.mu.RLock()
	defer g.mu.RUnlock()
	state := g.mu.state
	left := map[string]bool{} // groups that keep something
	expired := func(k offsetsKey) bool {
		group := state.groups[k.group]
		if group == nil || live[k.group] || group.hadMembers() || state.isPending(k) {
			return false
		}
		since := int64(0)
		if group.meta != nil {
			since = group.meta.CurrentStateTimestamp
		}
		if k.meta {
			return !left[k.group] && now-since >= keep.Milliseconds()
		}
		c, _ := state.stored(k)
		if c.expires >= 0 {
			return now >= c.expires
		}
		return now-max(since, c.at) >= keep.Milliseconds()
	}
	keys := state.keys(func(k offsetsKey) bool {
		if k.meta {
			return false
		}
		gone := expired(k)
		left[k.group] = left[k.group] || !gone
		return gone
	})
	return append(keys, state.keys(func(k offsetsKey) bool { return k.meta && expired(k) })...)
}

// live are the groups of the partition that have members.
func (g *offsetsPartition) live() map[string]bool {
	isLive := g.p.topic.store.offsets.live
	if isLive == nil {
		return nil
	}
	g.mu.RLock()
	names := slices.Collect(maps.Keys(g.mu.state.groups))
	g.mu.RUnlock()
	live := map[string]bool{}
	for _, name := range names {
		if isLive(name) {
			live[name] = true
		}
	}
	return live
}
