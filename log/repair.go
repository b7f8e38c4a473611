package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// A repair makes a damaged log one that can be appended to again. What recovery
// may not decide, since it would turn damage into silence, is decided here, by
// somebody who asked for it: what is damaged is taken out and kept aside, and the
// log goes on behind a gap. No record gets another offset.
//
// A plan looks at everything and changes nothing. Applying it goes in steps, each
// of which leaves the log as damaged as it was, or mended, and no batch in neither
// the log nor a quarantine file:
//
//  1. offsets may be missing up to the last gap, and the checksums of files that
//     are to change are forgotten: segments.sum is replaced
//  2. of each damaged segment, what is damaged is copied to quarantine files, the
//     index files go, and a file of what is sound takes its name
//  3. if the log ends below its durable mark, a leader epoch begins where it ends
//  4. the caller forgets the durable mark, and recovers the log from From on,
//     which makes indexes, snapshots and checksums
//
// Until the fourth step the log is damaged for who opens it, and a repair that
// begins again finds what is left to be done.

// RepairState is what is known of the partition.
type RepairState struct {
	// Durable is its durable mark, -1 when it is not known.
	Durable     int64
	StartOffset int64 // -1: not known
	Adopted     bool  // others have written it: offsets may be missing
	// Bad tells of a batch that it cannot be read, though its CRC is good; nil: none.
	Bad func(base, pos int64) bool
	// Wrong are the files beside the log that are known to be wrong, by name, and
	// what is wrong with them.
	Wrong map[string]string
}

// RepairStep is one thing that a repair does.
type RepairStep struct {
	Path     string // the file concerned, in full
	Position int64  // in it; -1: the file as a whole
	End      int64  // behind what is concerned at Position
	Offset   int64  // the first offset concerned; -1: none
	Next     int64  // the first behind; -1: not known
	What     string // what is wrong
	Do       string // what is done about it
	// Quarantine is the file that keeps what is taken out, "" when nothing is.
	Quarantine string
}

// RepairPlan is what there is to be done.
type RepairPlan struct {
	Steps []RepairStep
	// From is the offset from which on the log is to be recovered, its durable mark
	// forgotten; -1: all of it. It says nothing when there are no steps.
	From int64

	l         *Log
	st        RepairState
	remove    []string // files that are made anew only when they are gone
	mends     []*mend
	missing   []string // files that segments.sum knows, and that are gone
	dense     int64    // none is missing from there on; -1: as it was
	end       int64
	shortened bool // the log ends below its mark
	// staleEpochs: leader-epoch-checkpoint says what the batches do not.
	staleEpochs bool
	batches     Epochs // the leader epochs that the batches say
	begin       int64
}

// mend is a segment whose log file is to be written anew.
type mend struct {
	p      *RepairPlan
	seg    *segment.Segment
	epochs *Epochs
	v2     bool // it has batches of the format that is read
	kept   []segment.Kept
	cuts   []cutOut
	stays  bool // also when it is empty: it is the only one

	// Where planning has come to: the next offset and position, and whether
	// something directly in front was taken out.
	at, pos int64
	lost    bool
}

type cutOut struct {
	from, to int64
	step     int // in Steps
}

// PlanRepair finds out what has to be done about a partition's folder. Before, it
// finishes what a cleaning or a removal has left half done, as an open does: for a
// plan that is not to be applied env is one over vfs.NewDraft.
func PlanRepair(ctx context.Context, env *Env, dir string, c Config, st RepairState) (*RepairPlan, error) {
	c.setDefaults()
	l := &Log{env: env, dir: dir, scfg: segment.Config{Bytes: c.SegmentBytes, IndexBytes: c.IndexBytes, IndexInterval: c.IndexInterval}}
	l.config.Store(&c)
	p := &RepairPlan{l: l, st: st, dense: -1, begin: -1, From: math.MaxInt64}
	if err := p.plan(ctx); err != nil {
		return nil, err
	}
	if p.From == math.MaxInt64 {
		p.From = -1
	}
	return p, nil
}

func (p *RepairPlan) add(s RepairStep) int {
	p.Steps = append(p.Steps, s)
	return len(p.Steps) - 1
}

func (p *RepairPlan) plan(ctx context.Context) error {
	l := p.l
	if err := l.sums.load(l); err != nil {
		return err
	}
	if err := finishSwaps(l); err != nil {
		return err
	}
	list, err := l.listSegments()
	if err != nil {
		return err
	}
	l.denseFrom.Store(l.sums.Dense)
	l.gapsFrom.Store(l.sums.gapsFrom())
	if p.st.Adopted {
		l.denseFrom.Store(noOffset)
	}
	epochs := p.planEpochs()
	p.planSnapshots()
	if len(list) == 0 {
		return p.planEmpty()
	}
	left := 0
	for i, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := int64(-1)
		if i+1 < len(list) {
			next = list[i+1].base
		}
		end, mends := p.end, len(p.mends)
		stop, some, err := p.planSegment(f, next, epochs)
		if err != nil {
			return err
		}
		if p.begin < 0 {
			p.begin, end = f.base, f.base
			p.planStart(f.base)
		}
		switch {
		case !some && next < 0 && left == 0: // there has to be one
			if len(p.mends) > mends {
				p.mends[mends].stays = true
			}
		case !some && next < 0 && end < f.base && p.l.dense(end):
			// A log does not end in a gap.
			p.end = end
			if len(p.mends) == mends {
				p.mends = append(p.mends, &mend{seg: p.segment(f)})
			}
		case end < f.base:
			p.planGap(list[max(i-1, 0)].base, end, f.base)
		}
		if some {
			left++
		}
		if stop {
			break // a torn tail, and what lies behind it: recovery sees to that
		}
	}
	p.planMissing(list)
	if err := p.planState(); err != nil {
		return err
	}
	if p.staleEpochs {
		p.From = -1
		p.add(RepairStep{Path: l.env.fsys.Path(segment.Join(l.dir, epochsName)), Position: -1, End: -1, Offset: -1, Next: -1,
			What: "it says other leader epochs than the batches", Do: "make it anew from the batches"})
		l.epochs = p.batches
	}
	if p.end < p.st.Durable {
		p.shortened = true
		last := list[len(list)-1]
		p.From = min(p.From, last.base)
		p.add(RepairStep{Path: l.path(last.base), Position: -1, End: -1, Offset: p.end, Next: p.st.Durable,
			What: fmt.Sprintf("the log ends at offset %d, and was durable up to offset %d", p.end, p.st.Durable),
			Do:   fmt.Sprintf("accept that it ends there; a new leader epoch begins at offset %d", p.end)})
	}
	return nil
}

func (l *Log) path(base int64) string {
	return l.env.fsys.Path(segment.Join(l.dir, segment.FileName(base, segment.LogSuffix)))
}

// planEpochs gives the leader epochs, nil when they are not known.
func (p *RepairPlan) planEpochs() *Epochs {
	l := p.l
	b, err := readAll(l.env.fsys, segment.Join(l.dir, epochsName), maxSidecar)
	if err != nil || len(b) == 0 {
		return nil
	}
	e, err := ParseEpochs(b)
	if err == nil {
		l.epochs = *e
		return e
	}
	p.From = -1
	p.add(RepairStep{Path: l.env.fsys.Path(segment.Join(l.dir, epochsName)), Position: -1, End: -1, Offset: -1, Next: -1,
		What: err.Error(), Do: "make it anew from the batches"})
	return nil
}

// planSnapshots is for producer states that are not what the batches say: all of
// them are made anew from there.
func (p *RepairPlan) planSnapshots() {
	for _, name := range slices.Sorted(maps.Keys(p.st.Wrong)) {
		if _, suffix, ok := segment.ParseName(name); ok && suffix == segment.SnapshotSuffix {
			p.From = -1
			p.remove = append(p.remove, name)
			p.add(RepairStep{Path: p.l.env.fsys.Path(segment.Join(p.l.dir, name)), Position: -1, End: -1, Offset: -1, Next: -1,
				What: p.st.Wrong[name], Do: "make the producer state anew from the batches"})
		}
	}
}

// planState is for the producer states behind batches that are taken out: they tell
// of transactions and sequences that the log has not.
func (p *RepairPlan) planState() error {
	from := int64(math.MaxInt64)
	for _, m := range p.mends {
		from = min(from, m.seg.Base())
	}
	infos, err := p.l.env.fsys.ReadDir(p.l.dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		offset, suffix, ok := segment.ParseName(info.Name)
		if ok && suffix == segment.SnapshotSuffix && offset > from && !slices.Contains(p.remove, info.Name) {
			p.remove = append(p.remove, info.Name)
		}
	}
	return nil
}

// planEmpty is for a folder without any segment.
func (p *RepairPlan) planEmpty() error {
	p.end = max(p.st.Durable, p.st.StartOffset, 0)
	if p.st.Durable > 0 {
		p.shortened = true
		p.add(RepairStep{Path: p.l.env.fsys.Path(p.l.dir), Position: -1, End: -1, Offset: max(p.st.StartOffset, 0), Next: p.st.Durable,
			What: "no segment is there", Do: fmt.Sprintf("go on with an empty log at offset %d", p.end)})
	}
	return nil
}

// planStart is for segments that are missing at the beginning.
func (p *RepairPlan) planStart(base int64) {
	if p.st.StartOffset < 0 || p.st.StartOffset >= base {
		return
	}
	p.From = min(p.From, base)
	p.add(RepairStep{Path: p.l.path(base), Position: -1, End: -1, Offset: p.st.StartOffset, Next: base,
		What: fmt.Sprintf("the log begins here, and did at offset %d", p.st.StartOffset), Do: "let it begin here"})
}

// known is the base offset of the segment behind another, also of one that is
// gone: its checksums tell; -1: there is none.
func (p *RepairPlan) known(base, next int64) int64 {
	for name := range p.l.sums.Files {
		b, suffix, ok := segment.ParseName(name)
		if ok && suffix == segment.LogSuffix && b > base && (next < 0 || b < next) {
			next = b
		}
	}
	return next
}

// planGap is for offsets that are missing between two segments.
func (p *RepairPlan) planGap(base, end, next int64) {
	if !p.l.dense(end) {
		return
	}
	p.dense = max(p.dense, next)
	p.From = min(p.From, base)
	p.add(RepairStep{Path: p.l.path(end), Position: -1, End: -1, Offset: end, Next: next,
		What: fmt.Sprintf("offsets %d to %d are missing", end, next-1), Do: "go on behind the gap"})
}

func (p *RepairPlan) segment(f listedFile) *segment.Segment {
	return segment.Open(p.l.env.fsys, p.l.env.maps, p.l.dir, f.base, f.size, p.l.scfg)
}

// planMissing finds files that were there, and are not: their checksums would make
// every open miss them.
func (p *RepairPlan) planMissing(list []listedFile) {
	have := map[int64]bool{}
	for _, f := range list {
		have[f.base] = true
	}
	for name := range p.l.sums.Files {
		if base, _, ok := segment.ParseName(name); !ok || !have[base] {
			p.missing = append(p.missing, name)
		}
	}
}

// planSegment looks at one segment. some says that there are batches in it, stop
// that what lies behind is no matter of a repair.
func (p *RepairPlan) planSegment(f listedFile, next int64, epochs *Epochs) (stop, some bool, err error) {
	l := p.l
	seg := p.segment(f)
	line, known := l.sums.Files[segment.FileName(f.base, segment.LogSuffix)]
	sum, err := l.sumFile(segment.FileName(f.base, segment.LogSuffix))
	if err != nil {
		return false, false, err
	}
	wrong := known && next >= 0 && sum != line
	start := max(p.end, f.base)
	r, err := seg.Scan(segment.ScanOptions{Each: func(r *segment.Scan, pos int64, b codec.Batch) error {
		base := b.BaseOffset()
		at := max(r.Next, start)
		bad := base != at && (base < at || l.dense(at)) || p.st.Bad != nil && p.st.Bad(f.base, pos)
		if epoch, ok := epochAt(epochs, base); ok && base < p.st.Durable {
			bad = bad || epoch != b.LeaderEpoch()
		}
		if bad {
			return &segment.Reject{Err: fmt.Errorf("batch of offsets %d to %d, leader epoch %d, where offset %d is next",
				base, b.LastOffset(), b.LeaderEpoch(), at)}
		}
		p.noteEpoch(b.LeaderEpoch(), base)
		return nil
	}})
	if err != nil {
		return false, false, err
	}
	whole := r.Stop == segment.StopEnd || r.Stop == segment.StopZeros && (next < 0 || next == r.Next)
	switch {
	case whole && !wrong:
		p.end = max(p.end, r.Next)
		return false, r.Valid > 0, p.planIndexes(f)
	case whole:
		p.end = max(p.end, r.Next)
		p.From = min(p.From, f.base)
		p.missing = append(p.missing, line.Name)
		p.add(RepairStep{Path: seg.Path(), Position: -1, End: -1, Offset: f.base, Next: r.Next,
			What: fmt.Sprintf("the file has %d bytes with the checksum %08x, and had %d with %08x when it was sealed; every batch is sound",
				sum.Size, sum.CRC, line.Size, line.CRC), Do: "take it for what it is"})
		return false, r.Valid > 0, nil
	case r.Next >= p.st.Durable && !known:
		p.end = max(p.end, r.Next)
		return true, true, nil
	}
	some, err = p.planMend(seg, next, start, epochs)
	return false, some, err
}

// noteEpoch notes an epoch if it is newer than the last.
func (p *RepairPlan) noteEpoch(epoch int32, offset int64) {
	if latest, ok := p.batches.Latest(); !ok || epoch > latest.Epoch {
		p.batches.Assign(epoch, offset)
	}
}

func epochAt(e *Epochs, offset int64) (int32, bool) {
	if e == nil {
		return 0, false
	}
	return e.At(offset)
}

// planIndexes finds index files of a sealed segment that are not what they were.
func (p *RepairPlan) planIndexes(f listedFile) error {
	l := p.l
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
		name := segment.FileName(f.base, suffix)
		line, known := l.sums.Files[name]
		what := p.st.Wrong[name]
		if !known && what == "" {
			continue
		}
		sum, err := l.sumFile(name)
		if err != nil {
			return err
		}
		if sum == line && what == "" {
			continue
		}
		if what == "" {
			what = fmt.Sprintf("the file has %d bytes with the checksum %08x, and had %d with %08x", sum.Size, sum.CRC, line.Size, line.CRC)
		}
		p.From = min(p.From, f.base)
		p.missing = append(p.missing, name, segment.FileName(f.base, segment.LogSuffix)) // or recovery passes it by
		p.add(RepairStep{Path: l.env.fsys.Path(segment.Join(l.dir, name)), Position: -1, End: -1, Offset: f.base, Next: -1,
			What: what, Do: "make it anew from the batches"})
	}
	return nil
}

// planMend decides about every batch of a segment that is not sound as a whole. It
// tells whether anything is left of it.
func (p *RepairPlan) planMend(seg *segment.Segment, next, from int64, epochs *Epochs) (left bool, err error) {
	pieces, end, err := seg.Salvage()
	if err != nil {
		return false, err
	}
	m := &mend{p: p, seg: seg, epochs: epochs, at: from,
		v2: slices.ContainsFunc(pieces, func(x segment.Piece) bool { return x.Magic == codec.Magic })}
	p.mends = append(p.mends, m)
	p.From = min(p.From, seg.Base())
	for i := 0; i < len(pieces); {
		j := i + 1
		for j < len(pieces) && pieces[j].Pos == pieces[j-1].End() {
			j++
		}
		m.cut(pieces[i].Pos, "bytes that are no sound batch")
		r := run{pieces: pieces[i:j], at: m.at, lost: m.lost, back: -1}
		if j == len(pieces) && end <= pieces[j-1].End() {
			r.back, r.sure = p.known(seg.Base(), next), true
			if r.back < 0 {
				r.back, r.sure = p.st.Durable, false // if nothing was appended since
			}
		}
		if err := m.run(&r); err != nil {
			return false, err
		}
		i = j
	}
	m.cut(end, "bytes that are no sound batch")
	if len(m.cuts) == 0 && p.staleEpochs {
		p.mends = p.mends[:len(p.mends)-1] // nothing is wrong with it
	}
	for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
		p.missing = append(p.missing, segment.FileName(seg.Base(), suffix))
	}
	p.end = max(p.end, m.at)
	return len(m.kept) > 0, nil
}

// cut takes out what lies from the position that has been reached up to another.
func (m *mend) cut(to int64, what string) {
	if m.pos >= to {
		return
	}
	m.lost = true
	step := m.p.add(RepairStep{Path: m.seg.Path(), Position: m.pos, End: to, Offset: m.at, Next: -1,
		What: what, Do: "take it out", Quarantine: fmt.Sprintf("%020d.%d.quarantine", m.seg.Base(), m.pos)})
	m.cuts = append(m.cuts, cutOut{m.pos, to, step})
	m.pos = to
}

// run decides about batches that follow each other.
func (m *mend) run(r *run) error {
	p, base := m.p, m.seg.Base()
	var places []int64
	if p.l.dense(m.at) {
		places = r.places()
	}
	for i, x := range r.pieces {
		to := x.Base
		if places != nil {
			to = places[i]
		}
		last := to + x.Next - x.Base - 1
		switch {
		case to < m.at, last < to, last-base > math.MaxInt32, p.st.Bad != nil && p.st.Bad(base, x.Pos):
			m.cut(x.End(), fmt.Sprintf("a batch of offsets %d to %d, or one that cannot be read, where offset %d is next", x.Base, x.Next-1, m.at))
			continue
		case x.Magic != codec.Magic && !m.v2:
			return fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, m.seg.Path(), x.Pos, &codec.MagicError{Magic: x.Magic})
		}
		m.keep(x, to, m.epoch(r.pieces, i, to))
	}
	return nil
}

// epoch is the leader epoch of a batch: what the checkpoint says, if the batch is
// alone with what it says itself. Where batches agree it is the checkpoint that is
// wrong.
func (m *mend) epoch(run []segment.Piece, i int, offset int64) int32 {
	x := &run[i]
	epoch, known := epochAt(m.epochs, offset)
	if !known || epoch == x.Epoch || offset >= m.p.st.Durable {
		return x.Epoch
	}
	agrees := func(j int) bool { return j >= 0 && j < len(run) && run[j].Epoch == x.Epoch }
	if agrees(i-1) || agrees(i+1) || len(run) == 1 && !oneBit(int64(epoch), int64(x.Epoch)) {
		m.p.staleEpochs = true
		return x.Epoch
	}
	return epoch
}

// keep lets a batch stay, at an offset and with a leader epoch.
func (m *mend) keep(x segment.Piece, to int64, epoch int32) {
	p := m.p
	k := segment.Kept{Piece: x, NewBase: to, NewEpoch: epoch}
	if to > m.at && p.l.dense(m.at) {
		p.dense = max(p.dense, to)
		if !m.lost {
			p.add(RepairStep{Path: m.seg.Path(), Position: x.Pos, End: -1, Offset: m.at, Next: to,
				What: fmt.Sprintf("offsets %d to %d are missing", m.at, to-1), Do: "go on behind the gap"})
		}
	}
	p.noteEpoch(epoch, to)
	m.at = to + x.Next - x.Base
	if k.Changed() {
		step := p.add(RepairStep{Path: m.seg.Path(), Position: x.Pos, End: x.End(), Offset: to, Next: m.at,
			What:       fmt.Sprintf("a sound batch whose header says offset %d, leader epoch %d, magic %d", x.Base, x.Epoch, x.Magic),
			Do:         fmt.Sprintf("let it say offset %d, leader epoch %d, magic %d, as what is around it tells", to, k.NewEpoch, codec.Magic),
			Quarantine: fmt.Sprintf("%020d.%d.quarantine", m.seg.Base(), x.Pos)})
		m.cuts = append(m.cuts, cutOut{x.Pos, x.End(), step})
	}
	m.pos, m.lost = x.End(), false
	m.kept = append(m.kept, k)
}

// Apply does what the plan says, up to what the caller has to do.
func (p *RepairPlan) Apply(ctx context.Context) error {
	l := p.l
	if len(p.Steps) == 0 {
		return nil
	}
	if err := p.applySums(); err != nil {
		return spaceError(err)
	}
	if err := l.removeFiles(p.remove); err != nil {
		return err
	}
	for _, m := range p.mends {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.applyMend(m); err != nil {
			return spaceError(err)
		}
	}
	if p.shortened {
		latest, ok := l.epochs.Latest()
		if !ok {
			latest.Epoch = -1
		}
		l.epochs.TruncateFromEnd(p.end + 1)
		if !l.cfg().ExternalEpochs {
			l.epochs.Assign(latest.Epoch+1, p.end)
		}
	}
	if p.shortened || p.staleEpochs {
		if err := l.writeEpochs(); err != nil {
			return spaceError(err)
		}
	}
	if p.begin < 0 {
		s, err := segment.Create(l.env.fsys, l.env.maps, l.dir, p.end, l.scfg)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err != nil {
			return spaceError(err)
		}
		if err := s.Close(); err != nil {
			return err
		}
		return l.env.fsys.SyncDir(l.dir)
	}
	return nil
}

// applySums lets offsets be missing where they are.
func (p *RepairPlan) applySums() error {
	s := &p.l.sums
	if p.begin < 0 {
		return nil
	}
	for _, name := range p.missing {
		delete(s.Files, name)
	}
	if p.dense >= 0 && s.Dense < p.dense {
		s.Dense = p.dense
	}
	return s.rewrite(p.l)
}

func (p *RepairPlan) applyMend(m *mend) error {
	l := p.l
	for _, c := range m.cuts {
		name, err := m.seg.QuarantineRange(c.from, c.to)
		if err != nil {
			return err
		}
		p.Steps[c.step].Quarantine = name
	}
	if err := l.env.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	if err := m.seg.DropIndexes(); err != nil {
		return err
	}
	if err := l.env.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	if len(m.kept) == 0 && !m.stays {
		if err := m.seg.Remove(); err != nil {
			return err
		}
		return l.env.fsys.SyncDir(l.dir)
	}
	if err := m.seg.CopyKept(m.kept); err != nil {
		return err
	}
	if err := m.seg.PutHead(); err != nil {
		return err
	}
	return l.env.fsys.SyncDir(l.dir)
}

// SetAside makes quarantine files of all segments in a folder, and removes what
// belongs to them: the log begins anew.
func SetAside(env *Env, dir string) error {
	l := &Log{env: env, dir: dir}
	l.config.Store(&Config{})
	infos, err := env.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	o := &opening{l: l}
	for _, info := range slices.Backward(infos) {
		base, suffix, ok := segment.ParseName(info.Name)
		switch {
		case ok && suffix == segment.LogSuffix:
			_, err = o.setAside(segment.Open(env.fsys, env.maps, dir, base, info.Size, l.scfg))
		case ok && suffix == segment.SnapshotSuffix, info.Name == sumsName, info.Name == epochsName:
			err = env.fsys.Remove(segment.Join(dir, info.Name))
		}
		if err != nil {
			return err
		}
	}
	return env.fsys.SyncDir(dir)
}
