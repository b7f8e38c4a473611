package leat

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// retentionSegments is how many segments one deletion takes, of what size.
const (
	retentionSegments    = 100
	retentionSegmentSize = 1 << 20
	retentionPause       = 50 * time.Microsecond // between appends
)

// BenchmarkRetention times appends to a partition while a hundred of its segments
// are deleted, and without, by turns in the same run: quiet-p99 and busy-p99 are
// nanoseconds a call, p99-ratio is what the deletion costs them (at most 2). One
// iteration is one deletion. Appends come at a pace, or what they make the disk
// write would be all that is seen.
func BenchmarkRetention(b *testing.B) {
	for _, d := range []Durability{Written, Synced} {
		b.Run(fmt.Sprintf("segments=%d/%s", retentionSegments, d), func(b *testing.B) { benchRetention(b, d) })
	}
}

func benchRetention(b *testing.B, d Durability) {
	ctx := context.Background()
	s := must[*Store](b)(Open(benchDir(b), nil))
	defer s.Close()
	topic := must[*Topic](b)(s.CreateTopic(ctx, "bench", TopicConfig{
		Durability: d, SegmentBytes: retentionSegmentSize, Retention: Retention{Age: Unlimited},
	}))
	p := must[*Partition](b)(topic.Partition(0))
	one := benchRecords(1, 100)
	large := benchRecords(1, retentionSegmentSize/8)
	var quiet, busy latencies
	var took time.Duration
	append1 := func(l *latencies) {
		begun := time.Now()
		if _, err := p.Append(ctx, one...); err != nil {
			b.Fatal(err)
		}
		l.add(time.Since(begun))
		time.Sleep(retentionPause)
	}
	for b.Loop() {
		b.StopTimer()
		for range retentionSegments * 8 {
			if _, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, large...); err != nil {
				b.Fatal(err)
			}
		}
		before := p.HighWatermark()
		if err := p.Sync(ctx); err != nil {
			b.Fatal(err)
		}
		before = max(before, p.HighWatermark())
		// Half of the quiet turn comes before the deletion and half after, so that
		// what the machine does by and by meets both alike.
		until := time.Now().Add(max(took, 20*time.Millisecond) / 2)
		for time.Now().Before(until) {
			append1(&quiet)
		}
		b.StartTimer()
		var done atomic.Bool
		failed := make(chan error, 1)
		begun := time.Now()
		go func() {
			err := p.DeleteRecords(ctx, before)
			took = time.Since(begun)
			done.Store(true)
			failed <- err
		}()
		for !done.Load() {
			append1(&busy)
		}
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		until = time.Now().Add(took / 2)
		for time.Now().Before(until) {
			append1(&quiet)
		}
		b.StartTimer()
	}
	b.ReportMetric(quiet.at(0.50), "quiet-p50-ns")
	b.ReportMetric(quiet.at(0.99), "quiet-p99-ns")
	b.ReportMetric(busy.at(0.50), "busy-p50-ns")
	b.ReportMetric(busy.at(0.99), "busy-p99-ns")
	b.ReportMetric(busy.at(0.99)/quiet.at(0.99), "p99-ratio")
	b.ReportMetric(float64(retentionSegments), "segments/op")
}

// latencies are the times of single calls.
type latencies []time.Duration

func (l *latencies) add(d time.Duration) { *l = append(*l, d) }

// at is a quantile, in nanoseconds.
func (l *latencies) at(q float64) float64 {
	if len(*l) == 0 {
		return 0
	}
	slices.Sort(*l)
	return float64((*l)[int(q*float64(len(*l)-1))])
}
