package log

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/leatlog/leat/segment"
)

// list is a log's segments in order of their base offsets: never empty, never
// changed, replaced whole. Readers keep the one they have as long as they like.
type list struct {
	segs  []*segment.Segment
	bases []int64 // of segs, together, so that a search stays in few cache lines

	// latest[i] is the largest timestamp in segs[:i+1] without the last segment,
	// made at the first lookup by time.
	latest atomic.Pointer[[]int64]

	// quiet is a run of sealed segments that are known to have no aborted
	// transaction, so that not every fetch asks each of them; nil: none known.
	quiet atomic.Pointer[span]
}

// span is a run of segments, by index: from <= i < to.
type span struct{ from, to int }

func newList(segs []*segment.Segment) *list {
	l := &list{segs: segs, bases: make([]int64, len(segs))}
	for i, s := range segs {
		l.bases[i] = s.Base()
	}
	return l
}

// with is the list and one more segment behind it.
func (l *list) with(s *segment.Segment) *list {
	n := newList(append(slices.Clip(l.segs), s))
	n.quiet.Store(l.quiet.Load()) // of segments that are in both, at the same place
	return n
}

// from is the list without its first n segments. It costs the same for any n.
func (l *list) from(n int) *list { return &list{segs: l.segs[n:], bases: l.bases[n:]} }

// find is the index of the segment that an offset belongs to: the last one whose
// base is not above it; -1 when all are.
func (l *list) find(offset int64) int {
	return sort.Search(len(l.bases), func(i int) bool { return l.bases[i] > offset }) - 1
}

// active is the last segment.
func (l *list) active() *segment.Segment { return l.segs[len(l.segs)-1] }

// firstSince is the index of the first segment that has a timestamp of at least
// ms; that of the last segment when no other has.
func (l *list) firstSince(ms int64, buf *segment.Buffer) (int, error) {
	t := l.latest.Load()
	if t == nil {
		made, err := l.makeLatest(buf)
		if err != nil {
			return 0, err
		}
		t = &made
		l.latest.Store(t)
	}
	return sort.Search(len(*t), func(i int) bool { return (*t)[i] >= ms }), nil
}

func (l *list) makeLatest(buf *segment.Buffer) ([]int64, error) {
	sealed := l.segs[:len(l.segs)-1]
	t := make([]int64, len(sealed))
	last := int64(-1)
	for i, s := range sealed {
		ms, err := s.LargestTimestamp(buf)
		if err != nil {
			return nil, err
		}
		last = max(last, ms)
		t[i] = last
	}
	return t, nil
}
