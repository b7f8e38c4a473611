package leat

import (
	"context"
	"time"

	"github.com/leatlog/leat/log"
)

// floors tells where the retention of a topic's partitions stops: at what the
// slowest of the groups that Retention.Groups names has not committed.
type floors struct {
	topic  string
	groups []string
	bytes  int64 // Retention.GroupsBytes
	// fetch finds what a group has committed.
	fetch func(group string, tp log.TopicPartition) (committed, bool, error)
}

// floorsOf loads what groups have committed, if the topic names any.
func (s *Store) floorsOf(ctx context.Context, t *Topic) (floors, error) {
	r := &t.cfg().Retention
	if len(r.Groups) == 0 {
		return floors{}, nil
	}
	o, err := s.committedOffsets(ctx)
	if err != nil {
		return floors{}, within(err, "retention of %s: what its groups have committed", t.name)
	}
	return floors{topic: t.name, groups: r.Groups, bytes: r.GroupsBytes, fetch: o.fetch}, nil
}

// of is the floor of a partition as it is now. Commits that come later raise it:
// what it allows stays allowed. A group that has committed nothing here keeps
// everything. l is its log, nil if it is not open: a commit from before it was cut
// stands for no more than was left.
func (f *floors) of(id int32, l *log.Log) (log.Floor, error) {
	if len(f.groups) == 0 {
		return log.Floor{}, nil
	}
	slowest := log.Floor{On: true, Bytes: f.bytes}
	for i, group := range f.groups {
		c, ok, err := f.fetch(group, log.TopicPartition{Topic: f.topic, Partition: id})
		if err != nil {
			return log.Floor{}, within(err, "retention of %s: what group %q has committed", folderName(f.topic, id), group)
		}
		offset := int64(0)
		if ok {
			offset = max(c.standing(l), 0)
		}
		if i == 0 || offset < slowest.Offset {
			slowest.Offset, slowest.Group = offset, group
		}
	}
	return slowest, nil
}

// keepsOldest tells whether a floor keeps the oldest segment of a partition that is
// not open. Where the last segment ends is not known: it is taken to be below.
func keepsOldest(f *log.Floor, files []segmentFile) bool {
	if !f.On || len(files) == 0 {
		return false
	}
	return f.Offset <= files[0].base || len(files) > 1 && f.Offset < files[1].base
}

// exceeds tells whether segments together have more than so many bytes, if that is a
// limit.
func exceeds(files []segmentFile, limit int64) bool {
	if limit < 0 {
		return false
	}
	for i := range files {
		limit -= files[i].size
		if limit < 0 {
			return true
		}
	}
	return false
}

// heldUntil is the time from which on a partition that is not open, whose oldest
// segment lies above the floor, may have something to delete all the same: more than
// the floor may hold. excess is by how much its segments are more than rules.Bytes,
// negative when they are not.
func (s *Store) heldUntil(files []segmentFile, excess int64, rules log.Retention) time.Time {
	if rules.Floor.Bytes < 0 {
		return farAway
	}
	var (
		held int64
		when time.Time
	)
	for i := range files {
		f := &files[i]
		if rules.Bytes < 0 || excess < f.size {
			excess = -1 // none behind it either
			if rules.Age < 0 {
				return farAway
			}
			if t := s.latestIn(f).Add(rules.Age).Add(time.Millisecond); t.After(when) {
				when = t
			}
		} else {
			excess -= f.size
		}
		if held += f.size; held > rules.Floor.Bytes {
			return when
		}
	}
	return farAway
}
