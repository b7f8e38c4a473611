package golden

import (
	"bytes"
	"encoding/json"
)

// Partition is partition/<set>/expected.json.
type Partition struct {
	Topic                string         `json:"topic"`
	Partition            int32          `json:"partition"`
	TopicID              string         `json:"topicId"`
	Config               Config         `json:"config"`
	RecoveryPointInCrash int64          `json:"recoveryPointInCrash"`
	State                PartitionState `json:"state"`
	// Clean and Crash describe the files in clean/orders-3 and crash/orders-3 by
	// name; those of Crash are without their batches.
	Clean              map[string]File `json:"clean"`
	Crash              map[string]File `json:"crash"`
	CrashAfterRecovery Recovered       `json:"crashAfterRecovery"`
}

// Config has the topic settings that a set was made with; others default.
type Config struct {
	SegmentBytes       int64   `json:"segment.bytes"`
	IndexIntervalBytes int32   `json:"index.interval.bytes"`
	SegmentIndexBytes  int32   `json:"segment.index.bytes"`
	SegmentMs          int64   `json:"segment.ms"`                // partition/
	RetentionMs        int64   `json:"retention.ms"`              // partition/
	CleanupPolicy      string  `json:"cleanup.policy"`            // compacted/
	DeleteRetentionMs  int64   `json:"delete.retention.ms"`       // compacted/
	MinDirtyRatio      float64 `json:"min.cleanable.dirty.ratio"` // compacted/
}

// PartitionState is what the open log answered just before crash/ was copied.
type PartitionState struct {
	LogStartOffset         int64           `json:"logStartOffset"`
	LogEndOffset           int64           `json:"logEndOffset"`
	HighWatermark          int64           `json:"highWatermark"`
	LastStableOffset       int64           `json:"lastStableOffset"`
	FirstUnstableOffset    *int64          `json:"firstUnstableOffset"`
	LatestEpoch            int32           `json:"latestEpoch"`
	SegmentBaseOffsets     []int64         `json:"segmentBaseOffsets"`
	Producers              []ProducerState `json:"producers"`
	AbortedTransactions    []AbortedTxn    `json:"abortedTransactions"`
	LeaderEpochs           []LeaderEpoch   `json:"leaderEpochs"`
	EndOffsetForEpoch      []EpochEnd      `json:"endOffsetForEpoch_epoch_offset"`
	ReadUncommittedOffsets []int64         `json:"readUncommittedOffsets"`
	ReadCommittedOffsets   []int64         `json:"readCommittedOffsets"`
	OffsetLookups          []OffsetLookup  `json:"offsetLookups"`
	TimestampLookups       []TimeLookup    `json:"timestampLookups"`
	TimeIndexLookups       []TimeIndexFind `json:"timeIndexLookups"`
	Fetches                []Fetch         `json:"fetches"`
}

// ProducerState is the running log's memory of one producer. A log loaded from
// disk knows only the newest of the CachedBatches, and what it replayed.
type ProducerState struct {
	ProducerID            int64         `json:"producerId"`
	ProducerEpoch         int16         `json:"producerEpoch"`
	CoordinatorEpoch      int32         `json:"coordinatorEpoch"`
	LastTimestamp         int64         `json:"lastTimestamp"`
	CurrentTxnFirstOffset *int64        `json:"currentTxnFirstOffset"`
	CachedBatches         []CachedBatch `json:"cachedBatches"` // oldest first
}

type CachedBatch struct {
	FirstSeq    int32 `json:"firstSeq"`
	LastSeq     int32 `json:"lastSeq"`
	FirstOffset int64 `json:"firstOffset"`
	LastOffset  int64 `json:"lastOffset"`
	Timestamp   int64 `json:"timestamp"`
}

type LeaderEpoch struct {
	Epoch       int32 `json:"epoch"`
	StartOffset int64 `json:"startOffset"`
}

// EpochEnd is [epoch answered, end offset], nil if Epoch is not known.
type EpochEnd struct {
	Epoch     int32 `json:"epoch"`
	EndOffset *Pair `json:"endOffset"`
}

type OffsetLookup struct {
	Target     int64      `json:"target"`
	Segment    int64      `json:"segment"`
	IndexEntry Pair       `json:"indexEntry_offset_position"`
	Batch      *BatchSpot `json:"batch"` // nil: none in that segment
}

type BatchSpot struct {
	BaseOffset  int64 `json:"baseOffset"`
	Position    int64 `json:"position"`
	SizeInBytes int64 `json:"sizeInBytes"`
}

// TimeLookup asks for -1 (latest), -2 (earliest), -3 (largest timestamp), or
// the first record at or after a time.
type TimeLookup struct {
	Timestamp int64     `json:"timestamp"`
	Result    *TimeSpot `json:"result"` // nil: none
}

type TimeSpot struct {
	Timestamp   int64  `json:"timestamp"`
	Offset      int64  `json:"offset"`
	LeaderEpoch *int32 `json:"leaderEpoch"`
}

type TimeIndexFind struct {
	Segment   int64 `json:"segment"`
	Timestamp int64 `json:"timestamp"`
	Entry     Pair  `json:"entry_timestamp_offset"`
}

// Fetch is one read and its answer: Error, or the rest.
type Fetch struct {
	StartOffset   int64  `json:"startOffset"`
	MaxBytes      int32  `json:"maxBytes"`
	MinOneMessage bool   `json:"minOneMessage"`
	Isolation     string `json:"isolation"` // LOG_END, HIGH_WATERMARK, TXN_COMMITTED

	Error                string       `json:"error"`
	Segment              int64        `json:"segment"`
	Position             int64        `json:"position"`
	SizeInBytes          int64        `json:"sizeInBytes"`
	SHA256               string       `json:"sha256"`
	FirstEntryIncomplete bool         `json:"firstEntryIncomplete"`
	AbortedTransactions  []AbortedTxn `json:"abortedTransactions"` // only ProducerID and FirstOffset; nil: not asked for
}

// Recovered is what opening crash/ as an unclean stop left.
type Recovered struct {
	LogEndOffset       int64           `json:"logEndOffset"`
	LastStableOffset   int64           `json:"lastStableOffset"`
	SegmentBaseOffsets []int64         `json:"segmentBaseOffsets"`
	Files              map[string]File `json:"files"`
}

// File is one file of a partition folder, decoded. Which of the lists is set
// depends on the kind of file; a list of a file of another kind is nil.
type File struct {
	SizeInBytes  int64    `json:"sizeInBytes"`
	SHA256       string   `json:"sha256"`
	Preallocated bool     `json:"preallocated"` // unused space follows the entries of an index
	Batches      []Batch  `json:"batches"`
	Offsets      []Pair   `json:"entries_offset_position"`  // .index: absolute offset, position
	Times        []Pair   `json:"entries_timestamp_offset"` // .timeindex: timestamp, absolute offset
	Entries      *Entries `json:"entries"`                  // .txnindex and .snapshot
	Text         *string  `json:"text"`                     // checkpoint and partition.metadata
}

// Entries are the entries of a transaction index or of a producer snapshot,
// whichever the file is; of other indexes only their number may be known.
type Entries struct {
	Count     int
	Aborted   []AbortedTxn
	Producers []ProducerSnapshot
}

type AbortedTxn struct {
	Version          int16 `json:"version"`
	ProducerID       int64 `json:"producerId"`
	FirstOffset      int64 `json:"firstOffset"`
	LastOffset       int64 `json:"lastOffset"`
	LastStableOffset int64 `json:"lastStableOffset"`
}

// ProducerSnapshot is one entry of a .snapshot file, which are in no order.
type ProducerSnapshot struct {
	ProducerID            int64 `json:"producerId"`
	ProducerEpoch         int16 `json:"producerEpoch"`
	LastSequence          int32 `json:"lastSequence"`
	LastOffset            int64 `json:"lastOffset"`
	OffsetDelta           int32 `json:"offsetDelta"`
	Timestamp             int64 `json:"timestamp"`
	CoordinatorEpoch      int32 `json:"coordinatorEpoch"`
	CurrentTxnFirstOffset int64 `json:"currentTxnFirstOffset"`
}

func (e *Entries) UnmarshalJSON(b []byte) error {
	*e = Entries{}
	if len(b) > 0 && b[0] != '[' {
		return json.Unmarshal(b, &e.Count)
	}
	// Only a snapshot's entries have an offset delta. An empty list could be
	// either, and then both are empty.
	var err error
	if bytes.Contains(b, []byte(`"offsetDelta"`)) {
		err = json.Unmarshal(b, &e.Producers)
		e.Count = len(e.Producers)
	} else {
		err = json.Unmarshal(b, &e.Aborted)
		e.Count = len(e.Aborted)
	}
	return err
}
