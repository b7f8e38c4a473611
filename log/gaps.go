package log

import (
	"errors"
	"fmt"
	"math"

	"github.com/leatlog/leat/segment"
)

// Missing offsets. What this log appends itself has none, and one that is missing
// is damage. A leader that has been compacted, or was a follower of such a one,
// sends batches with gaps between them: then nothing can be told from offsets any
// more, and segments.sum says from where on, before the first gap is published.

// allowGaps makes the log one that may have gaps behind end. writing is held.
func (l *Log) allowGaps(end int64) error {
	if l.gapsFrom.Load() <= end {
		return nil
	}
	l.sums.Lock()
	defer l.sums.Unlock()
	was := l.sums.Sums
	l.sums.Sparse, l.sums.Gaps = true, end
	if err := l.sums.rewrite(l); err != nil {
		l.sums.Sparse, l.sums.Gaps = was.Sparse, was.Gaps
		return err
	}
	l.gapsFrom.Store(end)
	return nil
}

// gapsFrom is the offset from which on some may be missing; noOffset when none may.
func (s *Sums) gapsFrom() int64 {
	if s.Sparse {
		return s.Gaps
	}
	return noOffset
}

// roomFor is room for a call. Segments follow each other without a gap, also
// where batches do not: a new one begins at the log's end, and the gap lies in
// it. So recovery may take a gap between two for what was lost. Only where a gap
// is longer than a segment's 31 bits does it lie between two.
func (l *Log) roomFor(c *rawCall, end, first, last int64) (*segment.Segment, error) {
	if last-first > math.MaxInt32 {
		return nil, fmt.Errorf("%w: offsets %d to %d in one call, and a segment has 2^31", ErrRecordTooLarge, first, last)
	}
	if c.bytes > l.cfg().SegmentBytes {
		return nil, fmt.Errorf("%w: %d bytes in one call, in segments of %d (segment.bytes)", ErrRecordTooLarge, c.bytes, l.cfg().SegmentBytes)
	}
	if last-end <= math.MaxInt32 || last-l.w.active.Base() <= math.MaxInt32 {
		seg, _, err := l.room(end, last, int(c.bytes), c.latest, nil)
		return seg, err
	}
	return l.rollFar(first)
}

// rollFar begins a segment that does not follow the last one. That is finished
// before, so that whatever crashes now finds it whole: the gap behind it is the
// only one that recovery believes.
func (l *Log) rollFar(base int64) (_ *segment.Segment, err error) {
	if err := l.allowGaps(l.end.Load()); err != nil {
		return nil, spaceError(err)
	}
	old := l.w.active
	if err := l.rouse(old); err != nil {
		return nil, err
	}
	l.seals.waitBacklog()
	begin := l.obs.now()
	defer func() { l.rolled(old, base, begin, err) }()
	next, err := l.nextSegment(base)
	if err != nil {
		return nil, spaceError(err)
	}
	j := &sealing{seg: old, next: base, snapshot: l.encodeSnapshot()}
	if err := errors.Join(old.Inactivate(), l.sealFar(j)); err != nil {
		return nil, errors.Join(l.fail(err), next.Close())
	}
	l.install(next)
	return next, nil
}

// sealFar is seal for a segment that those before it are perhaps not sealed yet:
// it says nothing of what is durable.
func (l *Log) sealFar(j *sealing) error {
	if err := l.finishSegment(j); err != nil {
		return err
	}
	l.sums.Lock()
	defer l.sums.Unlock()
	return l.sums.rewrite(l)
}
