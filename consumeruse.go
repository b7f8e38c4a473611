package leat

import (
	"fmt"
	"sync"
)

// The states of a Consumer, which tell when it is used by two goroutines at once.
const (
	useFree    = iota
	useBusy    // a call is under way
	useCalling // OnAssign or OnRevoke has been called by it
	useWithin  // which has called a method
)

// enter begins a call of what a callback must not do.
func (c *Consumer) enter(what string) error {
	if c.state.CompareAndSwap(useFree, useBusy) {
		if c.closed {
			c.leave()
			return ErrClosed
		}
		return nil
	}
	if c.state.Load() == useCalling {
		return fmt.Errorf("%w: %s within OnAssign or OnRevoke", ErrConcurrentUse, what)
	}
	return ErrConcurrentUse
}

func (c *Consumer) leave() { c.state.Store(useFree) }

// within begins a call that a callback may make too; restore(was) ends it.
func (c *Consumer) within() (was uint32, err error) {
	if c.state.CompareAndSwap(useFree, useBusy) {
		if c.closed {
			c.leave()
			return 0, ErrClosed
		}
		return useFree, nil
	}
	if c.state.CompareAndSwap(useCalling, useWithin) {
		return useCalling, nil
	}
	return 0, ErrConcurrentUse
}

func (c *Consumer) restore(was uint32) { c.state.Store(was) }

// consumers are those of a store, which a Close wakes.
type consumers struct {
	mu struct {
		sync.Mutex
		all    map[*Consumer]struct{}
		closed bool
	}
}

func (s *consumers) add(c *Consumer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false
	}
	if s.mu.all == nil {
		s.mu.all = map[*Consumer]struct{}{}
	}
	s.mu.all[c] = struct{}{}
	return true
}

func (s *consumers) remove(c *Consumer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.all, c)
}

// end makes every consumer see that the store is closed.
func (s *consumers) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for c := range s.mu.all {
		c.ended.Store(true)
		c.wait.Nudge()
	}
}
