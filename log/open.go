package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

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
	sums      map[string]segment.FileSum
	// mark is the offset below which everything is known to be durable.
	mark int64
	// epochsKnown: the checkpoint was there and sound.
	epochsKnown bool
	around      bool // damage was found: read around it
}

// Open opens a partition's folder, recovering it where it was not closed in
// order.
func Open(env *Env, dir string, c Config, st OpenState) (*Log, *Report, error) {
	c.setDefaults()
	l := &Log{
		env: env, dir: dir, cfg: c, marks: st.Marks, producers: NewProducers(), report: new(Report),
		scfg: segment.Config{
			Bytes: c.SegmentBytes, IndexBytes: c.IndexBytes, IndexInterval: c.IndexInterval, Mapped: env.mapped,
		},
	}
	l.unstable.Store(noOffset)
	o := &opening{l: l, st: st, r: l.report}
	if err := o.run(); err != nil {
		for _, s := range o.segs {
			_ = s.Close() // nothing was written through them
		}
		return nil, nil, err
	}
	return l, l.report, nil
}

func (o *opening) run() error {
	l := o.l
	if err := o.list(); err != nil {
		return err
	}
	o.mark = o.st.RecoveryPoint
	if o.st.MarksValid && o.st.Marks != nil {
		o.mark = max(o.mark, o.st.Marks.Durable())
	}
	if err := o.sidecars(); err != nil {
		return err
	}
	if len(o.segs) == 0 {
		if err := o.create(); err != nil {
			return err
		}
	} else if !o.resume() {
		if err := o.recover(); err != nil {
			return err
		}
	}
	l.segments.Store(newList(o.segs))
	return o.finish()
}

// list finds out what is in the folder, and finishes what a crash left half
// done.
func (o *opening) list() error {
	l := o.l
	fsys := l.env.fsys
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
		case info.Name == segment.PreparedName, strings.HasSuffix(info.Name, ".tmp"):
			if err := fsys.Remove(name); err != nil {
				return err
			}
		case !ok:
		case suffix == segment.SnapshotSuffix:
			o.snapshots = append(o.snapshots, base)
		case (suffix == segment.IndexSuffix || suffix == segment.TimeSuffix || suffix == segment.TxnSuffix) && !logs[base]:
			// The rest of a removal: the log file goes last.
			if err := fsys.Remove(name); err != nil {
				return err
			}
		}
	}
	slices.Sort(o.snapshots)
	return nil
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
	sums, dense, err := l.sums.load(l)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o.sums = sums
	l.dense = dense && !o.st.Adopted
	if l.sums.end == 0 {
		l.dense = o.st.New
		if err := l.sums.start(l, l.dense); err != nil {
			return err
		}
	}
	b, err := readAll(l.env.fsys, segment.Join(l.dir, epochsName), maxSidecar)
	if err == nil {
		var e *Epochs
		if e, err = ParseEpochs(b); err == nil {
			l.epochs = *e
			o.epochsKnown = true
			return nil
		}
		l.env.logger.Warn("leader epochs are rebuilt from the log", "partition", l.name(), "err", err)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCheckpoint) {
		return err
	}
	return nil
}

const (
	epochsName = "leader-epoch-checkpoint"
	maxSidecar = 64 << 20
)

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
		return nil, fmt.Errorf("%s: %d bytes are too many", f.Path(), n)
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
	if err := l.env.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	l.dense = true
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
	if err != nil || r.Next != o.st.RecoveryPoint || r.Valid != last.Size() || o.mark > r.Next {
		l.env.logger.Warn("not closed as its marker says: recovering", "partition", l.name(), "err", err)
		return false
	}
	if err := o.loadProducers(r.Next); err != nil {
		l.env.logger.Warn("producer state does not load: recovering", "partition", l.name(), "err", err)
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

// finish publishes what was opened.
func (o *opening) finish() error {
	l := o.l
	end := l.end.Load()
	l.start.Store(max(o.segs[0].Base(), min(o.st.StartOffset, end)))
	start := l.start.Load()

	l.epochs.TruncateFromStart(start)
	changed := l.epochs.TruncateFromEnd(end) || !o.epochsKnown
	if !l.cfg.ExternalEpochs && l.damage == nil {
		latest, ok := l.epochs.Latest()
		switch {
		case !ok:
			changed = l.epochs.Assign(0, end) || changed
		case o.r.Shortened:
			// What was read at an offset above may not come back: a new epoch
			// tells those who ask.
			changed = l.epochs.Assign(latest.Epoch+1, end) || changed
		}
		if latest, ok = l.epochs.Latest(); ok {
			l.w.epoch = latest.Epoch
		}
	} else if latest, ok := l.epochs.Latest(); ok {
		l.w.epoch = latest.Epoch
	}
	if changed && l.damage == nil {
		if err := l.writeEpochs(); err != nil {
			return err
		}
	}
	l.producers.TruncateHead(start)
	l.producers.OnHighWatermark(end)
	l.setUnstable()

	l.w.active = o.segs[len(o.segs)-1]
	l.w.rolled = time.Now()
	if l.damage != nil {
		l.refuse.Store(&refusal{l.damage})
		o.r.Damage = l.damage
	}
	o.r.StartOffset, o.r.EndOffset = start, end
	l.marks.store(markStart, start)
	l.marks.store(markPublished, end)
	l.marks.store(markDurable, max(l.durable.Load(), 0))
	l.marks.store(markWatermark, l.HighWatermark())
	if !o.r.Clean && l.marks != nil {
		l.marks.store(markGeneration, l.marks.Generation()+1)
	}
	return nil
}

func (l *Log) writeEpochs() error {
	return WriteFile(l.env.fsys, segment.Join(l.dir, epochsName), l.epochs.Append(nil))
}

func (l *Log) setUnstable() {
	first, ok := l.producers.FirstUnstable()
	if !ok {
		first = noOffset
	}
	l.unstable.Store(first)
}
