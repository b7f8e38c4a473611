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
	synced  bool     // done is told when the records are durable, not before
	next    *request // in pending

	state  atomic.Int32 // requestWaiting, then claimed or cancelled, once
	base   int64
	stored stored     // what the caller is to tell of
	wait   syncWaiter // how the caller is told
}

const (
	requestWaiting int32 = iota
	requestClaimed
	requestCancelled
)

// facts are what an append needs to know of its records before it encodes them.
type facts struct {
	bound   int   // no encoding of them is longer, in bytes
	latest  int64 // the largest timestamp given; noTime when none is
	untimed bool  // some have none
}

const noTime = math.MinInt64

// recordBound is the most that the fields of a record without headers take
// beside its key and value: length, attributes, timestamp and offset deltas, key
// and value lengths, header count.
const recordBound = 5 + 1 + 10 + 5 + 5 + 5 + 5

// Append stores records as one batch, or part of one, and returns the offset of
// the first when d holds; 0 means the topic's durability. All of them are stored
// or none. Nothing that they point to is kept.
//
// After an error of ctx the records may have been stored, and after ErrFailed and
// ErrClosed, if the log failed or was closed meanwhile: reopening tells. After
// any other error they were not.
func (l *Log) Append(ctx context.Context, records []Record, d Durability) (int64, error) {
	if d == 0 {
		d = l.cfg().Durability
	}
	kind := l.cfg().Compression // once: it may be changed meanwhile
	f, err := l.inspect(records, kind)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var (
		base int64
		w    watch
		s    stored
	)
	if d == Synced || l.obs.Append != nil {
		w = l.obs.watch()
	}
	switch {
	case kind != compress.None:
		if d != Synced && w.begin == 0 && rarely() {
			w = l.obs.sampled()
		}
		base, s, err = l.appendCompressed(records, f, kind, 0, d)
	case d == Synced && l.sync.busy.Load():
		// The records cannot be durable before the sync under way has ended, and
		// the next one: what gathers until then becomes one batch.
		return l.appendHanded(ctx, records, f, d, w)
	case l.writing.TryLock():
		if l.w.turn++; l.w.turn%sampleEvery == 0 && w.begin == 0 {
			w = l.obs.sampled()
		}
		groups := [1][]Record{records}
		base, err = l.appendLocked(groups[:], len(records), f, d)
		if w.begin != 0 || l.w.reports != nil {
			s = l.takeStored(base, len(records), err)
		}
		l.unlock()
	default:
		return l.appendHanded(ctx, records, f, d, w)
	}
	if err == nil && d == Synced {
		err = l.waitDurable(ctx, base+int64(len(records)))
	}
	if w.begin != 0 || s.reports != nil {
		l.appended(w, s, err)
	}
	if err != nil {
		return 0, err
	}
	return base, nil
}

// inspect refuses what cannot be stored with a compression of kind, before
// anything is done.
func (l *Log) inspect(records []Record, kind compress.Codec) (facts, error) {
	if len(records) == 0 {
		return facts{}, fmt.Errorf("%w: no records", ErrInvalidRecord)
	}
	f := facts{latest: noTime}
	earliest := int64(math.MaxInt64)
	odd := uint64(0)
	bound := int64(codec.HeaderSize)
	for i := range records {
		r := &records[i]
		bound += int64(recordBound + len(r.Key) + len(r.Value))
		if len(r.Headers) != 0 {
			bound += headersBound(r.Headers)
		}
		if r.Timestamp.IsZero() {
			f.untimed = true
			continue
		}
		odd |= uint64(r.Timestamp.Unix())
		ms := r.Timestamp.UnixMilli()
		earliest, f.latest = min(earliest, ms), max(f.latest, ms)
	}
	if f.latest != noTime && !l.cfg().LogAppendTime {
		if err := l.checkTimes(records, odd, earliest, f.latest); err != nil {
			return f, err
		}
	}
	if bound > MaxUnpacked {
		// However well it is compressed, no reader would unpack it.
		return f, l.tooLarge(bound)
	}
	if bound > int64(l.cfg().MaxBatchBytes) {
		// The bound is generous: only now is the exact size worth its time.
		n := int64(codec.HeaderSize + tightSize(records, 0, records[0].Timestamp))
		if n > int64(l.cfg().MaxBatchBytes) && kind == compress.None {
			return f, l.tooLarge(n)
		}
	}
	f.bound = int(bound)
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
		ErrRecordTooLarge, n, l.name(), l.cfg().MaxBatchBytes)
}

// appendHanded hands the records over to whoever is appending or syncing, or
// becomes that one, and waits until d holds for them.
func (l *Log) appendHanded(ctx context.Context, records []Record, f facts, d Durability, w watch) (int64, error) {
	if err := l.refusing(); err != nil {
		// Also because the holder of the lock may be who is calling: from a handler
		// that is told that the log has failed.
		return 0, err
	}
	if w.begin == 0 && rarely() {
		w = l.obs.sampled()
	}
	r, ok := l.env.requests.Get().(*request)
	if !ok {
		r = &request{wait: syncWaiter{done: make(chan error, 1)}}
	}
	r.records = append(r.records[:0], records...)
	r.facts, r.synced = f, d == Synced
	r.state.Store(requestWaiting)
	for {
		r.next = l.pending.Load()
		if l.pending.CompareAndSwap(r.next, r) {
			break
		}
	}
	// Whoever holds the lock looks at pending again after letting go, and the
	// syncer after it has become idle, so the request is seen by one of them or
	// by this goroutine.
	if (!r.synced || !l.sync.busy.Load() || l.refuse.Load() != nil) && l.writing.TryLock() {
		l.unlock()
	}
	var err error
	if ctx.Done() == nil {
		err = <-r.wait.done
	} else {
		select {
		case err = <-r.wait.done:
		case <-ctx.Done():
			if r.state.CompareAndSwap(requestWaiting, requestCancelled) {
				return 0, ctx.Err() // nobody will touch the records; r is left to the holder
			}
			// Claimed: the records are in use until they are encoded.
			return l.leave(ctx, r, w)
		}
	}
	base, s, synced := r.base, r.stored, r.wait.report
	r.stored, r.wait.report = stored{}, nil
	clear(r.records)
	if cap(r.records) > 1024 {
		r.records = nil
	}
	l.env.requests.Put(r)
	l.tellSync(synced)
	l.appended(w, s, err)
	if err != nil {
		return 0, err
	}
	return base, nil
}

// leave gives up waiting for a request that has been claimed, once its records
// have been encoded. r is left to the collector: the sync may tell it yet.
func (l *Log) leave(ctx context.Context, r *request, w watch) (int64, error) {
	l.writing.Lock() // whoever claimed it holds the lock until it is done
	l.unlock()
	var err error
	select {
	case err = <-r.wait.done:
	default:
		err = ctx.Err()
	}
	l.tellSync(l.sync.leave(&r.wait))
	l.appended(w, r.stored, err)
	if err != nil {
		return 0, err
	}
	return r.base, nil
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
		rs := l.takeReports() // of who rolled without an append
		l.writing.Unlock()
		if rs != nil {
			l.env.Go(func() { tellAll(rs) }) // the caller may hold anything
		}
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
	limit := int(min(combineLimit, int64(l.cfg().MaxBatchBytes), l.cfg().SegmentBytes))
	for list != nil {
		x := l.scratch()
		groups, records := x.groups[:0], x.records[:0]
		f := facts{bound: codec.HeaderSize, latest: noTime}
		count := 0
		durability := Synced
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
			if !r.synced {
				durability = Written
			}
			f.bound += r.facts.bound - codec.HeaderSize
			f.latest = max(f.latest, r.facts.latest)
			f.untimed = f.untimed || r.facts.untimed
		}
		if len(groups) > 0 {
			base, err := l.appendLocked(records, count, f, durability)
			groups[0].stored = l.takeStored(base, count, err)
			synced := 0
			for _, r := range groups {
				r.base = base
				base += int64(len(r.records))
				r.wait.offset = base
				if err == nil && r.synced {
					groups[synced] = r
					synced++
					continue
				}
				r.wait.done <- err
			}
			l.addWaiters(groups[:synced])
		}
		clear(groups)
		clear(records)
		x.groups, x.records = groups[:0], records[:0]
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
	if l.w.epoch < 0 {
		if err := l.beginEpoch(0, base); err != nil {
			return 0, l.appendError(err)
		}
	}
	last := base + int64(count) - 1
	h := &l.scratch().header
	now := l.stamp(h, &f, &l.w.clock)
	l.w.stamped = now
	seg, n, err := l.room(base, last, f.bound, h.MaxTimestamp, groups)
	if err != nil {
		return 0, err
	}
	h.BaseOffset, h.LeaderEpoch = base, l.w.epoch
	h.LastOffsetDelta, h.RecordCount = int32(count-1), int32(count)
	n, err = l.encode(seg, n, h, groups, f, now)
	if err == nil {
		err = seg.Commit(n, segment.Entry{LastOffset: last, MaxTimestamp: h.MaxTimestamp})
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
	l.count(end-l.end.Load(), n)
	// The mark goes first: a sync that looks at end must not store a durable mark
	// above it.
	l.marks.store(markPublished, end) // of Written topics the high watermark, too
	l.end.Store(end)
	if c := l.cfg(); c.Durability == Written && !c.ExternalWatermark {
		l.watermarkMoved()
	}
	if d == Written {
		l.flushLater(n)
	}
	l.makeRoad(seg)
}

// stamp sets a header's attributes and largest timestamp, asking the clock if a
// record needs it, and returns the clock's time.
func (l *Log) stamp(h *codec.Header, f *facts, clock *clock) (now int64) {
	h.Attributes, h.MaxTimestamp = 0, f.latest
	if l.cfg().LogAppendTime {
		h.Attributes = codec.TimestampTypeBit
		f.latest = noTime // the records' own times do not count
	} else if !f.untimed {
		return 0
	}
	now = clock.milli()
	l.seen.Store(now)
	h.MaxTimestamp = max(f.latest, now)
	return now
}

// newHeader is a header with what never changes in a plain batch.
func newHeader() codec.Header {
	return codec.Header{Magic: codec.Magic, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
}

// encode writes the batch at the tail, unpublished. A memory fault, which means
// that the disk took back what it had allocated, is an error.
func (l *Log) encode(seg *segment.Segment, room int, h *codec.Header, groups [][]Record, f facts, now int64) (n int, err error) {
	b, err := seg.Reserve(room)
	if err != nil {
		return 0, err
	}
	defer vfs.Recover(seg.WriterPath(), b, &err, vfs.SetFault())
	return encodeBatch(b, h, groups, f, now), nil
}

// encodeBatch puts a whole batch into b, which is long enough, and returns its
// size. The header goes first: the CRC would wait for stores just made.
func encodeBatch(b []byte, h *codec.Header, groups [][]Record, f facts, now int64) int {
	h.BaseTimestamp = now
	if first := &groups[0][0]; f.latest != noTime && !first.Timestamp.IsZero() {
		h.BaseTimestamp = first.Timestamp.UnixMilli()
	}
	h.Put(b)
	n := codec.HeaderSize
	delta := int32(0)
	for _, records := range groups {
		for i := range records {
			r := &records[i]
			late := int64(0)
			if f.latest != noTime {
				if r.Timestamp.IsZero() {
					late = now - h.BaseTimestamp
				} else {
					late = r.Timestamp.UnixMilli() - h.BaseTimestamp
				}
			}
			n += codec.PutRecord(b[n:], delta, late, r.Key, r.Value, r.Headers)
			delta++
		}
	}
	codec.Seal(b[:n])
	return n
}
