package log

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// tail is where readers wait for more. The writer looks at one atomic counter
// when nobody does.
type tail struct {
	count atomic.Int32
	mu    struct {
		sync.Mutex
		list []*ticket
	}
}

// Waiter is what a reader waits with, again and again: one channel, that any of
// the logs it waits for wakes. It is for one goroutine.
type Waiter struct {
	ch     chan struct{}
	one    ticket // of Log.Wait
	nudged atomic.Bool
}

// ticket is a waiter's place at one log. All but w is guarded by the tail's
// lock while it is listed, and its owner's otherwise.
type ticket struct {
	w         *Waiter
	offset    int64
	committed bool
	at        int // place in the list
	listed    atomic.Bool
}

// NewWaiter returns a Waiter.
func NewWaiter() *Waiter {
	w := &Waiter{ch: make(chan struct{}, 1)}
	w.one.w = w
	return w
}

// Nudge ends a WaitFor: the present one, or the next one unless Calm comes first.
// It is for any goroutine, which has something to tell the waiter's.
func (w *Waiter) Nudge() {
	w.nudged.Store(true)
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// Nudged tells whether there was a nudge since Calm.
func (w *Waiter) Nudged() bool { return w.nudged.Load() }

// Calm is called before one looks what a nudge may be about.
func (w *Waiter) Calm() {
	if w.nudged.Load() {
		w.nudged.Store(false)
	}
}

// Wait returns nil when something can be seen at offset or above by a reader of
// the given isolation, and when the log has been truncated, or ends before offset,
// so that there is nothing to wait for: a cursor tells. It returns ErrClosed when the log is closed, the failure
// when it has failed, and ctx's error.
func (l *Log) Wait(ctx context.Context, w *Waiter, offset int64, committed bool) error {
	if l.follow != nil {
		return l.follow.wait(ctx, w, offset, committed)
	}
	generation := l.generation.Load()
	for {
		if l.Visible(committed) > offset || offset > l.end.Load() || l.generation.Load() != generation {
			return nil // in the latter cases the cursor tells why
		}
		if l.closed.Load() {
			return ErrClosed
		}
		if r := l.refuse.Load(); r != nil {
			return r.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		l.tail.add(&w.one, offset, committed)
		// The end may have moved, either way, and the log ended, between the look
		// and the add: look again now that a writer sees the waiter.
		if l.Visible(committed) > offset || l.ended() || offset > l.end.Load() || l.generation.Load() != generation {
			l.tail.remove(&w.one)
			w.drain()
			continue
		}
		if ctx.Done() == nil {
			<-w.ch
			continue
		}
		select {
		case <-w.ch:
		case <-ctx.Done():
			l.tail.remove(&w.one)
			w.drain()
			return ctx.Err()
		}
	}
}

// ended tells whether nothing more will come.
func (l *Log) ended() bool {
	return l.closed.Load() || l.refuse.Load() != nil && l.follow == nil || l.follow != nil && l.follow.trouble() != nil
}

// drain takes back a wake-up that came though nobody waits any more. No ticket
// is listed.
func (w *Waiter) drain() {
	select {
	case <-w.ch:
	default:
	}
}

// Watch is one of the logs that WaitFor waits for: it is read from Offset on.
type Watch struct {
	Log    *Log
	Offset int64
	// Cursor, if not nil, is who reads: when it is stale, that is to be met too.
	Cursor *Cursor

	seen   int64 // the end of what could be seen when last looked; Offset if that is more
	bytes  int64 // whole batches up to there
	ticket ticket
}

// WaitOptions say what WaitFor waits for.
type WaitOptions struct {
	MinBytes  int64 // of whole batches, in all logs together; 0: that an end is beyond its offset will do
	Committed bool
	Until     int64 // a log that can be seen up to there has enough; 0: none has
	// MaxWait ends the waiting once it is over since something was there; 0:
	// never.
	MaxWait time.Duration
	// Since is for who waits in several calls: since when something was there, set
	// by the first call that sees it. nil: it begins with this call.
	Since *time.Time
}

// patience is what is left of MaxWait.
func (o *WaitOptions) patience() time.Duration {
	if o.Since == nil {
		return o.MaxWait
	}
	if o.Since.IsZero() {
		*o.Since = time.Now()
	}
	return o.MaxWait - time.Since(*o.Since)
}

// WaitFor returns nil when there are MinBytes to read in the logs together,
// behind their offsets; also when there is an error to be met in one of them (its
// offset is out of its range, it was closed, has failed, is damaged there), which
// whoever reads on gets; and when it is nudged. The only error is ctx's.
func (w *Waiter) WaitFor(ctx context.Context, at []Watch, o WaitOptions) error {
	defer w.leave(at)
	var late <-chan time.Time
	poll := newPolling(at)
	defer poll.stop()
	for first := true; ; first = false {
		total, enough := w.look(at, o, first)
		if enough || w.nudged.Load() {
			return nil
		}
		if total > 0 && o.MaxWait > 0 && late == nil {
			t := time.NewTimer(o.patience())
			defer t.Stop()
			late = t.C
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !w.enlist(at, o.Committed) {
			continue
		}
		select {
		case <-w.ch:
		case <-poll.next():
		case <-late:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// polling is for logs that other processes write, which tell nobody.
type polling struct {
	timer *time.Timer // nil: all of them tell
	pause time.Duration
}

func newPolling(at []Watch) (p polling) {
	for i := range at {
		if at[i].Log.Followed() {
			p.pause = followPause
			p.timer = time.NewTimer(p.pause)
			break
		}
	}
	return p
}

// next fires when it is time to look again.
func (p *polling) next() <-chan time.Time {
	if p.timer == nil {
		return nil
	}
	p.timer.Reset(p.pause)
	p.pause = min(2*p.pause, followPauseMax)
	return p.timer.C
}

func (p *polling) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// look counts what is there, in those logs that have moved since the last look.
func (w *Waiter) look(at []Watch, o WaitOptions, first bool) (total int64, enough bool) {
	for i := range at {
		a := &at[i]
		l := a.Log
		if l.ended() || a.Offset < l.start.Load() || a.Offset > l.end.Load() || a.stale() {
			return 0, true
		}
		end := l.Visible(o.Committed)
		if o.Until > 0 && end >= o.Until {
			return 0, true
		}
		if o.MinBytes == 0 {
			if a.seen = max(end, a.Offset); end > a.Offset {
				return 0, true
			}
			continue
		}
		if seen := max(end, a.Offset); first || seen != a.seen {
			a.seen, a.bytes = seen, 0
			if end > a.Offset {
				n, err := l.available(a.Offset, end, o.MinBytes)
				if err != nil {
					return 0, true
				}
				a.bytes = n
			}
		}
		if total += a.bytes; total >= o.MinBytes {
			return total, true
		}
	}
	return total, false
}

// enlist puts a ticket into every log that has none. It reports whether all are
// still as they were when looked at: only then a writer has seen the tickets.
func (w *Waiter) enlist(at []Watch, committed bool) bool {
	same := true
	for i := range at {
		a := &at[i]
		if a.ticket.listed.Load() {
			continue
		}
		a.ticket.w = w
		a.Log.tail.add(&a.ticket, a.seen, committed)
		end := max(a.Log.Visible(committed), a.Offset)
		if end != a.seen || a.Log.ended() || a.Offset < a.Log.start.Load() || a.Offset > a.Log.end.Load() || a.stale() {
			same = false
		}
		if end < a.seen {
			a.Log.tail.remove(&a.ticket) // what was waited for is beyond what will come next
		}
	}
	return same
}

// stale tells whether the log was truncated since it was read. One that is followed
// says it by its ends.
func (a *Watch) stale() bool { return a.Cursor != nil && !a.Log.Followed() && a.Cursor.Stale() }

// leave takes all tickets back.
func (w *Waiter) leave(at []Watch) {
	for i := range at {
		at[i].Log.tail.remove(&at[i].ticket)
	}
	w.drain()
}

// add lists a ticket that is not listed: its waiter is woken when the log can be
// seen beyond offset.
func (t *tail) add(k *ticket, offset int64, committed bool) {
	t.mu.Lock()
	k.offset, k.committed = offset, committed
	k.at = len(t.mu.list)
	k.listed.Store(true)
	t.mu.list = append(t.mu.list, k)
	t.count.Store(int32(len(t.mu.list)))
	t.mu.Unlock()
}

// remove takes a ticket back, if it is listed.
func (t *tail) remove(k *ticket) {
	t.mu.Lock()
	if k.listed.Load() {
		last := len(t.mu.list) - 1
		t.mu.list[k.at] = t.mu.list[last]
		t.mu.list[k.at].at = k.at
		t.mu.list[last] = nil
		t.mu.list = t.mu.list[:last]
		k.listed.Store(false)
		t.count.Store(int32(last))
	}
	t.mu.Unlock()
}

// notify wakes the readers that can go on. It is called after every move of an
// end, and costs a load when nobody waits.
func (t *tail) notify(l *Log) {
	if t.count.Load() != 0 {
		t.wake(l)
	}
}

func (t *tail) wake(l *Log) {
	plain, committed := l.Visible(false), l.Visible(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.mu.list[:0]
	for _, k := range t.mu.list {
		end := plain
		if k.committed {
			end = committed
		}
		if end > k.offset {
			k.wake()
		} else {
			k.at = len(kept)
			kept = append(kept, k)
		}
	}
	clear(t.mu.list[len(kept):])
	t.mu.list = kept
	t.count.Store(int32(len(kept)))
}

// wakeAll makes every waiter look again.
func (t *tail) wakeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.mu.list {
		k.wake()
	}
	clear(t.mu.list)
	t.mu.list = t.mu.list[:0]
	t.count.Store(0)
}

// wake takes a ticket off the list and tells its waiter. One wake-up is enough
// for all that happens until the waiter looks.
func (k *ticket) wake() {
	w := k.w // before: then the ticket is its owner's again
	k.listed.Store(false)
	select {
	case w.ch <- struct{}{}:
	default:
	}
}
