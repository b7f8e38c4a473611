package leat

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leatlog/leat/log"
)

// cleaner is the background compaction of a store: a timer while something may be
// dirty, and nothing else. Something may be while there are appends, which arm it,
// or when a lag of a topic or the pause after a failure runs out, which it knows.
type cleaner struct {
	// ctx ends when the store is closed: a cleaning under way then ends soon.
	ctx  context.Context
	stop context.CancelFunc
	// turn is held while one partition is cleaned: the memory for keys is bounded
	// once a store. A channel, because a cleaning may take long.
	turn chan struct{}

	// Guarded by Store.mu.
	timer   *time.Timer
	armed   bool
	due     time.Time
	looking bool // the timer has run out, and its goroutine is at work
	again   bool // somebody wanted to arm it meanwhile

	// quiet are the partitions that nobody has opened, and when they may be dirty
	// enough; of the goroutine that looks.
	quiet map[partitionID]settled
	meta  *Topic // __metadata; of that goroutine

	troubles
}

func (c *cleaner) init() {
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.turn = make(chan struct{}, 1)
	c.quiet = map[partitionID]settled{}
	c.of = map[partitionID]*trouble{}
}

// take waits until nothing is being cleaned.
func (c *cleaner) take(ctx context.Context) (release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// armCleaner sees to it that somebody looks for dirty partitions by then, if there
// is anything to be compacted at all. Whoever makes something dirty, or
// compacted, calls it afterwards.
func (s *Store) armCleaner(wait time.Duration) {
	if s.follow != nil || s.opts.Cleaner.Off {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.cleaner
	if s.mu.closed || s.still || !s.compactsLocked() {
		return
	}
	if c.looking {
		c.again = true
		return
	}
	due := time.Now().Add(wait)
	switch {
	case c.armed && !due.Before(c.due):
		return
	case c.armed && !c.timer.Stop():
		return // it runs out this moment
	case !c.armed:
		c.armed = true
		s.ops.Add(1)
	}
	c.due = due
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, s.cleanInBackground)
		return
	}
	c.timer.Reset(wait)
}

// compactsLocked tells whether there is anything to be compacted. Store.mu is
// held.
func (s *Store) compactsLocked() bool {
	for _, t := range s.mu.topics {
		if t.compacts() {
			return true
		}
	}
	return s.meta != nil && len(s.meta.Segments()) > 1
}

// endCleaner stops the timer and tells a cleaning under way to end. Store.mu is
// held.
func (s *Store) endCleaner() {
	c := &s.cleaner
	c.stop()
	if c.armed && c.timer.Stop() {
		s.ops.Done()
	}
}

func (s *Store) cleanInBackground() {
	defer s.ops.Done()
	c := &s.cleaner
	s.mu.Lock()
	c.armed, c.looking, c.again = false, true, false
	s.mu.Unlock()
	// Before anything is looked at: what is appended without this being set arms
	// the timer again.
	changing := s.dirty.Load()
	next := s.cleanDirty(c.ctx)
	s.mu.Lock()
	c.looking = false
	changing = changing || c.again
	s.mu.Unlock()
	wait := max(time.Until(next), cleanInterval)
	if changing {
		wait = cleanInterval
	}
	if changing || next != farAway {
		s.armCleaner(wait)
	}
}

// cleanDirty cleans what is dirty enough, the dirtiest first, until nothing is. It
// returns when to look again though nothing changes, or farAway.
func (s *Store) cleanDirty(ctx context.Context) (next time.Time) {
	for {
		begun := time.Now()
		var list []dirtyPartition
		list, next = s.findDirty(ctx, begun)
		if len(list) == 0 {
			return next
		}
		for _, f := range list {
			if ctx.Err() != nil {
				return farAway
			}
			s.cleanFound(ctx, f)
			if time.Since(begun) > cleanInterval {
				break // something else may be dirtier by now
			}
		}
	}
}

// dirtyPartition is a partition that is dirty enough.
type dirtyPartition struct {
	*cleaning
	ratio float64
}

// findDirty looks at all partitions that are compacted.
func (s *Store) findDirty(ctx context.Context, now time.Time) (list []dirtyPartition, next time.Time) {
	next = farAway
	known := map[partitionID]bool{}
	look := func(job *cleaning) {
		known[job.partitionID()] = true
		ratio, at := s.judge(job, now)
		if at.After(now) {
			next = earlier(next, at)
			return
		}
		list = append(list, dirtyPartition{job, ratio})
	}
	quiet := map[partitionID]settled{}
	for _, t := range s.topics() {
		if !t.compacts() {
			continue
		}
		for id := range t.ids() {
			if ctx.Err() != nil {
				return nil, farAway
			}
			job := &cleaning{topic: t, id: id}
			if job.log = t.opened(id); job.log != nil {
				job.part = t.handle(id)
			} else {
				job.settled = s.settledUntil(job, now)
				quiet[job.partitionID()] = job.settled
			}
			look(job)
		}
	}
	s.cleaner.quiet = quiet
	c := &s.cleaner
	if c.meta == nil {
		c.meta = metadataTopicOf(s)
	}
	look(&cleaning{topic: c.meta, log: s.meta})
	c.keep(func(id partitionID) bool { return known[id] })
	slices.SortStableFunc(list, func(a, b dirtyPartition) int { return cmp.Compare(b.ratio, a.ratio) })
	return list, next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// judge tells how dirty a partition is, and when it is to be cleaned or looked at
// again; not after now: it is to be cleaned.
func (s *Store) judge(job *cleaning, now time.Time) (ratio float64, at time.Time) {
	if at := s.cleaner.until(job); at.After(now) {
		return 0, at
	}
	if job.log == nil {
		return job.settled.ratio, job.settled.until
	}
	if job.log.Failed() != nil {
		return 0, farAway // which was told when it was found
	}
	d, err := s.dirt(job, now)
	if err != nil {
		if !interrupted(err) {
			s.cleaner.noteUnopened(job, err)
			s.tellCleaned(job, log.Cleaned{}, err)
		}
		return 0, s.cleaner.until(job)
	}
	rules := job.topic.cfg().Compaction
	if rules.dirtyEnough(d) {
		return d.Ratio(), now
	}
	return 0, rules.lookAgain(job.log, d, now)
}

// dirtyEnough is Kafka's judgement.
func (c *Compaction) dirtyEnough(d log.Dirty) bool {
	return d.DirtyBytes > 0 && (d.Overdue || d.Ratio() > max(c.MinDirtyRatio, 0))
}

// lookAgain is when a log that is not dirty enough may be, though nothing is
// appended: when records come of the age that one of the lags is. How old the
// youngest are that count is not looked up, so that some looks are in vain.
func (c *Compaction) lookAgain(l *log.Log, d log.Dirty, now time.Time) time.Time {
	at := farAway
	list := l.Segments()
	sealed := list[len(list)-1].BaseOffset // below it
	if c.MinLag > 0 && d.To < sealed {
		at = earlier(at, now.Add(lagStep(c.MinLag)))
	}
	if c.MaxLag >= 0 && d.From < sealed {
		at = earlier(at, now.Add(lagStep(c.MaxLag)))
	}
	return at
}

// lagStep is how late, beyond a lag, somebody may be to look.
func lagStep(lag time.Duration) time.Duration {
	return min(max(lag/8, cleanInterval), time.Hour)
}

// errNoProgress keeps a partition from being tried over and over.
var errNoProgress = errors.New("leat: a cleaning has come no further")

// cleanFound cleans one of what findDirty has found, if it still is dirty enough.
func (s *Store) cleanFound(ctx context.Context, f dirtyPartition) {
	job := f.cleaning
	if job.log == nil {
		job.part = job.topic.handle(job.id)
		var err error
		if job.log, err = job.part.use(); err != nil {
			if !job.topic.deleted.Load() && ctx.Err() == nil {
				s.cleaner.noteUnopened(job, err)
				s.tellCleaned(job, log.Cleaned{}, err)
			}
			return
		}
	}
	if job.log.Failed() != nil {
		return
	}
	done, ok, err := s.cleanOne(ctx, job, func() (int64, bool, error) {
		d, err := s.dirt(job, time.Now()) // somebody else may have cleaned it
		return d.From, job.topic.cfg().Compaction.dirtyEnough(d), err
	})
	if ok && err == nil && done.To <= done.From {
		s.cleaner.noteUnopened(job, errNoProgress)
	}
}
