package leat

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/leatlog/leat/internal/coordination"
)

// saveLocked has the group saved, in the background: whatever has changed until
// the disk is free is saved at once.
func (g *group) saveLocked() {
	if g.name == "" || g.closed {
		return
	}
	g.unsaved = true
	if g.saving == nil {
		g.saving = make(chan struct{})
		g.store.coordinator.work.Add(1)
		go g.save()
	}
}

func (g *group) save() {
	defer g.store.coordinator.work.Done()
	for g.saveOne() {
	}
}

// saveOne saves the group if it has changed, and tells whether it had.
func (g *group) saveOne() bool {
	g.mu.Lock()
	if !g.unsaved {
		close(g.saving)
		g.saving = nil
		g.tidy()
		g.mu.Unlock()
		return false
	}
	g.unsaved = false
	saved := g.snapshot()
	g.mu.Unlock()
	v, err := saved.value()
	if err == nil {
		err = g.store.saveGroup(context.Background(), g.name, v)
		if errors.Is(err, ErrRecordTooLarge) {
			// That the generation never falls is what counts.
			v.Members = nil
			err = g.store.saveGroup(context.Background(), g.name, v)
		}
	}
	g.mu.Lock()
	g.lost = err != nil
	g.mu.Unlock()
	if err != nil {
		g.store.logger.Warn("group not saved", "group", g.name, "err", err)
	}
	return true
}

// savedGroup is a group as it is to be saved: as one of Kafka's classic groups,
// which has its target, so that Kafka's tools can show it.
type savedGroup struct {
	coordination.GroupValue
	subscriptions []coordination.Subscription // of each of the members
	assignments   []coordination.Assignment
}

// snapshot takes what is to be saved.
func (g *group) snapshot() *savedGroup {
	v := &savedGroup{GroupValue: coordination.GroupValue{
		Version: 3, ProtocolType: coordination.ConsumerProtocol,
		Generation: g.generation.Load(), CurrentStateTimestamp: time.Now().UnixMilli(),
	}}
	if len(g.members) == 0 {
		return v
	}
	place := map[*member]int{}
	for i, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		place[m] = i
		saved := coordination.GroupMember{ID: id, ClientID: id, ClientHost: "/127.0.0.1"}
		if m.named {
			saved.InstanceID = &m.id
		}
		saved.RebalanceTimeout = int32(min(m.timeout.Milliseconds(), math.MaxInt32))
		if m.timeout < 0 {
			saved.RebalanceTimeout = math.MaxInt32
		}
		saved.SessionTimeout = saved.RebalanceTimeout
		v.Members = append(v.Members, saved)
		v.subscriptions = append(v.subscriptions, coordination.Subscription{Version: 3, Topics: m.sub.sorted, Generation: -1})
		v.assignments = append(v.assignments, coordination.Assignment{Version: 3})
	}
	protocol := balancerName(g.balancer)
	v.Protocol, v.Leader = &protocol, &v.Members[0].ID
	for _, name := range slices.Sorted(maps.Keys(g.topics)) {
		for _, s := range g.topics[name].slots {
			if s.target == nil {
				continue
			}
			list := &v.assignments[place[s.target]].Partitions
			if n := len(*list); n == 0 || (*list)[n-1].Topic != name {
				*list = append(*list, coordination.TopicPartitions{Topic: name})
			}
			of := &(*list)[len(*list)-1]
			of.Partitions = append(of.Partitions, s.id)
		}
	}
	return v
}

// value is the record's.
func (v *savedGroup) value() (_ coordination.GroupValue, err error) {
	for i := range v.Members {
		if v.Members[i].Subscription, err = coordination.AppendSubscription(nil, v.subscriptions[i]); err != nil {
			break
		}
		if v.Members[i].Assignment, err = coordination.AppendAssignment(nil, v.assignments[i]); err != nil {
			break
		}
	}
	return v.GroupValue, err
}

// savedGeneration is the last generation of a group that was saved, 0 if none was.
// Where that cannot be told, none is begun: it could be one that has been.
func (s *Store) savedGeneration(ctx context.Context, group string) (int32, error) {
	o, err := s.committedOffsets(ctx)
	if err != nil {
		return 0, err
	}
	v, _, err := o.saved(ctx, group)
	return v.Generation, err
}
