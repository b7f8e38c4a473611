package coordination

import (
	"encoding/binary"
	"fmt"

	"github.com/leatlog/leat/internal/fields"
)

// The kinds of records in __consumer_offsets, which are the versions of their keys.
const (
	KindOldOffset              = 0 // OffsetKey, as written before Kafka 0.9
	KindOffset                 = 1 // OffsetKey
	KindGroup                  = 2 // GroupKey
	KindConsumerGroup          = 3 // ConsumerGroupKey; from here on the newer protocol, KIP-848
	KindPartitionMetadata      = 4 // PartitionMetadataKey
	KindMemberMetadata         = 5 // MemberMetadataKey
	KindTargetAssignment       = 6 // TargetAssignmentKey
	KindTargetAssignmentMember = 7 // TargetAssignmentMemberKey
	KindCurrentAssignment      = 8 // CurrentAssignmentKey
)

// KeyKind is the kind of the record of __consumer_offsets with this key. Kinds
// above those that are known here are no error.
func KeyKind(b []byte) (int16, error) {
	if len(b) < 2 {
		return 0, fmt.Errorf("key: %w: %d bytes", ErrFormat, len(b))
	}
	kind := int16(binary.BigEndian.Uint16(b))
	if kind < 0 {
		return 0, fmt.Errorf("key: %w: version %d", ErrFormat, kind)
	}
	return kind, nil
}

// kind is the first field of a key whose version is among those from first to
// last.
func kind(c *fields.Coder, v *int16, first, last int16) {
	c.Version(v, last, fields.Never)
	if *v < first {
		c.Failf(ErrFormat, "version %d is another kind of record", *v)
	}
}
