package leat

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"unique"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/log"
)

// committed is where a group goes on in a partition.
type committed struct {
	offset    int64
	epoch     int32 // leader epoch of the record before it, -1 when it is not known
	metadata  string
	at        int64 // when it was committed, in ms
	expires   int64 // ms, -1: it does not by itself
	logOffset int64 // of the record that says it
	unstable  bool  // an open transaction holds a newer commit
}

// groupOffset is a committed offset and what it is of.
type groupOffset struct {
	tp log.TopicPartition
	committed
}

// offsetsState is what the records of one partition of __consumer_offsets say up
// to an offset. It is not safe for concurrent use.
//
// A committed offset takes 40 bytes here, in a slice of its group and topic:
// names are held once a store, metadata and expiry only where there are any.
type offsetsState struct {
	groups map[string]*groupState
	// pending is what open transactions have written, by producer id; of each key
	// the last.
	pending map[int64]map[offsetsKey]*offsetsRecord
	old     bool // there are keys of version 0
}

type groupState struct {
	topics []*groupTopic // by name
	meta   *coordination.GroupValue
	metaAt int64 // offset of the record that says meta, or that it is gone
}

type groupTopic struct {
	name  unique.Handle[string]
	parts []storedOffset // by partition
}

type storedOffset struct {
	offset, at, logOffset int64
	partition, epoch      int32
	more                  *storedMore
}

type storedMore struct {
	metadata string
	expires  int64
}

// offsetsKey is what a record is about. A group's metadata is of partition -1 of
// no topic.
type offsetsKey struct {
	group, topic string
	partition    int32
	meta         bool
}

func (k *offsetsKey) compare(other *offsetsKey) int {
	switch {
	case k.meta != other.meta && k.meta:
		return 1
	case k.meta != other.meta:
		return -1
	}
	return cmp.Or(cmp.Compare(k.group, other.group), cmp.Compare(k.topic, other.topic), cmp.Compare(k.partition, other.partition))
}

// offsetsRecord is a record of __consumer_offsets of a kind that is kept.
type offsetsRecord struct {
	offsetsKey
	at     int64 // its offset
	gone   bool  // a tombstone
	old    bool  // its key is of version 0
	offset coordination.OffsetValue
	value  *coordination.GroupValue // of a group
}

func newOffsetsState() *offsetsState {
	return &offsetsState{groups: map[string]*groupState{}, pending: map[int64]map[offsetsKey]*offsetsRecord{}}
}

// parseOffsetsRecord reads a record; known is false for the kinds of newer group
// protocols, which are only carried along.
func parseOffsetsRecord(r *codec.Record) (rec offsetsRecord, known bool, err error) {
	rec.at, rec.gone = r.Offset, r.Value == nil
	if r.Key == nil {
		return rec, false, fmt.Errorf("%w: a record without a key", coordination.ErrFormat)
	}
	kind, err := coordination.KeyKind(r.Key)
	if err != nil {
		return rec, false, err
	}
	switch kind {
	case coordination.KindOldOffset, coordination.KindOffset:
		k, err := coordination.ParseOffsetKey(r.Key)
		if err != nil {
			return rec, false, err
		}
		rec.offsetsKey = offsetsKey{group: k.Group, topic: k.Topic, partition: k.Partition}
		rec.old = kind == coordination.KindOldOffset
		if !rec.gone {
			rec.offset, err = coordination.ParseOffsetValue(r.Value)
		}
		return rec, true, err
	case coordination.KindGroup:
		k, err := coordination.ParseGroupKey(r.Key)
		if err != nil {
			return rec, false, err
		}
		rec.offsetsKey = offsetsKey{group: k.Group, meta: true}
		if !rec.gone {
			v, err := coordination.ParseGroupValue(r.Value)
			rec.value = &v
			return rec, true, err
		}
		return rec, true, nil
	}
	return rec, false, nil
}

// apply does what a record says that is of no transaction. Records come in the
// order of the log.
func (s *offsetsState) apply(r *offsetsRecord) {
	if r.gone {
		// As in Kafka, a tombstone also removes what open transactions hold.
		for _, of := range s.pending {
			delete(of, r.offsetsKey)
		}
	}
	s.old = s.old || r.old
	s.put(r)
}

// pend keeps a record until its transaction is decided.
func (s *offsetsState) pend(producer int64, r *offsetsRecord) {
	of := s.pending[producer]
	if of == nil {
		of = map[offsetsKey]*offsetsRecord{}
		s.pending[producer] = of
	}
	s.old = s.old || r.old
	kept := *r
	of[r.offsetsKey] = &kept
}

// end decides the open transaction of a producer. A commit that came without a
// transaction after one that came with it stays: it is the later record, whatever
// compaction has left of the rest.
func (s *offsetsState) end(producer int64, commit bool) {
	of := s.pending[producer]
	delete(s.pending, producer)
	if commit {
		for _, r := range of {
			s.put(r)
		}
	}
}

// put makes the key of a record what it says, unless that is known from a later
// one.
func (s *offsetsState) put(r *offsetsRecord) {
	g := s.groups[r.group]
	if g == nil {
		if r.gone {
			return
		}
		g = &groupState{metaAt: -1}
		s.groups[r.group] = g
	}
	switch {
	case r.meta && r.at >= g.metaAt:
		g.meta, g.metaAt = r.value, r.at
	case r.meta:
	case r.gone:
		g.remove(r.topic, r.partition, r.at)
	default:
		g.set(r)
	}
	if len(g.topics) == 0 && g.meta == nil {
		delete(s.groups, r.group)
	}
}

func (g *groupState) find(topic string) (int, bool) {
	return slices.BinarySearchFunc(g.topics, topic, func(t *groupTopic, name string) int { return cmp.Compare(t.name.Value(), name) })
}

func (t *groupTopic) find(partition int32) (int, bool) {
	return slices.BinarySearchFunc(t.parts, partition, func(o storedOffset, id int32) int { return cmp.Compare(o.partition, id) })
}

func (g *groupState) set(r *offsetsRecord) {
	i, ok := g.find(r.topic)
	if !ok {
		g.topics = slices.Insert(g.topics, i, &groupTopic{name: unique.Make(r.topic)})
	}
	t := g.topics[i]
	o := storedOffset{offset: r.offset.Offset, at: r.offset.CommitTimestamp, logOffset: r.at, partition: r.partition, epoch: r.offset.LeaderEpoch}
	if r.offset.Metadata != "" || r.offset.ExpireTimestamp >= 0 {
		o.more = &storedMore{r.offset.Metadata, r.offset.ExpireTimestamp}
	}
	i, ok = t.find(r.partition)
	switch {
	case !ok:
		t.parts = slices.Insert(t.parts, i, o)
	case t.parts[i].logOffset < r.at:
		t.parts[i] = o
	}
}

func (g *groupState) remove(topic string, partition int32, at int64) {
	i, ok := g.find(topic)
	if !ok {
		return
	}
	t := g.topics[i]
	j, ok := t.find(partition)
	if !ok || t.parts[j].logOffset > at {
		return
	}
	if t.parts = slices.Delete(t.parts, j, j+1); len(t.parts) == 0 {
		g.topics = slices.Delete(g.topics, i, i+1)
	}
}

// fetch is what is committed of a partition. unstable may be set though there is
// nothing yet.
func (s *offsetsState) fetch(group string, tp log.TopicPartition) (committed, bool) {
	k := offsetsKey{group: group, topic: tp.Topic, partition: tp.Partition}
	c, ok := s.stored(k)
	c.unstable = s.isPending(k)
	return c, ok
}

// stored is fetch without a look at open transactions.
func (s *offsetsState) stored(k offsetsKey) (committed, bool) {
	if g := s.groups[k.group]; g != nil {
		if i, ok := g.find(k.topic); ok {
			if j, ok := g.topics[i].find(k.partition); ok {
				return g.topics[i].parts[j].committed(), true
			}
		}
	}
	return nothingCommitted, false
}

var nothingCommitted = committed{offset: -1, epoch: -1, expires: -1, logOffset: -1}

func (o *storedOffset) committed() committed {
	c := committed{offset: o.offset, epoch: o.epoch, at: o.at, expires: -1, logOffset: o.logOffset}
	if o.more != nil {
		c.metadata, c.expires = o.more.metadata, o.more.expires
	}
	return c
}

func (s *offsetsState) isPending(k offsetsKey) bool {
	for _, of := range s.pending {
		if of[k] != nil {
			return true
		}
	}
	return false
}

// all lists what a group has committed, by topic and partition.
func (s *offsetsState) all(group string) []groupOffset {
	var list []groupOffset
	if g := s.groups[group]; g != nil {
		for _, t := range g.topics {
			for i := range t.parts {
				list = append(list, groupOffset{log.TopicPartition{Topic: t.name.Value(), Partition: t.parts[i].partition}, t.parts[i].committed()})
			}
		}
	}
	if len(s.pending) > 0 {
		for i, o := range list {
			list[i].unstable = s.isPending(offsetsKey{group: group, topic: o.tp.Topic, partition: o.tp.Partition})
		}
	}
	return list
}

// keys are the chosen ones of all that there is, those of open transactions too;
// the metadata of groups comes last.
func (s *offsetsState) keys(chosen func(offsetsKey) bool) []offsetsKey {
	found := map[offsetsKey]bool{}
	add := func(k offsetsKey) {
		if chosen(k) {
			found[k] = true
		}
	}
	for name, g := range s.groups {
		for _, t := range g.topics {
			for i := range t.parts {
				add(offsetsKey{group: name, topic: t.name.Value(), partition: t.parts[i].partition})
			}
		}
		if g.meta != nil {
			add(offsetsKey{group: name, meta: true})
		}
	}
	for _, of := range s.pending {
		for k := range of {
			add(k)
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b offsetsKey) int { return a.compare(&b) })
}

// has tells whether the group has any record.
func (s *offsetsState) has(group string) bool {
	if s.groups[group] != nil {
		return true
	}
	for _, of := range s.pending {
		for k := range of {
			if k.group == group {
				return true
			}
		}
	}
	return false
}
