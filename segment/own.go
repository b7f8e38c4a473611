package segment

import "github.com/leatlog/leat/internal/vfs"

// A log file may have further names: a backup by hard links shares the sealed
// ones. What is to change its bytes or its length first gives the segment a file
// of its own, as a whole and under the old name, so that whoever has the other
// names finds what was there. Writing the same bytes again does not.

// Shared reports whether the log file has other names, or may have.
func (s *Segment) Shared() bool {
	if !vfs.IsOS(s.fsys) {
		return false // there are no links
	}
	f, err := s.maps.open(s.fsys, s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return true // making a copy meets the error again
	}
	defer f.Close()
	return vfs.Links(f) > 1
}

// own puts a copy of the first size bytes in the place of the log file. Views of
// the old one, parked or pinned, stay what they are. Nobody may be at work on it.
func (s *Segment) own(size int64) error {
	if err := s.CopyHead(size); err != nil {
		return err
	}
	if err := s.PutHead(); err != nil {
		return err
	}
	if err := s.fsys.SyncDir(s.dir); err != nil {
		return &SyncError{err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.replaced = true
	return nil
}

// ownScanned is own for a file that a scan has told to have other names.
func (s *Segment) ownScanned(r *Scan) error {
	s.mu.Lock()
	replaced := s.mu.replaced
	s.mu.Unlock()
	if replaced {
		r.Replaced()
	}
	if !r.linked {
		return nil
	}
	if err := s.own(r.Valid); err != nil {
		return err
	}
	r.Replaced()
	return nil
}
