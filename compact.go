package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/leatlog/leat/log"
)

// Cleaner says how the topics with CleanupCompact and CleanupCompactDelete are
// compacted. One partition of a store is cleaned at a time.
type Cleaner struct {
	// Off leaves compaction to Topic.Compact and Partition.Compact. Otherwise it
	// happens in the background, to the dirtiest partition first, when
	// TopicConfig.Compaction says so [log.cleaner.enable].
	Off bool
	// Memory bounds what the keys of a partition take while it is cleaned, from 4
	// KiB; 0: 64 MiB, which hold more than two million. It is made when a cleaning
	// begins, no larger than that needs, and given back. A partition with more keys
	// is cleaned in several rounds [log.cleaner.dedupe.buffer.size].
	Memory int64
	// Rate bounds the bytes that are read and written in a second, from 1; 0:
	// Unlimited [log.cleaner.io.max.bytes.per.second].
	Rate int64
}

const (
	defaultCleanerMemory = 64 << 20
	minCleanerMemory     = 4 << 10
)

// check refuses what is not allowed.
func (c *Cleaner) check() error {
	if c.Memory != 0 && c.Memory < minCleanerMemory {
		return invalidConfig("Options.Cleaner.Memory is %d: allowed are 0 and bytes from %d", c.Memory, minCleanerMemory)
	}
	if c.Rate < Unlimited {
		return invalidConfig("Options.Cleaner.Rate is %d: allowed are bytes from 1, 0 and Unlimited (-1)", c.Rate)
	}
	return nil
}

// Progress is how far a compaction is.
type Progress struct {
	Topic     string
	Partition int32
	// Done of Total bytes of the partition are read and written. A partition with
	// more keys than Options.Cleaner.Memory holds takes several rounds, which begin at
	// 0 again. Done is Total once, when the partition is done.
	Done, Total int64
}

// String is like "orders-0: 1024 of 4096 bytes".
func (p Progress) String() string {
	return fmt.Sprintf("%s: %d of %d bytes", folderName(p.Topic, p.Partition), p.Done, p.Total)
}

// Compact cleans all partitions of the topic now, one after the other, however
// little of them is dirty: of each key only the latest record stays, tombstones
// go that have stayed for Compaction.TombstoneRetain since a cleaning first came
// upon them, and offsets stay what they are. Of what was appended before the call
// only records younger than Compaction.MinLag, and those from the first unfinished
// transaction on, are not cleaned: unlike in Kafka the segment that is appended to
// is ended first, so that its records count. Appends, reads, retention and
// cleanings in the background go on meanwhile; of cleanings one at a time.
//
// progress, if it is not nil, is called now and then, never twice at a time. What
// was done is told by Observer.Compact and Store.Stats. Partitions are opened that
// are not. An error in one partition does not stop it for the others; errors.Join
// has all of them. When ctx ends the partition that is being cleaned stays as it
// was, or is cleaned in part; its records are the same to readers of the latest
// of each key.
//
// ErrInvalidConfig: the topic is not to be compacted (CleanupDelete).
// *CorruptError, ErrNoSpace, ErrFailed: the partition stays as it was.
// ErrUnknownTopic: it was deleted.
func (t *Topic) Compact(ctx context.Context, progress func(Progress)) (err error) {
	ctx, leave, err := t.enterCompact(ctx)
	if err != nil {
		return err
	}
	defer leave(&err)
	var errs []error
	for id := range t.ids() {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := t.handle(id).compact(ctx, progress); err != nil {
			errs = append(errs, within(err, "compact %s", folderName(t.name, id)))
		}
	}
	return errors.Join(errs...)
}

// Compact is Topic.Compact for one partition.
func (p *Partition) Compact(ctx context.Context, progress func(Progress)) (err error) {
	ctx, leave, err := p.topic.enterCompact(ctx)
	if err != nil {
		return err
	}
	defer leave(&err)
	if err := p.compact(ctx, progress); err != nil {
		return within(err, "compact %s", p)
	}
	return nil
}

// enterCompact is enter for a topic that is to be compacted. The context that it
// returns ends with the store as well: Close does not wait for a whole cleaning.
// leave makes ErrClosed of an error that comes of that.
func (t *Topic) enterCompact(ctx context.Context) (_ context.Context, leave func(*error), err error) {
	s := t.store
	if s.follow != nil {
		return nil, nil, ErrReadOnly
	}
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	if err = t.usable(); err == nil && !t.compacts() {
		err = invalidConfig("topic %q is not to be compacted: Cleanup (cleanup.policy) is %v", t.name, t.cfg().Cleanup)
	}
	if err != nil {
		s.leave()
		return nil, nil, err
	}
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.cleaner.ctx, cancel)
	return ctx, func(err *error) {
		stop()
		cancel()
		s.leave()
		if *err != nil && s.isClosed() && whole.Err() == nil {
			*err = ErrClosed
		}
	}, nil
}

// compacts tells whether the cleaner is to work on the topic.
func (t *Topic) compacts() bool { return t.cfg().Cleanup != CleanupDelete }

// supersededTries is how often a compaction begins again because records of the
// partition were taken back meanwhile.
const supersededTries = 3

// compact is Compact of a partition. The caller has entered.
func (p *Partition) compact(ctx context.Context, progress func(Progress)) error {
	l, err := p.change()
	if err != nil {
		return err
	}
	s := p.topic.store
	// What has been appended is to be cleaned, and nothing is that is not durable.
	err = l.RollLarge(1)
	if err == nil {
		s.touch()
		err = l.Sync(ctx)
	}
	if err != nil {
		return p.fail(err)
	}
	job := &cleaning{topic: p.topic, id: p.id, part: p, log: l, asked: true, whole: true}
	if progress != nil {
		job.progress = func(c log.CleanProgress) {
			if c.Done < c.Total {
				progress(Progress{p.topic.name, p.id, c.Done, c.Total})
			}
		}
	}
	size := l.Size()
	for tries := supersededTries; ; job.whole = false {
		more, err := s.cleanNow(ctx, job)
		if errors.Is(err, log.ErrSuperseded) {
			if tries--; tries > 0 {
				continue
			}
		}
		if err != nil {
			return p.fail(err)
		}
		if !more {
			break
		}
	}
	if progress != nil {
		progress(Progress{p.topic.name, p.id, size, size})
	}
	return nil
}

// cleanNow is a round of a Compact. It tells whether another one has anything
// to do.
func (s *Store) cleanNow(ctx context.Context, job *cleaning) (more bool, err error) {
	var end int64
	done, ok, err := s.cleanOne(ctx, job, func() (int64, bool, error) {
		dirty, err := s.dirt(job, time.Now())
		end = dirty.To
		if err != nil || dirty.DirtyBytes > 0 {
			return dirty.From, true, err
		}
		// There is no dirt. Tombstones may have had their time all the same: with the
		// last segment for dirty, whatever lies before it is gone through as well.
		first := lastSealed(job.log, end)
		return first, job.whole && first >= 0, nil
	})
	return ok && err == nil && done.To < end, err
}

// lastSealed is the base offset of the last segment that ends by end, -1 if there
// is none.
func lastSealed(l *log.Log, end int64) int64 {
	list := l.Segments()
	for i := len(list) - 2; i >= 0; i-- {
		if list[i+1].BaseOffset <= end {
			return list[i].BaseOffset
		}
	}
	return -1
}

// cleaning is one partition that the cleaner works on.
type cleaning struct {
	topic   *Topic
	id      int32
	part    *Partition // nil: it is __metadata
	log     *log.Log   // nil: it is not open
	settled settled    // what is known of it then

	asked    bool // by Compact, whose caller gets the error
	whole    bool // for the tombstones, even if nothing is dirty
	progress func(log.CleanProgress)
}

func (c *cleaning) key() log.TopicPartition {
	return log.TopicPartition{Topic: c.topic.name, Partition: c.id}
}

func (c *cleaning) partitionID() partitionID { return partitionID{c.topic.id, c.id} }

// current tells whether the log is still the partition's: Reopen makes another.
func (c *cleaning) current() bool { return c.part == nil || c.part.log.Load() == c.log }

// options are for package log. first is the first dirty offset, -1 if that is not
// known.
func (s *Store) cleanOptions(c *cleaning, first int64, now time.Time) log.CleanOptions {
	rules := c.topic.cfg().Compaction
	o := log.CleanOptions{
		Now: now, From: first, MinLag: rules.MinLag, MaxLag: rules.MaxLag, TombstoneRetain: rules.TombstoneRetain,
		MapBytes: s.opts.Cleaner.Memory, Rate: max(s.opts.Cleaner.Rate, 0), Progress: c.progress,
	}
	orDefault(&o.MapBytes, defaultCleanerMemory)
	return o
}

// dirt is what there is to clean.
func (s *Store) dirt(c *cleaning, now time.Time) (log.Dirty, error) {
	return c.log.Dirty(s.cleanOptions(c, s.found.cleaned(c.key(), c.log), now))
}

// cleanOne is one round of one partition, when that has its turn. where tells then
// from which offset on it is dirty; false: there is nothing to do any more.
func (s *Store) cleanOne(ctx context.Context, c *cleaning, where func() (int64, bool, error)) (done log.Cleaned, ok bool, err error) {
	release, err := s.cleaner.take(ctx)
	if err != nil {
		return done, false, err
	}
	begun := time.Now()
	generation := c.log.Generation() // before the checkpoint is asked
	first, ok, err := where()
	if err == nil && ok {
		done, err = s.cleanFrom(ctx, c, generation, first, begun)
	}
	release()
	if err == nil && !ok {
		return done, false, nil
	}
	if done.Duration == 0 {
		done.Duration = time.Since(begun)
	}
	s.cleaner.note(c, done, err)
	s.tellCleaned(c, done, err)
	return done, true, err
}

// cleanFrom is the round itself.
func (s *Store) cleanFrom(ctx context.Context, c *cleaning, generation, first int64, now time.Time) (log.Cleaned, error) {
	start := c.log.LogStartOffset()
	done, err := c.log.Compact(ctx, s.cleanOptions(c, first, now))
	switch {
	case err == nil:
		err = s.saveCleaned(ctx, c, generation, done.To)
	case c.log.Generation() != generation, c.log.LogStartOffset() != start && errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %w", log.ErrSuperseded, err) // what it came upon was on its way out
	}
	return done, err
}

// tellCleaned tells of a round. That it was interrupted is no news to anybody.
func (s *Store) tellCleaned(c *cleaning, done log.Cleaned, err error) {
	if interrupted(err) {
		return
	}
	name := folderName(c.topic.name, c.id)
	switch {
	case err == nil:
		s.logger.Info("partition cleaned", "partition", name, "to", done.To, "segments", done.Segments, "into", done.Into,
			"before", done.BytesBefore, "after", done.BytesAfter, "keys", done.Keys, "took", done.Duration)
	case !c.asked:
		s.logger.Error("partition not cleaned", "partition", name, "err", err)
		s.background(within(err, "%s not cleaned", name))
	}
	if o := s.opts.Observer; o != nil && o.Compact != nil && c.part != nil {
		o.Compact(Event{
			Topic: c.topic.name, Partition: c.id, Offset: done.To, Segments: done.Segments,
			Records: done.RecordsRead - done.RecordsKept, Bytes: done.BytesBefore - done.BytesAfter,
			Duration: done.Duration, Err: err,
		})
	}
}

// interrupted tells whether a cleaning ended before it was done without anything
// being wrong: the store is closed, the caller gave up, the topic is gone, or
// records were taken back.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, ErrClosed) || errors.Is(err, log.ErrSuperseded)
}
