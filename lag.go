package leat

import (
	"fmt"
	"time"
)

// Lag is what is yet to be read: from a position in a partition on, or from several
// together. It is zero at the end.
type Lag struct {
	Records int64 // offsets up to the end of what can be seen; those of transaction markers, and those that compaction removed, count
	Bytes   int64 // of the batches that hold them, as they are stored
	// Time is the age of the oldest of them by its timestamp, 0 when it lies in the
	// future or there is none. Of several, it is the longest. Within a batch, the
	// batch's first record stands for all.
	Time time.Duration
}

// String is like "1200 records, 45000 bytes, 3.2s".
func (l Lag) String() string {
	return fmt.Sprintf("%d records, %d bytes, %v", l.Records, l.Bytes, l.Time)
}

// plus is the lag of both together.
func (l Lag) plus(m Lag) Lag {
	return Lag{l.Records + m.Records, l.Bytes + m.Bytes, max(l.Time, m.Time)}
}

// Lag measures what a reader of the isolation has before it at an offset: up to the
// high watermark, or the last stable offset. An offset below the log start offset,
// a negative one among them, stands for it: what is gone is not to be read. One
// beyond the end has no lag. The cost depends on the number of segments and not on
// what lies in them.
//
// Where the log is damaged at the offset the error is a *CorruptError, and Records
// holds all the same.
func (p *Partition) Lag(offset int64, i Isolation) (Lag, error) {
	if i > ReadUncommitted {
		return Lag{}, invalidConfig("Isolation is %v", i)
	}
	return lagOf(p, offset, i == ReadCommitted)
}

func lagOf(p *Partition, offset int64, committed bool) (Lag, error) {
	l, err := p.use()
	if err != nil {
		return Lag{}, err
	}
	g, err := l.Lag(offset, committed)
	lag := Lag{Records: g.Records, Bytes: g.Bytes}
	if g.Oldest >= 0 {
		lag.Time = max(time.Duration(time.Now().UnixMilli()-g.Oldest)*time.Millisecond, 0)
	}
	return lag, p.fail(err)
}
