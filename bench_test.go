package leat

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Run with: go test -run '^$' -bench . -count 6 . | tee new.txt; benchstat new.txt
// Each benchmark stands beside its floor (floor_test.go); docs/performance.md
// has the budgets and the figures of one machine. One iteration is one call;
// ns/record is elapsed time over all goroutines' records. Files go below
// LEAT_BENCH_DIR, or the default temporary directory, and are removed.

// benchTopic is a partition that is begun anew when it has filled benchFiles
// segments, with the clock stopped.
type benchTopic struct {
	b    *testing.B
	s    *Store
	cfg  TopicConfig
	n    int
	size int64
	p    *Partition
	// used is the processor time between renewals: the helper's too, which an
	// elapsed time does not show.
	used, since time.Duration
}

func newBenchTopic(b *testing.B, c TopicConfig) *benchTopic {
	b.Helper()
	s := must[*Store](b)(Open(benchDir(b), nil))
	b.Cleanup(func() { s.Close() })
	if c.SegmentBytes == 0 {
		c.SegmentBytes = benchFile
	}
	t := &benchTopic{b: b, s: s, cfg: c}
	t.renew()
	return t
}

func (t *benchTopic) renew() {
	t.b.Helper()
	ctx := context.Background()
	if t.p != nil {
		if err := t.s.DeleteTopic(ctx, t.p.Topic().Name()); err != nil {
			t.b.Fatal(err)
		}
	}
	t.n++
	topic := must[*Topic](t.b)(t.s.CreateTopic(ctx, fmt.Sprintf("bench-%d", t.n), t.cfg))
	t.p = must[*Partition](t.b)(topic.Partition(0))
	t.size = 0
}

// wrote counts encoded bytes and begins anew in time.
func (t *benchTopic) wrote(n int) {
	if t.size += int64(n); t.size > benchFiles*benchFile-1<<20 {
		t.b.StopTimer()
		t.pause()
		t.renew()
		t.start()
		t.b.StartTimer()
	}
}

func (t *benchTopic) start() { t.since = processorTime() }
func (t *benchTopic) pause() { t.used += processorTime() - t.since }

// report gives the elapsed and the processor time a record.
func (t *benchTopic) report(records int) {
	t.pause()
	perRecord(t.b, records)
	t.b.ReportMetric(float64(t.used.Nanoseconds())/float64(records), "cpu-ns/record")
}

func benchRecords(batch, size int) []Record {
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(i)
	}
	rs := make([]Record, batch)
	for i := range rs {
		rs[i].Value = value
	}
	return rs
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name        string
		batch, size int
	}{
		{"written/batch=100/size=100", 100, 100},
		{"written/batch=100/size=1024", 100, 1024},
	} {
		b.Run(c.name, func(b *testing.B) { benchAppendBatch(b, c.batch, c.size) })
	}
	b.Run("written/batch=1/size=100", func(b *testing.B) { benchAppendOne(b, time.Time{}) })
	b.Run("written/batch=1/size=100/timestamp=caller", func(b *testing.B) { benchAppendOne(b, time.UnixMilli(1_700_000_000_000)) })
	b.Run("written/batch=1/size=100/goroutines=8", func(b *testing.B) { benchAppendMany(b, Written, 8) })
	b.Run("synced/batch=1/size=100/goroutines=1", func(b *testing.B) { benchAppendMany(b, Synced, 1) })
	b.Run("synced/batch=1/size=100/goroutines=64", func(b *testing.B) { benchAppendMany(b, Synced, 64) })
	for _, k := range []Compression{Zstd, LZ4, Snappy, Gzip} {
		b.Run(fmt.Sprintf("written/batch=100/size=100/codec=%s", k), func(b *testing.B) { benchAppendCodec(b, k) })
	}
}

func benchAppendBatch(b *testing.B, batch, size int) {
	ctx := context.Background()
	t := newBenchTopic(b, TopicConfig{Durability: Written})
	rs := benchRecords(batch, size)
	n := encodedSize(batch, size)
	b.ReportAllocs()
	b.SetBytes(int64(batch * size))
	t.start()
	for b.Loop() {
		if _, err := t.p.Append(ctx, rs...); err != nil {
			b.Fatal(err)
		}
		t.wrote(n)
	}
	t.report(b.N * batch)
}

// benchAppendOne appends one record a call, as a literal.
func benchAppendOne(b *testing.B, at time.Time) {
	ctx := context.Background()
	t := newBenchTopic(b, TopicConfig{Durability: Written})
	value := benchRecords(1, 100)[0].Value
	n := encodedSize(1, 100)
	b.ReportAllocs()
	b.SetBytes(100)
	t.start()
	for b.Loop() {
		if _, err := t.p.Append(ctx, Record{Timestamp: at, Value: value}); err != nil {
			b.Fatal(err)
		}
		t.wrote(n)
	}
	t.report(b.N)
}

// benchAppendMany appends from several goroutines at once, one record a call.
func benchAppendMany(b *testing.B, d Durability, goroutines int) {
	ctx := context.Background()
	t := newBenchTopic(b, TopicConfig{Durability: d})
	value := benchRecords(1, 100)[0].Value
	b.ReportAllocs()
	b.SetBytes(100)
	// Rounds of so many calls that the files are begun anew in between.
	const round = 1 << 20
	syncs := int64(0)
	done := 0
	b.ResetTimer()
	t.start()
	for done < b.N {
		n := min(round, b.N-done)
		var left atomic.Int64
		left.Store(int64(n))
		var wg sync.WaitGroup
		before := t.p.log.Load().Syncs()
		for range goroutines {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if _, err := t.p.Append(ctx, Record{Value: value}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		syncs += t.p.log.Load().Syncs() - before
		done += n
		if t.size += int64(n * encodedSize(1, 100)); t.size > (benchFiles-3)*benchFile {
			b.StopTimer()
			t.pause()
			t.renew()
			t.start()
			b.StartTimer()
		}
	}
	t.report(b.N)
	if d == Synced && syncs > 0 {
		b.ReportMetric(float64(b.N)/float64(syncs), "records/sync")
	}
}

func benchAppendCodec(b *testing.B, k Compression) {
	ctx := context.Background()
	t := newBenchTopic(b, TopicConfig{Durability: Written, Compression: k})
	lines := accessLines(1000)
	rs := make([]Record, 100)
	payload := 0
	for i := range rs {
		rs[i].Value = lines[i]
		payload += len(lines[i])
	}
	b.ReportAllocs()
	b.SetBytes(int64(payload))
	packed := 0
	for b.Loop() {
		if _, err := t.p.Append(ctx, rs...); err != nil {
			b.Fatal(err)
		}
		if packed == 0 {
			packed = int(t.p.log.Load().Size()) // of the first batch, which all others repeat
		}
		t.wrote(packed)
	}
	perRecord(b, b.N*len(rs))
	b.ReportMetric(float64(payload)/float64(packed), "ratio")
}

// filled is a partition with about size bytes of batches, 100 records each.
func filled(b *testing.B, c TopicConfig, size int64, rs []Record) *Partition {
	b.Helper()
	ctx := context.Background()
	s := must[*Store](b)(Open(benchDir(b), nil))
	b.Cleanup(func() { s.Close() })
	c.Durability = Written
	topic := must[*Topic](b)(s.CreateTopic(ctx, "filled", c))
	p := must[*Partition](b)(topic.Partition(0))
	for p.log.Load().Size() < size {
		if _, err := p.Append(ctx, rs...); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Sync(ctx); err != nil {
		b.Fatal(err)
	}
	return p
}

func BenchmarkRead(b *testing.B) {
	plain := benchRecords(100, 100)
	lines := accessLines(100)
	packed := make([]Record, 100)
	for i := range packed {
		packed[i].Value = lines[i]
	}
	b.Run("batch=100/size=100", func(b *testing.B) { benchReadBatches(b, None, plain) })
	b.Run("batch=100/size=100/records", func(b *testing.B) { benchReadRecords(b, None, plain) })
	b.Run("batch=100/size=100/codec=zstd", func(b *testing.B) { benchReadRecords(b, Zstd, packed) })
	b.Run("batch=100/size=100/codec=lz4", func(b *testing.B) { benchReadRecords(b, LZ4, packed) })
}

// benchReadBatches takes whole batches, CRC verified.
func benchReadBatches(b *testing.B, k Compression, rs []Record) {
	ctx := context.Background()
	p := filled(b, TopicConfig{Compression: k}, benchFile, rs)
	r := must[*Reader](b)(p.Reader(ReaderOptions{UntilEnd: true}))
	defer r.Close()
	b.ReportAllocs()
	b.SetBytes(100 * 100)
	warm := true
	for b.Loop() {
		_, err := r.Next(ctx)
		if err == io.EOF || warm && err == nil {
			warm = false
			if err := r.SeekTo(0); err != nil {
				b.Fatal(err)
			}
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b, b.N*100)
}

// benchReadRecords takes a batch's worth of records an iteration.
func benchReadRecords(b *testing.B, k Compression, rs []Record) {
	ctx := context.Background()
	p := filled(b, TopicConfig{Compression: k}, benchFile, rs)
	payload := 0
	for i := range rs {
		payload += len(rs[i].Value)
	}
	b.ReportAllocs()
	b.SetBytes(int64(payload))
	count, total := 0, 0
	done := false
	r := must[*Reader](b)(p.Reader(ReaderOptions{UntilEnd: true}))
	defer r.Close()
	b.ResetTimer()
	for !done {
		for rec, err := range r.Records(ctx) {
			if err != nil {
				b.Fatal(err)
			}
			total += len(rec.Value)
			if count++; count%100 == 0 && !b.Loop() {
				done = true
				break
			}
		}
		if err := r.SeekTo(0); err != nil {
			b.Fatal(err)
		}
	}
	sink += uint32(total)
	perRecord(b, b.N*100)
}

// BenchmarkTail measures from an append's call to the return of a reader that
// was blocked on the tail.
func BenchmarkTail(b *testing.B) {
	b.Run("rate=10000", func(b *testing.B) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		t := newBenchTopic(b, TopicConfig{Durability: Written})
		r := must[*Reader](b)(t.p.Reader(ReaderOptions{From: Latest}))
		defer r.Close()
		started := make(chan time.Time, 1)
		got := make(chan time.Duration, 1)
		go func() {
			for {
				if _, err := r.Next(ctx); err != nil {
					close(got)
					return
				}
				got <- time.Since(<-started)
			}
		}()
		value := benchRecords(1, 100)[0].Value
		pace(b, 10000, func(start time.Time) time.Duration {
			started <- start
			if _, err := t.p.Append(ctx, Record{Value: value}); err != nil {
				b.Fatal(err)
			}
			return <-got
		})
		cancel()
		<-got
	})
}

func BenchmarkSeek(b *testing.B) {
	ctx := context.Background()
	rs := benchRecords(100, 100)
	p := filled(b, TopicConfig{SegmentBytes: 4 << 20}, 256<<20, rs)
	end := p.LogEndOffset()
	first := must[*Reader](b)(p.Reader(ReaderOptions{}))
	defer first.Close()
	at := time.Now().Add(-time.Minute)
	b.Run("offset", func(b *testing.B) {
		b.ReportAllocs()
		r := must[*Reader](b)(p.Reader(ReaderOptions{UntilEnd: true}))
		defer r.Close()
		offset := int64(0)
		for b.Loop() {
			offset = (offset + 7_919_317) % end
			if err := r.SeekTo(offset); err != nil {
				b.Fatal(err)
			}
			if _, err := r.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("time", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := p.OffsetForTime(at.Add(time.Duration(i%60000) * time.Millisecond)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRecover opens a store that was not closed, whose one segment of 1 GiB
// has to be scanned.
func BenchmarkRecover(b *testing.B) {
	b.Run("bytes=1GiB", func(b *testing.B) {
		ctx := context.Background()
		dir := benchDir(b)
		s := must[*Store](b)(Open(dir, nil))
		topic := must[*Topic](b)(s.CreateTopic(ctx, "big", TopicConfig{Durability: Written}))
		p := must[*Partition](b)(topic.Partition(0))
		rs := benchRecords(100, 100)
		for p.log.Load().Size() < 1<<30-64<<10 {
			if _, err := p.Append(ctx, rs...); err != nil {
				b.Fatal(err)
			}
		}
		if err := p.Sync(ctx); err != nil {
			b.Fatal(err)
		}
		end := p.LogEndOffset()
		b.SetBytes(p.log.Load().Size())
		s.abandon()
		for b.Loop() {
			s := must[*Store](b)(Open(dir, nil))
			topic := must[*Topic](b)(s.Topic("big"))
			p := must[*Partition](b)(topic.Partition(0))
			b.StopTimer()
			if got := p.LogEndOffset(); got != end {
				b.Fatalf("recovered to offset %d, not %d", got, end)
			}
			s.abandon()
			b.StartTimer()
		}
	})
}
