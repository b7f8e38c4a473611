package leat

import (
	"cmp"
	"slices"
	"strings"

	"github.com/leatlog/leat/log"
)

type sticky struct{}

// String is Kafka's name for one that moves partitions one by one and not all at
// once, as stored in __consumer_offsets.
func (sticky) String() string { return "cooperative-sticky" }

func (sticky) Assign(members []Member, parts []Position) map[string][]Position {
	if len(members) == 0 {
		return map[string][]Position{}
	}
	for i := range members {
		if !slices.Equal(members[i].Topics, members[0].Topics) {
			return newStickyMix(members, parts).assign()
		}
	}
	return stickyEven(members, parts)
}

// stickyOwners is which member has each of parts, or -1. Members keep only what
// there still is, they still subscribe to, and nobody before them has.
func stickyOwners(members []Member, parts []Position) []int {
	index := make(map[log.TopicPartition]int, len(parts))
	owners := make([]int, len(parts))
	for i, p := range parts {
		index[log.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = i
		owners[i] = -1
	}
	for m := range members {
		topic, mine := "", false
		for _, p := range members[m].Owned {
			if p.Topic != topic || topic == "" {
				topic, mine = p.Topic, subscribed(&members[m], p.Topic)
			}
			i, found := index[log.TopicPartition{Topic: p.Topic, Partition: p.Partition}]
			if found && mine && owners[i] < 0 {
				owners[i] = m
			}
		}
	}
	return owners
}

// stickyEven is for members that have all subscribed to the same: everyone gets
// the same number, or one more. Who has more than the others already is who gets
// that one, so that nothing moves that need not.
func stickyEven(members []Member, parts []Position) map[string][]Position {
	parts = slices.DeleteFunc(slices.Clone(parts), func(p Position) bool { return !subscribed(&members[0], p.Topic) })
	owners := stickyOwners(members, parts)
	has := make([]int, len(members))
	for _, m := range owners {
		if m >= 0 {
			has[m]++
		}
	}
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(has[b], has[a]) })
	quota := make([]int, len(members))
	for i, m := range order {
		quota[m] = len(parts) / len(members)
		if i < len(parts)%len(members) {
			quota[m]++
		}
	}
	// Who has too many gives up some from all over his list, not one topic of it.
	given := newGiven(members)
	seen := make([]int, len(members))
	var free []Position
	for i, p := range parts {
		m := owners[i]
		if m < 0 {
			free = append(free, p)
			continue
		}
		n, q := int64(seen[m]), int64(min(quota[m], has[m]))
		seen[m]++
		if n*q%int64(has[m]) < q {
			given.add(m, p)
		} else {
			free = append(free, p)
		}
	}
	// The rest is dealt out, so that neighbours go to different members.
	for m := 0; len(free) > 0; m = (m + 1) % len(members) {
		if len(given.parts[m]) < quota[m] {
			given.add(m, free[0])
			free = free[1:]
		}
	}
	return given.byID()
}

// stickyMix is for members that have subscribed to different topics. Topics
// that the same members have subscribed to make a class: what goes for one of
// their partitions goes for all.
type stickyMix struct {
	members []Member
	parts   []Position
	load    []int
	classes []stickyClass
	of      [][]stickyPlace // each member's classes
	class   map[string]int  // of a topic
}

type stickyClass struct {
	members []int
	has     [][]int // the partitions of each of members, as places in parts; those that were his before come first
}

// stickyPlace is where a member is in a class.
type stickyPlace struct{ class, place int }

func newStickyMix(members []Member, parts []Position) *stickyMix {
	s := &stickyMix{
		members: members, parts: parts, load: make([]int, len(members)),
		of: make([][]stickyPlace, len(members)), class: map[string]int{},
	}
	who := map[string][]int{} // by topic
	for _, p := range parts {
		if _, found := who[p.Topic]; !found {
			who[p.Topic] = nil
		}
	}
	for m := range members {
		for _, topic := range members[m].Topics {
			if list, found := who[topic]; found {
				who[topic] = append(list, m)
			}
		}
	}
	known := map[string]int{}
	for i, p := range parts {
		if i > 0 && p.Topic == parts[i-1].Topic {
			continue
		}
		list := who[p.Topic]
		bits := make([]byte, len(members)/8+1)
		for _, m := range list {
			bits[m/8] |= 1 << (m % 8)
		}
		c, found := known[string(bits)]
		if !found {
			c = len(s.classes)
			known[string(bits)] = c
			s.classes = append(s.classes, stickyClass{list, make([][]int, len(list))})
			for place, m := range list {
				s.of[m] = append(s.of[m], stickyPlace{c, place})
			}
		}
		s.class[p.Topic] = c
	}
	return s
}

func (s *stickyMix) assign() map[string][]Position {
	owners := stickyOwners(s.members, s.parts)
	var free []int
	for i, m := range owners {
		if m < 0 {
			free = append(free, i)
			continue
		}
		c := &s.classes[s.class[s.parts[i].Topic]]
		place, _ := slices.BinarySearch(c.members, m)
		s.give(c, place, i)
	}
	// Those that few can have come first: the others have a choice.
	slices.SortStableFunc(free, func(a, b int) int {
		return cmp.Compare(len(s.classOf(a).members), len(s.classOf(b).members))
	})
	for _, i := range free {
		c := s.classOf(i)
		best := -1
		for place, m := range c.members {
			if best < 0 || s.load[m] < s.load[c.members[best]] {
				best = place
			}
		}
		if best >= 0 {
			s.give(c, best, i)
		}
	}
	for s.even() {
	}
	given := newGiven(s.members)
	for c := range s.classes {
		for place, list := range s.classes[c].has {
			for _, i := range list {
				given.add(s.classes[c].members[place], s.parts[i])
			}
		}
	}
	for m := range given.parts {
		slices.SortFunc(given.parts[m], comparePositions)
	}
	return given.byID()
}

func (s *stickyMix) classOf(part int) *stickyClass { return &s.classes[s.class[s.parts[part].Topic]] }

func (s *stickyMix) give(c *stickyClass, place, part int) {
	c.has[place] = append(c.has[place], part)
	s.load[c.members[place]]++
}

// even moves partitions to those that have the fewest, one at a time, from those
// that have two more at least, and tells whether there were any. A partition may go by way of
// others: one takes it and gives up another. When there is no such way left,
// nobody's share can be lowered but by raising that of one with as many.
func (s *stickyMix) even() (moved bool) {
	order := make([]int, len(s.members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.load[a], s.load[b]) })
	for _, light := range order {
		for s.fetch(light) {
			moved = true
		}
	}
	return moved
}

// step is how a partition goes on from a member: to whom, and in which class. The
// places are those of both there.
type step struct{ to, class, fromPlace, toPlace int }

// fetch gets a partition for a member, if anyone can spare one, from him who has
// the most, and of several by the shortest way.
func (s *stickyMix) fetch(light int) bool {
	ways := make([]step, len(s.members)) // the way on from each member towards light
	reached := make([]bool, len(s.members))
	looked := make([]bool, len(s.classes))
	reached[light] = true
	heavy := light
	for queue := []int{light}; len(queue) > 0; queue = queue[1:] {
		m := queue[0]
		for _, at := range s.of[m] {
			if looked[at.class] {
				continue
			}
			looked[at.class] = true
			c := &s.classes[at.class]
			for place, from := range c.members {
				if reached[from] || len(c.has[place]) == 0 {
					continue
				}
				reached[from] = true
				ways[from] = step{m, at.class, place, at.place}
				queue = append(queue, from)
				if s.load[from] > s.load[heavy] {
					heavy = from
				}
			}
		}
	}
	if s.load[heavy] < s.load[light]+2 {
		return false
	}
	for m := heavy; m != light; m = ways[m].to {
		w := ways[m]
		c := &s.classes[w.class]
		last := len(c.has[w.fromPlace]) - 1
		part := c.has[w.fromPlace][last]
		c.has[w.fromPlace] = c.has[w.fromPlace][:last]
		c.has[w.toPlace] = append(c.has[w.toPlace], part)
	}
	s.load[heavy]--
	s.load[light]++
	return true
}

// comparePositions orders by topic and partition.
func comparePositions(a, b Position) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
