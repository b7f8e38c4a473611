package log

import (
	"context"
	"sync"
	"sync/atomic"
)

// tail is where readers wait for more. The writer looks at one atomic counter
// when nobody does.
type tail struct {
	count atomic.Int32
	mu    struct {
		sync.Mutex
		waiters []*Waiter
	}
}

// Waiter is what a reader waits with, again and again: one channel. It is for
// one goroutine.
type Waiter struct {
	ch        chan struct{}
	offset    int64
	committed bool
}

// NewWaiter returns a Waiter.
func NewWaiter() *Waiter { return &Waiter{ch: make(chan struct{}, 1)} }

// Wait returns nil when something can be seen at offset or above by a reader of
// the given isolation. It returns ErrClosed when the log is closed, the failure
// when it has failed, and ctx's error.
func (l *Log) Wait(ctx context.Context, w *Waiter, offset int64, committed bool) error {
	if l.follow != nil {
		return l.follow.wait(ctx, w, offset, committed)
	}
	for {
		if l.Visible(committed) > offset {
			return nil
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
		w.offset, w.committed = offset, committed
		l.tail.add(w)
		// The end may have moved, and the log ended, between the look and the
		// add: look again now that a writer sees the waiter.
		if l.Visible(committed) > offset || l.closed.Load() || l.refuse.Load() != nil {
			l.tail.remove(w)
			continue
		}
		if ctx.Done() == nil {
			<-w.ch
			continue
		}
		select {
		case <-w.ch:
		case <-ctx.Done():
			l.tail.remove(w)
			return ctx.Err()
		}
	}
}

func (t *tail) add(w *Waiter) {
	t.mu.Lock()
	t.mu.waiters = append(t.mu.waiters, w)
	t.count.Store(int32(len(t.mu.waiters)))
	t.mu.Unlock()
}

// remove takes a waiter back, and the wake-up that it may have been sent.
func (t *tail) remove(w *Waiter) {
	t.mu.Lock()
	for i, o := range t.mu.waiters {
		if o == w {
			last := len(t.mu.waiters) - 1
			t.mu.waiters[i] = t.mu.waiters[last]
			t.mu.waiters[last] = nil
			t.mu.waiters = t.mu.waiters[:last]
			break
		}
	}
	t.count.Store(int32(len(t.mu.waiters)))
	t.mu.Unlock()
	select {
	case <-w.ch:
	default:
	}
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
	kept := t.mu.waiters[:0]
	for _, w := range t.mu.waiters {
		end := plain
		if w.committed {
			end = committed
		}
		if end > w.offset {
			w.ch <- struct{}{} // has room: a waiter is listed once
		} else {
			kept = append(kept, w)
		}
	}
	clear(t.mu.waiters[len(kept):])
	t.mu.waiters = kept
	t.count.Store(int32(len(kept)))
}

// wakeAll makes every waiter look again.
func (t *tail) wakeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.mu.waiters {
		w.ch <- struct{}{}
	}
	clear(t.mu.waiters)
	t.mu.waiters = t.mu.waiters[:0]
	t.count.Store(0)
}
