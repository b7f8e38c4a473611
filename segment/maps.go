package segment

import (
	"errors"
	"sync"

	"github.com/leatlog/leat/internal/vfs"
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
		parked int   // views
		// newest and oldest are the ends of the list of segments with a parked
		// view, which runs through the segments: parking allocates nothing.
		newest, oldest *Segment
	}
	max      int
	maxFiles int // of parked views
}

// parked is a segment's place in the list of Maps, whose lock guards it.
type parked struct {
	view         *view // nil: not in the list
	newer, older *Segment
}

const (
	// maxParkedIndexes bounds the heap that indexes of unpinned segments keep.
	maxParkedIndexes = 32 << 20
	// maxParkedFiles bounds the unpinned segments that keep a descriptor because
	// they could not be mapped, and so does a quarter of what the process may have.
	maxParkedFiles = 1024
	// maxParkedViews bounds them all.
	maxParkedViews = 4096
)

// NewMaps returns a budget of max maps; 0 means none, so that all is read with
// pread.
func NewMaps(max int) *Maps {
	return &Maps{max: max, maxFiles: min(vfs.MaxFiles()/4, maxParkedFiles)}
}

// open opens a file of a segment. For want of a descriptor it gives up a parked
// one.
func (m *Maps) open(fsys vfs.FS, name string, mode vfs.Mode) (vfs.File, error) {
	for {
		f, err := fsys.Open(name, mode)
		if !errors.Is(err, vfs.ErrTooManyFiles) || !m.spareFile() {
			return f, err
		}
	}
}

// spareFile closes the file of the parked view that was least recently used, if
// there is one.
func (m *Maps) spareFile() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	had := m.mu.files
	if had > 0 {
		m.evictLocked(func(v *view) bool { return v.file != nil })
	}
	return had > 0
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
	s.parked = parked{view: v, older: m.mu.newest}
	if m.mu.newest != nil {
		m.mu.newest.parked.newer = s
	} else {
		m.mu.oldest = s
	}
	m.mu.newest = s
	m.mu.parked++
	if m.mu.files > m.maxFiles {
		m.evictLocked(func(v *view) bool { return v.file != nil })
	}
	for m.mu.parked > 1 && (m.mu.heap > maxParkedIndexes || m.mu.parked > maxParkedViews) {
		m.evictLocked(func(*view) bool { return true })
	}
}

// take gives a parked view back, if there is one.
func (m *Maps) take(s *Segment) *view {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.parked.view == nil {
		return nil
	}
	return m.unlinkLocked(s)
}

func (m *Maps) unlinkLocked(s *Segment) *view {
	p := s.parked
	s.parked = parked{}
	if p.newer != nil {
		p.newer.parked.older = p.older
	} else {
		m.mu.newest = p.older
	}
	if p.older != nil {
		p.older.parked.newer = p.newer
	} else {
		m.mu.oldest = p.newer
	}
	m.mu.parked--
	if x := p.view.indexes.Load(); x != nil {
		m.mu.heap -= x.bytes
	}
	if p.view.m != nil {
		m.mu.mapped--
	}
	if p.view.file != nil {
		m.mu.files--
	}
	return p.view
}

// evictLocked gives up the parked view that was least recently used of those
// that will do.
func (m *Maps) evictLocked(will func(*view) bool) {
	for s := m.mu.oldest; s != nil; s = s.parked.newer {
		if will(s.parked.view) {
			m.dropLocked(m.unlinkLocked(s))
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
