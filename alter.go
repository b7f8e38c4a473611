package leat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// SetConfig replaces the configuration. When it returns nil the new one is
// stored, survives a power cut, and holds for what is appended, read, rolled and
// cleaned from now on; stored batches stay as they are. To change some of it,
// begin with Config: what that returns can be set back as it is. A zero field is
// the default that its comment names; Options.Topic is for topics that are
// created. The number of partitions stays: 0 and the one there is are allowed.
//
// The high watermark never goes back. So a topic that becomes Synced is synced
// first, and one whose watermark a wrapper takes over has it where it was.
//
// ErrInvalidConfig: a value is not allowed, and nothing has changed.
// ErrUnknownTopic: it was deleted. ErrFailed: the configuration is stored, but a
// partition could not be synced and needs Partition.Reopen.
func (t *Topic) SetConfig(ctx context.Context, c TopicConfig) error {
	return t.alter(ctx, func(now *settings) error {
		if c.Partitions != 0 && c.Partitions != now.config.Partitions {
			return invalidConfig("Partitions is %d: there are %d, and AddPartitions makes more", c.Partitions, now.config.Partitions)
		}
		n := now.config.Partitions
		c.Partitions = 0 // an adopted topic may have more than a create allows
		full, err := c.complete(TopicConfig{})
		full.Partitions = n
		now.config = full
		return err
	})
}

// SetProperties changes the named properties (as in ParseTopicConfig) and puts
// those listed in reset back to what a new topic would get. All others stay. This
// is what Kafka's IncrementalAlterConfigs does, with SET and DELETE. It holds
// what SetConfig holds, and a name that is in both lists is ErrInvalidConfig.
func (t *Topic) SetProperties(ctx context.Context, set map[string]string, reset ...string) error {
	standard := TopicConfig{}.withDefaults(t.store.opts.Topic)
	return t.alter(ctx, func(now *settings) error {
		c := &now.config
		for _, name := range slices.Sorted(maps.Keys(set)) {
			if err := c.set(name, set[name]); err != nil {
				return err
			}
		}
		for _, name := range reset {
			p := findProperty(name)
			if p == nil {
				return unknownProperty(name)
			}
			if _, both := set[name]; both {
				return invalidConfig("%s is to be set and to be reset", name)
			}
			p.parse(c, p.format(&standard))
		}
		return c.checkTogether()
	})
}

// AddPartitions makes n more partitions, numbered from the present count on. When
// it returns nil they survive a power cut. Keys map to other partitions from then
// on: the order of one key's records holds before and after, not across.
//
// ErrInvalidConfig: n is not 1 at least, or there would be more than 100,000.
// ErrTopicExists: there is a folder with data where one of them would be.
// ErrInvalidTopic: an internal topic.
func (t *Topic) AddPartitions(ctx context.Context, n int32) error {
	s := t.store
	if s.follow == nil {
		if err := refuseInternal(t.name); err != nil {
			return err
		}
	}
	if err := s.administer(ctx); err != nil {
		return err
	}
	defer s.administered()
	if err := t.usable(); err != nil {
		return err
	}
	now := *t.settings.Load()
	from := now.config.Partitions
	if n < 1 || int64(from)+int64(n) > maxPartitions {
		return invalidConfig("%d partitions more for %s, which has %d: allowed are 1 to %d in all", n, t.name, from, maxPartitions)
	}
	now.config.Partitions += n
	if err := checkFolderName(t.name, now.config.Partitions); err != nil {
		return err
	}
	added := spans{{from, from + n - 1}}
	if now.present != nil {
		now.present = makeSpans(append(slices.Collect(now.present.all()), slices.Collect(added.all())...))
	}
	t.fresh.Store(min(t.fresh.Load(), from))
	if err := s.addFolders(t, &now, added); err != nil {
		return within(err, "topic %q", t.name)
	}
	t.replace(&now)
	s.topicsChanged()
	return nil
}

// alter commits what change makes of the settings, and applies it.
func (t *Topic) alter(ctx context.Context, change func(*settings) error) error {
	s := t.store
	if err := s.administer(ctx); err != nil {
		return err
	}
	defer s.administered()
	if err := t.usable(); err != nil {
		return err
	}
	now := *t.settings.Load()
	now.config = t.Config() // nothing shared with what others read
	if err := change(&now); err != nil {
		return within(err, "topic %q", t.name)
	}
	if err := checkOffsetsConfig(t.name, &now.config); err != nil {
		return within(err, "topic %q", t.name)
	}
	record, err := t.record(&now, topicLive)
	if err != nil {
		return err
	}
	if err := s.commit(record); err != nil {
		return within(err, "topic %q", t.name)
	}
	err = t.apply(&now)
	s.armCleaner(cleanInterval) // it may be to be compacted from now on
	if err != nil {
		return within(err, "topic %q is configured", t.name)
	}
	return nil
}

// replace publishes settings that are committed.
func (t *Topic) replace(now *settings) {
	t.mu.Lock() // no handle is made of the old ones afterwards
	defer t.mu.Unlock()
	t.settings.Store(now)
	for _, p := range t.mu.partitions {
		p.keyed.Store(t.keyed(&now.config))
	}
}

// apply publishes settings and brings them to the partitions that are open. One
// that is being opened is waited for: it may have begun with the old ones.
func (t *Topic) apply(now *settings) error {
	t.replace(now)
	var errs []error
	for _, p := range t.handles() {
		p.opening <- struct{}{}
		if l := p.log.Load(); l != nil {
			if err := l.Configure(t.logConfig(p.id)); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p, err))
			}
		}
		<-p.opening
	}
	return errors.Join(errs...)
}
