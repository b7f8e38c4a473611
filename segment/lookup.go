package segment

import (
	"errors"
	"io"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// errIndexWrong says that an index does not fit its log.
var errIndexWrong = errors.New("index does not fit the log")

// withIndexes calls f with the indexes of a pinned segment, and once more with
// new ones when they turn out to be wrong.
func (s *Segment) withIndexes(buf *Buffer, f func(*indexes) error) error {
	x, err := s.loaded()
	if err == nil {
		err = f(x)
	}
	if err == nil || !errors.Is(err, errIndexWrong) {
		return err
	}
	if x, err = s.rebuild(x, buf); err == nil {
		err = f(x)
	}
	if errors.Is(err, errIndexWrong) {
		// It was made from the batches, so they are not what they were.
		return s.corrupt(0, s.base, err)
	}
	return err
}

// Find returns the position of the first batch whose last offset is at least
// target, in a pinned segment: its size when there is none. In a segment that is
// read around damage, a target that is lost is the *CorruptError of its hole.
func (s *Segment) Find(target int64, buf *Buffer) (pos int64, err error) {
	v := s.mu.view
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	err = s.withIndexes(buf, func(x *indexes) (err error) {
		pos, err = s.find(x.offsets, target, buf)
		return err
	})
	return pos, err
}

// find looks at headers only: a reader without a map would read whole batches
// for a few bytes of each.
func (s *Segment) find(x index.Offsets, target int64, buf *Buffer) (int64, error) {
	entry, pos := x.Lookup(target)
	if pos > 0 {
		if err := s.proveEntry(entry, pos, buf); err != nil {
			return 0, err
		}
	}
	for {
		if h := s.hole(pos); h != nil {
			b, _, err := s.headerAt(h.End, s.size.Load(), target, buf)
			if err != nil {
				return 0, err
			}
			if b.BaseOffset() > target {
				return 0, s.corrupt(h.Pos, h.Offset, h.Err)
			}
			pos = h.End
		}
		b, n, err := s.headerAt(pos, s.size.Load(), target, buf)
		if err == io.EOF {
			return pos, nil
		}
		if err != nil {
			return 0, err
		}
		if b.LastOffset() >= target {
			return pos, nil
		}
		pos += n
	}
}

// hole is the damaged stretch that begins at pos, nil if there is none. A batch
// lies behind every one below Size.
func (s *Segment) hole(pos int64) *Hole {
	r := s.damaged.Load()
	if r == nil || pos >= s.size.Load() {
		return nil
	}
	for i := range r.Holes {
		if r.Holes[i].Pos == pos {
			return &r.Holes[i]
		}
	}
	return nil
}

// past is pos, or the end of the hole that begins there.
func (s *Segment) past(pos int64) int64 {
	if h := s.hole(pos); h != nil {
		return h.End
	}
	return pos
}

// proveEntry looks whether the batch at an index entry's position is the one
// that the entry is for. An index is only ever used from an entry that was
// proved, so that a damaged one costs a rebuild and never an answer.
func (s *Segment) proveEntry(lastOffset, pos int64, buf *Buffer) error {
	if pos+codec.HeaderSize > s.size.Load() {
		return errIndexWrong
	}
	h, err := s.window(pos, codec.HeaderSize, buf)
	if err != nil {
		return err
	}
	if codec.Batch(h).LastOffset() != lastOffset || codec.Batch(h).Magic() != codec.Magic {
		return errIndexWrong
	}
	return nil
}

// proveTime looks whether the batch that holds offset has the timestamp, and
// gives its position and last offset. (Kafka names the last offset, some versions
// the record's own.)
func (s *Segment) proveTime(x *indexes, timestamp, offset int64, buf *Buffer) (pos, last int64, err error) {
	pos, err = s.find(x.offsets, offset, buf)
	if errors.Is(err, ErrCorrupt) && !x.ours {
		return 0, 0, errIndexWrong // the entry may be to blame: the new index has none like it
	}
	if err != nil {
		return 0, 0, err
	}
	b, err := s.BatchAt(pos, offset, buf)
	if err == io.EOF || err == nil && (b.BaseOffset() > offset || b.MaxTimestamp() != timestamp) {
		return 0, 0, errIndexWrong
	}
	if err != nil {
		return 0, 0, err
	}
	return pos, b.LastOffset(), nil
}

// MaxTimestamp is the largest timestamp in a pinned segment and the last offset
// of the first batch that has it; -1 when no batch has one.
func (s *Segment) MaxTimestamp(buf *Buffer) (timestamp, offset int64, err error) {
	v := s.mu.view
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	err = s.withIndexes(buf, func(x *indexes) (err error) {
		timestamp, offset, err = s.largest(x, buf)
		return err
	})
	return timestamp, offset, err
}

// largest is MaxTimestamp by an index: its last entry, unless a batch behind
// that one is later. In the active segment that is nothing special. An index
// file that misses its end, which nothing else gives away, is found out so.
func (s *Segment) largest(x *indexes, buf *Buffer) (timestamp, offset int64, err error) {
	timestamp, offset = x.times.Last()
	pos := int64(0)
	if timestamp >= 0 {
		if pos, offset, err = s.proveTime(x, timestamp, offset, buf); err != nil {
			return 0, 0, err
		}
	}
	if x.complete.Load() {
		return timestamp, offset, nil
	}
	found := false
	for {
		pos = s.past(pos)
		b, err := s.BatchAt(pos, offset, buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		if b.MaxTimestamp() > timestamp && b.Check() == nil { // else it is not to be believed
			timestamp, offset, found = b.MaxTimestamp(), b.LastOffset(), true
		}
		pos += int64(len(b))
	}
	if found && !x.ours {
		return 0, 0, errIndexWrong
	}
	x.complete.Store(!found)
	return timestamp, offset, nil
}

// FindTime returns the position of the first batch that may hold a record of
// the given timestamp or later at or after the offset start, in a pinned
// segment (Kafka's findOffsetByTimestamp): every batch before it is older, or
// below start.
func (s *Segment) FindTime(timestamp, start int64, buf *Buffer) (pos int64, err error) {
	v := s.mu.view
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	err = s.withIndexes(buf, func(x *indexes) error {
		pos = 0
		t, offset := x.times.Lookup(timestamp)
		if t >= 0 {
			var err error
			if pos, _, err = s.proveTime(x, t, offset, buf); err != nil {
				return err
			}
		}
		if start <= offset {
			return nil
		}
		at, err := s.find(x.offsets, start, buf)
		pos = max(pos, at)
		return err
	})
	for err == nil {
		pos = s.past(pos)
		var b codec.Batch
		if b, err = s.BatchAt(pos, start, buf); err == nil {
			if b.MaxTimestamp() >= timestamp && b.LastOffset() >= start {
				return pos, nil
			}
			pos += int64(len(b))
		}
	}
	if err == io.EOF {
		return pos, nil
	}
	return 0, err
}

// LargestTimestamp is MaxTimestamp of a segment that the caller has not pinned,
// remembered once it is known; -1 when no batch has a timestamp.
func (s *Segment) LargestTimestamp(buf *Buffer) (int64, error) {
	if t := s.maxTime.Load(); t != unknownTime {
		return t, nil
	}
	if err := s.Pin(); err != nil {
		return 0, err
	}
	defer s.Unpin()
	t, _, err := s.MaxTimestamp(buf)
	if err != nil {
		return 0, err
	}
	s.maxTime.CompareAndSwap(unknownTime, t)
	return t, nil
}
