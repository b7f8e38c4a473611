package log

import "github.com/leatlog/leat/segment"

// Floor keeps what somebody has yet to read from being deleted for its age or for
// the room it takes. The zero value keeps nothing.
type Floor struct {
	On     bool
	Offset int64 // a segment that holds a record at it or above stays
	// Bytes is the most that may be kept so: of what would go otherwise, and is more
	// than this, the oldest goes all the same. Negative: no limit.
	Bytes int64
	Group string // whose floor it is, to be told
}

// limit is how many of the first n segments may go, all of which would without the
// floor, and how many of these the floor would keep if it had no limit. next is the
// offset behind a segment.
func (f *Floor) limit(segs []*segment.Segment, n int, next func(int) int64) (allowed, forced int) {
	if !f.On {
		return n, 0
	}
	for allowed < n && next(allowed) <= f.Offset {
		allowed++
	}
	if f.Bytes < 0 {
		return allowed, 0
	}
	held := int64(0)
	for _, s := range segs[allowed:n] {
		held += s.Size()
	}
	below := allowed
	for allowed < n && held > f.Bytes {
		held -= segs[allowed].Size()
		allowed++
	}
	return allowed, allowed - below
}

// forced tells that records went that the floor would have kept but for its limit:
// those from the offset from on.
func (l *Log) forced(f *Floor, from, to int64) {
	l.env.logger.Warn("records deleted that a group has not committed: it held more than it may", "partition", l.name(),
		"group", f.Group, "from", max(from, f.Offset), "to", to, "limit", f.Bytes)
}
