package leat

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/internal/vfs"
)

// TestFollowerOfDamagedOffsets: a follower does not pass over what it could not
// understand when it is asked again.
func TestFollowerOfDamagedOffsets(t *testing.T) {
	good := offsetRecord(t, "g", tpOf("orders", 0), 4)
	for name, c := range map[string]struct {
		value []byte
		err   error
	}{"damaged": {good.Value[:5], ErrCorrupt}, "newer": {[]byte{0, 9, 1}, ErrUnsupported}} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			st := openStore(t, m, nil)
			fill(t, part(t, st, "orders", TopicConfig{}), 10)
			commitAt(t, st, "g", 1)
			f, err := openFollower(m, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, f.Close()) }()
			require.Equal(t, int64(1), fetched(t, f, "g", tpOf("orders", 0)))
			appendRaw(t, st, offsetsBatch(t, nil, codec.Record{Key: good.Key, Value: c.value}))
			appendRaw(t, st, offsetsBatch(t, nil, offsetRecord(t, "h", tpOf("orders", 0), 2)))
			for range 3 {
				o, err := f.committedOffsets(ctx)
				require.NoError(t, err)
				_, _, err = o.fetch("g", tpOf("orders", 0))
				require.ErrorIs(t, err, c.err)
			}
		})
	}
}

// TestOffsetsOfEndedProcess: a group whose members ended with their process was left
// when that is first found, however long ago it has changed last.
func TestOffsetsOfEndedProcess(t *testing.T) {
	for _, crash := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewCrashMem()
			o := &Options{OffsetsRetention: 24 * time.Hour}
			st, err := openFS(m, o)
			require.NoError(t, err)
			fill(t, part(t, st, "orders", TopicConfig{Retention: Retention{Age: Unlimited}}), 10)
			c := ConsumerConfig{Group: "g", Topics: []string{"orders"}, PollTimeout: Unlimited}
			settle(t, joinAs(t, st, c))
			awaitSaved(st, "g")
			commitAt(t, st, "g", 5)
			time.Sleep(240 * time.Hour)
			_, err = st.Retain(ctx)
			require.NoError(t, err)
			require.Equal(t, int64(5), fetched(t, st, "g", tpOf("orders", 0)))
			left := m
			if crash {
				left = m.Snapshot()
			}
			require.NoError(t, st.Close())
			for range 3 { // it is not young again with each open
				st, err = openFS(left, o)
				require.NoError(t, err)
				_, err = st.Retain(ctx)
				require.NoError(t, err)
				require.Equal(t, int64(5), fetched(t, st, "g", tpOf("orders", 0)))
				at, err := st.committedOffsets(ctx)
				require.NoError(t, err)
				v, ok := at.metadata("g")
				require.True(t, ok)
				require.EqualValues(t, 1, v.Generation)
				require.Empty(t, v.Members)
				time.Sleep(7 * time.Hour)
				require.NoError(t, st.Close())
			}
			time.Sleep(4 * time.Hour)
			st, err = openFS(left, o)
			require.NoError(t, err)
			_, err = st.Retain(ctx)
			require.NoError(t, err)
			require.Empty(t, mustGroups(t, st))
			require.NoError(t, st.Close())
		})
	}
}

// TestRemoveGivesUp: a removal that could not look into the group's partition has
// not succeeded.
func TestRemoveGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		fill(t, part(t, st, "orders", TopicConfig{}), 10)
		commitAt(t, st, "g", 1)
		require.Equal(t, int64(1), fetched(t, st, "g", tpOf("orders", 0)))
		held := make(chan struct{})
		var once sync.Once
		m.SetHook(func(op vfs.Op, name string, before bool) error {
			if before && op == vfs.OpSync && strings.HasPrefix(name, offsetsTopic) {
				once.Do(func() { <-held })
			}
			return nil
		})
		go func() { require.NoError(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 3}}, nil)) }()
		synctest.Wait()
		stop, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- st.removeOffsets(stop, "g", nil) }()
		synctest.Wait() // for the commit
		g := st.offsets.view().parts[0]
		g.turn <- struct{}{}
		close(held)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		<-g.turn
		m.SetHook(nil)
		require.Equal(t, int64(3), fetched(t, st, "g", tpOf("orders", 0)))
		require.NoError(t, st.Close())
	})
}

// TestGenerationOfFailedOffsets: where nobody can tell the last generation, none is
// begun anew.
func TestGenerationOfFailedOffsets(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	require.NoError(t, st.saveGroup(ctx, "g", coordination.GroupValue{ProtocolType: "consumer", Generation: 57}))
	commitAt(t, st, "g", 1)
	f := &fault{op: vfs.OpSync, name: offsetsTopic, err: syscall.EIO}
	m.SetHook(f.hook)
	f.on.Store(true)
	require.ErrorIs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 2}}, nil), ErrFailed)
	f.on.Store(false)
	c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	_, err = tryJoin(t, st, c)
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, st.Groups().Commit(ctx, Fence{Group: "g", Generation: 3}, spot("orders", 0, 1)), ErrFailed)
	require.NoError(t, offsetsPart(t, st, 0).Reopen(ctx))
	require.EqualValues(t, 58, joinAs(t, st, c).generation())
	m.SetHook(nil)
	require.NoError(t, st.Close())
}

// TestCommitOfWhatIsTakenBack: a position that was there when it was checked, and
// was taken back before it was durable, is not committed, whatever has come in its
// place.
func TestCommitOfWhatIsTakenBack(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{Durability: Written, FlushInterval: Unlimited})
	fill(t, p, 10)
	c := offsetsCommit{store: st, topics: make([]*Topic, 1), epochs: make([]int32, 1)}
	w, err := c.checkOne(0, &Position{Topic: "orders", Offset: 10})
	require.NoError(t, err)
	require.NoError(t, p.TruncateTo(5))
	fill(t, p, 10)
	require.NoError(t, p.Sync(ctx))
	require.ErrorIs(t, w.wait(ctx), ErrOffsetOutOfRange)
}
