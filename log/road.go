package log

import (
	"errors"
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
// It works for mapped logs only. Populated pages are dirty pages, which the next
// sync has to write, so under Synced it goes in small steps and syncs them
// itself. What that buys is not the faults: the blocks of a fallocated file are
// marked unwritten, and the first sync of each must commit the filesystem's
// journal as well (measured with 64 appenders: 73 us a sync without, 52 with).
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
	// roadFirst is how much is appended before the helper is called at all: a
	// partition that gets a record now and then does without.
	roadFirst = 64 << 10
	roadMin   = 256 << 10
	roadMax   = 16 << 20
	// roadFast is how soon a window must be used up for the next to be larger,
	// and roadSlow when the road is left to the appends themselves.
	roadFast = 50 * time.Millisecond
	roadSlow = time.Second
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

// begin sets out from the tail of a log that was just opened.
func (a *ahead) begin(tail int64) { a.due.Store(tail + roadFirst) }

// reset is for a new active segment.
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
	since := now.Sub(a.last)
	a.last = now
	seg := l.segments.Load().active()
	from := seg.Size()
	switch {
	case l.cfg().Durability == Synced:
		seg.Prepare(roadMin)
		if err := seg.Sync(); err != nil && !errors.Is(err, segment.ErrClosed) {
			l.fail(err) // nobody else will be told of it
		}
		a.again(l, seg, from+roadMin/2)
		return
	case a.window == 0:
		a.window = roadMin
	case since < roadFast:
		a.window = min(4*a.window, roadMax)
	case since > roadSlow:
		a.window = roadMin
		a.again(l, seg, from+roadMin)
		return
	default:
		a.window = max(a.window/2, roadMin)
	}
	if !seg.Prepare(a.window) {
		return // it rests
	}
	if a.window > roadMin && seg.Room() < 4*a.window && a.next.Load() == nil {
		// The roll is near: have a segment ready to be renamed.
		if p, err := segment.Prepare(l.env.fsys, l.env.maps, l.dir, l.scfg, a.window); err == nil {
			a.next.Store(p)
		}
	}
	a.again(l, seg, from+a.window/2)
}

// again says where the helper is to be called next, unless the log has been
// rolled meanwhile: then the next append calls.
func (a *ahead) again(l *Log, seg *segment.Segment, at int64) {
	a.due.Store(at)
	if l.segments.Load().active() != seg {
		a.due.Store(0)
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
