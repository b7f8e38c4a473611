package leat

import (
	"encoding/binary"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// settled says that before a time a partition that is not open is not dirty
// enough, by these rules.
type settled struct {
	rules Compaction
	ratio float64
	until time.Time
}

// settledUntil is the time from which on a partition that is not open is to be
// cleaned, by the look of its folder, and how dirty it is then: opening ten
// thousand to find nothing would be dear. As long as it is not opened nothing
// changes, so what was found once holds.
func (s *Store) settledUntil(job *cleaning, now time.Time) settled {
	rules := job.topic.cfg().Compaction
	if q, ok := s.cleaner.quiet[job.partitionID()]; ok && q.rules == rules && q.until.After(now) {
		return q
	}
	q := settled{rules: rules, until: farAway}
	files, err := s.segmentFiles(folderName(job.topic.name, job.id))
	if err != nil || len(files) < 2 {
		return q // whoever opens it is told
	}
	tp := job.key()
	_, start, _ := s.found.of(tp)
	start = max(start, s.state.startOf(lineKey(job.topic.id, job.id)), files[0].base)
	first := max(s.found.cleanedAt(tp), start)
	sealed := files[:len(files)-1]
	var clean, dirty int64
	var oldest *segmentFile
	for i := range sealed {
		f := &sealed[i]
		next := files[i+1].base
		switch {
		case next <= start:
			continue // about to be deleted
		case next <= first:
			clean += f.size
			continue
		}
		if rules.MinLag > 0 {
			if at := s.latestIn(f).Add(rules.MinLag).Add(time.Millisecond); at.After(now) {
				q.until = at // when this one counts there is more to be weighed
				break
			}
		}
		if oldest == nil {
			oldest = f
		}
		dirty += f.size
	}
	if dirty == 0 {
		return q
	}
	d := log.Dirty{CleanBytes: clean, DirtyBytes: dirty}
	if rules.dirtyEnough(d) {
		return settled{rules, d.Ratio(), now}
	}
	if rules.MaxLag >= 0 {
		at := s.firstIn(oldest).Add(rules.MaxLag).Add(time.Millisecond)
		if !at.After(now) {
			return settled{rules, d.Ratio(), now}
		}
		q.until = earlier(q.until, at)
	}
	return q
}

// cleanedAt is what the checkpoint says of a partition that is not open, -1 if
// nothing.
func (c *checkpoints) cleanedAt(tp log.TopicPartition) int64 {
	c.Lock()
	defer c.Unlock()
	if point, ok := c.cleaner[tp]; ok {
		return point
	}
	return -1
}

// firstIn is the largest timestamp of the first batch of a segment, or the time of
// its file.
func (s *Store) firstIn(f *segmentFile) time.Time {
	x, err := s.fsys.Open(segment.Join(f.folder, segment.FileName(f.base, segment.LogSuffix)), vfs.ReadOnly)
	if err != nil {
		return f.modified
	}
	defer x.Close()
	var head [codec.HeaderSize]byte
	if _, err := x.ReadAt(head[:], 0); err != nil {
		return f.modified
	}
	const maxTimestamp = 35 // where it is in a batch
	if ms := int64(binary.BigEndian.Uint64(head[maxTimestamp:])); ms > 0 && ms < farAway.UnixMilli() {
		return time.UnixMilli(ms)
	}
	return f.modified
}
