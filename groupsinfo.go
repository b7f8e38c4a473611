package leat

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/leatlog/leat/log"
)

// GroupState is what a group is doing.
type GroupState uint8

const (
	GroupEmpty       GroupState = iota // it has no members
	GroupStable                        // each partition that is to be consumed has its owner
	GroupReconciling                   // partitions are on their way from one member to another; nobody stops for what he keeps
)

// String is Kafka's name of the state, for the last that of KIP-848.
func (s GroupState) String() string {
	return name(s+1, "GroupState", "", "Empty", "Stable", "Reconciling")
}

// GroupInfo is a group at one moment.
type GroupInfo struct {
	Group      string
	State      GroupState
	Generation int32  // of the assignment; rises with every change of it
	Protocol   string // the name of the balancer, as it was last; empty for a group that has only committed
	Members    []GroupMember
	// Partitions are those that the group has committed or that a member owns, by
	// topic and number.
	Partitions []GroupPartition
	Lag        Lag // of all of them together
}

// GroupMember is a member of a group and what it has.
type GroupMember struct {
	ID      string
	Topics  []string // subscribed to, sorted; those of a Pattern are those that it matches now
	Pattern string
	Owned   []Position // partitions, sorted; their offsets mean nothing
	// Away is since when the member has not been in Poll; zero: it is there, or it is
	// not known.
	Away time.Time
}

// GroupPartition is where a group is in a partition.
type GroupPartition struct {
	// Position is what is committed. Offset is -1 when nothing is: the lag is then all
	// that is there.
	Position
	LeaderEpoch int32     // of the last record before it; -1: not known
	CommitTime  time.Time // zero when nothing is committed
	Expires     time.Time // zero: never
	Unstable    bool      // a transaction has yet to decide on a later offset
	Member      string    // whose the partition is; empty: nobody's

	LogStartOffset, LogEndOffset int64 // -1 when the partition cannot be opened
	Lag                          Lag   // up to the last stable offset
	// Err is why there is no log to compare with, or part of the lag could not be found
	// out: ErrUnknownTopic, ErrUnknownPartition, a *CorruptError.
	Err error
}

// Describe tells what there is to know of a group. It opens the partitions that the
// group has committed. ErrUnknownGroup: there is none [DescribeGroups].
func (g *Groups) Describe(ctx context.Context, group string) (GroupInfo, error) {
	info := GroupInfo{Group: group}
	if err := checkGroup(group); err != nil {
		return info, err
	}
	all, err := g.offsets(ctx, group)
	if err != nil {
		return info, err
	}
	if err := g.describeMembers(ctx, &info); err != nil {
		return info, err
	}
	for i := range all {
		info.Partitions = append(info.Partitions, describeOffset(&all[i]))
	}
	info.own()
	for i := range info.Partitions {
		if err := ctx.Err(); err != nil {
			return info, err
		}
		p := &info.Partitions[i]
		if g.measure(p); g.store.isClosed() {
			return info, ErrClosed
		}
		info.Lag = info.Lag.plus(p.Lag)
	}
	return info, nil
}

// Lag is how far a group is behind, in all partitions that it has committed or that
// its members own, together: GroupInfo.Lag.
func (g *Groups) Lag(ctx context.Context, group string) (Lag, error) {
	info, err := g.Describe(ctx, group)
	return info.Lag, err
}

func describeOffset(o *groupOffset) GroupPartition {
	p := GroupPartition{
		Position:    Position{Topic: o.tp.Topic, Partition: o.tp.Partition, Offset: o.offset, Metadata: o.metadata},
		LeaderEpoch: o.epoch,
		Unstable:    o.unstable,
	}
	if o.at >= 0 {
		p.CommitTime = time.UnixMilli(o.at)
	}
	if o.expires >= 0 {
		p.Expires = time.UnixMilli(o.expires)
	}
	return p
}

// own says whose the partitions are, and adds those that only have an owner.
func (i *GroupInfo) own() {
	at := make(map[log.TopicPartition]int, len(i.Partitions))
	for n := range i.Partitions {
		at[log.TopicPartition{Topic: i.Partitions[n].Topic, Partition: i.Partitions[n].Partition}] = n
	}
	for m := range i.Members {
		for _, p := range i.Members[m].Owned {
			tp := log.TopicPartition{Topic: p.Topic, Partition: p.Partition}
			n, ok := at[tp]
			if !ok {
				n, at[tp] = len(i.Partitions), len(i.Partitions)
				i.Partitions = append(i.Partitions, GroupPartition{
					Position: Position{Topic: p.Topic, Partition: p.Partition, Offset: -1}, LeaderEpoch: -1})
			}
			i.Partitions[n].Member = i.Members[m].ID
		}
	}
	slices.SortFunc(i.Partitions, func(a, b GroupPartition) int { return comparePositions(a.Position, b.Position) })
}

// measure looks at the log.
func (g *Groups) measure(p *GroupPartition) {
	p.LogStartOffset, p.LogEndOffset = -1, -1
	q, err := g.partition(p.Topic, p.Partition)
	if err != nil {
		p.Err = err
		return
	}
	p.LogStartOffset, p.LogEndOffset = q.LogStartOffset(), q.LogEndOffset()
	p.Lag, p.Err = lagOf(q, p.Offset, true)
}

func (g *Groups) partition(topic string, id int32) (*Partition, error) {
	t, err := g.store.Topic(topic)
	if err != nil {
		return nil, err
	}
	return t.Partition(id)
}

// String is the group in a line: "mailer: Stable, generation 3, 2 members, 4
// partitions, behind by 120 records, 4000 bytes, 1.2s".
func (i GroupInfo) String() string {
	return fmt.Sprintf("%s: %v, generation %d, %d members, %d partitions, behind by %v",
		i.Group, i.State, i.Generation, len(i.Members), len(i.Partitions), i.Lag)
}
