package golden

// CorruptSegments is corrupt/segments.json: what recovery of one segment did
// with each of the damaged files in corrupt/segments.
type CorruptSegments struct {
	SegmentBaseOffset  int64         `json:"segmentBaseOffset"`
	IndexIntervalBytes int32         `json:"indexIntervalBytes"`
	GoodBatches        []Batch       `json:"goodBatches"`
	GoodLayout         []Pair        `json:"goodLayout_position_size"`
	Cases              []CorruptCase `json:"cases"`
}

// CorruptCase is one damaged file, corrupt/segments/<Name>.log. If RecoverThrows
// is set, recovery failed instead of truncating, and nothing after it is known.
type CorruptCase struct {
	Name          string `json:"name"`
	About         string `json:"about"`
	SizeInBytes   int64  `json:"sizeInBytes"`
	RecoverThrows string `json:"recoverThrows"`
	Message       string `json:"message"`

	TruncatedBytes int64          `json:"truncatedBytes"`
	ValidBytes     int64          `json:"validBytes"`
	NextOffset     int64          `json:"nextOffset"`
	SHA256After    string         `json:"sha256After"`
	Batches        []CorruptBatch `json:"batches"`
	OffsetIndex    []Pair         `json:"offsetIndex_offset_position"`
	TimeIndex      []Pair         `json:"timeIndex_timestamp_offset"`
	TxnIndex       []AbortedTxn   `json:"txnIndex"`
}

// CorruptBatch is a batch that recovery let pass. ReadError is set if it cannot
// be decoded all the same.
type CorruptBatch struct {
	Position    int64  `json:"position"`
	SizeInBytes int64  `json:"sizeInBytes"`
	BaseOffset  int64  `json:"baseOffset"`
	LastOffset  int64  `json:"lastOffset"`
	RecordsRead int64  `json:"recordsRead"`
	ReadError   string `json:"readError"`
}

// CorruptIndex is one member of corrupt/indexes.json, which is a list: a damaged
// index, snapshot or leader epoch checkpoint in corrupt/indexes.
type CorruptIndex struct {
	File        string `json:"file"`
	BaseOffset  int64  `json:"baseOffset"`
	SizeInBytes int64  `json:"sizeInBytes"`

	// SanityCheck is the outcome for an index, Read that for the rest: "ok" or
	// the name of Kafka's exception.
	SanityCheck string `json:"sanityCheck"`
	Read        string `json:"read"`

	Entries      *Entries `json:"entries"`                    // indexes: their number; snapshots: the list
	LastOffset   *int64   `json:"lastOffset"`                 // offset index
	LastTime     *Pair    `json:"lastEntry_timestamp_offset"` // time index
	LeaderEpochs []Pair   `json:"entries_epoch_startOffset"`  // leader epoch checkpoint
}
