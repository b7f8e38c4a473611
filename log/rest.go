package log

import (
	"errors"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// rouse is called before anything is done to the active segment that needs its
// file, so that the budget is kept and a want of descriptors fails nothing. It
// costs a load when the segment is awake. writing is held.
func (l *Log) rouse(seg *segment.Segment) error {
	if seg.Resting() {
		return l.wake(seg)
	}
	return nil
}

// wake opens the active segment for appending, which rests after an open and
// when nothing was appended for a while. An error changes nothing, and the next
// append tries again, but for a file that is not what it was. writing is held.
func (l *Log) wake(seg *segment.Segment) error {
	a := &l.env.awake
	a.add(l)
	if a.over() {
		a.makeRoom(l)
	}
	err := seg.Wake()
	if errors.Is(err, vfs.ErrTooManyFiles) && a.makeRoom(l) {
		err = seg.Wake() // others in the process have descriptors too
	}
	if err == nil {
		l.opened = nil
		l.ahead.begin(seg.Size())
		return nil
	}
	a.remove(l)
	var damage *segment.CorruptError
	if errors.As(err, &damage) {
		return l.fail(err)
	}
	return err
}

// tryRest puts the log to rest if nobody is at work on it. force also syncs what
// is not durable yet.
func (l *Log) tryRest(force bool) bool {
	if !l.writing.TryLock() {
		return false
	}
	defer l.letGo()
	seg := l.w.active
	switch {
	case l.refuse.Load() != nil:
		return false
	case seg.Resting():
		l.env.awake.remove(l)
		return true
	case !force && l.durable.Load() < l.end.Load():
		return false
	}
	if !l.ahead.making.TryLock() {
		return false
	}
	defer l.ahead.making.Unlock()
	rested, err := seg.Rest()
	if err != nil {
		l.fail(err) // nobody else will be told of it
		return false
	}
	if !rested {
		return false
	}
	if p := l.ahead.take(); p != nil {
		p.Discard()
	}
	l.env.awake.remove(l)
	l.shrink()
	return true
}

// shrink gives up what is only kept to be used again. writing is held.
func (l *Log) shrink() {
	l.w.scratch = nil
	if l.flush != nil && !l.w.armed {
		l.flush = nil
	}
	l.sync.Lock()
	l.sync.spare = nil
	if len(l.sync.waiters) == 0 {
		l.sync.waiters = nil
	}
	l.sync.Unlock()
	l.sums.Lock()
	l.sums.pack()
	l.sums.Unlock()
}

// letGo is unlock for one who came by for another reason than to append: what has
// been handed over meanwhile is left to a goroutine of its own, since the caller
// may hold the lock of another log.
func (l *Log) letGo() {
	for {
		if l.pending.Load() != nil {
			l.env.Go(l.unlock)
			return
		}
		l.writing.Unlock()
		if l.pending.Load() == nil || !l.writing.TryLock() {
			return
		}
	}
}

// settle is Settle for one log.
func (l *Log) settle() (again bool) {
	switch unused := l.env.awake.unused(l); {
	case l.refuse.Load() != nil:
		return false // until it is reopened
	case !unused:
		return true
	case l.durable.Load() < l.end.Load():
		return l.cfg().FlushInterval >= 0 || l.sync.busy.Load()
	}
	return !l.tryRest(false)
}

// untouched tells whether the log is on disk as a clean close has left it: it was
// opened after one, and nothing was changed since.
func (l *Log) untouched() bool {
	if l.opened == nil || l.segments.Load() != l.opened || !l.w.active.Resting() || l.retain.epochs {
		return false
	}
	end := l.end.Load()
	if end > l.start.Load() && l.snapshot != end {
		return false
	}
	_, known := l.sums.of(l.w.active.Base(), segment.TxnSuffix)
	return known
}
