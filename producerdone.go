package leat

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// calling is where the caller is: among the batches that it has taken off
// lane.mu.stored, in which it calls the callback of the next entry. It is guarded
// by the role, and outlives a callback that panics.
type calling struct {
	batches []*pending
	batch   int
	entry   int
}

// call calls callbacks until no batch is left. The goroutine has the role of the
// caller, and gives it up.
func (l *lane) call() {
	for !l.callSome() {
	}
}

// callSome returns false when a callback has panicked, and others are left. One
// that ends its goroutine, as a test's FailNow does, is followed by another
// goroutine, which is counted in place of this one.
func (l *lane) callSome() (over bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			l.panicked(v)
			return
		}
		go func() {
			l.call()
			l.producer.work.Done()
		}()
	}()
	c := &l.calling
	for {
		if c.batch == len(c.batches) && !l.nextStored() {
			returned = true
			return true
		}
		b := c.batches[c.batch]
		l.producer.room.release(b.cost) // so that a callback may produce
		b.cost = 0
		for c.entry < len(b.entries) {
			i := c.entry
			c.entry++
			if e := &b.entries[i]; e.waiter == nil {
				l.fill(b, i)
				if e.done != nil {
					e.done(e.record, b.err)
				} else if b.err != nil {
					l.producer.lose(b.err)
				}
			}
		}
		c.batches[c.batch] = nil
		c.batch, c.entry = c.batch+1, 0
		l.mu.Lock()
		l.finishLocked(b)
		l.mu.Unlock()
	}
}

// nextStored takes what has come since, or gives the role up.
func (l *lane) nextStored() bool {
	c := &l.calling
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.stored, c.batches = c.batches[:0], l.mu.stored
	c.batch, c.entry = 0, 0
	l.mu.calling = len(c.batches) > 0
	return l.mu.calling
}

// panicked tells of a callback that did.
func (l *lane) panicked(v any) {
	err := fmt.Errorf("leat: a callback of a producer to %s panicked: %v", l.part, v)
	l.producer.store.logger.Error("callback panicked", "partition", l.part.String(), "panic", v, "stack", string(debug.Stack()))
	l.producer.store.background(err)
}

// fill sets what a record is to be told about itself.
func (l *lane) fill(b *pending, i int) {
	r := b.entries[i].record
	r.Partition = l.part.id
	if b.err != nil {
		r.Offset = -1
		return
	}
	r.Offset = b.placed.BaseOffset + int64(i)
	if b.placed.Timed || r.Timestamp.IsZero() {
		r.Timestamp = time.UnixMilli(b.placed.Time)
	}
}

// waiter is one call of Produce.
type waiter struct {
	producer *Producer
	cost     int64   // of MaxBuffered, for all its records
	lanes    []*lane // they are in; of the goroutine that waits
	done     chan struct{}
	mu       struct {
		sync.Mutex
		left      int // to be finished: records, and the call while it adds some
		failed    int
		err       error // the first
		abandoned bool  // nobody waits, and the records are the user's again
	}
}

func (p *Producer) newWaiter(left int, cost int64) *waiter {
	w, ok := p.waiters.Get().(*waiter)
	if !ok {
		w = &waiter{producer: p, done: make(chan struct{}, 1)}
	}
	w.cost, w.lanes = cost, w.lanes[:0]
	w.mu.left, w.mu.failed, w.mu.err = left, 0, nil
	return w
}

// kick sets the lanes to work, and does the last's himself where he can.
func (w *waiter) kick(ctx context.Context) {
	last := len(w.lanes) - 1
	for i, l := range w.lanes {
		if i == last {
			l.help(ctx)
		} else {
			l.kick()
		}
	}
}

// kickAll has others send all of it.
func (w *waiter) kickAll() {
	for _, l := range w.lanes {
		l.kick()
	}
}

// stored tells of record i of a batch.
func (w *waiter) stored(l *lane, b *pending, i int) {
	w.mu.Lock()
	if !w.mu.abandoned {
		l.fill(b, i)
	}
	w.finishLocked(1, b.err)
}

// finish tells of n records at once, or of the end of the call.
func (w *waiter) finish(n int, err error) {
	w.mu.Lock()
	w.finishLocked(n, err)
}

// finishLocked unlocks.
func (w *waiter) finishLocked(n int, err error) {
	if err != nil {
		if w.mu.failed += n; w.mu.err == nil {
			w.mu.err = err
		}
	}
	w.mu.left -= n
	over := w.mu.left == 0
	w.mu.Unlock()
	if over {
		w.producer.room.release(w.cost)
		w.done <- struct{}{} // w may be another's from here on
	}
}

// await waits for n records.
func (p *Producer) await(ctx context.Context, w *waiter, n int) error {
	if ctx.Done() == nil {
		<-w.done
	} else {
		select {
		case <-w.done:
		case <-ctx.Done():
			for _, l := range w.lanes {
				if gone := l.withdraw(w); gone > 0 {
					w.finish(gone, ctx.Err())
				}
			}
			w.mu.Lock()
			w.mu.abandoned = w.mu.left > 0
			w.mu.Unlock()
			if w.mu.abandoned {
				return unknownOutcome(ctx.Err())
			}
			<-w.done
		}
	}
	err, failed := w.mu.err, w.mu.failed
	w.mu.err = nil
	clear(w.lanes)
	p.waiters.Put(w)
	if err != nil && n > 1 {
		return within(err, "%d of %d records not stored, the first", failed, n)
	}
	return err
}
