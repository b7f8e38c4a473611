package leat

import "github.com/leatlog/leat/log"

// standing is the committed offset, or where what was read before it ends now, if the
// log, which may be nil, was cut below it since: see resume.
func (c *committed) standing(l *log.Log) int64 {
	if l == nil || c.epoch < 0 {
		return c.offset
	}
	e, end := l.EndOffsetForEpoch(c.epoch)
	switch {
	case end >= 0:
		return min(c.offset, end)
	case e < 0 && l.LatestEpoch() >= 0:
		return min(c.offset, l.LogStartOffset())
	}
	return c.offset
}

// resume is the offset from which a group goes on, if the log still has what it
// has read there. The leader epoch that the commit has stored is asked for
// (KIP-320): one that ended below the offset, or that the log does not know, is
// that of records that were taken back, and behind the same offset are others.
// *OffsetError: that is so, and End is where the two part; or the offset lies below
// the log start offset, or beyond the high watermark.
func (s *Store) resume(tp log.TopicPartition, c committed) (int64, error) {
	t, err := s.Topic(tp.Topic)
	if err != nil {
		return -1, err
	}
	if !t.has(tp.Partition) {
		return -1, unknownPartition(tp.Topic, tp.Partition)
	}
	p := t.handle(tp.Partition)
	l, err := p.use()
	if err != nil {
		return -1, err
	}
	start, end := l.LogStartOffset(), l.HighWatermark()
	if c.epoch >= 0 && c.offset > start {
		e, ended := l.EndOffsetForEpoch(c.epoch)
		switch {
		case ended >= 0:
			end = min(end, ended)
		case e < 0 && !l.Followed(): // which may not know it yet
			end = start
		}
	}
	if c.offset < start || c.offset > end {
		return -1, &OffsetError{Topic: tp.Topic, Partition: tp.Partition, Offset: c.offset, Start: start, End: end}
	}
	return c.offset, nil
}
