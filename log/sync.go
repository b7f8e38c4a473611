package log

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/segment"
)

// syncer is the group commit of one log: at most one sync runs at a time, and
// all that arrive meanwhile share the next.
//
// The first to come syncs on its own goroutine, so an idle log adds nothing to
// the disk's time. If others have gathered when it is done, it hands them to a
// background goroutine, which goes on until nobody waits.
type syncer struct {
	sync.Mutex
	busy    atomic.Bool // stored with the mutex held
	waiters []*syncWaiter
	spare   []*syncWaiter
	// idle is closed when a busy syncer has become idle; made by who waits.
	idle chan struct{}
}

type syncWaiter struct {
	offset int64
	done   chan error

	// report is the sync that this waiter is to tell of, unless it has left.
	// Guarded by the syncer until done is told.
	report *Event
	left   bool
}

// Sync waits until all that was appended before it is on stable storage.
func (l *Log) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.closed.Load() {
		return ErrClosed
	}
	if err := l.refusing(); errors.Is(err, ErrFailed) {
		return err // also when what failed was not among what is to be synced
	}
	return l.waitDurable(ctx, l.end.Load())
}

// waitDurable returns when everything below offset, which was appended, is on
// stable storage. When ctx ends first the records may become durable all the
// same.
func (l *Log) waitDurable(ctx context.Context, offset int64) error {
	if l.durable.Load() >= offset {
		return nil
	}
	s := &l.sync
	s.Lock()
	if l.durable.Load() >= offset {
		s.Unlock()
		return nil
	}
	if err := l.refusing(); err != nil {
		s.Unlock()
		return err
	}
	if !s.busy.Load() {
		s.busy.Store(true)
		s.Unlock()
		return l.syncOnce(false)
	}
	w, ok := l.env.waiters.Get().(*syncWaiter)
	if !ok {
		w = &syncWaiter{done: make(chan error, 1)}
	}
	w.offset = offset
	s.waiters = append(s.waiters, w)
	s.Unlock()

	var err error
	if ctx.Done() == nil {
		err = <-w.done
	} else {
		select {
		case err = <-w.done:
		case <-ctx.Done():
			l.tellSync(s.leave(w))
			return ctx.Err() // w is left to the sync, and to the collector
		}
	}
	report := w.report
	w.report = nil
	l.env.waiters.Put(w)
	l.tellSync(report)
	return err
}

// leave ends the wait of w, and returns what it was given to tell.
func (s *syncer) leave(w *syncWaiter) *Event {
	s.Lock()
	defer s.Unlock()
	w.left = true
	return w.report
}

// addWaiters makes requests that were appended wait for the next sync, and sees
// to it that there is one. writing is held.
func (l *Log) addWaiters(rs []*request) {
	if len(rs) == 0 {
		return
	}
	s := &l.sync
	s.Lock()
	err := l.refusing()
	start := false
	if err == nil {
		for _, r := range rs {
			s.waiters = append(s.waiters, &r.wait)
		}
		if !s.busy.Load() {
			s.busy.Store(true)
			start = true
		}
	}
	s.Unlock()
	if err != nil {
		for _, r := range rs {
			r.wait.done <- err
		}
	}
	if start {
		l.env.Go(l.syncLoop)
	}
}

// syncOnce syncs what has been published so far and wakes those it covers. The
// caller has set busy; it is cleared, or passed on to a background goroutine
// when others wait. background says that the caller is that goroutine: then it
// returns with busy still set, unless nobody waits.
func (l *Log) syncOnce(background bool) error {
	begin, was := l.obs.now(), l.durable.Load()
	target := l.end.Load()
	err := l.syncData()
	report := l.synced(begin, was, target, err)
	s := &l.sync
	if err != nil {
		err = l.fail(err)
		s.wake(err)
		s.Lock()
		l.becomeIdle()
		s.Unlock()
		l.appendPending()
		l.tellSync(report)
		return err
	}
	l.advance(target)
	l.appendPending() // what has gathered is one batch, and waits for the next sync

	s.Lock()
	kept, wake := s.waiters[:0], s.spare[:0]
	end := l.end.Load()
	for _, w := range s.waiters {
		if w.offset <= target || w.offset > end { // durable, or so before it was truncated away
			wake = append(wake, w)
		} else {
			kept = append(kept, w)
		}
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
	s.spare = nil
	more := len(kept) > 0
	if !more {
		l.becomeIdle()
	}
	if more && background && report != nil {
		// The caller goes on syncing, and what is told may wait for that.
		report = l.handReport(wake, report)
	}
	s.Unlock()
	if more && !background {
		l.env.Go(l.syncLoop)
	}
	for _, w := range wake {
		w.done <- nil
	}
	s.Lock()
	clear(wake)
	s.spare = wake[:0]
	s.Unlock()
	if !more {
		l.appendPending() // handed over before the syncer was seen to be idle
	}
	l.tellSync(report)
	if background && !more {
		return errIdle
	}
	return nil
}

// handReport gives one of the waiters the report of a sync to tell, or a goroutine
// if all have left. The syncer is locked.
func (l *Log) handReport(woken []*syncWaiter, e *Event) *Event {
	for _, w := range woken {
		if !w.left {
			w.report = e
			return nil
		}
	}
	l.env.Go(func() { l.tellSync(e) })
	return nil
}

// appendPending appends what was handed over, unless somebody holds the lock,
// who will.
func (l *Log) appendPending() {
	if l.pending.Load() != nil && l.writing.TryLock() {
		l.unlock()
	}
}

var errIdle = errors.New("nobody waits")

// syncLoop is the background goroutine. Between syncs it lets those run that it
// has just woken: they append again at once, and share the next sync with the
// others instead of taking turns in two halves (64 appenders: 41 records a sync
// for 21, and a third less time a record).
func (l *Log) syncLoop() {
	for l.syncOnce(true) == nil {
		runtime.Gosched()
		l.appendPending()
	}
}

// becomeIdle is called with the syncer locked.
func (l *Log) becomeIdle() {
	l.sync.busy.Store(false)
	if l.sync.idle != nil {
		close(l.sync.idle)
		l.sync.idle = nil
	}
}

// acquire makes the caller the one that syncs, waiting for another to finish.
func (s *syncer) acquire() {
	for {
		s.Lock()
		if !s.busy.Load() {
			s.busy.Store(true)
			s.Unlock()
			return
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.Unlock()
		<-idle
	}
}

// wake gives every waiter err: the log has failed or was closed.
func (s *syncer) wake(err error) {
	s.Lock()
	all := s.waiters
	s.waiters = nil
	s.Unlock()
	for _, w := range all {
		w.done <- err
	}
}

// syncData makes everything appended so far durable: the segments that were
// rolled and not sealed yet, the active one, and their names.
func (l *Log) syncData() error {
	active := l.segments.Load().active() // before the look at what was rolled
	segs, names := l.seals.unsynced()
	for _, s := range segs {
		if err := s.Sync(); err != nil && !errors.Is(err, segment.ErrClosed) {
			return err
		}
	}
	l.syncs.Add(1)
	if err := active.Sync(); err != nil && !errors.Is(err, segment.ErrClosed) {
		return err
	}
	if names {
		if err := l.syncDir(); err != nil {
			return err
		}
	}
	l.seals.synced(segs)
	return nil
}

// Syncs counts the syncs of the log, each of which may have served many appends.
func (l *Log) Syncs() int64 { return l.syncs.Load() }

// advance publishes a new durable end.
func (l *Log) advance(to int64) {
	l.sync.Lock()
	if to > l.durable.Load() {
		l.durable.Store(to)
		l.marks.store(markDurable, to)
		if c := l.cfg(); c.Durability != Written && !c.ExternalWatermark {
			l.marks.store(markWatermark, to)
		}
	}
	l.sync.Unlock()
	if c := l.cfg(); c.Durability != Written && !c.ExternalWatermark {
		l.watermarkMoved()
	}
}

// flushLater sees to it that n bytes of Written data are synced. writing is held.
func (l *Log) flushLater(n int) {
	l.w.dirty += int64(n)
	switch {
	case l.cfg().FlushBytes <= 0 || l.w.dirty < l.cfg().FlushBytes:
		l.armFlush()
	case !l.w.flushing:
		l.w.flushing, l.w.dirty = true, 0
		l.env.Go(l.flushBytes)
	}
}

// flushBytes syncs until less than FlushBytes have come meanwhile: one goroutine,
// however slow the disk is.
func (l *Log) flushBytes() {
	for more := true; more; {
		l.flushNow()
		l.writing.Lock()
		limit := l.cfg().FlushBytes
		more = limit > 0 && l.w.dirty >= limit
		l.w.flushing = more
		if more {
			l.w.dirty = 0
		}
		l.unlock()
	}
}

// armFlush sees to it that a timed flush comes, which also seals what was rolled.
// writing is held.
func (l *Log) armFlush() {
	if l.w.armed || l.cfg().FlushInterval < 0 {
		return
	}
	l.w.armed = true
	if l.flush == nil {
		l.flush = time.AfterFunc(l.cfg().FlushInterval, l.flushTimer)
		return
	}
	l.flush.Reset(l.cfg().FlushInterval)
}

func (l *Log) flushTimer() {
	l.writing.Lock()
	l.w.armed, l.w.dirty = false, 0
	closed := l.closed.Load()
	if !closed {
		l.seals.start(l)
		l.work.Add(1) // an Observer may be told of the sync
	}
	l.unlock()
	if !closed {
		l.flushNow()
		l.work.Done()
	}
}

// flushNow syncs what is written. Its error has failed the log already.
func (l *Log) flushNow() { _ = l.waitDurable(context.Background(), l.end.Load()) }
