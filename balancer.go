package leat

import "slices"

// The balancers that there are. Each gives the same answer to the same question.
var (
	// Sticky gives every member as many partitions as every other, or one more, and
	// moves as few of them as that takes. Of members that have not all subscribed to
	// the same topics, none gets more than it has to, and what moves is kept low.
	Sticky Balancer = sticky{}
	// RoundRobin deals the partitions of all topics out, one by one, to the members
	// in the order of their names, as Kafka's RoundRobinAssignor does. What it
	// gives is even where all have subscribed to the same topics; much of it moves
	// when members come and go.
	RoundRobin Balancer = roundRobin{}
	// Range cuts the partitions of each topic into as many runs as it has members, in
	// the order of their names, as Kafka's RangeAssignor does: partitions of one
	// number of several topics, if those have as many, go to one member. The first
	// members get more where it does not divide.
	Range Balancer = rangeBalancer{}
)

type roundRobin struct{}

// String is Kafka's name for it, as stored in __consumer_offsets.
func (roundRobin) String() string { return "roundrobin" }

func (roundRobin) Assign(members []Member, parts []Position) map[string][]Position {
	given := newGiven(members)
	has := make([]bool, len(members)) // has subscribed to the topic that is dealt out
	next := 0
	for i, p := range parts {
		if i == 0 || p.Topic != parts[i-1].Topic {
			for n := range members {
				has[n] = subscribed(&members[n], p.Topic)
			}
		}
		for range members {
			n := next
			next = (next + 1) % len(members)
			if has[n] {
				given.add(n, p)
				break
			}
		}
	}
	return given.byID()
}

type rangeBalancer struct{}

// String is Kafka's name for it, as stored in __consumer_offsets.
func (rangeBalancer) String() string { return "range" }

func (rangeBalancer) Assign(members []Member, parts []Position) map[string][]Position {
	given := newGiven(members)
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].Topic == parts[0].Topic {
			n++
		}
		of := parts[:n]
		parts = parts[n:]
		var to []int
		for i := range members {
			if subscribed(&members[i], of[0].Topic) {
				to = append(to, i)
			}
		}
		for i, m := range to {
			// The first get one more, as many as it takes.
			run := n / len(to)
			if i < n%len(to) {
				run++
			}
			given.add(m, of[:run]...)
			of = of[run:]
		}
	}
	return given.byID()
}

func subscribed(m *Member, topic string) bool {
	_, found := slices.BinarySearch(m.Topics, topic)
	return found
}

// given is who gets what, by the members' places in the list.
type given struct {
	members []Member
	parts   [][]Position
}

func newGiven(members []Member) *given {
	return &given{members, make([][]Position, len(members))}
}

func (g *given) add(member int, parts ...Position) {
	g.parts[member] = append(g.parts[member], parts...)
}

func (g *given) byID() map[string][]Position {
	m := make(map[string][]Position, len(g.members))
	for i := range g.members {
		m[g.members[i].ID] = g.parts[i]
	}
	return m
}
