package log

import "context"

// Configure gives an open log another configuration, for what is appended,
// rolled and flushed from now on. The active segment keeps its indexes' settings
// until it is rolled, and does not become larger than it was to be.
//
// The high watermark never goes back: before it becomes the durable end, having
// been something higher, everything is synced; when a wrapper takes it over, it
// starts where it is. An error is that of the sync, which has failed the log.
//
// A log that is closed, failed or damaged is left as it is: it appends nothing,
// and opening it again brings its configuration.
func (l *Log) Configure(c Config) error {
	c.setDefaults()
	was := l.cfg()
	c.Topic, c.Partition, c.TopicID = was.Topic, was.Partition, was.TopicID
	c.ProducerExpiration = was.ProducerExpiration
	lowers := !was.watermarkIsDurable() && c.watermarkIsDurable()
	if lowers && l.refusing() == nil {
		// The most of it while appends go on.
		if err := l.waitDurable(context.Background(), l.end.Load()); err != nil {
			return err
		}
	}
	l.writing.Lock()
	defer l.unlock()
	if l.refusing() != nil {
		return nil
	}
	if lowers && l.durable.Load() < l.end.Load() {
		if err := l.quiet(); err != nil { // it tells no Observer, who may want the lock
			return err
		}
		l.endQuiet()
	}
	if was.ExternalEpochs && !c.ExternalEpochs {
		if err := l.ownEpochs(); err != nil {
			return err
		}
	}
	l.resize(&c)
	l.replace(&c)
	l.watermarkMoved()
	l.rearm(was)
	return nil
}

// watermarkIsDurable tells whether the high watermark is the durable end.
func (c *Config) watermarkIsDurable() bool {
	return !c.ExternalWatermark && c.Durability != Written
}

// replace swaps the configuration while neither end of the log moves: writing is
// held, which keeps the log end where it is.
func (l *Log) replace(c *Config) {
	l.sync.Lock() // and this the durable end
	defer l.sync.Unlock()
	if c.ExternalWatermark && !l.cfg().ExternalWatermark {
		l.external.Store(l.HighWatermark())
	}
	l.config.Store(c)
	l.marks.store(markWatermark, l.HighWatermark())
}

// resize is for the segments to come, and as far as possible for the active one.
// What was prepared under the old settings is discarded. writing is held.
func (l *Log) resize(c *Config) {
	l.ahead.making.Lock() // the helper reads scfg without writing
	defer l.ahead.making.Unlock()
	to := l.scfg
	to.Bytes, to.IndexBytes, to.IndexInterval, to.Synced = c.SegmentBytes, c.IndexBytes, c.IndexInterval, c.Durability == Synced
	if to == l.scfg {
		return
	}
	if p := l.ahead.take(); p != nil {
		p.Discard()
	}
	if to.Bytes != l.scfg.Bytes {
		l.w.active.Resize(to.Bytes)
	}
	l.scfg = to
}

// ownEpochs takes leader epochs back from a wrapper: appends go on under the
// newest, and if there never was one the first begins. writing is held.
func (l *Log) ownEpochs() error {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if _, ok := l.epochs.Latest(); !ok {
		l.epochs.Assign(0, l.end.Load())
		if err := l.writeEpochs(); err != nil {
			l.epochs.TruncateFromEnd(0)
			return spaceError(err)
		}
	}
	latest, _ := l.epochs.Latest()
	l.w.epoch = latest.Epoch
	return nil
}

// rearm makes the flush timer and the sealing follow a new configuration.
// writing is held.
func (l *Log) rearm(was *Config) {
	c := l.cfg()
	if c.FlushInterval < 0 || c.Durability == Synced {
		l.seals.start(l) // nothing else might come by
	}
	if c.FlushInterval >= 0 && l.w.armed && c.FlushInterval != was.FlushInterval {
		l.flush.Reset(c.FlushInterval)
	} else if l.durable.Load() < l.end.Load() {
		l.armFlush()
	}
}
