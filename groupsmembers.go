package leat

import (
	"context"
	"slices"
	"strings"

	"github.com/leatlog/leat/internal/coordination"
)

// describeMembers tells who is in a group: of a store that is open for reading, who
// was when the writer last wrote it down.
func (g *Groups) describeMembers(ctx context.Context, info *GroupInfo) error {
	o, err := g.store.committedOffsets(ctx)
	if err != nil {
		return err
	}
	v, _ := o.metadata(info.Group)
	info.Generation = v.Generation
	if v.Protocol != nil {
		info.Protocol = *v.Protocol
	}
	if g.store.follow == nil {
		g.describeLive(info) // of an earlier process nobody is left
		return nil
	}
	for i := range v.Members {
		info.Members = append(info.Members, describeRecorded(&v.Members[i]))
	}
	slices.SortFunc(info.Members, func(a, b GroupMember) int { return strings.Compare(a.ID, b.ID) })
	if len(info.Members) > 0 {
		info.State = GroupStable
	}
	return nil
}

// describeLive is for a group that has members in this process.
func (g *Groups) describeLive(info *GroupInfo) {
	live, ok := g.store.liveGroup(info.Group)
	if !ok {
		return
	}
	if info.State = GroupReconciling; live.state == GroupStable.String() {
		info.State = GroupStable
	}
	info.Generation, info.Protocol = live.generation, live.balancer
	for i := range live.members {
		m := &live.members[i]
		x := GroupMember{ID: m.id, Topics: m.topics, Pattern: m.pattern, Away: m.away}
		for _, tp := range m.owned {
			x.Owned = append(x.Owned, Position{Topic: tp.Topic, Partition: tp.Partition})
		}
		info.Members = append(info.Members, x)
	}
}

// describeRecorded is a member as its record has it. What is not Kafka's consumer
// protocol says nothing of topics.
func describeRecorded(m *coordination.GroupMember) GroupMember {
	x := GroupMember{ID: m.ID}
	if s, err := coordination.ParseSubscription(m.Subscription); err == nil {
		x.Topics = slices.Sorted(slices.Values(s.Topics))
	}
	if a, err := coordination.ParseAssignment(m.Assignment); err == nil {
		for _, t := range a.Partitions {
			for _, id := range t.Partitions {
				x.Owned = append(x.Owned, Position{Topic: t.Topic, Partition: id})
			}
		}
	}
	slices.SortFunc(x.Owned, comparePositions)
	return x
}
