package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// How a follower begins: from what is in the folder, and nothing that it
// remembers.

// listedFile is a log file in the folder.
type listedFile struct {
	base, size int64
	id         vfs.FileID
}

// listSegments lists the log files, by base offset.
func (l *Log) listSegments() ([]listedFile, error) {
	infos, err := l.env.fsys.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l.env.fsys.Path(l.dir), err)
	}
	var list []listedFile
	for _, info := range infos {
		if base, suffix, ok := segment.ParseName(info.Name); ok && suffix == segment.LogSuffix && info.Mode.IsRegular() {
			list = append(list, listedFile{base, info.Size, info.ID})
		}
	}
	slices.SortFunc(list, func(a, b listedFile) int { return compare(a.base, b.base) })
	return list, nil
}

// restart begins again. Cursors that are under way find out by the run's number;
// until it is even again nobody reads.
func (f *follower) restart() (err error) {
	if f.run.Load()&1 == 0 {
		f.run.Add(1)
	}
	b := f.now.basis()
	f.basis.Store(&b)
	f.missing = false
	// A file that is gone may have been listed, or the start read, before retention
	// took it.
	for try := 0; try < followTries; try++ {
		if err = f.begin(); !isMissing(err) {
			break
		}
		now := f.told()
		if now.changed(f) {
			break
		}
		if now.Known && now.Start > f.now.Start {
			try = -1 // retention goes on
		}
		f.now = now
	}
	if (err == nil || isMissing(err)) && f.told().changed(f) {
		err = ErrRestarted
	}
	if err != nil {
		f.missing = true // the run stays odd: nothing can be read
		return err
	}
	f.run.Add(1)
	return nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// beheaded is an error when the first segments are missing, and no words say that
// the log starts behind them: they may be going because the topic is, and what is
// left is no log. If that lasts, whoever wrote the words has lost them.
func (f *follower) beheaded(list []listedFile, start int64) error {
	if f.now.Known || !f.opened || !f.sound || len(list) == 0 || list[0].base <= max(start, f.l.start.Load()) {
		f.headless = time.Time{}
		return nil
	}
	if f.headless.IsZero() {
		f.headless = time.Now()
	}
	if time.Since(f.headless) >= stuckAfter {
		return nil
	}
	return &segment.CorruptError{Path: f.l.env.fsys.Path(segment.Join(f.l.dir, segment.FileName(max(start, 0), segment.LogSuffix))),
		Offset: max(start, 0), Err: fmt.Errorf("segment file is missing: %w", fs.ErrNotExist)}
}

// begin reads the folder.
func (f *follower) begin() error {
	l, t := f.l, &f.now
	list, err := l.listSegments()
	if err != nil {
		return err
	}
	if err := f.sidecars(); err != nil {
		return err
	}
	if list, err = f.standing(list); err != nil {
		return err
	}
	start := f.start
	if t.Known {
		start = t.Start
	}
	list = f.relevant(list, start)
	if t.Known && (len(list) == 0 || list[0].base > start) {
		// A partition that is being deleted loses its files one by one. What else
		// removes files makes the new start durable before.
		return &segment.CorruptError{Path: l.env.fsys.Path(segment.Join(l.dir, segment.FileName(start, segment.LogSuffix))),
			Offset: start, Err: fmt.Errorf("segment file is missing: %w", fs.ErrNotExist)}
	}
	if err := f.beheaded(list, start); err != nil {
		return err
	}
	segs := make([]*segment.Segment, 0, len(list)+1)
	f.rolled = nil
	for i, file := range list {
		last := i+1 == len(list)
		s := segment.Open(l.env.fsys, l.env.maps, l.dir, file.base, file.size, l.scfg).Expect(file.id)
		segs = append(segs, s)
		if last {
			f.scan = s.Follow()
		} else if err := f.sealed(s, file, list[i+1].base); err != nil {
			return errors.Join(err, closeAll(segs))
		}
	}
	if len(list) == 0 {
		segs = append(segs, f.empty(max(start, 0)))
	}
	start = max(start, segs[0].Base())
	last := segs[len(segs)-1]

	p, err := f.loadProducers(segs)
	if err != nil {
		return errors.Join(err, closeAll(segs))
	}
	l.stateMu.Lock()
	l.producers = p
	l.stateMu.Unlock()
	l.txns.Lock()
	clear(l.txns.proved)
	l.txns.Unlock()
	f.swap(newList(segs))
	l.external.Store(min(start, last.Base()))
	l.start.Store(start)
	// Damage is found again by the next poll; what is there before it can be read.
	if err := f.extend(); err != nil && (isMissing(err) || !errors.Is(err, ErrCorrupt)) {
		return err
	}
	if !t.Live {
		start = max(segs[0].Base(), min(start, f.scan.Next))
	}
	l.start.Store(start)
	l.stateMu.Lock()
	l.epochs.TruncateFromStart(start)
	l.producers.TruncateHead(start)
	l.stateMu.Unlock()
	f.publish()
	return nil
}

// relevant leaves out files wholly below the start, which retention has not
// removed yet, and those behind what can be seen, which may be anything.
func (f *follower) relevant(list []listedFile, start int64) []listedFile {
	for len(list) > 1 && list[1].base <= start {
		list = list[1:]
	}
	if t := &f.now; t.Live {
		for len(list) > 1 && list[len(list)-1].base >= f.target() {
			list = list[:len(list)-1]
		}
	}
	return list
}

// sealed finds out what a segment that is not the last holds: its file may still
// have room behind the batches, until the writer has sealed it. What the sums
// say, or the index files, is enough; else it is scanned.
func (f *follower) sealed(s *segment.Segment, file listedFile, next int64) error {
	if sum, ok := f.l.sums.of(file.base, segment.LogSuffix); ok && sum.Size == file.size {
		return nil
	}
	if r, err := s.Resume(); err == nil && r.Valid == file.size && r.Next <= next {
		return nil
	}
	return s.Extend(s.Follow(), next, func(*segment.Scan, int64, codec.Batch) error { return nil })
}

// sidecars reads the small files. One that is missing or wrong is done without.
func (f *follower) sidecars() error {
	l := f.l
	b, err := readAll(l.env.fsys, segment.Join(l.dir, sumsName), maxSumsFile)
	if err != nil && !isMissing(err) && !errors.Is(err, errTooLarge) {
		return err
	}
	sums := ParseSums(b)
	l.sums.Lock()
	l.sums.Sums = sums
	l.sums.Unlock()
	dense := sums.Dense
	if !f.sound {
		dense = noOffset
	}
	l.denseFrom.Store(dense)

	var epochs Epochs
	b, err = readAll(l.env.fsys, segment.Join(l.dir, epochsName), maxSidecar)
	if err == nil {
		if e, err := ParseEpochs(b); err == nil {
			epochs = *e
		}
	}
	l.stateMu.Lock()
	l.epochs = epochs
	l.stateMu.Unlock()
	return nil
}

// loadProducers makes the producer state at the beginning of the last segment.
func (f *follower) loadProducers(segs []*segment.Segment) (*Producers, error) {
	p := NewProducers()
	i := len(segs) - 1
	base := segs[i].Base()
	if list, err := f.l.readSnapshot(base); err == nil {
		p.Load(list, 0, noOffset)
	} else if i > 0 {
		if err := f.l.replay(p, segs[:i], base); err != nil {
			return nil, err
		}
	}
	p.OnHighWatermark(base)
	return p, nil
}

func closeAll(segs []*segment.Segment) error {
	var errs []error
	for _, s := range segs {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
