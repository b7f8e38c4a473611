package golden

import (
	"encoding/json"
	"fmt"
)

// BatchFile is batches/<group>/<name>.json.
type BatchFile struct {
	File        string  `json:"file"`
	About       string  `json:"about"`
	SizeInBytes int64   `json:"sizeInBytes"`
	Batches     []Batch `json:"batches"`
}

// Batch is a batch object: the header fields as stored, and what is derived
// from them. Batches of the old formats (Magic 0 and 1) have only Position to
// CRCValid, Compression, TimestampType, MaxTimestamp and Records. In compacted
// sets Magic, NextOffset, CRCValid, BatchLength and TimestampType are absent.
type Batch struct {
	Position    int64 `json:"position"`
	SizeInBytes int64 `json:"sizeInBytes"`

	BaseOffset           int64  `json:"baseOffset"`
	BatchLength          int32  `json:"batchLength"`
	PartitionLeaderEpoch int32  `json:"partitionLeaderEpoch"`
	Magic                int8   `json:"magic"`
	CRC                  uint32 `json:"crc"`
	Attributes           uint16 `json:"attributes"`
	LastOffsetDelta      int32  `json:"lastOffsetDelta"`
	BaseTimestamp        int64  `json:"baseTimestamp"`
	MaxTimestamp         int64  `json:"maxTimestamp"`
	ProducerID           int64  `json:"producerId"`
	ProducerEpoch        int16  `json:"producerEpoch"`
	BaseSequence         int32  `json:"baseSequence"`
	RecordCount          int32  `json:"recordCount"`

	LastOffset      int64  `json:"lastOffset"`
	NextOffset      int64  `json:"nextOffset"`
	LastSequence    int32  `json:"lastSequence"`
	Compression     string `json:"compression"`
	TimestampType   string `json:"timestampType"`
	IsTransactional bool   `json:"isTransactional"`
	IsControl       bool   `json:"isControl"`
	DeleteHorizonMs *int64 `json:"deleteHorizonMs"`
	CRCValid        bool   `json:"crcValid"`

	// Records is nil where the sidecar has none (corrupt/), and empty for a
	// batch that compaction emptied.
	Records []Record      `json:"records"`
	Short   []ShortRecord `json:"records_offset_timestamp_key_valueLen"` // compacted/ only
	Control *Control      `json:"control"`                               // markers only
}

// Record is a record with everything in it.
type Record struct {
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Sequence  *int32   `json:"sequence"` // nil: the batch has none
	Key       Data     `json:"key"`
	Value     Data     `json:"value"`
	Headers   []Header `json:"headers"`
}

type Header struct {
	Key   string `json:"key"`
	Value Data   `json:"value"`
}

// Control is what a transaction marker says.
type Control struct {
	Type             string `json:"type"` // COMMIT or ABORT
	TypeID           int16  `json:"typeId"`
	KeyVersion       int16  `json:"keyVersion"`
	ValueVersion     int16  `json:"valueVersion"`
	CoordinatorEpoch int32  `json:"coordinatorEpoch"`
}

// ShortRecord is a record as the compacted sets list it:
// [offset, timestamp, key, length of the value or null for a tombstone].
type ShortRecord struct {
	Offset    int64
	Timestamp int64
	Key       string // UTF-8 text, but base64 in a control batch
	HasKey    bool
	ValueLen  int64 // -1 for a tombstone
}

func (s *ShortRecord) UnmarshalJSON(b []byte) error {
	var key *string
	var length *int64
	*s = ShortRecord{ValueLen: -1}
	list := []any{&s.Offset, &s.Timestamp, &key, &length}
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 4 {
		return fmt.Errorf("a short record of %d members", len(list))
	}
	if key != nil {
		s.Key, s.HasKey = *key, true
	}
	if length != nil {
		s.ValueLen = *length
	}
	return nil
}

// ConsumerOffsetsLog is offsets/consumer_offsets_log.json: the batches of the
// segment in offsets/__consumer_offsets-12.
type ConsumerOffsetsLog struct {
	File    string  `json:"file"`
	About   string  `json:"about"`
	Batches []Batch `json:"batches"`
}
