package coordination

import "github.com/leatlog/leat/internal/fields"

// GroupKey is the key of a group's metadata, of kind 2.
type GroupKey struct {
	Version int16
	Group   string
}

func (k *GroupKey) fields(c *fields.Coder) {
	kind(c, &k.Version, KindGroup, KindGroup)
	c.String("group", &k.Group)
}

// GroupValue is a generation of a classic group: who its members are and what
// each of them has. Protocol and Leader are nil in a group without members.
type GroupValue struct {
	Version               int16 // 3 is written
	ProtocolType          string
	Generation            int32
	Protocol, Leader      *string
	CurrentStateTimestamp int64 // ms, since when the group is in its state; -1 before version 2
	Members               []GroupMember
	Tags                  []Tag // version 4
}

// GroupMember is a member of a GroupValue. In a group of the ConsumerProtocol,
// Subscription and Assignment are blobs that ParseSubscription and ParseAssignment
// decode.
type GroupMember struct {
	ID                       string
	InstanceID               *string // from version 3 on
	ClientID, ClientHost     string
	RebalanceTimeout         int32 // ms; 0 in version 0, where the session timeout holds
	SessionTimeout           int32 // ms
	Subscription, Assignment []byte
	Tags                     []Tag // version 4
}

func (v *GroupValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 4, 4)
	if c.Reading() {
		v.CurrentStateTimestamp = -1
	}
	c.String("protocolType", &v.ProtocolType)
	c.Int32("generation", &v.Generation)
	c.NullString("protocol", &v.Protocol)
	c.NullString("leader", &v.Leader)
	if v.Version >= 2 {
		c.Int64("currentStateTimestamp", &v.CurrentStateTimestamp)
	}
	fields.List(c, "members", &v.Members, func(m *GroupMember) {
		c.String("memberId", &m.ID)
		if v.Version >= 3 {
			c.NullString("groupInstanceId", &m.InstanceID)
		}
		c.String("clientId", &m.ClientID)
		c.String("clientHost", &m.ClientHost)
		if v.Version >= 1 {
			c.Int32("rebalanceTimeout", &m.RebalanceTimeout)
		}
		c.Int32("sessionTimeout", &m.SessionTimeout)
		if c.Expand && v.ProtocolType == ConsumerProtocol {
			expand(c, "subscription", &m.Subscription, new(Subscription))
			expand(c, "assignment", &m.Assignment, new(Assignment))
		} else {
			c.Bytes("subscription", &m.Subscription)
			c.Bytes("assignment", &m.Assignment)
		}
		c.Tags(&m.Tags)
	})
	c.Tags(&v.Tags)
}

func (k *GroupKey) what() string   { return "key of a group" }
func (v *GroupValue) what() string { return "group" }

// ParseGroupKey decodes a key of kind 2.
func ParseGroupKey(b []byte) (k GroupKey, err error) {
	err = Parse(b, &k)
	return k, err
}

// AppendGroupKey appends the key to dst.
func AppendGroupKey(dst []byte, k GroupKey) ([]byte, error) { return Append(dst, &k) }

// ParseGroupValue decodes the value of a record of kind 2.
func ParseGroupValue(b []byte) (v GroupValue, err error) {
	err = Parse(b, &v)
	return v, err
}

// AppendGroupValue appends the value to dst.
func AppendGroupValue(dst []byte, v GroupValue) ([]byte, error) { return Append(dst, &v) }
