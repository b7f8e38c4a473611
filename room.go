package leat

import (
	"context"
	"time"

	"github.com/leatlog/leat/log"
)

// vainRest is how long nobody looks for old segments after there were none.
const vainRest = time.Second

// pressed makes room in the background. It is called by appends.
func (s *Store) pressed() {
	d := s.disk
	if time.Now().UnixNano()-d.vain.Load() < int64(vainRest) || !d.making.CompareAndSwap(false, true) {
		return
	}
	if s.enter() != nil {
		d.making.Store(false)
		return
	}
	go func() {
		defer s.leave()
		defer d.making.Store(false)
		s.makeRoom(s.retention.ctx)
		if d.used.Load() > d.high() {
			d.vain.Store(time.Now().UnixNano())
		}
	}()
}

// makeRoom rolls what is large, and deletes the oldest sealed segments of all
// topics that delete at all, whatever their age, until the store is below its
// mark.
func (s *Store) makeRoom(ctx context.Context) {
	d := s.disk
	var list []*oldSegment
	for _, t := range s.topics() {
		if !t.expendable() {
			continue
		}
		floors, err := s.floorsOf(ctx, t)
		if err != nil {
			s.logger.Warn("disk limit: topic is passed over", "topic", t.name, "err", err)
			continue
		}
		for id := range t.ids() {
			if ctx.Err() != nil {
				return
			}
			l := t.opened(id)
			if l != nil {
				if err := l.RollLarge(d.step()); err != nil {
					s.logger.Debug("segment not rolled", "partition", folderName(t.name, id), "err", err)
				}
			}
			if d.used.Load() > d.high() {
				if o := (&oldSegment{topic: t, id: id, log: l, floors: &floors}); s.lookAt(o) {
					list = append(list, o)
				}
			}
		}
	}
	var sum Deleted
	for d.used.Load() > d.high() && len(list) > 0 && ctx.Err() == nil {
		i := 0
		for j := range list {
			if list[j].latest.Before(list[i].latest) {
				i = j
			}
		}
		deleted, err := s.deleteOldest(ctx, list[i])
		sum.Segments += deleted.Segments
		sum.Bytes += deleted.Bytes
		if err != nil && ctx.Err() == nil && !list[i].topic.deleted.Load() {
			s.logger.Error("disk limit: segment not deleted", "partition", folderName(list[i].topic.name, list[i].id), "err", err)
		}
		if err != nil || deleted.Segments == 0 || !s.lookAt(list[i]) {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
		}
	}
	if sum.Segments > 0 {
		s.logger.Warn("disk limit: old segments deleted", "segments", sum.Segments, "bytes", sum.Bytes, "limit", d.limit)
	}
}

// expendable tells whether the disk limit may delete a topic's records: not those
// of a topic from elsewhere that nobody has configured.
func (t *Topic) expendable() bool {
	r := t.retention()
	return r.Delete && !(t.adopted && r.Age < 0 && r.Bytes < 0)
}

// oldSegment is the oldest segment of a partition.
type oldSegment struct {
	topic  *Topic
	id     int32
	log    *log.Log // nil: not open
	floors *floors
	latest time.Time
}

// lookAt finds out how old the oldest segment is; false when it cannot go.
func (s *Store) lookAt(o *oldSegment) bool {
	floor, err := o.floors.of(o.id, o.log)
	if err != nil {
		s.logger.Warn("disk limit: partition is passed over", "partition", folderName(o.topic.name, o.id), "err", err)
		return false
	}
	if o.log == nil {
		files, err := s.segmentFiles(folderName(o.topic.name, o.id))
		if err != nil || len(files) < 2 || keepsOldest(&floor, files) && !exceeds(files, floor.Bytes) {
			return false
		}
		o.latest = s.latestIn(&files[0])
		return true
	}
	ms, ok, err := o.log.OldestSealed(floor)
	if err != nil {
		s.logger.Warn("disk limit: oldest segment is passed over", "partition", folderName(o.topic.name, o.id), "err", err)
	}
	o.latest = time.UnixMilli(ms)
	return ok
}

func (s *Store) deleteOldest(ctx context.Context, o *oldSegment) (Deleted, error) {
	if o.log == nil {
		var err error
		if o.log, err = o.topic.handle(o.id).use(); err != nil {
			return Deleted{}, err
		}
	}
	floor, err := o.floors.of(o.id, o.log)
	if err != nil {
		return Deleted{}, err
	}
	d, err := o.log.DeleteOldest(ctx, floor)
	s.touch()
	return d, err
}
