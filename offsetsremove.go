package leat

import (
	"context"

	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/log"
)

// tombstoneBatch bounds a batch of tombstones, well below max.message.bytes.
const tombstoneBatch = 256 << 10

// tombstoneFrame is about what a tombstone takes beside its key.
const tombstoneFrame = 16

// removeOffsets removes what a group has committed of some partitions; parts nil:
// of all, and its metadata. What is not there is no error. All of it is synced
// when it returns nil; after an error, some may be removed.
func (s *Store) removeOffsets(ctx context.Context, group string, parts []log.TopicPartition) error {
	if s.follow != nil {
		return ErrReadOnly
	}
	home, err := s.offsets.of(ctx, group)
	if home == nil || err != nil {
		return err
	}
	want := map[log.TopicPartition]bool{}
	for _, tp := range parts {
		want[tp] = true
	}
	return s.offsets.remove(ctx, home, func(k offsetsKey) bool {
		return k.group == group && (parts == nil || !k.meta && want[log.TopicPartition{Topic: k.topic, Partition: k.partition}])
	})
}

// forgetTopicOffsets removes what all groups have committed of a topic that is
// deleted: one that is created again under its name must not inherit positions.
// Commits that are under way are waited for, and those that come later see that
// the topic is deleted.
func (s *Store) forgetTopicOffsets(topic string) error {
	if s.offsets.view().topic == nil {
		return nil
	}
	return s.offsets.remove(context.Background(), nil, func(k offsetsKey) bool { return !k.meta && k.topic == topic })
}

// remove writes tombstones for the chosen keys, while there are no commits. That a
// partition cannot be read, which may hold some, is an error: where the keys have a
// home, of that one only.
func (o *offsets) remove(ctx context.Context, home *offsetsPartition, chosen func(offsetsKey) bool) error {
	if err := o.gate.shut(ctx); err != nil {
		return err
	}
	defer o.gate.open()
	for _, g := range o.view().parts {
		if err := g.catchUp(ctx); err != nil {
			if home == nil || home == g || ctx.Err() != nil {
				return err
			}
			continue
		}
		g.mu.RLock()
		keys, old := g.mu.state.keys(chosen), g.mu.state.old
		g.mu.RUnlock()
		if len(keys) == 0 {
			continue
		}
		if err := g.bury(ctx, keys, old); err != nil {
			return err
		}
	}
	return nil
}

// bury appends tombstones. old: also for the keys as they were written before
// Kafka 0.9, which to a cleaner are others.
func (g *offsetsPartition) bury(ctx context.Context, keys []offsetsKey, old bool) error {
	l, err := g.p.use()
	if err != nil {
		return err
	}
	var (
		batch []log.Record
		buf   []byte
		limit = min(tombstoneBatch, int(g.p.topic.cfg().MaxBatchBytes)/2)
	)
	add := func(version int16, k *offsetsKey) {
		if err == nil {
			from := len(buf)
			buf, err = k.append(buf, version)
			batch = append(batch, log.Record{Key: buf[from:len(buf):len(buf)]})
		}
	}
	for i := range keys {
		if old && !keys[i].meta {
			add(coordination.KindOldOffset, &keys[i])
		}
		add(coordination.KindOffset, &keys[i])
		if err != nil {
			return err
		}
		if len(buf)+len(batch)*tombstoneFrame < limit && i < len(keys)-1 {
			continue
		}
		d := log.Written
		if i == len(keys)-1 {
			d = log.Synced // and with it those before
		}
		_, err = l.Append(ctx, batch, d)
		g.p.topic.store.touch()
		if err != nil {
			return g.p.fail(err)
		}
		batch, buf = nil, nil
	}
	return g.catchUp(ctx)
}

func (k *offsetsKey) append(dst []byte, version int16) ([]byte, error) {
	if k.meta {
		return coordination.AppendGroupKey(dst, coordination.GroupKey{Version: coordination.KindGroup, Group: k.group})
	}
	return coordination.AppendOffsetKey(dst, coordination.OffsetKey{Version: version, Group: k.group, Topic: k.topic, Partition: k.partition})
}

// saveGroup stores a generation of a group. It is known at once, and durable
// within the topic's FlushInterval, or with the next commit: to lose one costs
// nothing, since no other process has members.
func (s *Store) saveGroup(ctx context.Context, group string, v coordination.GroupValue) error {
	if s.follow != nil {
		return ErrReadOnly
	}
	if group == "" {
		return ErrNoGroup
	}
	if v.Version < 4 {
		v.Version = 3
	}
	key, err := coordination.AppendGroupKey(nil, coordination.GroupKey{Version: coordination.KindGroup, Group: group})
	if err != nil {
		return invalidConfig("group %.40q: %v", group, err)
	}
	value, err := coordination.AppendGroupValue(nil, v)
	if err != nil {
		return invalidConfig("group %.40q: %v", group, err)
	}
	g, l, err := s.offsetsLog(ctx, group)
	if err != nil {
		return err
	}
	if err := s.offsets.gate.enter(ctx); err != nil {
		return err
	}
	defer s.offsets.gate.leave()
	base, err := l.Append(ctx, []log.Record{{Key: key, Value: value}}, log.Written)
	s.touch()
	if err != nil {
		return g.p.fail(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.log == l {
		g.mu.state.put(&offsetsRecord{offsetsKey: offsetsKey{group: group, meta: true}, at: base, value: &v})
	}
	return nil
}
