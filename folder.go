package leat

import (
	"fmt"
	"strings"

	"github.com/leatlog/leat/log"
)

// openState is what is known of a partition before it is opened.
func (s *Store) openState(t *Topic, id int32) log.OpenState {
	st := log.OpenState{Adopted: t.adopted, New: t.isFresh(id)}
	st.RecoveryPoint, st.StartOffset, st.HighWatermark = s.found.of(log.TopicPartition{Topic: t.name, Partition: id})
	// Without a recovery point there is nothing that the marker could vouch for.
	st.Clean = s.clean && st.RecoveryPoint >= 0
	words, believed, err := s.state.claim(lineKey(t.id, id))
	if err != nil {
		st.SaveStart = s.saveStarts
		s.logger.Warn("no room for the marks of a partition", "partition", folderName(t.name, id), "err", err)
		return st
	}
	st.Marks, st.MarksValid = log.NewMarks(words, s.state.sync), believed
	return st
}

// checkFolder compares partition.metadata with the topic: a folder of another
// topic of the same name must not be taken for this one's. A file that is missing
// or says nothing is made again.
func (s *Store) checkFolder(t *Topic, folder string) error {
	name := folder + "/" + partitionMetadata
	b, err := readSmall(s.fsys, name)
	if err != nil {
		return within(err, "open %s", folder)
	}
	if b == nil && t.adopted {
		return nil // brokers before topic ids made none
	}
	switch id, err := parsePartitionMetadata(b); {
	case err != nil:
		s.logger.Warn("file made again", "path", s.fsys.Path(name), "err", err)
		return log.WriteFile(s.fsys, name, formatPartitionMetadata(t.id))
	case id != t.id:
		return &CorruptError{Path: s.fsys.Path(name), Offset: -1,
			Err: fmt.Errorf("the folder is of topic id %v, and topic %s has id %v", id, t.name, t.id)}
	}
	return nil
}

// report names in the log what a recovery did. What it cut off has been named.
func (s *Store) report(folder string, r *log.Report) {
	if r.Damage != nil {
		s.logger.Error("damaged: appends are refused", "partition", folder, "err", r.Damage)
	}
	if !r.Clean {
		s.logger.Info("recovered", "partition", folder, "segments", r.SegmentsScanned, "bytes", r.BytesScanned,
			"rewritten", r.BytesRewritten, "rebuilt", strings.Join(r.Rebuilt, " "), "start", r.StartOffset, "end", r.EndOffset)
	}
}
