package log

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// room gives the segment that a batch of the given offsets, bytes and latest
// timestamp goes to, rolling where Kafka would (LogSegment.shouldRoll), and how
// many bytes to reserve in it. n may be a bound: then groups are the records, to
// compute the size closely where that decides. writing is held.
func (l *Log) room(first, last int64, n int, latest int64, groups [][]Record) (*segment.Segment, int, error) {
	seg := l.w.active
	if err := l.rouse(seg); err != nil {
		return nil, 0, err
	}
	if int64(n) > seg.Room() && groups != nil {
		n = codec.HeaderSize
		count := 0
		for _, g := range groups {
			n += tightSize(g, count, groups[0][0].Timestamp)
			count += len(g)
		}
	}
	if int64(n) > l.cfg().SegmentBytes {
		return nil, 0, fmt.Errorf("%w: %d bytes in segments of %d (segment.bytes)", ErrRecordTooLarge, n, l.cfg().SegmentBytes)
	}
	if !l.mustRoll(seg, last, int64(n), latest) {
		return seg, n, nil
	}
	if err := l.roll(first); err != nil {
		return nil, 0, err
	}
	return l.w.active, n, nil
}

func (l *Log) mustRoll(seg *segment.Segment, last, n, latest int64) bool {
	switch {
	case n > seg.Room(),
		last-seg.Base() > math.MaxInt32,
		seg.IndexFull():
		return true
	case seg.Size() == 0 || l.cfg().SegmentAge < 0:
		return false
	}
	// The age of a segment is told by its records, and by the clock only when
	// they have no time.
	if t := seg.FirstTimestamp(); t >= 0 && latest >= 0 {
		return latest-t > l.cfg().SegmentAge.Milliseconds()
	}
	return time.Since(l.w.rolled) > l.cfg().SegmentAge
}

// roll seals the active segment and begins the next at base. Sealing goes on in
// the background: readers and the next append find everything in place. When the
// next cannot be made, for want of space or descriptors, nothing has changed, and
// the next append tries again.
func (l *Log) roll(base int64) (err error) {
	old := l.w.active
	if old.Base() == base {
		return l.replaceEmpty(old)
	}
	if err := l.rouse(old); err != nil {
		return err
	}
	l.seals.waitBacklog()
	begin := l.obs.now()
	defer func() { l.rolled(old, base, begin, err) }()
	next, err := l.nextSegment(base)
	if err != nil {
		return spaceError(err)
	}
	if err := old.Inactivate(); err != nil {
		return errors.Join(l.fail(err), next.Close())
	}
	l.seals.add(l, old, base) // before the swap: a sync finds it in one place or the other
	l.install(next)
	return nil
}

// install makes next the active segment and publishes it.
func (l *Log) install(next *segment.Segment) {
	l.segments.Store(l.segments.Load().with(next))
	l.w.active = next
	l.w.rolled = time.Now()
	l.ahead.reset()
	l.env.awake.add(l)
}

// replaceEmpty is for an empty active segment that must roll all the same,
// because its tiny index is full from the start: there is nothing to do that
// would help, so the index setting is at fault.
func (l *Log) replaceEmpty(old *segment.Segment) error {
	return fmt.Errorf("segment.index.bytes of %d leaves no room for an entry in %s", l.cfg().IndexBytes, old.Path())
}

// nextSegment takes the prepared segment, or makes one.
func (l *Log) nextSegment(base int64) (*segment.Segment, error) {
	if p := l.ahead.take(); p != nil {
		s, err := p.Become(base)
		if err == nil {
			return s, nil
		}
		p.Discard()
	}
	return segment.Create(l.env.fsys, l.env.maps, l.dir, base, l.scfg)
}
