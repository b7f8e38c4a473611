package leat

import (
	"context"
	"sync"
)

// offsetsGate is passed by commits, many at a time, and shut by whoever removes
// committed offsets: he looks at what there is and then writes tombstones, and no
// commit may come between the two, or it would be lost. It is held while the disk
// works, and so is no mutex.
type offsetsGate struct {
	mu struct {
		sync.Mutex
		inside int
		shut   chan struct{} // closed when the gate is opened again; nil: it is open
		empty  chan struct{} // closed when nobody is inside any more; of who shuts
	}
}

// enter passes the gate; leave is to be called afterwards.
func (g *offsetsGate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		shut := g.mu.shut
		if shut == nil {
			g.mu.inside++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *offsetsGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.inside--; g.mu.inside == 0 && g.mu.empty != nil {
		close(g.mu.empty)
		g.mu.empty = nil
	}
}

// shut closes the gate and waits until nobody is inside; open is to be called
// afterwards, unless there is an error.
func (g *offsetsGate) shut(ctx context.Context) error {
	for {
		g.mu.Lock()
		other := g.mu.shut
		if other == nil {
			break
		}
		g.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.mu.shut = make(chan struct{})
	if g.mu.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	g.mu.empty = empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		g.open()
		return ctx.Err()
	}
}

func (g *offsetsGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.mu.shut)
	g.mu.shut, g.mu.empty = nil, nil
}
