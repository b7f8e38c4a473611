package main

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat"
)

// ledger is where processed records are entered. It finds those that are lost, out of
// order, or there twice. All members use it.
type ledger struct {
	groups           *leat.Groups
	at               []leat.Position // the topic's partitions; the offsets mean nothing
	processed, again atomic.Int64    // records; of these, those that had been before
	parts            []account       // by number
}

type account struct {
	*leat.Partition
	began int64 // the log end offset before this run

	mu   sync.Mutex
	next int64 // all records below were processed
}

// enter notes that a record was processed.
func (l *ledger) enter(r *leat.Record) error {
	number, _, _ := bytes.Cut(r.Value, []byte(" "))
	// It is higher where records before it could not be stored, because the disk was
	// full: those behind them are all the same (produce.go).
	if n, err := strconv.ParseInt(string(number), 10, 64); err != nil || n < r.Offset {
		return fmt.Errorf("%s-%d: at offset %d is record %.30q", r.Topic, r.Partition, r.Offset, number)
	}
	a := &l.parts[r.Partition]
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case r.Offset > a.next:
		return fmt.Errorf("%s-%d: records from offset %d to %d were never processed", r.Topic, r.Partition, a.next, r.Offset-1)
	case r.Offset < a.next:
		l.again.Add(1)
	default:
		a.next++
	}
	l.processed.Add(1)
	return nil
}

func (a *account) position() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next
}

// done says whether all records that there are were processed.
func (l *ledger) done() bool {
	for i := range l.parts {
		if a := &l.parts[i]; a.position() < a.HighWatermark() {
			return false
		}
	}
	return true
}

// added is how many records came in this run.
func (l *ledger) added() (n int64) {
	for i := range l.parts {
		n += l.parts[i].LogEndOffset() - l.parts[i].began
	}
	return n
}
