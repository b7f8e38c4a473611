package leat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/leatlog/leat/internal/murmur2"
)

// Partitioner chooses the partition of a record, by its number, among so many.
// UnknownPartition leaves it to the producer: records then stay with one
// partition until a batch is done there, and go on to another (Kafka's sticky
// partitioner). Any other number that the topic does not have is
// ErrUnknownPartition for that record. It is called on the producing goroutine,
// by several at once.
//
// Without a Partitioner records go where Kafka's clients would send them: those
// with a key by its murmur2 hash (Topic.PartitionFor), those without one, a nil
// Key, as UnknownPartition says. An empty Key is a key. Record.Partition is not
// looked at, since 0 is a partition: FixedPartition does.
type Partitioner interface {
	Partition(r *Record, partitions int32) int32
}

// UnknownPartition is a Partitioner's answer for a record that may go anywhere
// [RecordMetadata.UNKNOWN_PARTITION].
const UnknownPartition int32 = -1

// FixedPartition is the Partitioner that takes Record.Partition for what it is,
// UnknownPartition included.
var FixedPartition Partitioner = fixedPartition{}

type fixedPartition struct{}

func (fixedPartition) Partition(r *Record, _ int32) int32 { return r.Partition }

// producerTopic is what a producer knows of a topic: a lane for each partition
// that it has produced to.
type producerTopic struct {
	topic  *Topic
	lanes  atomic.Pointer[[]atomic.Pointer[lane]] // by number; replaced when it grows, with Producer.mu held
	sticky atomic.Pointer[lane]                   // of records that may go anywhere
}

// topicOf finds a topic, mostly the one that was asked for last.
func (p *Producer) topicOf(name string) (*producerTopic, error) {
	if t := p.last.Load(); t != nil && t.topic.name == name && !t.topic.deleted.Load() {
		return t, nil
	}
	return p.lookUp(name)
}

// choose is the partition of a record, or UnknownPartition.
func (p *Producer) choose(t *producerTopic, r *Record) int32 {
	n := t.topic.cfg().Partitions
	switch {
	case p.cfg.Partitioner != nil:
		return p.cfg.Partitioner.Partition(r, n)
	case r.Key != nil:
		return murmur2.Partition(r.Key, n)
	}
	return UnknownPartition
}

// add puts a record of a size into the lane of its partition. One with a callback sets the
// lane to work; who waits does that when he has added all.
func (p *Producer) add(t *producerTopic, id int32, e entry, size int) (l *lane, err error) {
	for {
		sticky := id == UnknownPartition
		if !sticky {
			l, err = p.lane(t, id)
		} else if l = t.sticky.Load(); l == nil {
			l, err = p.stick(t, nil)
		}
		if err != nil {
			return nil, err
		}
		switch what, err := l.add(e, size, sticky); {
		case err != nil:
			return nil, err
		case what == laneTook:
			return l, nil
		case what == laneDone:
			_, err = p.stick(t, l)
			if err != nil {
				return nil, err
			}
		case what == laneRetired:
			if t, err = p.topicOf(t.topic.name); err != nil {
				return nil, err
			}
		}
	}
}

// lookUp finds a topic by name: another than before, or one that has been deleted.
func (p *Producer) lookUp(name string) (*producerTopic, error) {
	p.mu.Lock()
	t := p.mu.topics[name]
	p.mu.Unlock()
	if t == nil || t.topic.deleted.Load() {
		topic, err := p.store.Topic(name)
		if err == nil {
			err = refuseInternal(name)
		}
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		if t = p.mu.topics[name]; t == nil || t.topic != topic {
			t = &producerTopic{topic: topic}
			t.lanes.Store(new([]atomic.Pointer[lane]))
			p.mu.topics[name] = t
			p.forgetLocked()
		}
		p.mu.Unlock()
	}
	p.last.Store(t)
	return t, nil
}

// forgetLocked lets go of the lanes of deleted topics that are done. p.mu is held.
func (p *Producer) forgetLocked() {
	p.mu.lanes = slices.DeleteFunc(p.mu.lanes, func(l *lane) bool {
		return l.part.topic.deleted.Load() && l.retire()
	})
}

// lane is that of a partition, made if there is none.
func (p *Producer) lane(t *producerTopic, id int32) (*lane, error) {
	if s := *t.lanes.Load(); id >= 0 && int(id) < len(s) {
		if l := s[id].Load(); l != nil {
			return l, nil
		}
	}
	if !t.topic.has(id) {
		return nil, unknownPartition(t.topic.name, id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return nil, ErrClosed
	}
	s := *t.lanes.Load()
	if int(id) >= len(s) {
		grown := make([]atomic.Pointer[lane], t.topic.cfg().Partitions)
		for i := range s {
			grown[i].Store(s[i].Load())
		}
		s = grown
		t.lanes.Store(&s)
	}
	if l := s[id].Load(); l != nil {
		return l, nil
	}
	l := newLane(p, t, t.topic.handle(id))
	s[id].Store(l)
	p.mu.lanes = append(p.mu.lanes, l)
	return l, nil
}

// stick chooses another partition than that of old to stay with, if there is one.
func (p *Producer) stick(t *producerTopic, old *lane) (*lane, error) {
	s := t.topic.settings.Load()
	n := s.config.Partitions
	pick := func(i int32) int32 { return i }
	if s.present != nil {
		ids := slices.Collect(s.present.all())
		n = int32(len(ids))
		pick = func(i int32) int32 { return ids[i] }
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: %s has none", ErrUnknownPartition, t.topic.name)
	}
	id := pick(rand.Int32N(n))
	if old != nil && n > 1 {
		for id == old.part.id {
			id = pick(rand.Int32N(n))
		}
	}
	l, err := p.lane(t, id)
	if err != nil {
		return nil, err
	}
	if !t.sticky.CompareAndSwap(old, l) {
		l = t.sticky.Load() // somebody else has chosen
	}
	return l, nil
}
