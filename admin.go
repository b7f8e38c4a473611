package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// CreateTopic makes a topic. When it returns nil the topic survives a power cut;
// after an error there is none, or, when the disk failed at the moment of the
// decision, the next Open tells.
//
// ErrTopicExists: there is one of that name, or a folder with data where one of
// its partitions would be. ErrInvalidTopic: the name is not allowed.
// ErrInvalidConfig: a value is out of range.
func (s *Store) CreateTopic(ctx context.Context, name string, c TopicConfig) (*Topic, error) {
	if err := s.administer(ctx); err != nil {
		return nil, err
	}
	defer s.administered()
	c = c.withDefaults(s.opts.Topic)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("topic %q: %w", name, err)
	}
	// Only administer's holder changes the topics, so that what is seen here
	// holds until the end.
	s.mu.RLock()
	taken := maps.Clone(s.mu.topics)
	s.mu.RUnlock()
	if err := checkNewTopicName(name, c.Partitions, maps.Keys(taken)); err != nil {
		return nil, err
	}
	if taken[name] != nil {
		return nil, fmt.Errorf("%w: %q", ErrTopicExists, name)
	}
	if t := s.doomed[name]; t != nil {
		if err := s.finishDelete(t); err != nil {
			return nil, fmt.Errorf("topic %q is being deleted: %w", name, err)
		}
	}
	if s.found.stale {
		if err := s.checkpoint(); err != nil {
			return nil, openError(err)
		}
	}
	t := &Topic{store: s, name: name, id: newTopicID(), config: c, fresh: true}
	record, err := t.record(topicLive)
	if err != nil {
		return nil, err
	}
	if err := s.makeFolders(t); err != nil {
		return nil, openError(err)
	}
	if err := s.commit(record); err != nil {
		if errors.Is(err, ErrNoSpace) || errors.Is(err, ErrRecordTooLarge) {
			s.removeFolders(t) // nothing was written; otherwise the record may be there, and needs them
		}
		return nil, err
	}
	s.mu.Lock()
	s.mu.topics[name] = t
	s.mu.Unlock()
	s.armRetention()
	return t, nil
}

// DeleteTopic deletes a topic and all its records. When it returns nil it is
// gone for good, a power cut included. Readers keep what they have; what they do
// next is ErrUnknownTopic. When files cannot be removed the topic is gone all
// the same, and the next Open, DeleteTopic or CreateTopic of that name tries
// again.
func (s *Store) DeleteTopic(ctx context.Context, name string) error {
	if err := s.administer(ctx); err != nil {
		return err
	}
	defer s.administered()
	t := s.doomed[name]
	if t == nil {
		s.mu.RLock()
		t = s.mu.topics[name]
		s.mu.RUnlock()
		if t == nil {
			return unknownTopic(name)
		}
		record, err := t.record(topicDeleting)
		if err != nil {
			return err
		}
		if err := s.commit(record); err != nil {
			return err
		}
		s.doomed[name] = t
		t.deleted.Store(true)
		s.mu.Lock()
		delete(s.mu.topics, name)
		s.mu.Unlock()
	}
	if err := s.finishDelete(t); err != nil {
		return fmt.Errorf("topic %q is deleted, its files are not: %w", name, err)
	}
	return nil
}

// makeFolders makes a folder for each partition, with partition.metadata in it,
// durably. Folders that a create left which was never committed are replaced.
func (s *Store) makeFolders(t *Topic) (err error) {
	made := int32(0)
	defer func() {
		for id := range made {
			if err != nil {
				_ = log.RemoveFolder(s.env, folderName(t.name, id)) // the cause is what counts
			}
		}
	}()
	for id := range t.config.Partitions {
		folder := folderName(t.name, id)
		err := s.fsys.Mkdir(folder)
		if errors.Is(err, fs.ErrExist) {
			if err = s.removeLeftover(folder); err == nil {
				err = s.fsys.Mkdir(folder)
			}
		}
		if err != nil {
			return err
		}
		made = id + 1
		f, err := s.fsys.Create(folder + "/" + partitionMetadata)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(formatPartitionMetadata(t.id), 0)
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := s.fsys.SyncDir(folder); err != nil {
			return err
		}
	}
	return s.fsys.SyncDir(".")
}

// removeLeftover removes the folder of a partition that nobody knows, unless
// there is anything in it that a create would not have put there.
func (s *Store) removeLeftover(folder string) error {
	list, err := s.fsys.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range list {
		_, _, ours := segment.ParseName(e.Name)
		ours = ours || e.Name == partitionMetadata
		if !e.Mode.IsRegular() || !ours || e.Size > 0 && e.Name != partitionMetadata {
			return fmt.Errorf("%w: %s has data in it, of no topic: %s", ErrTopicExists, s.fsys.Path(folder), e.Name)
		}
	}
	return log.RemoveFolder(s.env, folder)
}

// finishDelete removes what is left of a topic whose deletion is decided.
func (s *Store) finishDelete(t *Topic) error {
	for _, p := range t.handles() {
		p.opening <- struct{}{}
		if l := p.log.Load(); l != nil && !p.removed {
			if err := l.Delete(); err != nil {
				<-p.opening
				return err
			}
			p.removed = true
		}
		<-p.opening
	}
	if err := s.removeFolders(t); err != nil {
		return err
	}
	// What the checkpoints say of it must not be taken for a later topic's of the
	// same name: CreateTopic looks whether they still do.
	s.found.keep(func(tp log.TopicPartition) bool { return tp.Topic != t.name })
	if err := s.commit(log.Record{Key: topicKey(t.name)}); err != nil {
		return err
	}
	delete(s.doomed, t.name)
	return nil
}

// removeFolders removes the folders of a topic, those that are there.
func (s *Store) removeFolders(t *Topic) error {
	list, err := s.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range list {
		if name, id, ok := parseFolder(e.Name); ok && name == t.name && t.has(id) && e.IsDir() {
			if err := log.RemoveFolder(s.env, e.Name); err != nil {
				return err
			}
			s.state.release(lineKey(t.id, id))
		}
	}
	return s.fsys.SyncDir(".")
}
