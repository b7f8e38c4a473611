package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/leatlog/leat/internal/vfs"
)

// temporarySuffix is that of a log file that is to take the place of another, or
// to become one.
const temporarySuffix = ".tmp"

// Pinned reports whether readers hold the segment. After Close it stays false
// once it is.
func (s *Segment) Pinned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.pins > 0
}

// CopyHead makes a copy of the first size bytes of the log file, synced, under a
// temporary name. PutHead gives it the segment's.
func (s *Segment) CopyHead(size int64) error {
	return s.prepareHead(func(dst vfs.File) error { return s.copyHead(dst, size) })
}

// prepareHead makes what PutHead puts in place.
func (s *Segment) prepareHead(fill func(dst vfs.File) error) (err error) {
	name := s.name(LogSuffix) + temporarySuffix
	if err := s.fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dst, err := s.fsys.Create(name)
	if err != nil {
		return fmt.Errorf("segment %d: %w", s.base, err)
	}
	err = fill(dst)
	if err == nil {
		if err = dst.Sync(); err != nil {
			err = fmt.Errorf("sync %s: %w", dst.Path(), err)
		}
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return errors.Join(err, s.DropHead())
	}
	return nil
}

func (s *Segment) copyHead(dst vfs.File, size int64) (err error) {
	if size == 0 {
		return nil
	}
	src, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return copyRange(dst, src, 0, size)
}

// PutHead puts the copy that CopyHead has made in the place of the log file, if
// there is one. Pinned readers go on with the old one. The caller syncs the
// folder.
func (s *Segment) PutHead() error {
	return s.fsys.Rename(s.name(LogSuffix)+temporarySuffix, s.name(LogSuffix))
}

// DropHead removes what CopyHead has made.
func (s *Segment) DropHead() error {
	err := s.fsys.Remove(s.name(LogSuffix) + temporarySuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RenameTo gives the log file the name of another base offset. The caller has
// closed the segment, and syncs the folder.
func (s *Segment) RenameTo(base int64) error {
	return s.fsys.Rename(s.name(LogSuffix), Join(s.dir, FileName(base, LogSuffix)))
}

// DropIndexes removes the index files: the segment is to be appended to again,
// and has them in memory until it is sealed.
func (s *Segment) DropIndexes() error {
	return errors.Join(s.dropFile(IndexSuffix), s.dropFile(TimeSuffix), s.dropFile(TxnSuffix))
}
