package leat

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"time"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Deleted is what retention took away: whole segments.
type Deleted = log.Deleted

// retentionInterval is Kafka's log.retention.check.interval.ms.
const retentionInterval = 5 * time.Minute

// retention is the background deletion of a store: a timer while there are
// topics, and nothing else.
type retention struct {
	// ctx ends when the store is closed: a pass under way then ends soon.
	ctx  context.Context
	stop context.CancelFunc

	timer *time.Timer // guarded by Store.mu, as armed
	armed bool
	// quiet are the partitions that nobody has opened, and when it is worth
	// looking at them again; of the pass under way.
	quiet map[partitionID]quiet
}

type partitionID struct {
	topic TopicID
	id    int32
}

// quiet says that before a time there is nothing to delete by these rules.
type quiet struct {
	rules log.Retention
	until time.Time
}

func (r *retention) init() {
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.quiet = map[partitionID]quiet{}
}

// armRetention sees to it that a pass comes, while there are topics.
func (s *Store) armRetention() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.retention
	if s.mu.closed || r.armed || len(s.mu.topics) == 0 {
		return
	}
	r.armed = true
	s.ops.Add(1)
	if r.timer == nil {
		r.timer = time.AfterFunc(retentionInterval, s.retainInBackground)
		return
	}
	r.timer.Reset(retentionInterval)
}

// endRetention stops the timer and tells a pass under way to end. Store.mu is
// held.
func (s *Store) endRetention() {
	r := &s.retention
	r.stop()
	if r.armed && r.timer.Stop() {
		s.ops.Done()
	}
}

func (s *Store) retainInBackground() {
	defer s.ops.Done()
	r := &s.retention
	s.mu.Lock()
	r.armed = false
	s.mu.Unlock()
	next := map[partitionID]quiet{}
	deleted, err := s.retain(r.ctx, s.topics(), next)
	r.quiet = next
	if deleted.Segments > 0 {
		s.logger.Info("retention", "segments", deleted.Segments, "bytes", deleted.Bytes)
	}
	if err != nil && r.ctx.Err() == nil {
		s.logger.Error("retention incomplete", "err", err)
	}
	s.armRetention()
}

// Retain deletes what the topics' Retention does not keep, now. In the background
// that happens every five minutes. An error in one partition does not stop it for
// the others; what could not be deleted is tried again next time.
func (s *Store) Retain(ctx context.Context) (Deleted, error) {
	if err := s.enter(); err != nil {
		return Deleted{}, err
	}
	defer s.leave()
	return s.retain(ctx, s.topics(), nil)
}

// Retain is Store.Retain for one topic.
func (t *Topic) Retain(ctx context.Context) (Deleted, error) {
	if err := t.store.enter(); err != nil {
		return Deleted{}, err
	}
	defer t.store.leave()
	if err := t.usable(); err != nil {
		return Deleted{}, err
	}
	return t.store.retain(ctx, []*Topic{t}, nil)
}

// DeleteRecords makes before the log start offset: what lies below can no longer
// be read, and segments that lie below as a whole are removed at once (Kafka's
// DeleteRecords). -1 stands for the high watermark; beyond that is an
// *OffsetError [OFFSET_OUT_OF_RANGE]. An offset that is not above the log start
// changes nothing. When it returns nil this survives a power cut. A reader that
// is below gets an *OffsetError; what it was given stays readable.
func (p *Partition) DeleteRecords(ctx context.Context, before int64) error {
	s := p.topic.store
	l, err := p.use()
	if err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	_, err = l.DeleteRecords(ctx, before)
	s.touch()
	return p.fail(err)
}

// retention is what package log wants to know. A topic that keeps what groups
// have not committed loses nothing by age or size: nothing is known of groups.
func (t *Topic) retention() log.Retention {
	c := t.Config()
	return log.Retention{
		Delete: c.Cleanup != CleanupCompact && len(c.Retention.Groups) == 0,
		Age:    c.Retention.Age,
		Bytes:  c.Retention.Bytes,
	}
}

// retain is one pass. next takes what is known afterwards of partitions that are
// not open; nil for a pass that looks at each.
func (s *Store) retain(ctx context.Context, topics []*Topic, next map[partitionID]quiet) (sum Deleted, err error) {
	now := time.Now()
	var errs []error
	for _, t := range topics {
		rules := t.retention()
		for id := range t.ids() {
			if err := ctx.Err(); err != nil {
				return sum, errors.Join(append(errs, err)...)
			}
			if s.isClosed() {
				return sum, errors.Join(append(errs, ErrClosed)...)
			}
			d, err := s.retainPartition(ctx, t, id, rules, now, next)
			sum.Segments += d.Segments
			sum.Bytes += d.Bytes
			if err != nil && !t.deleted.Load() {
				errs = append(errs, err)
			}
		}
	}
	return sum, errors.Join(errs...)
}

func (s *Store) retainPartition(ctx context.Context, t *Topic, id int32, rules log.Retention, now time.Time, next map[partitionID]quiet) (Deleted, error) {
	l := t.opened(id)
	if l == nil {
		key := partitionID{t.id, id}
		var q quiet
		if next != nil {
			q = s.retention.quiet[key]
		}
		if q.rules != rules || q.until.IsZero() {
			until, err := s.quietUntil(t, id, rules)
			if err != nil {
				return Deleted{}, err
			}
			q = quiet{rules, until}
		}
		if q.until.After(now) {
			if next != nil {
				next[key] = q
			}
			return Deleted{}, nil
		}
		var err error
		if l, err = t.handle(id).use(); err != nil {
			return Deleted{}, err
		}
	}
	d, err := l.Retain(ctx, rules, now)
	if d.Segments > 0 {
		s.touch() // the start offset is to be in the next checkpoint
	}
	if next != nil && (errors.Is(err, ErrFailed) || errors.Is(err, ErrCorrupt)) {
		return d, nil // that the partition does not work was told when it was found
	}
	return d, t.handle(id).fail(err)
}

// opened is a partition's log if it is open.
func (t *Topic) opened(id int32) *log.Log {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p := t.mu.partitions[id]; p != nil {
		return p.log.Load()
	}
	return nil
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
	if rules.Bytes >= 0 {
		excess := -rules.Bytes
		for _, f := range files {
			excess += f.size
		}
		if excess >= files[0].size {
			return time.Time{}, nil
		}
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

// saveStarts makes the log start offsets durable by the checkpoint, for a
// partition that has no line in leat.state.
func (s *Store) saveStarts() error {
	s.admin <- struct{}{}
	defer func() { <-s.admin }()
	return s.checkpoint()
}
