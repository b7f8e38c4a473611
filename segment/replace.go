package segment

import (
	"fmt"

	"github.com/leatlog/leat/index"
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
