package coordination

import (
	"encoding/binary"
	"fmt"
)

// The kinds of records in __consumer_offsets, which are the versions of their keys.
const (
	KindOldOffset              = 0 // OffsetKey, written before Kafka 0.9
	KindOffset                 = 1 // OffsetKey
	KindGroup                  = 2 // GroupKey
	KindConsumerGroup          = 3 // from here on: the newer group protocol, KIP-848
	KindPartitionMetadata      = 4
	KindMemberMetadata         = 5
	KindTargetAssignment       = 6
	KindTargetAssignmentMember = 7
	KindCurrentAssignment      = 8
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
