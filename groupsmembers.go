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
	v, ok := o.metadata(info.Group)
	if ok {
		info.Generation = v.Generation
		if v.Protocol != nil {
			info.Protocol = *v.Protocol
		}
	}
	if g.store.follow == nil {
		g.describeLive(info) // nobody of an earlier process is left
		return nil
	}
	for i := range v.Members {
		info.Members = append(info.Members, describeRecorded(&v.Members[i]))
	}
	if len(info.Members) > 0 {
		info.State = GroupStable
	}
	slices.SortFunc(info.Members, func(a, b GroupMember) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

func (g *Groups) describeLive(info *GroupInfo) {}

// describeRecorded is a member as its record has it. A blob that is not Kafka's
// consumer protocol says nothing of topics.
func describeRecorded(m *coordination.GroupMember) GroupMember {
	return GroupMember{ID: m.ID}
}
