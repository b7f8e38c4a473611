package leat

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestGroupsAllAtOnce: members come, poll, commit and go while their topic is
// deleted and made again, offsets are reset, deleted and expire, a protocol outside
// commits, and the store is closed at last: nobody hangs, and no position is of an
// earlier topic.
func TestGroupsAllAtOnce(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, &Options{OffsetsRetention: time.Nanosecond})
	require.NoError(t, err)
	orders := func(records int) error {
		tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 4, Durability: Written})
		if err != nil {
			return err
		}
		for p := range tp.Partitions() {
			for range records {
				if _, err := p.Append(ctx, Record{Value: []byte("v")}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	require.NoError(t, orders(100))
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	var commits atomic.Int64
	var work sync.WaitGroup
	expected := func(err error) {
		for _, e := range []error{nil, ErrClosed, ErrUnknownTopic, ErrRebalanced, ErrGroupNotEmpty, ErrUnknownGroup, ErrOffsetOutOfRange,
			ErrNotAssigned, ErrUnknownPartition, ErrFailed, context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, e) {
				return
			}
		}
		require.NoError(t, err)
	}
	loop := func(do func() error) {
		work.Go(func() {
			for stop.Err() == nil {
				expected(do())
			}
		})
	}
	for i := range 4 {
		group := []string{"g", "h"}[i%2]
		loop(func() error {
			c, err := st.Consumer(ConsumerConfig{Group: group, Topics: []string{"orders"}, OutOfRange: OutOfRangeEarliest, PollTimeout: time.Millisecond})
			if err != nil {
				return err
			}
			defer c.Close()
			for range rand.IntN(20) {
				soon, cancel := context.WithTimeout(stop, time.Millisecond)
				_, err := c.Poll(soon)
				cancel()
				expected(err)
				if err := c.Commit(ctx); err == nil {
					commits.Add(1)
				} else {
					expected(err)
				}
			}
			return nil
		})
	}
	groups := st.Groups()
	loop(func() error {
		_, err := groups.Reset(stop, "g", ResetOptions{To: Latest, Topics: []string{"orders"}})
		return err
	})
	loop(func() error { return groups.Delete(stop, "h") })
	loop(func() error { _, err := st.Retain(stop); return err })
	generation := int32(0)
	loop(func() error {
		generation += 3
		return groups.Commit(stop, Fence{Group: "g", Generation: generation}, spot("orders", 1, 1))
	})
	for records := int64(90); records > 0; records -= 30 {
		for seen := commits.Load(); commits.Load() < seen+10; {
			runtime.Gosched()
		}
		require.NoError(t, st.DeleteTopic(ctx, "orders"))
		require.NoError(t, orders(int(records)))
		for _, group := range []string{"g", "h"} {
			for id := range int32(4) {
				require.LessOrEqual(t, fetched(t, st, group, tp("orders", id)), records)
			}
		}
	}
	require.NoError(t, st.Close())
	cancel()
	work.Wait()
	require.Empty(t, st.coordinator.alone)
}
