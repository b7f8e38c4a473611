package leat

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/log"
)

// offsets are the committed offsets of a store, and the metadata of its groups:
// what __consumer_offsets says. It is read when it is first asked for, and from
// then on what has come since: what is known is always what the log says up to
// its high watermark, in its order, whoever has appended it. So a commit has
// nothing to do but to append, and replay, a follower in another process and
// transactions have no ways of their own.
//
// The topic is made by the first commit or the first member of a group, with one
// partition, so that commits of all groups share their syncs. One that was adopted
// keeps the partitions that it has.
type offsets struct {
	store *Store
	gate  offsetsGate
	now   atomic.Pointer[offsetsView]
	// live tells whether a group has members in this process; nil: none has.
	live func(group string) bool

	mu sync.Mutex // of who replaces now
}

// offsetsView is the topic as it was found last.
type offsetsView struct {
	topic    *Topic
	settings *settings
	parts    []*offsetsPartition // by number
}

// committedOffsets is what is committed, brought up to date. A partition of
// __consumer_offsets that cannot be read is told of to those who ask for its
// groups.
func (s *Store) committedOffsets(ctx context.Context) (*offsets, error) {
	s.follow.look(true)
	if s.isClosed() {
		return nil, ErrClosed
	}
	o := &s.offsets
	return o, o.load(ctx)
}

// view looks whether the topic is still what it was.
func (o *offsets) view() *offsetsView {
	s := o.store
	s.mu.RLock()
	t := s.mu.topics[offsetsTopic]
	s.mu.RUnlock()
	v := o.now.Load()
	if v != nil && v.topic == t && (t == nil || v.settings == t.settings.Load()) {
		return v
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s.mu.RLock()
	t = s.mu.topics[offsetsTopic] // others may have seen a later one meanwhile
	s.mu.RUnlock()
	next := &offsetsView{topic: t}
	if t != nil {
		next.settings = t.settings.Load()
		for id := range next.settings.spans().all() {
			next.parts = append(next.parts, o.keep(t.handle(id)))
		}
	}
	o.now.Store(next)
	return next
}

// keep is what is known of a partition already. o.mu is held.
func (o *offsets) keep(p *Partition) *offsetsPartition {
	if v := o.now.Load(); v != nil {
		for _, known := range v.parts {
			if known.p == p {
				return known
			}
		}
	}
	return newOffsetsPartition(p)
}

// load brings all partitions up to date, side by side when it is the first time.
// Its error is ctx's, or ErrClosed.
func (o *offsets) load(ctx context.Context) error {
	parts := o.view().parts
	if len(parts) == 1 {
		_ = parts[0].catchUp(ctx) // who asks for its groups is told
	} else {
		var (
			wg    sync.WaitGroup
			slots = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
		)
		for _, p := range parts {
			if p.current() {
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				_ = p.catchUp(ctx)
			})
		}
		wg.Wait()
	}
	if o.store.isClosed() {
		return ErrClosed
	}
	return ctx.Err()
}

// home is the partition of a group: that in which its records are, or else the
// one that Kafka would choose, or the next that there is. An adopted directory
// may have some of the partitions only, and so another count. nil: there is no
// topic yet. The partitions have been loaded.
func (o *offsets) home(group string) (*offsetsPartition, error) {
	v := o.view()
	if len(v.parts) == 0 {
		return nil, nil
	}
	want := coordination.PartitionOf(group, v.settings.config.Partitions)
	i, _ := slices.BinarySearchFunc(v.parts, want, func(p *offsetsPartition, id int32) int { return int(p.p.id - id) })
	if i == len(v.parts) {
		i = 0
	}
	chosen := v.parts[i]
	if len(v.parts) == 1 || chosen.has(group) {
		return chosen, nil
	}
	for _, p := range v.parts {
		if p.has(group) {
			return p, nil
		}
	}
	if v.settings.present != nil {
		// The records may be where nobody can read them.
		for _, p := range v.parts {
			if err := p.broken(); err != nil {
				return nil, err
			}
		}
	}
	return chosen, nil
}

// of is the partition of a group, up to date; nil: there is no topic yet.
func (o *offsets) of(ctx context.Context, group string) (*offsetsPartition, error) {
	if err := o.load(ctx); err != nil {
		return nil, err
	}
	p, err := o.home(group)
	if p == nil || err != nil {
		return nil, err
	}
	return p, p.catchUp(ctx)
}

// fetch is what a group has committed of a partition. When there is nothing,
// committed.unstable may still be set.
//
// *CorruptError: the part of __consumer_offsets that the group is in is damaged;
// ErrFailed: it has failed, see Partition.Reopen. Nobody can tell then.
func (o *offsets) fetch(group string, tp log.TopicPartition) (committed, bool, error) {
	p, err := o.of(context.Background(), group)
	if p == nil || err != nil {
		return nothingCommitted, false, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	c, ok := p.mu.state.fetch(group, tp)
	return c, ok, nil
}

// all lists what a group has committed, by topic and partition. Errors are those
// of fetch.
func (o *offsets) all(group string) ([]groupOffset, error) {
	p, err := o.of(context.Background(), group)
	if p == nil || err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.mu.state.all(group), nil
}

// groups lists the groups that have committed something, or have metadata,
// sorted: of a partition that is damaged, those found before the damage.
func (o *offsets) groups() []string {
	_ = o.load(context.Background()) // who asks for one of them is told
	names := map[string]bool{}
	for _, p := range o.view().parts {
		p.mu.RLock()
		for name := range p.mu.state.groups {
			names[name] = true
		}
		p.mu.RUnlock()
	}
	return slices.Sorted(maps.Keys(names))
}

// metadata is the latest generation of a group that was saved, as far as that can
// be told.
func (o *offsets) metadata(group string) (coordination.GroupValue, bool) {
	v, ok, _ := o.saved(context.Background(), group)
	return v, ok
}

// saved is metadata for whoever goes on from there. Errors are those of fetch.
func (o *offsets) saved(ctx context.Context, group string) (v coordination.GroupValue, ok bool, err error) {
	p, err := o.of(ctx, group)
	if p == nil || err != nil {
		return v, false, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if g := p.mu.state.groups[group]; g != nil && g.meta != nil {
		return *g.meta, true, nil
	}
	return v, false, nil
}
