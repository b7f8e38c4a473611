package leat

import (
	"fmt"

	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// importMark is a file in the folder of a partition that is being imported. While
// no topic has the folder, it says that what is in there is a copy that was never
// finished. Later it says nothing.
const importMark = "leat.import"

// ownerless is for the folder of a partition that no topic has: one that a crash
// left of a create or an import goes, and any other is left alone and named in
// the log.
func (s *Store) ownerless(folder string) {
	path := s.fsys.Path(folder)
	unfinished, err := s.unfinished(folder)
	if err == nil && unfinished {
		if err = log.RemoveFolder(s.env, folder); err == nil {
			s.logger.Info("removed: what an interrupted create left", "path", path)
			return
		}
	}
	if err != nil {
		s.logger.Warn("folder of no topic not looked at", "path", path, "err", err)
		return
	}
	s.logger.Warn("left alone: folder of no topic", "path", path)
}

// unfinished tells whether a folder has nothing in it but what Leat puts there
// before a partition is committed: partition.metadata at most, or the mark of an
// import.
func (s *Store) unfinished(folder string) (bool, error) {
	list, err := s.fsys.ReadDir(folder)
	if err != nil {
		return false, err
	}
	bare := true
	for _, e := range list {
		if !e.Mode.IsRegular() {
			return false, nil
		}
		if e.Name == importMark {
			return true, nil
		}
		bare = bare && e.Name == partitionMetadata
	}
	return bare, nil
}

// removeLeftover removes the folder of a partition that nobody knows, unless
// there is anything in it that a create would not have put there.
func (s *Store) removeLeftover(folder string) error {
	list, err := s.fsys.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range list {
		_, _, ours := segment.ParseName(e.Name)
		ours = ours || e.Name == partitionMetadata
		if !e.Mode.IsRegular() || !ours || e.Size > 0 && e.Name != partitionMetadata {
			return fmt.Errorf("%w: %s has data in it, of no topic: %s", ErrTopicExists, s.fsys.Path(folder), e.Name)
		}
	}
	return log.RemoveFolder(s.env, folder)
}
