package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// A view is what the readers of a segment share: its bytes, mapped or behind a
// file, and its indexes once somebody has asked for them.
type view struct {
	m      vfs.Map    // nil: read with pread
	data   []byte     // m's bytes
	file   vfs.File   // nil when m is there and the segment is sealed
	shared bool       // file belongs to the writer
	id     vfs.FileID // of the file, if the view has opened it
	linked bool       // that file has other names
	path   string     // of the log file, for errors

	indexes atomic.Pointer[indexes] // loaded on demand; nil for the active segment
}

// indexes are a segment's, in memory.
type indexes struct {
	offsets index.Offsets
	times   index.Times
	bytes   int64 // of heap they hold
	// ours: they were made from the batches, so that making them again is no use.
	ours bool
	// complete: no batch is later than the last entry of times. What was read
	// from a file has to be proved so, once.
	complete atomic.Bool
}

// openView opens what readers need. s.mu is held, and there is no view.
func (s *Segment) openView() (*view, error) {
	if v := s.maps.take(s); v != nil {
		return v, nil
	}
	if w := s.mu.writer; w != nil {
		v := &view{file: w.file, shared: true, path: w.path}
		s.mapActive(v, w)
		return v, nil
	}
	f, err := s.maps.open(s.fsys, s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, s.corrupt(0, s.base, fmt.Errorf("segment file is missing: %w", err))
		}
		return nil, fmt.Errorf("segment %d: %w", s.base, err)
	}
	// A map reaches beyond the end of a file that became shorter, where touching
	// it is a fault: compare first.
	r := s.mu.rest
	known := s.Expected()
	if r != nil {
		known = r.id
	}
	size := s.size.Load()
	id, err := s.checkFile(f, known, size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	v := &view{file: f, path: f.Path(), id: id, linked: vfs.Links(f) > 1}
	switch {
	case r != nil && !s.cfg.Mapped:
		// It may grow, by writes beside which maps are not used anywhere else.
	case r != nil:
		size = r.limit
		fallthrough
	case size > 0:
		v.mapFile(s.maps, size)
	}
	v.dropFile()
	return v, nil
}

// dropFile closes the view's own file when there is a map.
func (v *view) dropFile() {
	if v.m != nil && !v.shared && v.file != nil {
		_ = v.file.Close() // it was only read
		v.file = nil
	}
}

// mapActive maps what readers of the active segment look through, in its full
// size, if the writer has a map too. Nobody looks through it yet. s.mu is held.
func (s *Segment) mapActive(v *view, w *writer) {
	if v.m == nil && w.m != nil {
		v.mapFile(s.maps, w.limit)
		v.dropFile()
	}
}

// mapFile maps the view's file. Whatever forbids that (the budget, the system,
// the file), readers go on with pread.
func (v *view) mapFile(maps *Maps, size int64) {
	if !maps.reserve() {
		return
	}
	m, err := v.file.Map(size, false)
	if err != nil {
		maps.unreserve()
		return
	}
	v.m, v.data = m, m.Bytes()
}
