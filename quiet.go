package leat

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"time"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

type partitionID struct {
	topic TopicID
	id    int32
}

// quiet says that before a time there is nothing to delete by these rules.
type quiet struct {
	rules log.Retention
	until time.Time
}

// farAway is later than any time that a partition is looked at.
var farAway = time.Unix(1<<40, 0)

// quietUntil is the time from which on a partition that is not open may have
// something to delete, by the look of its folder: opening ten thousand every five
// minutes to find nothing would be dear.
func (s *Store) quietUntil(t *Topic, id int32, rules log.Retention) (time.Time, error) {
	_, start, _ := s.found.of(log.TopicPartition{Topic: t.name, Partition: id})
	start = max(start, s.state.startOf(lineKey(t.id, id)))
	limited := rules.Delete && (rules.Age >= 0 || rules.Bytes >= 0)
	if start <= 0 && !limited {
		return farAway, nil
	}
	files, err := s.segmentFiles(folderName(t.name, id))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return farAway, nil // whoever opens it is told
	}
	if err != nil {
		return farAway, err
	}
	if len(files) > 1 && files[1].base <= start {
		return time.Time{}, nil
	}
	if !limited || len(files) == 1 && files[0].size == 0 {
		return farAway, nil
	}
	excess := int64(-1)
	if rules.Bytes >= 0 {
		excess = -rules.Bytes
		for _, f := range files {
			excess += f.size
		}
	}
	if keepsOldest(&rules.Floor, files) {
		return s.heldUntil(files, excess, rules), nil
	}
	if rules.Bytes >= 0 && excess >= files[0].size {
		return time.Time{}, nil
	}
	if rules.Age < 0 {
		return farAway, nil
	}
	return s.latestIn(&files[0]).Add(rules.Age).Add(time.Millisecond), nil
}

// segmentFile is the log file of a segment of a partition that is not open.
type segmentFile struct {
	folder     string
	base, size int64
	modified   time.Time
}

// segmentFiles lists the segments in a folder, oldest first.
func (s *Store) segmentFiles(folder string) ([]segmentFile, error) {
	list, err := s.fsys.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var files []segmentFile
	for _, e := range list { // sorted by name, and so by offset
		if base, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix {
			files = append(files, segmentFile{folder, base, e.Size, e.ModTime})
		}
	}
	return files, nil
}

// latestIn is the largest timestamp of a segment by its time index, or the time
// of its file. A time index that says nothing, or nothing true, is found out by
// who opens the partition.
func (s *Store) latestIn(f *segmentFile) time.Time {
	x, err := s.fsys.Open(segment.Join(f.folder, segment.FileName(f.base, segment.TimeSuffix)), vfs.ReadOnly)
	if err != nil {
		return f.modified
	}
	defer x.Close()
	var entry [index.TimeEntrySize]byte
	size, err := x.Size()
	if err != nil || size < int64(len(entry)) {
		return f.modified
	}
	if _, err := x.ReadAt(entry[:], size-int64(len(entry))); err != nil && !isEOF(err) {
		return f.modified
	}
	if ms := int64(binary.BigEndian.Uint64(entry[:])); ms > 0 && ms < farAway.UnixMilli() {
		return time.UnixMilli(ms)
	}
	return f.modified
}

// startOf is the log start offset that a partition's line says; 0 when it says
// nothing.
func (s *stateFile) startOf(key uint64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.mu.byKey[key]; ok {
		return int64(s.word(i, 1))
	}
	return 0
}
