package log

import (
	"errors"
	"slices"
	"sync"

	"github.com/leatlog/leat/segment"
)

// sealer finishes the segments that were rolled: index files, the exact size,
// the producer snapshot and the checksums, all synced. It works in the
// background; a partition that is idle has none.
type sealer struct {
	sync.Mutex
	queue   []*sealing
	running bool
	names   bool          // the folder has names that no sync has covered
	shorter chan struct{} // see waitBacklog
	idle    chan struct{} // closed when running ends; made by who waits
	// turned is closed when a job was done or given up; made by who waits.
	turned chan struct{}
}

// sealing is one rolled segment.
type sealing struct {
	seg      *segment.Segment
	next     int64  // the base offset behind it
	snapshot []byte // the producer state at next
	synced   bool   // its batches are durable
	sums     segment.Sums
}

// maxUnsealed bounds the descriptors of segments that wait for a timed flush.
const maxUnsealed = 8

// add takes over a segment that has just been rolled. writing is held.
//
// Under Written it waits for a timed flush, which syncs the segment anyway: a
// sync at the very moment of the roll would be felt by the appends that go on
// beside it.
func (s *sealer) add(l *Log, old *segment.Segment, next int64) {
	j := &sealing{seg: old, next: next, snapshot: l.encodeSnapshot()}
	s.Lock()
	defer s.Unlock()
	s.queue = append(s.queue, j)
	s.names = true
	if l.cfg().Durability != Written || l.cfg().FlushInterval < 0 || len(s.queue) > maxUnsealed {
		s.startLocked(l)
		return
	}
	l.armFlush() // appends that were synced otherwise have not
}

// start works off the queue in the background. The log is not closed.
func (s *sealer) start(l *Log) {
	s.Lock()
	defer s.Unlock()
	s.startLocked(l)
}

func (s *sealer) startLocked(l *Log) {
	if !s.running && len(s.queue) > 0 {
		s.running = true
		l.work.Go(func() { s.run(l) })
	}
}

func (s *sealer) stopLocked() {
	s.running = false
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	s.shorterLocked()
	s.turn()
}

// wait returns when nothing is being sealed. writing is held, so that nothing
// begins to be.
func (s *sealer) wait() {
	s.Lock()
	if !s.running {
		s.Unlock()
		return
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.Unlock()
	<-idle
}

// drop forgets the segments from a base offset on: they are to be removed, or
// appended to again.
func (s *sealer) drop(from int64) {
	s.Lock()
	defer s.Unlock()
	s.queue = slices.DeleteFunc(s.queue, func(j *sealing) bool { return j.seg.Base() >= from })
}

// unsynced are the rolled segments whose batches may not be durable, and whether
// the folder has to be synced. The caller does both, or says that it could not.
func (s *sealer) unsynced() (segs []*segment.Segment, names bool) {
	s.Lock()
	defer s.Unlock()
	for _, j := range s.queue {
		if !j.synced {
			segs = append(segs, j.seg)
		}
	}
	names, s.names = s.names, false
	return segs, names
}

func (s *sealer) synced(segs []*segment.Segment) {
	if len(segs) == 0 {
		return
	}
	s.Lock()
	defer s.Unlock()
	for _, j := range s.queue {
		for _, g := range segs {
			if j.seg == g {
				j.synced = true
			}
		}
	}
}

// run seals until the queue is empty. What fails for want of space is tried
// again at the next roll and when the log is closed: the indexes are in memory
// until then, and rebuilt by recovery if it comes to that.
func (s *sealer) run(l *Log) {
	for {
		s.Lock()
		if len(s.queue) == 0 {
			s.stopLocked()
			s.Unlock()
			return
		}
		j := s.queue[0]
		s.Unlock()
		if err := l.seal(j); err != nil {
			var e *segment.SyncError
			if errors.As(err, &e) {
				l.fail(err) // before who waits for the end looks
			} else {
				l.env.logger.Warn("segment not sealed yet", "partition", l.name(), "path", j.seg.Path(), "err", err)
				l.background(err)
			}
			s.Lock()
			s.stopLocked()
			s.Unlock()
			return
		}
		s.Lock()
		s.queue = s.queue[1:]
		s.shorterLocked()
		s.turn()
		s.Unlock()
	}
}

// seal does one segment. All before it are sealed, so everything below its end
// is durable when it is done.
func (l *Log) seal(j *sealing) error {
	if err := l.finishSegment(j); err != nil {
		return err
	}
	l.advance(j.next)
	return nil
}

// finishSegment makes the files of a segment what they stay, and notes it.
func (l *Log) finishSegment(j *sealing) error {
	sums, err := j.seg.Seal(true)
	if err != nil {
		return err
	}
	if len(sums) > 0 { // once: a segment that is sealed gives none
		// An empty transaction index has no file. It gets its line, before the one
		// that the segment has.
		j.sums = append(segment.Sums{{Name: segment.FileName(j.seg.Base(), segment.TxnSuffix)}}, sums...)
	}
	if err := l.writeSnapshot(j.next, j.snapshot); err != nil { // syncs the folder too
		return err
	}
	l.sums.add(l, j.sums...)
	return nil
}
