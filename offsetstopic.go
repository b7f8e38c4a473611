package leat

import (
	"context"
	"fmt"
)

// offsetsTopic is Kafka's topic of committed offsets and group metadata.
const offsetsTopic = "__consumer_offsets"

// offsetsSegment is Kafka's offsets.topic.segment.bytes.
const offsetsSegment = 100 << 20

// internalTopics are those that the store keeps its own state in, or that a
// broker's directory has: users read them, and nothing else.
var internalTopics = map[string]bool{
	metadataTopic: true, offsetsTopic: true, "__transaction_state": true, "__share_group_state": true,
}

// refuseInternal is the error for changes of an internal topic.
func refuseInternal(topic string) error {
	if internalTopics[topic] {
		return fmt.Errorf("%w: %q is internal: it can be read only", ErrInvalidTopic, topic)
	}
	return nil
}

// makeOffsetsTopic makes __consumer_offsets, if it is not there.
func (s *Store) makeOffsetsTopic(ctx context.Context) error {
	if s.offsets.view().topic != nil {
		return nil
	}
	if err := s.administer(ctx); err != nil {
		return err
	}
	defer s.administered()
	if s.offsets.view().topic != nil {
		return nil
	}
	_, err := s.addTopic(offsetsTopic, TopicConfig{
		Cleanup: CleanupCompact, SegmentBytes: offsetsSegment, TimestampAfter: Unlimited,
	}.withDefaults(TopicConfig{}))
	return err
}

// checkOffsetsConfig refuses a configuration of __consumer_offsets with which
// commits would be lost, or not be seen.
func checkOffsetsConfig(topic string, c *TopicConfig) error {
	switch {
	case topic != offsetsTopic:
	case c.External != 0:
		return invalidConfig("External (leat.external) is %v: the topic is the store's own", c.External)
	case c.Durability != Synced:
		return invalidConfig("Durability (leat.durability) is %v: what is not durable yet would count as committed", c.Durability)
	case c.Cleanup != CleanupCompact && (c.Retention.Age >= 0 || c.Retention.Bytes >= 0):
		return invalidConfig("Cleanup (cleanup.policy) is %v with a limited Retention: commits would be deleted", c.Cleanup)
	}
	return nil
}
