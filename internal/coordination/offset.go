package coordination

import "github.com/leatlog/leat/internal/fields"

// OffsetKey is the key of a committed offset. Versions 0 and 1 have the same
// fields; 1 is written.
type OffsetKey struct {
	Version      int16
	Group, Topic string
	Partition    int32
}

func (k *OffsetKey) fields(c *fields.Coder) {
	kind(c, &k.Version, KindOldOffset, KindOffset)
	c.String("group", &k.Group)
	c.String("topic", &k.Topic)
	c.Int32("partition", &k.Partition)
}

// OffsetValue is a committed offset. Times are milliseconds since 1970; an
// ExpireTimestamp of -1 is none, and a LeaderEpoch of -1 one not known.
//
//	version  leaderEpoch  expireTimestamp
//	0, 2     no           no
//	1        no           yes
//	3        yes          no
//	4        yes          no               flexible
//
// An epoch that the version has no place for is left out, an expiry refused.
type OffsetValue struct {
	Version         int16
	Offset          int64
	LeaderEpoch     int32
	Metadata        string
	CommitTimestamp int64
	ExpireTimestamp int64
	Tags            []Tag // version 4
}

func (v *OffsetValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 4, 4)
	if c.Reading() {
		v.LeaderEpoch, v.ExpireTimestamp = -1, -1
	}
	c.Int64("offset", &v.Offset)
	if v.Version >= 3 {
		c.Int32("leaderEpoch", &v.LeaderEpoch)
	}
	c.String("metadata", &v.Metadata)
	c.Int64("commitTimestamp", &v.CommitTimestamp)
	if v.Version == 1 {
		c.Int64("expireTimestamp", &v.ExpireTimestamp)
	} else if v.ExpireTimestamp != -1 {
		c.Failf(ErrValue, "version %d has no expireTimestamp", v.Version)
	}
	c.Tags(&v.Tags)
}

func (k *OffsetKey) what() string   { return "key of a committed offset" }
func (v *OffsetValue) what() string { return "committed offset" }

// Commits and their replay come through here in large numbers. These four do what
// Parse and Append do, without an interface, so that nothing escapes to the heap.

// ParseOffsetKey decodes a key of the kinds 0 and 1.
func ParseOffsetKey(b []byte) (k OffsetKey, err error) {
	c := fields.Read(b)
	k.fields(&c)
	_, err = c.End(k.what())
	return k, err
}

// AppendOffsetKey appends the key to dst.
func AppendOffsetKey(dst []byte, k OffsetKey) ([]byte, error) {
	c := fields.Append(dst)
	k.fields(&c)
	return c.End(k.what())
}

// ParseOffsetValue decodes the value of a record of the kinds 0 and 1.
func ParseOffsetValue(b []byte) (v OffsetValue, err error) {
	c := fields.Read(b)
	v.fields(&c)
	_, err = c.End(v.what())
	return v, err
}

// AppendOffsetValue appends the value to dst.
func AppendOffsetValue(dst []byte, v OffsetValue) ([]byte, error) {
	c := fields.Append(dst)
	v.fields(&c)
	return c.End(v.what())
}
