package log

import (
	"sync"

	"github.com/leatlog/leat/internal/vfs"
)

// awake are the logs whose active segment is open for appending: each has a
// descriptor, and a map or two. There is a budget of them, so that a store of ten
// thousand partitions that are all written to works within the usual limit of
// 1024 descriptors. Waking one more puts another to rest that has not been
// appended to for long; where none can rest the budget is exceeded.
//
// It is Env's. A log that is put to rest by another's append is only ever tried
// for: nobody waits for the lock of one log while holding that of another.
type awake struct {
	max int

	mu struct {
		sync.Mutex
		count          int
		newest, oldest *turn // the ends of the list
	}
}

// turn is a log's place among those that are awake. The lock of awake guards it
// and the log's pointer to it.
type turn struct {
	l            *Log
	newer, older *turn
	passed       int64 // the log's end when its turn last came
	settled      int64 // and when Settle last looked
}

const (
	minAwake = 16
	maxAwake = 8192
	// awakeTries bounds the logs that one append looks at. The first half are left
	// alone if they were appended to since their last turn.
	awakeTries = 32
)

// init derives the budget, if none is given, from the limit of descriptors: a
// quarter of it. Readers take another, and the rest is the program's.
func (a *awake) init(budget int) {
	if a.max = budget; budget <= 0 {
		a.max = max(minAwake, min(vfs.MaxFiles()/4, maxAwake))
	}
}

// add lists a log that wakes.
func (a *awake) add(l *Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.turn == nil {
		l.turn = &turn{l: l, passed: l.end.Load(), settled: -1}
		a.pushLocked(l.turn)
	}
}

// remove takes a log off the list that rests or was closed.
func (a *awake) remove(l *Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.turn != nil {
		a.unlinkLocked(l.turn)
		l.turn = nil
	}
}

func (a *awake) pushLocked(t *turn) {
	t.newer, t.older = nil, a.mu.newest
	if t.older != nil {
		t.older.newer = t
	} else {
		a.mu.oldest = t
	}
	a.mu.newest = t
	a.mu.count++
}

func (a *awake) unlinkLocked(t *turn) {
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		a.mu.newest = t.older
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		a.mu.oldest = t.newer
	}
	a.mu.count--
}

// over tells whether there are more than the budget.
func (a *awake) over() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.count > a.max
}

// next turns the list: the oldest becomes the newest. used says that it was
// appended to since its last turn.
func (a *awake) next() (l *Log, used bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.mu.oldest
	if t == nil {
		return nil, false
	}
	a.unlinkLocked(t)
	a.pushLocked(t)
	end := t.l.end.Load()
	used = t.passed != end
	t.passed = end
	return t.l, used
}

// all are the logs that are awake now.
func (a *awake) all() []*Log {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*Log, 0, a.mu.count)
	for t := a.mu.oldest; t != nil; t = t.newer {
		list = append(list, t.l)
	}
	return list
}

// unused tells whether nothing was appended to a log since this was last asked.
func (a *awake) unused(l *Log) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	end := l.end.Load()
	t := l.turn
	if t == nil || t.settled == end {
		return true
	}
	t.settled = end
	return false
}

// makeRoom puts another log than self to rest. It reports whether it found one.
func (a *awake) makeRoom(self *Log) bool {
	for try := range awakeTries {
		l, used := a.next()
		if l == nil {
			return false
		}
		if l == self || used && try < awakeTries/2 {
			continue
		}
		if l.tryRest(true) {
			return true
		}
	}
	return false
}

// Awake is how many logs are open for appending.
func (e *Env) Awake() int {
	e.awake.mu.Lock()
	defer e.awake.mu.Unlock()
	return e.awake.mu.count
}

// Settle puts the logs to rest that nothing was appended to since the last call
// and that are durable. It reports whether there are others that a later call may
// do so with. The store calls it now and then; nothing else runs for it.
func (e *Env) Settle() (again bool) {
	for _, l := range e.awake.all() {
		again = l.settle() || again
	}
	return again
}
