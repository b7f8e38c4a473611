package coordination

import "github.com/leatlog/leat/internal/fields"

// ConsumerProtocol is the protocol type of groups of consumers: their members'
// blobs are a Subscription and an Assignment.
const ConsumerProtocol = "consumer"

// Subscription is what a member of a classic group asks for. As Kafka's clients
// do, a version above 3 is read as far as it is known, and what is behind is kept.
type Subscription struct {
	Version    int16 // 3 is written
	Topics     []string
	UserData   []byte            // nil: null
	Owned      []TopicPartitions // from version 1 on
	Generation int32             // of Owned, from version 2 on; -1: not known
	Rack       *string           // from version 3 on
	Rest       []byte
}

// Assignment is what a member of a classic group was given.
type Assignment struct {
	Version    int16 // 3 is written; all have the same fields
	Partitions []TopicPartitions
	UserData   []byte // nil: null
	Rest       []byte
}

// TopicPartitions are some of a topic's partitions.
type TopicPartitions struct {
	Topic      string
	Partitions []int32
}

func (s *Subscription) fields(c *fields.Coder) {
	blobVersion(c, &s.Version)
	if c.Reading() {
		s.Generation = -1
	}
	c.Strings("topics", &s.Topics)
	c.NullBytes("userData", &s.UserData)
	if s.Version >= 1 {
		topicPartitions(c, "ownedPartitions", &s.Owned)
	}
	if s.Version >= 2 {
		c.Int32("generationId", &s.Generation)
	}
	if s.Version >= 3 {
		c.NullString("rackId", &s.Rack)
	}
	c.Rest("rest", &s.Rest)
}

func (a *Assignment) fields(c *fields.Coder) {
	blobVersion(c, &a.Version)
	topicPartitions(c, "assignedPartitions", &a.Partitions)
	c.NullBytes("userData", &a.UserData)
	c.Rest("rest", &a.Rest)
}

func (s *Subscription) what() string { return "subscription" }
func (a *Assignment) what() string   { return "assignment" }

func blobVersion(c *fields.Coder, v *int16) {
	c.Int16("version", v)
	if *v < 0 {
		c.Failf(ErrFormat, "version %d", *v)
	}
}

func topicPartitions(c *fields.Coder, name string, list *[]TopicPartitions) {
	fields.List(c, name, list, func(p *TopicPartitions) {
		c.String("topic", &p.Topic)
		c.Int32s("partitions", &p.Partitions)
	})
}

// expand shows what is in a blob, or the blob if it is not what it should be.
func expand(c *fields.Coder, name string, b *[]byte, r Record) {
	if Parse(*b, r) != nil {
		c.Bytes(name, b)
		return
	}
	c.Object(name, func() { r.fields(c) })
}

// ParseSubscription decodes GroupMember.Subscription.
func ParseSubscription(b []byte) (s Subscription, err error) {
	err = Parse(b, &s)
	return s, err
}

// AppendSubscription appends the blob to dst.
func AppendSubscription(dst []byte, s Subscription) ([]byte, error) { return Append(dst, &s) }

// ParseAssignment decodes GroupMember.Assignment.
func ParseAssignment(b []byte) (a Assignment, err error) {
	err = Parse(b, &a)
	return a, err
}

// AppendAssignment appends the blob to dst.
func AppendAssignment(dst []byte, a Assignment) ([]byte, error) { return Append(dst, &a) }
