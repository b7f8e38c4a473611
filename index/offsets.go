package index

import (
	"encoding/binary"
	"math"
)

// OffsetEntrySize is the size of an entry of the offset index in bytes.
const OffsetEntrySize = 8

// putOffset writes one entry of the offset index.
//
//	 0               4               8
//	┌───────────────┬───────────────┐
//	│ offset - base │   position    │   two i32, big endian
//	└───────────────┴───────────────┘
//	offset:   the last offset of a batch
//	position: where that batch begins in the log file
func putOffset(b []byte, relative, position int32) {
	binary.BigEndian.PutUint32(b, uint32(relative))
	binary.BigEndian.PutUint32(b[4:], uint32(position))
}

// Offsets is a view of an offset index: a value, safe for many goroutines as
// long as nobody writes the bytes.
type Offsets struct {
	base int64
	b    []byte // whole entries first; a ragged tail is kept for Check
}

// OpenOffsets views b as the offset index of the segment with the given base
// offset. It keeps b and never writes it.
func OpenOffsets(base int64, b []byte) Offsets { return Offsets{base, b} }

// Base is the base offset of the segment.
func (o Offsets) Base() int64 { return o.base }

// Len is the number of whole entries.
func (o Offsets) Len() int { return len(o.b) / OffsetEntrySize }

// Bytes are the whole entries as they lie in the file. They are read-only and
// live as long as the bytes that were opened.
func (o Offsets) Bytes() []byte {
	n := o.Len() * OffsetEntrySize
	return o.b[:n:n]
}

// Entry is entry i: the last offset of a batch and the position where it begins.
func (o Offsets) Entry(i int) (offset, position int64) {
	e := o.b[i*OffsetEntrySize:][:OffsetEntrySize]
	return o.base + int64(int32(binary.BigEndian.Uint32(e))), int64(int32(binary.BigEndian.Uint32(e[4:])))
}

// Last is the last entry, or (base, 0) if there is none.
func (o Offsets) Last() (offset, position int64) {
	if n := o.Len(); n > 0 {
		return o.Entry(n - 1)
	}
	return o.base, 0
}

// Lookup is the entry with the greatest offset that is not above the target,
// or (base, 0) if there is none: scan the log from that position.
func (o Offsets) Lookup(target int64) (offset, position int64) {
	if i := floor32(o.b, o.Len(), OffsetEntrySize, 0, relative(target, o.base)); i >= 0 {
		return o.Entry(i)
	}
	return o.base, 0
}

// Floor is the number of the entry with the greatest offset that is not above
// the target; -1 if there is none.
func (o Offsets) Floor(target int64) int {
	return floor32(o.b, o.Len(), OffsetEntrySize, 0, relative(target, o.base))
}

// FloorPosition is the number of the last entry whose position is at most pos;
// -1 if there is none.
func (o Offsets) FloorPosition(pos int64) int {
	return floor32(o.b, o.Len(), OffsetEntrySize, 4, pos)
}

// FirstAtOrAfterPosition is the offset of the first entry whose position is at
// least pos. A fetch uses it as a cheap upper bound of the offsets it returns.
func (o Offsets) FirstAtOrAfterPosition(pos int64) (offset int64, ok bool) {
	i := 0
	if pos > math.MinInt64 {
		i = floor32(o.b, o.Len(), OffsetEntrySize, 4, pos-1) + 1
	}
	if i >= o.Len() {
		return 0, false
	}
	offset, _ = o.Entry(i)
	return offset, true
}

// Written is the view without the zero entries at its end: a file that was
// preallocated and not closed carries them, as Kafka leaves them after a crash.
// No written entry is all zero, since no entry points at position 0.
func (o Offsets) Written() Offsets {
	return Offsets{o.base, o.b[:written(o.b, OffsetEntrySize)]}
}

// Check says whether the index can belong to a segment of logSize bytes whose
// next offset is nextOffset: whole entries, offsets and positions strictly
// rising and in range. It cannot say whether a batch begins at each position.
// The error is a *CorruptError.
func (o Offsets) Check(logSize, nextOffset int64) error {
	if tail := len(o.b) % OffsetEntrySize; tail != 0 {
		return corrupt("offset", -1, "%d bytes are not a multiple of %d", len(o.b), OffsetEntrySize)
	}
	// The first batch never gets an entry, so its offset and position are
	// below those of any entry.
	lastOffset, lastPosition := o.base, int64(0)
	for i := range o.Len() {
		offset, position := o.Entry(i)
		switch {
		case offset <= lastOffset:
			return corrupt("offset", i, "offset %d is not above %d", offset, lastOffset)
		case position <= lastPosition:
			return corrupt("offset", i, "position %d is not above %d", position, lastPosition)
		case offset >= nextOffset:
			return corrupt("offset", i, "offset %d is not below the segment's next offset %d", offset, nextOffset)
		case position >= logSize:
			return corrupt("offset", i, "position %d is not below the log's size %d", position, logSize)
		}
		lastOffset, lastPosition = offset, position
	}
	return nil
}

// CheckKafka is Kafka's OffsetIndex.sanityCheck, which looks at the size and at
// the last entry only.
func (o Offsets) CheckKafka() error {
	if last, _ := o.Last(); last < o.base {
		return corrupt("offset", o.Len()-1, "offset %d is below the base offset %d", last, o.base)
	}
	if len(o.b)%OffsetEntrySize != 0 {
		return corrupt("offset", -1, "%d bytes are not a multiple of %d", len(o.b), OffsetEntrySize)
	}
	return nil
}

// relative is target - base, without wrapping around.
func relative(target, base int64) int64 {
	if d := target - base; (d < 0) == (target < base) {
		return d
	}
	if target < base {
		return math.MinInt64
	}
	return math.MaxInt64
}

// written is the length of b without a ragged tail and the zero entries before it.
func written(b []byte, size int) int {
	n := len(b) - len(b)%size
	for n > 0 && zero(b[n-size:n]) {
		n -= size
	}
	return n
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
