package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Range asks for a run of whole batches: from the one that holds Offset, or the
// first behind it, up to Limit, at most Max bytes.
type Range struct {
	Offset int64
	Limit  int64 // every batch of the run ends at or below this offset
	Max    int64 // the first batch comes whole all the same; negative: no bound
}

// Region is a run of whole batches as they lie in a segment.
type Region struct {
	Pos, Size   int64
	First, Next int64 // the base offset of the first batch, and the offset behind the last

	// Stop says what the run ends at.
	Stop RegionStop
	// Bound is Kafka's upper bound of the offsets that a fetch may have
	// returned, by which it chooses aborted transactions
	// (LogSegment.fetchUpperBoundOffset); -1 when the index has no entry that
	// far: the next segment's base, or the log's end.
	Bound int64
}

// RegionStop says what a run ends at.
type RegionStop uint8

const (
	StopMax     RegionStop = iota // the next batch does not fit
	StopLimit                     // the next batch does not end below the limit
	StopSegment                   // there is no further batch in the segment
	StopDamage                    // what follows is damaged
)

// regionAhead is how much is read at once to look at headers, without a map:
// index.interval.bytes by default.
const regionAhead = 4096

// Region finds a run of batches in a pinned segment. It looks at the headers
// near both ends only: whoever takes the bytes has to check them. A run of no
// bytes lies where the offset would be.
//
// Damage is a *CorruptError when the run would begin with it. Behind the first
// batch it ends the run.
func (s *Segment) Region(o Range) (r Region, err error) {
	v := s.mu.view
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	buf := Buffer{ahead: regionAhead}
	x, err := s.offsetIndex()
	if err == nil {
		r, err = s.region(x, o, &buf)
	}
	if err != nil && errors.Is(err, errIndexWrong) {
		err = s.withIndexes(&buf, func(x *indexes) (err error) {
			r, err = s.region(x.offsets, o, &buf)
			return err
		})
	}
	return r, err
}

// offsetIndex is the offset index of loaded, without making anything.
func (s *Segment) offsetIndex() (index.Offsets, error) {
	if r := s.damaged.Load(); r != nil {
		return r.w.offsets.View(), nil
	}
	if x := s.mu.view.indexes.Load(); x != nil {
		return x.offsets, nil
	}
	if w := s.active(); w != nil {
		return w.offsets.View(), nil
	}
	x, err := s.loaded()
	if err != nil {
		return index.Offsets{}, err
	}
	return x.offsets, nil
}

func (s *Segment) region(x index.Offsets, o Range, buf *Buffer) (r Region, err error) {
	pos, err := s.find(x, o.Offset, buf)
	if err != nil {
		return r, err
	}
	r = Region{Pos: pos, First: o.Offset, Next: o.Offset, Stop: StopSegment, Bound: -1}
	end, stop := s.soundEnd(pos)
	h, n, err := s.headerAt(pos, end, o.Offset, buf)
	if err == io.EOF {
		return r, nil
	}
	if err == nil {
		err = s.checkFirst(h, pos, o.Offset)
	}
	if err != nil {
		return r, err
	}
	r.First = h.BaseOffset()
	if h.NextOffset() > o.Limit {
		r.Stop = StopLimit
		return r, nil
	}
	r.Size, r.Next = n, h.NextOffset()
	most := end
	if o.Max >= 0 && end-pos > max(o.Max, n) {
		most, stop = pos+max(o.Max, n), StopMax
	}
	if r.Stop = stop; pos+n < most {
		if err := s.extend(x, &r, o, most, end, buf); err != nil {
			return r, err
		}
	}
	// Kafka cuts its run anywhere: where it would end counts here.
	cut := most
	if r.Stop == StopLimit {
		cut = r.Pos + r.Size
	}
	if upper, ok := x.FirstAtOrAfterPosition(cut); ok {
		r.Bound = upper
	}
	return r, nil
}

// checkFirst looks at the header of a run's first batch.
func (s *Segment) checkFirst(h codec.Batch, pos, offset int64) error {
	if h.Magic() != codec.Magic {
		return fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, s.Path(), pos, &codec.MagicError{Magic: h.Magic()})
	}
	if h.LastOffset() < max(offset, h.BaseOffset()) {
		return s.corrupt(pos, offset, fmt.Errorf("batch of offsets %d to %d", h.BaseOffset(), h.LastOffset()))
	}
	return nil
}

// soundEnd is where the batches from pos on end: at the segment's end, or at
// damage that a scan went around.
func (s *Segment) soundEnd(pos int64) (int64, RegionStop) {
	end := s.size.Load()
	if r := s.damaged.Load(); r != nil {
		for i := range r.Holes {
			if h := r.Holes[i].Pos; pos < h && h < end {
				return h, StopDamage
			}
		}
	}
	return end, StopSegment
}

// Broken tells whether the segment is read around damage.
func (s *Segment) Broken() bool {
	r := s.damaged.Load()
	return r != nil && len(r.Holes) > 0
}

// extend takes in what follows the first batch, up to the position most and the
// offset o.Limit. It walks from the last index entry that lies below both, or if
// the batch there is not for the run, from one before.
func (s *Segment) extend(x index.Offsets, r *Region, o Range, most, end int64, buf *Buffer) error {
	from, next := r.Pos+r.Size, r.Next
	for i := min(x.FloorPosition(most), x.Floor(o.Limit)); i >= 0; i-- {
		entry, pos := x.Entry(i)
		if pos <= from {
			break
		}
		if err := s.proveEntry(entry, pos, buf); err != nil {
			return err
		}
		if size, next, stop := s.walk(pos, entry, o.Limit, most, end, buf); size > 0 {
			r.to(pos+size, next, stop)
			return nil
		}
	}
	size, next, stop := s.walk(from, next, o.Limit, most, end, buf)
	r.to(from+size, next, stop)
	return nil
}

// to sets the end of the run. A walk that came to the position it was given
// stopped where that is.
func (r *Region) to(end, next int64, stop RegionStop) {
	r.Size, r.Next = end-r.Pos, next
	if stop != StopSegment {
		r.Stop = stop
	}
}

// walk goes from batch to batch. StopSegment: up to the position most.
func (s *Segment) walk(pos, offset, limit, most, end int64, buf *Buffer) (size, next int64, stop RegionStop) {
	next = offset
	for pos+size < most {
		h, n, err := s.headerAt(pos+size, end, next, buf)
		switch {
		case err != nil:
			return size, next, StopDamage
		case h.NextOffset() > limit:
			return size, next, StopLimit
		case pos+size+n > most:
			return size, next, StopMax
		}
		size, next = size+n, h.NextOffset()
	}
	return size, next, StopSegment
}
