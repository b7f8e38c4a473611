package segment

import (
	"errors"
	"fmt"

	"github.com/leatlog/leat/internal/vfs"
)

// Space is allocated in steps that double, so that ten thousand small topics do
// not take ten thousand gigabytes, and a large one is not asked for often.
const (
	firstStep = 64 << 10
	lastStep  = 64 << 20
)

// grow allocates blocks up to at least end. More is asked for than is needed,
// and where the disk has not that much, just what is needed.
func (w *writer) grow(end int64) error {
	w.growing.Lock()
	defer w.growing.Unlock()
	have := w.allocated.Load()
	if have >= end {
		return nil
	}
	if end > w.limit || w.done {
		return ErrFull
	}
	want := min(max(have+w.step, end), w.limit)
	want = max(have+w.clip(want-have), end)
	err := w.file.Allocate(have, want-have)
	if errors.Is(err, vfs.ErrNoSpace) && want > end {
		want = end
		err = w.file.Allocate(have, want-have)
	}
	if err != nil {
		return fmt.Errorf("%s: allocate %d bytes at %d: %w", w.path, want-have, have, err)
	}
	w.step = min(2*w.step, lastStep)
	w.allocated.Store(want)
	return nil
}

// clip is how much of n bytes may be allocated that are not needed yet.
func (w *writer) clip(n int64) int64 {
	if c, ok := w.file.(vfs.Clipper); ok {
		return c.Clip(n)
	}
	return n
}

func (w *writer) setAllocated(n int64) {
	w.growing.Lock()
	w.allocated.Store(n)
	w.growing.Unlock()
}

// Prepare makes the road ahead: blocks for the next ahead bytes and, for a
// mapped segment, their pages faulted in. It is called by a helper while the
// writer goes on, and is a hint: failures are left for the writer to meet. It
// reports whether there is one.
func (s *Segment) Prepare(ahead int64) bool {
	w := s.active()
	if w == nil {
		return false
	}
	w.preparing.Lock()
	defer w.preparing.Unlock()
	if w.m == nil {
		return true
	}
	pos := s.size.Load()
	end := min(pos+w.clip(ahead), w.limit)
	if end > w.allocated.Load() && w.grow(end) != nil {
		return true
	}
	if from := max(w.populated.Load(), pos); from < end {
		// Before, so that nobody takes the pages for clean meanwhile, and after, for
		// the sync that came in between.
		w.touched.Store(true)
		_ = w.m.Populate(int(from), int(end-from), true)
		w.touched.Store(true)
		w.populated.Store(end)
	}
	return true
}

// Prepared is how far ahead of the tail the road is made, in bytes.
func (s *Segment) Prepared() int64 { return s.mu.writer.populated.Load() - s.size.Load() }
