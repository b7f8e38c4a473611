package log

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/leatlog/leat/codec"
)

// ErrSnapshot is Kafka's CorruptSnapshotException: the file is not a producer
// snapshot. Take an older one and replay the log from there.
var ErrSnapshot = errors.New("leat: corrupt producer snapshot")

const (
	snapshotVersion    = 1
	snapshotHeaderSize = 10
	snapshotEntrySize  = 46
)

// ProducerSnapshot is what a snapshot keeps of one producer.
type ProducerSnapshot struct {
	ProducerID    int64
	ProducerEpoch int16
	// Of the newest data batch: its last sequence and offset, and how many
	// offsets it spans less one. LastOffset is -1 if there is none.
	LastSequence int32
	LastOffset   int64
	OffsetDelta  int32
	// Timestamp is that of the last batch, data or marker, in milliseconds.
	Timestamp        int64
	CoordinatorEpoch int32 // of the last marker, -1 if there was none
	// CurrentTxnFirstOffset is where the open transaction began, -1 if none is open.
	CurrentTxnFirstOffset int64
}

// AppendSnapshot appends the content of a .snapshot file, version 1.
//
//	 0         2           6           10
//	┌─────────┬───────────┬───────────┬──────────
//	│ version │  CRC-32C  │   count   │ entries    CRC: of everything from byte 6 on
//	│  (i16)  │   (u32)   │   (i32)   │
//	└─────────┴───────────┴───────────┴──────────
//
//	each entry:
//	 0             8       10          14            22           26            34             38            46
//	┌─────────────┬───────┬───────────┬─────────────┬────────────┬─────────────┬──────────────┬─────────────┐
//	│ producer id │ epoch │ last      │ last offset │ offset     │ timestamp   │ coordinator  │ first offset│
//	│    (i64)    │ (i16) │ seq (i32) │    (i64)    │ delta (i32)│    (i64)    │ epoch (i32)  │ of txn (i64)│
//	└─────────────┴───────┴───────────┴─────────────┴────────────┴─────────────┴──────────────┴─────────────┘
func AppendSnapshot(dst []byte, producers []ProducerSnapshot) []byte {
	from := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, snapshotVersion)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(producers)))
	for _, p := range producers {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.ProducerID))
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.ProducerEpoch))
		dst = binary.BigEndian.AppendUint32(dst, uint32(p.LastSequence))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.LastOffset))
		dst = binary.BigEndian.AppendUint32(dst, uint32(p.OffsetDelta))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.Timestamp))
		dst = binary.BigEndian.AppendUint32(dst, uint32(p.CoordinatorEpoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.CurrentTxnFirstOffset))
	}
	binary.BigEndian.PutUint32(dst[from+2:], codec.CRC(dst[from+6:]))
	return dst
}

// ParseSnapshot reads a .snapshot file. Besides a wrong version, CRC or size it
// refuses what no log can lead to: a producer twice, a negative producer id, a
// batch that begins before offset 0. Errors match ErrSnapshot.
func ParseSnapshot(b []byte) ([]ProducerSnapshot, error) {
	if len(b) < snapshotHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes, at least %d needed", ErrSnapshot, len(b), snapshotHeaderSize)
	}
	if version := int16(binary.BigEndian.Uint16(b)); version != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d, not %d", ErrSnapshot, version, snapshotVersion)
	}
	if stored, crc := binary.BigEndian.Uint32(b[2:]), codec.CRC(b[6:]); stored != crc {
		return nil, fmt.Errorf("%w: CRC is %08x, computed %08x", ErrSnapshot, stored, crc)
	}
	count := int64(int32(binary.BigEndian.Uint32(b[6:])))
	if int64(len(b)) != snapshotHeaderSize+count*snapshotEntrySize {
		return nil, fmt.Errorf("%w: %d bytes for %d producers", ErrSnapshot, len(b), count)
	}
	// The count is that of the bytes by now, so it is safe to allocate for it.
	producers := make([]ProducerSnapshot, 0, count)
	known := make(map[int64]struct{}, count)
	for b = b[snapshotHeaderSize:]; len(b) > 0; b = b[snapshotEntrySize:] {
		p := ProducerSnapshot{
			ProducerID:            int64(binary.BigEndian.Uint64(b)),
			ProducerEpoch:         int16(binary.BigEndian.Uint16(b[8:])),
			LastSequence:          int32(binary.BigEndian.Uint32(b[10:])),
			LastOffset:            int64(binary.BigEndian.Uint64(b[14:])),
			OffsetDelta:           int32(binary.BigEndian.Uint32(b[22:])),
			Timestamp:             int64(binary.BigEndian.Uint64(b[26:])),
			CoordinatorEpoch:      int32(binary.BigEndian.Uint32(b[34:])),
			CurrentTxnFirstOffset: int64(binary.BigEndian.Uint64(b[38:])),
		}
		_, twice := known[p.ProducerID]
		switch {
		case p.ProducerID < 0:
			return nil, fmt.Errorf("%w: producer id %d", ErrSnapshot, p.ProducerID)
		case twice:
			return nil, fmt.Errorf("%w: producer %d is listed twice", ErrSnapshot, p.ProducerID)
		case p.LastOffset >= 0 && (p.OffsetDelta < 0 || int64(p.OffsetDelta) > p.LastOffset):
			return nil, fmt.Errorf("%w: producer %d: offset delta %d of last offset %d", ErrSnapshot, p.ProducerID, p.OffsetDelta, p.LastOffset)
		}
		known[p.ProducerID] = struct{}{}
		producers = append(producers, p)
	}
	return producers, nil
}
