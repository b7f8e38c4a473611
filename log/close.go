package log

import (
	"errors"
	"io/fs"

	"github.com/leatlog/leat/segment"
)

// Close ends the log in order: all of it is synced, the last segment cut to its
// size and given its index files and the producer state its snapshot, as Kafka
// leaves a partition. Appends that wait get ErrClosed, as does everything called
// later; batches that readers have pinned stay readable.
//
// A log that failed or is damaged is closed without writing anything, and so is
// one that is as the last clean close left it.
func (l *Log) Close() error {
	was, first := l.shut()
	if !first {
		return nil
	}
	var err error
	if was == nil {
		err = l.finish()
	}
	return errors.Join(err, l.closeSegments())
}

// Abandon closes the log without writing or syncing anything, as a crash would
// leave it.
func (l *Log) Abandon() {
	if _, first := l.shut(); first {
		_ = l.closeSegments() // their content is given up
	}
}

// Clean reports, after Close, whether the log was closed in order: the next open
// has nothing to scan.
func (l *Log) Clean() bool { return l.clean }

// shut makes every call fail and waits until nothing is under way. was is why
// appends were refused before.
func (l *Log) shut() (was error, first bool) {
	l.writing.Lock()
	if l.closed.Swap(true) {
		l.unlock()
		return nil, false
	}
	if r := l.refuse.Swap(&refusal{ErrClosed}); r != nil {
		was = r.err
	}
	if l.flush != nil {
		l.flush.Stop()
	}
	l.env.awake.remove(l)
	l.publishCounts()
	l.unlock() // pending appends are refused
	l.tail.wakeAll()
	l.ahead.close()
	l.cleaning.stop()
	l.sync.acquire()
	l.work.Wait()
	// A sync that failed meanwhile is not lost: its error stays with the segment
	// or the folder, and finish meets it again.
	return was, true
}

// finish writes what a clean close leaves.
func (l *Log) finish() error {
	if l.untouched() {
		l.clean = true
		return nil
	}
	for _, j := range l.seals.queue {
		if err := l.seal(j); err != nil {
			return spaceError(err)
		}
	}
	if l.retain.epochs {
		if err := l.writeEpochs(); err != nil {
			return spaceError(err)
		}
	}
	active := l.w.active
	if err := active.Inactivate(); err != nil {
		return err
	}
	if _, err := active.Seal(false); err != nil {
		return spaceError(err)
	}
	end := l.end.Load()
	if end > l.start.Load() && l.snapshot != end {
		if err := l.writeSnapshot(end, l.encodeSnapshot()); err != nil {
			return spaceError(err)
		}
		if l.snapshot > 0 && !l.isBase(l.snapshot) {
			if err := l.removeSnapshot(l.snapshot); err != nil {
				return err
			}
		}
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	l.noteTxns(active)
	l.advance(end)
	l.clean = true
	return nil
}

func (l *Log) isBase(offset int64) bool {
	for _, s := range l.segments.Load().segs {
		if s.Base() == offset {
			return true
		}
	}
	return false
}

func (l *Log) closeSegments() error {
	var errs []error
	for _, s := range l.segments.Load().segs {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Delete closes the log and removes its folder with all that is in it. Batches
// that readers have pinned stay readable.
func (l *Log) Delete() error {
	l.Abandon()
	return RemoveFolder(l.env, l.dir)
}

// RemoveFolder removes a partition's folder and the files in it.
func RemoveFolder(env *Env, dir string) error {
	infos, err := env.fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := env.fsys.Remove(segment.Join(dir, info.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return env.fsys.Remove(dir)
}
