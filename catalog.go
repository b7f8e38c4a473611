package leat

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/log"
)

// The catalog is the set of topics: __metadata, replayed at open and appended to
// by create, delete and adoption. Every record is synced before anything relies
// on it, and is the commit point of what it says.

// metadataID is the id of __metadata in every store, so that it needs no record
// to be found by.
var metadataID = TopicID([]byte("Leat__metadata\x00\x01"))

// metadataSegment is small, for the topic is read whole at each open and a
// segment reserves address space for its full size.
const metadataSegment = 4 << 20

// What __metadata says of topics that came from elsewhere.
const (
	propAdopted = "leat.adopted" // true
	propPresent = "leat.present" // the partitions that there are, if not all
)

// metadataTopicOf is __metadata as a topic of a store.
func metadataTopicOf(s *Store) *Topic {
	return newTopic(s, metadataTopic, metadataID, TopicConfig{
		SegmentBytes: metadataSegment, Cleanup: CleanupCompact, TimestampAfter: Unlimited,
	}.withDefaults(TopicConfig{}))
}

// openCatalog opens __metadata, makes it when there is none, and makes topics of
// what it says. folders are the partition folders in the root.
func (s *Store) openCatalog(folders map[string][]int32) error {
	t := metadataTopicOf(s)
	folder := folderName(metadataTopic, 0)
	if !slices.Contains(folders[metadataTopic], 0) {
		// Somebody may have removed it: what is known of the old one must be gone
		// before there is a new one.
		s.found.keep(func(tp log.TopicPartition) bool { return tp.Topic != metadataTopic })
		if s.state.release(lineKey(metadataID, 0)) || s.found.stale {
			if err := s.checkpoint(); err != nil {
				return err
			}
		}
		if err := s.makeFolders(t, spans{{0, 0}}); err != nil {
			return err
		}
		t.fresh.Store(0)
	} else if err := s.checkFolder(t, folder); err != nil {
		return err
	}
	state := s.openState(t, 0)
	state.Unobserved = true
	l, report, err := log.Open(s.env, folder, t.logConfig(0), state)
	if err != nil {
		return within(s.env.Corrupt(err), "open %s", folder)
	}
	s.meta = l
	if damage := l.Damage(); damage != nil {
		return s.env.Corrupt(damage) // without knowing the topics, nothing can be relied on
	}
	s.report(folder, report)
	s.metaReport = keepReport(report)
	l.Recovered()
	records, adopted, err := s.replay()
	if err != nil {
		return s.env.Corrupt(err)
	}
	if !adopted {
		if err := s.adopt(records, folders); err != nil {
			return err
		}
	}
	for _, r := range records {
		t, err := s.makeTopic(r)
		if err != nil {
			return s.corruptMetadata(err)
		}
		if r.state == topicDeleting {
			s.doomed[r.name] = t
		} else {
			s.mu.topics[r.name] = t
		}
	}
	s.reconcile(folders)
	return nil
}

// replay reads what __metadata says: the latest record of each topic, and
// whether what was in the directory before Leat has been adopted.
func (s *Store) replay() (topics map[string]*topicRecord, adopted bool, err error) {
	topics = map[string]*topicRecord{}
	c := s.meta.NewCursor(s.meta.LogStartOffset())
	defer c.Close()
	err = s.replayTo(c, s.meta.LogEndOffset(), topics, &adopted)
	return topics, adopted, err
}

// replayTo goes on with a replay up to an offset.
func (s *Store) replayTo(c *log.Cursor, end int64, topics map[string]*topicRecord, adopted *bool) error {
	var (
		dec codec.Decoder
		buf []byte
		r   codec.Record
	)
	for {
		b, err := c.Next(end)
		if err == log.ErrWait {
			return nil
		}
		if err != nil {
			return err
		}
		damaged := func(offset int64, err error) error {
			path, pos := c.Position()
			return &CorruptError{Path: path, Position: pos, Offset: offset, Err: err}
		}
		if b.IsControl() {
			continue
		}
		buf, err = codec.Unpack(b, buf, s.env.Coders(), log.MaxUnpacked)
		if err == nil {
			err = dec.Reset(b, buf)
		}
		offset := b.BaseOffset()
		for err == nil {
			if err = dec.Next(&r); err != nil {
				break
			}
			offset = r.Offset
			err = applyMetadata(topics, adopted, &r)
		}
		if !isEOF(err) {
			return damaged(offset, err)
		}
	}
}

// applyMetadata does what one record says.
func applyMetadata(topics map[string]*topicRecord, adopted *bool, r *codec.Record) error {
	kind, name, err := parseMetadataKey(r.Key)
	switch {
	case err != nil:
		return err
	case kind == kindStore:
		*adopted = true
		return parseStore(r.Value)
	case r.Value == nil:
		delete(topics, name)
		return nil
	}
	t, err := parseTopic(name, r.Value)
	if err != nil {
		return err
	}
	// The name becomes a path: it must not lead elsewhere, whoever wrote it.
	if err := checkTopicName(name); err != nil {
		return fmt.Errorf("%w: %w", errMetadata, err)
	}
	topics[name] = t
	return nil
}

// corruptMetadata is for what cannot be understood of records that are whole.
func (s *Store) corruptMetadata(err error) error {
	return &CorruptError{Path: s.fsys.Path(folderName(metadataTopic, 0)), Offset: -1, Err: err}
}

// commit appends to __metadata. It does not end with a caller's context: whether
// a create or a delete happened must not be left open.
func (s *Store) commit(records ...log.Record) error {
	_, err := s.meta.Append(context.Background(), records, log.Synced)
	s.touch()
	return err
}

// makeTopic makes a topic of its record.
func (s *Store) makeTopic(r *topicRecord) (*Topic, error) {
	var now settings
	t := newTopic(s, r.name, r.id, TopicConfig{})
	for _, p := range r.pairs {
		switch p.name {
		case propAdopted:
			t.adopted = p.value == "true"
		case propPresent:
			present, err := parseSpans(p.value)
			if err != nil {
				return nil, fmt.Errorf("topic %q: %w", r.name, err)
			}
			now.present = present
		default:
			if findProperty(p.name) == nil {
				t.unknown = append(t.unknown, p)
			} else if err := now.config.set(p.name, p.value); err != nil {
				return nil, fmt.Errorf("topic %q: %w", r.name, err)
			}
		}
	}
	now.config = now.config.withDefaults(TopicConfig{})
	if err := now.config.check(); err != nil {
		return nil, fmt.Errorf("topic %q: %w", r.name, err)
	}
	now.config.Partitions = r.partitions // not checked: an adopted topic has those that were found
	t.settings.Store(&now)
	return t, nil
}

// record is the reverse of makeTopic, for a topic that is as it is, or is to get
// other settings.
func (t *Topic) record(now *settings, state topicState) (log.Record, error) {
	r := topicRecord{name: t.name, id: t.id, partitions: now.config.Partitions, state: state}
	for _, p := range properties {
		r.pairs = append(r.pairs, pair{p.name, p.format(&now.config)})
	}
	if t.adopted {
		r.pairs = append(r.pairs, pair{propAdopted, "true"})
	}
	if now.present != nil {
		r.pairs = append(r.pairs, pair{propPresent, now.present.String()})
	}
	r.pairs = append(r.pairs, t.unknown...)
	value, err := r.value()
	return log.Record{Key: topicKey(t.name), Value: value}, err
}

// reconcile compares the topics with the folders there are: what is to be
// deleted is deleted, marks of partitions that are gone are freed, and folders
// of no topic are named in the log.
func (s *Store) reconcile(folders map[string][]int32) {
	for _, name := range slices.Sorted(maps.Keys(s.doomed)) {
		if err := s.finishDelete(s.doomed[name]); err != nil {
			s.logger.Warn("topic not deleted yet", "topic", name, "err", err)
		}
		delete(folders, name)
	}
	s.found.keep(func(tp log.TopicPartition) bool {
		t := s.mu.topics[tp.Topic]
		return tp.Topic == metadataTopic || t != nil && t.has(tp.Partition)
	})
	keys := map[uint64]bool{lineKey(metadataID, 0): true}
	for name, ids := range folders {
		t := s.mu.topics[name]
		for _, id := range ids {
			if t != nil && t.has(id) {
				keys[lineKey(t.id, id)] = true
			} else if name != metadataTopic {
				s.ownerless(folderName(name, id))
			}
		}
	}
	s.state.keep(keys)
}
