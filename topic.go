package leat

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat/internal/murmur2"
	"github.com/leatlog/leat/log"
)

// Topic is a named set of partitions. All methods may be called from many
// goroutines.
type Topic struct {
	store *Store
	name  string
	id    TopicID
	// settings are never changed, but replaced whole: by administer's holder,
	// with mu held.
	settings atomic.Pointer[settings]
	// adopted topics come from elsewhere: offsets may be missing in them, and
	// of their partitions only those that were found are there.
	adopted bool
	unknown []pair // properties of a newer Leat, kept
	// Of the partitions, those from fresh on were made since the store was opened.
	fresh atomic.Int32

	deleted atomic.Bool
	mu      struct {
		sync.RWMutex
		partitions map[int32]*Partition // those asked for
	}
}

// settings are what administration can change of a topic.
type settings struct {
	config  TopicConfig
	present spans // nil: all partitions
}

// newTopic is a topic of which nothing is there yet.
func newTopic(s *Store, name string, id TopicID, c TopicConfig) *Topic {
	t := &Topic{store: s, name: name, id: id}
	t.settings.Store(&settings{config: c})
	t.fresh.Store(math.MaxInt32)
	return t
}

// cfg is the configuration as it is now, to be read only. Who needs several
// values that belong together loads it once.
func (t *Topic) cfg() *TopicConfig { return &t.settings.Load().config }

// isFresh tells whether a partition was made since the store was opened.
func (t *Topic) isFresh(id int32) bool { return id >= t.fresh.Load() }

// Name is the topic's name.
func (t *Topic) Name() string { return t.name }

// ID is the topic's identity, which no other topic ever has.
func (t *Topic) ID() TopicID { return t.id }

// Config is the topic's configuration, with all defaults filled in.
func (t *Topic) Config() TopicConfig {
	c := *t.cfg()
	c.Retention.Groups = slices.Clone(c.Retention.Groups)
	return c
}

// String is the name and the configuration.
func (t *Topic) String() string { return t.name + ": " + t.cfg().String() }

// PartitionFor is the partition that every Kafka client would choose for a key:
// murmur2, modulo the number of partitions. Records of one key are kept in
// order by going to one partition.
func (t *Topic) PartitionFor(key []byte) int32 {
	return murmur2.Partition(key, t.cfg().Partitions)
}

// Partition opens a partition, if it is not open yet, and with it recovers it if
// the store was not closed cleanly. ErrUnknownPartition: there is none of that
// number. *CorruptError: its files are not those of this topic, or gone. A
// partition whose records are damaged opens all the same, for reading what can
// be read; appends to it get the *CorruptError.
func (t *Topic) Partition(id int32) (*Partition, error) {
	if !t.has(id) {
		return nil, unknownPartition(t.name, id)
	}
	if err := t.usable(); err != nil {
		return nil, err
	}
	p := t.handle(id)
	if _, err := p.use(); err != nil {
		return nil, err
	}
	return p, nil
}

// Partitions lists the partitions by number, without opening them: the first use
// of each does. Topic.Partition opens, and tells what went wrong.
func (t *Topic) Partitions() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for id := range t.ids() {
			if !yield(t.handle(id)) {
				return
			}
		}
	}
}

// usable is why nothing can be done with the topic any more; nil if it can.
func (t *Topic) usable() error {
	if t.deleted.Load() {
		return unknownTopic(t.name)
	}
	if t.store.isClosed() {
		return ErrClosed
	}
	return nil
}

func (t *Topic) has(id int32) bool {
	return t.settings.Load().has(id)
}

func (s *settings) has(id int32) bool {
	return id >= 0 && id < s.config.Partitions && (s.present == nil || s.present.has(id))
}

// count is how many partitions there are.
func (t *Topic) count() int {
	n := 0
	for _, r := range t.settings.Load().spans() {
		n += int(r[1]-r[0]) + 1
	}
	return n
}

func (t *Topic) ids() iter.Seq[int32] { return t.settings.Load().spans().all() }

func (s *settings) spans() spans {
	if s.present != nil {
		return s.present
	}
	return spans{{0, s.config.Partitions - 1}}
}

// handle is the one Partition that a partition has.
func (t *Topic) handle(id int32) *Partition {
	t.mu.RLock()
	p := t.mu.partitions[id]
	t.mu.RUnlock()
	if p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p = t.mu.partitions[id]; p == nil {
		if t.mu.partitions == nil {
			t.mu.partitions = map[int32]*Partition{}
		}
		p = &Partition{topic: t, id: id, opening: make(chan struct{}, 1)}
		p.keyed.Store(t.keyed(t.cfg()))
		t.mu.partitions[id] = p
	}
	return p
}

// keyed tells whether appends to the partitions are looked at: every record needs
// a key, or compaction would lose it, and internal topics take none.
func (t *Topic) keyed(c *TopicConfig) bool {
	return c.Cleanup != CleanupDelete || internalTopics[t.name]
}

// handles are the partitions that were asked for.
func (t *Topic) handles() []*Partition {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.mu.partitions))
}

// unopened tells whether there is a partition that is not open, and was there
// when the store was opened.
func (t *Topic) unopened() bool {
	for id := range t.ids() {
		if t.isFresh(id) {
			continue
		}
		t.mu.RLock()
		p := t.mu.partitions[id]
		t.mu.RUnlock()
		if p == nil || p.log.Load() == nil {
			return true
		}
	}
	return false
}

// logConfig is what package log wants to know of a partition.
func (t *Topic) logConfig(id int32) log.Config {
	c := t.cfg()
	return log.Config{
		Topic:             t.name,
		Partition:         id,
		TopicID:           t.id,
		SegmentBytes:      c.SegmentBytes,
		SegmentAge:        c.segmentAge(),
		IndexBytes:        int(c.IndexBytes),
		IndexInterval:     int(c.IndexInterval),
		MaxBatchBytes:     c.MaxBatchBytes,
		Compression:       c.Compression,
		LogAppendTime:     c.Timestamps == LogAppendTime,
		TimestampBefore:   c.TimestampBefore,
		TimestampAfter:    c.TimestampAfter,
		Durability:        log.Durability(c.Durability),
		FlushInterval:     c.FlushInterval,
		FlushBytes:        c.FlushBytes,
		ExternalEpochs:    c.External&ExternalEpochs != 0,
		ExternalWatermark: c.External&ExternalWatermark != 0,
	}
}

// spans are runs of partition numbers, ascending: "0-3,12".
type spans [][2]int32

func makeSpans(ids []int32) spans {
	var s spans
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if last := len(s) - 1; last >= 0 && id <= s[last][1]+1 {
			s[last][1] = id
		} else {
			s = append(s, [2]int32{id, id})
		}
	}
	return s
}

func (s spans) has(id int32) bool {
	i, found := slices.BinarySearchFunc(s, id, func(r [2]int32, id int32) int { return int(r[0]) - int(id) })
	return found || i > 0 && id <= s[i-1][1]
}

func (s spans) all() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for _, r := range s {
			for id := int64(r[0]); id <= int64(r[1]); id++ {
				if !yield(int32(id)) {
					return
				}
			}
		}
	}
}

func (s spans) String() string {
	var list []string
	for _, r := range s {
		if r[0] == r[1] {
			list = append(list, strconv.Itoa(int(r[0])))
		} else {
			list = append(list, fmt.Sprintf("%d-%d", r[0], r[1]))
		}
	}
	return strings.Join(list, ",")
}

func parseSpans(s string) (spans, error) {
	var list spans
	next := int64(0)
	for part := range strings.SplitSeq(s, ",") {
		low, high, run := strings.Cut(part, "-")
		if !run {
			high = low
		}
		from, err1 := strconv.ParseInt(low, 10, 32)
		to, err2 := strconv.ParseInt(high, 10, 32)
		if err1 != nil || err2 != nil || from < next || to < from || to == math.MaxInt32 {
			return nil, fmt.Errorf("%.20q is not a list of partitions", s)
		}
		list = append(list, [2]int32{int32(from), int32(to)})
		next = to + 1
	}
	return list, nil
}
