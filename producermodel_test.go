package leat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// produced is what the model knows of one record.
type produced struct {
	sync.Mutex
	topic     string
	partition int32
	offset    int64
	told      int
	err       error
}

func (o *produced) tell(r *Record, err error) {
	o.Lock()
	defer o.Unlock()
	o.told++
	o.err, o.partition, o.offset = err, r.Partition, r.Offset
}

// TestProduceModel: several goroutines produce by all three ways, while partitions
// are added, a topic is deleted and made again, and at the end the store or the
// producer is closed. Each record is told of once; what was acknowledged is in
// the log once, where it was said to be, what has failed is not; and each
// goroutine's records are in order.
func TestProduceModel(t *testing.T) {
	rounds := 12
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 500
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { produceModel(t, uint64(seed)) })
	}
}

func produceModel(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	topics := []string{"kept", "packed", "gone"}
	for _, name := range topics {
		c := TopicConfig{Partitions: 1 + rnd.Int32N(4), MaxBatchBytes: 3000, SegmentBytes: 16 << 10}
		if rnd.IntN(2) == 0 {
			c.Durability = Written
		}
		if name == "packed" {
			c.Compression = LZ4
		}
		topicOf(t, st, name, c)
	}
	p, err := st.Producer(ProducerConfig{
		Linger:       []time.Duration{0, 0, time.Microsecond, time.Hour}[rnd.IntN(4)],
		BatchBytes:   []int{1, 300, 16 << 10}[rnd.IntN(3)],
		BatchRecords: []int{1, 7, Unlimited}[rnd.IntN(3)],
		MaxBuffered:  []int64{2000, 50_000, Unlimited}[rnd.IntN(3)],
	})
	require.NoError(t, err)
	const goroutines, each = 4, 150
	all := map[string]*produced{}
	for g := range goroutines {
		for i := range each {
			all[fmt.Sprint(g, "-", i)] = new(produced)
		}
	}
	var work sync.WaitGroup
	for g := range goroutines {
		rnd := rand.New(rand.NewPCG(seed, uint64(g+2)))
		work.Go(func() {
			for i := 0; i < each; {
				var rs []*Record
				var os []*produced
				for n := 1 + rnd.IntN(3); n > 0 && i < each; n-- {
					id := fmt.Sprint(g, "-", i)
					r := &Record{Topic: topics[rnd.IntN(3)], Value: []byte(id)}
					if rnd.IntN(2) == 0 {
						r.Key = fmt.Append(nil, rnd.IntN(5))
					}
					if rnd.IntN(40) == 0 {
						r.Headers = []Header{{Key: "much", Value: make([]byte, 4000)}}
						for i := range r.Headers[0].Value {
							r.Headers[0].Value[i] = byte(rnd.Uint32())
						}
					}
					o := all[id]
					o.topic = r.Topic
					rs, os = append(rs, r), append(os, o)
					i++
				}
				some, cancel := ctx, context.CancelFunc(func() {})
				switch rnd.IntN(8) {
				case 0:
					some, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(200))*time.Microsecond)
				case 1:
					some, cancel = context.WithTimeout(ctx, time.Hour)
				}
				switch rnd.IntN(4) {
				case 0:
					err := p.Produce(some, rs...)
					for i, r := range rs {
						e := err
						if r.Offset >= 0 {
							e = nil
						} else if e == nil {
							e = errors.New("no error of it")
						}
						os[i].tell(r, e)
					}
				case 1:
					for i, r := range rs {
						if err := p.TryProduce(r, os[i].tell); err != nil {
							r.Offset = -1
							os[i].tell(r, err)
						}
					}
				default:
					for i, r := range rs {
						p.ProduceAsync(some, r, os[i].tell)
					}
				}
				cancel()
				if rnd.IntN(50) == 0 {
					_ = p.Flush(ctx)
				}
			}
		})
	}
	work.Go(func() {
		kept, err := st.Topic("kept")
		require.NoError(t, err)
		for range 3 {
			runtime.Gosched()
			require.NoError(t, kept.AddPartitions(ctx, 2))
			require.NoError(t, st.DeleteTopic(ctx, "gone"))
			topicOf(t, st, "gone", TopicConfig{Partitions: 3})
		}
	})
	if seed%3 != 0 { // else the store is closed under it
		work.Wait()
		require.NoError(t, p.Close())
	}
	if seed%3 == 1 {
		require.NoError(t, st.Close())
	} else {
		work.Wait()
		require.NoError(t, st.Close())
		require.NoError(t, p.Close())
	}
	require.Zero(t, p.room.used.Load())

	st = openStore(t, m, nil)
	found := map[string]string{}
	for _, name := range topics {
		tp, err := st.Topic(name)
		require.NoError(t, err)
		for _, q := range opened(t, tp) {
			last := map[string]int{}
			for rec, err := range reader(t, q, ReaderOptions{UntilEnd: true}).Records(ctx) {
				require.NoError(t, err)
				id := string(rec.Value)
				var g string
				var i int
				_, err := fmt.Sscanf(id, "%1s-%d", &g, &i)
				require.NoError(t, err)
				require.Empty(t, found[id], "stored twice")
				found[id] = fmt.Sprint(q, " ", rec.Offset)
				require.GreaterOrEqual(t, i, last[g], "out of order in %s", q)
				last[g] = i
			}
		}
	}
	for id, o := range all {
		require.Equal(t, 1, o.told, id)
		where := fmt.Sprint(folderName(o.topic, o.partition), " ", o.offset)
		switch {
		case o.err == nil && o.topic == "gone":
			if found[id] != "" { // and of the last one of that name
				require.Equal(t, where, found[id])
			}
		case o.err == nil:
			require.Equal(t, where, found[id], id)
		case !errors.Is(o.err, ErrUnknownOutcome):
			require.Empty(t, found[id], "%s: %v", id, o.err)
			require.Equal(t, int64(-1), o.offset)
		}
	}
}

// TestProducerLeavesNothing: an idle producer has no goroutine, a closed one no
// timer either, over real files too.
func TestProducerLeavesNothing(t *testing.T) {
	st, err := Open(t.TempDir(), nil)
	require.NoError(t, err)
	topicOf(t, st, "orders", TopicConfig{Partitions: 3})
	settled := func(before int) {
		for range 100_000 {
			if runtime.NumGoroutine() <= before {
				return
			}
			runtime.Gosched()
		}
		stacks := make([]byte, 1<<20)
		require.LessOrEqual(t, runtime.NumGoroutine(), before, "%s", stacks[:runtime.Stack(stacks, true)])
	}
	before := runtime.NumGoroutine()
	for i := range 10 {
		p, err := st.Producer(ProducerConfig{Linger: time.Duration(i%2) * time.Hour})
		require.NoError(t, err)
		for range 100 {
			p.ProduceAsync(ctx, &Record{Topic: "orders"}, nil)
		}
		require.NoError(t, p.Flush(ctx))
		settled(before)
		p.ProduceAsync(ctx, &Record{Topic: "orders"}, nil)
		require.NoError(t, p.Close())
		for _, l := range p.mu.lanes {
			require.False(t, l.mu.armed)
		}
		settled(before)
	}
	// Nothing is kept of topics that are gone.
	p := producer(t, st, ProducerConfig{})
	for i := range 20 {
		name := fmt.Sprint("t", i%2)
		topicOf(t, st, name, TopicConfig{})
		require.NoError(t, p.Produce(ctx, &Record{Topic: name}))
		require.NoError(t, p.Flush(ctx))
		require.NoError(t, st.DeleteTopic(ctx, name))
	}
	require.LessOrEqual(t, len(p.mu.lanes), 2)
	require.NoError(t, p.Close())
	require.NoError(t, st.Close())
}
