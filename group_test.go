package leat

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/log"
)

// tp is a partition's name.
func tp(topic string, id int32) log.TopicPartition {
	return log.TopicPartition{Topic: topic, Partition: id}
}

// topics makes topics with so many partitions each.
func topics(t testing.TB, st *Store, partitions map[string]int32) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(partitions)) {
		_, err := st.CreateTopic(ctx, name, TopicConfig{Partitions: partitions[name], Durability: Written})
		require.NoError(t, err)
	}
}

// actor is a member without a consumer: what a Poll does, step by step.
type actor struct {
	*member
	t     testing.TB
	wakes chan struct{}
	has   map[log.TopicPartition]bool
	fresh map[log.TopicPartition]bool
	said  []string // what change said, since it was last taken
}

func joinAs(t testing.TB, st *Store, c ConsumerConfig) *actor {
	t.Helper()
	a, err := tryJoin(t, st, c)
	require.NoError(t, err)
	return a
}

func tryJoin(t testing.TB, st *Store, c ConsumerConfig) (*actor, error) {
	a := &actor{t: t, wakes: make(chan struct{}, 1), has: map[log.TopicPartition]bool{}, fresh: map[log.TopicPartition]bool{}}
	m, err := st.join(context.Background(), &c, func() {
		select {
		case a.wakes <- struct{}{}:
		default:
		}
	})
	a.member = m
	return a, err
}

// poll does all that change says, and returns the errors.
func (a *actor) poll() []error {
	a.enter()
	defer a.leave()
	var errs []error
	for {
		c, ok := a.change()
		if !ok {
			return errs
		}
		a.apply(c)
		if c.err != nil {
			return append(errs, c.err)
		}
	}
}

func (a *actor) apply(c change) {
	for _, p := range c.revoke {
		require.True(a.t, a.has[p], "%s does not have %v", a.id, p)
		delete(a.has, p)
	}
	switch {
	case c.lost:
		a.said = append(a.said, fmt.Sprint("lost ", c.revoke))
	case len(c.revoke) > 0:
		a.said = append(a.said, fmt.Sprint("revoke ", c.revoke))
		a.revoked(c.revoke)
	}
	var parts []log.TopicPartition
	for _, p := range c.assign {
		at := tp(p.part.topic.name, p.part.id)
		require.False(a.t, a.has[at], "%s has %v already", a.id, at)
		a.has[at] = true
		a.fresh[at] = p.fresh
		parts = append(parts, at)
	}
	if len(parts) > 0 {
		a.said = append(a.said, fmt.Sprint("assign ", parts))
	}
	if c.err != nil {
		a.said = append(a.said, c.err.Error())
	}
}

// takes is what change has said, once.
func (a *actor) takes() []string {
	said := a.said
	a.said = nil
	return said
}

// parts are the partitions that the actor has.
func (a *actor) parts() []log.TopicPartition {
	return slices.SortedFunc(maps.Keys(a.has), comparePartitions)
}

// settle has all poll until nobody has anything to do.
func settle(t testing.TB, actors ...*actor) {
	t.Helper()
	for range 10 {
		for _, a := range actors {
			require.Empty(t, a.poll())
		}
	}
	for _, a := range actors {
		require.False(t, a.news.Load(), a.id)
	}
}

// TestGroupHandsOver: a partition goes to its new owner when the old one has given
// it up, and those who keep theirs hear nothing of it.
func TestGroupHandsOver(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 4})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a := joinAs(t, st, c)
	require.Empty(t, a.poll())
	require.Equal(t, []string{"assign [orders-0 orders-1 orders-2 orders-3]"}, a.takes())
	b := joinAs(t, st, c)
	require.Empty(t, b.poll())
	require.Empty(t, b.takes(), "nothing is free")
	require.NotEmpty(t, a.wakes)
	require.Empty(t, a.poll())
	require.Len(t, a.takes(), 1)
	require.Len(t, a.has, 2)
	require.Empty(t, b.poll())
	require.Len(t, b.has, 2)
	b.takes()
	d := joinAs(t, st, c)
	settle(t, a, b, d)
	require.Len(t, d.has, 1)
	said := slices.Concat(a.takes(), b.takes())
	require.Len(t, said, 1, "one gives up one, the other hears nothing: %v", said)
	d.close()
	settle(t, a, b)
	require.Len(t, slices.Concat(a.takes(), b.takes()), 1)
	require.Equal(t, 4, len(a.has)+len(b.has))
	a.close()
	b.close()
}

// TestGroupTimesOut: who stays away from Poll for too long loses what he has, is
// told so when he comes back, and is a member again by that.
func TestGroupTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		topics(t, st, map[string]int32{"orders": 2})
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: time.Minute}
		a, b := joinAs(t, st, c), joinAs(t, st, c)
		settle(t, a, b)
		a.takes()
		b.takes()
		a.enter() // and stays
		release, err := b.fence(b.parts())
		require.NoError(t, err)
		time.Sleep(61 * time.Second)
		require.False(t, drainChange(a), "a commit of its former owner is under way")
		release()
		require.Len(t, a.wakes, 1)
		require.True(t, drainChange(a))
		require.Len(t, a.has, 2)
		_, err = b.fence(b.parts())
		require.ErrorIs(t, err, ErrRebalanced)
		require.Empty(t, b.poll())
		require.Equal(t, []string{"lost [orders-1]"}, b.takes())
		require.True(t, drainChange(a))
		require.Empty(t, b.poll())
		require.Len(t, b.has, 1)
	})
}

// drainChange does what change says, and tells whether it said anything.
func drainChange(a *actor) (any bool) {
	for {
		c, ok := a.change()
		if !ok {
			return any
		}
		a.apply(c)
		any = true
	}
}
