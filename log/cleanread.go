package log

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// sourceWalk is a cleaner's way through one sealed segment.
type sourceWalk struct {
	c    *cleaner
	seg  *segment.Segment
	pos  int64 // of the next batch
	next int64 // its offset at least
	end  int64 // the next segment's base
	// inside: next may lie inside of the batch at pos.
	inside bool
	done   bool
	// whole: the segment is read from its beginning to its end, and crc is that of
	// what has been read of it.
	whole bool
	crc   uint32
	each  func(codec.Batch) (more bool, err error)
}

// eachBatch calls f for the batches of segment i of list, from the one that holds
// offset on, until it says that there is enough. Each is checked as a reader checks
// it. A segment that was removed meanwhile is errSuperseded.
func (c *cleaner) eachBatch(list *list, i int, offset int64, f func(codec.Batch) (more bool, err error)) error {
	s := list.segs[i]
	if err := s.Pin(); err != nil {
		if errors.Is(err, ErrClosed) {
			return errSuperseded
		}
		return err
	}
	defer s.Unpin()
	w := sourceWalk{c: c, seg: s, next: s.Base(), end: list.bases[i+1], each: f, whole: offset <= s.Base()}
	if offset > s.Base() {
		pos, err := s.Find(offset, &c.buf)
		if err != nil {
			return c.l.Corrupt(err)
		}
		w.pos, w.next, w.inside = pos, offset, true
		c.progress.Done += pos
	}
	for !w.done {
		from, wrote := w.pos, c.wrote
		if err := w.chunk(); err != nil {
			return err
		}
		c.progress.Done += w.pos - from
		if c.o.Progress != nil {
			c.o.Progress(c.progress)
		}
		if err := c.pace.wait(c.ctx, w.pos-from+c.wrote-wrote); err != nil {
			return err
		}
	}
	return nil
}

// chunk goes on for a while.
func (w *sourceWalk) chunk() (err error) {
	defer func() {
		var fault *vfs.FaultError
		if errors.As(err, &fault) {
			err = w.corrupt(err)
		}
	}()
	defer vfs.Recover(w.seg.PinnedPath(), w.seg.Data(), &err, vfs.SetFault())
	for from := w.pos; w.pos-from < cleanChunk; {
		b, err := w.seg.BatchAt(w.pos, w.next, &w.c.buf)
		if err == io.EOF {
			w.done = true
			if w.next < w.end && w.c.l.dense(w.next) {
				return w.corrupt(fmt.Errorf("the next segment begins at offset %d: offsets from %d on are missing", w.end, w.next))
			}
			return w.sealed()
		}
		if err == nil {
			err = w.check(b)
		}
		if err != nil {
			return w.c.l.Corrupt(err)
		}
		if w.whole {
			w.crc = crc32.Update(w.crc, castagnoli, b)
		}
		more, err := w.each(b)
		if err != nil {
			return w.explain(err)
		}
		if !more {
			w.done = true
			return nil
		}
		w.pos += int64(len(b))
		w.next = b.NextOffset()
	}
	return nil
}

// explain gives an error about the records of a batch its place.
func (w *sourceWalk) explain(err error) error {
	switch {
	case errors.Is(err, codec.ErrCorrupt):
		return w.corrupt(err)
	case errors.Is(err, codec.ErrUnsupported):
		return w.unsupported(err)
	case errors.Is(err, compress.ErrTooLarge):
		return fmt.Errorf("%s at position %d: %w", w.seg.Path(), w.pos, err)
	case errors.Is(err, compress.ErrClosed):
		return ErrClosed
	}
	return err
}

func (w *sourceWalk) unsupported(err error) error {
	return fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, w.seg.Path(), w.pos, err)
}

// check is Cursor.check, and that the batch belongs into this segment.
func (w *sourceWalk) check(b codec.Batch) error {
	if err := b.Check(); err != nil {
		var m *codec.MagicError
		if errors.As(err, &m) {
			return w.unsupported(err)
		}
		return w.corrupt(err)
	}
	inside := w.inside
	w.inside = false
	switch base := b.BaseOffset(); {
	case base < w.next && !inside:
		return w.corrupt(fmt.Errorf("batch begins at offset %d where %d is next", base, w.next))
	case base > w.next && w.c.l.dense(w.next):
		return w.corrupt(fmt.Errorf("batch begins at offset %d: offsets from %d on are missing", base, w.next))
	case b.NextOffset() > w.end:
		return w.corrupt(fmt.Errorf("batch reaches offset %d, and the next segment begins at %d", b.LastOffset(), w.end))
	}
	return nil
}

// sealed compares what was read to what was sealed. Where offsets may be missing
// nothing else tells that a batch has another offset than it had, or is gone; and
// what is made of this segment would look sound for ever. Where others have written
// the folder the sums say nothing.
func (w *sourceWalk) sealed() error {
	l := w.c.l
	want, ok := l.sums.of(w.seg.Base(), segment.LogSuffix)
	switch {
	case !w.whole, !ok, l.denseFrom.Load() == noOffset, want.Size == w.pos && want.CRC == w.crc:
		return nil
	case !l.lists(w.seg):
		return errSuperseded // the sum may be another's of its name
	}
	w.pos, w.next = 0, w.seg.Base()
	return w.corrupt(fmt.Errorf("the file is not the one that was sealed: %d bytes and CRC-32C %08x, and were %d and %08x (segments.sum)",
		w.seg.Size(), w.crc, want.Size, want.CRC))
}

func (w *sourceWalk) corrupt(err error) error {
	return w.c.l.Corrupt(&segment.CorruptError{Path: w.seg.Path(), Position: w.pos, Offset: w.next, Err: err})
}

// pace keeps a cleaning to a rate.
type pace struct {
	rate  int64 // bytes a second; 0: no limit
	begun time.Time
	bytes int64 // since begun
}

// wait lets others have the disk after n bytes, as long as it takes to keep the
// rate. It ends with ctx, which it looks at in any case.
func (p *pace) wait(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil || p.rate <= 0 {
		return err
	}
	now := time.Now()
	// What was not used for a second cannot be made up for: it would be a burst.
	if due := p.due(); p.begun.IsZero() || now.Sub(due) > time.Second {
		p.begun, p.bytes = now, 0
	}
	p.bytes += n
	d := p.due().Sub(now)
	if d < time.Millisecond {
		return nil // with what follows
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// due is the time by which the bytes may have been moved.
func (p *pace) due() time.Time {
	return p.begun.Add(time.Duration(float64(p.bytes) / float64(p.rate) * float64(time.Second)))
}
