package leat

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// GroupStats is a consumer group at one moment.
type GroupStats struct {
	Group      string
	Members    int // in this process
	Partitions int // that it has committed
	// Lag is how many offsets it has not committed, up to the last stable offset, in
	// those of its partitions that are open. Groups.Lag has those of all, in bytes and
	// in time as well.
	Lag int64
}

// String is like "mailer: 2 members, 4 partitions, behind by 120 records".
func (g GroupStats) String() string {
	return fmt.Sprintf("%s: %d members, %d partitions, behind by %d records", g.Group, g.Members, g.Partitions, g.Lag)
}

// groupStats is made of what is in memory, as of the last commit or look.
func (s *Store) groupStats(topics []*Topic) []GroupStats {
	found := map[string]*GroupStats{}
	of := func(name string) *GroupStats {
		if found[name] == nil {
			found[name] = &GroupStats{Group: name}
		}
		return found[name]
	}
	for _, g := range s.coordinator.groups() {
		g.mu.Lock()
		if n := len(g.members); n > 0 && g.name != "" {
			of(g.name).Members = n
		}
		g.mu.Unlock()
	}
	if v := s.offsets.now.Load(); v != nil {
		for _, p := range v.parts {
			for _, name := range p.names() {
				p.measure(of(name), topics)
			}
		}
	}
	list := make([]GroupStats, 0, len(found))
	for _, g := range found {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b GroupStats) int { return cmp.Compare(a.Group, b.Group) })
	return list
}

// names are those of the groups that have a record.
func (g *offsetsPartition) names() []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return slices.Collect(maps.Keys(g.mu.state.groups))
}

// measure adds what one group has committed. A commit waits no longer than for that.
func (g *offsetsPartition) measure(to *GroupStats, topics []*Topic) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	group := g.mu.state.groups[to.Group]
	if group == nil {
		return
	}
	for _, t := range group.topics {
		to.Partitions += len(t.parts)
		i, ok := slices.BinarySearchFunc(topics, t.name.Value(), func(t *Topic, name string) int { return cmp.Compare(t.name, name) })
		if !ok {
			continue
		}
		for n := range t.parts {
			if l := topics[i].opened(t.parts[n].partition); l != nil {
				to.Lag += max(l.LastStableOffset()-max(t.parts[n].offset, l.LogStartOffset()), 0)
			}
		}
	}
}
