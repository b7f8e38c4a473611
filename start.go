package leat

import (
	"fmt"
	"time"

	"github.com/leatlog/leat/log"
)

// Isolation says which records of transactions a reader sees.
type Isolation uint8

const (
	// ReadCommitted, the default, leaves out records of aborted transactions, and
	// waits for transactions to be decided.
	ReadCommitted Isolation = iota
	// ReadUncommitted gives all records as soon as they are durable.
	ReadUncommitted
)

func (i Isolation) String() string {
	switch i {
	case ReadCommitted:
		return "read_committed"
	case ReadUncommitted:
		return "read_uncommitted"
	}
	return fmt.Sprintf("Isolation(%d)", uint8(i))
}

// ReaderOptions say what a reader reads. The zero value begins at the earliest
// record and follows the log for ever.
type ReaderOptions struct {
	From      Start
	Until     int64 // stop before this offset; 0: never
	UntilEnd  bool  // stop at the end as of now
	Isolation Isolation

	// MinBytes makes a reader that has read all it could see wait for so many
	// bytes of batches more (fetch.min.bytes), and then read all that is there
	// without waiting again; 0: for any. The end that Until and UntilEnd set is
	// never waited beyond. MaxWait (fetch.max.wait.ms) bounds that wait from the
	// moment when there is something to read; 0: it is not bounded.
	MinBytes int
	MaxWait  time.Duration
}

// Start is a place to begin reading. The zero value is Earliest.
type Start struct {
	kind startKind
	n    int64
	time time.Time
}

type startKind uint8

const (
	startEarliest startKind = iota
	startLatest
	startAt
	startTime
	startLastN
)

var (
	// Earliest is the log start offset.
	Earliest = Start{}
	// Latest is the end of what the isolation level lets one see.
	Latest = Start{kind: startLatest}
)

// At is an offset. It may be the log end offset, to wait for what comes; below
// the log start offset or beyond the log end offset is an *OffsetError.
func At(offset int64) Start { return Start{kind: startAt, n: offset} }

// AtTime is the first record with a timestamp of t or later, or Latest if there
// is none.
func AtTime(t time.Time) Start { return Start{kind: startTime, time: t} }

// LastN is n offsets before Latest, or Earliest if there are not as many. Where
// offsets are missing (compaction, transaction markers, aborted transactions),
// that is fewer records.
func LastN(n int64) Start { return Start{kind: startLastN, n: n} }

func (s Start) String() string {
	switch s.kind {
	case startLatest:
		return "latest"
	case startAt:
		return fmt.Sprintf("offset %d", s.n)
	case startTime:
		return "time " + s.time.Format(time.RFC3339Nano)
	case startLastN:
		return fmt.Sprintf("last %d", s.n)
	}
	return "earliest"
}

// resolve is the offset that s means now.
func (p *Partition) resolve(s Start, l *log.Log, committed bool) (int64, error) {
	switch s.kind {
	case startLatest:
		return l.Visible(committed), nil
	case startAt:
		return s.n, p.checkRange(l, s.n)
	case startTime:
		return p.offsetForTime(l, s.time, l.Visible(committed))
	case startLastN:
		if s.n < 0 {
			return 0, invalidConfig("LastN is %d: it must not be negative", s.n)
		}
		end := l.Visible(committed)
		return max(end-min(s.n, end), l.LogStartOffset()), nil
	}
	return l.LogStartOffset(), nil
}

func (p *Partition) checkRange(l *log.Log, offset int64) error {
	start, end := l.LogStartOffset(), l.LogEndOffset()
	if offset < start || offset > end {
		return &OffsetError{Topic: p.topic.name, Partition: p.id, Offset: offset, Start: start, End: end}
	}
	return nil
}
