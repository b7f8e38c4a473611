package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Collected are the indexes of a log file that is written by other means than a
// segment's: those that recovery would make of it.
type Collected struct {
	s *Segment
	w *writer
	n int64
}

// Collect begins the indexes of a log file of the given base.
func Collect(base int64, c Config) *Collected {
	s := &Segment{base: base, cfg: c}
	return &Collected{s: s, w: s.newWriter(nil, 0)}
}

// Add takes in the batches that come next in the file. After an error that is
// ErrInvalidOffset or ErrOffsetOverflow nothing of them is taken in.
func (c *Collected) Add(run []Placed) error {
	next := c.w.next
	for _, b := range run {
		switch {
		case b.LastOffset < next:
			return fmt.Errorf("segment %d: batch up to offset %d where %d is next: %w", c.s.base, b.LastOffset, next, ErrInvalidOffset)
		case b.LastOffset-c.s.base > maxRelative:
			return fmt.Errorf("segment %d: batch at offset %d: %w", c.s.base, b.LastOffset, ErrOffsetOverflow)
		}
		next = b.LastOffset + 1
	}
	for _, b := range run {
		if err := c.w.note(b.Entry, c.n, int64(b.Size)); err != nil {
			return err
		}
		c.n += int64(b.Size)
	}
	c.w.next = next
	return nil
}

// Aborted adds an entry to the transaction index.
func (c *Collected) Aborted(t index.AbortedTxn) error { return c.w.txns.Append(t) }

// Finish gives what belongs into the index files; nothing can be added then.
func (c *Collected) Finish() (offsets index.Offsets, times index.Times, txns index.Txns, err error) {
	err = c.w.times.MaybeAppend(c.w.maxTime, c.w.maxTimeAt, true)
	return c.w.offsets.View(), c.w.times.View(), c.w.txns.View(), err
}

// Retire closes the segment before other files get its names. When it returns no
// reader mends its indexes any more, and none that has not pinned it finds it.
func (s *Segment) Retire() error {
	s.mending.Lock()
	defer s.mending.Unlock()
	return s.Close()
}

// Expect says which file the segment's log file is: that of a listing in which the
// segment was found. Another one of its name is taken for a file that is not there.
// It comes before any use of the segment.
func (s *Segment) Expect(id vfs.FileID) *Segment {
	if id != (vfs.FileID{}) {
		s.id = &id
	}
	return s
}

// Expected is what Expect was told.
func (s *Segment) Expected() (id vfs.FileID) {
	if s.id != nil {
		id = *s.id
	}
	return id
}

// expected tells whether an open log file is the one.
func (s *Segment) expected(f vfs.File) error {
	if s.id == nil {
		return nil
	}
	_, err := s.checkFile(f, *s.id, 0)
	return err
}

// replaced is the error for a log file that is another one. Where somebody else
// writes the folder the one that was looked for is gone.
func (s *Segment) replaced() error {
	if s.cfg.ReadOnly {
		return s.corrupt(0, s.base, fmt.Errorf("the file was replaced by another: %w", fs.ErrNotExist))
	}
	return s.corrupt(0, s.base, errors.New("the file was replaced by another"))
}
