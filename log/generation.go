package log

import (
	"errors"
	"sort"
	"sync"

	"github.com/leatlog/leat/segment"
)

// ErrTruncated is a cursor's answer when records were taken back since it was
// made: what its user knows of the log's ends and of aborted transactions may be
// wrong. Cursor.Truncated tells whether the position is.
var ErrTruncated = errors.New("leat: the log was truncated")

// takenBack remembers how far back the truncations of each generation went, so
// that a reader that was not looking can tell whether it has read what is no more.
// Leader epochs cannot tell it of a log whose epochs are a wrapper's, nor of a
// position at which nothing has been read yet.
type takenBack struct {
	sync.Mutex
	// list rises in both: a truncation makes those forgotten that left more.
	list []truncatedAt
}

type truncatedAt struct{ generation, end int64 }

// maxTakenBack bounds the list. Beyond it the oldest are taken for one, which
// can only send a reader away without need.
const maxTakenBack = 64

func (t *takenBack) add(generation, end int64) {
	t.Lock()
	defer t.Unlock()
	n := len(t.list)
	for n > 0 && t.list[n-1].end >= end {
		n--
	}
	t.list = append(t.list[:n], truncatedAt{generation, end})
	if len(t.list) > maxTakenBack {
		t.list[1].end = t.list[0].end
		t.list = append(t.list[:0], t.list[1:]...)
	}
}

// since is the least offset at which the log has ended in a generation after the
// given one.
func (t *takenBack) since(generation int64) (end int64, ok bool) {
	t.Lock()
	defer t.Unlock()
	i := sort.Search(len(t.list), func(i int) bool { return t.list[i].generation > generation })
	if i == len(t.list) {
		return 0, false
	}
	return t.list[i].end, true
}

// Generation changes when published records may have been taken back. Who
// loads it, then what it needs, and finds it unchanged has seen one log.
func (l *Log) Generation() int64 { return l.generation.Load() }

// nextGeneration tells readers that the log has ended at end. What they look at
// then, the ends and the transactions, is in place already, and the segments that
// go have been closed: who begins in the new generation finds none of the old.
func (l *Log) nextGeneration(end int64) {
	g := l.generation.Load() + 1
	l.truncated.add(g, end)
	l.generation.Store(g)
	l.marks.store(markGeneration, g)
}

// Truncated is to be asked after ErrTruncated, before anything else of the log.
// It is nil when nothing at or before the cursor's position was taken back: Next
// goes on there. Otherwise it is an *OffsetError, once: the records from its End
// on are gone, and Next gives what has come in their place.
func (c *Cursor) Truncated() error {
	c.drop()
	l := c.l
	now := l.generation.Load()
	end, ok := l.truncated.since(c.generation)
	c.generation = now
	if !ok || c.offset <= end {
		return nil
	}
	return &OffsetError{Topic: l.cfg().Topic, Partition: l.cfg().Partition, Offset: c.offset, Start: l.start.Load(), End: end}
}

// Stale reports that Next would return ErrTruncated.
func (c *Cursor) Stale() bool { return c.generation != c.l.generation.Load() }

// unlessStale is err, unless it may come of a truncation meanwhile.
func (c *Cursor) unlessStale(err error) error {
	if err == nil || err == ErrWait {
		return err
	}
	if !c.Stale() {
		c.l.doubt(err)
	}
	if c.Stale() {
		return ErrTruncated
	}
	return err
}

// doubt waits for the end of a truncation that may be under way, if err is such
// as one can show between the moment at which it moves the log's ends and that at
// which it tells of it: what looks like damage then is none.
func (l *Log) doubt(err error) {
	if errors.Is(err, segment.ErrCorrupt) && l.follow == nil {
		l.writing.Lock()
		l.unlock()
	}
}
