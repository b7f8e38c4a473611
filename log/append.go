package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// A request is an append that waits to be done by another goroutine. What its
// records point to is the caller's, who waits until they are encoded.
type request struct {
	records []Record
	facts   facts
	next    *request // in pending

	state atomic.Int32 // requestWaiting, then claimed or cancelled, once
	base  int64
	err   error
	done  chan struct{}
}

const (
	requestWaiting int32 = iota
	requestClaimed
	requestCancelled
)

// facts are what an append needs to know of its records before it encodes them.
type facts struct {
	bound   int   // no encoding of them is longer, in bytes
	latest  int64 // the largest timestamp given; math.MinInt64 when none is
	untimed bool  // some have none
}

// recordBound is the most that the fields of a record without headers take
// beside its key and value: length, attributes, timestamp and offset deltas, key
// and value lengths, header count.
const recordBound = 5 + 1 + 10 + 5 + 5 + 5 + 5

// Append stores records as one batch, or part of one, and returns the offset of
// the first when d holds; 0 means the topic's durability. All of them are stored
// or none. Nothing that they point to is kept.
//
// After an error of ctx the records may have been stored; after any other they
// were not, but for ErrFailed, after which only reopening tells.
func (l *Log) Append(ctx context.Context, records []Record, d Durability) (int64, error) {
	if d == 0 {
		d = l.cfg.Durability
	}
	f, err := l.inspect(records)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var base int64
	switch {
	case l.cfg.Compression != compress.None:
		base, err = l.appendCompressed(records, f, d)
	case l.writing.TryLock():
		groups := [1][]Record{records}
		base, err = l.appendLocked(groups[:], len(records), f, d)
		l.unlock()
	default:
		base, err = l.appendContended(ctx, records, f, d)
	}
	if err != nil {
		return 0, err
	}
	if d == Synced {
		if err := l.waitDurable(ctx, base+int64(len(records))); err != nil {
			return 0, err
		}
	}
	return base, nil
}

// inspect refuses what cannot be stored, before anything is done.
func (l *Log) inspect(records []Record) (facts, error) {
	if len(records) == 0 {
		return facts{}, fmt.Errorf("%w: no records", ErrInvalidRecord)
	}
	f := facts{latest: math.MinInt64}
	bound := int64(codec.HeaderSize)
	for i := range records {
		r := &records[i]
		bound += int64(recordBound + len(r.Key) + len(r.Value))
		if r.Headers != nil {
			bound += headersBound(r.Headers)
		}
		if r.Timestamp.IsZero() {
			f.untimed = true
			continue
		}
		f.latest = max(f.latest, r.Timestamp.UnixMilli())
	}
	if bound > math.MaxInt32 {
		return f, l.tooLarge(bound)
	}
	f.bound = int(bound)
	if f.latest != math.MinInt64 && !l.cfg.LogAppendTime {
		if err := l.checkTimes(records); err != nil {
			return f, err
		}
	}
	if f.bound > int(l.cfg.MaxBatchBytes) && l.cfg.Compression == compress.None {
		// The bound is generous: only now is the exact size worth its time.
		n := int64(codec.HeaderSize + tightSize(records, 0, records[0].Timestamp))
		if n > int64(l.cfg.MaxBatchBytes) {
			return f, l.tooLarge(n)
		}
	}
	return f, nil
}

func headersBound(headers []codec.RecordHeader) int64 {
	var n int64
	for i := range headers {
		n += int64(5 + len(headers[i].Key) + 5 + len(headers[i].Value))
	}
	return n
}

// tightSize is what the records of a batch take behind those of from records.
// It is exact, but where some have a timestamp and some get the clock's: there
// each delta is taken for its longest.
func tightSize(records []Record, from int, first time.Time) int {
	n := 0
	for i := range records {
		r := &records[i]
		var delta int64
		switch {
		case first.IsZero() != r.Timestamp.IsZero():
			delta = math.MinInt64
		case !first.IsZero():
			delta = r.Timestamp.UnixMilli() - first.UnixMilli()
		}
		n += codec.RecordSize(int32(from+i), delta, r.Key, r.Value, r.Headers)
	}
	return n
}

func (l *Log) tooLarge(n int64) error {
	return fmt.Errorf("%w: a batch of %d bytes to %s, which takes %d (max.message.bytes)",
		ErrRecordTooLarge, n, l.name(), l.cfg.MaxBatchBytes)
}

// appendContended hands the records to whoever is appending, or becomes that
// one.
func (l *Log) appendContended(ctx context.Context, records []Record, f facts, d Durability) (int64, error) {
	r, ok := l.requests.Get().(*request)
	if !ok {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.records = append(r.records[:0], records...)
	r.facts = f
	r.err = nil
	r.state.Store(requestWaiting)
	for {
		r.next = l.pending.Load()
		if l.pending.CompareAndSwap(r.next, r) {
			break
		}
	}
	// Whoever holds the lock looks at pending again after letting go, so the
	// request is either seen by that one or by this.
	if l.writing.TryLock() {
		l.unlock()
	}
	if ctx.Done() == nil {
		<-r.done
	} else {
		select {
		case <-r.done:
		case <-ctx.Done():
			if r.state.CompareAndSwap(requestWaiting, requestCancelled) {
				return 0, ctx.Err() // nobody will touch the records; r is left to the holder
			}
			<-r.done // being encoded: the records are in use until then
		}
	}
	base, err := r.base, r.err
	clear(r.records)
	if cap(r.records) > 1024 {
		r.records = nil
	}
	l.requests.Put(r)
	if err == nil && d == Written && l.cfg.Durability == Synced {
		l.writing.Lock()
		l.flushLater(0)
		l.unlock()
	}
	return base, err
}

// combineRounds is how often a caller appends for others before it goes its own
// way and leaves them to a goroutine of their own.
const combineRounds = 16

// unlock appends what has been handed over meanwhile and lets go.
func (l *Log) unlock() {
	for round := 0; ; round++ {
		if l.pending.Load() != nil {
			if round == combineRounds && l.refuse.Load() == nil {
				l.env.Go(l.unlock) // which has the lock now
				return
			}
			l.combine()
			continue
		}
		l.writing.Unlock()
		if l.pending.Load() == nil || !l.writing.TryLock() {
			return
		}
	}
}

// combineLimit bounds the bytes of a combined batch: enough to make the batch's
// own costs vanish, not so much that the first waits for the last.
const combineLimit = 256 << 10

// combine appends the pending requests, as many to a batch as fit.
func (l *Log) combine() {
	var list *request
	for r := l.pending.Swap(nil); r != nil; {
		next := r.next
		r.next, list = list, r // oldest first
		r = next
	}
	limit := min(combineLimit, int(l.cfg.MaxBatchBytes))
	for list != nil {
		groups, records := l.w.groups[:0], l.w.records[:0]
		f := facts{bound: codec.HeaderSize, latest: math.MinInt64}
		count := 0
		for list != nil {
			r := list
			if len(groups) > 0 && f.bound+r.facts.bound > limit {
				break
			}
			list = r.next
			if !r.state.CompareAndSwap(requestWaiting, requestClaimed) {
				continue
			}
			groups = append(groups, r)
			records = append(records, r.records)
			count += len(r.records)
			f.bound += r.facts.bound - codec.HeaderSize
			f.latest = max(f.latest, r.facts.latest)
			f.untimed = f.untimed || r.facts.untimed
		}
		if len(groups) > 0 {
			base, err := l.appendLocked(records, count, f, l.cfg.Durability)
			for _, r := range groups {
				r.base, r.err = base, err
				base += int64(len(r.records))
				r.done <- struct{}{}
			}
		}
		clear(groups)
		clear(records)
		l.w.groups, l.w.records = groups[:0], records[:0]
	}
}

// appendLocked appends all groups as one batch. writing is held.
func (l *Log) appendLocked(groups [][]Record, count int, f facts, d Durability) (int64, error) {
	if err := l.refusing(); err != nil {
		return 0, err
	}
	base := l.end.Load()
	if base > math.MaxInt64-int64(count) {
		return 0, ErrOffsetOverflow
	}
	stamp := stamps{logAppend: l.cfg.LogAppendTime}
	if f.untimed || l.cfg.LogAppendTime {
		stamp.now = time.Now().UnixMilli()
		l.seen.Store(stamp.now)
		f.latest = max(f.latest, stamp.now)
		if l.cfg.LogAppendTime {
			f.latest = stamp.now
		}
	}
	seg, n, err := l.room(base, base+int64(count)-1, f.bound, f.latest, groups)
	if err != nil {
		return 0, err
	}
	n, err = l.encode(seg, n, groups, base, f, stamp)
	if err == nil {
		err = seg.Commit(n, segment.Entry{LastOffset: base + int64(count) - 1, MaxTimestamp: stamp.latest(f)})
	}
	if err != nil {
		return 0, l.appendError(err)
	}
	l.publish(seg, base+int64(count), n, d)
	return base, nil
}

// appendError decides whether the log can go on after err.
func (l *Log) appendError(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) {
		return spaceError(err)
	}
	return l.fail(err)
}

// publish makes what was committed visible and starts what follows from it.
func (l *Log) publish(seg *segment.Segment, end int64, n int, d Durability) {
	l.end.Store(end)
	l.marks.store(markPublished, end)
	if l.cfg.Durability == Written {
		l.marks.store(markWatermark, end)
		l.tail.notify(l)
	}
	if d == Written {
		l.flushLater(n)
		l.makeRoad(seg)
	}
}

// stamps are the times of one batch.
type stamps struct {
	now       int64
	logAppend bool
}

func (s stamps) latest(f facts) int64 {
	if s.logAppend {
		return s.now
	}
	return f.latest
}

func (s stamps) of(r *Record) int64 {
	if r.Timestamp.IsZero() || s.logAppend {
		return s.now
	}
	return r.Timestamp.UnixMilli()
}

// encode writes the batch at the tail, unpublished. A memory fault, which means
// that the disk took back what it had allocated, is an error.
func (l *Log) encode(seg *segment.Segment, room int, groups [][]Record, base int64, f facts, stamp stamps) (n int, err error) {
	b, err := seg.Reserve(room)
	if err != nil {
		return 0, err
	}
	defer vfs.Recover(seg.WriterPath(), b, &err, vfs.SetFault())
	n = encodeBatch(b, groups, base, l.w.epoch, f, stamp)
	return n, nil
}

// encodeBatch puts a whole batch into b, which is long enough.
func encodeBatch(b []byte, groups [][]Record, base int64, epoch int32, f facts, stamp stamps) int {
	first := stamp.of(&groups[0][0])
	n := codec.HeaderSize
	delta := int32(0)
	for _, records := range groups {
		for i := range records {
			r := &records[i]
			n += codec.PutRecord(b[n:], delta, stamp.of(r)-first, r.Key, r.Value, r.Headers)
			delta++
		}
	}
	h := codec.Header{
		BaseOffset:      base,
		LeaderEpoch:     epoch,
		Magic:           codec.Magic,
		LastOffsetDelta: delta - 1,
		BaseTimestamp:   first,
		MaxTimestamp:    stamp.latest(f),
		ProducerID:      -1,
		ProducerEpoch:   -1,
		BaseSequence:    -1,
		RecordCount:     delta,
	}
	if stamp.logAppend {
		h.Attributes |= codec.TimestampTypeBit
	}
	h.Put(b)
	codec.Seal(b[:n])
	return n
}
