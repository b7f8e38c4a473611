package leat

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkProduce is a producer's way of what BenchmarkAppend measures; its floor
// is append, the same records in batches of 100. sync waits for each record, as
// many at a time as there are goroutines.
func BenchmarkProduce(b *testing.B) {
	b.Run("floor/append=100", func(b *testing.B) { benchAppendBatch(b, 100, 100) })
	b.Run("floor/append=100/codec=zstd", func(b *testing.B) { benchAppendCodec(b, Zstd) })
	for _, way := range []string{"async", "sync"} {
		for _, goroutines := range []int{1, 8} {
			for _, linger := range []time.Duration{0, 5 * time.Millisecond} {
				for _, k := range []Compression{None, Zstd} {
					b.Run(fmt.Sprintf("%s/goroutines=%d/linger=%v/codec=%s", way, goroutines, linger, k), func(b *testing.B) {
						benchProduce(b, way == "async", goroutines, ProducerConfig{Linger: linger, Compression: k})
					})
				}
			}
		}
	}
	for _, n := range []int{4 << 10, 64 << 10, 256 << 10} { // beside the default
		b.Run(fmt.Sprintf("async/goroutines=1/batch=%d", n), func(b *testing.B) { benchProduce(b, true, 1, ProducerConfig{BatchBytes: n}) })
	}
}

func benchProduce(b *testing.B, async bool, goroutines int, c ProducerConfig) {
	ctx := context.Background()
	t := newBenchTopic(b, TopicConfig{Durability: Written})
	p := must[*Producer](b)(t.s.Producer(c))
	defer p.Close()
	payload := benchRecords(1, 100)[0].Value
	size := 0
	if c.Compression == Zstd {
		payload = accessLines(1)[0]
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	failed := func(_ *Record, err error) {
		if err != nil {
			b.Error(err)
		}
	}
	// Each goroutine has a ring of records, and begins anew when those are done.
	const ring = 1 << 13
	rings := make([][]Record, goroutines)
	for i := range rings {
		rings[i] = make([]Record, ring)
	}
	batches := t.s.Stats().Appended.Batches
	b.ResetTimer()
	t.start()
	for left := b.N; left > 0; {
		n := min(left, ring*goroutines)
		name := t.p.Topic().Name()
		var wg sync.WaitGroup
		for g := range goroutines {
			mine := n / goroutines
			if g < n%goroutines {
				mine++
			}
			wg.Go(func() {
				for i := range mine {
					r := &rings[g][i]
					*r = Record{Topic: name, Value: payload}
					if async {
						p.ProduceAsync(ctx, r, failed)
					} else if err := p.Produce(ctx, r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := p.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		left -= n
		size += n * encodedSize(1, 100)
		if size > (benchFiles-3)*benchFile || left == 0 {
			b.StopTimer()
			t.pause()
			t.renew()
			size = 0
			t.start()
			b.StartTimer()
		}
	}
	t.report(b.N)
	if n := t.s.Stats().Appended.Batches - batches; n > 0 { // those of the topics' making are few
		b.ReportMetric(float64(b.N)/float64(n), "records/batch")
	}
}
