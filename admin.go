package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/leatlog/leat/log"
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
	c, err := c.complete(s.opts.Topic)
	if err != nil {
		return nil, within(err, "topic %q", name)
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
	return s.addTopic(name, c)
}

// addTopic makes a topic of a name that nobody has.
func (s *Store) addTopic(name string, c TopicConfig) (*Topic, error) {
	if err := s.finishDoomed(name); err != nil {
		return nil, err
	}
	t := newTopic(s, name, newTopicID(), c)
	t.fresh.Store(0)
	if err := s.addFolders(t, t.settings.Load(), spans{{0, c.Partitions - 1}}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.mu.topics[name] = t
	s.mu.Unlock()
	s.armRetention()
	s.armCleaner(cleanInterval)
	s.topicsChanged()
	return t, nil
}

// DeleteTopic deletes a topic and all its records. When it returns nil it is
// gone for good, a power cut included. Readers keep what they have; what they do
// next is ErrUnknownTopic. When files cannot be removed the topic is gone all
// the same, and the next Open, DeleteTopic or CreateTopic of that name tries
// again.
//
// What groups have committed of it is forgotten with it. ErrInvalidTopic: it is
// one of the store's own.
func (s *Store) DeleteTopic(ctx context.Context, name string) error {
	if s.follow == nil {
		if err := refuseInternal(name); err != nil {
			return err
		}
	}
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
		record, err := t.record(t.settings.Load(), topicDeleting)
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
		s.topicsChanged()
	}
	if err := s.finishDelete(t); err != nil {
		return within(err, "topic %q is deleted, its files are not", name)
	}
	return nil
}

// addFolders makes the folders of partitions and then commits the settings that
// have them. A crash in between leaves folders of no topic, which the next open
// removes.
func (s *Store) addFolders(t *Topic, now *settings, ids spans) error {
	if s.found.stale {
		if err := s.checkpoint(); err != nil {
			return openError(err)
		}
	}
	record, err := t.record(now, topicLive)
	if err != nil {
		return err
	}
	if err := s.makeFolders(t, ids); err != nil {
		return openError(err)
	}
	if err := s.commit(record); err != nil {
		if nothingWritten(err) {
			_ = s.dropFolders(t, ids.has) // the cause is what counts
		}
		return err
	}
	return nil
}

// nothingWritten tells whether a commit that failed is known not to have
// happened. Otherwise the record may be there, and needs what was made for it.
func nothingWritten(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, ErrRecordTooLarge)
}

// makeFolders makes a folder for each of the partitions, with partition.metadata
// in it, durably. Folders that a create left which was never committed are
// replaced.
func (s *Store) makeFolders(t *Topic, ids spans) (err error) {
	var made []string
	defer func() {
		for _, folder := range made {
			if err != nil {
				_ = log.RemoveFolder(s.env, folder) // the cause is what counts
			}
		}
	}()
	for id := range ids.all() {
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
		made = append(made, folder)
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

// finishDoomed finishes the deletion of a topic whose name is wanted.
func (s *Store) finishDoomed(name string) error {
	if t := s.doomed[name]; t != nil {
		if err := s.finishDelete(t); err != nil {
			return within(err, "topic %q is being deleted", name)
		}
	}
	return nil
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
	if err := s.forgetTopicOffsets(t.name); err != nil {
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
func (s *Store) removeFolders(t *Topic) error { return s.dropFolders(t, t.has) }

func (s *Store) dropFolders(t *Topic, has func(int32) bool) error {
	list, err := s.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range list {
		if name, id, ok := parseFolder(e.Name); ok && name == t.name && has(id) && e.IsDir() {
			if err := log.RemoveFolder(s.env, e.Name); err != nil {
				return err
			}
			s.state.release(lineKey(t.id, id))
		}
	}
	return s.fsys.SyncDir(".")
}
