package index

import "encoding/binary"

// TimeEntrySize is the size of an entry of the time index in bytes.
const TimeEntrySize = 12

// noTimestamp is Kafka's RecordBatch.NO_TIMESTAMP: below every timestamp that
// gets an entry.
const noTimestamp = -1

// putTime writes one entry of the time index.
//
//	 0                               8               12
//	┌───────────────────────────────┬───────────────┐
//	│      timestamp, ms (i64)      │ offset - base │   i64 and i32, big endian
//	└───────────────────────────────┴───────────────┘
//	timestamp: the greatest of the segment so far
//	offset:    the last offset of the first batch that carries it
func putTime(b []byte, timestamp int64, relative int32) {
	binary.BigEndian.PutUint64(b, uint64(timestamp))
	binary.BigEndian.PutUint32(b[8:], uint32(relative))
}

// Times is a view of a time index: a value, safe for many goroutines as long
// as nobody writes the bytes.
type Times struct {
	base int64
	b    []byte
}

// OpenTimes views b as the time index of the segment with the given base
// offset. It keeps b and never writes it.
func OpenTimes(base int64, b []byte) Times { return Times{base, b} }

// Base is the base offset of the segment.
func (t Times) Base() int64 { return t.base }

// Len is the number of whole entries.
func (t Times) Len() int { return len(t.b) / TimeEntrySize }

// Bytes are the whole entries as they lie in the file. They are read-only and
// live as long as the bytes that were opened.
func (t Times) Bytes() []byte {
	n := t.Len() * TimeEntrySize
	return t.b[:n:n]
}

// Entry is entry i: a timestamp in milliseconds, and an offset. No record
// before that offset's batch has a greater timestamp.
func (t Times) Entry(i int) (timestamp, offset int64) {
	e := t.b[i*TimeEntrySize:][:TimeEntrySize]
	return int64(binary.BigEndian.Uint64(e)), t.base + int64(int32(binary.BigEndian.Uint32(e[8:])))
}

// Last is the last entry, or (-1, base) if there is none.
func (t Times) Last() (timestamp, offset int64) {
	if n := t.Len(); n > 0 {
		return t.Entry(n - 1)
	}
	return noTimestamp, t.base
}

// Lookup is the entry with the greatest timestamp that is not above the given
// one, or (-1, base) if there is none. Every record with a later timestamp
// lies at or after that offset's batch.
func (t Times) Lookup(timestamp int64) (found, offset int64) {
	if i := floor64(t.b, t.Len(), TimeEntrySize, 0, timestamp); i >= 0 {
		return t.Entry(i)
	}
	return noTimestamp, t.base
}

// Written is the view without the zero entries at its end, which a file that
// was preallocated and not closed carries. A written entry with timestamp 0
// and offset base, possible in theory, goes with them: a lookup loses nothing.
func (t Times) Written() Times {
	return Times{t.base, t.b[:written(t.b, TimeEntrySize)]}
}

// Check says whether the index can belong to a segment whose next offset is
// nextOffset: whole entries, timestamps strictly rising from 0 on, offsets not
// going back, all in range. The error is a *CorruptError.
func (t Times) Check(nextOffset int64) error {
	if len(t.b)%TimeEntrySize != 0 {
		return corrupt("time", -1, "%d bytes are not a multiple of %d", len(t.b), TimeEntrySize)
	}
	lastTimestamp, lastOffset := int64(noTimestamp), t.base
	for i := range t.Len() {
		timestamp, offset := t.Entry(i)
		switch {
		case timestamp <= lastTimestamp:
			return corrupt("time", i, "timestamp %d is not above %d", timestamp, lastTimestamp)
		case offset < lastOffset:
			return corrupt("time", i, "offset %d is below %d", offset, lastOffset)
		case offset >= nextOffset:
			return corrupt("time", i, "offset %d is not below the segment's next offset %d", offset, nextOffset)
		}
		lastTimestamp, lastOffset = timestamp, offset
	}
	return nil
}

// CheckKafka is Kafka's TimeIndex.sanityCheck, which compares the last entry
// with the first and with the base, and looks at the size.
func (t Times) CheckKafka() error {
	if n := t.Len(); n > 0 {
		first, _ := t.Entry(0)
		last, offset := t.Entry(n - 1)
		if last < first {
			return corrupt("time", n-1, "timestamp %d is below the first one, %d", last, first)
		}
		if offset < t.base {
			return corrupt("time", n-1, "offset %d is below the base offset %d", offset, t.base)
		}
	}
	if len(t.b)%TimeEntrySize != 0 {
		return corrupt("time", -1, "%d bytes are not a multiple of %d", len(t.b), TimeEntrySize)
	}
	return nil
}
