package leat

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// room is the memory bound of a producer. Who waits gets room in the order of
// coming: a large record is not overtaken for ever by small ones.
type room struct {
	max     int64 // negative: no bound
	used    atomic.Int64
	waiting atomic.Int32 // as many as are queued; stored with mu held
	mu      struct {
		sync.Mutex
		queue  []*roomWaiter
		closed bool
	}
}

type roomWaiter struct {
	cost int64
	done chan error
}

// clamp lets one that is larger than the whole have the whole.
func (r *room) clamp(cost int64) int64 {
	if r.max >= 0 {
		return min(cost, r.max)
	}
	return cost
}

// try takes room if there is some, and nobody waits for it.
func (r *room) try(cost int64) bool { return r.waiting.Load() == 0 && r.grab(cost) }

func (r *room) grab(cost int64) bool {
	for {
		used := r.used.Load()
		if r.max >= 0 && used+cost > r.max {
			return false
		}
		if r.used.CompareAndSwap(used, used+cost) {
			return true
		}
	}
}

func (r *room) acquire(ctx context.Context, cost int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.try(cost) {
		return nil
	}
	w := &roomWaiter{cost: cost, done: make(chan error, 1)}
	r.mu.Lock()
	if r.mu.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.mu.queue = append(r.mu.queue, w)
	r.waiting.Add(1)
	r.grantLocked() // what was released before waiting was seen
	r.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.mu.queue, w); i >= 0 {
		r.mu.queue = slices.Delete(r.mu.queue, i, i+1)
		r.waiting.Add(-1)
		r.grantLocked() // a smaller one may have been behind
		return ctx.Err()
	}
	return <-w.done // granted in the same moment
}

func (r *room) release(cost int64) {
	r.used.Add(-cost)
	if r.waiting.Load() != 0 {
		r.mu.Lock()
		r.grantLocked()
		r.mu.Unlock()
	}
}

func (r *room) grantLocked() {
	for len(r.mu.queue) > 0 && r.grab(r.mu.queue[0].cost) {
		r.popLocked(nil)
	}
}

func (r *room) popLocked(err error) {
	r.mu.queue[0].done <- err
	r.mu.queue = slices.Delete(r.mu.queue, 0, 1)
	r.waiting.Add(-1)
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.closed = true
	for len(r.mu.queue) > 0 {
		r.popLocked(ErrClosed)
	}
}
