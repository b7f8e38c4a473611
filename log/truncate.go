package log

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// Truncation. The log is made to end earlier, in place: appends wait meanwhile,
// readers go on with what they have pinned.
//
// The order of the steps makes a crash between any two of them harmless:
//
//  1. look: what stays is scanned, which finds the new end, and the producer
//     state there. Nothing has changed when that fails
//  2. sync all that is there, then lower the durable mark to the new end and
//     make that durable, with the recovery point. From here on recovery takes
//     whatever it finds above the new end for a torn tail, and never for damage
//  3. forget the checksums of the segments concerned, or one that is gone would
//     be missed; and begin a new leader epoch at the new end: once the log is
//     shorter nothing tells any more that it was longer, and that records read
//     from there on may not be those of before
//  4. remove the later segments, last first. A power cut may keep any of them:
//     behind a gap, recovery puts them aside
//  5. cut the segment of the new end. In place, made zero and synced, nothing is
//     left of the rest or something that is no batch where one is expected. When
//     readers have it pinned a copy of what stays is renamed over it, which
//     happens or not
//  6. sync the folder. Only now is the truncation a fact that does not go away
//
// Until then a crash leaves the log as it was or a shorter one, whose end is not
// below the new one.
//
// While step 1 and 2 may fail with nothing changed, and so may making the copy,
// which is the one thing that takes much space, an error in the later ones fails
// the log: Reopen recovers it.

// TruncateTo makes the log end at offset, or, where that lies inside of a batch,
// at the batch's base offset: batches are not cut. In a log in which offsets are
// missing it ends behind the last batch that lies below offset. An offset below
// the log start or beyond the log end is an *OffsetError.
//
// lowered is called when the durable end has been lowered, and makes that durable
// wherever else it is kept. Readers get ErrTruncated, producers and transactions
// are as they were when the log had that end, and unless a wrapper owns them
// there is a new leader epoch.
//
// The caller has HoldDeletions. The truncation is durable when it returns nil.
func (l *Log) TruncateTo(offset int64, lowered func() error) error {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return err
	}
	switch end := l.end.Load(); {
	case offset > end || offset < l.start.Load():
		return l.beyondEnd(offset)
	case offset == end:
		return nil
	}
	if err := l.quiet(); err != nil {
		return err
	}
	defer l.endQuiet()
	if err := l.finishReplaced(); err != nil {
		return err
	}
	t, err := l.planTruncation(offset)
	if err != nil {
		return err
	}
	if t.end < l.start.Load() {
		return l.restart(l.start.Load(), lowered)
	}
	if err := t.prepare(lowered); err != nil {
		return err
	}
	// Readers in other processes have been told before a file changes.
	if err = errors.Join(t.publish(), l.marks.Sync()); err == nil {
		err = t.files()
	}
	t.install()
	if err != nil {
		return l.fail(err)
	}
	l.env.logger.Info("log truncated", "partition", l.name(), "offset", offset, "end", t.end)
	l.tail.wakeAll()
	return nil
}

// truncation is one under way. writing is held, and the log quiet.
type truncation struct {
	l    *Log
	end  int64 // the new one
	was  []*segment.Segment
	i    int              // of the segment that holds end, the last that stays
	old  *segment.Segment // that segment
	seg  *segment.Segment // what takes its place
	scan *segment.Scan    // of what stays of it

	producers *Producers
	snapshots []int64 // that there are
	epochs    Epochs
	copied    bool // a copy of what stays lies ready
}

// planTruncation finds out what is to be done, and changes nothing.
func (l *Log) planTruncation(offset int64) (*truncation, error) {
	list := l.segments.Load()
	i := max(list.find(offset), 0)
	t, err := l.planCut(list, i, offset)
	if err == nil && t.scan.Valid == 0 && i > 0 && l.gapsFrom.Load() < list.bases[i] {
		// The gap before a segment may lie between two: an empty one behind it would
		// be taken for what is left of one that was lost.
		return l.planCut(list, i-1, offset)
	}
	return t, err
}

// planCut is planTruncation with the last segment that stays.
func (l *Log) planCut(list *list, i int, offset int64) (*truncation, error) {
	t := &truncation{l: l, was: list.segs, i: i, producers: NewProducers()}
	t.old = t.was[t.i]
	var err error
	if t.snapshots, err = l.listSnapshots(); err != nil {
		return nil, err
	}
	t.producers.TruncateHead(l.start.Load())
	if _, err := l.replayProducers(t.producers, t.was[:t.i+1], t.snapshots, t.old.Base()); err != nil {
		return nil, err
	}
	if t.scan, err = l.scanBelow(t.old.Base(), t.producers, offset); err != nil {
		return nil, err
	}
	t.end = t.scan.Next
	t.seg = segment.Open(l.env.fsys, l.env.maps, l.dir, t.old.Base(), t.scan.Valid, l.scfg)
	return t, nil
}

// listSnapshots lists the offsets of the snapshot files, in order.
func (l *Log) listSnapshots() (offsets []int64, err error) {
	infos, err := l.env.fsys.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("truncate %s: %w", l.env.fsys.Path(l.dir), err)
	}
	for _, info := range infos {
		if base, suffix, ok := segment.ParseName(info.Name); ok && suffix == segment.SnapshotSuffix {
			offsets = append(offsets, base)
		}
	}
	slices.Sort(offsets)
	return offsets, nil
}

// scanBelow scans a segment up to the last batch that lies below offset, and
// takes it into a producer state. What it finds is all there is to know of a
// segment that ends there. Damage is a *CorruptError.
func (l *Log) scanBelow(base int64, p *Producers, offset int64) (*segment.Scan, error) {
	seg := segment.Open(l.env.fsys, l.env.maps, l.dir, base, 0, l.scfg)
	reached := false
	r, err := seg.Scan(segment.ScanOptions{Each: func(r *segment.Scan, _ int64, b codec.Batch) error {
		if b.NextOffset() > offset {
			reached = true
			return &segment.Reject{Err: errors.New("it is to be cut off")}
		}
		if base := b.BaseOffset(); base > r.Next && l.dense(r.Next) {
			return &segment.Reject{Err: fmt.Errorf("batch begins at offset %d where %d is next: %w", base, r.Next, segment.ErrInvalidOffset)}
		}
		if b.ProducerID() < 0 {
			return nil
		}
		return l.noteProducer(p, b, r.AbortedTxn)
	}})
	switch {
	case err != nil:
		return nil, err
	case reached || r.Stop == segment.StopEnd || r.Stop == segment.StopZeros || r.Next >= offset:
		return r, nil // what is damaged behind goes
	case r.Stop == segment.StopFormat:
		return nil, fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, seg.Path(), r.Valid, r.Err)
	}
	return nil, &segment.CorruptError{Path: seg.Path(), Position: r.Valid, Offset: r.Next, Err: r.Err}
}

// prepare does what can fail without harm: the log is still as it was.
func (t *truncation) prepare(lowered func() error) (err error) {
	l := t.l
	was := l.heights()
	if t.scan.Valid == 0 || t.old.Pinned() || t.old.Shared() {
		if err := t.old.CopyHead(t.scan.Valid); err != nil {
			return spaceError(err)
		}
		t.copied = true
	}
	if err = l.lower(t.end, lowered); err == nil {
		if err = l.dropSums(t.old.Base()); err == nil {
			t.epochs, err = l.newEpochs(t.end, t.end)
		}
	}
	if err == nil {
		return nil
	}
	l.raise(was, lowered)
	l.retain.epochs = true // the file may have the new epoch
	if t.copied {
		err = errors.Join(err, t.old.DropHead())
	}
	return spaceError(err)
}

// lower lowers the marks to what stays durable, and makes that durable.
func (l *Log) lower(to int64, lowered func() error) error {
	l.sync.Lock()
	l.durable.Store(to)
	l.external.Store(min(l.external.Load(), to))
	l.marks.store(markDurable, to)
	l.marks.store(markWatermark, min(l.HighWatermark(), to))
	l.sync.Unlock()
	if err := l.marks.Sync(); err != nil {
		return err
	}
	if lowered != nil {
		return lowered()
	}
	return nil
}

// heights are what lower lowers.
type heights struct{ durable, mark, external int64 }

func (l *Log) heights() heights {
	h := heights{durable: l.durable.Load(), external: l.external.Load()}
	if l.marks != nil {
		h.mark = l.marks.Durable()
	}
	return h
}

// raise undoes lower, as far as that goes: what stays lowered on the disk is safe,
// and only makes damage look like a torn tail.
func (l *Log) raise(h heights, lowered func() error) {
	l.sync.Lock()
	l.durable.Store(h.durable)
	l.external.Store(max(h.external, l.external.Load()))
	l.marks.store(markDurable, h.mark)
	l.marks.store(markWatermark, l.HighWatermark())
	l.sync.Unlock()
	l.watermarkMoved()
	if l.marks.Sync() == nil && lowered != nil {
		_ = lowered()
	}
}

// dropSums forgets the checksums of the files from a base offset on: what has
// their names from now on will be something else.
func (l *Log) dropSums(from int64) error {
	s := &l.sums
	s.Lock()
	defer s.Unlock()
	s.unpack()
	dropped := false
	for name := range s.Files {
		if base, _, ok := segment.ParseName(name); !ok || base >= from {
			delete(s.Files, name)
			dropped = true
		}
	}
	if !dropped {
		return nil
	}
	return s.rewrite(l)
}

// newEpochs is the history of leader epochs without those that began at from or
// later, durable. It has a new one beginning at end, above all that were ever
// given out, unless epochs are a wrapper's.
func (l *Log) newEpochs(from, end int64) (Epochs, error) {
	l.stateMu.Lock()
	e := Epochs{l.epochs.Entries()}
	l.stateMu.Unlock()
	latest, ok := e.Latest()
	if !ok {
		latest.Epoch = -1
	}
	e.TruncateFromEnd(from)
	if !l.cfg().ExternalEpochs {
		e.Assign(latest.Epoch+1, end)
	}
	return e, WriteFile(l.env.fsys, segment.Join(l.dir, epochsName), e.Append(nil))
}

// publish shows the new end to everybody, before a file is touched: first the
// offsets, then that they have changed. In between nobody can pin any more what is
// to change or to go, and who has it pinned is told.
func (t *truncation) publish() error {
	l := t.l
	l.setState(t.epochs, t.producers, func() {
		l.end.Store(t.end)
		l.durable.Store(t.end)
		l.marks.store(markPublished, t.end)
		l.marks.store(markWatermark, l.HighWatermark())
	})
	err := l.closeGoing(t.was[t.i:])
	l.nextGeneration(t.end)
	return err
}

// setState replaces what follows from the batches, at the moment at which the
// ends change: nobody is to see the transactions of the one log with the end of
// the other.
func (l *Log) setState(e Epochs, p *Producers, ends func()) {
	l.sync.Lock()
	defer l.sync.Unlock()
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	ends()
	l.epochs, l.producers = e, p
	l.w.epoch = -1
	if latest, ok := e.Latest(); ok {
		l.w.epoch = latest.Epoch
	}
	p.OnHighWatermark(l.HighWatermark())
	l.setUnstable()
}

// files makes the folder that of the shorter log.
func (t *truncation) files() error {
	l := t.l
	l.seals.drop(t.old.Base())
	for _, s := range slices.Backward(t.was[t.i+1:]) {
		if err := s.Remove(); err != nil {
			return err
		}
	}
	if err := l.removeSnapshots(t.snapshots, t.end+1); err != nil {
		return err
	}
	if err := t.old.DropIndexes(); err != nil {
		return err
	}
	// A backup shares the file between a look at the generation before and one
	// after: if it has not seen it change, the second name is there by now.
	if !t.copied && (t.old.Pinned() || t.old.Shared()) {
		if err := t.old.CopyHead(t.scan.Valid); err != nil {
			return err
		}
		t.copied = true
	}
	if t.copied {
		if err := t.old.PutHead(); err != nil {
			return err
		}
		t.scan.Replaced()
	} else if err := t.old.Cut(t.scan.Valid); err != nil {
		return err
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	if err := l.lowerDense(t.end); err != nil {
		return err
	}
	return t.seg.Activate(t.scan)
}

// lowerDense notes that no offset will be missing from a new end on, though some
// were there before. If a crash comes first, the open does.
func (l *Log) lowerDense(end int64) error {
	s := &l.sums
	s.Lock()
	defer s.Unlock()
	if s.Dense <= end {
		return nil
	}
	s.Dense = end
	l.denseFrom.Store(end)
	return s.rewrite(l)
}

// removeSnapshots removes those from an offset on.
func (l *Log) removeSnapshots(offsets []int64, from int64) error {
	for _, s := range offsets {
		if s >= from {
			if err := l.removeSnapshot(s); err != nil {
				return err
			}
		}
	}
	if l.snapshot >= from {
		l.snapshot = 0
	}
	return nil
}

// closeGoing closes the last segments, whose files are about to change or to go.
// Nobody pins them any more, and the helper that makes the road has let go.
func (l *Log) closeGoing(segs []*segment.Segment) (err error) {
	l.ahead.making.Lock()
	defer l.ahead.making.Unlock()
	for _, s := range segs {
		err = errors.Join(err, s.Close())
	}
	return err
}

// install makes the new segment the one to append to. If the truncation failed
// it is at least one to read from.
func (t *truncation) install() {
	t.l.replaceList(append(t.was[:t.i:t.i], t.seg))
	closeReplaced(t.was[t.i:])
}

// closeReplaced closes what has been closed already, unless the log has failed.
func closeReplaced(segs []*segment.Segment) {
	for _, s := range segs {
		_ = s.Close() // there is nothing to be lost with it
	}
}

// replaceList replaces the segments. What is known of those of before is
// forgotten.
func (l *Log) replaceList(segs []*segment.Segment) {
	active := segs[len(segs)-1]
	l.segments.Store(newList(segs))
	l.w.active, l.opened = active, nil
	l.retain.saved = -1 // the marks were stored since
	l.w.rolled = time.Now()
	l.ahead.begin(active.Size())
	l.forgetTxns()
}
