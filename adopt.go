package leat

import (
	"maps"
	"slices"

	"github.com/leatlog/leat/log"
)

// metadataBatch bounds the records of one batch of __metadata, well below
// max.message.bytes.
const metadataBatch = 256 << 10

// adopt makes topics of the partition folders that were there before Leat, and
// records them, and that this has been done, in __metadata. A crash in the
// middle leaves no such record, and the next open adopts what is missing.
func (s *Store) adopt(topics map[string]*topicRecord, folders map[string][]int32) error {
	var (
		batch []log.Record
		size  int
	)
	add := func(r log.Record) error {
		if n := len(r.Key) + len(r.Value) + 32; size+n <= metadataBatch || len(batch) == 0 {
			batch, size = append(batch, r), size+n
			return nil
		}
		err := s.commit(batch...)
		batch, size = []log.Record{r}, len(r.Key)+len(r.Value)+32
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		if name == metadataTopic || topics[name] != nil {
			continue
		}
		t := s.adopted(name, folders[name])
		r, err := t.record(t.settings.Load(), topicLive)
		if err != nil {
			return err
		}
		if err := add(r); err != nil {
			return err
		}
		if topics[name], err = parseTopic(name, r.Value); err != nil {
			return err
		}
		s.logger.Info("topic adopted", "topic", name, "partitions", t.cfg().Partitions, "id", t.id)
	}
	if err := add(log.Record{Key: storeKey(), Value: storeValue()}); err != nil {
		return err
	}
	return s.commit(batch...)
}

// adoptedConfig is what is known of the configuration of a topic from elsewhere:
// nothing, so that nothing in it is ever deleted until somebody says.
func adoptedConfig(partitions int32) TopicConfig {
	return TopicConfig{
		Partitions: partitions, Retention: Retention{Age: Unlimited, Bytes: Unlimited},
	}.withDefaults(TopicConfig{})
}

// adopted is a topic made of its partition folders.
func (s *Store) adopted(name string, ids []int32) *Topic {
	present := makeSpans(ids)
	now := &settings{config: adoptedConfig(present[len(present)-1][1] + 1)}
	if len(present) > 1 || present[0][0] > 0 {
		now.present = present
	}
	t := newTopic(s, name, newTopicID(), now.config) // the id is for one of a broker that had none
	t.adopted = true
	t.settings.Store(now)
	for id := range present.all() {
		file := folderName(name, id) + "/" + partitionMetadata
		b, err := readSmall(s.fsys, file)
		if err == nil && b != nil {
			var found TopicID
			if found, err = parsePartitionMetadata(b); err == nil {
				t.id = found
				return t
			}
		}
		if err != nil {
			s.logger.Warn("file ignored", "path", s.fsys.Path(file), "err", err)
		}
	}
	return t
}
