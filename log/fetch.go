package log

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// FetchOptions says what Fetch gives.
type FetchOptions struct {
	Offset int64
	// MaxBytes bounds the run, but for the first batch; 0: 1 MiB, negative: what
	// the segment has.
	MaxBytes int64
	// Committed ends at the last stable offset and asks for aborted transactions;
	// else the run ends at the high watermark.
	Committed bool
	// Follower is for replicas: the run ends at the log's end, whatever is
	// visible.
	Follower bool
	// Verify checks every batch, as a Cursor does.
	Verify bool
}

// defaultFetch is Kafka's max.partition.fetch.bytes.
const defaultFetch = 1 << 20

// Fetched is a run of whole batches of one segment, which stays pinned until
// Release. Its methods may be called from many goroutines, once Fetch has
// returned.
type Fetched struct {
	// What the log said before the run was looked for: LogStartOffset <=
	// LastStableOffset <= HighWatermark, and the run ends below the one that was
	// asked for.
	LogStartOffset, LastStableOffset, HighWatermark int64
	// Aborted are the aborted transactions that records of the run may be of, in
	// the order of their markers; there may be more than needed.
	Aborted []index.AbortedTxn
	// First and Next are the base offset of the run, and the offset behind it.
	First, Next int64

	pos, size int64

	mu struct {
		sync.Mutex
		seg *segment.Segment // pinned; nil when there is none, or no more
		buf []byte           // of Bytes without a map
		err error
	}
}

// Fetch puts a run of whole batches into f, which is new: those from the one
// that holds the offset on, out of one segment. It never waits; a run of no bytes
// says that there is nothing yet.
//
// Errors: ErrClosed; an *OffsetError when the offset lies below the log's start
// or beyond its end; a *CorruptError when the run would begin with damage; and
// when nothing is left to read, what keeps the log from growing.
func (l *Log) Fetch(o FetchOptions, f *Fetched) error {
	if l.follow != nil {
		return l.fetchFollowed(&o, f)
	}
	for {
		generation, list := l.generation.Load(), l.segments.Load()
		err := l.fetchOnce(&o, f)
		l.doubt(err)
		if l.generation.Load() == generation && (l.segments.Load() == list || !f.replaced(l)) {
			return err
		}
		// The log was truncated between one look and the next: what was found may be
		// neither of the one log nor of the other. Or a cleaning has replaced the
		// segment, and the aborted transactions may be those that are left of it.
		f.reset()
	}
}

func (l *Log) fetchOnce(o *FetchOptions, f *Fetched) error {
	if l.closed.Load() {
		return ErrClosed
	}
	f.look(l)
	if o.Offset < l.start.Load() || o.Offset > l.end.Load() {
		return l.outOfRange(o.Offset)
	}
	f.First, f.Next = o.Offset, o.Offset
	if limit := l.fetchLimit(o, f); o.Offset < limit {
		if err := l.fetch(o, f, limit); err != nil {
			return err
		}
		if f.size > 0 {
			return nil
		}
	}
	return l.Trouble()
}

// replaced tells whether the segment of the run is no longer the log's.
func (f *Fetched) replaced(l *Log) bool { return f.size > 0 && !l.lists(f.mu.seg) }

// reset makes f what it was before a fetch.
func (f *Fetched) reset() {
	f.Release()
	f.Aborted, f.pos, f.size = nil, 0, 0
}

// look notes the log's offsets, in an order that cannot be.
func (f *Fetched) look(l *Log) {
	// Each rises, so that one read later is not below one read before; only a
	// truncation between two of them makes it so.
	f.LogStartOffset = l.start.Load()
	f.LastStableOffset = l.LastStableOffset()
	f.HighWatermark = l.HighWatermark()
	f.LastStableOffset = min(f.LastStableOffset, f.HighWatermark)
	f.LogStartOffset = min(f.LogStartOffset, f.LastStableOffset)
}

func (l *Log) fetchLimit(o *FetchOptions, f *Fetched) int64 {
	switch {
	case o.Follower && l.follow == nil:
		return l.end.Load()
	case o.Committed && !o.Follower:
		return f.LastStableOffset
	}
	return f.HighWatermark // in another process' log as far as it shows it
}

// fetch is Fetch of an offset below the limit.
func (l *Log) fetch(o *FetchOptions, f *Fetched, limit int64) error {
	most := o.MaxBytes
	if most == 0 {
		most = defaultFetch
	}
	at, err := l.region(segment.Range{Offset: o.Offset, Limit: limit, Max: most})
	if err != nil || at.seg == nil {
		return err
	}
	if o.Committed && !o.Follower {
		upper := at.Bound
		if upper < 0 {
			upper = at.after
		}
		f.Aborted, err = l.AbortedTxns(o.Offset, upper, nil)
	}
	if o.Verify && err == nil {
		err = l.verify(o.Offset, &at)
	}
	if err != nil {
		at.seg.Unpin()
		return err
	}
	f.First, f.Next, f.pos, f.size, f.mu.seg = at.First, at.Next, at.Pos, at.Size, at.seg
	return nil
}

// found is a run in its segment.
type found struct {
	segment.Region
	seg   *segment.Segment // pinned; nil when there is no run
	after int64            // the base of the next segment, or the log's end
}

// region finds a run and pins its segment.
func (l *Log) region(r segment.Range) (found, error) {
	for {
		list := l.segments.Load()
		at, err := l.regionIn(list, r)
		if err == nil {
			return at, nil
		}
		if again, err := l.vanished(list, err); !again {
			return found{}, err
		}
	}
}

func (l *Log) regionIn(list *list, r segment.Range) (found, error) {
	i := list.find(r.Offset)
	if i < 0 {
		if r.Offset < l.start.Load() || l.dense(r.Offset) {
			return found{}, l.outOfRange(r.Offset)
		}
		i = 0 // a hole from the start of a sparse log
	}
	for ; i < len(list.segs); i++ {
		seg := list.segs[i]
		if err := seg.Pin(); err != nil {
			return found{}, err
		}
		at := found{seg: seg, after: noOffset}
		in := r
		if i+1 < len(list.segs) {
			if at.after = list.bases[i+1]; at.after <= r.Limit {
				in.Limit = noOffset // all of it lies below
			}
		}
		var err error
		at.Region, err = seg.Region(in)
		if err == nil && at.First > r.Offset && l.dense(r.Offset) {
			err = missing(seg, at.Pos, r.Offset, fmt.Errorf("the next batch begins at offset %d", at.First))
		}
		if err == nil && at.Size > 0 {
			if at.after == noOffset {
				at.after = l.end.Load()
			}
			return at, nil
		}
		seg.Unpin()
		if err != nil || at.Stop == segment.StopLimit {
			return found{}, l.faultAt(seg, r.Offset, err)
		}
	}
	if last := list.active(); l.dense(r.Offset) && l.segments.Load() == list && r.Offset < min(r.Limit, l.end.Load()) {
		return found{}, missing(last, last.Size(), r.Offset, fmt.Errorf("the log ends here, and should reach offset %d", l.end.Load()))
	}
	return found{}, nil
}

// missing is the error for offsets that cannot be missing.
func missing(s *segment.Segment, pos, offset int64, err error) error {
	return &segment.CorruptError{Path: s.Path(), Position: pos, Offset: offset,
		Err: fmt.Errorf("%w: offsets from %d on are missing", err, offset)}
}

// faultAt makes damage of a memory fault.
func (l *Log) faultAt(s *segment.Segment, offset int64, err error) error {
	var f *vfs.FaultError
	if errors.As(err, &f) {
		return &segment.CorruptError{Path: s.Path(), Position: max(f.Position, 0), Offset: offset, Err: err}
	}
	return err
}

// verify checks the batches of a run, and cuts the run before one that is
// damaged, or where offsets are missing. When that is the first it is an error.
func (l *Log) verify(offset int64, at *found) error {
	c := Cursor{l: l, offset: offset}
	c.enter(at.seg, true)
	c.pos = at.Pos
	for c.pos < at.Pos+at.Size {
		if _, err := c.read(noOffset); err != nil {
			if c.pos == at.Pos {
				return c.faulty(err)
			}
			at.Size, at.Next = c.pos-at.Pos, c.offset
		}
	}
	return nil
}

// Len is the number of bytes.
func (f *Fetched) Len() int64 { return f.size }

// hold pins the segment once more, for a call that must not lose it to a
// Release.
func (f *Fetched) hold() (*segment.Segment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.seg == nil {
		if f.size > 0 {
			return nil, ErrClosed
		}
		return nil, nil
	}
	f.mu.seg.Repin()
	return f.mu.seg, nil
}

// Bytes are the batches as they lie in the segment: read-only, and valid until
// Release. They are nil after it, when there are none, and when they cannot be
// read: Err says so.
func (f *Fetched) Bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.seg == nil {
		return f.mu.buf // of a log that another process writes
	}
	if data := f.mu.seg.Data(); data != nil {
		return data[f.pos : f.pos+f.size : f.pos+f.size]
	}
	if f.mu.buf == nil && f.size <= math.MaxInt {
		buf := make([]byte, f.size)
		if f.mu.err = f.mu.seg.ReadAt(buf, f.pos); f.mu.err != nil {
			return nil
		}
		f.mu.buf = buf
	}
	return f.mu.buf
}

// Err is why Bytes could not be read: a *CorruptError.
func (f *Fetched) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.err
}

// Mapped tells whether Bytes are a view of a map.
func (f *Fetched) Mapped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.seg != nil && f.mu.seg.Mapped()
}

// WriteTo writes the batches to w: to a socket with sendfile where the system
// has it. It may be called again, and returns ErrClosed after Release.
func (f *Fetched) WriteTo(w io.Writer) (int64, error) {
	if b := f.copied(); b != nil {
		n, err := w.Write(b)
		return int64(n), err
	}
	seg, err := f.hold()
	if seg == nil {
		return 0, err
	}
	defer seg.Unpin()
	return seg.Send(w, f.pos, f.size)
}

// Release lets go of the segment. A second Release does nothing.
func (f *Fetched) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.seg != nil {
		f.mu.seg.Unpin()
	}
	f.mu.seg, f.mu.buf = nil, nil
}

// available counts the bytes of the whole batches from offset on that end at or
// below limit, in all segments. It counts no further than want, and takes damage
// for enough: there is something to be said to whoever reads on.
func (l *Log) available(offset, limit, want int64) (n int64, err error) {
	at, err := l.region(segment.Range{Offset: offset, Limit: limit, Max: want})
	if err != nil || at.seg == nil {
		return 0, err
	}
	defer at.seg.Unpin()
	n = at.Size
	if at.Stop == segment.StopMax || at.Stop == segment.StopDamage {
		return max(n, want), nil
	}
	if at.Stop == segment.StopLimit || n >= want {
		return n, nil
	}
	list := l.segments.Load()
	i := list.find(at.seg.Base()) + 1
	for ; n < want && i < len(list.segs) && list.bases[i] < limit; i++ {
		if i+1 == len(list.segs) || list.bases[i+1] > limit {
			at, err := l.region(segment.Range{Offset: list.bases[i], Limit: limit, Max: want - n})
			if err != nil || at.seg == nil {
				return n, err
			}
			at.seg.Unpin()
			if n += at.Size; at.Stop == segment.StopMax || at.Stop == segment.StopDamage {
				n = max(n, want)
			}
			break
		}
		if list.segs[i].Broken() {
			return want, nil
		}
		n += list.segs[i].Size()
	}
	return n, nil
}

var _ io.WriterTo = (*Fetched)(nil)
