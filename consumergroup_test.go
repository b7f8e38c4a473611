package leat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// watcher writes down what callbacks are told.
type watcher struct {
	said             []string
	onAssign, onGone func(c *Consumer, parts []Position)
}

func (w *watcher) config(c ConsumerConfig) ConsumerConfig {
	c.OnAssign = func(_ context.Context, c *Consumer, parts []Position) {
		w.said = append(w.said, fmt.Sprint("assign ", parts))
		if w.onAssign != nil {
			w.onAssign(c, parts)
		}
	}
	c.OnRevoke = func(_ context.Context, c *Consumer, parts []Position) {
		w.said = append(w.said, fmt.Sprint("revoke ", parts))
		if w.onGone != nil {
			w.onGone(c, parts)
		}
	}
	return c
}

func (w *watcher) takes() []string {
	said := w.said
	w.said = nil
	return said
}

// look is a Poll that does not wait: it does what the group says, and gives what
// there is.
func look(t testing.TB, c *Consumer) []string {
	t.Helper()
	require.NoError(t, c.enter("Poll"))
	defer c.leave()
	c.back()
	c.member.enter()
	defer c.member.leave()
	c.wait.Calm()
	require.NoError(t, c.changes(ctx))
	require.NoError(t, c.commitDue(ctx))
	_, _, err := c.collect(ctx, c.config.MaxBytes)
	require.NoError(t, err)
	return namesIn(t, c.given)
}

// TestGroupConsumers: members share the partitions, a hand-over goes on where the
// commit says, and positions are told to the callbacks, within Poll.
func TestGroupConsumers(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 2, 4, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, MaxBytes: 1}
	var w1, w2 watcher
	a := consumer(t, st, w1.config(conf))
	require.Equal(t, names("orders-0", 0, 1), polled(t, a))
	require.Equal(t, []string{"assign [orders-0@0 orders-1@0]"}, w1.takes())
	require.Equal(t, names("orders-1", 0, 1), polled(t, a))
	require.NoError(t, a.Commit(ctx))
	require.Equal(t, names("orders-0", 1, 2), polled(t, a))

	b := consumer(t, st, w2.config(conf))
	require.Empty(t, look(t, b))
	w1.onGone = func(c *Consumer, parts []Position) {
		require.NoError(t, c.Commit(ctx, parts...))
		for _, p := range parts {
			at, err := c.Position(p.Topic, p.Partition)
			require.NoError(t, err)
			require.Equal(t, p.Offset, at)
		}
		_, err := c.Poll(ctx)
		require.ErrorIs(t, err, ErrConcurrentUse)
		require.ErrorContains(t, err, "OnRevoke")
		require.ErrorIs(t, c.Close(), ErrConcurrentUse)
		require.ErrorIs(t, c.Assign(), ErrConcurrentUse)
		for _, err := range c.Records(ctx) {
			require.ErrorIs(t, err, ErrConcurrentUse)
		}
	}
	require.Equal(t, names("orders-0", 2, 3), polled(t, a))
	require.Equal(t, []string{"revoke [orders-1@1]"}, w1.takes())
	require.ErrorIs(t, a.Commit(ctx, pos("orders", 1, 1)), ErrRebalanced)
	require.ErrorIs(t, a.Seek(pos("orders", 1, 1)), ErrRebalanced)
	require.ErrorIs(t, a.Commit(ctx, pos("orders", 2, 1)), ErrNotAssigned)
	w2.onAssign = func(c *Consumer, parts []Position) {
		require.NoError(t, c.Seek(pos("orders", 1, 2)))
		c.Pause(pos("orders", 1, 0))
		c.Resume(pos("orders", 1, 0))
		require.Equal(t, []Position{pos("orders", 1, 2)}, c.Assignment())
	}
	require.Equal(t, names("orders-1", 2, 3), polled(t, b))
	require.Equal(t, []string{"assign [orders-1@1]"}, w2.takes())

	// Who leaves is told, and what it had goes on where it has committed.
	w1.onGone = nil
	require.NoError(t, a.Close())
	require.Equal(t, []string{"revoke [orders-0@3]"}, w1.takes())
	w2.onAssign = nil
	got := append(look(t, b), look(t, b)...)
	require.ElementsMatch(t, append(names("orders-0", 1, 2), names("orders-1", 3, 4)...), got)
	require.Equal(t, []string{"assign [orders-0@1]"}, w2.takes())
}

// TestGroupResumes: a group goes on where it has committed, in another store too,
// with what was stored beside.
func TestGroupResumes(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	called(t, st, "orders", 2, 10, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, MaxBytes: 1}
	c, err := st.Consumer(conf)
	require.NoError(t, err)
	n := 0
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		if n++; n == 4 {
			require.NoError(t, c.Commit(ctx))
			require.NoError(t, c.Commit(ctx, Position{Topic: "orders", Partition: rec.Partition, Offset: rec.Offset + 1, Metadata: "here"}))
			break
		}
	}
	before, err := c.Committed(ctx)
	require.NoError(t, err)
	require.Equal(t, []Position{pos("orders", 0, 2), {"orders", 1, 2, "here"}}, before)
	require.NoError(t, c.Close())
	require.NoError(t, st.Close())

	st = openStore(t, m, nil)
	c = consumer(t, st, conf)
	look(t, c)
	at, err := c.Committed(ctx)
	require.NoError(t, err)
	require.Equal(t, before, at)
	var got []string
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		if got = append(got, string(rec.Value)); len(got) == 15 {
			break
		}
	}
	require.ElementsMatch(t, append(names("orders-0", 3, 10), names("orders-1", 2, 10)...), got)
	other := conf
	other.Group, other.Start = "other", Latest
	require.Empty(t, look(t, consumer(t, st, other)), "another group has its own")
}

// TestCommitRefuses: what cannot be committed.
func TestCommitRefuses(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 5, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	require.ErrorIs(t, c.Commit(ctx, pos("orders", 0, 1)), ErrNotAssigned, "before the first Poll")
	polled(t, c)
	require.ErrorIs(t, c.Commit(ctx, pos("orders", 0, 6)), ErrOffsetOutOfRange)
	require.ErrorIs(t, c.Commit(ctx, pos("orders", 0, -1)), ErrOffsetOutOfRange)
	require.ErrorIs(t, c.Commit(ctx, Position{"orders", 0, 1, string(make([]byte, 4097))}), ErrMetadataTooLarge)
	require.ErrorIs(t, c.Commit(ctx, pos("orders", 0, 1), pos("other", 0, 1)), ErrNotAssigned)
	list, err := c.Committed(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, c.Commit(ctx, Position{"orders", 0, 1, string(make([]byte, 4096))}))
	_, err = st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}, Member: "x"})
	require.NoError(t, err)
	_, err = st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}, Member: "x"})
	require.ErrorIs(t, err, ErrMemberExists)

	// Assign and a Group: a committer without membership, unless others are members.
	alone := consumer(t, st, ConsumerConfig{Group: "g"})
	require.NoError(t, alone.Assign(pos("orders", 0, CommittedOffset)))
	require.Equal(t, names("orders-0", 1, 5), polled(t, alone))
	require.ErrorIs(t, alone.Commit(ctx), ErrGroupNotEmpty)
	alone = consumer(t, st, ConsumerConfig{Group: "h"})
	require.NoError(t, alone.Assign(pos("orders", 0, CommittedOffset)))
	polled(t, alone)
	require.NoError(t, alone.Commit(ctx))
	require.NoError(t, alone.Seek(pos("orders", 0, 0)))
	require.NoError(t, alone.Seek(pos("orders", 0, CommittedOffset)))
	require.Equal(t, []Position{pos("orders", 0, 5)}, alone.Assignment())
}

// TestCommitOnFullDisk: a commit that the disk has no room for is an error, and
// nothing is lost by it.
func TestCommitOnFullDisk(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	called(t, st, "orders", 1, 5, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	polled(t, c)
	require.NoError(t, c.Commit(ctx, pos("orders", 0, 1)))
	m.SetHook(func(op vfs.Op, name string, first bool) error {
		if op == vfs.OpAllocate || op == vfs.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	})
	last, err := pos("orders", 0, 1), error(nil)
	for i := 0; i < 100 && err == nil; i++ {
		at := Position{"orders", 0, int64(i % 5), strings.Repeat("m", 4096)}
		if err = c.Commit(ctx, at); err == nil {
			last = at
		}
	}
	m.SetHook(nil)
	require.ErrorIs(t, err, ErrNoSpace)
	list, err := c.Committed(ctx)
	require.NoError(t, err)
	require.Equal(t, []Position{last}, list)
	require.NoError(t, c.Commit(ctx))
	list, err = c.Committed(ctx)
	require.NoError(t, err)
	require.Equal(t, []Position{pos("orders", 0, 5)}, list)
}

// TestAutoCommit: what is committed is what the caller has come back from, at most
// so often, and while Poll waits too.
func TestAutoCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		p := called(t, st, "orders", 1, 10, TopicConfig{})[0]
		conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: 5 * time.Second, MaxBytes: 1, PollTimeout: Unlimited}
		c, err := st.Consumer(conf)
		require.NoError(t, err)
		saved := func() int64 {
			list, err := c.Committed(ctx)
			require.NoError(t, err)
			if len(list) == 0 {
				return -1
			}
			return list[0].Offset
		}
		polled(t, c)
		time.Sleep(time.Hour)
		require.Equal(t, int64(-1), saved(), "nobody has come back")
		polled(t, c) // now somebody has
		require.Equal(t, int64(1), saved())
		time.Sleep(4 * time.Second)
		polled(t, c)
		require.Equal(t, int64(1), saved())
		time.Sleep(2 * time.Second)
		polled(t, c)
		require.Equal(t, int64(3), saved())
		for range 6 {
			polled(t, c)
		}
		require.Equal(t, int64(3), saved())
		go func() {
			time.Sleep(4 * time.Second)
			require.Equal(t, int64(3), committedBy(t, st, "g", "orders", 0))
			time.Sleep(2 * time.Second)
			require.Equal(t, int64(10), committedBy(t, st, "g", "orders", 0), "while Poll waits")
			add(t, p, 3)
		}()
		require.Equal(t, names("orders-0", 10, 11), polled(t, c))
		require.Equal(t, names("orders-0", 11, 12), polled(t, c))
		require.NoError(t, c.Close())
		require.Equal(t, int64(11), committedBy(t, st, "g", "orders", 0), "not what nobody has come back from")

		// In a loop over Records: the turns before this one.
		c, err = st.Consumer(conf)
		require.NoError(t, err)
		add(t, p, 5)
		for rec, err := range c.Records(ctx) {
			require.NoError(t, err)
			time.Sleep(6 * time.Second)
			if rec.Offset >= 13 {
				require.Equal(t, rec.Offset, saved(), "of the turns before")
			}
			if rec.Offset == 16 {
				break
			}
		}
		require.NoError(t, c.Close())
		require.Equal(t, int64(16), committedBy(t, st, "g", "orders", 0))
		require.NoError(t, st.Close())
	})
}

func committedBy(t testing.TB, st *Store, group, topic string, partition int32) int64 {
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	c, ok, err := o.fetch(group, tp(topic, partition))
	require.NoError(t, err)
	if !ok {
		return -1
	}
	return c.offset
}

// TestAutoCommitFails: Poll tells once, and gives the same as it would have.
func TestAutoCommitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		called(t, st, "orders", 1, 10, TopicConfig{})
		c, err := st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Second, MaxBytes: 1})
		require.NoError(t, err)
		polled(t, c)
		polled(t, c)
		time.Sleep(2 * time.Second)
		f := &fault{op: vfs.OpSync, name: offsetsTopic + "-0/00000000000000000000.log", err: syscall.EIO}
		f.on.Store(true)
		m.SetHook(f.hook)
		_, err = c.Poll(ctx)
		require.ErrorIs(t, err, syscall.EIO)
		require.Equal(t, names("orders-0", 2, 3), polled(t, c))
		m.SetHook(nil)
		require.NoError(t, reopened(t, st, offsetsTopic).Reopen(ctx))
		time.Sleep(2 * time.Second)
		polled(t, c)
		require.Equal(t, int64(3), committedBy(t, st, "g", "orders", 0))
		require.NoError(t, c.Close())
		require.NoError(t, st.Close())
	})
}

// TestAutoCommitBeforeRevocation: the next owner goes on where this one is.
func TestAutoCommitBeforeRevocation(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 2, 4, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour}
	a := consumer(t, st, conf)
	require.Len(t, polled(t, a), 8)
	b := consumer(t, st, conf)
	look(t, b)
	look(t, a)
	require.Empty(t, look(t, b))
	require.Equal(t, []Position{pos("orders", 1, 4)}, b.Assignment())
}

// TestCallbackPanics: a panic of a callback comes to the caller, and the consumer
// goes on.
func TestCallbackPanics(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 2, 4, TopicConfig{})
	var w watcher
	w.onAssign = func(*Consumer, []Position) { panic("assign") }
	w.onGone = func(*Consumer, []Position) { panic("revoke") }
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a, err := st.Consumer(w.config(conf))
	require.NoError(t, err)
	require.PanicsWithValue(t, "assign", func() { _, _ = a.Poll(ctx) })
	require.Len(t, polled(t, a), 8)
	b := consumer(t, st, conf)
	look(t, b)
	require.PanicsWithValue(t, "revoke", func() { _, _ = a.Poll(ctx) })
	require.Equal(t, []Position{pos("orders", 0, 4)}, a.Assignment())
	require.Equal(t, names("orders-1", 0, 4), look(t, b), "it was given up all the same")
	require.NoError(t, a.Commit(ctx))
	require.PanicsWithValue(t, "revoke", func() { _ = a.Close() })
	require.NoError(t, a.Close())
	look(t, b)
	require.Len(t, b.Assignment(), 2)
	_, err = a.Poll(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

// TestStayingAway: who stays away for too long loses its partitions, is told when
// it comes back, and may not commit; in a loop over Records every turn counts.
func TestStayingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		topic, err := st.CreateTopic(ctx, "orders", TopicConfig{})
		require.NoError(t, err)
		p, err := topic.Partition(0)
		require.NoError(t, err)
		_, err = p.Append(ctx, make([]Record, 20)...)
		require.NoError(t, err)
		var w watcher
		conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: 30 * time.Second, AutoCommit: time.Hour}
		a, err := st.Consumer(w.config(conf))
		require.NoError(t, err)
		for rec, err := range a.Records(ctx) {
			require.NoError(t, err)
			time.Sleep(11 * time.Second)
			if rec.Offset == 19 {
				require.NoError(t, a.Commit(ctx), "after four minutes in one batch")
				break
			}
		}
		require.Len(t, w.takes(), 1)
		b, err := st.Consumer(conf)
		require.NoError(t, err)
		time.Sleep(29 * time.Second)
		require.NoError(t, a.Commit(ctx))
		require.NoError(t, a.Seek(pos("orders", 0, 3)))
		look(t, b)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, a.Commit(ctx), ErrRebalanced)
		look(t, b)
		require.Equal(t, []Position{pos("orders", 0, 20)}, b.Assignment())
		w.onGone = func(c *Consumer, parts []Position) { require.ErrorIs(t, c.Commit(ctx, parts...), ErrRebalanced) }
		require.Empty(t, look(t, a))
		require.Equal(t, []string{"revoke [orders-0@3]"}, w.takes())
		require.Empty(t, a.Assignment())
		require.NoError(t, b.Close())
		require.Equal(t, int64(20), committedBy(t, st, "g", "orders", 0))
		require.Empty(t, look(t, a))
		require.Equal(t, []string{"assign [orders-0@20]"}, w.takes())
		w.onGone = nil
		time.Sleep(time.Minute)
		require.NoError(t, a.Close(), "what is lost is not committed")
		require.NoError(t, st.Close())
	})
}

// TestTopicsComeAndGo: partitions that are added, topics that a pattern matches,
// and a topic that is deleted, while it is consumed.
func TestTopicsComeAndGo(t *testing.T) {
	st := memStore(t)
	parts := called(t, st, "orders", 1, 2, TopicConfig{})
	var w watcher
	c := consumer(t, st, w.config(ConsumerConfig{Group: "g", Pattern: "ord.*", Start: Latest}))
	named := consumer(t, st, ConsumerConfig{Topics: []string{"orders"}})
	require.Empty(t, look(t, c))
	require.Equal(t, []string{"assign [orders-0@2]"}, w.takes())
	require.Equal(t, names("orders-0", 0, 2), polled(t, named))
	require.NoError(t, parts[0].topic.AddPartitions(ctx, 1))
	p, err := parts[0].topic.Partition(1)
	require.NoError(t, err)
	add(t, p, 1)
	require.Equal(t, names("orders-1", 0, 1), polled(t, c), "from its beginning, whatever Start says")
	require.Equal(t, []string{"assign [orders-1@0]"}, w.takes())
	require.Equal(t, names("orders-1", 0, 1), polled(t, named))

	called(t, st, "ordinals", 1, 1, TopicConfig{})
	called(t, st, "others", 1, 1, TopicConfig{})
	require.Equal(t, names("ordinals-0", 0, 1), polled(t, c))
	w.takes()
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	require.Empty(t, look(t, c))
	require.Equal(t, []string{"revoke [orders-0@2 orders-1@1]"}, w.takes())
	require.ErrorIs(t, c.Commit(ctx, pos("orders", 0, 1)), ErrRebalanced)
	require.Equal(t, []Position{pos("ordinals", 0, 1)}, c.Assignment())
	_, err = named.Poll(ctx)
	require.ErrorIs(t, err, ErrUnknownTopic)
	require.Empty(t, look(t, named), "once")
	called(t, st, "orders", 1, 3, TopicConfig{})
	require.Equal(t, names("orders-0", 0, 3), polled(t, named), "it is another topic")
	require.Equal(t, names("orders-0", 0, 3), polled(t, c))
}

// TestTopicGoneBeforeTheGroupKnows: a member whose topic is gone waits for its
// group to say so.
func TestTopicGoneBeforeTheGroupKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		p := called(t, st, "orders", 1, 3, TopicConfig{})[0]
		c, err := st.Consumer(ConsumerConfig{Group: "g", Pattern: "orders"})
		require.NoError(t, err)
		require.Len(t, polled(t, c), 3)
		require.NoError(t, c.Seek(pos("orders", 0, 1)))
		p.topic.deleted.Store(true)
		soon, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err = c.Poll(soon)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		p.topic.deleted.Store(false)
		require.NoError(t, st.DeleteTopic(ctx, "orders"))
		require.Empty(t, look(t, c))
		require.Empty(t, c.Assignment())
		require.NoError(t, c.Close())
		require.NoError(t, st.Close())
	})
}

// TestWaitingMembers: a Poll that waits takes part in a rebalance, without a
// goroutine of its own.
func TestWaitingMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		parts := called(t, st, "orders", 2, 0, TopicConfig{})
		conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour}
		got := make(chan string)
		over := make(chan error)
		run := func() {
			c, err := st.Consumer(conf)
			require.NoError(t, err)
			for rec, err := range c.Records(ctx) {
				if err != nil {
					over <- errors.Join(err, c.Close())
					return
				}
				got <- string(rec.Value)
			}
		}
		go run()
		synctest.Wait()
		add(t, parts[1], 1)
		require.Equal(t, "orders-1@0", <-got)
		go run()
		go run() // which gets nothing
		synctest.Wait()
		live, ok := st.liveGroup("g")
		require.True(t, ok)
		require.Equal(t, "Stable", live.state)
		add(t, parts[0], 1)
		add(t, parts[1], 1)
		require.ElementsMatch(t, []string{"orders-0@0", "orders-1@1"}, []string{<-got, <-got})
		require.NoError(t, st.Close())
		for range 3 {
			require.ErrorIs(t, <-over, ErrClosed)
		}
	})
}

// TestConsumersOfFollowers: a store that is open for reading has consumers, but
// none that commit.
func TestConsumersOfFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		m.SetMapped(true)
		w, err := openFS(m, nil)
		require.NoError(t, err)
		parts := called(t, w, "orders", 2, 3, TopicConfig{})
		r, err := openFollower(m, nil)
		require.NoError(t, err)
		_, err = r.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}})
		require.ErrorIs(t, err, ErrReadOnly)
		_, err = r.Consumer(ConsumerConfig{Group: "g"})
		require.ErrorIs(t, err, ErrReadOnly)
		all, err := r.Consumer(ConsumerConfig{Pattern: "o.*"})
		require.NoError(t, err)
		hand, err := r.Consumer(ConsumerConfig{})
		require.NoError(t, err)
		require.NoError(t, hand.Assign(pos("orders", 1, 1)))
		require.Equal(t, append(names("orders-0", 0, 3), names("orders-1", 0, 3)...), polled(t, all))
		require.Equal(t, names("orders-1", 1, 3), polled(t, hand))
		go func() {
			time.Sleep(time.Hour)
			add(t, parts[1], 1)
		}()
		require.Equal(t, names("orders-1", 3, 4), polled(t, hand))
		require.Equal(t, names("orders-1", 3, 4), polled(t, all))
		go func() {
			time.Sleep(time.Hour)
			called(t, w, "others", 1, 1, TopicConfig{})
		}()
		require.Equal(t, names("others-0", 0, 1), polled(t, all))
		go func() {
			time.Sleep(time.Hour)
			require.NoError(t, w.DeleteTopic(ctx, "others"))
			require.NoError(t, w.DeleteTopic(ctx, "orders"))
			time.Sleep(time.Hour)
			called(t, w, "odd", 1, 1, TopicConfig{})
		}()
		require.Equal(t, names("odd-0", 0, 1), polled(t, all))
		_, err = hand.Poll(ctx)
		require.ErrorIs(t, err, ErrUnknownTopic)
		require.NoError(t, errors.Join(all.Close(), hand.Close(), r.Close(), w.Close()))
	})
}

// TestConcurrentUse: two at once are told.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		called(t, st, "orders", 1, 0, TopicConfig{})
		c, err := st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}})
		require.NoError(t, err)
		over := make(chan error)
		go func() {
			_, err := c.Poll(ctx)
			over <- err
		}()
		synctest.Wait()
		_, err = c.Poll(ctx)
		require.ErrorIs(t, err, ErrConcurrentUse)
		_, err = c.Position("orders", 0)
		require.ErrorIs(t, err, ErrConcurrentUse)
		_, err = c.Committed(ctx)
		require.ErrorIs(t, err, ErrConcurrentUse)
		for _, err := range []error{c.Commit(ctx), c.Seek(), c.SeekAll(ctx, Earliest), c.Assign(), c.Close()} {
			require.ErrorIs(t, err, ErrConcurrentUse)
		}
		require.Nil(t, c.Assignment())
		require.Nil(t, c.Paused())
		c.Pause(pos("orders", 0, 0))
		require.NoError(t, st.Close())
		require.ErrorIs(t, <-over, ErrClosed)
		require.NoError(t, c.Close())
	})
}

// TestStoreCloseEndsPoll: also one that has nothing to wait for.
func TestStoreCloseEndsPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, how := range []string{"paused", "waiting"} {
			st, err := OpenMem(nil)
			require.NoError(t, err)
			called(t, st, "orders", 1, 0, TopicConfig{})
			c, err := st.Consumer(ConsumerConfig{})
			require.NoError(t, err)
			require.NoError(t, c.Assign(pos("orders", 0, 0)))
			if how == "paused" {
				c.Pause(pos("orders", 0, 0))
			}
			over := make(chan error)
			go func() {
				_, err := c.Poll(ctx)
				over <- err
			}()
			synctest.Wait()
			require.NoError(t, st.Close())
			require.ErrorIs(t, <-over, ErrClosed)
			_, err = st.Consumer(ConsumerConfig{})
			require.ErrorIs(t, err, ErrClosed)
			require.NoError(t, c.Close())
		}
	})
}

// TestPollMinBytes: Poll waits until there is enough in all partitions together, but
// not longer than MaxWait once there is something, whatever else wakes it.
func TestPollMinBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		parts := called(t, st, "orders", 2, 0, TopicConfig{})
		c, err := st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}, MinBytes: 200, MaxWait: 10 * time.Second, AutoCommit: 3 * time.Second})
		require.NoError(t, err)
		begun := time.Now()
		go func() {
			time.Sleep(time.Hour)
			for i := range 8 {
				add(t, parts[i%2], 1)
				time.Sleep(time.Second)
			}
		}()
		require.Equal(t, []string{"orders-0@0", "orders-0@1", "orders-1@0"}, polled(t, c))
		require.Equal(t, time.Hour+2*time.Second, time.Since(begun))
		require.Len(t, polled(t, c), 3)
		begun = time.Now()
		// There is no more to come, and commits come between.
		require.Len(t, polled(t, c), 2)
		require.Equal(t, 11*time.Second, time.Since(begun))
		require.NoError(t, c.Close())
		require.NoError(t, st.Close())
	})
}

// TestConsumerOfDamagedOffsets: where nobody can tell what a group has committed, it does not
// begin at Start, which would be to read all again, or to leave all out.
func TestConsumerOfDamagedOffsets(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	called(t, st, "orders", 1, 5, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	c, err := st.Consumer(conf)
	require.NoError(t, err)
	polled(t, c)
	require.NoError(t, c.Commit(ctx, pos("orders", 0, 3)))
	require.NoError(t, c.Close())
	require.NoError(t, st.Close())
	name := offsetsTopic + "-0/00000000000000000000.log"
	b, err := readSmall(m, name)
	require.NoError(t, err)
	f, err := m.Open(name, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[70] ^ 1}, 70)
	require.NoError(t, errors.Join(err, f.Close()))
	st = openStore(t, m, nil)
	c, err = st.Consumer(conf)
	if err == nil {
		defer c.Close()
		_, err = c.Poll(ctx)
	}
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestNothingOfConsumersIsLeft: no goroutine or timer, no pin and no place at a
// log's tail outlives Close, in whatever order things are closed.
func TestNothingOfConsumersIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		for _, storeFirst := range []bool{false, true} {
			m := vfs.NewMem()
			st, err := openFS(m, nil)
			require.NoError(t, err)
			parts := called(t, st, "orders", 2, 50, TopicConfig{SegmentBytes: 1 << 10})
			var all []*Consumer
			for _, c := range []ConsumerConfig{
				{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour, PollTimeout: 2 * time.Hour},
				{Group: "g", Topics: []string{"orders"}},
				{Topics: []string{"orders"}, MinBytes: 10, MaxWait: time.Minute},
				{Group: "h"},
			} {
				r, err := st.Consumer(c)
				require.NoError(t, err)
				if c.Group == "h" {
					require.NoError(t, r.Assign(pos("orders", 0, 0), pos("orders", 1, 0)))
				}
				soon, cancel := context.WithTimeout(ctx, time.Second)
				for _, err := range r.Records(soon) {
					if err != nil {
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				}
				_, err = r.Poll(soon)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				cancel()
				all = append(all, r)
			}
			if storeFirst {
				require.NoError(t, st.Close())
			}
			for i, r := range all {
				err := r.Close()
				if storeFirst && i == 0 {
					require.ErrorIs(t, err, ErrClosed, "there was something to commit")
				} else {
					require.NoError(t, err)
				}
				for _, timer := range []*time.Timer{r.auto.timer, r.pulse.timer} {
					require.False(t, timer != nil && timer.Stop(), "a timer runs")
				}
			}
			require.Empty(t, st.consumers.mu.all)
			if storeFirst {
				continue
			}
			require.NoError(t, parts[0].DeleteRecords(ctx, 50))
			require.NoError(t, st.DeleteTopic(ctx, "orders"))
			require.NoError(t, st.Close())
			require.Zero(t, m.OpenFiles())
		}
	})
}

// TestSlowCallback: a callback that blocks is an absence from Poll.
func TestSlowCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		called(t, st, "orders", 1, 3, TopicConfig{})
		conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: time.Minute}
		var w watcher
		slow, other := true, make(chan []string)
		w.onAssign = func(*Consumer, []Position) {
			if slow {
				slow = false
				time.Sleep(2 * time.Minute)
			}
		}
		a, err := st.Consumer(w.config(conf))
		require.NoError(t, err)
		go func() {
			time.Sleep(30 * time.Second)
			b, err := st.Consumer(conf)
			require.NoError(t, err)
			got := polled(t, b)
			require.NoError(t, b.Commit(ctx))
			require.NoError(t, b.Close())
			other <- got
		}()
		over := make(chan error)
		soon, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		go func() {
			_, err := a.Poll(soon)
			over <- err
		}()
		require.Equal(t, names("orders-0", 0, 3), <-other)
		require.ErrorIs(t, <-over, context.DeadlineExceeded, "all was read by the other")
		require.Equal(t, []string{"assign [orders-0@0]", "revoke [orders-0@0]", "assign [orders-0@3]"}, w.takes())
		require.NoError(t, a.Close())
		require.NoError(t, st.Close())
	})
}

// TestGroupIsNotDeleted: a group with members stays.
func TestGroupIsNotDeleted(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 3, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	polled(t, c)
	require.NoError(t, c.Commit(ctx))
	require.ErrorIs(t, st.Groups().Delete(ctx, "g"), ErrGroupNotEmpty)
	require.NoError(t, c.Close())
	require.NoError(t, st.Groups().Delete(ctx, "g"))
	c = consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	require.Equal(t, names("orders-0", 0, 3), polled(t, c))
}

// TestResumeChecksEpoch: where the record before a committed position is another
// than it was, the position is not taken for what is there now (KIP-320).
func TestResumeChecksEpoch(t *testing.T) {
	for _, policy := range []OutOfRange{OutOfRangeError, OutOfRangeEarliest, OutOfRangeLatest} {
		st := memStore(t)
		p := called(t, st, "orders", 1, 10, TopicConfig{})[0]
		conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, OutOfRange: policy}
		c := consumer(t, st, conf)
		polled(t, c)
		require.NoError(t, c.Commit(ctx))
		require.NoError(t, c.Close())
		require.NoError(t, p.TruncateTo(6))
		add(t, p, 8)
		c = consumer(t, st, conf)
		if policy == OutOfRangeError {
			_, err := c.Poll(ctx)
			var gone *OffsetError
			require.ErrorAs(t, err, &gone)
			require.Equal(t, OffsetError{Topic: "orders", Offset: 10, Start: 0, End: 6}, *gone)
			require.NoError(t, c.Seek(pos("orders", 0, CommittedOffset)))
			_, err = c.Poll(ctx)
			require.ErrorAs(t, err, &gone, "it has not changed")
			require.NoError(t, c.Seek(pos("orders", 0, gone.End)))
		}
		require.Equal(t, names("orders-0", 6, 14), polled(t, c), "%v", policy)
	}
}

// TestReopenWhileConsumed: a consumer goes on in the partition that was reopened.
func TestReopenWhileConsumed(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	defer st.Close()
	p := called(t, st, "orders", 1, 3, TopicConfig{})[0]
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	require.Len(t, polled(t, c), 3)
	f := &fault{op: vfs.OpSync, name: "orders-0/00000000000000000000.log", err: syscall.EIO}
	f.on.Store(true)
	m.SetHook(f.hook)
	_, err = p.Append(ctx, Record{Value: []byte("lost, or not")})
	require.Error(t, err)
	m.SetHook(nil)
	require.NoError(t, c.Commit(ctx), "what it has read was durable before")
	_, err = c.Poll(ctx)
	var where *PartitionError
	require.ErrorAs(t, err, &where)
	require.NoError(t, p.Reopen(ctx))
	add(t, p, 1)
	got := polled(t, c)
	require.Equal(t, p.LogEndOffset(), c.Assignment()[0].Offset, "%v", got)
	require.NoError(t, c.Commit(ctx))
}
