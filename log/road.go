package log

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/segment"
)

// The road is what lies ahead of a tail: blocks, faulted pages, the next
// segment. One helper of the store makes it for the logs that are being written,
// so that an append meets neither a page fault (about a microsecond a page, more
// than half of what a small append costs) nor the making of a file.
//
// It works for mapped, Written logs only. Populated pages are dirty pages, which
// a sync would have to write: under Synced that costs more than the faults.
type road struct {
	env   *Env
	once  sync.Once
	kick  chan *Log
	stop  chan struct{}
	ended bool
}

func (r *road) init(e *Env) { r.env, r.kick, r.stop = e, make(chan *Log, 64), make(chan struct{}) }

func (r *road) close() {
	if !r.ended {
		r.ended = true
		close(r.stop)
	}
}

func (r *road) run() {
	for {
		select {
		case l := <-r.kick:
			l.ahead.make(l)
		case <-r.stop:
			return
		}
	}
}

const (
	roadMin = 256 << 10
	roadMax = 16 << 20
	// roadFast is how soon a window must be used up for the next to be larger.
	roadFast = 50 * time.Millisecond
)

// ahead is the road of one log.
type ahead struct {
	// due is the position in the active segment at which the helper is to be
	// called again. The holder of writing compares it with every append.
	due atomic.Int64

	making sync.Mutex // one maker at a time; close waits with it
	window int64      // how far to go; guarded by making
	last   time.Time  // when it was last made
	closed bool

	next atomic.Pointer[segment.Prepared]
}

func (a *ahead) reset() { a.due.Store(0) }

// makeRoad calls the helper when less than half of the road is left. writing is
// held.
func (l *Log) makeRoad(seg *segment.Segment) {
	if seg.Size() < l.ahead.due.Load() || !l.scfg.Mapped {
		return
	}
	l.env.road.once.Do(func() { l.env.Go(l.env.road.run) })
	select {
	case l.env.road.kick <- l:
		l.ahead.due.Store(noOffset) // until the helper says where next
	default: // it has enough to do
	}
}

// make is the helper's work for one log.
func (a *ahead) make(l *Log) {
	a.making.Lock()
	defer a.making.Unlock()
	if a.closed {
		return
	}
	now := time.Now()
	switch {
	case a.window == 0:
		a.window = roadMin
	case now.Sub(a.last) < roadFast:
		a.window = min(2*a.window, roadMax)
	default:
		a.window = max(a.window/2, roadMin)
	}
	a.last = now
	seg := l.segments.Load().active()
	from := seg.Size()
	seg.Prepare(a.window)
	if a.window > roadMin && seg.Room() < 4*a.window && a.next.Load() == nil {
		// The roll is near: have a segment ready to be renamed.
		if p, err := segment.Prepare(l.env.fsys, l.env.maps, l.dir, l.scfg, a.window); err == nil {
			a.next.Store(p)
		}
	}
	if l.segments.Load().active() == seg {
		a.due.Store(from + a.window/2)
	} else {
		a.due.Store(0) // rolled meanwhile: the next append calls again
	}
}

// take gives the prepared segment, if there is one.
func (a *ahead) take() *segment.Prepared { return a.next.Swap(nil) }

// close waits for the helper and discards what was prepared.
func (a *ahead) close() {
	a.making.Lock()
	a.closed = true
	a.making.Unlock()
	if p := a.take(); p != nil {
		p.Discard()
	}
}
