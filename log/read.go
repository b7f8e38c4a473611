package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// Cursor walks the batches of a log, for one goroutine. It pins the segment it
// is in, and never waits.
type Cursor struct {
	l      *Log
	seg    *segment.Segment // pinned; nil before the first batch and after SeekTo
	path   string           // of seg
	offset int64            // the next to read
	pos    int64            // of the batch that holds it, in seg
	at     int64            // of the last batch given
	inside bool             // offset may lie inside the batch at pos
	buf    segment.Buffer

	generation int64 // of the log, as far as its user knows
	run        int64 // of the follower, when the log is followed
	guarded    bool  // Next is called by guard
}

// NewCursor returns a cursor at offset. Whether that can be read is found out
// by Next.
func (l *Log) NewCursor(offset int64) *Cursor {
	c := &Cursor{l: l, offset: offset, generation: l.generation.Load()}
	c.Restart()
	return c
}

// Offset is the offset that Next reads next: after a batch, the one behind it.
func (c *Cursor) Offset() int64 { return c.offset }

// SeekTo moves the cursor. What Next returned before is no longer valid.
func (c *Cursor) SeekTo(offset int64) {
	c.drop()
	c.offset = offset
}

// Close lets go of the segment.
func (c *Cursor) Close() { c.drop() }

func (c *Cursor) drop() {
	if c.seg != nil {
		c.seg.Unpin()
		c.seg = nil
	}
}

// Segment is the pinned segment of the last batch. Repin keeps the batch
// readable beyond the next call of Next, if Mapped says that it is its bytes.
func (c *Cursor) Segment() *segment.Segment { return c.seg }

// Mapped reports whether the last batch lies in a map, not in the cursor.
func (c *Cursor) Mapped() bool { return c.seg != nil && c.seg.Mapped() }

// Keep lets the last batch, if it is not mapped, live until h is released.
func (c *Cursor) Keep(h *segment.Held) { c.buf.Keep(h) }

// Position says where the last batch lies, for errors.
func (c *Cursor) Position() (path string, pos int64) {
	if c.seg == nil {
		return c.l.env.fsys.Path(c.l.dir), 0
	}
	return c.path, c.at
}

// Next returns the batch that holds the cursor's offset and moves behind it, if
// all of it lies below limit; ErrWait if not. Its CRC and header are checked.
//
// The batch is read-only. It lives until the next call of Next, SeekTo or Close,
// or, in a map, as long as its segment is pinned.
//
// Errors: ErrClosed; an *OffsetError when the offset lies below the log's start
// or beyond its end; a *CorruptError where stored data is damaged: the cursor
// stays, and SeekTo leads around it; ErrTruncated, see there.
func (c *Cursor) Next(limit int64) (b codec.Batch, err error) {
	l := c.l
	if l.follow != nil && !c.guarded {
		return c.guard(limit)
	}
	if l.closed.Load() {
		return nil, ErrClosed
	}
	if c.generation != l.generation.Load() {
		return nil, ErrTruncated
	}
	if c.offset < l.start.Load() {
		return nil, c.unlessStale(l.outOfRange(c.offset))
	}
	if c.offset >= limit {
		if c.offset > l.end.Load() {
			return nil, c.unlessStale(l.outOfRange(c.offset))
		}
		return nil, ErrWait
	}
	for {
		if c.seg == nil {
			if err := c.locate(); err != nil {
				return nil, c.damage(c.unlessStale(err))
			}
		} else if c.pos >= c.seg.Size() {
			if err := c.step(); err != nil {
				return nil, c.damage(c.unlessStale(err))
			}
		}
		b, err = c.read(limit)
		if err == nil {
			return b, nil
		}
		if err == ErrWait {
			return nil, err
		}
		if err != io.EOF {
			return nil, c.damage(c.unlessStale(c.faulty(err)))
		}
	}
}

// damage notes and tells err, if it is damage; of a log that is followed that is
// for guard to do.
func (c *Cursor) damage(err error) error {
	if c.guarded {
		return err
	}
	return c.l.Corrupt(err)
}

// read gives the batch at the cursor's position, io.EOF at the segment's end. A
// fault of the map, which is a disk that cannot be read or a file cut by
// somebody else, is an error.
func (c *Cursor) read(limit int64) (b codec.Batch, err error) {
	defer vfs.Recover(c.path, c.seg.Data(), &err, vfs.SetFault())
	for {
		if b, err = c.seg.BatchAt(c.pos, c.offset, &c.buf); err != nil {
			return nil, err
		}
		if err := c.check(b); err != nil {
			return nil, err
		}
		next := b.NextOffset()
		if next <= c.offset { // a search stops at the batch, but for an emptied segment's
			c.pos += int64(len(b))
			continue
		}
		if next > limit {
			return nil, ErrWait
		}
		c.at = c.pos
		c.pos += int64(len(b))
		c.offset = next
		c.inside = false
		return b, nil
	}
}

// faulty gives a memory fault its place in the log.
func (c *Cursor) faulty(err error) error {
	var f *vfs.FaultError
	if err != nil && errors.As(err, &f) {
		return c.corrupt(err)
	}
	return err
}

// enter goes to a pinned segment.
func (c *Cursor) enter(s *segment.Segment, inside bool) {
	c.seg, c.path, c.pos, c.inside = s, s.PinnedPath(), 0, inside
}

// check verifies a batch: its CRC, its header, and that its offsets are those
// that belong here, which the CRC does not cover.
func (c *Cursor) check(b codec.Batch) error {
	if err := b.Check(); err != nil {
		var m *codec.MagicError
		if errors.As(err, &m) {
			return fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, c.seg.Path(), c.pos, err)
		}
		return c.corrupt(err)
	}
	base := b.BaseOffset()
	switch {
	case base > c.offset && c.l.dense(c.offset):
		return c.corrupt(fmt.Errorf("batch begins at offset %d: offsets from %d on are missing", base, c.offset))
	case base < c.offset && !c.inside:
		return c.corrupt(fmt.Errorf("batch begins at offset %d where %d is next", base, c.offset))
	}
	return nil
}

func (c *Cursor) corrupt(err error) error {
	return &segment.CorruptError{Path: c.seg.Path(), Position: c.pos, Offset: c.offset, Err: err}
}

// locate pins the segment of the cursor's offset and finds the batch in it.
func (c *Cursor) locate() error {
	l := c.l
	for {
		list := l.segments.Load()
		i := list.find(c.offset)
		if i < 0 {
			// Below the first segment: retention has been here, or a hole from
			// the start of a sparse log.
			if c.offset >= l.start.Load() && !l.dense(c.offset) {
				i = 0
			} else {
				return l.outOfRange(c.offset)
			}
		}
		seg := list.segs[i]
		if err := seg.Pin(); err != nil {
			if again, err2 := l.vanished(list, err); !again {
				return err2
			}
			continue
		}
		c.enter(seg, true)
		pos, err := c.find(c.offset)
		if err != nil {
			err = c.faulty(err)
			c.drop()
			return err
		}
		if c.Stale() {
			return ErrTruncated // the pin may have come after: it holds other records
		}
		c.pos = pos
		if pos >= seg.Size() {
			return c.step()
		}
		return nil
	}
}

// Replaced tells whether the last batch lies in a segment that a cleaning has
// replaced since: the aborted transactions that the log knows now may be without
// those of which the cleaning has left nothing.
func (c *Cursor) Replaced() bool { return c.l.follow == nil && c.seg != nil && !c.l.lists(c.seg) }

func (c *Cursor) find(offset int64) (pos int64, err error) {
	defer vfs.Recover(c.path, c.seg.Data(), &err, vfs.SetFault())
	return c.seg.Find(offset, &c.buf)
}

// step goes from the end of a segment to the next one.
func (c *Cursor) step() error {
	l := c.l
	for {
		list := l.segments.Load()
		i := list.find(c.seg.Base()) + 1
		if i == 0 || list.segs[i-1] != c.seg {
			// It was removed, or replaced together with those behind it: go on where
			// the offset is now.
			c.drop()
			return c.locate()
		}
		if i >= len(list.segs) {
			if c.pos < c.seg.Size() {
				return nil // it has grown since
			}
			// The offset lies below the limit, and nothing is there.
			return c.corrupt(fmt.Errorf("the log ends here, and should reach offset %d", l.end.Load()))
		}
		next := list.segs[i]
		if c.pos < c.seg.Size() {
			return nil // it grew before it was rolled
		}
		if next.Base() > c.offset && c.offset < l.start.Load() {
			return l.outOfRange(c.offset) // deleted since Next looked
		}
		if next.Base() > c.offset && l.dense(c.offset) {
			return c.corrupt(fmt.Errorf("the next segment begins at offset %d: offsets from %d on are missing", next.Base(), c.offset))
		}
		if err := next.Pin(); err != nil {
			if again, err2 := l.vanished(list, err); !again {
				return err2
			}
			continue
		}
		c.seg.Unpin()
		c.enter(next, false)
		if c.Stale() {
			return ErrTruncated
		}
		if next.Size() > 0 {
			return nil
		}
	}
}

// vanished tells what a segment that cannot be pinned means: the log was closed,
// retention took it and the list has changed, or it is an error.
func (l *Log) vanished(seen *list, err error) (again bool, _ error) {
	switch {
	case !errors.Is(err, segment.ErrClosed):
		return false, err
	case l.closed.Load():
		return false, ErrClosed
	case l.segments.Load() != seen:
		return true, nil
	}
	// A truncation is at work on it: wait for its end.
	l.writing.Lock()
	l.unlock()
	return l.segments.Load() != seen, err
}

func (l *Log) outOfRange(offset int64) error {
	return &OffsetError{Topic: l.cfg().Topic, Partition: l.cfg().Partition, Offset: offset,
		Start: l.start.Load(), End: l.HighWatermark()}
}
