package leat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leatlog/leat/log"
)

// BenchmarkOpen opens a store of many partitions that was closed cleanly, and
// then every partition, which are left idle. An iteration is one open of the
// store; what it does to open the partitions and to close it is told apart.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10_000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			dir := benchDir(b)
			manyPartitions(b, dir, n, 10)
			benchOpen(b, dir, n)
		})
	}
}

func benchOpen(b *testing.B, dir string, n int) {
	var opened, all, closed time.Duration
	var heap float64
	var fds, maps, goroutines int
	for b.Loop() {
		start := time.Now()
		s := must[*Store](b)(Open(dir, nil))
		opened += time.Since(start)
		b.StopTimer()
		was := takeResources(dir)
		start = time.Now()
		openAll(b, s, n)
		all += time.Since(start)
		now := takeResources(dir)
		heap = float64(now.heap-was.heap) / float64(n)
		fds, maps, goroutines = now.fds-was.fds, now.maps-was.maps, now.goroutines-was.goroutines
		start = time.Now()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		closed += time.Since(start)
		b.StartTimer()
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
	b.ReportMetric(ms(opened), "ms/open")
	b.ReportMetric(ms(all), "ms/open-all")
	b.ReportMetric(ms(closed), "ms/close")
	b.ReportMetric(heap, "heap-B/partition")
	b.ReportMetric(float64(fds)/float64(n), "fds/partition")
	b.ReportMetric(float64(maps)/float64(n), "maps/partition")
	b.ReportMetric(float64(goroutines)/float64(n), "goroutines/partition")
}

// openAll opens the partitions of the topic that manyPartitions made.
func openAll(tb testing.TB, s *Store, n int) []*Partition {
	t := must[*Topic](tb)(s.Topic("many"))
	list := make([]*Partition, n)
	for i := range list {
		list[i] = must[*Partition](tb)(t.Partition(int32(i)))
	}
	return list
}

// manyPartitions makes a store with a topic of n partitions, each with the same
// records, as a clean close leaves it. Only the first is written record by record:
// the others are copies of its files.
func manyPartitions(tb testing.TB, dir string, n, records int) {
	tb.Helper()
	ctx := context.Background()
	s := must[*Store](tb)(Open(dir, nil))
	t := must[*Topic](tb)(s.CreateTopic(ctx, "many", TopicConfig{Partitions: int32(n)}))
	p := must[*Partition](tb)(t.Partition(0))
	for i := range records {
		if _, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Value: fmt.Appendf(nil, "value %d", i)}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range must[[]os.DirEntry](tb)(os.ReadDir(filepath.Join(dir, "many-0"))) {
		if e.Name() != partitionMetadata {
			files[e.Name()] = must[[]byte](tb)(os.ReadFile(filepath.Join(dir, "many-0", e.Name())))
		}
	}
	for _, name := range []string{recoveryName, watermarkName} {
		path := filepath.Join(dir, name)
		lines := must[map[log.TopicPartition]int64](tb)(log.ParseOffsetCheckpoint(must[[]byte](tb)(os.ReadFile(path))))
		for id := range int32(n) {
			lines[log.TopicPartition{Topic: "many", Partition: id}] = int64(records)
		}
		if err := os.WriteFile(path, log.AppendOffsetCheckpoint(nil, lines), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	for id := 1; id < n; id++ {
		folder := filepath.Join(dir, fmt.Sprintf("many-%d", id))
		for name, b := range files {
			if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// resources are what the process has of that which an idle partition must have
// none of. Descriptors and maps are -1 where the system does not list them.
type resources struct {
	heap       int64
	fds, maps  int
	goroutines int
}

func takeResources(dir string) (r resources) {
	runtime.GC()
	runtime.GC() // what is in pools takes two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r = resources{heap: int64(m.HeapAlloc), fds: -1, maps: -1, goroutines: runtime.NumGoroutine()}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		r.fds = len(list)
	}
	if b, err := os.ReadFile("/proc/self/maps"); err == nil {
		r.maps = strings.Count(string(b), dir)
	}
	return r
}
