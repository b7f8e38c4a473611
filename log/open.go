package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// OpenState is what the store knows of a partition before it is opened. Offsets
// that are not known are -1.
type OpenState struct {
	// Clean: the whole store was closed in order, so the recovery point is the
	// end of the log, and nothing has to be scanned if that proves true.
	Clean bool
	// RecoveryPoint, StartOffset and HighWatermark are from the checkpoints.
	RecoveryPoint, StartOffset, HighWatermark int64

	Marks      *Marks
	MarksValid bool // the marks are this partition's, and nobody else wrote since
	Adopted    bool // it was written by others: offsets may be missing
	New        bool // the folder has just been made
	Unobserved bool // it is not counted, and no Observer told but of recovery and failures

	// SaveStart makes the log start offset durable where there are no Marks.
	SaveStart func() error
}

// Report says what an open found and did.
type Report struct {
	Clean           bool
	SegmentsScanned int
	BytesScanned    int64
	BytesCut        int64 // put aside in quarantine files
	BytesRewritten  int64 // written again and synced
	Cuts            []Cut
	Rebuilt         []string // files made anew from the log
	StartOffset     int64
	EndOffset       int64
	Damage          *segment.CorruptError
	Shortened       bool // offsets that may have been read are gone: a new leader epoch began
	Duration        time.Duration
}

// Cut is one place where a torn tail was cut off.
type Cut struct {
	Path       string
	Position   int64
	Offset     int64 // the first that is gone
	Bytes      int64
	Quarantine string // file that keeps them; empty when there were only zeros
	Reason     error
}

// Error is String: a cut is why offsets are gone that may have been read.
func (c Cut) Error() string { return c.String() }

// Unwrap gives the reason.
func (c Cut) Unwrap() error { return c.Reason }

// String is one line of a report.
func (c Cut) String() string {
	return fmt.Sprintf("%s: cut at position %d, offset %d: %d bytes kept in %q: %v",
		c.Path, c.Position, c.Offset, c.Bytes, c.Quarantine, c.Reason)
}

// opening is an open under way.
type opening struct {
	l  *Log
	st OpenState
	r  *Report

	segs      []*segment.Segment // in order
	snapshots []int64            // offsets of .snapshot files, in order
	broken    []int64            // of those that cannot be read
	// mark is the offset below which everything is known to be durable.
	mark int64
	// epochsKnown: the checkpoint was there and sound.
	epochsKnown bool
	// disproved is the highest epoch of it that, as batches show, never began; 0:
	// there is none.
	disproved int32
	noted     bool // batches had an epoch that the file does not name: a crash came between
	around    bool // damage was found: read around it
	// newEpoch: a new leader epoch has begun where the log was cut.
	newEpoch bool
	// starved: a clean open met the limit of descriptors. Recovering would take as
	// many, and read the whole log first.
	starved error

	// each and inspect are of a check, which asks more of a batch than recovery.
	each    func(r *segment.Scan, pos int64, b codec.Batch) error
	inspect func() segment.Inspect
}

// Open opens a partition's folder, recovering it where it was not closed in
// order.
func Open(env *Env, dir string, c Config, st OpenState) (*Log, *Report, error) {
	c.setDefaults()
	l := &Log{
		env: env, dir: dir, marks: st.Marks, producers: NewProducers(),
		scfg: segment.Config{
			Bytes: c.SegmentBytes, IndexBytes: c.IndexBytes, IndexInterval: c.IndexInterval,
			Mapped: env.mapped, Synced: c.Durability == Synced,
		},
	}
	l.obs = env.observed
	if st.Unobserved {
		l.obs = env.unobserved
	}
	// Logs that get few appends each are measured in turn, not all at once.
	l.w.turn = l.obs.opened.Add(1) * 41
	begin := l.obs.now()
	l.config.Store(&c)
	l.unstable.Store(noOffset)
	l.retain.init(st.SaveStart)
	o := &opening{l: l, st: st, r: new(Report)}
	if err := o.run(); err != nil {
		for _, s := range o.segs {
			_ = s.Close() // nothing was written through them
		}
		return nil, nil, err
	}
	o.r.Duration = l.obs.now() - begin
	if !o.r.Clean {
		l.obs.recoveries.Add(1)
		l.report.Store(o.r)
	}
	return l, o.r, nil
}

func (o *opening) run() error {
	l := o.l
	if err := o.list(); err != nil {
		return err
	}
	o.setMark()
	l.external.Store(o.externalWatermark(0, noOffset))
	if err := o.dropDeleted(); err != nil {
		return err
	}
	if err := o.sidecars(); err != nil {
		return err
	}
	if len(o.segs) == 0 {
		if err := o.create(); err != nil {
			return err
		}
	} else if o.missing(); l.damage != nil || !o.resume() {
		if o.starved != nil {
			return o.starved
		}
		if err := o.recover(); err != nil {
			return err
		}
	}
	l.segments.Store(newList(o.segs))
	return o.finish()
}

// setMark finds the mark: what is known of it by the checkpoint and leat.state.
func (o *opening) setMark() {
	o.mark = o.st.RecoveryPoint
	if o.st.MarksValid && o.st.Marks != nil {
		o.mark = max(o.mark, o.st.Marks.Durable())
	}
}

// list finds out what is in the folder, and finishes what a crash left half
// done.
func (o *opening) list() error {
	l := o.l
	fsys := l.env.fsys
	if err := l.sums.load(l); err != nil {
		return err
	}
	if err := finishSwaps(l); err != nil {
		return err
	}
	infos, err := fsys.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", fsys.Path(l.dir), err)
	}
	logs := make(map[int64]bool)
	for _, info := range infos {
		if base, suffix, ok := segment.ParseName(info.Name); ok && suffix == segment.LogSuffix {
			if !info.Mode.IsRegular() {
				return fmt.Errorf("open %s: %w", fsys.Path(segment.Join(l.dir, info.Name)), vfs.ErrType)
			}
			logs[base] = true
			o.segs = append(o.segs, segment.Open(fsys, l.env.maps, l.dir, base, info.Size, l.scfg))
		}
	}
	slices.SortFunc(o.segs, func(a, b *segment.Segment) int { return compare(a.Base(), b.Base()) })
	for _, info := range infos {
		name := segment.Join(l.dir, info.Name)
		base, suffix, ok := segment.ParseName(info.Name)
		switch {
		case info.Name == segment.PreparedName, isTemporary(info.Name):
			if err := fsys.Remove(name); err != nil && !info.IsDir() {
				return err
			}
		case !ok:
		case suffix == segment.SnapshotSuffix:
			o.snapshots = append(o.snapshots, base)
		case (suffix == segment.IndexSuffix || suffix == segment.TimeSuffix || suffix == segment.TxnSuffix) && !logs[base]:
			// The rest of a removal: the log file goes first.
			if err := fsys.Remove(name); err != nil {
				return err
			}
		}
	}
	slices.Sort(o.snapshots)
	return nil
}

// isTemporary tells whether a file is one that was on its way when its writer
// died: one of those that WriteFile is used for here, and in Kafka.
func isTemporary(name string) bool {
	name, ok := strings.CutSuffix(name, temporarySuffix)
	switch name {
	case epochsName, sumsName, "partition.metadata":
		return ok
	}
	_, suffix, segmentFile := segment.ParseName(name)
	return ok && segmentFile && (suffix == segment.SnapshotSuffix || suffix == segment.TxnSuffix || suffix == segment.LogSuffix)
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// sidecars reads the small files beside the segments. One that is missing or
// wrong is made anew.
func (o *opening) sidecars() error {
	l := o.l
	if o.st.Adopted && o.st.Marks != nil && !o.st.MarksValid {
		l.sums.Dense = noOffset // others may have compacted what was written here
	}
	l.denseFrom.Store(l.sums.Dense)
	l.gapsFrom.Store(l.sums.gapsFrom())
	b, err := readAll(l.env.fsys, segment.Join(l.dir, epochsName), maxSidecar)
	if err == nil {
		var e *Epochs
		if e, err = ParseEpochs(b); err == nil && len(b) > 0 { // nobody writes an empty file
			l.epochs = *e
			o.epochsKnown = true
			return nil
		}
		l.env.logger.Warn("leader epochs are rebuilt from the log", "partition", l.name(), "err", err)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCheckpoint) && !errors.Is(err, errTooLarge) {
		return err
	}
	return nil
}

// missing looks for a sealed segment between others that is not there any more.
// Where offsets may be missing that proves nothing, elsewhere it is damage.
func (o *opening) missing() {
	l := o.l
	first, last := o.segs[0].Base(), o.segs[len(o.segs)-1].Base()
	lost := int64(noOffset)
	l.sums.unpack()
	for name := range l.sums.Files {
		base, suffix, ok := segment.ParseName(name)
		if !ok || suffix != segment.LogSuffix || base <= first || base >= last || base >= lost || !l.dense(base) {
			continue
		}
		if i := newList(o.segs).find(base); o.segs[i].Base() != base {
			lost = base
		}
	}
	if lost != noOffset {
		o.around = true
		l.damage = &segment.CorruptError{Path: l.env.fsys.Path(segment.Join(l.dir, segment.FileName(lost, segment.LogSuffix))),
			Offset: lost, Err: errors.New("segment file is missing")}
	}
}

const (
	epochsName = "leader-epoch-checkpoint"
	maxSidecar = 64 << 20
)

var errTooLarge = errors.New("larger than such a file can be")

// readAll reads a small file, which must not be larger than max.
func readAll(fsys vfs.FS, name string, max int64) ([]byte, error) {
	f, err := fsys.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > max {
		return nil, fmt.Errorf("%s: %d bytes: %w", f.Path(), n, errTooLarge)
	}
	b := make([]byte, n)
	if m, err := f.ReadAt(b, 0); m < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s: %w", f.Path(), err)
	}
	return b, nil
}

// create makes the first segment of an empty folder.
func (o *opening) create() error {
	l := o.l
	if o.mark > 0 && !o.st.New {
		return &segment.CorruptError{Path: l.env.fsys.Path(l.dir), Offset: max(o.st.StartOffset, 0),
			Err: fmt.Errorf("no segment is there, and the log was durable up to offset %d", o.mark)}
	}
	base := max(o.st.StartOffset, 0)
	s, err := segment.Create(l.env.fsys, l.env.maps, l.dir, base, l.scfg)
	if err != nil {
		return spaceError(err)
	}
	o.segs = append(o.segs, s)
	if err := l.syncDir(); err != nil {
		return err
	}
	if _, err := s.Rest(); err != nil {
		return err
	}
	if err := o.loadProducers(base); err != nil {
		return err
	}
	l.denseFrom.Store(base)
	l.gapsFrom.Store(noOffset)
	l.sums.Dense, l.sums.Sparse, l.sums.end = base, false, 0
	l.sums.Files, l.sums.packed = nil, nil
	o.epochsKnown = true
	o.r.Clean = true
	l.start.Store(base)
	l.end.Store(base)
	l.durable.Store(base)
	return nil
}

// resume takes the log as it was closed, if it was: the marker alone is not
// believed, the last segment must end where the recovery point says.
func (o *opening) resume() bool {
	l := o.l
	if !o.st.Clean || !o.epochsKnown || o.st.RecoveryPoint < 0 {
		return false
	}
	last := o.segs[len(o.segs)-1]
	r, err := last.Resume()
	if o.starves(err) {
		return false
	}
	if err != nil || r.Next != o.st.RecoveryPoint || r.Valid != last.Size() || o.mark > r.Next {
		l.env.logger.Warn("not closed as its marker says: recovering", "partition", l.name(), "err", err)
		return false
	}
	if err := o.loadProducers(r.Next); o.starves(err) {
		return false
	} else if err != nil {
		l.env.logger.Warn("producer state does not load: recovering", "partition", l.name(), "err", err)
		return false
	}
	if ok, err := l.txnsKept(o.segs); o.starves(err) {
		return false
	} else if !ok || err != nil {
		l.env.logger.Warn("transaction index of the last segment is wrong: recovering", "partition", l.name(), "err", err)
		return false
	}
	if err := last.Activate(r); err != nil {
		l.env.logger.Warn("last segment does not open", "partition", l.name(), "err", err)
		return false
	}
	o.r.Clean = true
	l.end.Store(r.Next)
	l.durable.Store(r.Next)
	return true
}

// starves tells whether err is for want of descriptors, and keeps it.
func (o *opening) starves(err error) bool {
	if errors.Is(err, vfs.ErrTooManyFiles) {
		o.starved = err
	}
	return o.starved != nil
}

// finish publishes what was opened.
func (o *opening) finish() error {
	l := o.l
	end := l.end.Load()
	l.start.Store(max(o.segs[0].Base(), min(o.st.StartOffset, end)))
	l.retain.oldest.Store(o.segs[0].Base())
	start := l.start.Load()
	o.r.StartOffset, o.r.EndOffset = start, end

	if err := o.settleEpochs(start, end); err != nil {
		return err
	}
	l.producers.TruncateHead(start)
	l.external.Store(o.externalWatermark(start, end))
	l.producers.OnHighWatermark(l.HighWatermark())
	l.setUnstable()

	l.w.active = o.segs[len(o.segs)-1]
	l.w.rolled = time.Now()
	l.ahead.begin(l.w.active.Size())
	if l.marks != nil {
		l.generation.Store(l.marks.Generation())
	}
	if l.damage != nil {
		// Nothing on disk changes, the marks neither: they are what tells the
		// damage from a torn tail.
		l.refuse.Store(&refusal{l.damage})
		o.r.Damage = l.damage
		return nil
	}
	if err := o.settleSidecars(end); err != nil {
		return err
	}
	if o.r.Clean && !o.st.New {
		l.opened = l.segments.Load()
	}
	l.sums.pack()
	l.marks.store(markStart, start)
	l.marks.store(markPublished, end)
	l.marks.store(markDurable, l.durable.Load())
	l.marks.store(markWatermark, l.HighWatermark())
	if !o.r.Clean || l.marks != nil && l.marks.Generation() == 0 {
		l.nextGeneration(end) // last: from now on the words count
	}
	return nil
}

// externalWatermark is the last known high watermark that a wrapper has set. One
// that is too low is no harm: the wrapper raises it again.
func (o *opening) externalWatermark(start, end int64) int64 {
	w := o.st.HighWatermark
	if o.st.MarksValid && o.st.Marks != nil {
		w = max(w, o.st.Marks.Watermark())
	}
	return max(start, min(w, end))
}

// settleEpochs brings the leader epochs in line with the log. An epoch may begin
// at its very end: one that began because the log was shortened must not be
// forgotten when nothing was appended before the next open, as Kafka does, which
// is given a new one by its controller.
func (o *opening) settleEpochs(start, end int64) error {
	l := o.l
	if (o.r.Shortened || o.disproved > 0) && !o.newEpoch { // that truncation may have removed some of the end
		o.assignEpoch(end)
	}
	changed := l.epochs.TruncateFromStart(start)
	changed = l.epochs.TruncateFromEnd(end+1) || changed || o.newEpoch || !o.epochsKnown || o.disproved > 0 || o.noted
	if _, ok := l.epochs.Latest(); !ok && !l.cfg().ExternalEpochs {
		changed = l.epochs.Assign(0, end) || changed
	}
	l.w.epoch = -1
	if latest, ok := l.epochs.Latest(); ok {
		l.w.epoch = latest.Epoch
	} else {
		l.w.epoch = -1 // the first append begins one
	}
	if !changed || l.damage != nil {
		return nil
	}
	if err := l.writeEpochs(); err != nil || o.disproved == 0 || !o.st.MarksValid || o.st.Marks == nil {
		return err
	}
	// Readers in other processes have gone by the wrong ones.
	o.st.Marks.TakeBack(o.st.Marks.Published())
	return o.st.Marks.Sync()
}

// assignEpoch begins a new leader epoch where the log now ends: what was read at
// an offset from there on may not come back, and the epoch tells those who ask.
// It is above all that were ever given out.
func (o *opening) assignEpoch(end int64) {
	l := o.l
	if l.cfg().ExternalEpochs || l.damage != nil {
		return
	}
	o.newEpoch = true
	latest, ok := l.epochs.Latest()
	if !ok {
		latest.Epoch = -1
	}
	l.epochs.TruncateFromEnd(end + 1)
	l.epochs.Assign(max(latest.Epoch, o.disproved)+1, end)
}

// settleSidecars leaves no snapshot that cannot be used, and a sums file.
func (o *opening) settleSidecars(end int64) error {
	l := o.l
	for _, s := range o.broken {
		if err := l.removeSnapshot(s); err != nil {
			return err
		}
	}
	for _, s := range o.snapshots {
		if s > end {
			if err := l.removeSnapshot(s); err != nil {
				return err
			}
		}
	}
	l.sums.forget(l, o.segs[0].Base())
	if l.sums.end > 0 && l.sums.Dense <= end {
		return nil
	}
	if l.sums.Dense > end {
		l.sums.Dense = end // what is appended here has no gaps
		l.denseFrom.Store(end)
	}
	return spaceError(l.sums.rewrite(l))
}

func (l *Log) writeEpochs() error {
	return WriteFile(l.env.fsys, segment.Join(l.dir, epochsName), l.epochs.Append(nil))
}
