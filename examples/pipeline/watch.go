package main

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/leatlog/leat"
)

// watch prints a line now and then, and remembers the most that it has seen.
type watch struct {
	out      io.Writer
	books    *ledger
	producer *producer
	began    time.Time

	last              time.Time
	stored, processed int64 // at that time
	err               error

	most struct {
		waiting        leat.Lag
		heap, resident int64
	}
	over chan struct{}
	done sync.WaitGroup
}

func startWatch(every time.Duration, books *ledger, p *producer, out io.Writer) *watch {
	now := time.Now()
	w := &watch{out: out, books: books, producer: p, began: now, last: now, over: make(chan struct{})}
	fmt.Fprintln(out, "    time  produced/s  processed/s     backlog    on disk  oldest       heap   resident")
	w.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.line()
			case <-w.over:
				return
			}
		}
	})
	return w
}

// stop ends the lines, and returns an error there was.
func (w *watch) stop() error {
	close(w.over)
	w.done.Wait()
	w.line()
	return w.err
}

func (w *watch) line() {
	now := time.Now()
	stored, processed := w.producer.stored.Load(), w.books.processed.Load()
	waiting, err := w.books.backlog()
	if err != nil {
		w.err = err
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	heap := int64(m.HeapAlloc)
	own, known := resident()

	most := &w.most
	most.waiting.Records = max(most.waiting.Records, waiting.Records)
	most.waiting.Bytes = max(most.waiting.Bytes, waiting.Bytes)
	most.waiting.Time = max(most.waiting.Time, waiting.Time)
	most.heap, most.resident = max(most.heap, heap), max(most.resident, own)

	took := max(now.Sub(w.last).Seconds(), 1e-3)
	rss := "?"
	if known {
		rss = mb(own)
	}
	fmt.Fprintf(w.out, "%7.1fs  %10.0f  %11.0f  %10d %10s %6.1fs %10s %10s\n", now.Sub(w.began).Seconds(),
		float64(stored-w.stored)/took, float64(processed-w.processed)/took,
		waiting.Records, mb(waiting.Bytes), waiting.Time.Seconds(), mb(heap), rss)
	w.last, w.stored, w.processed = now, stored, processed
}

// verify checks that the memory was no function of what waited: it may have what
// the producer's buffer and the members' batches take, twice, since the garbage
// collector lets the heap grow to the double, and what the process needs anyway.
func (w *watch) verify(s *settings, out io.Writer) error {
	limit := 2*(s.buffer+int64(s.members)*fetchBytes) + base
	fmt.Fprintf(out, "memory   %s of heap and %s resident at most, while up to %d records, %s, waited on the disk\n",
		mb(w.most.heap), mb(w.most.resident), w.most.waiting.Records, mb(w.most.waiting.Bytes))
	if most := max(w.most.heap, w.most.resident); most > limit {
		return fmt.Errorf("the memory was not flat: %s, when %s are enough for any backlog", mb(most), mb(limit))
	}
	return nil
}

const base = 48 << 20

// mb is a number of bytes for people.
func mb(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
