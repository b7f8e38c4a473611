package leat

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// balancerFunc is a balancer of a test.
type balancerFunc func(members []Member, parts []Position) map[string][]Position

func (f balancerFunc) Assign(members []Member, parts []Position) map[string][]Position {
	return f(members, parts)
}

// awaitSaved waits until what is to be saved of a group is.
func awaitSaved(st *Store, name string) {
	st.coordinator.mu.Lock()
	g := st.coordinator.named[name]
	st.coordinator.mu.Unlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	saving := g.saving
	g.mu.Unlock()
	if saving != nil {
		<-saving
		g.mu.Lock() // until the one who has saved it has forgotten it, if he does
		defer g.mu.Unlock()
	}
}

// TestGroupWrongBalancer: whatever a balancer does that it must not, each member is
// told so once, and the assignment stays as it was.
func TestGroupWrongBalancer(t *testing.T) {
	for name, wrong := range map[string]func(right map[string][]Position) map[string][]Position{
		"given twice, to \"a\" and to \"b\"": func(right map[string][]Position) map[string][]Position {
			right["b"] = append(right["b"], right["a"]...)
			return right
		},
		"given twice, to \"b\" and to \"b\"": func(right map[string][]Position) map[string][]Position {
			right["b"] = append(right["b"], right["b"][0])
			return right
		},
		"is no member": func(map[string][]Position) map[string][]Position { return map[string][]Position{"x": nil} },
		"there is not": func(map[string][]Position) map[string][]Position {
			return map[string][]Position{"a": {{Topic: "orders", Partition: 99}}}
		},
		"which there i": func(map[string][]Position) map[string][]Position {
			return map[string][]Position{"a": {{Topic: "orders", Partition: -1}}}
		},
		"not subscribed": func(map[string][]Position) map[string][]Position {
			return map[string][]Position{"b": {{Topic: "payments"}}}
		},
		"is nil":                 func(map[string][]Position) map[string][]Position { return nil },
		"has panicked: no money": func(map[string][]Position) map[string][]Position { panic("no money") },
	} {
		t.Run(name, func(t *testing.T) {
			st := memStore(t)
			topics(t, st, map[string]int32{"orders": 4, "payments": 1})
			on := false
			b := balancerFunc(func(members []Member, parts []Position) map[string][]Position {
				right := Sticky.Assign(members, parts)
				for i := range members {
					clear(members[i].Topics) // theirs to spoil
					clear(members[i].Owned)
				}
				if on {
					return wrong(right)
				}
				return right
			})
			c := ConsumerConfig{Group: "g", Topics: []string{"orders", "payments"}, Member: "a", Balancer: b}
			a := joinAs(t, st, c)
			c.Member, c.Topics = "b", []string{"orders"}
			o := joinAs(t, st, c)
			settle(t, a, o)
			before := [][]log.TopicPartition{a.parts(), o.parts()}
			a.takes()
			o.takes()
			on = true
			c.Member = "c"
			d := joinAs(t, st, c)
			for _, m := range []*actor{a, o, d} {
				errs := m.poll()
				require.Len(t, errs, 1)
				require.ErrorIs(t, errs[0], ErrInvalidAssignment)
				require.ErrorContains(t, errs[0], name)
				require.Empty(t, m.poll(), "it is told once")
			}
			require.Equal(t, before, [][]log.TopicPartition{a.parts(), o.parts()})
			require.Len(t, a.takes(), 1)
			require.Empty(t, d.has)
			topics(t, st, map[string]int32{"others": 1})
			require.Empty(t, a.poll(), "nothing of the group has changed")
			on = false
			o.close()
			settle(t, a, d)
			require.Len(t, d.has, 2)
			require.Len(t, a.has, 3)
		})
	}
}

// TestGroupMayLeaveOut: what a balancer gives to nobody is nobody's.
func TestGroupMayLeaveOut(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 2})
	b := balancerFunc(func(members []Member, parts []Position) map[string][]Position {
		return map[string][]Position{members[0].ID: {parts[1]}}
	})
	a := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, Balancer: b})
	settle(t, a)
	require.Equal(t, []log.TopicPartition{tp("orders", 1)}, a.parts())
}

// TestGroupNames: two members of one name there are not, unless the first has timed
// out; then it is he who does not get in any more.
func TestGroupNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		topics(t, st, map[string]int32{"orders": 2})
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, Member: "a", PollTimeout: time.Minute}
		first := joinAs(t, st, c)
		require.Empty(t, first.poll())
		_, err := tryJoin(t, st, c)
		require.ErrorIs(t, err, ErrMemberExists)
		other := c
		other.Group = "h"
		require.Equal(t, "a", joinAs(t, st, other).name(), "another group has its own")
		time.Sleep(time.Hour)
		second := joinAs(t, st, c)
		second.enter()
		require.True(t, drainChange(second))
		require.Len(t, second.has, 2)
		for range 2 {
			errs := first.poll()
			require.Len(t, errs, 1)
			require.ErrorIs(t, errs[0], ErrMemberExists)
		}
		require.Empty(t, first.has)
		second.close()
		require.Empty(t, first.poll())
		require.Len(t, first.has, 2)
		made := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
		require.Equal(t, "consumer-1", made.name())
		require.Equal(t, "consumer-2", joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}}).name())
	})
}

// TestGroupRefuses is what a member cannot be made of.
func TestGroupRefuses(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	topics(t, st, map[string]int32{"orders": 2})
	joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, Balancer: Range})
	joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, Balancer: rangeBalancer{}})
	fn := balancerFunc(func([]Member, []Position) map[string][]Position { return map[string][]Position{} })
	joinAs(t, st, ConsumerConfig{Group: "f", Topics: []string{"orders"}, Balancer: fn})
	joinAs(t, st, ConsumerConfig{Group: "f", Topics: []string{"orders"}, Balancer: fn})
	for _, c := range []struct {
		config ConsumerConfig
		err    error
		text   string
	}{
		{ConsumerConfig{Topics: []string{"orders", "paper"}}, ErrUnknownTopic, `"paper"`},
		{ConsumerConfig{}, ErrInvalidConfig, "neither"},
		{ConsumerConfig{Topics: []string{"orders"}, Pattern: "x"}, ErrInvalidConfig, "both"},
		{ConsumerConfig{Pattern: "(a"}, ErrInvalidConfig, "missing closing"},
		{ConsumerConfig{Pattern: "a)|(b"}, ErrInvalidConfig, "unexpected )"},
		{ConsumerConfig{Topics: []string{"orders"}, PollTimeout: -2}, ErrInvalidConfig, "PollTimeout"},
		{ConsumerConfig{Group: "g", Topics: []string{"orders"}}, ErrInvalidConfig, "cooperative-sticky"},
		{ConsumerConfig{Group: "g", Topics: []string{"orders"}, Balancer: fn}, ErrInvalidConfig, "balancerFunc"},
	} {
		_, err := tryJoin(t, st, c.config)
		require.ErrorIs(t, err, c.err)
		require.ErrorContains(t, err, c.text)
	}
	require.Equal(t, []string{"f", "g"}, st.liveGroups())
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := st.join(ended, &ConsumerConfig{Topics: []string{"orders"}}, func() {})
	require.ErrorIs(t, err, context.Canceled)
	st.coordinator.mu.Lock()
	require.Empty(t, st.coordinator.alone, "who was refused leaves nothing")
	require.Len(t, st.coordinator.named, 2)
	st.coordinator.mu.Unlock()
}

// TestGroupPattern: a pattern is of whole names and never of internal ones; topics
// that come later are consumed from their earliest record on.
func TestGroupPattern(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"a": 1, "ab": 1, "c": 1})
	a := joinAs(t, st, ConsumerConfig{Group: "g", Pattern: "a|b"})
	all := joinAs(t, st, ConsumerConfig{Pattern: ".*"})
	settle(t, a, all)
	require.Equal(t, []log.TopicPartition{tp("a", 0)}, a.parts())
	require.Len(t, all.has, 3)
	awaitSaved(st, "g") // and so __consumer_offsets is there
	topics(t, st, map[string]int32{"b": 2})
	require.NotEmpty(t, a.wakes)
	settle(t, a, all)
	require.Equal(t, []log.TopicPartition{tp("a", 0), tp("b", 0), tp("b", 1)}, a.parts())
	require.Len(t, all.has, 5)
	require.Equal(t, map[log.TopicPartition]bool{tp("a", 0): false, tp("b", 0): true, tp("b", 1): true}, a.fresh)
	all.takes()
	require.NoError(t, st.DeleteTopic(ctx, "b"))
	settle(t, a, all) // and nobody is told of an error
	require.Equal(t, []string{"lost [b-0 b-1]"}, all.takes())
}

// TestGroupTopicDeleted: who has named a topic that is deleted is told so once, and
// gets it again when there is one of that name again.
func TestGroupTopicDeleted(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 1, "paper": 1})
	a := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders", "paper"}})
	settle(t, a)
	a.takes()
	require.EqualValues(t, 7, a.begin(tp("orders", 0), 7))
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	_, err := a.fence([]log.TopicPartition{tp("orders", 0)})
	require.ErrorIs(t, err, ErrRebalanced)
	errs := a.poll()
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], ErrUnknownTopic)
	require.ErrorContains(t, errs[0], `"orders"`)
	require.Equal(t, "lost [orders-0]", a.takes()[0])
	require.Empty(t, a.poll())
	topics(t, st, map[string]int32{"orders": 2})
	require.Empty(t, a.poll())
	require.Equal(t, []string{"assign [orders-0 orders-1]"}, a.takes())
	require.True(t, a.fresh[tp("orders", 0)])
	require.EqualValues(t, 0, a.begin(tp("orders", 0), 0), "what was begun of the old one does not count")
}

// TestGroupAddPartitions: they come to members that have the topic, to be read from
// their earliest record on; those that were there when the group began are not.
func TestGroupAddPartitions(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 2})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a := joinAs(t, st, c)
	settle(t, a)
	topic, err := st.Topic("orders")
	require.NoError(t, err)
	require.NoError(t, topic.AddPartitions(ctx, 2))
	settle(t, a)
	require.Equal(t, []string{"assign [orders-0 orders-1]", "assign [orders-2 orders-3]"}, a.takes())
	b := joinAs(t, st, c)
	settle(t, a, b)
	for _, m := range []*actor{a, b} {
		for p := range m.has {
			require.Equal(t, p.Partition >= 2, m.fresh[p], "%v", p)
		}
	}
}

// TestGroupBegin: where a partition was begun without a commit is where its next
// owner begins, until an administrator says where the group is.
func TestGroupBegin(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 1})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	p := tp("orders", 0)
	a := joinAs(t, st, c)
	settle(t, a)
	require.EqualValues(t, 5, a.begin(p, 5))
	require.EqualValues(t, 5, a.begin(p, 9))
	a.close()
	b := joinAs(t, st, c)
	require.EqualValues(t, 11, b.begin(tp("orders", 8), 11), "there is no such partition")
	settle(t, b)
	require.EqualValues(t, 5, b.begin(p, 9))
	b.close()
	release, err := st.emptyGroup("g")
	require.NoError(t, err)
	st.forgetBegun("g")
	release()
	d := joinAs(t, st, c)
	settle(t, d)
	require.False(t, d.fresh[p])
	require.EqualValues(t, 9, d.begin(p, 9))
}

// TestGroupFence: only the owner commits, also while he gives a partition up; and
// while he does nobody gets it, even after he has left.
func TestGroupFence(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 2})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a := joinAs(t, st, c)
	both := []log.TopicPartition{tp("orders", 0), tp("orders", 1)}
	_, err := a.fence(both)
	require.ErrorIs(t, err, ErrRebalanced, "he does not know yet")
	settle(t, a)
	b := joinAs(t, st, c)
	release, err := a.fence(both)
	require.NoError(t, err)
	again, err := a.fence(both)
	require.NoError(t, err)
	a.enter()
	change, ok := a.change()
	require.True(t, ok)
	require.Len(t, change.revoke, 1)
	once, err := a.fence(change.revoke)
	require.NoError(t, err, "he may commit in OnRevoke")
	once()
	a.apply(change)
	_, err = a.fence(both)
	require.ErrorIs(t, err, ErrRebalanced)
	_, err = a.fence(a.parts())
	require.NoError(t, err)
	require.Empty(t, b.poll())
	require.Empty(t, b.has)
	release()
	require.Empty(t, b.poll())
	require.Empty(t, b.has, "one more is under way")
	a.close()
	_, err = st.emptyGroup("g")
	require.ErrorIs(t, err, ErrGroupNotEmpty)
	again()
	require.Empty(t, b.poll())
	require.Len(t, b.has, 1, "the other one is still being committed")
	_, err = b.fence([]log.TopicPartition{tp("orders", 0), tp("orders", 7)})
	require.ErrorIs(t, err, ErrRebalanced)
}

// TestGroupCallbackNeverReturns: one who does not come back from OnRevoke or
// OnAssign times out as one who stays away, and others get what he has.
func TestGroupCallbackNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		topics(t, st, map[string]int32{"orders": 2})
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: time.Minute}
		a, b := joinAs(t, st, c), joinAs(t, st, c)
		a.enter()
		said, ok := a.change()
		require.True(t, ok)
		require.Len(t, said.assign, 1) // and he is in OnAssign for ever
		b.enter()
		drainChange(b)
		require.Len(t, b.has, 1)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.False(t, drainChange(b))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.True(t, drainChange(b))
		require.Len(t, b.has, 2)
		d := joinAs(t, st, c)
		said, ok = b.change()
		require.True(t, ok)
		require.Len(t, said.revoke, 1) // and he is in OnRevoke for ever
		d.enter()
		require.False(t, drainChange(d))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		require.True(t, drainChange(d))
		require.Len(t, d.has, 2)
		b.revoked(said.revoke) // now he comes back after all
		require.False(t, drainChange(d))
		delete(b.has, said.revoke[0])
		b.takes()
		drainChange(b)
		require.Len(t, b.takes(), 1)
		drainChange(d)
		drainChange(b)
		require.Len(t, b.has, 1)
	})
}

// TestGroupPanicInOnRevoke: a member that is told to give something up and does
// not say that it has is told again.
func TestGroupPanicInOnRevoke(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 2})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a := joinAs(t, st, c)
	settle(t, a)
	b := joinAs(t, st, c)
	a.enter()
	first, ok := a.change()
	require.True(t, ok)
	a.leave()
	a.enter()
	second, ok := a.change()
	require.True(t, ok)
	require.Equal(t, first, second)
	require.Empty(t, b.poll())
	require.Empty(t, b.has)
	b.close()
	_, ok = a.change()
	require.False(t, ok, "it need not any more")
	require.Len(t, a.has, 2)
	settle(t, a)
}

// TestGroupSaved: the generation goes on where it was after a restart, and what is
// saved is a group as Kafka knows them.
func TestGroupSaved(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	topics(t, st, map[string]int32{"orders": 3})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, Member: "a", PollTimeout: 2 * time.Second}
	a := joinAs(t, st, c)
	c.Member, c.PollTimeout = "", Unlimited
	settle(t, a, joinAs(t, st, c))
	require.EqualValues(t, 2, a.generation())
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	v, found := o.metadata("g")
	require.True(t, found)
	require.Equal(t, "consumer", v.ProtocolType)
	require.EqualValues(t, 2, v.Generation)
	require.Equal(t, "cooperative-sticky", *v.Protocol)
	require.Equal(t, "a", *v.Leader)
	require.Len(t, v.Members, 2)
	require.Equal(t, "a", *v.Members[0].InstanceID)
	require.EqualValues(t, 2000, v.Members[0].RebalanceTimeout)
	require.Nil(t, v.Members[1].InstanceID)
	require.EqualValues(t, 1<<31-1, v.Members[1].SessionTimeout)
	sub, err := coordination.ParseSubscription(v.Members[0].Subscription)
	require.NoError(t, err)
	require.Equal(t, []string{"orders"}, sub.Topics)
	count := 0
	for _, m := range v.Members {
		given, err := coordination.ParseAssignment(m.Assignment)
		require.NoError(t, err)
		require.Len(t, given.Partitions, 1)
		require.Equal(t, "orders", given.Partitions[0].Topic)
		count += len(given.Partitions[0].Partitions)
	}
	require.Equal(t, 3, count)
	c.Member = "b"
	b := joinAs(t, st, c)
	require.EqualValues(t, 3, b.generation())
	b.close()
	awaitSaved(st, "g")
	v, _ = o.metadata("g")
	require.EqualValues(t, 4, v.Generation)
	require.Empty(t, v.Members)
	require.Nil(t, v.Protocol)
	_, live := st.liveGroup("g")
	require.False(t, live)
	st.coordinator.mu.Lock()
	require.Empty(t, st.coordinator.named, "it is all in __consumer_offsets")
	st.coordinator.mu.Unlock()
	require.EqualValues(t, 5, joinAs(t, st, c).generation())
}

// TestGroupHeld: nobody becomes a member while a group is held, and then all who
// wanted to do.
func TestGroupHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		topics(t, st, map[string]int32{"orders": 2})
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: time.Minute}
		a := joinAs(t, st, c)
		settle(t, a)
		_, err := st.emptyGroup("g")
		require.ErrorIs(t, err, ErrGroupNotEmpty)
		time.Sleep(time.Hour)
		release, err := st.emptyGroup("g")
		require.NoError(t, err, "he has timed out")
		second, err := st.emptyGroup("g")
		require.NoError(t, err)
		a.enter()
		drainChange(a)
		<-a.wakes
		require.Empty(t, a.has)
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = st.join(soon, &c, func() {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		done := make(chan *actor)
		go func() { done <- joinAs(t, st, c) }()
		synctest.Wait()
		second()
		synctest.Wait()
		require.Empty(t, a.wakes)
		release()
		b := <-done
		require.NotEmpty(t, a.wakes)
		drainChange(a)
		settle(t, a, b)
		for _, m := range []*actor{a, b} {
			require.Len(t, m.has, 1)
			require.False(t, m.fresh[m.parts()[0]], "Start is for it")
		}
	})
}

// TestGroupClose: a store that is closed tells all members, for good, and leaves no
// timer: the bubble fails if there is one that never ends.
func TestGroupClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		topics(t, st, map[string]int32{"orders": 2})
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: time.Minute}
		a, b, alone := joinAs(t, st, c), joinAs(t, st, c), joinAs(t, st, ConsumerConfig{Pattern: "o.*"})
		settle(t, a, b, alone)
		time.Sleep(time.Hour)
		a.enter()
		drainChange(a)
		<-a.wakes
		begun := time.Now()
		require.NoError(t, st.Close())
		require.Equal(t, begun, time.Now())
		require.NotEmpty(t, a.wakes)
		for _, m := range []*actor{a, b, alone} {
			for range 2 {
				errs := m.poll()
				require.Len(t, errs, 1)
				require.ErrorIs(t, errs[0], ErrClosed)
			}
			m.close()
		}
		_, err = tryJoin(t, st, c)
		require.ErrorIs(t, err, ErrClosed)
		_, err = st.emptyGroup("g")
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, st.Close())
	})
}

// TestGroupFollower: a store that is open for reading has no groups, but consumers
// of their own; topics that the writer makes come to them.
func TestGroupFollower(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	topics(t, st, map[string]int32{"orders": 2})
	f, err := openFollower(m, nil)
	require.NoError(t, err)
	_, err = tryJoin(t, f, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	require.ErrorIs(t, err, ErrReadOnly)
	a := joinAs(t, f, ConsumerConfig{Pattern: ".*"})
	settle(t, a)
	require.Len(t, a.has, 2)
	topic, err := st.Topic("orders")
	require.NoError(t, err)
	require.NoError(t, topic.AddPartitions(ctx, 1))
	topics(t, st, map[string]int32{"paper": 1})
	f.follow.look(true)
	settle(t, a)
	require.Len(t, a.has, 4)
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	f.follow.look(true)
	settle(t, a)
	require.Equal(t, []log.TopicPartition{tp("paper", 0)}, a.parts())
	require.NoError(t, f.Close())
}

// TestGroupRace: with members that come, go, poll, commit and time out all at
// once, and topics that change, commits of a partition are still made by one at a time, each
// after he has read what the one before him has committed.
func TestGroupRace(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"a": 4, "b": 3})
	var inside [8]atomic.Int64 // who is committing a partition of a
	var commits atomic.Int64
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			for round := range 30 {
				c := ConsumerConfig{Group: "g", Pattern: "a|b", PollTimeout: time.Minute}
				if i%2 == 0 {
					c.PollTimeout = 20 * time.Microsecond // and so they time out here and there
				}
				a, err := tryJoin(t, st, c)
				if err != nil {
					t.Error(err)
					return
				}
				for range 10 {
					a.poll()
					for p := range a.has {
						if p.Topic != "a" {
							continue
						}
						release, err := a.fence([]log.TopicPartition{p})
						if err != nil {
							continue
						}
						if who := inside[p.Partition].Swap(i + 1); who != 0 {
							t.Errorf("%v is committed by %d and %d", p, who, i+1)
						}
						commits.Add(1)
						inside[p.Partition].Store(0)
						release()
					}
					st.liveGroup("g")
				}
				if i == 0 && round%5 == 0 {
					if topic, err := st.Topic("a"); err != nil || topic.cfg().Partitions < 8 && topic.AddPartitions(ctx, 1) != nil {
						t.Error("no more partitions")
					}
				}
				if i == 1 && round%5 == 0 {
					if err := st.DeleteTopic(ctx, "b"); err != nil {
						t.Error(err)
					}
					if _, err := st.CreateTopic(ctx, "b", TopicConfig{Partitions: 3}); err != nil {
						t.Error(err)
					}
				}
				a.close()
			}
		})
	}
	wg.Wait()
	require.NotZero(t, commits.Load())
	require.Empty(t, st.liveGroups())
	awaitSaved(st, "g")
	st.coordinator.mu.Lock()
	require.Empty(t, st.coordinator.named)
	st.coordinator.mu.Unlock()
}
