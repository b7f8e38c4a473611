package codec

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/leatlog/leat/compress"
)

// Batch is the bytes of exactly one batch, read where they lie. Its methods
// copy nothing and check nothing but need len(b) >= HeaderSize, which [Next]
// has seen to; call [Batch.Check] before believing what they say.
type Batch []byte

// TimestampType says what the timestamps of a batch's records are.
type TimestampType uint8

const (
	CreateTime    TimestampType = iota // each record has its producer's
	LogAppendTime                      // all have the time of their append, the batch's max timestamp
)

func (t TimestampType) String() string {
	if t == LogAppendTime {
		return "LogAppendTime"
	}
	return "CreateTime"
}

// BatchSize is the size of the batch at the beginning of b, of which b needs to
// hold only the first 18 bytes: what a caller must know before it reads the
// rest. Errors are those of [Next], but that a batch may be longer than b.
func BatchSize(b []byte) (int64, error) {
	if len(b) <= magicPos+1 {
		switch {
		case len(b) == 0:
			return 0, io.EOF
		case allZero(b):
			return 0, ErrZero
		}
		return 0, ErrShort
	}
	length := int32(binary.BigEndian.Uint32(b[lengthPos:]))
	switch {
	case length < 14: // the least that a record of the oldest format has
		if length == 0 && allZero(b[:min(len(b), HeaderSize)]) {
			return 0, ErrZero
		}
		return 0, corrupt(lengthPos, "batch length %d, at least %d needed", length, MinBatchLength)
	case length < MinBatchLength && int64(length)+LogOverhead <= int64(len(b)):
		if m := int8(b[magicPos]); m < Magic {
			return 0, &MagicError{Magic: m}
		}
		return 0, corrupt(lengthPos, "batch length %d, at least %d needed", length, MinBatchLength)
	}
	return int64(length) + LogOverhead, nil
}

// Next is the batch at the beginning of b, where b is all that is left of a
// log. It looks at the length only: a batch that it returns has the bytes that
// its length says, at least HeaderSize of them, and may be anything.
//
// io.EOF means that b is empty, ErrZero that it begins with at least a header's
// worth of zero bytes (or that it is shorter and all zero), ErrShort that it
// ends before the batch does. A length that no batch can have is an *Error;
// a small batch of an old format, a *MagicError.
func Next(b []byte) (Batch, error) {
	size, err := BatchSize(b)
	if err != nil {
		return nil, err
	}
	if size > int64(len(b)) {
		return nil, ErrShort
	}
	return Batch(b[:size:size]), nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b)) }

// LastOffset is the offset of the last record that the batch had when it was
// appended. Compaction may have removed it since.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the first offset behind the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// Size is the size in bytes, header included.
func (b Batch) Size() int { return len(b) }

// BatchLength is the length field as it is stored: Size less 12.
func (b Batch) BatchLength() int32 { return int32(binary.BigEndian.Uint32(b[lengthPos:])) }

func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[leaderEpochPos:])) }
func (b Batch) Magic() int8        { return int8(b[magicPos]) }
func (b Batch) CRC() uint32        { return binary.BigEndian.Uint32(b[crcPos:]) }
func (b Batch) Attributes() uint16 { return binary.BigEndian.Uint16(b[attributesPos:]) }

// Compression is the codec of the records; 5 to 7 are codecs that do not exist.
func (b Batch) Compression() compress.Codec { return compress.Codec(b.Attributes() & CodecMask) }

func (b Batch) IsTransactional() bool { return b.Attributes()&TransactionalBit != 0 }

// IsControl tells whether the batch holds a marker instead of data.
func (b Batch) IsControl() bool { return b.Attributes()&ControlBit != 0 }

// HasDeleteHorizon tells whether BaseTimestamp is the time in milliseconds from
// which the cleaner may drop the tombstones and markers of the batch.
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&DeleteHorizonBit != 0 }

func (b Batch) TimestampType() TimestampType {
	return TimestampType(b.Attributes() & TimestampTypeBit >> 3)
}

func (b Batch) LastOffsetDelta() int32 {
	return int32(binary.BigEndian.Uint32(b[lastOffsetDeltaPos:]))
}

func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[baseTimestampPos:])) }
func (b Batch) MaxTimestamp() int64  { return int64(binary.BigEndian.Uint64(b[maxTimestampPos:])) }
func (b Batch) ProducerID() int64    { return int64(binary.BigEndian.Uint64(b[producerIDPos:])) }
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[producerEpochPos:])) }
func (b Batch) BaseSequence() int32  { return int32(binary.BigEndian.Uint32(b[baseSequencePos:])) }
func (b Batch) RecordCount() int32   { return int32(binary.BigEndian.Uint32(b[recordCountPos:])) }

// LastSequence is the sequence of the record at LastOffset, -1 without one.
func (b Batch) LastSequence() int32 { return AddSequence(b.BaseSequence(), b.LastOffsetDelta()) }

// Sequence is the sequence of the record at offset, -1 if the batch has none.
func (b Batch) Sequence(offset int64) int32 {
	return AddSequence(b.BaseSequence(), int32(offset-b.BaseOffset()))
}

// AddSequence is the sequence that comes n after seq. Sequences wrap from
// 2147483647 to 0; a negative seq is none and stays -1.
func AddSequence(seq, n int32) int32 {
	if seq < 0 {
		return -1
	}
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// Payload is what follows the header: the records, compressed or not. It shares
// the memory of b, and its capacity ends with it.
func (b Batch) Payload() []byte { return b[HeaderSize:len(b):len(b)] }

// CRCValid computes the CRC of the batch and compares.
func (b Batch) CRCValid() bool { return CRC(b[attributesPos:]) == b.CRC() }

// Header is the whole header at once.
func (b Batch) Header() Header {
	return Header{
		BaseOffset:      b.BaseOffset(),
		BatchLength:     b.BatchLength(),
		LeaderEpoch:     b.LeaderEpoch(),
		Magic:           b.Magic(),
		CRC:             b.CRC(),
		Attributes:      b.Attributes(),
		LastOffsetDelta: b.LastOffsetDelta(),
		BaseTimestamp:   b.BaseTimestamp(),
		MaxTimestamp:    b.MaxTimestamp(),
		ProducerID:      b.ProducerID(),
		ProducerEpoch:   b.ProducerEpoch(),
		BaseSequence:    b.BaseSequence(),
		RecordCount:     b.RecordCount(),
	}
}

// CheckCRC is what Kafka's recovery of a segment asks of a batch, and no more:
// the size, a magic byte above 1 (signed), the CRC. It lets pass batches that
// Check refuses.
func (b Batch) CheckCRC() error {
	if len(b) < HeaderSize {
		return ErrShort
	}
	if m := b.Magic(); m < Magic {
		return &MagicError{Magic: m}
	}
	return b.checkCRC()
}

func (b Batch) checkCRC() error {
	if crc := CRC(b[attributesPos:]); crc != b.CRC() {
		return corrupt(crcPos, "CRC is %08x, computed %08x", b.CRC(), crc)
	}
	return nil
}

// Check tells whether the header can be believed: size, magic, CRC, and counts
// and offsets that can exist. It does not look at the records: that is what
// Decoder does as it goes, and [Validate].
func (b Batch) Check() error {
	if len(b) < HeaderSize {
		return ErrShort
	}
	if m := b.Magic(); m != Magic {
		return &MagicError{Magic: m}
	}
	if n := b.BatchLength(); int64(n)+LogOverhead != int64(len(b)) {
		return corrupt(lengthPos, "batch length %d in a batch of %d bytes", n, len(b))
	}
	if err := b.checkCRC(); err != nil {
		return err
	}
	if base := b.BaseOffset(); base < 0 {
		return corrupt(0, "base offset %d is negative", base)
	}
	return b.checkCounts()
}

// checkCounts is what the arithmetic of offsets and of Decoder relies on.
func (b Batch) checkCounts() error {
	base, delta := b.BaseOffset(), b.LastOffsetDelta()
	switch {
	case delta < 0:
		return corrupt(lastOffsetDeltaPos, "last offset delta %d is negative", delta)
	case base >= math.MaxInt64-int64(delta):
		return corrupt(lastOffsetDeltaPos, "base offset %d and last offset delta %d pass 2^63-1", base, delta)
	case b.RecordCount() < 0:
		return corrupt(recordCountPos, "record count %d is negative", b.RecordCount())
	}
	return nil
}
