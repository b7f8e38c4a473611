package log

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// Recovery. A log that was not closed in order is scanned from its durable mark
// on: the batches say where it ends, and everything else is made anew from them.
//
// The mark is the larger of the recovery point (a checkpoint, written now and
// then) and the durable end in leat.state (stored after every sync). It tells a
// torn tail from damage. Above it nothing was promised to outlive a power cut:
// bytes that are no batch were on their way when it came, and whatever lies
// behind them, sound or not, is cut off and kept aside. Below it everything was
// on stable storage: what is not there or not sound is damage, and cutting would
// turn it into silence, so the log opens for reading around it and refuses
// appends.
//
// The order of the steps makes a crash in the middle of them harmless: the next
// recovery finds the same tail, or one already cut.
//
//  1. scan, without changing anything
//  2. put later segments aside, last first; then the tail; then make zeros of it
//  3. write the bytes from the mark to the end again and sync them: after a sync
//     that failed the cache holds pages that look clean and are not on disk
//  4. write index files, snapshots and epochs
func (o *opening) recover() error {
	for {
		again, err := o.scanAll()
		if err != nil || !again {
			return err
		}
		o.around = true
	}
}

// scanned is a segment after its scan.
type scanned struct {
	seg     *segment.Segment
	scan    *segment.Scan
	rewrite int64 // the position of the first batch not known to be durable
}

// scanAll scans from the mark on and mends what it finds. again asks for a scan
// around damage.
func (o *opening) scanAll() (again bool, err error) {
	l := o.l
	from := o.scanFrom()
	l.producers = NewProducers()
	if err := o.replayTo(o.segs[from].Base()); err != nil {
		return false, err
	}
	if !o.epochsKnown {
		l.epochs = Epochs{}
	}
	var done []scanned
	next := int64(-1)
	for i := from; i < len(o.segs); i++ {
		seg := o.segs[i]
		if next >= 0 && (seg.Base() < next || seg.Base() > next && l.dense) {
			prev := done[len(done)-1]
			reason := fmt.Errorf("the next segment begins at offset %d where %d is next", seg.Base(), next)
			if again, err := o.stopAt(&done, i, prev.scan.Valid, next, reason); again || err != nil {
				return again, err
			}
			if !o.around {
				break
			}
			if l.damage == nil {
				l.damage = &segment.CorruptError{Path: prev.seg.Path(), Position: prev.scan.Valid, Offset: next, Err: reason}
			}
		}
		s, err := o.scan(seg)
		if err != nil {
			return false, err
		}
		done = append(done, s)
		r := s.scan
		next = r.Next
		o.r.SegmentsScanned++
		o.r.BytesScanned += r.Valid
		if r.Stop == segment.StopFormat {
			return false, fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, seg.Path(), r.Valid, r.Err)
		}
		if len(r.Holes) > 0 && l.damage == nil {
			h := r.Holes[0]
			l.damage = &segment.CorruptError{Path: seg.Path(), Position: h.Pos, Offset: h.Offset, Err: h.Err}
		}
		if r.Stop != segment.StopEnd && r.Stop != segment.StopZeros {
			if again, err := o.stopAt(&done, i+1, r.Valid, next, r.Err); again || err != nil {
				return again, err
			}
			if !o.around {
				break
			}
		}
		l.producers.OnHighWatermark(r.Next)
	}
	if next < o.mark && l.damage == nil {
		if !o.around {
			return true, nil
		}
		last := done[len(done)-1]
		l.damage = &segment.CorruptError{Path: last.seg.Path(), Position: last.scan.Valid, Offset: next,
			Err: fmt.Errorf("the log ends here, and was durable up to offset %d", o.mark)}
	}
	l.end.Store(next)
	if l.damage != nil {
		l.durable.Store(min(l.damage.Offset, next))
		for _, s := range done {
			s.seg.Damaged(s.scan)
		}
		l.env.logger.Error("damage below the durable mark: appends are refused", "partition", l.name(), "err", l.damage)
		return false, nil
	}
	return false, o.settle(done)
}

// scanFrom is the index of the first segment to scan: the one of the mark, or an
// earlier one whose sealing is not known to have been finished, since without
// its index files aborted transactions would be forgotten.
func (o *opening) scanFrom() int {
	if !o.epochsKnown || o.mark < 0 || o.around && o.mark < 0 {
		return 0
	}
	i := 0
	for i+1 < len(o.segs) && o.segs[i+1].Base() <= o.mark {
		i++
	}
	for i > 0 && !o.sealed(i-1) {
		i--
	}
	return i
}

// sealed reports whether the segment was sealed to the end: its sums were noted,
// or the snapshot behind it was written.
func (o *opening) sealed(i int) bool {
	if _, ok := o.sums[segment.FileName(o.segs[i].Base(), segment.LogSuffix)]; ok {
		return true
	}
	for _, s := range o.snapshots {
		if s == o.segs[i+1].Base() {
			return true
		}
	}
	return o.st.Adopted // Kafka keeps neither
}

// scan scans one segment and takes in what its batches say.
func (o *opening) scan(seg *segment.Segment) (scanned, error) {
	l := o.l
	s := scanned{seg: seg, rewrite: -1}
	r, err := seg.Scan(segment.ScanOptions{Around: o.around, Each: func(r *segment.Scan, pos int64, b codec.Batch) error {
		if s.rewrite < 0 && b.NextOffset() > o.mark {
			s.rewrite = pos
		}
		if e := b.LeaderEpoch(); e >= 0 {
			l.noteEpoch(e, b.BaseOffset())
		}
		if b.ProducerID() < 0 {
			return nil
		}
		return o.noteProducer(b, r.AbortedTxn)
	}})
	if err != nil {
		return s, err
	}
	s.scan = r
	if s.rewrite < 0 {
		s.rewrite = r.Valid
	}
	return s, nil
}

// noteEpoch assigns an epoch if it is newer than the last (Kafka assigns only
// then in recovery).
func (l *Log) noteEpoch(e int32, start int64) {
	if latest, ok := l.epochs.Latest(); !ok || e > latest.Epoch {
		l.epochs.Assign(e, start)
	}
}

// noteProducer takes a batch with a producer id into the producer state.
func (o *opening) noteProducer(b codec.Batch, aborted func(t abortedTxn) error) error {
	l := o.l
	var control *codec.Control
	if b.IsControl() {
		c, ok, err := codec.DecodeControl(b)
		if err != nil {
			return &segment.Reject{Err: err}
		}
		if ok {
			control = &c
		}
	}
	done, err := l.producers.Update(b, control)
	if err != nil {
		// What is in the log is a fact; Kafka's recovery warns as well.
		l.env.logger.Warn("producer state", "partition", l.name(), "offset", b.BaseOffset(), "err", err)
		return nil
	}
	if done != nil && done.Aborted && aborted != nil {
		return aborted(abortedTxn{
			ProducerID: done.ProducerID, FirstOffset: done.FirstOffset, LastOffset: done.LastOffset,
			LastStableOffset: l.producers.LastStableAfter(*done),
		})
	}
	return nil
}

// stopAt decides what an end of the sound batches means: what is left to scan,
// from the segments of index i on, is a torn tail, and put aside, or the end is
// damage, and again asks for a scan around it.
func (o *opening) stopAt(done *[]scanned, i int, pos, offset int64, reason error) (again bool, err error) {
	l := o.l
	if o.around {
		return false, nil
	}
	if offset < o.mark {
		return true, nil
	}
	last := (*done)[len(*done)-1]
	for j := len(o.segs) - 1; j >= i; j-- {
		cut, err := o.setAside(o.segs[j])
		if err != nil {
			return false, err
		}
		o.cut(cut)
	}
	if err := l.env.fsys.SyncDir(l.dir); err != nil {
		return false, err
	}
	name, n, err := last.seg.Quarantine(pos)
	if err != nil {
		return false, spaceError(err)
	}
	if n > 0 {
		if err := l.env.fsys.SyncDir(l.dir); err != nil {
			return false, err
		}
		o.cut(Cut{Path: last.seg.Path(), Position: pos, Offset: offset, Bytes: n, Quarantine: name, Reason: reason})
	}
	if err := last.seg.Cut(pos); err != nil {
		return false, err
	}
	o.segs = o.segs[:i]
	return false, nil
}

func (o *opening) cut(c Cut) {
	o.r.Cuts = append(o.r.Cuts, c)
	o.r.BytesCut += c.Bytes
	o.r.Shortened = o.r.Shortened || c.Bytes > 0
	o.l.env.logger.Warn("torn tail cut off", "partition", o.l.name(), "path", c.Path, "position", c.Position,
		"offset", c.Offset, "bytes", c.Bytes, "quarantine", c.Quarantine, "reason", c.Reason)
}

// setAside renames a whole segment that lies behind a torn tail. Its index files
// go: they are nothing without it.
func (o *opening) setAside(s *segment.Segment) (Cut, error) {
	l := o.l
	fsys := l.env.fsys
	c := Cut{Path: s.Path(), Offset: s.Base(), Bytes: s.Size(), Reason: errors.New("it lies behind a torn tail")}
	if s.Size() == 0 {
		return c, s.Remove()
	}
	if err := s.Close(); err != nil {
		return c, err
	}
	for k := 0; ; k++ {
		c.Quarantine = fmt.Sprintf("%020d.0.quarantine", s.Base())
		if k > 0 {
			c.Quarantine = fmt.Sprintf("%020d.0-%d.quarantine", s.Base(), k)
		}
		if _, err := fsys.Stat(segment.Join(l.dir, c.Quarantine)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return c, err
		}
	}
	if err := fsys.Rename(segment.Join(l.dir, segment.FileName(s.Base(), segment.LogSuffix)), segment.Join(l.dir, c.Quarantine)); err != nil {
		return c, err
	}
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
		if err := fsys.Remove(segment.Join(l.dir, segment.FileName(s.Base(), suffix))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return c, nil
}

// settle makes the scanned segments what the log goes on with.
func (o *opening) settle(done []scanned) error {
	l := o.l
	end := l.end.Load()
	if o.st.MarksValid && o.st.Marks != nil && o.st.Marks.Published() > end {
		o.r.Shortened = true
	}
	for i, s := range done {
		if n := s.scan.Valid - s.rewrite; n > 0 {
			if err := s.seg.Rewrite(s.rewrite, s.scan.Valid); err != nil {
				return err
			}
			o.r.BytesRewritten += n
		}
		if i == len(done)-1 {
			break
		}
		if err := s.seg.Trim(s.scan.Valid); err != nil {
			return err
		}
		if err := s.scan.Finish(); err != nil {
			return err
		}
		if err := s.seg.Sealed(s.scan); err != nil {
			return spaceError(err)
		}
		o.r.Rebuilt = append(o.r.Rebuilt, segment.FileName(s.seg.Base(), segment.IndexSuffix))
	}
	last := done[len(done)-1]
	if err := last.seg.Activate(last.scan); err != nil {
		return err
	}
	if err := l.env.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	l.durable.Store(end)
	return o.settleSnapshots(end)
}

// replayTo brings the producer state to an offset where a segment begins: from
// the newest sound snapshot not above it, and the batches in between.
func (o *opening) replayTo(offset int64) error {
	l := o.l
	at := o.segs[0].Base()
	for i := len(o.snapshots) - 1; i >= 0; i-- {
		s := o.snapshots[i]
		if s > offset || s < at {
			continue
		}
		name := segment.Join(l.dir, segment.FileName(s, segment.SnapshotSuffix))
		b, err := readAll(l.env.fsys, name, maxSidecar)
		if err == nil {
			var list []ProducerSnapshot
			if list, err = ParseSnapshot(b); err == nil {
				l.producers.Load(list, time.Now().UnixMilli(), l.expirationMs())
				at = s
				break
			}
		}
		l.env.logger.Warn("snapshot is wrong, an older one is used", "path", l.env.fsys.Path(name), "err", err)
		if !o.around {
			if err := l.env.fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			o.snapshots = append(o.snapshots[:i:i], o.snapshots[i+1:]...)
		}
	}
	for _, s := range o.segs {
		if s.Base() >= offset || at >= offset {
			break
		}
		if err := o.replaySegment(s, at, offset); err != nil {
			return err
		}
	}
	l.producers.OnHighWatermark(offset)
	return nil
}

func (l *Log) expirationMs() int64 {
	if l.cfg.ProducerExpiration < 0 {
		return noOffset
	}
	return l.cfg.ProducerExpiration.Milliseconds()
}

// replaySegment takes the batches of [from, to) in one segment into the producer
// state.
func (o *opening) replaySegment(s *segment.Segment, from, to int64) error {
	_, err := s.Scan(segment.ScanOptions{Around: true, Each: func(_ *segment.Scan, _ int64, b codec.Batch) error {
		if b.BaseOffset() < from || b.BaseOffset() >= to || b.ProducerID() < 0 {
			return nil
		}
		err := o.noteProducer(b, nil)
		o.l.producers.OnHighWatermark(b.NextOffset())
		return err
	}})
	return err
}

// loadProducers makes the producer state of a log that was closed at end.
func (o *opening) loadProducers(end int64) error {
	o.l.producers = NewProducers()
	if err := o.replayTo(end); err != nil {
		return err
	}
	if n := len(o.snapshots); n > 0 && o.snapshots[n-1] == end {
		o.l.snapshot = end
	}
	return nil
}
