package leat

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fetchBytes is one fetch: Kafka's max.partition.fetch.bytes.
const fetchBytes = 1 << 20

// drained is a TCP connection over loopback whose other end reads all it gets.
func drained(b *testing.B) *net.TCPConn {
	b.Helper()
	l := must[net.Listener](b)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	to := must[net.Conn](b)(net.Dial("tcp", l.Addr().String()))
	from := must[net.Conn](b)(l.Accept())
	over := make(chan struct{})
	go func() {
		defer close(over)
		for buf := make([]byte, fetchBytes); ; {
			if _, err := from.Read(buf); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() { to.Close(); <-over; from.Close() })
	return to.(*net.TCPConn)
}

func BenchmarkFetch(b *testing.B) {
	b.Run("sendfile", func(b *testing.B) {
		benchFetch(b, func(b *testing.B) io.Writer { return drained(b) })
	})
	// Without a socket: what finding a run and giving it back costs.
	b.Run("call", func(b *testing.B) { benchFetch(b, nil) })
}

// benchFetch sends a partition of one segment, run by run, again and again.
func benchFetch(b *testing.B, to func(*testing.B) io.Writer) {
	p := filled(b, TopicConfig{}, benchFile, benchRecords(100, 100))
	end := p.HighWatermark()
	var w io.Writer
	if to != nil {
		w = to(b)
	}
	b.ReportAllocs()
	offset, sent := int64(0), int64(0)
	for b.Loop() {
		f, err := p.Fetch(FetchOptions{Offset: offset, MaxBytes: fetchBytes})
		if err != nil {
			b.Fatal(err)
		}
		if w != nil {
			if _, err := f.WriteTo(w); err != nil {
				b.Fatal(err)
			}
		}
		sent += int64(f.Len())
		if offset = f.NextOffset(); offset >= end {
			offset = 0
		}
		f.Release()
	}
	if w != nil {
		b.SetBytes(sent / int64(b.N))
	}
}

// floorSendfile sends the same runs of the same file with what the standard
// library has. (Of the same file, because what sendfile costs depends on how its
// pages came into the cache: a file that was written in large pieces lies there in
// larger ones, and is sent faster.)
func floorSendfile(b *testing.B) {
	p := filled(b, TopicConfig{}, benchFile, benchRecords(100, 100))
	f := must[*os.File](b)(os.Open(p.topic.store.fsys.Path(p.String() + "/00000000000000000000.log")))
	defer f.Close()
	run := int64(fetchBytes - fetchBytes%encodedSize(100, 100))
	w := drained(b)
	b.ReportAllocs()
	b.SetBytes(run)
	pos := int64(benchFile)
	for b.Loop() {
		if pos+run > benchFile {
			pos = 0
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				b.Fatal(err)
			}
		}
		n, err := io.Copy(w, io.LimitReader(f, run))
		if err != nil || n != run {
			b.Fatal(n, err)
		}
		pos += n
	}
}

// BenchmarkReaders reads one partition with many readers at once, each for itself
// and again and again, while a writer appends a thousand times a second. An
// iteration is one batch of 100 records of 100 B, whichever reader reads it.
// writer-ns/record is what the writer's calls take on average meanwhile, and p50
// half of them; alone-ns/record what they take without readers.
func BenchmarkReaders(b *testing.B) {
	for _, readers := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) { benchReaders(b, readers) })
	}
}

func benchReaders(b *testing.B, readers int) {
	ctx := context.Background()
	rs := benchRecords(100, 100)
	p := filled(b, TopicConfig{}, benchFile, rs)
	alone := startWriter(p, rs)
	time.Sleep(time.Second / 2)
	aloneNs, _ := alone.stop(b)

	all := make([]*Reader, readers)
	for i := range all {
		all[i] = must[*Reader](b)(p.Reader(ReaderOptions{UntilEnd: true, From: At(int64(i) * p.LogEndOffset() / int64(readers))}))
		defer all[i].Close()
	}
	b.ReportAllocs()
	b.SetBytes(100 * 100)
	writer := startWriter(p, rs)
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				_, err := r.Next(ctx)
				if err == io.EOF {
					err = r.SeekTo(0)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	mean, p50 := writer.stop(b)
	perRecord(b, b.N*100)
	b.ReportMetric(float64(b.N*100)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(aloneNs, "alone-ns/record")
	b.ReportMetric(mean, "writer-ns/record")
	b.ReportMetric(p50, "writer-p50-ns/record")
}

// pacedWriter appends a batch every millisecond, up to a size.
type pacedWriter struct {
	quit, over chan struct{}
	took       []time.Duration
	err        error
}

func startWriter(p *Partition, rs []Record) *pacedWriter {
	w := &pacedWriter{quit: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(w.over)
		t := time.NewTicker(time.Millisecond)
		defer t.Stop()
		for w.err == nil && p.log.Load().Size() < benchFiles*benchFile {
			select {
			case <-w.quit:
				return
			case <-t.C:
			}
			begun := time.Now()
			_, w.err = p.Append(context.Background(), rs...)
			w.took = append(w.took, time.Since(begun))
		}
	}()
	return w
}

// stop gives nanoseconds a record.
func (w *pacedWriter) stop(b *testing.B) (mean, p50 float64) {
	b.Helper()
	close(w.quit)
	<-w.over
	if w.err != nil {
		b.Fatal(w.err)
	}
	if len(w.took) == 0 {
		return 0, 0
	}
	slices.Sort(w.took)
	sum := time.Duration(0)
	for _, d := range w.took {
		sum += d
	}
	return float64(sum.Nanoseconds()) / float64(len(w.took)*100), float64(w.took[len(w.took)/2].Nanoseconds()) / 100
}
