package log

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// Told is what a log that is followed is told of its writer, in leat.state.
type Told struct {
	// Known: there is a line, and its generation tells what is taken back.
	Known bool
	// Live: the writer keeps the words as they are at each moment, or did until
	// it ended. Else only the files tell where the log ends.
	Live bool
	// Late: the words are read from a file that the writer brings up to date now and
	// then. What it has taken back since looks like damage.
	Late bool
	Words
}

// follower is the part of a Log that another process writes. Nothing of it is
// ever written here: every append is refused from the beginning.
//
// What can be seen is what the writer's words say, once the batches up to there
// have been scanned and found sound. The words are looked at by polls, which the
// readers make: a log that nobody reads costs nothing.
//
// A change of the writer's generation, or anything else that says that what was
// seen may be gone, makes the follower begin again: all segments, indexes and
// states are made anew, and cursors that are under way get ErrRestarted. What a
// cursor has read counts only if the generation is the same afterwards, because
// a writer raises it before it touches what was published.
type follower struct {
	l    *Log
	told func() Told
	// tick is called before polls, without any lock: it looks whether the
	// partition is still there, now or when it has not for a while.
	tick func(now bool) (known bool)
	// start is the log start offset of the checkpoint, for a log without words.
	start int64
	sound bool // nobody but Leat has written the folder
	// written: what is published can be seen, durable or not.
	written atomic.Bool

	// run counts the beginnings, twice each: it is odd while one is under way.
	run atomic.Int64
	// basis is what the present run is based on.
	basis atomic.Pointer[basis]

	turn     chan struct{} // a lock that is held while the disk is read
	now      Told          // as of the last poll; guarded by turn, as is what follows
	scan     *segment.Scan // of the last segment
	rolled   []int64       // bases of segments before it that are still read by their scans
	missing  bool          // a file that should be there is not: begin again at the next poll
	listed   time.Time     // the last look for segments in a log without words
	stuck    atomic.Pointer[stuck]
	opened   bool      // the first run has begun
	headless time.Time // since when the beginning is missing, and no words say why

	suspects map[place]suspect // see doubts
}

// basis is what may not change while something is read.
type basis struct {
	known, live bool
	generation  int64
}

func (t *Told) basis() basis {
	b := basis{known: t.Known, live: t.Live}
	if t.Known {
		b.generation = t.Generation
	}
	return b
}

// stuck says why the follower cannot come as far as the writer says.
type stuck struct {
	err   error
	next  int64
	since time.Time
}

// stuckAfter is how long the same error must last to be one: until then the
// writer may be at work there, or the folder half copied.
const stuckAfter = time.Second

// FollowState is what is known of a partition that is to be followed.
type FollowState struct {
	Told func() Told
	Tick func(now bool) (known bool) // may be nil
	// StartOffset is from the checkpoint, -1 when it is not known.
	StartOffset int64
	Sound       bool // nobody but Leat has written the folder
}

// OpenFollower opens a log that another process may write, for reading. The env
// has no maps: what is mapped ends where the file did. Cursors of a follower, and
// AbortedTxns, may return ErrRestarted.
func OpenFollower(env *Env, dir string, c Config, st FollowState) (*Log, error) {
	c.setDefaults()
	// The high watermark is what the polls say, whatever the topic demands.
	written := c.Durability == Written && !c.ExternalWatermark
	c.ExternalWatermark = true
	l := &Log{env: env, dir: dir, producers: NewProducers(), obs: env.observed, scfg: segment.Config{
		Bytes: c.SegmentBytes, IndexBytes: c.IndexBytes, IndexInterval: c.IndexInterval, ReadOnly: true,
	}}
	l.config.Store(&c)
	l.retain.init(nil)
	l.unstable.Store(noOffset)
	l.denseFrom.Store(noOffset)
	l.refuse.Store(&refusal{ErrReadOnly})
	f := &follower{l: l, told: st.Told, tick: st.Tick, start: st.StartOffset, sound: st.Sound, turn: make(chan struct{}, 1)}
	f.written.Store(written)
	l.follow = f
	l.segments.Store(newList([]*segment.Segment{f.empty(0)}))
	f.turn <- struct{}{}
	var err error
	for range followTries {
		f.now = f.told()
		if err = f.restart(); err != ErrRestarted {
			break
		}
	}
	f.opened = true
	<-f.turn
	if err != nil && err != ErrRestarted { // which the first poll sees to
		_ = l.closeSegments() // they were only read
		return nil, err
	}
	return l, nil
}

// empty is the segment of a log that has none yet.
func (f *follower) empty(base int64) *segment.Segment {
	s := segment.Open(f.l.env.fsys, f.l.env.maps, f.l.dir, base, 0, f.l.scfg)
	f.scan = s.Follow()
	return s
}

// Follow tells a log that is followed that its topic's durability is another.
func (l *Log) Follow(c Config) {
	c.setDefaults()
	l.follow.written.Store(c.Durability == Written && !c.ExternalWatermark)
}

// Poll looks what the writer has done.
func (l *Log) Poll() {
	if l.follow != nil {
		l.follow.poll()
	}
}

func (f *follower) poll() {
	if f.tick != nil {
		f.tick(false)
	}
	var asked *basis // what the writer said when it was asked whether the log is still there
	for range followTries {
		f.turn <- struct{}{}
		t := f.told()
		b := t.basis()
		if !f.missing && b == *f.basis.Load() || f.tick == nil || asked != nil && *asked == b {
			f.pollTurn(t)
			return
		}
		<-f.turn
		// What was there may be gone because the topic is: nothing is to be made
		// of an empty folder before that is known.
		f.tick(true)
		asked = &b
	}
}

// pollTurn ends the turn.
func (f *follower) pollTurn(t Told) {
	l := f.l
	was, unstable, run := l.external.Load(), l.unstable.Load(), f.run.Load()
	if !l.closed.Load() {
		err := f.pollLocked(t)
		for try := 0; err == ErrRestarted && try < followTries; try++ {
			err = f.pollLocked(f.told())
		}
		f.note(err)
	}
	moved := l.external.Load() != was || l.unstable.Load() != unstable || f.run.Load() != run
	<-f.turn
	if moved {
		l.tail.notify(l)
	}
}

// pollLocked does what a poll does; the caller has the turn.
func (f *follower) pollLocked(t Told) error {
	was := f.now
	f.now = t
	if f.missing || t.basis() != *f.basis.Load() || f.run.Load()&1 == 1 ||
		t.Known && (t.Published < was.Published || t.Live && t.Start > f.scan.Next) {
		return f.restart()
	}
	return f.advance()
}

// note keeps an error that a poll met, until it is gone or has lasted. A writer
// that takes something back again and again is none.
func (f *follower) note(err error) {
	if err == nil || err == ErrRestarted {
		f.stuck.Store(nil)
		return
	}
	if s := f.stuck.Load(); s == nil || s.next != f.scan.Next {
		f.stuck.Store(&stuck{err, f.scan.Next, time.Now()})
	}
}

// trouble is the error that keeps the follower from going on, if it has lasted.
func (f *follower) trouble() error {
	if s := f.stuck.Load(); s != nil && time.Since(s.since) >= stuckAfter {
		return s.err
	}
	return nil
}

// target is the offset to which the log can be seen, as far as it is sound.
func (f *follower) target() int64 {
	t := &f.now
	switch {
	case !t.Live:
		return math.MaxInt64
	case f.written.Load():
		return t.Published
	}
	return min(t.Watermark, t.Published)
}

// advance takes in what the writer has done since the last poll.
func (f *follower) advance() error {
	if f.now.Known {
		f.raiseStart(f.now.Start)
	}
	err := f.extend()
	if f.told().changed(f) {
		return nil // what was read may be anything: the next poll begins again
	}
	f.missing = isMissing(err)
	f.publish()
	return err
}

// changed tells whether the writer has begun anew since the run began.
func (t Told) changed(f *follower) bool { return t.basis() != *f.basis.Load() }

// publish shows what has been scanned.
func (f *follower) publish() {
	l, t := f.l, &f.now
	next := f.scan.Next
	l.stateMu.Lock()
	l.producers.OnHighWatermark(next)
	l.setUnstable()
	l.stateMu.Unlock()
	end := next
	if t.Live {
		end = max(next, t.Published)
		l.durable.Store(max(t.Durable, 0))
	} else {
		l.durable.Store(next)
	}
	l.end.Store(end)
	if next > l.external.Load() {
		l.external.Store(next)
	}
}

// raiseStart follows retention: segments wholly below the start are let go.
func (f *follower) raiseStart(start int64) {
	l := f.l
	if start <= l.start.Load() {
		return
	}
	l.start.Store(start)
	l.stateMu.Lock()
	l.producers.TruncateHead(start)
	l.epochs.TruncateFromStart(start)
	l.setUnstable()
	l.stateMu.Unlock()
	old := l.segments.Load()
	n := 0
	for n+1 < len(old.segs) && old.segs[n+1].Base() <= start {
		n++
	}
	if n > 0 {
		f.swap(newList(old.segs[n:]))
	}
}

// swap replaces the list of segments, and closes those that are no longer in it.
func (f *follower) swap(list *list) {
	l := f.l
	kept := make(map[*segment.Segment]bool, len(list.segs))
	for _, s := range list.segs {
		kept[s] = true
	}
	old := l.segments.Swap(list)
	if old != nil {
		for _, s := range old.segs {
			if !kept[s] {
				_ = s.Close() // it was only read
			}
		}
	}
	if l.closed.Load() {
		_ = l.closeSegments() // who closed the log may have seen the old list
	}
}

// extend scans up to the target, from one segment to the next.
func (f *follower) extend() error {
	target := f.target()
	for f.scan.Next < target {
		last := f.l.segments.Load().active()
		err := last.Extend(f.scan, target, f.take)
		// There is none yet, or it begins elsewhere. One that was listed is gone because
		// something has taken its place.
		unmade := isMissing(err) && f.scan.Valid == 0 && last.Expected() == (vfs.FileID{})
		switch {
		case err != nil && !unmade:
			return err
		case f.scan.Next >= target:
			return nil
		case !f.now.Live && f.scan.Stop != segment.StopEnd && f.scan.Stop != segment.StopZeros:
			// A torn tail, or the middle of a write. What lies behind it is not
			// of this log until a recovery says so.
			return f.durable()
		}
		more, err2 := f.step(unmade)
		switch {
		case err2 != nil:
			return err2
		case more:
		case !f.now.Live:
			return f.durable()
		case unmade:
			return err
		case f.scan.Err != nil:
			return f.corrupt(f.scan.Err)
		default:
			return f.corrupt(fmt.Errorf("the log ends here, and should reach offset %d", target))
		}
	}
	return nil
}

// durable is for a log that only its files tell the end of: damage, if it ends
// before what its last writer made durable.
func (f *follower) durable() error {
	switch {
	case !f.now.Known || f.scan.Next >= f.now.Durable:
		return nil
	case f.scan.Err != nil:
		return f.corrupt(f.scan.Err)
	}
	return f.corrupt(fmt.Errorf("the log ends here, and reached offset %d", f.now.Durable))
}

func (f *follower) corrupt(err error) error {
	last := f.l.segments.Load().active()
	return &segment.CorruptError{Path: last.Path(), Position: f.scan.Valid, Offset: f.scan.Next, Err: err}
}

// take takes in what a batch says.
func (f *follower) take(r *segment.Scan, _ int64, b codec.Batch) error {
	l := f.l
	if base := b.BaseOffset(); base > r.Next && l.dense(r.Next) {
		return &segment.Reject{Err: fmt.Errorf("batch begins at offset %d where %d is next: %w", base, r.Next, segment.ErrInvalidOffset)}
	}
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if e := b.LeaderEpoch(); e >= 0 {
		if x, ok := l.epochs.Disproved(b); ok && !f.now.Live {
			// It is about to be cut off, and no words say up to where the file can be read.
			return &segment.Reject{Err: fmt.Errorf("leader epoch %d where epoch %d begins", e, x.Epoch)}
		}
		l.noteEpoch(e, b.BaseOffset())
	}
	if b.ProducerID() < 0 {
		return nil
	}
	err := l.noteProducer(l.producers, b, r.AbortedTxn)
	l.producers.OnHighWatermark(b.NextOffset())
	return err
}

// listEvery bounds how often the folder of a log without words is listed.
const listEvery = 100 * time.Millisecond

// step goes on in the segment behind the last, if there is one. unmade says that
// the last is only the place of the first.
func (f *follower) step(unmade bool) (more bool, err error) {
	l := f.l
	if !f.now.Live {
		if time.Since(f.listed) < listEvery {
			return false, nil
		}
		f.listed = time.Now()
	}
	list, err := l.listSegments()
	if err != nil {
		return false, err
	}
	old := l.segments.Load()
	last, next := old.active(), f.scan.Next
	i := 0
	for i < len(list) && (list[i].base < next || list[i].base == last.Base()) {
		i++
	}
	if i == len(list) || list[i].base >= f.target() {
		return false, nil
	}
	base := list[i].base
	if base != next && !unmade && (l.dense(next) || f.scan.Stop == segment.StopZeros) {
		return false, nil
	}
	segs := slices.Clone(old.segs)
	if unmade {
		segs = segs[:len(segs)-1]
	} else {
		_, _, x := f.scan.Indexes()
		l.txns.Lock()
		l.keepTxns(old, last.Base(), x)
		l.txns.Unlock()
		f.rolled = append(f.rolled, last.Base())
		f.release(segs)
	}
	s := segment.Open(l.env.fsys, l.env.maps, l.dir, base, 0, l.scfg).Expect(list[i].id)
	f.scan = s.Follow()
	f.swap(newList(append(segs, s)))
	return true, nil
}

// keepRolled is of how many segments that were followed to their end the scan's
// indexes are kept: by then the writer has sealed them, and their files serve.
const keepRolled = 2

func (f *follower) release(segs []*segment.Segment) {
	for len(f.rolled) > keepRolled {
		base := f.rolled[0]
		f.rolled = f.rolled[1:]
		for i, s := range segs {
			if s.Base() == base {
				segs[i] = segment.Open(f.l.env.fsys, f.l.env.maps, f.l.dir, base, s.Size(), f.l.scfg).Expect(s.Expected())
			}
		}
	}
}

// intact tells whether what was read in a run can be believed: nothing that was
// published had been touched when it was read, nor retention taken any of it that is
// not known to be gone.
func (f *follower) intact(run int64) bool {
	t := f.told()
	b := f.basis.Load()
	return t.basis() == *b && run&1 == 0 && f.run.Load() == run && !(t.Known && t.Start > f.l.start.Load())
}

// wait waits until something can be seen at offset, or the run ends.
func (f *follower) wait(ctx context.Context, w *Waiter, offset int64, committed bool) error {
	run := f.run.Load()
	return f.await(ctx, w, offset, committed, func() bool {
		end := f.l.external.Load()
		if committed {
			end = f.l.LastStableOffset()
		}
		return end > offset || f.run.Load() != run
	})
}

// Settle waits until a log that is followed can be read again after
// ErrRestarted.
func (l *Log) Settle(ctx context.Context) error {
	f := l.follow
	return f.await(ctx, NewWaiter(), noOffset, false, func() bool { return f.run.Load()&1 == 0 })
}

// await polls until done.
func (f *follower) await(ctx context.Context, w *Waiter, offset int64, committed bool, done func() bool) error {
	l := f.l
	var timer *time.Timer
	for pause := followPause; ; pause = min(2*pause, followPauseMax) {
		f.poll()
		switch {
		case l.closed.Load():
			return ErrClosed
		case done():
			return nil
		}
		if err := f.trouble(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		l.tail.add(&w.one, offset, committed)
		if l.closed.Load() {
			l.tail.remove(&w.one)
			w.drain()
			return ErrClosed
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-w.ch:
		case <-timer.C:
		case <-ctx.Done():
		}
		l.tail.remove(&w.one)
		w.drain()
	}
}

// The pauses between the polls of a reader that waits.
const (
	followPause    = time.Millisecond
	followPauseMax = 100 * time.Millisecond
)
