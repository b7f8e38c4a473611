package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/leatlog/leat/internal/vfs"
)

// PreparedName is the file that a segment is made in ahead of its time. One that
// is found at an open is left of a crash, and removed.
const PreparedName = "next.segment"

// Prepared is a segment made before its base offset is known: allocated, mapped
// and faulted in, so that the roll is a rename.
type Prepared struct {
	fsys vfs.FS
	maps *Maps
	dir  string
	cfg  Config
	w    *writer
}

// Prepare makes the file and the first ahead bytes of its road. Where nothing is
// mapped there is nothing to prepare: vfs.ErrNotSupported.
func Prepare(fsys vfs.FS, maps *Maps, dir string, c Config, ahead int64) (*Prepared, error) {
	if !c.Mapped {
		return nil, vfs.ErrNotSupported
	}
	name := Join(dir, PreparedName)
	f, err := fsys.Create(name)
	if err != nil {
		return nil, err
	}
	s := Open(fsys, maps, dir, 0, 0, c)
	p := &Prepared{fsys: fsys, maps: maps, dir: dir, cfg: c, w: s.newWriter(f, 0)}
	end := min(p.w.clip(ahead), p.w.limit)
	if err = p.w.grow(end); err == nil {
		s.mapWriter(p.w)
	}
	if err == nil && p.w.m == nil {
		err = vfs.ErrNotSupported
	}
	if err != nil {
		p.Discard()
		return nil, err
	}
	_ = p.w.m.Populate(0, int(end), true)
	p.w.populated.Store(end)
	p.w.touched.Store(true)
	return p, nil
}

// Become gives the file its name and makes it an active segment.
func (p *Prepared) Become(base int64) (*Segment, error) {
	s := Open(p.fsys, p.maps, p.dir, base, 0, p.cfg)
	name := s.name(LogSuffix)
	switch _, err := p.fsys.Stat(name); { // a rename would replace it
	case err == nil:
		return nil, fmt.Errorf("segment %d: %w", base, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("segment %d: %w", base, err)
	}
	if err := p.fsys.Rename(Join(p.dir, PreparedName), name); err != nil {
		return nil, fmt.Errorf("segment %d: %w", base, err)
	}
	p.w.rebase(base)
	p.w.path = s.Path()
	s.mu.writer = p.w
	s.maxTime.Store(-1)
	return s, nil
}

// Discard gives the file up.
func (p *Prepared) Discard() {
	_ = p.w.close()
	_ = p.fsys.Remove(Join(p.dir, PreparedName))
}
