package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// Replacement puts a cleaned segment in the place of those that it was made from
// (KAFKA_RULES 4.7), while appends, readers and followers go on:
//
//  1. the cleaned files are there, and durable but for their names (finish)
//  2. segments.sum says what is to come: the new sums beside the old ones, which
//     segments go, and below which offset some may be missing from now on. With the
//     sync of the folder the cleaned names are durable too
//  3. ".cleaned" becomes ".swap", the log file last, and the folder is synced. From
//     here on an open goes forward, and before it goes back
//  4. the log's list, its files and its sums change together, with appends held
//     off: the new log file takes the name of the first old one, its indexes follow
//  5. the folder is synced, and only then the other old files are removed, first to
//     last, with their producer snapshots; and it is synced again
//  6. segments.sum has only the new sums
//
// Kafka removes the old files before the new one gets its name. Here it comes
// first, since that is one step for whoever follows the log from another process:
// there is no moment at which records that are to be there are not. What a crash
// leaves between 4 and 6 are the new segment and some of those that it was made
// from; the lines of 2 tell that they are to go (resumeSwap).
//
// One segment is replaced at a time, and is durable before the next: the newest
// value of a key that a later one drops must not be older in an earlier one.
//
// A reader that has pinned an old segment keeps its memory, and goes on at its
// offset in the list of then.

// errSuperseded says that the segments to be replaced are no longer those of the
// log: retention, a truncation or a reset was quicker. Nothing was changed.
var errSuperseded = errors.New("the segments are not those of the log any more")

// errUnsealed says that segments that were rolled cannot be sealed yet.
var errUnsealed = errors.New("not sealed yet")

// replace puts the segment, which is finished, in place of the segments olds, which are
// neighbours in the list and not the last. dense is the offset below which offsets
// may be missing now.
//
// After an error it is to be discarded, and the segments are what they were, but
// for a log that has failed, in which the next open finds either.
func (c *cleaned) replace(ctx context.Context, olds []*segment.Segment, dense int64) error {
	l := c.l
	if len(olds) == 0 || olds[0].Base() != c.base {
		return errSuperseded
	}
	if err := l.awaitSealed(ctx, olds); err != nil {
		return err
	}
	if err := l.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-l.retain.turn }()
	if err := l.refusing(); err != nil {
		return err
	}
	if c.superseded != nil {
		if err := c.superseded(); err != nil { // no truncation comes in between: it needs the turn
			return err
		}
	}
	if err := l.finishReplaced(); err != nil { // what one before has left
		return err
	}
	list := l.segments.Load()
	i := list.index(olds)
	if i < 0 {
		return errSuperseded
	}
	r := &replacement{l: l, c: c, olds: olds, swap: &Swap{From: c.base, To: list.bases[i+len(olds)], Files: c.sums}}
	if err := r.announce(dense); err != nil {
		return err
	}
	if err := r.decide(); err != nil {
		return errors.Join(err, r.takeBack())
	}
	release := r.hold()
	err := r.commit()
	release()
	if err != nil {
		return errors.Join(err, r.takeBack())
	}
	_ = c.end() // what follows is the log's
	if err := l.syncDir(); err != nil {
		return l.fail(err)
	}
	l.forgetTxnsOf(olds)
	if err := l.finishReplaced(); err != nil {
		if l.Failed() != nil {
			return err
		}
		// It is done all the same: the rest goes with the next one, or the next open.
		l.env.logger.Warn("replaced segments not removed yet", "partition", l.name(), "err", err)
		l.background(err)
	}
	return nil
}

// replacement is one under way. Its user has the turn.
type replacement struct {
	l     *Log
	c     *cleaned
	olds  []*segment.Segment
	swap  *Swap
	dense int64 // what was known before
}

// index is where segs lie in the list, one behind the other and not at its end; -1
// if they do not.
func (l *list) index(segs []*segment.Segment) int {
	i := l.find(segs[0].Base())
	if i < 0 || i+len(segs) >= len(l.segs) || !slices.Equal(l.segs[i:i+len(segs)], segs) {
		return -1
	}
	return i
}

// lists tells whether a segment is the log's: neither removed nor replaced.
func (l *Log) lists(s *segment.Segment) bool {
	list := l.segments.Load()
	i := list.find(s.Base())
	return i >= 0 && list.segs[i] == s
}

// awaitSealed waits until the sealer is done with segs: their files are written
// here next.
func (l *Log) awaitSealed(ctx context.Context, segs []*segment.Segment) error {
	last := segs[len(segs)-1].Base()
	for started := false; ; started = true {
		turned, failed := l.seals.waitBelow(last+1, started)
		if turned == nil && !failed {
			return nil
		}
		if failed {
			return fmt.Errorf("%s: %w", segs[len(segs)-1].Path(), errUnsealed)
		}
		l.writing.Lock()
		err := l.refusing()
		if err == nil {
			l.seals.start(l)
		}
		l.unlock()
		if err != nil {
			return err
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitBelow gives what is closed when the next segment was sealed, or could not
// be; nil when none below an offset waits. failed says that one waits and nobody
// works, though somebody was to.
func (s *sealer) waitBelow(offset int64, started bool) (turned chan struct{}, failed bool) {
	s.Lock()
	defer s.Unlock()
	if !slices.ContainsFunc(s.queue, func(j *sealing) bool { return j.seg.Base() < offset }) {
		return nil, false
	}
	if started && !s.running {
		return nil, true
	}
	if s.turned == nil {
		s.turned = make(chan struct{})
	}
	return s.turned, false
}

// announce writes down what is to come.
func (r *replacement) announce(dense int64) error {
	l, s := r.l, &r.l.sums
	s.Lock()
	r.dense = s.Dense
	s.Dense, s.Swap = max(s.Dense, dense), r.swap
	err := s.replaceFile(l)
	if err != nil {
		s.Dense, s.Swap = r.dense, nil
	}
	s.Unlock()
	if err != nil {
		return spaceError(err)
	}
	if err := l.syncDir(); err != nil {
		return l.fail(err)
	}
	if was := l.denseFrom.Load(); dense > was {
		l.denseFrom.Store(dense)
	}
	return nil
}

// takeBack undoes announce, as far as it goes: lines of a swap that was not done
// do no harm.
func (r *replacement) takeBack() error {
	l, s := r.l, &r.l.sums
	if l.Failed() != nil {
		return nil // the next open finds out how far it came
	}
	if err := r.c.removeFiles(); err != nil {
		return err // the lines stay beside the files
	}
	s.Lock()
	s.Dense, s.Swap = r.dense, nil
	err := s.replaceFile(l)
	if err != nil {
		s.Swap = r.swap // for finishReplaced
	}
	s.Unlock()
	l.denseFrom.Store(min(l.denseFrom.Load(), r.dense))
	return spaceError(err)
}

// decide gives the cleaned files the names that make an open go forward.
func (r *replacement) decide() error {
	for _, f := range slices.Backward(r.c.sums) { // the log file last
		if !r.has(f) {
			continue
		}
		if err := r.rename(f, cleanedSuffix, swapSuffix); err != nil {
			return err
		}
	}
	if err := r.l.syncDir(); err != nil {
		return r.l.fail(err)
	}
	return nil
}

// has tells whether there is a file: of a transaction index that is empty there is
// none.
func (r *replacement) has(f segment.FileSum) bool {
	return f.Size > 0 || f.Name != segment.FileName(r.c.base, segment.TxnSuffix)
}

func (r *replacement) rename(f segment.FileSum, from, to string) error {
	name := segment.Join(r.l.dir, f.Name)
	return r.l.env.fsys.Rename(name+from, name+to)
}

// hold keeps the files open that are renamed over, until release. Without it the
// rename frees their blocks, which takes long, and appends wait for it.
func (r *replacement) hold() (release func()) {
	var held []vfs.File
	if runtime.GOOS != "windows" { // where a file that is open cannot be replaced
		for _, f := range r.c.sums {
			if f, err := r.l.env.fsys.Open(segment.Join(r.l.dir, f.Name), vfs.ReadOnly); err == nil {
				held = append(held, f)
			}
		}
	}
	return func() {
		for _, f := range held {
			_ = f.Close() // it was only to be there
		}
	}
}

// commit makes the log one with the new segment. The first rename decides: if that
// fails nothing has changed. An index file that does not get its place is made
// anew when it is needed.
func (r *replacement) commit() error {
	l, c := r.l, r.c
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return err
	}
	was := l.segments.Load() // as it was, or longer
	i := was.index(r.olds)
	for _, s := range r.olds {
		_ = s.Retire() // it was only read
	}
	if err := r.rename(c.sums[0], swapSuffix, ""); err != nil {
		_, serr := l.env.fsys.Stat(c.name(segment.LogSuffix, swapSuffix))
		if !errors.Is(serr, fs.ErrNotExist) { // else it was renamed all the same
			l.relist(was, i, len(r.olds), r.reopened()...)
			if serr != nil {
				err = l.fail(errors.Join(err, serr)) // it may be either
			}
			return err
		}
	}
	for _, f := range c.sums[1:] {
		var err error
		if r.has(f) {
			err = r.rename(f, swapSuffix, "")
		} else if err = l.env.fsys.Remove(segment.Join(l.dir, f.Name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			l.env.logger.Warn("index of a cleaned segment not in place", "partition", l.name(), "file", f.Name, "err", err)
		}
	}
	fresh := segment.Open(l.env.fsys, l.env.maps, l.dir, c.base, c.size(), l.scfg)
	l.sums.Lock() // whoever goes by the new sums finds the new list afterwards
	defer l.sums.Unlock()
	l.sums.settle(r.swap)
	r.swap.left = r.olds[1:]
	l.relist(was, i, len(r.olds), fresh)
	return nil
}

// reopened are the old segments, which were closed, once more.
func (r *replacement) reopened() []*segment.Segment {
	l := r.l
	segs := make([]*segment.Segment, len(r.olds))
	for i, s := range r.olds {
		segs[i] = segment.Open(l.env.fsys, l.env.maps, l.dir, s.Base(), s.Size(), l.scfg)
	}
	return segs
}

// relist publishes a list with others in the place of n segments. A log that is as
// a clean close has left it still is: what took their place is durable as it is.
// writing is held.
func (l *Log) relist(was *list, i, n int, by ...*segment.Segment) {
	next := newList(slices.Concat(was.segs[:i], by, was.segs[i+n:]))
	if l.opened == was {
		l.opened = next
	}
	l.segments.Store(next)
}

// finishReplaced removes what a replacement has left of the old segments, and its
// lines. The caller has the turn.
func (l *Log) finishReplaced() error {
	s := &l.sums
	s.Lock()
	swap := s.Swap
	s.Unlock()
	if swap == nil {
		return nil
	}
	left := swap.left
	for i, old := range left {
		if err := l.removeSegment(old); err != nil {
			swap.left = left[i:] // guarded by the turn
			return err
		}
	}
	if len(left) > 0 {
		if err := l.syncDir(); err != nil {
			return l.fail(err)
		}
	}
	s.Lock()
	defer s.Unlock()
	swap.left, s.Swap = nil, nil
	err := s.replaceFile(l)
	if err != nil {
		s.Swap = swap
	}
	return spaceError(err)
}
