package leat

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// TestGroupOnTheWay: what is on its way to one member stays so when another joins:
// it does not come back to him who has given it up.
func TestGroupOnTheWay(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 6})
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a := joinAs(t, st, c)
	settle(t, a)
	a.revoked(a.parts())
	release, err := a.fence(a.parts())
	require.NoError(t, err, "nobody has told him to")
	release()
	b := joinAs(t, st, c)
	a.enter()
	said, ok := a.change()
	require.True(t, ok)
	require.Len(t, said.revoke, 3)
	d := joinAs(t, st, c)
	live, _ := st.liveGroup("g")
	require.Equal(t, "Reconciling", live.state)
	a.apply(said)
	a.takes()
	a.leave()
	settle(t, b, d, a, b, d)
	for _, p := range said.revoke {
		require.False(t, a.has[p], "%v", p)
	}
	for _, m := range []*actor{a, b, d} {
		require.Len(t, m.has, 2)
	}
	require.Len(t, a.takes(), 1)
}

// TestGroupKept: a group that somebody is about to join is not forgotten, or he
// could go on from a generation that is no longer the last.
func TestGroupKept(t *testing.T) {
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": 1})
	a := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	g, err := st.coordinator.take(st, "g")
	require.NoError(t, err)
	a.close()
	awaitSaved(st, "g")
	require.Same(t, g, st.coordinator.named["g"])
	g.leave()
	require.Empty(t, st.coordinator.named)
}

// TestGroupHeldWhenDone: a group is not held while a commit of one who has left is under
// way, nor before it is saved: either could undo what is done meanwhile.
func TestGroupHeldWhenDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		free := make(chan struct{})
		m.SetHook(func(op vfs.Op, name string, before bool) error {
			if op == vfs.OpMkdir && before && strings.HasPrefix(name, offsetsTopic) {
				<-free
			}
			return nil
		})
		st := openStore(t, m, nil)
		unlock := sync.OnceFunc(func() { close(free) })
		t.Cleanup(unlock) // before Close, which waits for it
		topics(t, st, map[string]int32{"orders": 1})
		a := joinAs(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
		settle(t, a)
		committed, err := a.fence([]log.TopicPartition{tp("orders", 0)})
		require.NoError(t, err)
		a.close()
		_, err = st.emptyGroup("g")
		require.ErrorIs(t, err, ErrGroupNotEmpty)
		committed()
		var held func()
		done := make(chan struct{})
		go func() {
			defer close(done)
			held, _ = st.emptyGroup("g")
		}()
		synctest.Wait()
		require.Nil(t, held)
		unlock()
		<-done
		require.NotNil(t, held)
		o, err := st.committedOffsets(ctx)
		require.NoError(t, err)
		v, found := o.metadata("g")
		require.True(t, found)
		require.EqualValues(t, 2, v.Generation)
		held()
		require.Empty(t, st.coordinator.named)
	})
}
