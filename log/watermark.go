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
	for {
		was := l.external.Load()
		if offset > l.end.Load() {
			return l.outOfRange(offset)
		}
		if offset <= was {
			return nil
		}
		if l.external.CompareAndSwap(was, offset) {
			l.marks.store(markWatermark, offset)
			l.watermarkMoved()
			return nil
		}
	}
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
