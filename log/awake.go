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
		count int
		// newest and oldest are the ends of the list, which runs through the logs.
		newest, oldest *Log
	}
}

// turn is a log's place among those that are awake. The lock of awake guards it.
type turn struct {
	listed       bool
	newer, older *Log
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
	if l.turn.listed {
		return
	}
	l.turn.passed = l.end.Load()
	l.turn.settled = -1
	a.pushLocked(l)
}

// remove takes a log off the list that rests or was closed.
func (a *awake) remove(l *Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.turn.listed {
		a.unlinkLocked(l)
	}
}

func (a *awake) pushLocked(l *Log) {
	l.turn.listed, l.turn.newer, l.turn.older = true, nil, a.mu.newest
	if a.mu.newest != nil {
		a.mu.newest.turn.newer = l
	} else {
		a.mu.oldest = l
	}
	a.mu.newest = l
	a.mu.count++
}

func (a *awake) unlinkLocked(l *Log) {
	t := &l.turn
	if t.newer != nil {
		t.newer.turn.older = t.older
	} else {
		a.mu.newest = t.older
	}
	if t.older != nil {
		t.older.turn.newer = t.newer
	} else {
		a.mu.oldest = t.newer
	}
	t.listed, t.newer, t.older = false, nil, nil
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
	if l = a.mu.oldest; l == nil {
		return nil, false
	}
	a.unlinkLocked(l)
	a.pushLocked(l)
	end := l.end.Load()
	used = l.turn.passed != end
	l.turn.passed = end
	return l, used
}

// all are the logs that are awake now.
func (a *awake) all() []*Log {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*Log, 0, a.mu.count)
	for l := a.mu.oldest; l != nil; l = l.turn.newer {
		list = append(list, l)
	}
	return list
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
