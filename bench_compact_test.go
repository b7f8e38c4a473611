package leat

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leatlog/leat/internal/vfs"
)

// compactSize is how large the logs are that are cleaned: with LEAT_LONG what the
// budget speaks of, else what a smoke test can afford.
func compactSize() int64 {
	if os.Getenv("LEAT_LONG") != "" {
		return 1 << 30
	}
	return 64 << 20
}

// keyedRecords makes batches of a hundred records of 100 B, the key included, of
// so many keys in no order; 0: no key comes twice.
type keyedRecords struct {
	rng  *rand.Rand
	keys int
	n    int
	rs   []Record
}

const keySize = 16

func newKeyedRecords(keys int) *keyedRecords {
	k := &keyedRecords{rng: rand.New(rand.NewPCG(1, 2)), keys: keys, rs: benchRecords(100, 100-keySize)}
	for i := range k.rs {
		k.rs[i].Key = make([]byte, keySize)
	}
	return k
}

func (k *keyedRecords) next() []Record {
	for i := range k.rs {
		n := k.n
		if k.n++; k.keys > 0 {
			n = k.rng.IntN(k.keys)
		}
		k.rs[i].Key = fmt.Appendf(k.rs[i].Key[:0], "%0*d", keySize, n)
	}
	return k.rs
}

// BenchmarkCompact cleans a log of 100 B records that nobody has cleaned before, in
// segments of 64 MiB, with 64 MiB for keys. One iteration is the whole log, in as
// many rounds as that takes; MB/s is of the source's bytes, which are read twice.
// heap-MB is how much the heap has grown at most. BenchmarkFloor/copy moves the same
// bytes once, which is the most that a cleaning has to write.
func BenchmarkCompact(b *testing.B) {
	for _, c := range []struct {
		name    string
		repeats int64 // of each key, on average; 0: none comes twice
		codec   Compression
	}{
		{"repeats=8", 8, None},
		{"repeats=1", 0, None}, // nothing goes
		{"repeats=8/codec=lz4", 8, LZ4},
	} {
		b.Run(fmt.Sprintf("bytes=%dMiB/%s", compactSize()>>20, c.name), func(b *testing.B) {
			benchCompact(b, c.repeats, c.codec)
		})
	}
}

func benchCompact(b *testing.B, repeats int64, codec Compression) {
	ctx := context.Background()
	size := compactSize()
	s := must[*Store](b)(Open(benchDir(b), &Options{Cleaner: Cleaner{Off: true}}))
	defer s.Close()
	batch := int64(encodedSize(100, 100))
	keys := 0
	if repeats > 0 {
		keys = int(size / batch * 100 / repeats)
	}
	var sum struct{ source, keys, mapBytes, rounds, kept int64 }
	peak := uint64(0)
	b.SetBytes(size / batch * batch)
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		job := fillToClean(b, s, n, size, newKeyedRecords(keys), codec)
		end := job.log.LogEndOffset()
		before := heapBytes()
		sampled := sampleHeap(&peak, before)
		b.StartTimer()
		for to := int64(-1); to < end; {
			done, _, err := s.cleanOne(ctx, job, func() (int64, bool, error) { return to, true, nil })
			if err != nil {
				b.Fatal(err)
			}
			if done.To <= to {
				b.Fatalf("no progress beyond %d of %d", to, end)
			}
			to = done.To
			sum.keys += done.Keys
			sum.mapBytes = max(sum.mapBytes, done.MapBytes)
			sum.rounds++
			sum.kept += done.BytesAfter
		}
		b.StopTimer()
		sampled()
		if err := s.DeleteTopic(ctx, job.topic.name); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(sum.keys)/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(float64(sum.mapBytes)/(1<<20), "map-MiB")
	b.ReportMetric(float64(peak)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(sum.rounds)/float64(b.N), "rounds/op")
	b.ReportMetric(float64(sum.kept)/float64(b.N)/(1<<20), "kept-MiB/op")
}

// fillToClean makes a topic with that many bytes in it, all of them sealed.
func fillToClean(b *testing.B, s *Store, n int, size int64, records *keyedRecords, codec Compression) *cleaning {
	b.Helper()
	ctx := context.Background()
	t := must[*Topic](b)(s.CreateTopic(ctx, fmt.Sprintf("compact-%d", n), TopicConfig{
		Durability: Written, SegmentBytes: 64 << 20, Cleanup: CleanupCompact, Compression: codec,
	}))
	p := must[*Partition](b)(t.Partition(0))
	for range size / int64(encodedSize(100, 100)) {
		if _, err := p.Append(ctx, records.next()...); err != nil {
			b.Fatal(err)
		}
	}
	l := p.log.Load()
	if err := l.RollLarge(1); err != nil {
		b.Fatal(err)
	}
	if err := p.Sync(ctx); err != nil {
		b.Fatal(err)
	}
	return &cleaning{topic: t, part: p, log: l}
}

func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// sampleHeap notes the most that the heap grows beyond before, until it is told to
// stop.
func sampleHeap(peak *uint64, before uint64) (stop func()) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			if now := heapBytes(); now > before {
				*peak = max(*peak, now-before)
			}
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(over); wg.Wait() }
}

// floorCopy reads files as large as a log that is cleaned, computes the CRC of its
// batches, and writes them to new ones, which it syncs.
func floorCopy(b *testing.B) {
	const file = 64 << 20
	fsys := must[vfs.FS](b)(vfs.OS(benchDir(b), vfs.Options{}))
	data := floorFile(b, file)
	n := encodedSize(100, 100)
	chunk := 1 << 20 / n * n
	size := compactSize()
	b.SetBytes(size)
	for b.Loop() {
		for i := range size / file {
			name := fmt.Sprint(i % benchFiles)
			if i >= benchFiles {
				_ = fsys.Remove(name)
			}
			f := must[vfs.File](b)(fsys.Create(name))
			if err := f.Allocate(0, file); err != nil {
				b.Fatal(err)
			}
			for pos := 0; pos < file; pos += chunk {
				part := data[pos:min(pos+chunk, file)]
				for rest := part; len(rest) >= n; rest = rest[n:] {
					sink += crc32.Checksum(rest[21:n], castagnoli)
				}
				if _, err := f.WriteAt(part, int64(pos)); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		for i := range benchFiles {
			_ = fsys.Remove(fmt.Sprint(i))
		}
		b.StartTimer()
	}
}

// BenchmarkCompactAppend times appends to a partition while it is cleaned, and
// while not, by turns in the same run: quiet-p99 and busy-p99 are nanoseconds a
// call, p99-ratio is what the cleaning costs them (at most 2). One iteration is the
// cleaning of what BenchmarkCompact cleans. Appends come at a pace, or what they
// make the disk write would be all that is seen.
func BenchmarkCompactAppend(b *testing.B) {
	for _, d := range []Durability{Written, Synced} {
		b.Run(d.String(), func(b *testing.B) { benchCompactAppend(b, d) })
	}
}

func benchCompactAppend(b *testing.B, d Durability) {
	ctx := context.Background()
	s := must[*Store](b)(Open(benchDir(b), &Options{Cleaner: Cleaner{Off: true}}))
	defer s.Close()
	size := compactSize()
	one := benchRecords(1, 100)
	one[0].Key = make([]byte, keySize)
	var quiet, busy latencies
	var p *Partition
	append1 := func(l *latencies) {
		begun := time.Now()
		if _, err := p.AppendWith(ctx, AppendOptions{Durability: d}, one...); err != nil {
			b.Fatal(err)
		}
		l.add(time.Since(begun))
		time.Sleep(retentionPause)
	}
	took := 20 * time.Millisecond
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		job := fillToClean(b, s, n, size, newKeyedRecords(int(max(size/800, 1))), None)
		p = job.part
		half := func() {
			for until := time.Now().Add(took / 2); time.Now().Before(until); {
				append1(&quiet)
			}
		}
		half()
		b.StartTimer()
		var done atomic.Bool
		failed := make(chan error, 1)
		begun := time.Now()
		go func() {
			_, _, err := s.cleanOne(ctx, job, func() (int64, bool, error) { return -1, true, nil })
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
		half()
		if err := s.DeleteTopic(ctx, job.topic.name); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(quiet.at(0.50), "quiet-p50-ns")
	b.ReportMetric(quiet.at(0.99), "quiet-p99-ns")
	b.ReportMetric(busy.at(0.50), "busy-p50-ns")
	b.ReportMetric(busy.at(0.99), "busy-p99-ns")
	b.ReportMetric(busy.at(0.99)/quiet.at(0.99), "p99-ratio")
}
