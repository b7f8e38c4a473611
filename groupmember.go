package leat

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/log"
)

// defaultPollTimeout is Kafka's max.poll.interval.ms.
const defaultPollTimeout = 5 * time.Minute

// member is a consumer in its group. Its methods are for the consumer's
// goroutine; the group, with its lock held, tells it what is new by news and wake.
type member struct {
	group    *group
	id       string
	named    bool // by the user
	balancer Balancer
	timeout  time.Duration
	wake     func()

	news atomic.Bool // change has something to say, or the caller is at what it has said
	// away is 0 while the member is in Poll, memberGone when it has timed out and
	// not been back since, else since when it is away, by the group's clock.
	away  atomic.Int64
	armed atomic.Bool // the timer runs; changed with the group's lock held

	// The group's lock guards what follows.
	timer  *time.Timer
	state  memberState
	sub    *subscription
	config subscriptionConfig
	owned  map[*slot]struct{}
	known  map[string]*Topic    // that there were when it timed out
	busy   bool                 // away is set, since the caller is at what change has said
	lost   []log.TopicPartition // to be told
	errs   []error              // to be told
}

type memberState uint8

const (
	memberActive  memberState = iota
	memberEvicted             // has timed out; what is lost and the way back are told by change
	memberClosed
)

const memberGone = -1

// change is what a member has to do.
type change struct {
	revoke []log.TopicPartition // to be given up: OnRevoke is called, then m.revoked(revoke)
	lost   bool                 // they are gone already (timed out, topic deleted): OnRevoke is called, commits get ErrRebalanced
	assign []assigned           // the member's from now on
	err    error                // for Poll to return, once (ErrUnknownTopic: a topic named in Topics was deleted; ErrInvalidAssignment; ErrClosed)
}

// assigned is a partition that has become a member's.
type assigned struct {
	part *Partition
	// fresh: it appeared after the group had begun with its topic, or with the
	// pattern that the topic matches. Without a commit it begins at Earliest,
	// whatever Start says, or records would be lost.
	fresh bool
}

func newMember(c *ConsumerConfig, wake func()) (*member, error) {
	m := &member{
		id: c.Member, named: c.Member != "", balancer: c.Balancer, timeout: c.PollTimeout, wake: wake,
		owned: map[*slot]struct{}{},
	}
	orDefault(&m.timeout, defaultPollTimeout)
	if m.balancer == nil {
		m.balancer = Sticky
	}
	if m.timeout < 0 && m.timeout != Unlimited {
		return nil, invalidConfig("PollTimeout is %v: allowed are 0, positive ones and Unlimited", m.timeout)
	}
	var err error
	m.config, err = newSubscriptionConfig(c.Topics, c.Pattern)
	return m, err
}

func (m *member) name() string { return m.id }

// generation is the group's as it is now.
func (m *member) generation() int32 { return m.group.generation.Load() }

// enter says that the member is in Poll, and present until leave.
func (m *member) enter() {
	m.group.store.follow.look(false)
	if m.away.Swap(0) == memberGone {
		m.group.mu.Lock() // until it is evicted, and has news of it
		defer m.group.mu.Unlock()
	}
}

// leave says that Poll returns. From now on the time runs. One who is timed out this
// moment waits until that is done, as in enter.
func (m *member) leave() {
	if m.away.Swap(m.group.now()) == memberGone || m.timeout > 0 && !m.armed.Load() {
		m.group.mu.Lock()
		defer m.group.mu.Unlock()
		m.armLocked(m.timeout)
	}
}

// armLocked sees to it that somebody looks whether m has come back. The timer
// is not stopped by enter: it runs out, finds m present, and is armed by the next
// leave, so that a Poll costs no timer.
func (m *member) armLocked(d time.Duration) {
	if m.timeout < 0 || m.group.closed || m.state != memberActive || m.armed.Load() {
		return
	}
	m.armed.Store(true)
	m.group.store.coordinator.work.Add(1)
	if m.timer == nil {
		m.timer = time.AfterFunc(d, m.expire)
		return
	}
	m.timer.Reset(d)
}

func (m *member) disarmLocked() {
	if m.armed.Load() && m.timer.Stop() {
		m.armed.Store(false)
		m.group.store.coordinator.work.Done()
	}
}

// expire is called when m may have been away for too long.
func (m *member) expire() {
	g := m.group
	defer g.store.coordinator.work.Done()
	if away := m.expired(); away > 0 {
		g.store.logger.Warn("member of group timed out", "group", g.name, "member", m.id, "away", away)
	}
}

// expired evicts m if it has been away for too long: for how long is returned.
func (m *member) expired() time.Duration {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	m.armed.Store(false) // before away is looked at: a leave that comes later arms
	if g.closed || m.state != memberActive {
		return 0
	}
	since := m.away.Load()
	if since == 0 {
		return 0
	}
	away := time.Duration(g.now() - since)
	if left := m.timeout - away; left > 0 {
		m.armLocked(left)
		return 0
	}
	if !m.away.CompareAndSwap(since, memberGone) { // it comes back this moment
		if m.away.Load() != 0 {
			m.armLocked(m.timeout)
		}
		return 0
	}
	m.state, m.known = memberEvicted, m.sub.topics
	for s := range m.owned {
		if s.state == slotHeld { // who is at giving one up knows that it is gone
			m.lost = append(m.lost, s.tp())
		}
	}
	g.evicted[m] = struct{}{}
	m.tell()
	g.dismiss(m)
	return away
}

// tell sees to it that m calls change. The group's lock is held.
func (m *member) tell() {
	if !m.news.Swap(true) {
		m.wake()
	}
}

// change is what the member has to do now, in Poll. It is to be called until
// there is nothing more: while the caller is at what it was told, the time runs.
func (m *member) change() (c change, ok bool) {
	if !m.news.Load() {
		return change{}, false
	}
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.busy {
		m.busy = false
		m.away.Store(0)
	}
	c, ok = m.changeLocked()
	if !ok {
		m.news.Store(false)
		return c, false
	}
	m.busy = true
	m.away.Store(g.now())
	m.armLocked(m.timeout)
	return c, true
}

func (m *member) changeLocked() (change, bool) {
	g := m.group
	if g.closed || m.state == memberClosed {
		return change{err: ErrClosed}, true
	}
	if len(m.lost) > 0 {
		c := change{revoke: m.lost, lost: true}
		slices.SortFunc(c.revoke, comparePartitions)
		m.lost = nil
		return c, true
	}
	if m.state == memberEvicted {
		if g.held > 0 {
			return change{}, false // its release tells
		}
		if err := g.admit(m, false); err != nil {
			return change{err: err}, true
		}
		for _, name := range m.sub.names {
			if m.known[name] != nil && m.sub.topics[name] == nil {
				m.fail(unknownTopic(name))
			}
		}
	}
	var c change
	var given []*slot
	for s := range m.owned {
		switch {
		case s.state == slotGiven:
			given = append(given, s)
		case s.target != m: // or told of already, by one who never said revoked
			c.revoke = append(c.revoke, s.tp())
			s.state = slotRevoked
		default:
			s.state = slotHeld
		}
	}
	if len(c.revoke) > 0 {
		slices.SortFunc(c.revoke, comparePartitions)
		return c, true
	}
	if len(given) > 0 {
		slices.SortFunc(given, compareSlots)
		for _, s := range given {
			s.state = slotHeld
			c.assign = append(c.assign, assigned{s.topic.handle(s.id), s.fresh})
		}
		return c, true
	}
	if len(m.errs) > 0 {
		c.err, m.errs = m.errs[0], m.errs[1:]
		return c, true
	}
	return c, false
}

// fail has m told of an error: of a balancer, the last one.
func (m *member) fail(err error) {
	m.errs = slices.DeleteFunc(m.errs, func(e error) bool {
		return e.Error() == err.Error() || errors.Is(e, ErrInvalidAssignment) && errors.Is(err, ErrInvalidAssignment)
	})
	m.errs = append(m.errs, err)
	m.tell()
}

// revoked says that the member has given partitions up, as change has told it to.
func (m *member) revoked(parts []log.TopicPartition) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tp := range parts {
		if s := g.slot(tp); s != nil && s.owner == m && s.state == slotRevoked {
			s.owner = nil
			delete(m.owned, s)
			g.give(s)
		}
	}
}

// begin remembers where a partition without a commit was begun, and returns what
// an earlier owner in this process remembered, so that a hand-over before the first
// commit skips nothing.
func (m *member) begin(tp log.TopicPartition, offset int64) int64 {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.slot(tp)
	if s == nil || s.owner != m {
		return offset
	}
	t := g.remember(s.topic, 0)
	if t.begun == nil {
		t.begun = map[int32]int64{}
	}
	if before, found := t.begun[tp.Partition]; found {
		return before
	}
	t.begun[tp.Partition] = offset
	return offset
}

// fence is for a commit: it says whether the partitions are the member's, and if
// so, nobody else gets one before release is called.
func (m *member) fence(parts []log.TopicPartition) (release func(), err error) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tp := range parts {
		if s := g.slot(tp); s == nil || s.owner != m || s.state == slotGiven {
			return nil, fmt.Errorf("%w: %s", ErrRebalanced, tp)
		}
	}
	parts = slices.Clone(parts)
	for _, tp := range parts {
		g.commits[tp]++
	}
	return func() { g.committed(parts) }, nil
}

// committed ends what fence began.
func (g *group) committed(parts []log.TopicPartition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tp := range parts {
		if g.commits[tp]--; g.commits[tp] > 0 {
			continue
		}
		delete(g.commits, tp)
		if s := g.slot(tp); s != nil {
			g.give(s)
		}
	}
	g.tidy()
}

// hasCommitted says that partitions are committed: where they were begun need not be
// remembered any more.
func (m *member) hasCommitted(at []Position) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range at {
		if t := g.topics[at[i].Topic]; t != nil && g.memory[t.topic] != nil {
			delete(g.memory[t.topic].begun, at[i].Partition)
		}
	}
	g.tidy()
}

// close ends the membership: what was the member's is free at once.
func (m *member) close() {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	before := m.state
	m.state = memberClosed
	m.disarmLocked()
	if g.closed || before == memberClosed {
		return
	}
	delete(g.evicted, m)
	if before == memberActive {
		g.dismiss(m)
	}
	g.tidy()
}

func comparePartitions(a, b log.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

func compareSlots(a, b *slot) int {
	return cmp.Or(strings.Compare(a.topic.name, b.topic.name), cmp.Compare(a.id, b.id))
}
