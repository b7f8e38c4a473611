package log

import (
	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// Lag is what lies between an offset and the end of what can be seen.
type Lag struct {
	Records int64 // offsets
	Bytes   int64 // of batches, the one that holds the offset included
	// Oldest is the timestamp of the first of them, in milliseconds: that of the
	// first record of its batch. -1: there is none, or it has no time.
	Oldest int64
}

// Lag measures what a reader of the given isolation has before it at an offset.
// From below the log's start it is what there is from there, and at or beyond the
// end it is nothing. It looks two positions up, by index and near it, and adds the
// sizes of the segments between them: no batch is read.
//
// With an error Records holds all the same.
func (l *Log) Lag(offset int64, committed bool) (Lag, error) {
	for try := 0; ; try++ {
		end := l.Visible(committed) // and brings one that is followed up to date
		if l.closed.Load() {
			return Lag{Oldest: -1}, ErrClosed
		}
		run, list := l.followRun(), l.segments.Load()
		from := max(offset, l.start.Load())
		if from >= end {
			return Lag{Oldest: -1}, nil
		}
		g := Lag{Records: end - from, Oldest: -1}
		err := l.lagIn(list, from, end, &g)
		if err != nil {
			again, err2 := l.vanished(list, err)
			if again {
				continue
			}
			err = err2
		}
		if !l.follow.again(run, err, try) {
			if g.Bytes == 0 {
				g.Oldest = -1 // what was found lies behind the end
			}
			return g, l.Corrupt(l.follow.meant(err))
		}
	}
}

// lagIn finds the bytes, and how old they are.
func (l *Log) lagIn(list *list, from, end int64, g *Lag) error {
	var buf segment.Buffer
	bytes := int64(0)
	i := max(list.find(from), 0)
	for ; i < len(list.segs); i++ {
		pos, oldest, err := l.head(list.segs[i], from, &buf)
		if err != nil {
			return err
		}
		if pos < list.segs[i].Size() {
			bytes, g.Oldest = -pos, oldest
			break
		}
	}
	for ; i < len(list.segs); i++ {
		last := i == len(list.segs)-1 || list.bases[i+1] >= end
		if last && end < l.end.Load() {
			pos, _, err := l.head(list.segs[i], end, &buf)
			if err != nil {
				return err
			}
			g.Bytes = max(bytes+pos, 0)
			return nil
		}
		bytes += list.segs[i].Size()
		if last {
			break
		}
	}
	g.Bytes = max(bytes, 0)
	return nil
}

// head is where the batch is that holds an offset, or the first behind it, and
// what time it is from.
func (l *Log) head(s *segment.Segment, offset int64, buf *segment.Buffer) (pos, ms int64, err error) {
	if s.Size() == 0 {
		return 0, -1, nil // of a log that is followed, it may not be there yet
	}
	if err := s.Pin(); err != nil {
		return 0, -1, err
	}
	defer s.Unpin()
	pos, h, err := s.Head(offset, buf)
	if err != nil || h == nil {
		return pos, -1, l.faultAt(s, offset, err)
	}
	return pos, firstTime(h), nil
}

// firstTime is the time of a batch's first record. The log's own time stands for
// all of them, and what a cleaning has put in place of the first one's is none.
func firstTime(h codec.Batch) int64 {
	if h.TimestampType() == codec.LogAppendTime || h.HasDeleteHorizon() {
		return h.MaxTimestamp()
	}
	return h.BaseTimestamp()
}
