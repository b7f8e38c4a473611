package log

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/leatlog/leat/segment"
)

// A follower beside a cleaning. What it has open of an old segment it may read to
// its end. Its segments are those of one listing, file by file: one that has got
// another file since counts as missing, and then it begins again.
//
// A listing is not made at one moment. One in which an old segment stands beside
// those that its successor has taken the place of would show records twice, and
// one that lacks segments whose successor it has not seen would leave some out. The
// order of a replacement (see there) makes the first tell itself by the lines of
// segments.sum, which are there from before the new file has its name to after the
// last old one is gone; and the second by looking again.

// standing leaves out of a listing what is on its way out. The sums were read
// after it.
func (f *follower) standing(list []listedFile) ([]listedFile, error) {
	l := f.l
	w := l.sums.Swap
	if len(list) == 0 || w == nil && l.sums.Dense <= list[0].base {
		return list, nil // nothing was ever replaced
	}
	i := slices.IndexFunc(list, func(e listedFile) bool { return w != nil && e.base == w.From })
	if i >= 0 {
		done, err := f.inPlace(w, list[i])
		if err != nil {
			return nil, err
		}
		if done {
			l.sums.Lock()
			l.sums.settle(w)
			l.sums.Unlock()
			list = slices.DeleteFunc(list, func(e listedFile) bool { return w.From < e.base && e.base < w.To })
		}
	}
	now, err := l.listSegments()
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		at := slices.IndexFunc(now, func(n listedFile) bool { return n.base == e.base && n.id == e.id })
		if at < 0 {
			return nil, fmt.Errorf("%s: %w", l.env.fsys.Path(segment.Join(l.dir, segment.FileName(e.base, segment.LogSuffix))), fs.ErrNotExist)
		}
		now = now[at+1:]
	}
	return list, nil
}

// inPlace tells whether a file of the listing is the new one of a swap. Its size
// tells, unless the old one had the same.
func (f *follower) inPlace(w *Swap, file listedFile) (bool, error) {
	want, ok := w.of(segment.LogSuffix)
	if !ok || file.size != want.Size {
		return false, nil
	}
	if old, ok := f.l.sums.of(w.From, segment.LogSuffix); ok && old.Size != want.Size {
		return true, nil
	}
	return f.l.holds(w, segment.LogSuffix)
}
