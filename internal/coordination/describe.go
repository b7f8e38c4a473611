package coordination

import (
	"fmt"

	"github.com/leatlog/leat/internal/fields"
)

// Description is a record of an internal topic for people. Fields are the members
// of a JSON object with Kafka's names.
type Description struct {
	Type         string // Kafka's name for the kind, like OffsetCommit; empty if it is not known
	KeyVersion   int16
	Key          string // as JSON
	ValueVersion int16
	Value        string // as JSON; "null" for a tombstone, empty if it cannot be told
}

type recordType struct {
	name       string
	key, value func() Record
}

var offsetTypes = [...]recordType{
	KindOldOffset:              {"OffsetCommit", record[OffsetKey], record[OffsetValue]},
	KindOffset:                 {"OffsetCommit", record[OffsetKey], record[OffsetValue]},
	KindGroup:                  {"GroupMetadata", record[GroupKey], record[GroupValue]},
	KindConsumerGroup:          {"ConsumerGroupMetadata", record[ConsumerGroupKey], record[ConsumerGroupValue]},
	KindPartitionMetadata:      {"ConsumerGroupPartitionMetadata", record[PartitionMetadataKey], record[PartitionMetadataValue]},
	KindMemberMetadata:         {"ConsumerGroupMemberMetadata", record[MemberMetadataKey], record[MemberMetadataValue]},
	KindTargetAssignment:       {"ConsumerGroupTargetAssignmentMetadata", record[TargetAssignmentKey], record[TargetAssignmentValue]},
	KindTargetAssignmentMember: {"ConsumerGroupTargetAssignmentMember", record[TargetAssignmentMemberKey], record[TargetAssignmentMemberValue]},
	KindCurrentAssignment:      {"ConsumerGroupCurrentMemberAssignment", record[CurrentAssignmentKey], record[CurrentAssignmentValue]},
}

var transactionTypes = [...]recordType{
	{"TransactionLog", record[TransactionKey], record[TransactionValue]},
}

func record[T any, P interface {
	*T
	Record
}]() Record {
	return P(new(T))
}

// DescribeOffset describes a record of __consumer_offsets; value is nil for a
// tombstone. With an error it says what can be told.
func DescribeOffset(key, value []byte) (Description, error) {
	return describe(offsetTypes[:], key, value)
}

// DescribeTransaction describes a record of __transaction_state.
func DescribeTransaction(key, value []byte) (Description, error) {
	return describe(transactionTypes[:], key, value)
}

func describe(types []recordType, key, value []byte) (d Description, err error) {
	if d.KeyVersion, err = KeyKind(key); err != nil {
		return d, err
	}
	if int(d.KeyVersion) >= len(types) {
		return d, fmt.Errorf("key: %w: %d, the newest known is %d", ErrVersion, d.KeyVersion, len(types)-1)
	}
	t := types[d.KeyVersion]
	d.Type = t.name
	if d.Key, err = show(key, t.key()); err != nil {
		return d, err
	}
	if value == nil {
		d.Value = "null"
		return d, nil
	}
	d.Value, err = show(value, t.value())
	if len(value) >= 2 {
		d.ValueVersion = int16(value[0])<<8 | int16(value[1])
	}
	return d, err
}

func show(b []byte, r Record) (string, error) {
	if err := Parse(b, r); err != nil {
		return "", err
	}
	c := fields.Show(nil)
	c.Expand = true
	r.fields(&c)
	out, err := c.End(r.what())
	return string(out), err
}
