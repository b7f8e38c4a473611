package log

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/segment"
)

// Retention is what a log may keep. Segments go whole, and the oldest first
// (KAFKA_RULES 4.6).
type Retention struct {
	// Delete: old records go by age and size (cleanup.policy). Without it only
	// what lies below the log start offset goes.
	Delete bool
	Age    time.Duration // negative: no limit
	Bytes  int64         // negative: no limit
	Floor  Floor         // holds back what would go by these
}

// Deleted is what a deletion took away.
type Deleted struct {
	Segments int
	Bytes    int64 // of batches
}

// retaining is the state of a log's deletions. One runs at a time: whoever has
// put something into turn, a channel and not a mutex, since it rests in between.
type retaining struct {
	turn chan struct{}
	// save makes the start offset durable when there are no marks; nil: nothing can.
	save func() error
	// saved is the log start offset that was made durable last; guarded by turn.
	saved int64
	// removal is what the deletion under way has done, and what earlier ones have
	// left; guarded by turn. It is nil at rest, for there are many partitions.
	removal *removal
	// epochs: their file is behind; guarded by Log.writing.
	epochs bool
	// oldest is the base offset of the oldest segment whose files may be there.
	oldest atomic.Int64
}

func (r *retaining) init(save func() error) {
	r.turn, r.save, r.saved = make(chan struct{}, 1), save, -1
}

// OldestFile is the base offset of the oldest segment whose files may still be
// there: below the first segment while a deletion is under way. A log start
// offset above it is to be kept in a checkpoint, or the files would bring it
// back down.
func (l *Log) OldestFile() int64 {
	return min(l.retain.oldest.Load(), l.segments.Load().bases[0])
}

// HoldDeletions waits until no deletion is under way, and keeps others from
// beginning until release is called. Who calls TruncateTo or ResetTo has called it
// before: they make segments under names that a deletion may be about to remove.
func (l *Log) HoldDeletions(ctx context.Context) (release func(), err error) {
	if err := l.takeTurn(ctx); err != nil {
		return nil, err
	}
	return func() { <-l.retain.turn }, nil
}

// takeTurn waits until no deletion is under way, and keeps others from beginning
// until the caller takes its token back.
func (l *Log) takeTurn(ctx context.Context) error {
	select {
	case l.retain.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.retain.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deleting calls do when no other deletion is under way, and tells what it has
// removed, or failed to remove, once others may go on.
func (l *Log) deleting(ctx context.Context, do func() (Deleted, error)) (Deleted, error) {
	if err := l.takeTurn(ctx); err != nil {
		return Deleted{}, err
	}
	begin := l.BeginDelete()
	l.retain.removal = &removal{left: l.retain.left()}
	d, err := do()
	r := *l.retain.removal
	l.retain.leave(r.left)
	<-l.retain.turn
	l.EndDelete(begin, r.first, d.Segments, r.next-r.first, d.Bytes, r.err)
	return d, err
}

// removal is what deleteBelowStart has done: the offsets that are gone, and why no
// more are.
type removal struct {
	first, next int64
	err         error
	left        []*segment.Segment // out of the list, and their files could not be removed
}

func (r *retaining) left() []*segment.Segment {
	if r.removal == nil {
		return nil
	}
	return r.removal.left
}

// leave keeps what is left for the next deletion.
func (r *retaining) leave(left []*segment.Segment) {
	r.removal = nil
	if len(left) > 0 {
		r.removal = &removal{left: left}
	}
}

// Retain deletes what r does not keep at the time now, as Kafka does: the
// segments below the log start offset; then, of what lies below the high
// watermark, the oldest as long as the rest is not smaller than r.Bytes; then the
// oldest whose largest timestamp is more than r.Age ago. When all go, a new
// segment is begun first, and an empty last one stays. The age is told by the
// records: one with a time in the future keeps its segment, and its file's time
// counts only when no record has a time. What r.Floor keeps stays, and all behind it.
//
// The files are removed when it returns; readers keep what they have pinned. When
// ctx ends, what has been decided is carried through. After an error what was not
// removed is tried again next time.
func (l *Log) Retain(ctx context.Context, r Retention, now time.Time) (Deleted, error) {
	return l.deleting(ctx, func() (Deleted, error) { return l.retainLocked(ctx, &r, now) })
}

func (l *Log) retainLocked(ctx context.Context, r *Retention, now time.Time) (Deleted, error) {
	if err := l.refusing(); err != nil {
		return Deleted{}, err
	}
	if r.Delete {
		x, err := l.expired(*r, now)
		if err != nil {
			return Deleted{}, err
		}
		from := l.start.Load()
		if err := l.moveStart(ctx, x.to, x.all); err != nil {
			return Deleted{}, err
		}
		if to := l.start.Load(); x.forced && to > max(from, r.Floor.Offset) {
			l.forced(&r.Floor, from, to)
		}
	}
	return l.deleteBelowStart(ctx)
}

// DeleteOldest deletes the oldest segment, if it is sealed, below the high
// watermark, and not kept by the floor; nothing otherwise.
func (l *Log) DeleteOldest(ctx context.Context, f Floor) (Deleted, error) {
	return l.deleting(ctx, func() (Deleted, error) { return l.deleteOldestLocked(ctx, &f) })
}

func (l *Log) deleteOldestLocked(ctx context.Context, f *Floor) (Deleted, error) {
	list := l.segments.Load()
	if !l.oldestMayGo(list, f) {
		return Deleted{}, nil
	}
	from := l.start.Load()
	if err := l.moveStart(ctx, list.bases[1], false); err != nil {
		return Deleted{}, err
	}
	if to := l.start.Load(); f.On && to > max(from, f.Offset) {
		l.forced(f, from, to)
	}
	return l.deleteBelowStart(ctx)
}

// oldestMayGo is for a store that is full, where every sealed segment would go: the
// floor holds all that is not below it.
func (l *Log) oldestMayGo(list *list, f *Floor) bool {
	switch {
	case len(list.bases) < 2 || list.bases[1] > l.HighWatermark():
		return false
	case !f.On || list.bases[1] <= f.Offset:
		return true
	case f.Bytes < 0:
		return false
	}
	held := int64(0)
	for _, s := range list.segs {
		held += s.Size()
	}
	return held > f.Bytes
}

// DeleteRecords raises the log start offset to before, at most to the high
// watermark, which -1 stands for (Kafka's DeleteRecords); beyond it is an
// *OffsetError. When it returns nil this survives a power cut, and segments that
// lie below as a whole are gone. An offset that is not above the log start
// changes nothing.
func (l *Log) DeleteRecords(ctx context.Context, before int64) (Deleted, error) {
	return l.deleting(ctx, func() (Deleted, error) { return l.deleteRecordsLocked(ctx, before) })
}

func (l *Log) deleteRecordsLocked(ctx context.Context, before int64) (Deleted, error) {
	if err := l.refusing(); err != nil {
		return Deleted{}, err
	}
	high := l.HighWatermark()
	if before == -1 {
		before = high
	}
	if before < 0 || before > high {
		return Deleted{}, l.outOfRange(before)
	}
	if err := l.moveStart(ctx, before, false); err != nil {
		return Deleted{}, err
	}
	if err := l.saveStart(); err != nil {
		return Deleted{}, err
	}
	return l.deleteBelowStart(ctx)
}

// expiry is where the log should start by its retention: at the base of the first
// segment that stays, or at the log's end with all set. forced: the floor's limit has
// a part in it.
type expiry struct {
	to     int64
	all    bool
	forced bool
}

// expired is the expiry by r. It is not above the high watermark.
func (l *Log) expired(r Retention, now time.Time) (expiry, error) {
	list := l.segments.Load()
	to := l.start.Load()
	first := max(list.find(to), 0) // those below go anyway
	segs, bases := list.segs[first:], list.bases[first:]
	end := l.end.Load()
	high := l.HighWatermark()
	next := func(i int) int64 {
		if i+1 < len(bases) {
			return bases[i+1]
		}
		return end
	}
	deletable := func(i int) bool {
		return i < len(segs) && high >= next(i) && (i < len(segs)-1 || segs[i].Size() > 0)
	}
	n := 0
	if r.Bytes >= 0 {
		excess := -r.Bytes
		for _, s := range segs {
			excess += s.Size()
		}
		for deletable(n) && excess >= segs[n].Size() {
			excess -= segs[n].Size()
			n++
		}
	}
	if r.Age >= 0 {
		var buf segment.Buffer
		for deletable(n) {
			ms, err := l.largestTimestamp(segs[n], &buf)
			if err != nil {
				return expiry{}, err
			}
			if now.UnixMilli()-ms <= r.Age.Milliseconds() {
				break
			}
			n++
		}
	}
	n, forced := r.Floor.limit(segs, n, next)
	if n == 0 {
		return expiry{to: to}, nil
	}
	return expiry{max(to, next(n-1)), n == len(segs), forced > 0}, nil
}

// largestTimestamp tells a segment's age: its largest timestamp in milliseconds
// or, when no record has one, the time of its file.
func (l *Log) largestTimestamp(s *segment.Segment, buf *segment.Buffer) (int64, error) {
	ms, err := s.LargestTimestamp(buf)
	if err != nil || ms >= 0 {
		return ms, err
	}
	info, err := l.env.fsys.Stat(segment.Join(l.dir, segment.FileName(s.Base(), segment.LogSuffix)))
	if err != nil {
		return 0, err
	}
	return info.ModTime.UnixMilli(), nil
}

// OldestSealed describes the oldest segment for a choice among partitions: its
// largest timestamp in milliseconds. ok is false when DeleteOldest would do
// nothing.
func (l *Log) OldestSealed(f Floor) (ms int64, ok bool, err error) {
	list := l.segments.Load()
	if !l.oldestMayGo(list, &f) || l.refusing() != nil {
		return 0, false, nil
	}
	var buf segment.Buffer
	ms, err = l.largestTimestamp(list.segs[0], &buf)
	return ms, err == nil, err
}

// RollLarge begins a new segment if the active one holds least bytes or more, so
// that what it holds can be deleted one day.
func (l *Log) RollLarge(least int64) error {
	if l.segments.Load().active().Size() < least {
		return nil
	}
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return err
	}
	if l.w.active.Size() < least {
		return nil
	}
	return l.roll(l.end.Load())
}

// moveStart raises the log start offset; saveStart makes it durable. With all set
// it is the log's end, and a segment is begun there, unless something was appended
// meanwhile. The list of segments stays as it is: until the new start is durable
// no file may go, or a crash would leave a log that lacks some.
func (l *Log) moveStart(ctx context.Context, to int64, all bool) error {
	if to <= l.start.Load() {
		return nil
	}
	// What is not durable cannot be deleted for good: a power cut would leave a
	// log that ends before it starts.
	if err := l.waitDurable(ctx, to); err != nil {
		return err
	}
	if err := l.raiseStart(to, all); err != nil {
		return err
	}
	l.tail.wakeAll() // the last stable offset may have risen, and positions lie below the start
	return nil
}

// saveStart makes the log start offset durable as it is.
func (l *Log) saveStart() error {
	start := l.start.Load()
	if l.retain.saved == start {
		return nil
	}
	save := l.marks.Sync
	if l.marks == nil && l.retain.save != nil {
		save = l.retain.save
	}
	if err := save(); err != nil {
		return spaceError(err)
	}
	l.retain.saved = start
	return nil
}

func (l *Log) raiseStart(to int64, all bool) error {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return err
	}
	if to > l.HighWatermark() {
		return l.outOfRange(to) // it was truncated meanwhile
	}
	if active := l.w.active; all && active.Base() < to {
		if l.end.Load() == to {
			if err := l.roll(to); err != nil {
				return err
			}
		} else {
			to = active.Base() // it is not that old any more
		}
	}
	if to > l.start.Load() {
		// Before the list of segments changes: who does not find an offset in that
		// looks here whether it was deleted.
		l.start.Store(to)
		l.marks.store(markStart, to)
		l.forgetBelow(to)
	}
	return nil
}

// forgetBelow brings what is known of the records in line with a new start. The
// file of the leader epochs follows when the log is closed: whoever reads it
// leaves out what lies below the start. writing is held.
func (l *Log) forgetBelow(start int64) {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	next := Epochs{slices.Clone(l.epochs.list)}
	if next.TruncateFromStart(start) {
		l.epochs = next
		l.retain.epochs = true
	}
	l.producers.TruncateHead(start)
	l.setUnstable()
}
