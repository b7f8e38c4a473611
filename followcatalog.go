package leat

import (
	"errors"
	"io/fs"
	"maps"
	"time"

	"github.com/leatlog/leat/log"
)

// lookEvery bounds how often polls of partitions look for news of topics.
const lookEvery = 100 * time.Millisecond

// look brings the topics up to date. now says that the caller wants what is true
// now; others do it now and then. It tells whether it could: not while the writer
// recovers.
func (f *following) look(now bool) bool {
	if f == nil || f.s.enter() != nil {
		return false
	}
	defer f.s.leave()
	if !now && time.Since(time.Unix(0, f.looked.Load())) < lookEvery {
		return false
	}
	if now {
		f.turn <- struct{}{}
	} else {
		select {
		case f.turn <- struct{}{}:
		default:
			return false // somebody else is at it
		}
	}
	defer func() { <-f.turn }()
	if since := time.Since(time.Unix(0, f.looked.Load())); since >= lookEvery {
		f.looked.Store(time.Now().UnixNano())
		f.state.refresh()
	}
	if err := f.catalog(); err != nil {
		// What is known stays, and the next look tries again.
		f.s.logger.Warn("topics cannot be read", "err", err)
		return false
	}
	return !f.stale
}

// catalog replays what is new in __metadata. The caller has the turn, or is
// opening the store.
func (f *following) catalog() error {
	if f.meta == nil {
		if err := f.openMeta(); err != nil {
			return err
		}
	}
	if f.meta == nil {
		return f.apply(map[string]*topicRecord{}, false)
	}
	f.meta.Poll()
	// Who has not looked for that long may have missed that a topic was deleted:
	// the tombstone that says so may be gone as well.
	now := time.Now()
	if now.Sub(f.read) >= defaults.Compaction.TombstoneRetain {
		f.stale = true
	}
	for range 3 {
		if f.stale || f.cur.Restarted() {
			f.cur.Restart()
			f.cur.SeekTo(f.meta.LogStartOffset())
			f.records, f.adopted, f.end, f.stale = map[string]*topicRecord{}, false, -1, false
		}
		end := f.meta.Visible(false)
		if end == f.end && !f.cur.Restarted() {
			f.read = now
			return nil
		}
		err := f.s.replayTo(f.cur, end, f.records, &f.adopted)
		if err == log.ErrRestarted {
			f.stale = true
			continue
		}
		if err != nil {
			f.stale = true
			return err
		}
		f.end, f.read = end, now
		return f.apply(f.records, f.adopted)
	}
	return nil // the writer is recovering
}

// openMeta opens __metadata when there is one.
func (f *following) openMeta() error {
	s := f.s
	t := metadataTopicOf(s)
	folder := folderName(metadataTopic, 0)
	if _, err := s.fsys.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	_, start, _ := s.found.of(log.TopicPartition{Topic: metadataTopic})
	l, err := log.OpenFollower(s.env, folder, t.logConfig(0), log.FollowState{
		Told: f.state.teller(lineKey(metadataID, 0)), StartOffset: start, Sound: true,
	})
	if err != nil {
		return err
	}
	f.meta, f.cur, f.stale = l, l.NewCursor(l.LogStartOffset()), true
	return nil
}

// apply makes the topics what the records say. Of a directory that no writer has
// adopted yet, the folders say it.
func (f *following) apply(records map[string]*topicRecord, adopted bool) error {
	s := f.s
	made := map[string]*Topic{}
	for name, r := range records {
		if r.state == topicDeleting {
			continue
		}
		s.mu.RLock()
		old := s.mu.topics[name]
		s.mu.RUnlock()
		if old != nil && f.shown[name] == r {
			made[name] = old
			continue
		}
		t, err := s.makeTopic(r)
		if err != nil {
			return s.corruptMetadata(err)
		}
		made[name] = t
	}
	if !adopted {
		list, err := s.fsys.ReadDir(".")
		if err != nil {
			return err
		}
		folders := map[string][]int32{}
		for _, e := range list {
			if topic, id, ok := parseFolder(e.Name); ok && e.IsDir() && topic != metadataTopic && records[topic] == nil {
				folders[topic] = append(folders[topic], id)
			}
		}
		s.mu.RLock()
		known := maps.Clone(s.mu.topics)
		s.mu.RUnlock()
		for name, ids := range folders {
			t := s.adopted(name, ids)
			if old := known[name]; old != nil && old.adopted {
				t.id = old.id // where none is written, one was drawn
			}
			made[name] = t
		}
	}
	f.shown = maps.Clone(records)
	f.replace(made)
	return nil
}

// replace makes the topics those made, keeping what is the same topic.
func (f *following) replace(made map[string]*Topic) {
	s := f.s
	var gone []*Topic
	s.mu.Lock()
	for name, old := range s.mu.topics {
		if t := made[name]; t == nil || t.id != old.id {
			gone = append(gone, old)
			delete(s.mu.topics, name)
		}
	}
	for name, t := range made {
		old := s.mu.topics[name]
		switch {
		case old == nil:
			s.mu.topics[name] = t
		case old != t:
			old.become(t)
		}
	}
	s.mu.Unlock()
	for _, t := range gone {
		t.deleted.Store(true)
		for _, p := range t.handles() {
			p.opening <- struct{}{}
			if l := p.log.Load(); l != nil {
				l.Abandon()
			}
			<-p.opening
		}
	}
	s.topicsChanged()
}

// become takes over what another process has changed of the topic.
func (t *Topic) become(n *Topic) {
	t.settings.Store(n.settings.Load())
	for _, p := range t.handles() {
		if l := p.log.Load(); l != nil {
			l.Follow(t.logConfig(p.id))
		}
	}
}
