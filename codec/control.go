package codec

import (
	"encoding/binary"
	"fmt"

	"github.com/leatlog/leat/compress"
)

// The types of control records that Kafka has. Only the first two occur in the
// logs of topics; the others are its metadata log's.
const (
	ControlAbort          = 0
	ControlCommit         = 1
	ControlLeaderChange   = 2
	ControlSnapshotHeader = 3
	ControlSnapshotFooter = 4
	ControlKRaftVersion   = 5
	ControlKRaftVoters    = 6
)

// MarkerSize is the size of a batch that AppendMarker makes.
const MarkerSize = HeaderSize + 17

// Control is what the record of a control batch says. The last two fields are
// set for markers only.
type Control struct {
	Type             int16
	KeyVersion       int16
	ValueVersion     int16
	CoordinatorEpoch int32
}

// IsMarker tells whether c ends a transaction.
func (c Control) IsMarker() bool { return c.Type == ControlAbort || c.Type == ControlCommit }

// AppendMarker appends the batch that ends a transaction. Of h it uses
// BaseOffset, LeaderEpoch, BaseTimestamp (the time of the decision), ProducerID
// and ProducerEpoch. Its one record is
//
//	key   | version 0, 2 bytes | type, 2 bytes: 0 abort, 1 commit |
//	value | version 0, 2 bytes | coordinator epoch, 4 bytes       |
func AppendMarker(dst []byte, h Header, commit bool, coordinatorEpoch int32) []byte {
	h.Magic = Magic
	h.Attributes = TransactionalBit | ControlBit
	h.LastOffsetDelta = 0
	h.MaxTimestamp = h.BaseTimestamp
	h.BaseSequence = -1
	h.RecordCount = 1

	var key [4]byte
	var value [6]byte
	if commit {
		key[3] = ControlCommit
	}
	binary.BigEndian.PutUint32(value[2:], uint32(coordinatorEpoch))

	start := len(dst)
	dst = grow(dst, MarkerSize)
	h.Put(dst[start:])
	PutRecord(dst[start+HeaderSize:], 0, 0, key[:], value[:], nil)
	Seal(dst[start:])
	return dst
}

// ParseControl reads the record of a control batch. Types and versions above
// those known are accepted, as Kafka does: a version may only add fields at the
// end. The position in an *Error is that of the first record, which is the only.
func ParseControl(r *Record) (Control, error) {
	if len(r.Key) < 4 {
		return Control{}, corrupt(HeaderSize, "control record with a key of %d bytes, 4 needed", len(r.Key))
	}
	c := Control{
		KeyVersion: int16(binary.BigEndian.Uint16(r.Key)),
		Type:       int16(binary.BigEndian.Uint16(r.Key[2:])),
	}
	if c.KeyVersion < 0 {
		return Control{}, corrupt(HeaderSize, "control record with key version %d", c.KeyVersion)
	}
	if !c.IsMarker() {
		return c, nil
	}
	if len(r.Value) < 6 {
		return Control{}, corrupt(HeaderSize, "marker with a value of %d bytes, 6 needed", len(r.Value))
	}
	c.ValueVersion = int16(binary.BigEndian.Uint16(r.Value))
	if c.ValueVersion < 0 {
		return Control{}, corrupt(HeaderSize, "marker with value version %d", c.ValueVersion)
	}
	c.CoordinatorEpoch = int32(binary.BigEndian.Uint32(r.Value[2:]))
	return c, nil
}

// DecodeControl reads the record of the control batch b. There is none, and ok
// is false, in a batch that the cleaner has emptied.
func DecodeControl(b Batch) (c Control, ok bool, err error) {
	if b.RecordCount() == 0 && len(b) == HeaderSize {
		return Control{}, false, nil
	}
	if k := b.Compression(); k != compress.None {
		return Control{}, false, fmt.Errorf("%w: control batch with compression codec %d at byte %d of the batch", ErrUnsupported, uint8(k), attributesPos)
	}
	var d Decoder
	if err := d.Reset(b, b.Payload()); err != nil {
		return Control{}, false, err
	}
	var r Record
	if err := d.Next(&r); err != nil {
		return Control{}, false, err
	}
	c, err = ParseControl(&r)
	return c, err == nil, err
}
