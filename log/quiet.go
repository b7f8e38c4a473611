package log

// quiet ends what works on the log behind its writer's back, and keeps it away
// until endQuiet: the sync under way, and the sealing. Everything appended is
// durable then: what a truncation leaves is not to be less so than it was, and
// whoever waits for it is told. writing is held. Readers go on.
//
// An error has failed the log.
func (l *Log) quiet() error {
	l.sync.acquire()
	l.seals.wait()
	end := l.end.Load()
	err := l.syncData()
	if err != nil {
		err = l.fail(err)
	} else {
		err = l.refusing() // what was being sealed may have failed
	}
	if err != nil {
		l.endQuietWith(err)
		return err
	}
	l.advance(end)
	return nil
}

// endQuiet lets the log's helpers back in. Whoever waits for a sync wanted to
// have durable what was appended before quiet, which synced it.
func (l *Log) endQuiet() { l.endQuietWith(nil) }

// endQuietWith is endQuiet with what the sync of quiet came to. Who fails the log
// meanwhile wakes the waiters too, but perhaps later.
func (l *Log) endQuietWith(err error) {
	s := &l.sync
	s.Lock()
	wake := s.waiters
	s.waiters = nil
	l.becomeIdle()
	s.Unlock()
	for _, w := range wake {
		w.done <- err
	}
}
