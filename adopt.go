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
		r, err := t.record(topicLive)
		if err != nil {
			return err
		}
		if err := add(r); err != nil {
			return err
		}
		if topics[name], err = parseTopic(name, r.Value); err != nil {
			return err
		}
		s.logger.Info("topic adopted", "topic", name, "partitions", t.config.Partitions, "id", t.id)
	}
	if err := add(log.Record{Key: storeKey(), Value: storeValue()}); err != nil {
		return err
	}
	return s.commit(batch...)
}

// adopted is a topic made of its partition folders. How it was configured is not
// known, so nothing in it is ever deleted until somebody says.
func (s *Store) adopted(name string, ids []int32) *Topic {
	t := &Topic{store: s, name: name, adopted: true, config: TopicConfig{
		Retention: Retention{Age: Unlimited, Bytes: Unlimited},
	}.withDefaults(TopicConfig{})}
	present := makeSpans(ids)
	t.config.Partitions = present[len(present)-1][1] + 1
	if len(present) > 1 || present[0][0] > 0 {
		t.present = present
	}
	for id := range present.all() {
		file := folderName(name, id) + "/" + partitionMetadata
		b, err := readSmall(s.fsys, file)
		if err == nil && b != nil {
			if t.id, err = parsePartitionMetadata(b); err == nil {
				return t
			}
		}
		if err != nil {
			s.logger.Warn("file ignored", "path", s.fsys.Path(file), "err", err)
		}
	}
	t.id = newTopicID() // of a broker that had no topic ids
	return t
}
