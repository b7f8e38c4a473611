package log

// HighWatermark is the offset below which records are as durable as the topic
// demands, or the one that a wrapper has set.
func (l *Log) HighWatermark() int64 {
	// The ends come before the configuration: should that be replaced in between,
	// they are no higher than what it was replaced at, and nobody sees the
	// watermark go back.
	end, durable := l.end.Load(), l.durable.Load()
	switch c := l.cfg(); {
	case c.ExternalWatermark:
		return l.external.Load()
	case c.Durability == Written:
		return end
	}
	return durable
}

// SetHighWatermark moves the high watermark of a log with ExternalWatermark. It
// never goes back: an offset below it changes nothing. Beyond the log end is an
// *OffsetError.
func (l *Log) SetHighWatermark(offset int64) error {
	if l.closed.Load() {
		return ErrClosed
	}
	l.sync.Lock() // a truncation lowers both
	end, was := l.end.Load(), l.external.Load()
	if was < offset && offset <= end {
		l.external.Store(offset)
		l.marks.store(markWatermark, offset)
	}
	l.sync.Unlock()
	if offset > end {
		return l.beyondEnd(offset)
	}
	if offset > was {
		l.watermarkMoved()
	}
	return nil
}

// beyondEnd is the error for an offset that is not between the log's start and
// end.
func (l *Log) beyondEnd(offset int64) error {
	return &OffsetError{Topic: l.cfg().Topic, Partition: l.cfg().Partition, Offset: offset, Start: l.start.Load(), End: l.end.Load()}
}

// watermarkMoved is called after the high watermark has risen. It costs two loads
// when nobody waits and no transaction has just ended.
func (l *Log) watermarkMoved() {
	if l.deciding.Load() {
		l.stateMu.Lock()
		l.producers.OnHighWatermark(l.HighWatermark())
		l.setUnstable()
		l.stateMu.Unlock()
	}
	l.tail.notify(l)
}

// setUnstable publishes what the producer state says of transactions. stateMu is
// held, but at open.
func (l *Log) setUnstable() {
	first, ok := l.producers.FirstUnstable()
	if !ok {
		first = noOffset
	}
	l.unstable.Store(first)
	l.deciding.Store(l.producers.Deciding())
}
