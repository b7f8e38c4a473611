package segment

import "fmt"

// Placed is one of the batches of a CommitRun.
type Placed struct {
	Size int
	Entry
}

// CommitRun is Commit for several batches, which lie one behind the other at the
// beginning of what Reserve returned: all of them become part of the segment, or
// none.
func (s *Segment) CommitRun(run []Placed) error {
	w := s.mu.writer
	pos := s.size.Load()
	next, end := w.next, pos
	for _, b := range run {
		switch {
		case b.LastOffset < next:
			return fmt.Errorf("%s: batch up to offset %d where %d is next: %w", w.path, b.LastOffset, next, ErrInvalidOffset)
		case b.LastOffset-s.base > maxRelative:
			return fmt.Errorf("%s: batch at offset %d: %w", w.path, b.LastOffset, ErrOffsetOverflow)
		}
		next = b.LastOffset + 1
		end += int64(b.Size)
	}
	if w.data == nil {
		if err := w.writeAt(w.buf[:end-pos], pos); err != nil {
			return err
		}
	}
	s.size.Store(end) // before the index entries, as in Commit
	for _, b := range run {
		if err := w.note(b.Entry, pos, int64(b.Size)); err != nil {
			return err
		}
		pos += int64(b.Size)
	}
	w.next = next
	if w.maxTime != s.maxTime.Load() {
		s.maxTime.Store(w.maxTime)
	}
	return nil
}
