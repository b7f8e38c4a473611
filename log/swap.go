package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/leatlog/leat/segment"
)

// The suffixes of files that are on their way: made by a cleaning, put in place
// by it, or on their way out.
const (
	cleanedSuffix = ".cleaned"
	swapSuffix    = ".swap"
	deletedSuffix = ".deleted"
)

// finishSwaps completes or rolls back what a cleaning or a removal left (Kafka's
// LogLoader, KAFKA_RULES 4.5 steps 1 and 2): deleted files go, cleaned ones too,
// and with them the swaps that a cleaning had not finished; the swaps that are
// left are put in place of the segments they were made from.
//
// A power cut in the middle keeps any of the changes since the last sync of the
// folder, so there is one between any two steps of which the second must not be
// seen without the first.
func finishSwaps(l *Log) error {
	fsys := l.env.fsys
	infos, err := fsys.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", fsys.Path(l.dir), err)
	}
	minCleaned := int64(math.MaxInt64)
	var deleted, cleaned, swaps, unfinished []string
	for _, info := range infos {
		base, _, ok := segment.ParseName(info.Name)
		if !ok {
			continue
		}
		switch {
		case strings.HasSuffix(info.Name, deletedSuffix):
			deleted = append(deleted, info.Name)
		case strings.HasSuffix(info.Name, cleanedSuffix):
			minCleaned = min(minCleaned, base)
			cleaned = append(cleaned, info.Name)
		case strings.HasSuffix(info.Name, swapSuffix):
			swaps = append(swaps, info.Name)
		}
	}
	kept := swaps[:0]
	for _, name := range swaps {
		if base, _, _ := segment.ParseName(name); base >= minCleaned {
			unfinished = append(unfinished, name)
		} else {
			kept = append(kept, name)
		}
	}
	// The cleaned files tell which swaps are unfinished: they go after them.
	if err := l.removeFiles(append(deleted, unfinished...)); err != nil {
		return err
	}
	if err := l.removeFiles(cleaned); err != nil {
		return err
	}
	if len(kept) == 0 && l.sums.Swap == nil {
		return nil
	}
	// Their names may not be durable yet, and what they replace goes next.
	if err := fsys.SyncDir(l.dir); err != nil {
		return err
	}
	if kept, err = l.resumeSwap(kept); err != nil || len(kept) == 0 {
		return err
	}
	return l.putInPlace(kept)
}

// resumeSwap goes on with the replacement that segments.sum tells of, if its log
// file is in place or has the name of one that goes there; otherwise it was never
// begun, or taken back. It returns the swap files that are another's: Kafka's.
func (l *Log) resumeSwap(names []string) (others []string, err error) {
	w := l.sums.Swap
	if w == nil {
		return names, nil
	}
	ours := make(map[string]bool)
	for _, name := range names {
		if base, _, _ := segment.ParseName(name); base == w.From {
			ours[strings.TrimSuffix(name, swapSuffix)] = true
		} else {
			others = append(others, name)
		}
	}
	log := segment.FileName(w.From, segment.LogSuffix)
	done := ours[log]
	if done {
		// First of all, as when it is not interrupted: see Replacement.
		if err := l.rename(log+swapSuffix, log); err != nil {
			return nil, err
		}
		if err := l.env.fsys.SyncDir(l.dir); err != nil {
			return nil, err
		}
		delete(ours, log)
	} else if done, err = l.holds(w, segment.LogSuffix); err != nil {
		return nil, err
	}
	var rest []string
	for name := range ours {
		if done {
			err = l.rename(name+swapSuffix, name)
		} else {
			rest = append(rest, name+swapSuffix) // of one that was taken back
		}
		if err != nil {
			return nil, err
		}
	}
	if done {
		more, err := l.replaced(w)
		if err != nil {
			return nil, err
		}
		rest = append(rest, more...)
	}
	if err := l.removeFiles(rest); err != nil {
		return nil, err
	}
	if done {
		l.sums.settle(w)
		l.env.logger.Info("replacement finished", "partition", l.name(), "from", w.From, "to", w.To)
	}
	l.sums.Swap = nil
	if err := l.sums.replaceFile(l); err != nil {
		l.sums.Swap = w
		l.env.logger.Warn("checksums not written", "partition", l.name(), "err", err)
	}
	return others, nil
}

func (l *Log) rename(from, to string) error {
	return l.env.fsys.Rename(segment.Join(l.dir, from), segment.Join(l.dir, to))
}

// holds tells whether a file of the segment at w.From is the new one.
func (l *Log) holds(w *Swap, suffix string) (bool, error) {
	want, ok := w.of(suffix)
	if !ok {
		return false, nil
	}
	name := segment.FileName(w.From, suffix)
	info, err := l.env.fsys.Stat(segment.Join(l.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return want.Size == 0 && suffix != segment.LogSuffix, nil
	}
	if err != nil || info.Size != want.Size {
		return false, err
	}
	sum, err := l.sumFile(name)
	return sum == want, err
}

// replaced are the files that have to go once the log file of w is in place: those
// of the segments that it replaces, first to last, with their snapshots, and index
// files that were not made of it.
func (l *Log) replaced(w *Swap) (names []string, err error) {
	infos, err := l.env.fsys.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		base, suffix, ok := segment.ParseName(info.Name)
		if ok && w.From < base && base < w.To && (isSegmentFile(suffix) || suffix == segment.SnapshotSuffix) {
			names = append(names, info.Name)
		}
	}
	for _, suffix := range sumSuffixes {
		if ok, err := l.holds(w, suffix); err != nil {
			return nil, err
		} else if !ok && suffix != segment.LogSuffix {
			names = append(names, segment.FileName(w.From, suffix))
		}
	}
	return names, nil
}

// removeFiles removes files of the folder for good.
func (l *Log) removeFiles(names []string) error {
	for _, name := range names {
		if err := l.env.fsys.Remove(segment.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(names) == 0 {
		return nil
	}
	return l.env.fsys.SyncDir(l.dir)
}

// putInPlace removes the ordinary segments whose offsets the swaps cover, and
// gives the swaps their names: the log files first, since what is left of a swap
// without its log takes nothing away when this is done again.
func (l *Log) putInPlace(swaps []string) error {
	fsys := l.env.fsys
	from, to := int64(math.MaxInt64), int64(-1)
	for _, name := range swaps {
		base, suffix, _ := segment.ParseName(name)
		if suffix != segment.LogSuffix+swapSuffix {
			continue
		}
		next, err := l.nextOffsetOf(name, base)
		if err != nil {
			return err
		}
		from, to = min(from, base), max(to, next)
	}
	infos, err := fsys.ReadDir(l.dir)
	if err != nil {
		return err
	}
	var replaced []string
	for _, info := range infos {
		base, suffix, ok := segment.ParseName(info.Name)
		if ok && from <= base && base < to && isSegmentFile(suffix) {
			replaced = append(replaced, info.Name)
		}
	}
	if err := l.removeFiles(replaced); err != nil {
		return err
	}
	for _, logs := range []bool{true, false} {
		for _, name := range swaps {
			if strings.HasSuffix(name, segment.LogSuffix+swapSuffix) != logs {
				continue
			}
			if err := fsys.Rename(segment.Join(l.dir, name), segment.Join(l.dir, strings.TrimSuffix(name, swapSuffix))); err != nil {
				return err
			}
		}
		if err := fsys.SyncDir(l.dir); err != nil {
			return err
		}
	}
	return nil
}

// isSegmentFile tells whether a suffix is that of a log file or of an index.
func isSegmentFile(suffix string) bool {
	switch suffix {
	case segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix:
		return true
	}
	return false
}

// nextOffsetOf is the offset behind the last batch of a swap file. It was synced
// before it got its name, so one that is damaged is damage.
func (l *Log) nextOffsetOf(name string, base int64) (int64, error) {
	f, err := l.env.fsys.Open(segment.Join(l.dir, name), 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := segment.ScanFile(f, base, l.env.maps, l.scfg)
	if err != nil {
		return 0, err
	}
	if r.Stop != segment.StopEnd && r.Stop != segment.StopZeros {
		return 0, &segment.CorruptError{Path: f.Path(), Position: r.Valid, Offset: r.Next, Err: r.Err}
	}
	return r.Next, nil
}
