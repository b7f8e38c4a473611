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
func finishSwaps(l *Log) error {
	fsys := l.env.fsys
	infos, err := fsys.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", fsys.Path(l.dir), err)
	}
	changed := false
	remove := func(name string) error {
		changed = true
		if err := fsys.Remove(segment.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	minCleaned := int64(math.MaxInt64)
	var swaps []string
	for _, info := range infos {
		base, _, ok := segment.ParseName(info.Name)
		if !ok {
			continue
		}
		switch {
		case strings.HasSuffix(info.Name, deletedSuffix):
			if err := remove(info.Name); err != nil {
				return err
			}
		case strings.HasSuffix(info.Name, cleanedSuffix):
			minCleaned = min(minCleaned, base)
			if err := remove(info.Name); err != nil {
				return err
			}
		case strings.HasSuffix(info.Name, swapSuffix):
			swaps = append(swaps, info.Name)
		}
	}
	kept := swaps[:0]
	for _, name := range swaps {
		if base, _, _ := segment.ParseName(name); base >= minCleaned {
			if err := remove(name); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, name)
	}
	if len(kept) > 0 {
		changed = true
		if err := l.putInPlace(kept); err != nil {
			return err
		}
	}
	if changed {
		return fsys.SyncDir(l.dir)
	}
	return nil
}

// putInPlace removes the ordinary segments whose offsets the swaps cover, and
// gives the swaps their names.
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
	for _, info := range infos {
		base, suffix, ok := segment.ParseName(info.Name)
		if !ok || base < from || base >= to || strings.HasSuffix(suffix, swapSuffix) || suffix == segment.SnapshotSuffix ||
			strings.HasSuffix(suffix, ".quarantine") {
			continue
		}
		if err := fsys.Remove(segment.Join(l.dir, info.Name)); err != nil {
			return err
		}
	}
	for _, name := range swaps {
		if err := fsys.Rename(segment.Join(l.dir, name), segment.Join(l.dir, strings.TrimSuffix(name, swapSuffix))); err != nil {
			return err
		}
	}
	return nil
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
