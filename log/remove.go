package log

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leatlog/leat/segment"
)

// Removal takes the segments below the log start offset out of the log. Appends
// feel a list that is swapped; what takes time happens beside them:
//
//  1. the start offset is made durable, and so is the name of a segment that
//     stays
//  2. the list goes without them: nobody new finds them
//  3. the sealer lets go of them
//  4. their files are removed, oldest first, the log file of each before its
//     indexes and its snapshot; then the folder is synced
//
// A crash leaves any of the files. The next open finds them below the start and
// removes them (dropDeleted), so that a hole among them is no damage, and nothing
// comes back. A reader that has pinned a segment keeps its memory, and the disk
// its blocks, until it lets go.

// deleteBelowStart removes the segments that lie below the log start offset as a
// whole. The caller has the turn.
func (l *Log) deleteBelowStart(ctx context.Context) (d Deleted, err error) {
	told := l.retain.removal
	if len(told.left) == 0 && l.segments.Load().find(l.start.Load()) <= 0 {
		return d, nil
	}
	if err := l.saveStart(); err != nil {
		return d, err
	}
	if err := l.syncDir(); err != nil {
		return d, l.fail(err)
	}
	gone, err := l.unlist()
	if err != nil || len(gone) == 0 {
		return d, err
	}
	defer l.work.Done()
	start := l.segments.Load().bases[0]
	told.first, told.next = gone[0].Base(), gone[0].Base()
	defer func() { told.err = err }()
	unwritten := l.unseal(start)
	l.forgetTxnsBelow(start)
	for i, s := range gone {
		begun := time.Now()
		size := s.Size()
		if err = l.removeSegment(s); err != nil {
			told.left = gone[i:]
			for _, s := range gone[i:] {
				err = errors.Join(err, s.Close())
			}
			break
		}
		d.Segments++
		d.Bytes += size
		if told.next = start; i+1 < len(gone) {
			told.next = gone[i+1].Base()
		}
		if i+1 < len(gone) && !l.closed.Load() {
			rest(ctx, time.Since(begun))
		}
	}
	if unwritten != nil { // now that there is room
		if err := l.writeSnapshot(start, unwritten); err != nil {
			l.env.logger.Warn("producer snapshot not written", "partition", l.name(), "offset", start, "err", err)
		}
	}
	if err2 := l.syncDir(); err2 != nil {
		return d, errors.Join(err, l.fail(err2))
	}
	if err == nil {
		l.retain.oldest.Store(start)
	}
	l.sums.forget(l, start)
	return d, err
}

// unlist takes the segments below the start out of the list, and those that
// could not be removed before with them. Unless there are none, Close waits until
// the caller is done.
func (l *Log) unlist() ([]*segment.Segment, error) {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return nil, err
	}
	gone := l.retain.removal.left
	l.retain.removal.left = nil
	list := l.segments.Load()
	if n := list.find(l.start.Load()); n > 0 {
		gone = slices.Concat(gone, list.segs[:n])
		l.segments.Store(list.from(n))
	}
	if len(gone) > 0 {
		l.work.Add(1)
	}
	return gone, nil
}

// unseal takes the segments below start from the sealer. What it would have noted
// of the producers at the start must not be lost with them: their sequences
// outlive their records. It is returned if it could not be written.
func (l *Log) unseal(start int64) (unwritten []byte) {
	for _, j := range l.seals.dropBelow(start) {
		if j.next == start && l.writeSnapshot(start, j.snapshot) != nil {
			return j.snapshot
		}
	}
	return nil
}

// removeSegment removes the files of one segment.
func (l *Log) removeSegment(s *segment.Segment) error {
	if err := s.Remove(); err != nil {
		return err
	}
	return l.removeSnapshot(s.Base())
}

// maxRest bounds the pause between two segments.
const maxRest = 5 * time.Millisecond

// rest lets others have the disk for as long as a removal has just had it: the
// kernel frees the blocks of a large file in the journal that the appenders' syncs
// wait for.
func rest(ctx context.Context, d time.Duration) {
	if d = min(d, maxRest); d <= 0 || ctx.Err() != nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// dropBelow takes the jobs of the segments below an offset out of the queue and
// returns them. It waits for one that is being done.
func (s *sealer) dropBelow(below int64) (dropped []*sealing) {
	for {
		s.Lock()
		var busy *sealing
		if s.running && len(s.queue) > 0 {
			busy = s.queue[0]
		}
		s.queue = slices.DeleteFunc(s.queue, func(j *sealing) bool {
			if j == busy || j.seg.Base() >= below {
				return false
			}
			dropped = append(dropped, j)
			return true
		})
		if busy == nil || busy.seg.Base() >= below {
			s.Unlock()
			return dropped
		}
		if s.turned == nil {
			s.turned = make(chan struct{})
		}
		turned := s.turned
		s.Unlock()
		<-turned
	}
}

// turn tells those who wait that a job was done or given up. s is locked.
func (s *sealer) turn() {
	if s.turned != nil {
		close(s.turned)
		s.turned = nil
	}
}

// dropDeleted removes what a deletion left that a crash has ended: the segments
// below the log start offset, as far as they are still there. It believes the
// start offset of its own marks, and one from a checkpoint if the log was durable
// beyond it; of what others wrote it removes nothing on a checkpoint's word.
func (o *opening) dropDeleted() error {
	l := o.l
	marked := o.st.MarksValid && o.st.Marks != nil
	if marked {
		o.st.StartOffset = max(o.st.StartOffset, o.st.Marks.Start())
	}
	start := o.st.StartOffset
	if start > o.mark || o.st.Adopted && o.st.Marks != nil && !(marked && o.st.Marks.Start() >= start) {
		return nil
	}
	n := 0
	for n+1 < len(o.segs) && o.segs[n+1].Base() <= start {
		n++
	}
	if n == 0 {
		return nil
	}
	// The marks, and the names of the segments that stay, may be those of a
	// process that died before it could sync them.
	if marked {
		if err := o.st.Marks.Sync(); err != nil {
			return err
		}
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	for _, s := range o.segs[:n] {
		if err := l.removeSegment(s); err != nil {
			return err
		}
	}
	l.env.logger.Info("deletion finished", "partition", l.name(), "segments", n, "start", start)
	o.segs = slices.Delete(o.segs, 0, n)
	return l.syncDir()
}
