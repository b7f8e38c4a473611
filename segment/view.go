package segment

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// A view is what the readers of a segment share: its bytes, mapped or behind a
// file, and its indexes once somebody has asked for them.
type view struct {
	m      vfs.Map  // nil: read with pread
	data   []byte   // m's bytes
	file   vfs.File // nil when m is there and the segment is sealed
	shared bool     // file belongs to the writer

	indexes atomic.Pointer[indexes] // loaded on demand; nil for the active segment
}

// indexes are a sealed segment's, in memory.
type indexes struct {
	offsets index.Offsets
	times   index.Times
	bytes   int64 // of heap they hold
}

// openView opens what readers need. s.mu is held, and there is no view.
func (s *Segment) openView() (*view, error) {
	if v := s.maps.take(s); v != nil {
		return v, nil
	}
	if w := s.mu.writer; w != nil {
		v := &view{file: w.file, shared: true}
		if w.m != nil && s.maps.reserve() {
			m, err := w.file.Map(w.limit, false)
			if err != nil {
				s.maps.unreserve()
				return nil, fmt.Errorf("segment %d: %w", s.base, err)
			}
			v.m, v.data = m, m.Bytes()
		}
		return v, nil
	}
	f, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, s.corrupt(0, s.base, fmt.Errorf("segment file is missing: %w", err))
		}
		return nil, fmt.Errorf("segment %d: %w", s.base, err)
	}
	// A map reaches beyond the end of a file that became shorter, where touching
	// it is a fault: compare first.
	n, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	size := s.size.Load()
	if n < size {
		return nil, errors.Join(
			s.corrupt(n, -1, fmt.Errorf("file has %d bytes, and had %d", n, size)), f.Close())
	}
	v := &view{file: f}
	if size > 0 && s.maps.reserve() {
		m, err := f.Map(size, false)
		switch {
		case err == nil:
			v.m, v.data, v.file = m, m.Bytes(), nil
			return v, f.Close()
		case errors.Is(err, vfs.ErrNotSupported):
			s.maps.unreserve()
		default:
			s.maps.unreserve()
			return nil, errors.Join(fmt.Errorf("segment %d: %w", s.base, err), f.Close())
		}
	}
	return v, nil
}

// Maps bounds the memory maps of a process. Reaching the kernel's limit
// (vm.max_map_count) does not fail an mmap, it kills the Go runtime, so readers
// beyond the budget use pread. Views that nobody has pinned are kept, and given
// up least recently used first.
type Maps struct {
	mu struct {
		sync.Mutex
		count int   // maps there are
		heap  int64 // bytes of parked indexes
		idle  list.List
		of    map[*Segment]*list.Element
	}
	max int
}

type parked struct {
	s *Segment
	v *view
}

// maxParkedIndexes bounds the heap that indexes of unpinned segments keep.
const maxParkedIndexes = 32 << 20

// maxParkedFiles bounds the unpinned segments that keep a descriptor because
// they could not be mapped.
const maxParkedViews = 4096

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
		if !m.evictLocked() {
			return false
		}
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
	m.mu.of[s] = m.mu.idle.PushFront(parked{s, v})
	for m.mu.idle.Len() > 1 && (m.mu.heap > maxParkedIndexes || m.mu.idle.Len() > maxParkedViews) {
		m.evictLocked()
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
	return p.v
}

func (m *Maps) evictLocked() bool {
	e := m.mu.idle.Back()
	if e == nil {
		return false
	}
	m.dropLocked(m.unlinkLocked(e))
	return true
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
