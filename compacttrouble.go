package leat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leatlog/leat/log"
)

// Compactions are what cleanings have done since Open, a round each. The store's
// own topics are left out.
type Compactions struct {
	Cleanings int64
	Errors    int64 // of those, how many have failed
	// Records and Bytes are how many were removed, BytesRead how many were gone
	// through.
	Records, Bytes, BytesRead int64
	Duration                  time.Duration // of all together
	// Uncleanable are the partitions that could not be cleaned the last time, by
	// topic and number, those that are not open as well.
	Uncleanable []Uncleanable
}

// Uncleanable is a partition that could not be cleaned. Appends and reads go on;
// its log grows.
type Uncleanable struct {
	Topic     string
	Partition int32
	Err       string
	Failures  int // one after the other
	// Retry is when it is tried again, at the latest by Topic.Compact. Zero: not
	// before the partition is opened again, truncated or reset, because what it holds
	// is damaged.
	Retry time.Time
}

// String is one line.
func (u Uncleanable) String() string {
	when := "not before the partition is opened again"
	if !u.Retry.IsZero() {
		when = "again at " + u.Retry.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s: %s (%d times, %s)", folderName(u.Topic, u.Partition), u.Err, u.Failures, when)
}

// The pauses after a failure double, from Kafka's back-off on.
const (
	cleanInterval   = 15 * time.Second // log.cleaner.backoff.ms
	maxCleanBackoff = time.Hour
)

// trouble is what is known of a partition whose last cleaning failed.
type trouble struct {
	topic    string
	err      error // nil: it was only interrupted by a truncation
	failures int
	retry    time.Time
	// Of damage: it is not tried again as long as the log is this one.
	damaged    bool
	log        *log.Log
	generation int64
}

// troubles are those of a store, and the counts.
type troubles struct {
	sync.Mutex
	of  map[partitionID]*trouble
	sum Compactions
}

// note counts a round, and remembers its failure or forgets earlier ones.
func (t *troubles) note(c *cleaning, done log.Cleaned, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrClosed) {
		return
	}
	t.Lock()
	defer t.Unlock()
	key := c.partitionID()
	if errors.Is(err, log.ErrSuperseded) {
		t.fail(key, c, nil)
		return
	}
	if c.part != nil {
		t.sum.Cleanings++
		t.sum.Records += done.RecordsRead - done.RecordsKept
		t.sum.Bytes += done.BytesBefore - done.BytesAfter
		t.sum.BytesRead += done.BytesBefore
		t.sum.Duration += done.Duration
		if err != nil {
			t.sum.Errors++
		}
	}
	if err != nil {
		t.fail(key, c, err)
		return
	}
	delete(t.of, key)
}

// noteUnopened remembers that a partition could not be opened, or looked at, to
// be cleaned.
func (t *troubles) noteUnopened(c *cleaning, err error) {
	t.Lock()
	defer t.Unlock()
	t.fail(c.partitionID(), c, err)
}

func (t *troubles) fail(key partitionID, c *cleaning, err error) {
	x := t.of[key]
	if x == nil {
		x = &trouble{topic: c.topic.name}
		t.of[key] = x
	}
	x.err, x.damaged = err, false
	if err == nil {
		x.failures, x.retry = 0, time.Now().Add(cleanInterval)
		return
	}
	pause := cleanInterval
	for range x.failures {
		pause = min(2*pause, maxCleanBackoff)
	}
	x.failures++
	x.retry = time.Now().Add(pause)
	if c.log != nil && errors.Is(err, ErrCorrupt) {
		x.damaged, x.log, x.generation = true, c.log, c.log.Generation()
	}
}

// until is when a partition may be cleaned in the background: the zero time for at
// once, farAway for a damaged one that is as it was.
func (t *troubles) until(c *cleaning) time.Time {
	t.Lock()
	defer t.Unlock()
	x := t.of[c.partitionID()]
	switch {
	case x == nil:
		return time.Time{}
	case x.damaged && x.log == c.log && x.generation == c.log.Generation():
		return farAway
	case x.damaged:
		return time.Time{}
	}
	return x.retry
}

// keep forgets partitions that there are no more.
func (t *troubles) keep(has func(partitionID) bool) {
	t.Lock()
	defer t.Unlock()
	for key := range t.of {
		if !has(key) {
			delete(t.of, key)
		}
	}
}

// stats gives the counts. Partitions of topics that exists does not know are left
// out.
func (t *troubles) stats(exists func(topic string, id TopicID) bool) Compactions {
	t.Lock()
	defer t.Unlock()
	sum := t.sum
	for key, x := range t.of {
		if x.err == nil || !exists(x.topic, key.topic) {
			continue
		}
		u := Uncleanable{Topic: x.topic, Partition: key.id, Err: x.err.Error(), Failures: x.failures, Retry: x.retry}
		if x.damaged {
			u.Retry = time.Time{}
		}
		sum.Uncleanable = append(sum.Uncleanable, u)
	}
	slices.SortFunc(sum.Uncleanable, func(a, b Uncleanable) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return sum
}

// String is like "cleaned 3 times (0 failed), removed 100 records and 5000 bytes".
func (c Compactions) String() string {
	return fmt.Sprintf("cleaned %d times (%d failed, %d partitions uncleanable), removed %d records and %d of %d bytes",
		c.Cleanings, c.Errors, len(c.Uncleanable), c.Records, c.Bytes, c.BytesRead)
}

// hasTopic tells whether a topic is there that is no internal one.
func (s *Store) hasTopic(name string, id TopicID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.mu.topics[name]
	return t != nil && t.id == id
}
