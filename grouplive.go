package leat

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leatlog/leat/log"
)

// liveGroup is a group that has members in this process, as it was for a moment.
type liveGroup struct {
	// state is Kafka's word (KIP-848): "Stable" when everyone has what he is to have,
	// "Reconciling" while something is on its way.
	state      string
	generation int32
	balancer   string // Kafka's name, for those that are Kafka's
	members    []liveMember
}

// liveMember is a member of a liveGroup.
type liveMember struct {
	id      string
	topics  []string // subscribed to; of a pattern, those that there are
	pattern string
	owned   []log.TopicPartition // that he has been told of
	away    time.Time            // since when he is away from Poll; zero: he is not
}

// liveGroup is a group that has members now.
func (s *Store) liveGroup(name string) (liveGroup, bool) {
	g := s.coordinator.known(name)
	if g == nil || name == "" {
		return liveGroup{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 {
		return liveGroup{}, false
	}
	live := liveGroup{state: "Stable", generation: g.generation.Load(), balancer: balancerName(g.balancer)}
	for s := range g.slots() {
		if s.owner != s.target || s.owner != nil && s.state != slotHeld {
			live.state = "Reconciling"
		}
	}
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		l := liveMember{id: id, topics: slices.Clone(m.sub.sorted), pattern: m.sub.pattern}
		for s := range m.owned {
			if s.state != slotGiven {
				l.owned = append(l.owned, s.tp())
			}
		}
		slices.SortFunc(l.owned, comparePartitions)
		if since := m.away.Load(); since > 0 {
			l.away = g.born.Add(time.Duration(since))
		}
		live.members = append(live.members, l)
	}
	return live, true
}

// liveGroups are the groups that have members now, by name.
func (s *Store) liveGroups() []string {
	var names []string
	for _, g := range s.coordinator.groups() {
		g.mu.Lock()
		if g.name != "" && len(g.members) > 0 {
			names = append(names, g.name)
		}
		g.mu.Unlock()
	}
	slices.Sort(names)
	return names
}

// groupIsLive tells whether a group has members, or some who may come back.
func (s *Store) groupIsLive(name string) bool {
	g := s.coordinator.known(name)
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)+len(g.evicted) > 0
}

// emptyGroup holds a group without members, so that nobody joins while its
// offsets are reset or deleted: until release they wait, and who has timed out stays
// away. What the group remembers of partitions without a commit stays, see
// forgetBegun. ErrGroupNotEmpty: it has members, or a commit of one who has left is
// under way.
func (s *Store) emptyGroup(name string) (release func(), err error) {
	for {
		g, err := s.coordinator.take(s, name)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		g.kept--
		saving := g.saving
		switch {
		case len(g.members) > 0 || len(g.commits) > 0:
			g.mu.Unlock()
			return nil, fmt.Errorf("%w: %q", ErrGroupNotEmpty, name)
		case saving == nil: // a record of the group must not come after its tombstone
			if g.held++; g.held == 1 {
				g.released = make(chan struct{})
			}
			g.mu.Unlock()
			return g.release, nil
		}
		g.mu.Unlock()
		<-saving
	}
}

// raiseGeneration tells a group that is held which generation others have reached.
func (s *Store) raiseGeneration(name string, generation int32) {
	if g := s.coordinator.known(name); g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.raise(generation)
	}
}

func (g *group) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held--; g.held > 0 {
		return
	}
	close(g.released)
	for m := range g.evicted {
		m.tell()
	}
	g.tidy()
}

// forgetBegun makes a group that emptyGroup holds begin at Start in topics, without
// any in all, where nothing is committed: what it remembered is forgotten.
func (s *Store) forgetBegun(name string, topics ...string) {
	g := s.coordinator.known(name)
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for t, memory := range g.memory {
		if len(topics) == 0 || slices.Contains(topics, t.name) {
			memory.begun, memory.first = nil, t.cfg().Partitions
		}
	}
}
