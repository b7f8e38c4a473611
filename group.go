package leat

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/log"
)

// coordinator is what a store knows of the consumer groups of this process.
//
// A group's target is the assignment that its balancer has made. Each member is
// brought to it by himself, in his own Poll: he is told to give up what is to be
// another's, and is given what is his and free. A partition is free when the one who
// had it has given it up, left or timed out, and no commit of it is under way. So it
// never has two owners, and nobody stops for what he keeps (KIP-429, KIP-848).
type coordinator struct {
	// work counts armed timers and goroutines that save. It is added to with the
	// lock held of a group that is not closed.
	work sync.WaitGroup

	mu     sync.Mutex // taken with a group's lock held, never the other way round
	closed bool
	named  map[string]*group
	alone  map[*group]struct{} // of consumers without a group
}

func (c *coordinator) init(s *Store) {
	s.offsets.live = s.groupIsLive
	c.named = map[string]*group{}
	c.alone = map[*group]struct{}{}
}

// take is the group of a name, made if there is none, or of an empty name a new
// one. It is not forgotten before leave.
func (c *coordinator) take(s *Store, name string) (*group, error) {
	for {
		c.mu.Lock()
		g := c.named[name]
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		if g == nil {
			g = newGroup(s, name)
			if name == "" {
				c.alone[g] = struct{}{}
			} else {
				c.named[name] = g
			}
		}
		c.mu.Unlock()
		g.mu.Lock()
		if g.dead { // since a moment ago
			g.mu.Unlock()
			continue
		}
		g.kept++
		g.mu.Unlock()
		return g, nil
	}
}

// known is the group of a name, nil if nothing is remembered of it.
func (c *coordinator) known(name string) *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.named[name]
}

func (c *coordinator) groups() []*group {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Values(c.named)), maps.Keys(c.alone))
}

// end tells all members that the store is closed, and waits until all generations
// are saved, so that it comes before the store refuses to be written to. Nobody
// joins any more.
func (c *coordinator) end() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, g := range c.groups() {
		g.mu.Lock()
		g.closed = true
		for m := range g.everyone() {
			m.disarmLocked()
			m.tell()
		}
		g.mu.Unlock()
	}
	c.work.Wait()
}

// group is a consumer group that has members, or of which something must be
// remembered that is not in __consumer_offsets.
type group struct {
	store      *Store
	name       string // empty: of one consumer, that nobody else sees
	born       time.Time
	generation atomic.Int32 // changed with mu held

	// mu guards what follows. It is never held while the disk works; a balancer and
	// the wake of a member are called with it.
	mu       sync.Mutex
	kept     int  // by those who have taken it
	dead     bool // the coordinator has forgotten it
	closed   bool // with the store
	members  map[string]*member
	evicted  map[*member]struct{} // who have stayed away, and may come back
	made     int                  // names that were made up
	balancer Balancer             // of the members
	subs     map[string]*subscription
	topics   map[string]*consumedTopic // that any member has subscribed to
	memory   map[*Topic]*topicMemory
	commits  map[log.TopicPartition]int // under way

	held     int           // by emptyGroup
	released chan struct{} // closed when held is 0 again

	unsaved bool          // the group has changed since it was saved
	lost    bool          // the last save has failed
	saving  chan struct{} // closed when all is saved; nil: it is
}

func newGroup(s *Store, name string) *group {
	return &group{
		store: s, name: name, born: time.Now(),
		members: map[string]*member{}, evicted: map[*member]struct{}{},
		subs: map[string]*subscription{}, topics: map[string]*consumedTopic{},
		memory: map[*Topic]*topicMemory{}, commits: map[log.TopicPartition]int{},
	}
}

// slot is a partition of a group.
type slot struct {
	topic  *Topic
	id     int32
	fresh  bool    // see assigned
	target *member // whose it is to be; nil: nobody's
	owner  *member // whose it is; nil: nobody's
	state  slotState
	round  *assignment // that has given it to next last
	next   *member
}

// slotState is what the owner knows.
type slotState uint8

const (
	slotGiven   slotState = iota // nothing yet
	slotHeld                     // that he has it
	slotRevoked                  // that he must give it up
)

func (s *slot) tp() log.TopicPartition {
	return log.TopicPartition{Topic: s.topic.name, Partition: s.id}
}

// everyone are the members and those who may come back.
func (g *group) everyone() map[*member]struct{} {
	all := maps.Clone(g.evicted)
	for _, m := range g.members {
		all[m] = struct{}{}
	}
	return all
}

// join makes a member of c.Group or, when it is empty, of a group of one. wake is
// called, from any goroutine and with the group's lock held, when change has
// something new to say; it must not block.
//
// ErrUnknownTopic: there is no topic of a name in Topics. ErrMemberExists: the
// group has a member of that name. ErrInvalidConfig: Pattern is no regular
// expression, or Balancer is not that of the other members. ErrReadOnly: a store
// that is open for reading has no groups. ErrClosed.
func (s *Store) join(ctx context.Context, c *ConsumerConfig, wake func()) (*member, error) {
	if s.follow != nil && c.Group != "" {
		return nil, ErrReadOnly
	}
	m, err := newMember(c, wake)
	if err != nil {
		return nil, err
	}
	s.follow.look(true)
	g, err := s.coordinator.take(s, c.Group)
	if err != nil {
		return nil, err
	}
	defer g.leave()
	saved := int32(0)
	if c.Group != "" {
		// Read while g is kept: of one that was forgotten, the last generation is saved.
		if saved, err = s.savedGeneration(ctx, c.Group); err != nil {
			return nil, err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		wait, err := g.join(m, saved)
		if err != nil {
			return nil, err
		}
		if wait == nil {
			return m, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
}

// leave ends what take began.
func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept--
	g.tidy()
}

// join admits a member for the first time. It returns what to wait for before
// trying again, if somebody holds the group.
func (g *group) join(m *member, saved int32) (wait <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return nil, ErrClosed
	case g.held > 0:
		return g.released, nil
	}
	g.raise(saved)
	for m.id == "" {
		g.made++
		id := fmt.Sprintf("consumer-%d", g.made)
		if g.members[id] == nil {
			m.id = id
		}
	}
	m.group = g
	m.away.Store(g.now())
	if err := g.admit(m, true); err != nil {
		return nil, err
	}
	m.armLocked(m.timeout)
	return nil, nil
}

// raise makes the generation one that was seen elsewhere, if that is higher.
func (g *group) raise(generation int32) {
	if generation > g.generation.Load() {
		g.generation.Store(generation)
	}
}

// admit makes m a member, for the first time or again.
func (g *group) admit(m *member, first bool) error {
	if g.members[m.id] != nil {
		return fmt.Errorf("%w: %q of %q", ErrMemberExists, m.id, g.name)
	}
	if len(g.members) == 0 {
		g.balancer = m.balancer
	} else if !sameBalancer(g.balancer, m.balancer) {
		return invalidConfig("Balancer is %s: the other members of %q have %s", balancerName(m.balancer), g.name, balancerName(g.balancer))
	}
	if err := g.subscribe(m, first); err != nil {
		return err
	}
	m.state = memberActive
	g.members[m.id] = m
	delete(g.evicted, m)
	g.rebalance(true)
	return nil
}

// dismiss takes m's membership, and with it all that is his.
func (g *group) dismiss(m *member) {
	delete(g.members, m.id)
	for s := range m.owned {
		s.owner = nil
	}
	clear(m.owned)
	for _, t := range g.topics {
		for _, s := range t.slots {
			if s.target == m {
				s.target = nil
			}
		}
	}
	g.unsubscribe(m)
	m.disarmLocked()
	g.rebalance(true)
}

// tidy lets the coordinator forget a group of which there is nothing to remember:
// its generation is saved, and nobody has begun to consume.
func (g *group) tidy() {
	if g.dead || len(g.members)+len(g.evicted)+len(g.commits)+g.kept+g.held > 0 || g.saving != nil || g.unsaved || g.lost {
		return
	}
	for _, t := range g.memory {
		if len(t.begun) > 0 && g.name != "" {
			return
		}
	}
	g.dead = true
	c := &g.store.coordinator
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.alone, g)
	if c.named[g.name] == g {
		delete(c.named, g.name)
	}
}

// now is a time of the group's clock, which begins at 1 and is not set.
func (g *group) now() int64 { return max(1, int64(time.Since(g.born))) }

// sameBalancer tells whether two are the same, as far as that can be told: of some
// types, such as functions, no two values can be compared.
func sameBalancer(a, b Balancer) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.Type() != y.Type() {
		return false
	}
	return !x.Comparable() || !y.Comparable() || a == b
}

// balancerName is what stands for a balancer in __consumer_offsets, and in errors.
func balancerName(b Balancer) string {
	if s, ok := b.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", b)
}
