package coordination

import "github.com/leatlog/leat/internal/fields"

// The records of the newer group protocol (KIP-848), in which the coordinator
// assigns. Leat makes none; those that a Kafka broker left are kept, and shown.
// All their values are of version 0, which is flexible: what newer brokers added
// are tagged fields.

// ConsumerGroupKey is the key of a ConsumerGroupValue, of kind 3.
type ConsumerGroupKey struct{ groupOf }

// PartitionMetadataKey is the key of a PartitionMetadataValue, of kind 4.
type PartitionMetadataKey struct{ groupOf }

// MemberMetadataKey is the key of a MemberMetadataValue, of kind 5.
type MemberMetadataKey struct{ memberOf }

// TargetAssignmentKey is the key of a TargetAssignmentValue, of kind 6.
type TargetAssignmentKey struct{ groupOf }

// TargetAssignmentMemberKey is the key of a TargetAssignmentMemberValue, of kind 7.
type TargetAssignmentMemberKey struct{ memberOf }

// CurrentAssignmentKey is the key of a CurrentAssignmentValue, of kind 8.
type CurrentAssignmentKey struct{ memberOf }

type groupOf struct {
	Version int16 // the kind
	Group   string
}

type memberOf struct {
	groupOf
	Member string
}

func (k *groupOf) groupFields(c *fields.Coder, is int16) {
	kind(c, &k.Version, is, is)
	c.String("groupId", &k.Group)
}

func (k *memberOf) memberFields(c *fields.Coder, is int16) {
	k.groupFields(c, is)
	c.String("memberId", &k.Member)
}

func (k *ConsumerGroupKey) fields(c *fields.Coder)     { k.groupFields(c, KindConsumerGroup) }
func (k *PartitionMetadataKey) fields(c *fields.Coder) { k.groupFields(c, KindPartitionMetadata) }
func (k *MemberMetadataKey) fields(c *fields.Coder)    { k.memberFields(c, KindMemberMetadata) }
func (k *TargetAssignmentKey) fields(c *fields.Coder)  { k.groupFields(c, KindTargetAssignment) }
func (k *TargetAssignmentMemberKey) fields(c *fields.Coder) {
	k.memberFields(c, KindTargetAssignmentMember)
}
func (k *CurrentAssignmentKey) fields(c *fields.Coder) { k.memberFields(c, KindCurrentAssignment) }

func (k *groupOf) what() string { return "key of a consumer group" }

// ConsumerGroupValue is a consumer group.
type ConsumerGroupValue struct {
	Version int16
	Epoch   int32
	Tags    []Tag
}

func (v *ConsumerGroupValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 0, 0)
	c.Int32("epoch", &v.Epoch)
	c.Tags(&v.Tags)
}

// PartitionMetadataValue is what a consumer group knew of its topics.
type PartitionMetadataValue struct {
	Version int16
	Topics  []TopicMetadata
	Tags    []Tag
}

// TopicMetadata is a topic of a PartitionMetadataValue.
type TopicMetadata struct {
	ID         [16]byte
	Name       string
	Partitions int32
	Racks      []PartitionRacks
	Tags       []Tag
}

// PartitionRacks are the racks in which a partition has a replica.
type PartitionRacks struct {
	Partition int32
	Racks     []string
	Tags      []Tag
}

func (v *PartitionMetadataValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 0, 0)
	fields.List(c, "topics", &v.Topics, func(t *TopicMetadata) {
		c.ID("topicId", &t.ID)
		c.String("topicName", &t.Name)
		c.Int32("numPartitions", &t.Partitions)
		fields.List(c, "partitionMetadata", &t.Racks, func(p *PartitionRacks) {
			c.Int32("partition", &p.Partition)
			c.Strings("racks", &p.Racks)
			c.Tags(&p.Tags)
		})
		c.Tags(&t.Tags)
	})
	c.Tags(&v.Tags)
}

// MemberMetadataValue is a member of a consumer group.
type MemberMetadataValue struct {
	Version              int16
	InstanceID, RackID   *string
	ClientID, ClientHost string
	Topics               []string
	TopicRegex           *string
	RebalanceTimeout     int32 // ms; -1: none
	ServerAssignor       *string
	Classic              *ClassicMember // nil unless it uses the classic protocol
	Tags                 []Tag
}

// ClassicMember is what a member that uses the classic protocol said of itself.
type ClassicMember struct {
	SessionTimeout int32 // ms
	Protocols      []ClassicProtocol
	Tags           []Tag
}

// ClassicProtocol is a way of assignment that a ClassicMember supports, and its
// Subscription.
type ClassicProtocol struct {
	Name     string
	Metadata []byte
	Tags     []Tag
}

func (v *MemberMetadataValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 0, 0)
	c.NullString("instanceId", &v.InstanceID)
	c.NullString("rackId", &v.RackID)
	c.String("clientId", &v.ClientID)
	c.String("clientHost", &v.ClientHost)
	c.Strings("subscribedTopicNames", &v.Topics)
	c.NullString("subscribedTopicRegex", &v.TopicRegex)
	c.Int32("rebalanceTimeoutMs", &v.RebalanceTimeout)
	c.NullString("serverAssignor", &v.ServerAssignor)
	c.Tags(&v.Tags, fields.Tagged{Number: 0, Set: v.Classic != nil, Fields: func() {
		fields.NullObject(c, "classicMemberMetadata", &v.Classic, func(m *ClassicMember) {
			c.Int32("sessionTimeoutMs", &m.SessionTimeout)
			fields.List(c, "supportedProtocols", &m.Protocols, func(p *ClassicProtocol) {
				c.String("name", &p.Name)
				if c.Expand {
					expand(c, "metadata", &p.Metadata, new(Subscription))
				} else {
					c.Bytes("metadata", &p.Metadata)
				}
				c.Tags(&p.Tags)
			})
			c.Tags(&m.Tags)
		})
	}})
}

// TargetAssignmentValue says of which epoch a consumer group's target is.
type TargetAssignmentValue struct {
	Version int16
	Epoch   int32
	Tags    []Tag
}

func (v *TargetAssignmentValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 0, 0)
	c.Int32("assignmentEpoch", &v.Epoch)
	c.Tags(&v.Tags)
}

// AssignedTopic are partitions of a topic, by its id.
type AssignedTopic struct {
	ID         [16]byte
	Partitions []int32
	Tags       []Tag
}

func assignedTopics(c *fields.Coder, name string, list *[]AssignedTopic) {
	fields.List(c, name, list, func(t *AssignedTopic) {
		c.ID("topicId", &t.ID)
		c.Int32s("partitions", &t.Partitions)
		c.Tags(&t.Tags)
	})
}

// TargetAssignmentMemberValue is what a member is to have.
type TargetAssignmentMemberValue struct {
	Version int16
	Topics  []AssignedTopic
	Tags    []Tag
}

func (v *TargetAssignmentMemberValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 0, 0)
	assignedTopics(c, "topicPartitions", &v.Topics)
	c.Tags(&v.Tags)
}

// CurrentAssignmentValue is what a member has, and gives up.
type CurrentAssignmentValue struct {
	Version            int16
	Epoch              int32
	PreviousEpoch      int32
	State              int8 // 0 stable, 1 has yet to give up some, 2 waits for some
	Assigned, Revoking []AssignedTopic
	Tags               []Tag
}

func (v *CurrentAssignmentValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 0, 0)
	c.Int32("memberEpoch", &v.Epoch)
	c.Int32("previousMemberEpoch", &v.PreviousEpoch)
	c.Int8("state", &v.State)
	assignedTopics(c, "assignedPartitions", &v.Assigned)
	assignedTopics(c, "partitionsPendingRevocation", &v.Revoking)
	c.Tags(&v.Tags)
}

func (v *ConsumerGroupValue) what() string          { return "consumer group" }
func (v *PartitionMetadataValue) what() string      { return "partition metadata of a consumer group" }
func (v *MemberMetadataValue) what() string         { return "member of a consumer group" }
func (v *TargetAssignmentValue) what() string       { return "target assignment of a consumer group" }
func (v *TargetAssignmentMemberValue) what() string { return "target assignment of a member" }
func (v *CurrentAssignmentValue) what() string      { return "current assignment of a member" }
