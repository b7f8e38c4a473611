package segment

import (
	"container/list"
	"sync"
)

// Maps bounds the memory maps of a process. Reaching the kernel's limit
// (vm.max_map_count) does not fail an mmap, it kills the Go runtime, so readers
// beyond the budget use pread. Views that nobody has pinned are kept, and given
// up least recently used first.
type Maps struct {
	mu struct {
		sync.Mutex
		count  int   // maps there are
		mapped int   // parked views with a map
		files  int   // parked views with a file
		heap   int64 // bytes of parked indexes
		idle   list.List
		of     map[*Segment]*list.Element
	}
	max int
}

type parked struct {
	s *Segment
	v *view
}

const (
	// maxParkedIndexes bounds the heap that indexes of unpinned segments keep.
	maxParkedIndexes = 32 << 20
	// maxParkedFiles bounds the unpinned segments that keep a descriptor because
	// they could not be mapped: well below the usual limit of 1024 a process.
	maxParkedFiles = 256
	// maxParkedViews bounds them all.
	maxParkedViews = 4096
)

// NewMaps returns a budget of max maps; 0 means none, so that all is read with
// pread.
func NewMaps(max int) *Maps {
	m := &Maps{max: max}
	m.mu.of = make(map[*Segment]*list.Element)
	return m
}

// Count is the number of maps in use, parked ones included.
func (m *Maps) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.count
}

// reserve asks for one more map, giving up a parked one where needed.
func (m *Maps) reserve() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.mu.count >= m.max {
		if m.mu.mapped == 0 {
			return false
		}
		m.evictLocked(func(v *view) bool { return v.m != nil })
	}
	m.mu.count++
	return true
}

func (m *Maps) unreserve() {
	m.mu.Lock()
	m.mu.count--
	m.mu.Unlock()
}

// park keeps the view of an unpinned segment for its next reader.
func (m *Maps) park(s *Segment, v *view) {
	if v.shared {
		// The writer's file is gone with the writer: only the map is worth keeping.
		v.file, v.shared = nil, false
		if v.m == nil {
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := v.indexes.Load(); x != nil {
		m.mu.heap += x.bytes
	}
	if v.m != nil {
		m.mu.mapped++
	}
	if v.file != nil {
		m.mu.files++
	}
	m.mu.of[s] = m.mu.idle.PushFront(parked{s, v})
	if m.mu.files > maxParkedFiles {
		m.evictLocked(func(v *view) bool { return v.file != nil })
	}
	for m.mu.idle.Len() > 1 && (m.mu.heap > maxParkedIndexes || m.mu.idle.Len() > maxParkedViews) {
		m.evictLocked(func(*view) bool { return true })
	}
}

// take gives a parked view back, if there is one.
func (m *Maps) take(s *Segment) *view {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.mu.of[s]
	if !ok {
		return nil
	}
	return m.unlinkLocked(e)
}

func (m *Maps) unlinkLocked(e *list.Element) *view {
	p := m.mu.idle.Remove(e).(parked)
	delete(m.mu.of, p.s)
	if x := p.v.indexes.Load(); x != nil {
		m.mu.heap -= x.bytes
	}
	if p.v.m != nil {
		m.mu.mapped--
	}
	if p.v.file != nil {
		m.mu.files--
	}
	return p.v
}

// evictLocked gives up the parked view that was least recently used of those
// that will do.
func (m *Maps) evictLocked(will func(*view) bool) {
	for e := m.mu.idle.Back(); e != nil; e = e.Prev() {
		if will(e.Value.(parked).v) {
			m.dropLocked(m.unlinkLocked(e))
			return
		}
	}
}

// drop unmaps and closes a view that nobody uses.
func (m *Maps) drop(v *view) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(v)
}

func (m *Maps) dropLocked(v *view) {
	// Nothing can be done about a failing unmap or close of what was only read.
	if v.m != nil {
		m.mu.count--
		_ = v.m.Unmap()
		v.m, v.data = nil, nil
	}
	if v.file != nil && !v.shared {
		_ = v.file.Close()
	}
	v.file = nil
}
