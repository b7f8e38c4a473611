package coordination

import "unicode/utf16"

// PartitionOf is the partition of __consumer_offsets, of as many as there are,
// that holds a group's records; and that of __transaction_state for a
// transactional id. partitions must be above zero.
func PartitionOf(id string, partitions int32) int32 {
	h := javaHash(id)
	if h < 0 {
		// The one number without an absolute value counts as 0, as in Kafka;
		// clearing the sign would give another partition.
		h = max(-h, 0)
	}
	return h % partitions
}

// javaHash is String.hashCode of Java: over UTF-16.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if high, low := utf16.EncodeRune(r); r > 0xffff {
			h = 31*(31*h+high) + low
		} else {
			h = 31*h + r
		}
	}
	return h
}
