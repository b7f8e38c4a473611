package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
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
//  2. begin a new leader epoch, if anything is to be cut off
//  3. put later segments aside, last first; then the tail; then make zeros of it
//  4. write the bytes from the mark to the end again and sync them: after a sync
//     that failed the cache holds pages that look clean and are not on disk
//  5. write index files, checksums and snapshots
func (o *opening) recover() error {
	for {
		again, err := o.scanAll()
		if err != nil || !again {
			return err
		}
		o.around = true
		*o.r = Report{}
	}
}

// scanned is a segment after its scan.
type scanned struct {
	seg      *segment.Segment
	scan     *segment.Scan
	rewrite  int64  // the position of the first batch not known to be durable
	snapshot []byte // the producer state behind it, of the last two
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
		if i > from {
			prev := done[len(done)-1]
			if reason := o.gap(i, prev.scan, next); reason != nil {
				if again, err := o.stopAt(&done, i, prev.scan.Valid, next, reason); again || err != nil {
					return again, err
				}
				if !o.around {
					break
				}
				o.damaged(prev.seg, prev.scan.Valid, next, reason)
			}
		}
		s, err := o.scan(o.segs[i])
		if err != nil {
			return false, err
		}
		r := s.scan
		if n := len(done); n > 1 {
			done[n-2].snapshot = nil
		}
		s.snapshot = l.encodeSnapshot()
		done = append(done, s)
		next = max(next, r.Next)
		o.r.SegmentsScanned++
		o.r.BytesScanned += r.Valid
		if r.Stop == segment.StopFormat {
			return false, fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, s.seg.Path(), r.Valid, r.Err)
		}
		if len(r.Holes) > 0 {
			h := r.Holes[0]
			o.damaged(s.seg, h.Pos, h.Offset, h.Err)
		}
		if r.Stop != segment.StopEnd && r.Stop != segment.StopZeros {
			if again, err := o.stopAt(&done, i+1, r.Valid, next, r.Err); again || err != nil {
				return again, err
			}
			if !o.around {
				break
			}
		}
		l.producers.OnHighWatermark(l.settled(r.Next))
	}
	if next < o.mark {
		if !o.around {
			return true, nil
		}
		last := done[len(done)-1]
		o.damaged(last.seg, last.scan.Valid, next, fmt.Errorf("the log ends here, and was durable up to offset %d", o.mark))
	}
	l.end.Store(next)
	if l.damage != nil {
		o.settleDamage(done)
		return false, nil
	}
	return false, o.settle(done)
}

// gap says what is wrong with a segment that follows a scanned one. Offsets may
// be missing between them where they may be missing at all, but not when the
// one before ends in zeros, which are batches that were not written.
func (o *opening) gap(i int, prev *segment.Scan, next int64) error {
	seg := o.segs[i]
	switch {
	case seg.Base() == next:
		return nil
	case seg.Base() > next && !o.l.dense(next) && prev.Stop != segment.StopZeros:
		if d := o.l.denseFrom.Load(); next < o.l.gapsFrom.Load() || d != noOffset && next < d {
			return nil
		}
		// Of what Leat appended, only a segment that was sealed is followed by a
		// gap (rollFar), and by batches, not by a file that was just made.
		if o.sealed(i - 1) {
			if data, err := o.l.hasData(seg.Base(), 0); data || err != nil {
				return nil // the scan will meet the error
			}
		}
	}
	return fmt.Errorf("the next segment begins at offset %d where %d is next", seg.Base(), next)
}

// damaged notes the first place of damage.
func (o *opening) damaged(seg *segment.Segment, pos, offset int64, err error) {
	if o.l.damage == nil {
		o.l.damage = &segment.CorruptError{Path: seg.Path(), Position: pos, Offset: offset, Err: err}
	}
}

// settleDamage makes a damaged log readable. What lies below the mark is durable
// where it is sound, and so visible, behind the damage too.
func (o *opening) settleDamage(done []scanned) {
	l := o.l
	l.point = max(o.mark, 0)
	durable := l.end.Load()
	if o.mark >= 0 {
		durable = min(o.mark, durable)
	}
	l.durable.Store(durable)
	for _, s := range done {
		s.seg.Damaged(s.scan)
		_, _, x := s.scan.Indexes()
		l.keepTxns(newList(o.segs), s.seg.Base(), x)
	}
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
// or others had sealed it before the log came here. The snapshot behind it
// proves nothing: a recovery may have written that of an end at which the log was
// rolled afterwards.
func (o *opening) sealed(i int) bool {
	if sum, ok := o.l.sums.of(o.segs[i].Base(), segment.LogSuffix); ok && sum.Size == o.segs[i].Size() {
		return true
	}
	return o.others(o.segs[i+1].Base())
}

// others tells whether a segment was there when the log was adopted: a later one
// may begin where it ended then.
func (o *opening) others(base int64) bool { return o.st.Adopted && base < o.l.sums.Dense }

// scan scans one segment and takes in what its batches say.
func (o *opening) scan(seg *segment.Segment) (scanned, error) {
	l := o.l
	s := scanned{seg: seg, rewrite: -1}
	r, err := seg.Scan(segment.ScanOptions{Around: o.around, Inspect: o.inspect, Each: func(r *segment.Scan, pos int64, b codec.Batch) error {
		if base := b.BaseOffset(); base > r.Next && l.dense(r.Next) && !behindHole(r, pos) {
			return &segment.Reject{Err: fmt.Errorf("batch begins at offset %d where %d is next: %w", base, r.Next, segment.ErrInvalidOffset)}
		}
		if o.each != nil {
			if err := o.each(r, pos, b); err != nil {
				return err
			}
		}
		if s.rewrite < 0 && b.NextOffset() > o.mark {
			s.rewrite = pos
		}
		if e := b.LeaderEpoch(); e >= 0 {
			if x, ok := l.epochs.Disproved(b); ok { // the truncation did not come to cut
				l.epochs.Remove(x)
				o.disproved = max(o.disproved, x.Epoch)
			}
			o.noted = l.noteEpoch(e, b.BaseOffset()) || o.noted
		}
		if b.ProducerID() < 0 {
			return nil
		}
		return l.noteProducer(l.producers, b, r.AbortedTxn)
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

// behindHole tells whether a scan has just gone past damage.
func behindHole(r *segment.Scan, pos int64) bool {
	n := len(r.Holes)
	return n > 0 && r.Holes[n-1].End == pos
}

// noteEpoch assigns an epoch if it is newer than the last (Kafka assigns only
// then in recovery), and tells whether it was.
func (l *Log) noteEpoch(e int32, start int64) bool {
	latest, ok := l.epochs.Latest()
	return (!ok || e > latest.Epoch) && l.epochs.Assign(e, start)
}

// noteProducer takes a batch with a producer id into the producer state.
func (l *Log) noteProducer(p *Producers, b codec.Batch, aborted func(t abortedTxn) error) error {
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
	return l.updateProducer(p, b, control, aborted)
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
	if err := o.beginEpoch(last.seg, pos, offset, o.segs[i:]); err != nil {
		return false, err
	}
	if err := o.takeBack(offset); err != nil {
		return false, err
	}
	for j := len(o.segs) - 1; j >= i; j-- {
		cut, err := o.setAside(o.segs[j])
		if err != nil {
			return false, err
		}
		o.cut(cut)
	}
	if err := l.syncDir(); err != nil {
		return false, err
	}
	name, n, err := last.seg.Quarantine(pos)
	if err != nil {
		return false, spaceError(err)
	}
	if n > 0 {
		if err := l.syncDir(); err != nil {
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

// beginEpoch begins a new leader epoch at the offset from which on the log is to
// be cut, and makes it durable before that is done: afterwards nothing tells any
// more that it was longer.
func (o *opening) beginEpoch(last *segment.Segment, pos, offset int64, later []*segment.Segment) error {
	l := o.l
	lost, err := l.hasData(last.Base(), pos)
	for _, s := range later {
		if lost || err != nil {
			break
		}
		lost, err = l.hasData(s.Base(), 0)
	}
	if !lost || err != nil {
		return err
	}
	o.r.Shortened = true
	if o.assignEpoch(offset); o.newEpoch {
		return spaceError(l.writeEpochs())
	}
	return nil
}

// takeBack tells readers in other processes that what was published ends at an
// offset, before anything behind it is touched.
func (o *opening) takeBack(offset int64) error {
	m := o.st.Marks
	if !o.st.MarksValid || m == nil || m.Published() <= offset {
		return nil
	}
	// The epoch goes first: afterwards nothing tells that there was more.
	o.r.Shortened = true
	if !o.newEpoch {
		if o.assignEpoch(offset); o.newEpoch {
			if err := o.l.writeEpochs(); err != nil {
				return spaceError(err)
			}
		}
	}
	m.TakeBack(offset)
	return m.Sync()
}

// hasData tells whether a log file has other bytes than zeros from pos on.
func (l *Log) hasData(base, pos int64) (found bool, err error) {
	f, err := l.env.fsys.Open(segment.Join(l.dir, segment.FileName(base, segment.LogSuffix)), vfs.ReadOnly)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.ReadAt(buf, pos)
		for _, c := range buf[:n] {
			if c != 0 {
				return true, nil
			}
		}
		pos += int64(n)
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s at %d: %w", f.Path(), pos, err)
		}
	}
}

func (o *opening) cut(c Cut) {
	if c.Bytes == 0 {
		return
	}
	o.r.Cuts = append(o.r.Cuts, c)
	o.r.BytesCut += c.Bytes
	o.l.obs.cuts.Add(1)
	o.l.obs.bytesCut.Add(c.Bytes)
	o.l.env.logger.Warn("torn tail cut off", "partition", o.l.name(), "path", c.Path, "position", c.Position,
		"offset", c.Offset, "bytes", c.Bytes, "quarantine", c.Quarantine, "err", c.Reason)
}

// setAside renames a whole segment that lies behind a torn tail. Its index files
// go: they are nothing without it.
func (o *opening) setAside(s *segment.Segment) (c Cut, err error) {
	l := o.l
	fsys := l.env.fsys
	data, err := l.hasData(s.Base(), 0)
	if err != nil {
		return c, err
	}
	if !data {
		return c, s.Remove()
	}
	c = Cut{Path: s.Path(), Offset: s.Base(), Bytes: s.Size(), Reason: errors.New("it lies behind a torn tail")}
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
		if err := o.takeBack(end); err != nil {
			return err
		}
	}
	last := done[len(done)-1]
	o.dropSums(last.seg.Base())
	if len(done) > 1 {
		// Before their checksums are noted: a file that is listed, and whose name a
		// power cut has taken, would be damage.
		if err := l.syncDir(); err != nil {
			return err
		}
	}
	for _, s := range done {
		if n := s.scan.Valid - s.rewrite; n > 0 {
			if err := s.seg.Rewrite(s.rewrite, s.scan.Valid); err != nil {
				return err
			}
			o.r.BytesRewritten += n
		}
		if s.seg != last.seg {
			if err := o.sealScanned(&s); err != nil {
				return err
			}
		}
	}
	if err := last.seg.Activate(last.scan); err != nil {
		return err
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	l.durable.Store(end)
	return o.settleSnapshots(end)
}

// sealScanned does what sealing would have done: exact size, index files, the
// snapshot behind it, checksums.
func (o *opening) sealScanned(s *scanned) error {
	l := o.l
	base := s.seg.Base()
	if err := s.seg.Trim(s.scan.Valid); err != nil {
		return err
	}
	if err := s.scan.Finish(); err != nil {
		return err
	}
	if err := s.seg.Sealed(s.scan); err != nil {
		return spaceError(err)
	}
	o.r.Rebuilt = append(o.r.Rebuilt, segment.FileName(base, segment.IndexSuffix))
	if next := s.scan.Next; s.snapshot != nil && !slices.Contains(o.snapshots, next) {
		if err := replaceFile(l.env.fsys, l.snapshotName(next), s.snapshot); err != nil {
			return spaceError(err)
		}
	}
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix, segment.LogSuffix} {
		was, ok := l.sums.of(base, suffix)
		if suffix == segment.LogSuffix && ok && was.Size == s.scan.Valid {
			continue // what was noted when it was sealed knows more than a scan
		}
		sum, err := l.sumFile(segment.FileName(base, suffix))
		if err != nil {
			return err
		}
		if was != sum {
			l.sums.add(l, sum)
		}
	}
	return nil
}

// dropSums forgets the checksums of what is not sealed any more, or was cut off:
// the names will be used again.
func (o *opening) dropSums(active int64) {
	l := o.l
	l.sums.unpack()
	for name := range l.sums.Files {
		if base, _, ok := segment.ParseName(name); !ok || base >= active || base < o.segs[0].Base() {
			delete(l.sums.Files, name)
			l.sums.end = 0 // written anew at the end
		}
	}
}

// replayTo brings the producer state to an offset where a segment begins.
func (o *opening) replayTo(offset int64) error {
	broken, err := o.l.replayProducers(o.l.producers, o.segs, o.snapshots, offset)
	o.broken = append(o.broken, broken...)
	o.snapshots = slices.DeleteFunc(o.snapshots, func(s int64) bool { return slices.Contains(broken, s) })
	return err
}

// replayProducers brings a producer state to an offset where a segment begins:
// from the newest sound snapshot not above it, and the batches in between. broken
// are the snapshots that cannot be read.
//
// A snapshot does not say which transactions have ended whose marker a reader may
// not see yet. Those are found in the batches behind the high watermark.
func (l *Log) replayProducers(p *Producers, segs []*segment.Segment, snapshots []int64, offset int64) (broken []int64, err error) {
	at := segs[0].Base()
	for _, s := range slices.Backward(snapshots) {
		if s > l.settled(offset) || s < at {
			continue
		}
		list, err := l.readSnapshot(s)
		if err == nil {
			p.Load(list, time.Now().UnixMilli(), l.expirationMs())
			at = s
			if err := l.dropEnded(p, segs, s); err != nil {
				return broken, err
			}
			break
		}
		if errors.Is(err, vfs.ErrTooManyFiles) {
			return broken, err // it says nothing about the snapshot
		}
		l.env.logger.Warn("snapshot is wrong, an older one is used", "path", l.env.fsys.Path(l.snapshotName(s)), "err", err)
		broken = append(broken, s)
	}
	for i, s := range segs {
		if s.Base() >= offset || at >= offset {
			break
		}
		if i+1 < len(segs) && segs[i+1].Base() <= at {
			continue
		}
		if err := l.replaySegment(p, s, at, offset); err != nil {
			return broken, err
		}
	}
	p.OnHighWatermark(l.settled(offset))
	return broken, nil
}

// settled is offset, or the high watermark that a wrapper has set, if that is
// lower.
func (l *Log) settled(offset int64) int64 {
	if l.cfg().ExternalWatermark {
		return min(offset, l.external.Load())
	}
	return offset
}

func (l *Log) expirationMs() int64 {
	if l.cfg().ProducerExpiration < 0 {
		return noOffset
	}
	return l.cfg().ProducerExpiration.Milliseconds()
}

// replaySegment takes the batches of [from, to) in one segment into a producer
// state.
func (l *Log) replaySegment(p *Producers, s *segment.Segment, from, to int64) error {
	_, err := s.Scan(segment.ScanOptions{Around: true, Each: func(_ *segment.Scan, _ int64, b codec.Batch) error {
		if b.BaseOffset() < from || b.BaseOffset() >= to || b.ProducerID() < 0 {
			return nil
		}
		err := l.noteProducer(p, b, nil)
		p.OnHighWatermark(l.settled(b.NextOffset()))
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
