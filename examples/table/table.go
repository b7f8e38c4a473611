package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/leatlog/leat"
)

// Table is a map from keys to values that survives the process, and the power
// cut: a compacted topic is the table, and what is in memory only a copy of it. All
// methods may be called from many goroutines.
type Table struct {
	part *leat.Partition

	writing sync.Mutex // makes the order in the log the order in the map
	broken  error      // why it has to be opened again; guarded by writing

	mu   sync.RWMutex
	rows map[string]string

	compacting struct {
		sync.Mutex
		done  chan struct{} // of the one under way; nil: there is none
		limit int64         // bytes of the log from which on another one is worth it
		err   error         // of the last one
	}
}

// Change is what becomes of one key.
type Change struct {
	Key    string
	Value  string
	Delete bool
}

const (
	// A log is compacted when it is four times as large as the last compaction left
	// it, and not before it has minLog bytes. Who writes faster than that takes waits
	// for it at waitFactor times the limit.
	growth     = 4
	minLog     = 4 << 20
	waitFactor = 4
)

// OpenTable opens the table of that name, or makes it, and reads the topic to know
// what is in it.
func OpenTable(ctx context.Context, st *leat.Store, name string) (*Table, error) {
	topic, err := st.Topic(name)
	if errors.Is(err, leat.ErrUnknownTopic) {
		topic, err = st.CreateTopic(ctx, name, leat.TopicConfig{Cleanup: leat.CleanupCompact, SegmentBytes: 1 << 20})
	}
	if err != nil {
		return nil, err
	}
	part, err := topic.Partition(0)
	if err != nil {
		return nil, err
	}
	t := &Table{part: part, rows: map[string]string{}}
	t.compacting.limit = minLog
	rd, err := part.Reader(leat.ReaderOptions{UntilEnd: true})
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	for rec, err := range rd.Records(ctx) {
		if err != nil {
			return nil, err
		}
		// Of a key that comes more than once, because no cleaning has been here yet, the
		// last one counts. A record without a value, a tombstone, says that it is gone.
		if rec.Value == nil {
			delete(t.rows, string(rec.Key))
		} else {
			t.rows[string(rec.Key)] = string(rec.Value)
		}
	}
	return t, nil
}

// Get is the value of a key.
func (t *Table) Get(key string) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.rows[key]
	return v, ok
}

// Len is how many keys there are.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}

// Range yields all rows in the order of their keys, as they were at one moment,
// between two updates: those that come meanwhile are not seen.
func (t *Table) Range() iter.Seq2[string, string] {
	t.mu.RLock()
	rows := maps.Clone(t.rows)
	t.mu.RUnlock()
	return func(yield func(string, string) bool) {
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			if !yield(key, rows[key]) {
				return
			}
		}
	}
}

// Put sets one key. When it returns nil that survives a power cut.
func (t *Table) Put(ctx context.Context, key, value string) error {
	return t.Update(ctx, Change{Key: key, Value: value})
}

// Delete removes one key.
func (t *Table) Delete(ctx context.Context, key string) error {
	return t.Update(ctx, Change{Key: key, Delete: true})
}

// Update makes several changes at once: all of them or, after an error or a crash,
// none. An error of which nobody knows whether they were made, such as that of a
// context that ended meanwhile, leaves a table that has to be opened again.
func (t *Table) Update(ctx context.Context, changes ...Change) error {
	records := make([]leat.Record, len(changes))
	for i, c := range changes {
		records[i].Key = []byte(c.Key)
		if !c.Delete {
			records[i].Value = []byte(c.Value) // never nil
		}
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.broken != nil {
		return t.broken
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := t.part.Append(ctx, records...); err != nil {
		// Of these it is certain that nothing was stored.
		if !errors.Is(err, leat.ErrNoSpace) && !errors.Is(err, leat.ErrRecordTooLarge) {
			t.broken = fmt.Errorf("open the table again: %w", err)
		}
		return err
	}
	t.mu.Lock()
	for _, c := range changes {
		if c.Delete {
			delete(t.rows, c.Key)
		} else {
			t.rows[c.Key] = c.Value
		}
	}
	t.mu.Unlock()
	return t.compact(ctx)
}

// Size is how many bytes the log has.
func (t *Table) Size() int64 { return t.part.Describe().Bytes }

// compact has the log compacted, beside further updates, when it has grown enough.
// The store does so by itself, when half of the log is dirty, but looks only every
// 15 seconds, in which a table that is written to without a pause grows by a lot.
func (t *Table) compact(ctx context.Context) error {
	c := &t.compacting
	size := t.Size()
	c.Lock()
	if size < c.limit {
		c.Unlock()
		return nil
	}
	if c.done == nil {
		c.done = make(chan struct{})
		go t.compactNow(c.done)
	}
	done, wait := c.done, size >= waitFactor*c.limit
	c.Unlock()
	if wait {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return nil
}

func (t *Table) compactNow(done chan struct{}) {
	// A store that is closed meanwhile waits for this to end.
	err := t.part.Compact(context.Background(), nil)
	c := &t.compacting
	c.Lock()
	defer c.Unlock()
	c.err, c.done = err, nil
	c.limit = max(minLog, growth*t.Size())
	close(done)
}

// Close waits for a compaction under way, and tells whether the last one failed.
// The store is to be closed afterwards.
func (t *Table) Close() error {
	c := &t.compacting
	c.Lock()
	done := c.done
	c.Unlock()
	if done != nil {
		<-done
	}
	c.Lock()
	defer c.Unlock()
	return c.err
}
