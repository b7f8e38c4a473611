package leat

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestGenerationGoesOnFromOthers: a group that is remembered, and one that is about
// to be joined, go on from the generation that a protocol outside has reached.
func TestGenerationGoesOnFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		fill(t, part(t, st, "orders", TopicConfig{}), 10)
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
		a := joinAs(t, st, c)
		settle(t, a)
		a.begin(tp("orders", 0), 5) // which is to be remembered
		a.close()
		awaitSaved(st, "g")
		require.NoError(t, st.Groups().Commit(ctx, Fence{Group: "g", Generation: 100}, spot("orders", 0, 1)))
		a = joinAs(t, st, c)
		require.EqualValues(t, 101, a.generation())
		time.Sleep(time.Hour) // it times out, and may come back
		awaitSaved(st, "g")
		require.NoError(t, st.Groups().Commit(ctx, Fence{Group: "g", Generation: 110}, spot("orders", 0, 1)))
		settle(t, a)
		require.EqualValues(t, 111, a.generation())
		a.close()
		awaitSaved(st, "g")

		held := make(chan struct{})
		var once sync.Once
		m.SetHook(func(op vfs.Op, name string, before bool) error {
			if before && op == vfs.OpSync && strings.HasPrefix(name, offsetsTopic) {
				once.Do(func() { <-held })
			}
			return nil
		})
		for _, group := range []string{"g", "new"} {
			held, once = make(chan struct{}), sync.Once{}
			f := Fence{Group: group, Generation: 200}
			go func() { require.NoError(t, st.Groups().Commit(ctx, f, spot("orders", 0, 2))) }()
			synctest.Wait()
			c.Group = group
			var b *actor
			go func() { b = joinAs(t, st, c) }()
			synctest.Wait()
			require.Nil(t, b)
			close(held)
			synctest.Wait()
			require.EqualValues(t, 201, b.generation())
			b.close()
			awaitSaved(st, group)
		}
		m.SetHook(nil)
		require.NoError(t, st.Close())
	})
}

// TestRememberedBeginnings: where a partition without a commit was begun is known
// until it is committed, or the group is deleted: what only looks, or commits
// elsewhere, makes nobody forget it.
func TestRememberedBeginnings(t *testing.T) {
	st := memStore(t)
	fill(t, part(t, st, "orders", TopicConfig{Partitions: 2}), 10)
	fill(t, part(t, st, "mail", TopicConfig{}), 10)
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	begin := func(offset int64) int64 {
		a := joinAs(t, st, c)
		settle(t, a)
		defer a.close()
		return a.begin(tp("orders", 0), offset)
	}
	require.EqualValues(t, 5, begin(5))
	_, err := st.Groups().Reset(ctx, "g", ResetOptions{Topics: []string{"orders"}, DryRun: true})
	require.NoError(t, err)
	require.EqualValues(t, 5, begin(9))
	commitAs(t, st, "g", spot("orders", 1, 0), spot("mail", 0, 1))
	require.EqualValues(t, 5, begin(9))
	require.NoError(t, st.Groups().DeleteOffsets(ctx, "g", "mail"))
	require.EqualValues(t, 5, begin(9))
	require.NoError(t, st.Groups().DeleteOffsets(ctx, "g", "orders"))
	require.EqualValues(t, 7, begin(7))
	require.NoError(t, st.Groups().Delete(ctx, "g"))
	require.EqualValues(t, 9, begin(9))
}

// TestCommittedGroupsAreForgotten: of a group that has committed what it has begun,
// and was left, nothing stays in memory.
func TestCommittedGroupsAreForgotten(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 2, 5, TopicConfig{})
	for i, auto := range []time.Duration{0, time.Hour} {
		name := []string{"explicit", "auto"}[i]
		c, err := st.Consumer(ConsumerConfig{Group: name, Topics: []string{"orders"}, AutoCommit: auto})
		require.NoError(t, err)
		polled(t, c)
		if auto == 0 {
			require.NoError(t, c.Commit(ctx))
		}
		require.NoError(t, c.Close())
		awaitSaved(st, name)
		if g := st.coordinator.known(name); g != nil {
			g.mu.Lock() // until the one who has saved it is done
			dead := g.dead
			g.mu.Unlock()
			require.True(t, dead, name)
		}
	}
}

// TestLeaveWhileTimingOut: a member that is being timed out this moment does not
// come back before that is done, or it would not hear of it.
func TestLeaveWhileTimingOut(t *testing.T) {
	st := memStore(t)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	a := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	settle(t, a)
	var back atomic.Bool
	func() {
		a.group.mu.Lock() // as expired does
		defer a.group.mu.Unlock()
		a.away.Store(memberGone)
		go func() {
			a.leave()
			a.enter()
			back.Store(true)
		}()
		stacks := make([]byte, 1<<20)
		for waits := false; !waits && !back.Load(); {
			runtime.Gosched()
			for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
				waits = waits || strings.Contains(g, "[sync.Mutex.Lock") && strings.Contains(g, ").leave(")
			}
		}
		require.False(t, back.Load())
	}()
	for !back.Load() {
		runtime.Gosched()
	}
}

// TestDeletedWhileAway: one who has timed out hears of it when he comes back that a
// topic he names was deleted meanwhile, and only then.
func TestDeletedWhileAway(t *testing.T) {
	for _, shared := range []bool{false, true} { // the subscription, with one who stays
		synctest.Test(t, func(t *testing.T) {
			st := memStore(t)
			topics(t, st, map[string]int32{"orders": 2, "paper": 1})
			c := ConsumerConfig{Group: "g", Topics: []string{"orders", "paper"}, PollTimeout: time.Minute}
			a := joinAs(t, st, c)
			settle(t, a)
			if shared {
				c.PollTimeout = Unlimited
				b := joinAs(t, st, c)
				settle(t, a, b)
			}
			time.Sleep(time.Hour)
			require.NoError(t, st.DeleteTopic(ctx, "orders"))
			errs := a.poll()
			for len(errs) == 0 && a.news.Load() {
				errs = a.poll()
			}
			require.Len(t, errs, 1)
			require.ErrorIs(t, errs[0], ErrUnknownTopic)
			require.Contains(t, errs[0].Error(), "orders")
			require.Empty(t, a.poll())
			time.Sleep(time.Hour)
			require.Empty(t, a.poll(), "it was told")
		})
	}
}

// TestDeletedGroupBeginsAtStart: of a group that is deleted while a member is away,
// no partition counts as one that came later.
func TestDeletedGroupBeginsAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		topics(t, st, map[string]int32{"orders": 1})
		a := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: time.Minute})
		settle(t, a)
		time.Sleep(time.Hour)
		orders, err := st.Topic("orders")
		require.NoError(t, err)
		require.NoError(t, orders.AddPartitions(ctx, 1))
		awaitSaved(st, "g")
		require.NoError(t, st.Groups().Delete(ctx, "g"))
		settle(t, a)
		require.Len(t, a.has, 2)
		require.False(t, a.fresh[tp("orders", 1)])
	})
}
