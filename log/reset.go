package log

import (
	"errors"
	"slices"

	"github.com/leatlog/leat/segment"
)

// A reset empties the log and has it go on at another offset. It goes in two
// hops, so that at no moment records that were there are hidden, or some that
// were deleted are back:
//
//  1. to an empty log at the log start offset as it is, the shortest the log
//     can have been. Nothing that says where the log starts changes, and what a
//     power cut leaves of the segments is a piece of the log from there on, or
//     none of it
//  2. to an empty log at the new start, by renaming the one empty segment. When
//     the new start is lower, it is lowered first wherever it is kept: with the
//     old one, records to come would be hidden after a crash
//
// The folder is never without a segment, and the durable mark is below all of
// them from before the first change to after the last, so that whatever a crash
// leaves is taken for a torn tail, and not for damage.

// ResetTo removes all records and lets the log begin anew, empty, at start (as
// Kafka's truncateFullyAndStartAt). What was known of producers and leader epochs
// goes with them; unless a wrapper owns them there is a new epoch, above those
// before. lowered is as in TruncateTo, and may be called twice. A negative start
// is an *OffsetError. The caller has HoldDeletions.
//
// It is also the way to give up a log that is damaged, which is as good as new
// then. One that has failed is to be recovered before: a folder whose sync has
// failed once cannot be believed to lose a name.
func (l *Log) ResetTo(start int64, lowered func() error) error {
	l.writing.Lock()
	defer l.unlock()
	damage := l.Damage()
	if err := l.refusing(); err != nil && (damage == nil || l.closed.Load()) {
		return err
	}
	if start < 0 {
		return l.beyondEnd(start)
	}
	if damage != nil {
		return l.resetDamaged(start, lowered)
	}
	if err := l.quiet(); err != nil {
		return err
	}
	defer l.endQuiet()
	return l.restart(start, lowered)
}

// resetDamaged is ResetTo of a log that is open for reading around damage: nothing
// works behind its back, and there is nothing to be synced. Its mark goes down,
// or the damage would be found again.
func (l *Log) resetDamaged(start int64, lowered func() error) error {
	l.sync.acquire()
	defer l.endQuiet()
	l.healed.Store(true)
	refusal := l.refuse.Swap(nil)
	generation := l.generation.Load()
	err := l.restart(start, lowered)
	if err != nil && l.generation.Load() == generation { // nothing was done
		l.healed.Store(false)
		l.refuse.Store(refusal)
		if lowered != nil {
			err = errors.Join(err, lowered()) // its recovery point is what it was
		}
	}
	return err
}

// removeBelowStart finishes a deletion that could not be finished. It comes before
// the durable mark is lowered: with that below the log start, an open does not
// believe that what lies below the start is deleted. writing is held, and the log
// quiet.
func (l *Log) removeBelowStart() error {
	list := l.segments.Load()
	n := max(list.find(l.start.Load()), 0)
	gone := slices.Concat(l.retain.left(), list.segs[:n])
	if len(gone) == 0 {
		return nil
	}
	if err := l.marks.Sync(); err != nil {
		return err
	}
	l.segments.Store(list.from(n))
	for i, s := range gone {
		if err := l.removeSegment(s); err != nil {
			l.retain.leave(gone[i:])
			return err
		}
	}
	l.retain.leave(nil)
	if err := l.syncDir(); err != nil {
		return l.fail(err)
	}
	return nil
}

// reset is one under way.
type reset struct {
	l         *Log
	from, to  int64 // the log start offset before and after
	start     int64 // the one that a recovery is to find
	was       []*segment.Segment
	i         int // of the segment that holds from
	empty     *segment.Segment
	snapshots []int64
}

// restart is ResetTo of a quiet log. writing is held.
func (l *Log) restart(to int64, lowered func() error) error {
	if err := errors.Join(l.finishReplaced(), l.removeBelowStart()); err != nil {
		return err
	}
	list := l.segments.Load()
	r := &reset{l: l, from: l.start.Load(), to: to, was: list.segs}
	r.start = r.from
	r.i = max(list.find(r.from), 0)
	r.empty = segment.Open(l.env.fsys, l.env.maps, l.dir, r.from, 0, l.scfg)
	low := min(r.from, to)
	var err error
	if r.snapshots, err = l.listSnapshots(); err != nil {
		return err
	}
	was := l.heights()
	var e Epochs
	if err = r.empty.CopyHead(0); err == nil {
		if err = l.lower(low, lowered); err == nil {
			if err = l.dropSums(0); err == nil {
				e, err = l.newEpochs(0, low)
			}
		}
	}
	if err != nil {
		l.raise(was, lowered)
		l.retain.epochs = true // the file may have the new epoch
		return spaceError(errors.Join(err, r.empty.DropHead()))
	}
	p := NewProducers()
	p.TruncateHead(to)
	l.setState(e, p, func() {
		r.ends(to, to)
		l.marks.store(markPublished, low)
	})
	err = l.closeGoing(r.was)
	l.nextGeneration(to)
	seg := segment.Open(l.env.fsys, l.env.maps, l.dir, to, 0, l.scfg)
	// Readers in other processes have been told before a file changes.
	if err = errors.Join(err, l.marks.Sync()); err == nil {
		seg, err = r.files(lowered)
	}
	l.replaceList([]*segment.Segment{seg})
	closeReplaced(r.was)
	if err != nil {
		// What a recovery is told is what holds for anything that may be there.
		r.ends(r.start, low)
		return l.fail(err)
	}
	l.marks.store(markStart, to)
	l.marks.store(markPublished, to)
	l.marks.store(markDurable, to)
	l.marks.store(markWatermark, to)
	if err := l.marks.Sync(); err != nil { // readers in other processes may have but the file to go by
		return l.fail(err)
	}
	l.env.logger.Info("log reset", "partition", l.name(), "start", to)
	l.tail.wakeAll()
	return nil
}

// ends makes the log end where it starts.
func (r *reset) ends(at, durable int64) {
	l := r.l
	l.start.Store(at)
	l.end.Store(at)
	l.external.Store(at)
	l.durable.Store(durable)
}

// files makes both hops, and gives the segment that is there then.
func (r *reset) files(lowered func() error) (*segment.Segment, error) {
	l := r.l
	seg := segment.Open(l.env.fsys, l.env.maps, l.dir, r.to, 0, l.scfg)
	if err := r.clear(); err != nil {
		return seg, err
	}
	if r.to != r.from {
		if r.to < r.from {
			r.start = r.to
			l.marks.store(markStart, r.to)
			if err := l.lower(r.to, lowered); err != nil {
				return seg, err
			}
		}
		if err := r.empty.RenameTo(r.to); err != nil {
			return seg, err
		}
		if err := l.syncDir(); err != nil {
			return seg, err
		}
	}
	if err := r.settle(); err != nil {
		return seg, err
	}
	scan, err := seg.Scan(segment.ScanOptions{})
	if err != nil {
		return seg, err
	}
	return seg, seg.Activate(scan)
}

// clear is the first hop. Of the segments the one that holds the log start goes
// last, when the empty one has its name.
func (r *reset) clear() error {
	l := r.l
	l.seals.drop(0)
	for _, s := range slices.Backward(r.was[r.i+1:]) {
		if err := s.Remove(); err != nil {
			return err
		}
	}
	if err := l.removeSnapshots(r.snapshots, 0); err != nil {
		return err
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	last := r.was[r.i]
	if err := last.DropIndexes(); err != nil {
		return err
	}
	if err := r.empty.PutHead(); err != nil {
		return err
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	if last.Base() == r.from {
		return nil
	}
	if err := last.Remove(); err != nil {
		return err
	}
	return l.syncDir()
}

// settle writes the small files of the empty log.
func (r *reset) settle() error {
	l := r.l
	l.denseFrom.Store(r.to)
	l.retain.oldest.Store(r.to)
	l.gapsFrom.Store(noOffset)
	l.sums.Lock()
	l.sums.Dense, l.sums.Sparse = r.to, false
	err := l.sums.rewrite(l)
	l.sums.Unlock()
	if err != nil || r.to <= r.from {
		return err
	}
	l.stateMu.Lock()
	l.epochs.TruncateFromStart(r.to)
	l.stateMu.Unlock()
	return l.writeEpochs()
}
