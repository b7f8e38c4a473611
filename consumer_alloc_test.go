//go:build !race && !leatdebug

package leat

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConsumerAllocations: neither Poll nor Records allocates, whether there is a
// backlog or it waits for what comes, with a map or without.
func TestConsumerAllocations(t *testing.T) {
	for _, writer := range []Writer{WriterMapped, WriterPwrite} {
		t.Run(writer.String(), func(t *testing.T) {
			st := openStore(t, diskFS(t), &Options{Writer: writer})
			parts := called(t, st, "orders", 4, 2000, TopicConfig{Durability: Written})
			for _, conf := range []ConsumerConfig{{MaxBytes: 10 << 10}, {MaxBytes: 10 << 10, Group: "g", Topics: []string{"orders"}}} {
				c := consumer(t, st, conf)
				if conf.Group == "" {
					require.NoError(t, c.Assign(pos("orders", 0, 0), pos("orders", 1, 0), pos("orders", 2, 0), pos("orders", 3, 0)))
				}
				poll := func() {
					batches, err := c.Poll(ctx)
					if err != nil || len(batches) == 0 {
						t.Error(len(batches), err)
					}
					for _, b := range batches {
						for _, err := range b.Records() {
							if err != nil {
								t.Error(err)
							}
						}
					}
				}
				for range 5 { // each partition, and the pools
					poll()
				}
				require.LessOrEqual(t, testing.AllocsPerRun(30, poll), 0.0)
				for c.Lag().Records > 0 {
					poll()
				}
				// At the end: each record is waited for.
				next := make(chan struct{})
				go func() {
					for range next {
						if _, err := parts[1].Append(ctx, Record{Value: []byte("x")}); err != nil {
							t.Error(err)
						}
					}
				}()
				wait := func() {
					next <- struct{}{}
					poll()
				}
				for range 5 {
					wait()
				}
				all, end := c.Assignment(), parts[1].HighWatermark()
				appends := testing.AllocsPerRun(50, func() { // a goroutine's append, without a consumer
					c.Pause(all...)
					next <- struct{}{}
					for parts[1].HighWatermark() == end {
						runtime.Gosched()
					}
					end++
				})
				c.Resume(all...)
				poll()
				require.LessOrEqual(t, testing.AllocsPerRun(50, wait), appends)
				close(next)
				require.NoError(t, c.SeekAll(ctx, Earliest))
				n := 0
				for _, err := range c.Records(ctx) {
					require.NoError(t, err)
					if n++; n == 10 {
						require.LessOrEqual(t, allocsOfLoop(c), 20.0, "of 3000 records")
						break
					}
				}
			}
		})
	}
}

// allocsOfLoop is what a loop over 3000 records allocates, once.
func allocsOfLoop(c *Consumer) float64 {
	return testing.AllocsPerRun(1, func() {
		n := 0
		for range c.Records(ctx) {
			if n++; n == 3000 {
				return
			}
		}
	})
}
