package leat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGroupChaos: consumers come and go on goroutines of their own while topics
// grow. Since each commits what it has done before it gives anything up, every
// record is consumed once, in order, by one that owns its partition.
func TestGroupChaos(t *testing.T) {
	const partitions, records, workers = 5, 400, 6
	st := memStore(t)
	topics(t, st, map[string]int32{"orders": partitions - 2})
	topic, err := st.Topic("orders")
	require.NoError(t, err)
	var (
		owner [partitions]atomic.Int64
		next  [partitions]atomic.Int64
		left  atomic.Int64
		wg    sync.WaitGroup
	)
	left.Store(partitions * records)
	produce := func(id int32) {
		p, err := topic.Partition(id)
		require.NoError(t, err)
		for range records / 4 {
			batch := make([]Record, 4)
			for i := range batch {
				batch[i].Value = []byte("v")
			}
			_, err := p.Append(ctx, batch...)
			require.NoError(t, err)
		}
	}
	all, done := context.WithCancel(ctx)
	defer done()
	for me := range int64(workers) {
		wg.Go(func() {
			for all.Err() == nil {
				if err := work(all, st, me+1, owner[:], next[:], &left, done); err != nil {
					t.Error(err)
					done()
				}
			}
		})
	}
	for id := range int32(partitions - 2) {
		produce(id)
	}
	require.NoError(t, topic.AddPartitions(ctx, 2))
	produce(partitions - 2)
	produce(partitions - 1)
	wg.Wait()
	for id := range next {
		require.EqualValues(t, records, next[id].Load(), "partition %d", id)
		require.Zero(t, owner[id].Load())
	}
	for _, g := range st.liveGroups() {
		t.Errorf("group %s has members", g)
	}
}

// work is a consumer for a few polls.
func work(ctx context.Context, st *Store, me int64, owner, next []atomic.Int64, left *atomic.Int64, done func()) error {
	var broken error
	c, err := st.Consumer(ConsumerConfig{
		Group: "g", Topics: []string{"orders"}, MaxBytes: 1,
		OnAssign: func(_ context.Context, c *Consumer, parts []Position) {
			for _, p := range parts {
				if who := owner[p.Partition].Swap(me); who != 0 {
					broken = errors.Join(broken, fmt.Errorf("%v is %d's and %d's", p, who, me))
				}
			}
		},
		OnRevoke: func(_ context.Context, c *Consumer, parts []Position) {
			if err := c.Commit(context.Background()); err != nil {
				broken = errors.Join(broken, err)
			}
			for _, p := range parts {
				owner[p.Partition].Store(0)
			}
		},
	})
	if err != nil {
		return err
	}
	for range 8 {
		if left.Load() == 0 {
			done()
			break
		}
		batches, err := c.Poll(ctx)
		if err != nil {
			if ctx.Err() == nil {
				broken = errors.Join(broken, err)
			}
			break
		}
		for _, b := range batches {
			for r, err := range b.Records() {
				if err != nil {
					return err
				}
				if who := owner[r.Partition].Load(); who != me {
					broken = errors.Join(broken, fmt.Errorf("%d has a record of %d's partition", me, who))
				}
				if !next[r.Partition].CompareAndSwap(r.Offset, r.Offset+1) {
					broken = errors.Join(broken, fmt.Errorf("%d@%d comes after %d", r.Partition, r.Offset, next[r.Partition].Load()))
				}
				if left.Add(-1) == 0 {
					done()
				}
			}
		}
	}
	return errors.Join(broken, c.Close())
}
