package leat

import (
	"context"
	"errors"
	"time"

	"github.com/leatlog/leat/log"
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

func (r *retention) init() {
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.quiet = map[partitionID]quiet{}
}

// armRetention sees to it that a pass comes, while there are topics.
func (s *Store) armRetention() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.retention
	if s.mu.closed || s.still || r.armed || len(s.mu.topics) == 0 {
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
	err = errors.Join(err, s.expireOffsets(r.ctx))
	if deleted.Segments > 0 {
		s.logger.Info("retention", "segments", deleted.Segments, "bytes", deleted.Bytes)
	}
	if err != nil && r.ctx.Err() == nil {
		s.logger.Error("retention incomplete", "err", err)
	}
	s.armRetention()
}

// Retain deletes what the topics' Retention does not keep, and committed offsets
// that Options.OffsetsRetention does not, now. In the background
// that happens every five minutes. An error in one partition does not stop it for
// the others; what could not be deleted is tried again next time.
func (s *Store) Retain(ctx context.Context) (Deleted, error) {
	if s.follow != nil {
		return Deleted{}, ErrReadOnly
	}
	if err := s.enter(); err != nil {
		return Deleted{}, err
	}
	defer s.leave()
	deleted, err := s.retain(ctx, s.topics(), nil)
	return deleted, errors.Join(err, s.expireOffsets(ctx))
}

// Retain is Store.Retain for one topic.
func (t *Topic) Retain(ctx context.Context) (Deleted, error) {
	if t.store.follow != nil {
		return Deleted{}, ErrReadOnly
	}
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
// is below gets an *OffsetError; what it was given stays readable. ErrInvalidTopic:
// an internal topic.
func (p *Partition) DeleteRecords(ctx context.Context, before int64) error {
	s := p.topic.store
	l, err := p.change()
	if err != nil {
		return err
	}
	if err := refuseInternal(p.topic.name); err != nil {
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

// retention is what package log wants to know, but for the floor, which each
// partition has of its own.
func (t *Topic) retention() log.Retention {
	c := t.cfg()
	return log.Retention{
		Delete: c.Cleanup != CleanupCompact,
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
		floors, err := s.floorsOf(ctx, t)
		told := false
		if err != nil {
			rules.Delete = false // all may be needed
			errs = append(errs, err)
		}
		for id := range t.ids() {
			if err := ctx.Err(); err != nil {
				return sum, errors.Join(append(errs, err)...)
			}
			if s.isClosed() {
				return sum, errors.Join(append(errs, ErrClosed)...)
			}
			rules := rules
			if rules.Floor, err = floors.of(id, t.opened(id)); err != nil {
				if rules.Delete = false; !told {
					told = true // it will be the same for the others
					errs = append(errs, err)
				}
			}
			d, err := s.retainPartition(ctx, t, id, rules, &floors, now, next)
			sum.Segments += d.Segments
			sum.Bytes += d.Bytes
			if err != nil && !t.deleted.Load() {
				errs = append(errs, err)
			}
		}
	}
	return sum, errors.Join(errs...)
}

func (s *Store) retainPartition(ctx context.Context, t *Topic, id int32, rules log.Retention, floors *floors, now time.Time, next map[partitionID]quiet) (Deleted, error) {
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
		if rules.Floor, err = floors.of(id, l); err != nil {
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

// saveStarts makes the log start offsets durable by the checkpoint, for a
// partition that has no line in leat.state.
func (s *Store) saveStarts() error {
	s.admin <- struct{}{}
	defer func() { <-s.admin }()
	return s.checkpoint()
}
