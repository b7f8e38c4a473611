package log

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/internal/histogram"
	"github.com/leatlog/leat/segment"
)

// Event is one thing that a log has done. Package leat says which fields each
// call of an Observer sets; the type there has the same.
type Event struct {
	Topic     string
	Partition int32
	Offset    int64
	Records   int64
	Bytes     int64
	Segments  int
	Duration  time.Duration
	Err       error
}

// Observer is a set of optional calls, which package leat describes.
//
// None is made with a lock held, or by a goroutine that others wait for before
// they can append, sync or read: a call may do all of that itself. What happens
// under a lock is therefore told afterwards, by the goroutine whose append or
// sync it was part of. See report.
type Observer struct {
	Append, Sync, Roll, Delete, Compact, Recover func(Event)

	Corrupt    func(*segment.CorruptError)
	Background func(error)
}

// sampleEvery is of how many appends to Written logs, and batches read, one is
// measured: reading the clock twice takes about as long as half a small append.
// The one then counts for all of them.
const sampleEvery = 64

// observed is what an Env counts, and whom it tells. It is apart from Env, so
// that counting does not take the cache lines of what everybody reads.
type observed struct {
	Observer // not changed after NewEnv
	began    time.Time
	opened   atomic.Uint32 // logs

	_ [64]byte // what follows is written to

	append, sync, fetch, endToEnd histogram.Histogram

	appended, read, deleted counters
	syncs, rolls            atomic.Int64
	segmentsDeleted         atomic.Int64
	recoveries              atomic.Int64
	cuts, bytesCut          atomic.Int64
	damages                 atomic.Int64
	places                  places
}

func newObserved(o *Observer) *observed {
	// A nanosecond ago, so that no time since is zero, not even of a clock that
	// stands still in a test.
	b := &observed{began: time.Now().Add(-1)}
	if o != nil {
		b.Observer = *o
	}
	return b
}

// now is a time to compare with others of its kind, never zero. It asks the
// system for one clock, where time.Now asks for two.
func (o *observed) now() time.Duration { return time.Since(o.began) }

// watch measures one append. The zero value does not.
type watch struct {
	begin  time.Duration
	weight int // how many appends it stands for
}

// watch is for an append that is measured in any case.
func (o *observed) watch() watch { return watch{o.now(), 1} }

// sampled is for one that is measured now and then.
func (o *observed) sampled() watch { return watch{o.now(), sampleEvery} }

// rarely is true once in sampleEvery times, without order.
func rarely() bool { return rand.Uint32()%sampleEvery == 0 }

// report is a call of an Observer that waits until it can be made.
type report struct {
	tell  func(Event)
	event Event
}

func tellAll(rs []report) {
	for _, r := range rs {
		r.tell(r.event)
	}
}

// event is an event of this log.
func (l *Log) event() Event {
	c := l.cfg()
	return Event{Topic: c.Topic, Partition: c.Partition}
}

// later notes a report of what happens under the lock, to be made by whoever
// holds it when he has let go. writing is held.
func (l *Log) later(tell func(Event), e Event) {
	if tell != nil {
		l.w.reports = append(l.w.reports, report{tell, e})
	}
}

// takeReports gives the reports to whoever makes them. writing is held.
func (l *Log) takeReports() []report {
	if len(l.w.reports) == 0 {
		return nil
	}
	rs := l.w.reports
	l.w.reports = nil
	return rs
}

// stored is what a caller of append tells when it is done.
type stored struct {
	first   int64 // offset; of the batch, which may hold the records of others too
	records int
	bytes   int // 0: nothing was stored, or another caller tells of it
	reports []report
	// Set for Place only: the time that records without one have got, and the
	// generation that the batch is of.
	time, generation int64
}

// takeStored describes what appendLocked has just done. writing is held.
func (l *Log) takeStored(base int64, records int, err error) stored {
	s := stored{reports: l.takeReports()}
	if err == nil {
		s.first, s.records, s.bytes = base, records, l.w.last
	}
	return s
}

// appended measures and tells of an append that has returned err. No lock is held.
func (l *Log) appended(w watch, s stored, err error) {
	o := l.obs
	took := time.Duration(0)
	if w.begin != 0 {
		took = o.now() - w.begin
		if err == nil {
			o.append.ObserveN(took, w.weight)
		}
	}
	tellAll(s.reports)
	if s.bytes == 0 || o.Append == nil {
		return
	}
	e := l.event()
	e.Offset, e.Records, e.Bytes, e.Duration, e.Err = s.first, int64(s.records), int64(s.bytes), took, err
	o.Append(e)
}

// synced measures a sync that ran since begin and made the records from was to
// target durable, or failed. It returns the report of it, nil when nobody wants
// any.
func (l *Log) synced(begin time.Duration, was, target int64, err error) *Event {
	o := l.obs
	took := o.now() - begin
	if err == nil {
		o.syncs.Add(1)
		o.sync.Observe(took)
	}
	if o.Sync == nil {
		return nil
	}
	e := l.event()
	e.Offset, e.Duration, e.Err = was, took, err
	if err == nil {
		e.Records = max(target-was, 0)
	}
	return &e
}

// tellSync makes a report of synced. No lock is held, and the caller is not the
// one that syncs.
func (l *Log) tellSync(e *Event) {
	if e != nil {
		l.obs.Sync(*e)
	}
}

// rolled notes that the log went from a segment to the next, or could not.
// writing is held.
func (l *Log) rolled(old *segment.Segment, base int64, begin time.Duration, err error) {
	o := l.obs
	if err == nil {
		o.rolls.Add(1)
	}
	if o.Roll == nil {
		return
	}
	e := l.event()
	e.Offset, e.Records, e.Bytes, e.Segments = base, base-old.Base(), old.Size(), 1
	e.Duration, e.Err = o.now()-begin, err
	l.later(o.Roll, e)
}

// BeginDelete is the time to give to Deleted.
func (l *Log) BeginDelete() time.Duration { return l.obs.now() }

// EndDelete counts and tells of a deletion of the oldest segments: their first
// offset, how many they were, their offsets and the bytes of their batches. Whoever
// deletes calls it with nothing held that an append, a read or another deletion
// waits for. A deletion of nothing is not told, unless it failed.
func (l *Log) EndDelete(begin time.Duration, first int64, segments int, records, bytes int64, err error) {
	o := l.obs
	if segments == 0 && err == nil {
		return
	}
	o.segmentsDeleted.Add(int64(segments))
	o.deleted.add(Counts{Records: records, Bytes: bytes})
	if o.Delete == nil {
		return
	}
	e := l.event()
	e.Offset, e.Segments, e.Records, e.Bytes = first, segments, records, bytes
	e.Duration, e.Err = o.now()-begin, err
	o.Delete(e)
}

// Recovered tells of an open that had to recover, of damage too, when it is called
// for the first time. The caller holds nothing that a use of the log waits for.
func (l *Log) Recovered() {
	o, r := l.env.observed, l.report.Swap(nil)
	if r == nil {
		return
	}
	if o.Recover != nil {
		e := l.event()
		e.Offset, e.Records, e.Bytes = r.EndOffset, max(r.EndOffset-r.StartOffset, 0), r.BytesScanned
		e.Segments, e.Duration = r.SegmentsScanned, r.Duration
		if r.Damage != nil {
			e.Err = r.Damage
		} else if len(r.Cuts) > 0 {
			e.Err = r.Cuts[0]
		}
		o.Recover(e)
	}
	if r.Damage != nil {
		_ = o.corrupt(r.Damage)
	}
}

// background tells of an error that no caller gets. The goroutine may hold
// anything, so another tells. The log is not closed.
func (l *Log) background(err error) {
	if tell := l.env.observed.Background; tell != nil {
		l.env.Go(func() { tell(err) })
	}
}

// places are where damage was found, so that each is told once however often it
// is read.
type places struct {
	sync.Mutex
	known map[place]bool
	order []place // of known, oldest first from next on
	next  int
}

type place struct {
	path     string
	position int64
	offset   int64
}

// maxPlaces bounds the memory of places; a damaged disk may have any number.
const maxPlaces = 1024

// add reports whether p is new.
func (s *places) add(p place) bool {
	s.Lock()
	defer s.Unlock()
	if s.known[p] {
		return false
	}
	if s.known == nil {
		s.known = make(map[place]bool)
	}
	if len(s.order) < maxPlaces {
		s.order = append(s.order, p)
	} else {
		delete(s.known, s.order[s.next])
		s.order[s.next] = p
		s.next = (s.next + 1) % maxPlaces
	}
	s.known[p] = true
	return true
}

// Corrupt notes and tells damage that somebody has come upon, if that is what err
// is: once a place. It returns err. Nothing is held that the call could need.
func (l *Log) Corrupt(err error) error { return l.env.observed.corrupt(err) }

// Corrupt is Log.Corrupt for what is found in a batch that Next has given.
func (c *Cursor) Corrupt(err error) { _ = c.l.Corrupt(err) }

// Corrupt is Log.Corrupt for what belongs to no open log.
func (e *Env) Corrupt(err error) error { return e.observed.corrupt(err) }

func (o *observed) corrupt(err error) error {
	var e *segment.CorruptError
	if err == nil || !errors.As(err, &e) || !o.places.add(place{e.Path, e.Position, e.Offset}) {
		return err
	}
	o.damages.Add(1)
	if o.Observer.Corrupt != nil {
		o.Observer.Corrupt(e)
	}
	return err
}
