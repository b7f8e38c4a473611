package log

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/internal/histogram"
)

// Counts are batches, the records in them and their bytes as stored.
type Counts struct{ Batches, Records, Bytes int64 }

func (c *Counts) add(o Counts) {
	c.Batches += o.Batches
	c.Records += o.Records
	c.Bytes += o.Bytes
}

// counters are Counts that many goroutines add to.
type counters struct{ batches, records, bytes atomic.Int64 }

func (c *counters) add(n Counts) {
	c.batches.Add(n.Batches)
	c.records.Add(n.Records)
	c.bytes.Add(n.Bytes)
}

func (c *counters) load() Counts {
	return Counts{c.batches.Load(), c.records.Load(), c.bytes.Load()}
}

// count notes a batch that was appended. writing is held. What is appended is
// added up under the lock, and published now and then: an append has no atomic
// store to spare.
func (l *Log) count(records int64, n int) {
	l.w.last = n
	u := &l.w.uncounted
	u.Records += records
	u.Bytes += int64(n)
	if u.Batches++; u.Batches >= sampleEvery {
		l.publishCounts()
	}
}

// recount corrects count for what was not one batch with a record an offset.
// writing is held.
func (l *Log) recount(batches int, records int64) {
	u := &l.w.uncounted
	u.Batches += int64(batches) - 1
	u.Records += records
}

// publishCounts adds what was appended since the last time to the counters.
// writing is held.
func (l *Log) publishCounts() {
	if l.w.uncounted != (Counts{}) {
		l.appends.add(l.w.uncounted)
		l.obs.appended.add(l.w.uncounted)
		l.w.uncounted = Counts{}
	}
}

// Stats is a log as it is. Of offsets that move meanwhile, none is seen beyond
// one that it is bound by.
type Stats struct {
	StartOffset, LastStableOffset, HighWatermark, DurableEnd, EndOffset int64

	Segments int
	Bytes    int64 // of batches

	// Appended and Read count since the log was opened.
	Appended, Read Counts

	Failed  error // why appends are refused; nil if they are not
	Damaged bool
}

// Stats takes the log's measure. Nothing waits for it: what is being appended at
// this moment may not be counted yet, less than sampleEvery batches.
func (l *Log) Stats() Stats {
	if l.writing.TryLock() {
		l.publishCounts()
		l.unlock()
	}
	var s Stats
	s.StartOffset = l.LogStartOffset()
	s.LastStableOffset = l.LastStableOffset()
	s.HighWatermark = l.HighWatermark()
	s.DurableEnd = l.DurableEnd()
	s.EndOffset = l.LogEndOffset()
	segs := l.segments.Load().segs
	s.Segments = len(segs)
	for _, g := range segs {
		s.Bytes += g.Size()
	}
	s.Appended, s.Read = l.appends.load(), l.reads.load()
	s.Failed, s.Damaged = l.refusing(), l.Damage() != nil
	return s
}

// Totals are what an Env has counted of all its logs, closed ones too. Appends
// that no Log.Stats has been asked for may be missing, less than sampleEvery
// batches of each log.
type Totals struct {
	Appended, Read, Deleted Counts // Deleted without Batches

	SegmentsDeleted, Syncs, Rolls, Recoveries, Damages int64

	Cuts, BytesCut int64

	Append, Sync, Fetch, EndToEnd histogram.Snapshot
}

// Totals gives the counts.
func (e *Env) Totals() Totals {
	o := e.observed
	return Totals{
		Appended: o.appended.load(), Read: o.read.load(), Deleted: o.deleted.load(),
		SegmentsDeleted: o.segmentsDeleted.Load(), Syncs: o.syncs.Load(), Rolls: o.rolls.Load(),
		Recoveries: o.recoveries.Load(), Damages: o.damages.Load(), Cuts: o.cuts.Load(), BytesCut: o.bytesCut.Load(),
		Append: o.append.Snapshot(), Sync: o.sync.Snapshot(), Fetch: o.fetch.Snapshot(), EndToEnd: o.endToEnd.Snapshot(),
	}
}

// ReadCount counts and measures what one reader of a log reads. It is for one
// goroutine.
type ReadCount struct {
	l         *Log
	turn      uint32
	uncounted Counts
}

// NewReadCount returns the count of a new reader. Which of its batches is
// measured first is left to chance, or short readers would be measured never, or
// always.
func (l *Log) NewReadCount() ReadCount { return ReadCount{l: l, turn: rand.Uint32()} }

// Begin is called before a batch is read. It returns when that was, or 0 for one
// that is not measured.
func (c *ReadCount) Begin() time.Duration {
	if c.turn++; c.turn%sampleEvery == 0 {
		return c.l.obs.now()
	}
	return 0
}

// Batch counts a batch that was read. begin is what Begin returned, or 0 if the
// reader has waited since.
func (c *ReadCount) Batch(begin time.Duration, records, n int) {
	u := &c.uncounted
	u.Records += int64(records)
	u.Bytes += int64(n)
	u.Batches++
	if begin != 0 {
		c.l.obs.fetch.ObserveN(c.l.obs.now()-begin, sampleEvery)
	}
	if u.Batches >= sampleEvery {
		c.Publish()
	}
}

// Waited measures a batch that a reader had waited for, by its largest timestamp
// in milliseconds; -1 is none.
func (c *ReadCount) Waited(timestamp int64) {
	if timestamp >= 0 {
		c.l.obs.endToEnd.Observe(time.Duration(time.Now().UnixNano() - timestamp*1e6))
	}
}

// Publish adds to the log's counters what has been read since the last time. A
// reader calls it before it waits and when it ends.
func (c *ReadCount) Publish() {
	if c.uncounted != (Counts{}) {
		c.l.reads.add(c.uncounted)
		c.l.obs.read.add(c.uncounted)
		c.uncounted = Counts{}
	}
}

// BeginFetch is Begin for a fetch that belongs to no reader.
func (l *Log) BeginFetch() time.Duration {
	if rarely() {
		return l.obs.now()
	}
	return 0
}

// EndFetch counts what such a fetch has read. One of nothing is not measured.
func (l *Log) EndFetch(begin time.Duration, batches, records, bytes int) {
	if batches == 0 {
		return
	}
	n := Counts{Batches: int64(batches), Records: int64(records), Bytes: int64(bytes)}
	l.reads.add(n)
	l.obs.read.add(n)
	if begin != 0 {
		l.obs.fetch.ObserveN(l.obs.now()-begin, sampleEvery)
	}
}
