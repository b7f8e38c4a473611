package log

import (
	"errors"
	"fmt"
	"math"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// CheckState is what a partition is judged by, and who is told.
type CheckState struct {
	OpenState
	// Compacted: offsets may be missing between its segments, too.
	Compacted bool
	// Kept: Leat wrote it from its beginning, so segments.sum must be there.
	Kept bool

	// Each is called with every sound batch, in order; may be nil.
	Each func(b codec.Batch)
	// Found is told what was found, Failed what could not be looked at; Advance,
	// now and then, how many bytes of log files have been looked at since the last
	// time. An error of theirs ends the check.
	Found   func(Finding) error
	Failed  func(error) error
	Advance func(bytes int64) error
}

// Checked is what a check found the log to be.
type Checked struct {
	Segments int
	Base     int64 // base offset of the first segment
	Next     int64 // the log end offset
	// Whole: all could be looked at, and nothing is damaged, so that Next can be
	// relied on.
	Whole bool
}

// judge checks one partition. It takes in the folder as an open would, by the
// same functions, on a tree that only notes down what they change (vfs.NewDraft),
// and has every segment scanned as recovery does around damage. What it asks of
// batches beyond that stands in its own methods.
type judge struct {
	*opening
	env *Env
	st  CheckState
	out Checked

	infos []vfs.Info // the folder as it is
	// crashed: a recovery is due, and the mark tells a torn tail from damage.
	crashed bool
	// rebuilt is the index of the first segment whose index files that recovery
	// makes anew, whatever they say.
	rebuilt int
	err     error // what Found, Failed or Advance said

	epochs epochJudge
	states stateJudge

	// Of the segment being scanned.
	seg     *segment.Segment
	bound   int64 // no offset may reach it
	indexes indexJudge
	unlike  map[string]Finding // by suffix: index files that are not as segments.sum has them
	untrue  map[string]bool    // and those that cannot be right
	txns    *txnReplay
	strict  bool // the producer state at its base is known
	file    vfs.File
	size    int64
	looked  int64 // bytes not told to Advance yet
	torn    int64 // the offset at which a torn tail begins; noOffset: none does
	wrong   bool  // there was damage in it
	unread  unreadable
}

// Check looks at everything in a partition's folder and changes nothing. env must
// be one over vfs.NewDraft. What cannot be read is told to Failed, and the rest
// looked at.
func Check(env *Env, dir string, c Config, st CheckState) (Checked, error) {
	c.setDefaults()
	l := &Log{
		env: env, dir: dir, marks: st.Marks, producers: NewProducers(), obs: env.unobserved,
		scfg: segment.Config{Bytes: c.SegmentBytes, IndexBytes: c.IndexBytes, IndexInterval: c.IndexInterval, ReadOnly: true},
	}
	l.config.Store(&c)
	l.unstable.Store(noOffset)
	j := &judge{opening: &opening{l: l, st: st.OpenState, r: new(Report)}, env: env, st: st, unlike: map[string]Finding{}, untrue: map[string]bool{}}
	j.out.Whole = true
	j.around, j.torn = true, noOffset
	j.each, j.inspect = j.batch, j.unread.inspect(env)
	err := j.run()
	j.out.Whole = j.out.Whole && err == nil
	return j.out, err
}

func (j *judge) run() error {
	l := j.l
	var err error
	if j.infos, err = l.env.fsys.ReadDir(l.dir); err != nil {
		return j.failed(err)
	}
	j.leftovers()
	if j.err != nil {
		return j.err
	}
	if err := j.take(); err != nil {
		return j.failed(err)
	}
	j.out.Segments = len(j.segs)
	if len(j.segs) == 0 {
		if j.mark > 0 && !j.st.New {
			j.found(Finding{Severity: Damage, Kind: FindingMissing, Path: l.env.fsys.Path(l.dir), Position: -1, Offset: max(j.st.StartOffset, 0), Next: j.mark,
				What: fmt.Sprintf("no segment is there, and the log was durable up to offset %d", j.mark)})
		}
		return j.err
	}
	j.out.Base = j.segs[0].Base()
	if m := j.st.Marks; m != nil && j.st.MarksValid && m.Generation() > 0 && m.Start() < j.out.Base {
		f := j.inFile(Damage, FindingMissing, segment.FileName(j.out.Base, segment.LogSuffix),
			"the log begins here, and its start was %d: the segments before are missing", m.Start())
		f.Offset, f.Next = m.Start(), j.out.Base
		j.found(f)
	}
	j.crashed = !j.st.Clean && j.mark >= 0
	j.rebuilt = len(j.segs)
	if j.crashed {
		j.rebuilt = j.scanFrom()
	}
	j.readEpochs()
	j.readSums()
	j.states.begin(j)
	j.scanAll()
	return j.err
}

// take takes in the folder, as an open does.
func (j *judge) take() error {
	if err := j.list(); err != nil {
		return err
	}
	j.setMark()
	j.l.external.Store(j.externalWatermark(0, noOffset))
	if err := j.dropDeleted(); err != nil {
		return err
	}
	if err := j.sidecars(); err != nil {
		j.failed(err) // the rest says something all the same
	}
	j.l.sums.unpack()
	return j.err
}

// found tells of a finding. What the caller leaves out is filled in.
func (j *judge) found(f Finding) {
	if f.Severity == Damage {
		j.out.Whole, j.wrong = false, true
	}
	if f.Topic == "" {
		f.Topic, f.Partition = j.l.cfg().Topic, j.l.cfg().Partition
	}
	if f.Repair == "" {
		f.Repair = f.Kind.Repair(f.Severity)
	}
	if j.err == nil {
		j.err = j.st.Found(f)
	}
}

// failed tells of what cannot be looked at.
func (j *judge) failed(err error) error {
	j.out.Whole = false
	if j.err == nil {
		j.err = j.st.Failed(err)
	}
	return j.err
}

// inFile is a finding about a file as a whole.
func (j *judge) inFile(severity Severity, kind FindingKind, name, format string, args ...any) Finding {
	return Finding{Severity: severity, Kind: kind, Path: j.l.env.fsys.Path(segment.Join(j.l.dir, name)),
		Position: -1, End: -1, Offset: -1, Next: -1, What: fmt.Sprintf(format, args...)}
}

// grade is damage, but only a notice in what a recovery that is due makes anew.
func (j *judge) grade(anew bool) Severity {
	if anew {
		return Notice
	}
	return Damage
}

// scanAll scans all segments, judges what stops the scans, and then what lies
// beside them.
func (j *judge) scanAll() {
	l := j.l
	next := int64(-1) // not known
	var prev *segment.Scan
	for i, seg := range j.segs {
		if j.err != nil {
			return
		}
		if i > 0 && next >= 0 && j.between(i, prev, next) {
			j.out.Next = next
			j.behindTail(i)
			return
		}
		j.states.before(j, seg.Base())
		j.begin(i, seg)
		s, err := j.scanSegment()
		if j.err != nil {
			return
		}
		if err != nil {
			j.failed(err)
			j.states.lose()
			next, prev = -1, nil
			continue
		}
		next, prev = max(next, s.scan.Next), s.scan
		torn := j.holes(i, s.scan)
		j.beside(i, s.scan)
		l.producers.OnHighWatermark(s.scan.Next)
		if torn {
			j.out.Next = j.torn
			j.behindTail(i + 1)
			return
		}
	}
	if next < 0 {
		return
	}
	j.out.Next = next
	if j.end(next, prev) {
		j.states.end(j, next)
		j.epochs.end(j, next)
	}
}

func (j *judge) begin(i int, seg *segment.Segment) {
	j.seg, j.size, j.wrong = seg, seg.Size(), false
	j.bound, j.states.aborted = math.MaxInt64, nil
	if i+1 < len(j.segs) {
		j.bound = j.segs[i+1].Base()
	}
	j.strict = j.states.exact && !j.states.thin
	j.txns = &txnReplay{base: seg.Base(), markers: make(map[int64][]marker), exact: j.strict}
	j.unread.reset()
	j.readIndexes(i)
}

// scanSegment scans a segment, and beside it sums up its file.
func (j *judge) scanSegment() (s scanned, err error) {
	l := j.l
	name := segment.FileName(j.seg.Base(), segment.LogSuffix)
	if j.file, err = l.env.fsys.Open(segment.Join(l.dir, name), vfs.ReadOnly); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, j.file.Close()) }()
	want, listed := l.sums.Files[name]
	listed = listed && j.bound < math.MaxInt64
	var sum summing
	if listed && want.Size == j.size {
		sum.start(j.file, j.size)
	}
	s, err = j.opening.scan(j.seg)
	if err == nil {
		err = j.advance(0)
	}
	got, serr := sum.end(err != nil)
	if err == nil {
		err = serr
	}
	if err != nil {
		return s, err
	}
	j.unread.tell(j)
	switch damaged := len(s.scan.Holes) > 0 || j.wrong; {
	case !listed || damaged:
	case want.Size != j.size:
		j.found(j.inFile(Damage, FindingSum, name, "it has %d bytes, and had %d when it was sealed (segments.sum)", j.size, want.Size))
	case want.CRC != got:
		j.found(j.inFile(Damage, FindingSum, name, "its CRC-32C is %08x, and was %08x when it was sealed (segments.sum); every batch is sound by itself", got, want.CRC))
	}
	return s, nil
}

// batch is asked about every batch that a scan takes for sound.
func (j *judge) batch(r *segment.Scan, pos int64, b codec.Batch) error {
	base := b.BaseOffset()
	hole := behindHole(r, pos)
	if hole && j.tears(&r.Holes[len(r.Holes)-1]) {
		j.torn = min(j.torn, r.Holes[len(r.Holes)-1].Offset)
	}
	if j.torn < noOffset {
		return j.err // it will be cut off, whatever it is
	}
	j.states.before(j, r.Next)
	if base > r.Next {
		if hole {
			j.states.lose()
		} else if err := j.fits(r.Next, pos, b); err != nil {
			return &segment.Reject{Err: err}
		}
		j.states.thin = true
		j.states.before(j, base)
	}
	j.states.batch(j, b)
	j.epochs.batch(j, pos, b)
	j.indexes.batch(pos, b, hole)
	if b.IsControl() && b.ProducerID() >= 0 {
		if c, ok, err := codec.DecodeControl(b); err == nil && ok {
			j.txns.markers[b.ProducerID()] = append(j.txns.markers[b.ProducerID()], marker{base, c.Type == codec.ControlAbort})
		}
	}
	if j.st.Each != nil {
		j.st.Each(b)
	}
	if j.err != nil {
		return j.err
	}
	if j.looked += int64(len(b)); j.looked >= 1<<20 {
		return j.advance(0)
	}
	return nil
}

// advance tells how far the scan has come.
func (j *judge) advance(more int64) error {
	n := j.looked + more
	j.looked = 0
	if j.err == nil {
		j.err = j.st.Advance(n)
	}
	return j.err
}

// fits looks whether a batch that leaves offsets out before it leaves room for
// what follows it. Where offsets may be missing, nothing else tells a base offset
// that became larger; and of the two batches that contradict one another then,
// it is the one to blame.
func (j *judge) fits(next, pos int64, b codec.Batch) error {
	var h [codec.HeaderSize]byte
	at := pos + int64(len(b))
	if n, _ := j.file.ReadAt(h[:], at); n == len(h) {
		behind := codec.Batch(h[:])
		if o := behind.BaseOffset(); behind.Magic() == codec.Magic && behind.BatchLength() >= codec.MinBatchLength && o >= next && o < b.NextOffset() {
			return fmt.Errorf("offsets %d to %d do not fit between %d, which is next, and the batch behind, of %d: %w",
				b.BaseOffset(), b.LastOffset(), next, o, segment.ErrInvalidOffset)
		}
		return nil
	}
	if b.NextOffset() > j.bound {
		return fmt.Errorf("offsets %d to %d do not fit between %d, which is next, and the next segment's, from %d: %w",
			b.BaseOffset(), b.LastOffset(), next, j.bound, segment.ErrInvalidOffset)
	}
	return nil
}

// holes judges what a scan went past. torn says that a recovery would cut the log
// off here.
func (j *judge) holes(i int, r *segment.Scan) (torn bool) {
	if len(r.Holes) == 0 {
		return false
	}
	j.states.lose()
	for _, h := range r.Holes {
		f := Finding{Severity: Damage, Kind: FindingBatch, Path: j.seg.Path(), Position: h.Pos, End: h.End, Offset: h.Offset, Next: -1,
			What: fmt.Sprintf("%d bytes are no batch that can be here: %v", h.End-h.Pos, h.Err)}
		if h.Stop == segment.StopFormat {
			f.Kind = FindingFormat // which recovery refuses to touch, wherever it is
		}
		last := i+1 == len(j.segs)
		switch {
		case j.tears(&h):
			j.torn = min(j.torn, h.Offset)
			f.Severity, f.Kind, f.End = Notice, FindingTail, r.FileSize()
			f.What = fmt.Sprintf("the last %d bytes are a torn tail: %v", f.End-f.Position, h.Err)
			j.found(f)
			return true
		case h.Offset < j.mark:
		case j.st.Clean && last && h.End == r.FileSize():
			f.Kind, f.What = FindingTail, fmt.Sprintf("%d bytes lie behind offset %d, at which the log was closed: %v", h.End-h.Pos, h.Offset, h.Err)
		case j.mark < 0 && last && h.End == r.FileSize():
			f.What += "; a crash may have left that, but nothing says how far the log was durable"
		}
		j.found(f)
	}
	return false
}

// tears tells whether a recovery would cut the log off at a hole. A batch of
// another format it would not touch.
func (j *judge) tears(h *segment.Hole) bool {
	return j.crashed && h.Offset >= j.mark && h.Stop != segment.StopFormat
}

// behindTail tells of the segments behind a torn tail.
func (j *judge) behindTail(i int) {
	for _, s := range j.segs[i:] {
		if data, err := j.l.hasData(s.Base(), 0); err != nil {
			j.failed(err)
			continue
		} else if !data {
			continue // it was made ahead
		}
		f := j.inFile(Notice, FindingTail, segment.FileName(s.Base(), segment.LogSuffix), "the whole segment lies behind a torn tail")
		f.Position, f.End, f.Offset = 0, s.Size(), s.Base()
		j.found(f)
	}
}

// between judges where a segment begins, and where the one before it ends. torn
// says that a recovery would cut the log off there.
func (j *judge) between(i int, prev *segment.Scan, next int64) (torn bool) {
	seg := j.segs[i]
	if seg.Base() == next {
		return false
	}
	f := Finding{Severity: Damage, Kind: FindingMissing, Path: seg.Path(), Position: 0, End: -1, Offset: next, Next: seg.Base()}
	if n := len(prev.Holes); n > 0 && prev.Holes[n-1].End == prev.FileSize() && seg.Base() > next {
		return false // the damage at the end of the one before has them
	}
	reason := j.gap(i, prev, next)
	switch {
	case seg.Base() < next:
		f.What = fmt.Sprintf("the segment begins at offset %d, and the one before it goes on to %d", seg.Base(), next)
		f.Kind, f.Offset, f.Next = FindingBatch, seg.Base(), next
	case reason != nil:
		f.What = fmt.Sprintf("offsets %d to %d are missing before this segment: %v", next, seg.Base()-1, reason)
		if j.crashed && next >= j.mark {
			return true
		}
	default:
		j.states.thin = true
		name := j.orphan(next, seg.Base())
		switch {
		case name != "":
			f.What = fmt.Sprintf("offsets %d to %d are missing before this segment, and %s, of a segment with such offsets, is there", next, seg.Base()-1, name)
		case j.st.Compacted || j.states.sparse, j.l.sums.Sparse && next >= j.l.sums.Gaps:
			return false
		default:
			f.Severity = Notice
			f.What = fmt.Sprintf("offsets %d to %d are missing before this segment; compaction may have taken them, else a segment is lost", next, seg.Base()-1)
		}
	}
	j.states.lose()
	j.found(f)
	return false
}

// orphan is a file beside a segment that is not there, with a base offset in a
// range.
func (j *judge) orphan(from, to int64) string {
	for _, info := range j.infos {
		base, suffix, ok := segment.ParseName(info.Name)
		if !ok || base < from || base >= to || newList(j.segs).has(base) {
			continue
		}
		if w := j.l.sums.Swap; w != nil && w.replaces(base) {
			continue // the open that finishes the replacement removes it
		}
		switch suffix {
		case segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix:
			return info.Name
		case segment.SnapshotSuffix:
			if base > from {
				return info.Name
			}
		}
	}
	return ""
}

// has tells whether a segment has that base offset.
func (l *list) has(base int64) bool {
	i := l.find(base)
	return i >= 0 && l.bases[i] == base
}

// end judges where the log ends. known is false if damage hides that.
func (j *judge) end(next int64, last *segment.Scan) (known bool) {
	f := Finding{Severity: Damage, Kind: FindingEnd, Path: j.seg.Path(), Position: last.Valid, End: -1, Offset: next, Next: -1}
	n := len(last.Holes)
	switch {
	case n > 0 && last.Holes[n-1].End == last.FileSize():
		return false // what the end of the file held has been judged
	case next < j.mark:
		f.Next = j.mark
		f.What = fmt.Sprintf("the log ends at offset %d, and was durable up to %d", next, j.mark)
		j.found(f)
	case j.st.Clean && next > j.st.RecoveryPoint:
		f.Offset, f.Next = j.st.RecoveryPoint, next
		f.What = fmt.Sprintf("the log goes on to offset %d, and was closed at %d", next, j.st.RecoveryPoint)
		j.found(f)
	case j.st.Clean && last.Valid < last.FileSize():
		f.Severity, f.Kind, f.End = Notice, FindingTail, last.FileSize()
		f.What = fmt.Sprintf("%d zero bytes lie behind the last batch", last.FileSize()-last.Valid)
		j.found(f)
	}
	return true
}
