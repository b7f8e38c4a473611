//go:build !race && !leatdebug

package leat

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProduceAllocs: in steady state the way of a record allocates nothing; a
// goroutine that is started now and then is what little there is.
func TestProduceAllocs(t *testing.T) {
	st := memStore(t)
	part(t, st, "orders", TopicConfig{Durability: Written})
	p := producer(t, st, ProducerConfig{})
	records := make([]Record, 1000)
	done := func(*Record, error) {}
	round := func() {
		for i := range records {
			records[i] = Record{Topic: "orders", Value: records[i].Value}
			p.ProduceAsync(ctx, &records[i], done)
		}
		require.NoError(t, p.Flush(ctx))
	}
	for range 10 {
		round()
	}
	require.Less(t, testing.AllocsPerRun(20, round), 100.0)
	r := &Record{Topic: "orders"}
	require.Less(t, testing.AllocsPerRun(1000, func() { _ = p.Produce(ctx, r) }), 2.0)
}
