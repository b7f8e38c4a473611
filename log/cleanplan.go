package log

import (
	"errors"
	"io"
	"io/fs"
	"math"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// Dirty is what a cleaning would find.
type Dirty struct {
	// From..To is what a cleaning would take: From is the first dirty offset, To
	// the first uncleanable one, which is the base of a segment unless it is From.
	From, To int64
	// CleanBytes are in the segments that begin below From, DirtyBytes in those
	// that hold From..To. A segment in which From lies counts in both, as in Kafka.
	CleanBytes, DirtyBytes int64
	Overdue                bool // a dirty segment has waited longer than MaxLag
}

// Ratio is the dirty part of what can be cleaned; 0 when there is nothing
// [cleanable ratio].
func (d Dirty) Ratio() float64 {
	if d.CleanBytes+d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// Dirty tells what a cleaning would take (Kafka's LogCleanerManager, KAFKA_RULES
// 4.7). It reads indexes and headers of segments at most.
func (l *Log) Dirty(o CleanOptions) (Dirty, error) {
	for {
		list := l.segments.Load()
		d, err := l.dirty(list, o)
		switch {
		case l.closed.Load():
			return Dirty{}, ErrClosed
		case err != nil && l.segments.Load() != list:
			continue // it came upon a segment on its way out
		}
		return d, l.Corrupt(err)
	}
}

func (l *Log) dirty(list *list, o CleanOptions) (Dirty, error) {
	d := Dirty{From: o.From}
	if start := l.start.Load(); d.From < start || d.From > l.end.Load() {
		d.From = start
	}
	active := list.active().Base()
	var buf segment.Buffer
	to := min(l.LastStableOffset(), active)
	first := max(list.find(d.From), 0) // the dirty segments are those from here on
	if o.MinLag > 0 {
		youngest := o.Now.UnixMilli() - o.MinLag.Milliseconds()
		for i := first; i < len(list.segs)-1 && list.bases[i] < to; i++ {
			ms, err := l.largestTimestamp(list.segs[i], &buf)
			if err != nil {
				return Dirty{}, err
			}
			if ms > youngest {
				to = list.bases[i]
			}
		}
	}
	if i := list.find(to); i >= 0 {
		to = list.bases[i]
	}
	d.To = max(d.From, to)
	oldest := int64(math.MaxInt64)
	for i, s := range list.segs[:len(list.segs)-1] {
		if s.Base() < d.From {
			d.CleanBytes += s.Size()
		}
		if i < first || d.From >= to {
			continue
		}
		if s.Base() < d.To {
			d.DirtyBytes += s.Size()
		}
		if o.MaxLag >= 0 {
			ms, err := firstTimestamp(s, &buf)
			if err != nil {
				return Dirty{}, err
			}
			if ms > 0 {
				oldest = min(oldest, ms)
			}
		}
	}
	d.Overdue = o.MaxLag >= 0 && d.DirtyBytes > 0 && oldest < o.Now.UnixMilli()-o.MaxLag.Milliseconds()
	return d, nil
}

// firstTimestamp is the max timestamp of a segment's first batch, -1 when it has
// none.
func firstTimestamp(s *segment.Segment, buf *segment.Buffer) (ms int64, err error) {
	if err := s.Pin(); err != nil {
		return -1, err
	}
	defer s.Unpin()
	defer vfs.Recover(s.PinnedPath(), s.Data(), &err, vfs.SetFault())
	b, err := s.BatchAt(0, s.Base(), buf)
	switch {
	case err == io.EOF:
		return -1, nil
	case err != nil:
		return -1, err
	}
	return b.MaxTimestamp(), nil
}

// cleanGroup is the first group of segments, from the one at index i on, that are
// cleaned into one (Kafka's groupSegmentsBySize): as many as fit segment.bytes,
// the indexes and relative offsets, of those that begin below end. uncleanable
// bounds the offsets of the last.
func (l *Log) cleanGroup(list *list, i int, end, uncleanable int64) ([]*segment.Segment, error) {
	c := l.cfg()
	first := list.segs[i]
	size := first.Size()
	offsets, times, err := l.indexSizes(first)
	if err != nil {
		return nil, err
	}
	n := i + 1
	for ; n < len(list.segs)-1 && list.bases[n] < end; n++ {
		s := list.segs[n]
		o, t, err := l.indexSizes(s)
		if err != nil {
			return nil, err
		}
		last := uncleanable - 1
		if n+1 < len(list.segs)-1 && list.bases[n+1] < end {
			last = list.bases[n+1] - 1
		}
		size, offsets, times = size+s.Size(), offsets+o, times+t
		if size > c.SegmentBytes || offsets > int64(c.IndexBytes) || times > int64(c.IndexBytes) ||
			s.Size() > 0 && last-first.Base() > math.MaxInt32 {
			break
		}
	}
	return list.segs[i:n], nil
}

// indexSizes are the sizes of a sealed segment's offset and time index.
func (l *Log) indexSizes(s *segment.Segment) (offsets, times int64, err error) {
	size := func(suffix string) int64 {
		info, err2 := l.env.fsys.Stat(segment.Join(l.dir, segment.FileName(s.Base(), suffix)))
		if err2 != nil && !errors.Is(err2, fs.ErrNotExist) { // it is made anew when it is needed
			err = err2
		}
		return info.Size
	}
	return size(segment.IndexSuffix), size(segment.TimeSuffix), err
}
