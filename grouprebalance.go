package leat

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/leatlog/leat/log"
)

// assignment is one answer of a balancer, while it is looked at. Only its address
// counts, by which it is seen which slots have been given in it already: it has a
// size, so that no other has the same.
type assignment struct{ _ byte }

// rebalance has the balancer make a new target, if the partitions are others or,
// so the caller says, the members, and brings the group on its way to it.
func (g *group) rebalance(others bool) {
	if !g.updateSlots() && !others {
		return
	}
	if round, err := g.balance(); err != nil {
		// The old target stays, but for what had to leave it.
		for _, m := range g.members {
			m.fail(err)
		}
	} else {
		for s := range g.slots() {
			if s.round != round {
				s.next = nil
			}
			s.target, s.next, s.round = s.next, nil, nil
		}
	}
	for s := range g.slots() {
		switch {
		case s.owner == s.target:
		case s.owner == nil:
		case s.state == slotGiven: // he does not know yet that he had it
			delete(s.owner.owned, s)
			s.owner = nil
		case s.state == slotHeld:
			s.owner.tell()
		}
		g.give(s)
	}
	if n := g.generation.Load(); n < math.MaxInt32 {
		g.generation.Store(n + 1)
	}
	g.saveLocked()
}

// give makes a partition that is free its next owner's.
func (g *group) give(s *slot) {
	if s.owner != nil || s.target == nil || len(g.commits) > 0 && g.commits[s.tp()] > 0 {
		return
	}
	s.owner, s.state = s.target, slotGiven
	s.owner.owned[s] = struct{}{}
	s.owner.tell()
}

// slots are the group's partitions, in no order.
func (g *group) slots() func(func(*slot) bool) {
	return func(yield func(*slot) bool) {
		for _, t := range g.topics {
			for _, s := range t.slots {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// balance asks the balancer, and looks at its answer: what it returns is in the
// slots' next, if their round is the one returned.
func (g *group) balance() (*assignment, error) {
	round := new(assignment)
	if len(g.members) == 0 || len(g.topics) == 0 {
		return round, nil
	}
	parts, owned := g.partitions()
	own := g.ownBalancer()
	members := make([]Member, 0, len(g.members))
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		topics := m.sub.sorted
		if !own {
			topics = slices.Clone(topics) // others may do with it what they like
		}
		members = append(members, Member{ID: id, Topics: topics, Owned: owned[m]})
	}
	answer, err := callBalancer(g.balancer, members, parts)
	if err == nil {
		err = g.check(round, answer)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalidAssignment, balancerName(g.balancer), err)
	}
	return round, nil
}

// partitions lists the partitions of the group, and those of each member: what he
// is to have, so that what is on the way stays so, else what he has.
func (g *group) partitions() (parts []Position, owned map[*member][]Position) {
	owned = map[*member][]Position{}
	for _, name := range slices.Sorted(maps.Keys(g.topics)) {
		for _, s := range g.topics[name].slots {
			p := Position{Topic: name, Partition: s.id}
			parts = append(parts, p)
			if m := s.target; m != nil {
				owned[m] = append(owned[m], p)
			} else if s.owner != nil {
				owned[s.owner] = append(owned[s.owner], p)
			}
		}
	}
	return parts, owned
}

func (g *group) ownBalancer() bool {
	switch g.balancer.(type) {
	case sticky, roundRobin, rangeBalancer:
		return true
	}
	return false
}

func callBalancer(b Balancer, members []Member, parts []Position) (answer map[string][]Position, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it has panicked: %v", p)
		}
	}()
	return b.Assign(members, parts), nil
}

// check is the rules for an assignment.
func (g *group) check(round *assignment, answer map[string][]Position) error {
	if answer == nil {
		return fmt.Errorf("the answer is nil")
	}
	for _, id := range slices.Sorted(maps.Keys(answer)) {
		m := g.members[id]
		if m == nil {
			return fmt.Errorf("%q is no member", id)
		}
		for _, p := range answer[id] {
			s := g.slot(log.TopicPartition{Topic: p.Topic, Partition: p.Partition})
			switch {
			case s == nil:
				return fmt.Errorf("%q is given %s, which there is not", id, folderName(p.Topic, p.Partition))
			case m.sub.topics[p.Topic] == nil:
				return fmt.Errorf("%q is given %s, and has not subscribed to the topic", id, folderName(p.Topic, p.Partition))
			case s.round == round:
				return fmt.Errorf("%s is given twice, to %q and to %q", folderName(p.Topic, p.Partition), s.next.id, id)
			}
			s.round, s.next = round, m
		}
	}
	return nil
}
