package leat

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkStats is one Stats of a store whose partitions are all open, which is
// to cost little enough to be taken every second.
func BenchmarkStats(b *testing.B) {
	for _, partitions := range []int32{100, 10_000} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			st := must[*Store](b)(OpenMem(nil))
			b.Cleanup(func() { st.Close() })
			for i := range partitions / 100 {
				tp := must[*Topic](b)(st.CreateTopic(context.Background(), fmt.Sprintf("topic-%d", i), TopicConfig{Partitions: 100}))
				for id := range int32(100) {
					must[*Partition](b)(tp.Partition(id))
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if s := st.Stats(); s.Open != int(partitions) {
					b.Fatal(s.Open)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(partitions), "ns/partition")
		})
	}
}

// BenchmarkObserved is an append that is told of, beside one that is not.
func BenchmarkObserved(b *testing.B) {
	told := 0
	for name, o := range map[string]*Observer{"none": nil, "append": {Append: func(Event) { told++ }}} {
		b.Run("observer="+name, func(b *testing.B) {
			st := must[*Store](b)(OpenMem(&Options{Observer: o}))
			b.Cleanup(func() { st.Close() })
			tp := must[*Topic](b)(st.CreateTopic(context.Background(), "orders", TopicConfig{Durability: Written, Retention: Retention{Bytes: 1 << 20}}))
			p := must[*Partition](b)(tp.Partition(0))
			ctx, value, at := context.Background(), make([]byte, 100), time.UnixMilli(1_700_000_000_000)
			b.ReportAllocs()
			b.SetBytes(100)
			for b.Loop() {
				if _, err := p.Append(ctx, Record{Value: value, Timestamp: at}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
