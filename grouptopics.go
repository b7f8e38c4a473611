package leat

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/leatlog/leat/log"
)

// subscriptionConfig is what a member subscribes to, as it was asked for.
type subscriptionConfig struct {
	key     string   // the same for the same
	names   []string // sorted; nil: a pattern
	pattern string
	match   *regexp.Regexp // of the whole name
}

func newSubscriptionConfig(topics []string, pattern string) (subscriptionConfig, error) {
	switch {
	case len(topics) > 0 && pattern != "":
		return subscriptionConfig{}, invalidConfig("Topics and Pattern: one of them, not both")
	case len(topics) == 0 && pattern == "":
		return subscriptionConfig{}, invalidConfig("neither Topics nor Pattern")
	case len(topics) > 0:
		names := slices.Compact(slices.Sorted(slices.Values(topics)))
		return subscriptionConfig{key: "t" + strings.Join(names, "\x00"), names: names}, nil
	}
	_, err := regexp.Compile(pattern) // alone: "a)|(b" is none, and would be one below
	var match *regexp.Regexp
	if err == nil {
		match, err = regexp.Compile(`\A(?:` + pattern + `)\z`)
	}
	if err != nil {
		return subscriptionConfig{}, invalidConfig("Pattern %q: %v", pattern, err)
	}
	return subscriptionConfig{key: "p" + pattern, pattern: pattern, match: match}, nil
}

// subscription is what one or more members have subscribed to.
type subscription struct {
	subscriptionConfig
	members map[*member]struct{}
	known   bool              // topics are those that there are now
	topics  map[string]*Topic // not changed, but replaced
	sorted  []string          // their names
}

// consumedTopic is a topic that a group consumes.
type consumedTopic struct {
	topic    *Topic
	settings *settings // of which slots were made
	slots    []*slot   // by number
}

// topicMemory is what must be known of a topic when a partition of it is assigned
// without a commit.
type topicMemory struct {
	first int32           // partitions from this one on came later than the group
	begun map[int32]int64 // where a partition was begun
}

// slot is a partition of the group; nil if there is no such.
func (g *group) slot(tp log.TopicPartition) *slot {
	t := g.topics[tp.Topic]
	if t == nil || tp.Partition < 0 {
		return nil
	}
	if i := int(tp.Partition); i < len(t.slots) && t.slots[i].id == tp.Partition {
		return t.slots[i]
	}
	i, found := slices.BinarySearchFunc(t.slots, tp.Partition, func(s *slot, id int32) int { return int(s.id) - int(id) })
	if !found {
		return nil
	}
	return t.slots[i]
}

// subscribe counts m to those who have subscribed to the same. A topic that is
// named must be there the first time.
func (g *group) subscribe(m *member, first bool) error {
	sub := g.subs[m.config.key]
	if sub == nil {
		sub = &subscription{subscriptionConfig: m.config, members: map[*member]struct{}{}}
	}
	g.resolve(sub)
	if first {
		for _, name := range sub.names {
			if sub.topics[name] == nil {
				return unknownTopic(name)
			}
		}
	}
	g.subs[m.config.key] = sub
	sub.members[m] = struct{}{}
	m.sub = sub
	if first {
		for _, t := range sub.topics {
			g.remember(t, t.cfg().Partitions)
		}
	}
	return nil
}

func (g *group) unsubscribe(m *member) {
	delete(m.sub.members, m)
	if len(m.sub.members) == 0 {
		delete(g.subs, m.sub.key)
	}
}

// resolve finds the topics of a subscription.
func (g *group) resolve(sub *subscription) {
	if sub.known {
		return
	}
	sub.known, sub.topics = true, map[string]*Topic{}
	s := g.store
	s.mu.RLock()
	for _, name := range sub.names {
		if t := s.mu.topics[name]; t != nil {
			sub.topics[name] = t
		}
	}
	if sub.match != nil {
		for name, t := range s.mu.topics {
			if !strings.HasPrefix(name, internalPrefix) && sub.match.MatchString(name) {
				sub.topics[name] = t
			}
		}
	}
	s.mu.RUnlock()
	sub.sorted = slices.Sorted(maps.Keys(sub.topics))
}

// remember notes how many partitions a topic has that Start is for.
func (g *group) remember(t *Topic, first int32) *topicMemory {
	if g.memory[t] == nil {
		g.memory[t] = &topicMemory{first: first}
	}
	return g.memory[t]
}

// lookAgain looks at all topics again, since some have changed.
func (g *group) lookAgain() {
	for t := range g.memory {
		if t.deleted.Load() {
			delete(g.memory, t)
		}
	}
	for _, sub := range g.subs {
		before := sub.topics
		sub.known = false
		g.resolve(sub)
		for _, name := range sub.names {
			if before[name] != nil && sub.topics[name] == nil {
				for m := range sub.members {
					m.fail(unknownTopic(name))
				}
			}
		}
	}
}

// updateSlots makes the group's partitions those of the topics that its members
// have subscribed to, and tells whether they were others.
func (g *group) updateSlots() (changed bool) {
	wanted := map[string]*Topic{}
	for _, sub := range g.subs {
		for name, t := range sub.topics {
			if !t.deleted.Load() {
				wanted[name] = t
			}
		}
	}
	for name, t := range g.topics {
		if wanted[name] != t.topic {
			for _, s := range t.slots {
				g.drop(s)
			}
			changed = true
			delete(g.topics, name)
		}
	}
	for name, topic := range wanted {
		t := g.topics[name]
		now := topic.settings.Load()
		if t == nil {
			t = &consumedTopic{topic: topic}
			g.topics[name] = t
		} else if t.settings == now {
			continue
		}
		t.settings = now
		// Partitions are only ever added, behind those there are.
		first, next := g.remember(topic, 0).first, int32(0)
		if n := len(t.slots); n > 0 {
			next = t.slots[n-1].id + 1
		}
		for id := range now.spans().all() {
			if id >= next {
				t.slots = append(t.slots, &slot{topic: topic, id: id, fresh: id >= first})
				changed = true
			}
		}
	}
	return changed
}

// drop takes a partition that there is no more from whoever has it.
func (g *group) drop(s *slot) {
	m := s.owner
	if m == nil {
		return
	}
	delete(m.owned, s)
	s.owner = nil
	if s.state == slotHeld {
		m.lost = append(m.lost, s.tp())
		m.tell()
	}
}

// topicsChanged has the groups look at their topics again: one was made or
// deleted, or has got partitions.
func (s *Store) topicsChanged() {
	for _, g := range s.coordinator.groups() {
		g.mu.Lock()
		if !g.closed && !g.dead {
			g.lookAgain()
			g.rebalance(false)
		}
		g.mu.Unlock()
	}
}
