package golden

// Behaviour: what Kafka's log answered to appends (behaviour/).

// Timestamped is one case of behaviour/timestamps.json: an append of one record
// to an empty partition.
type Timestamped struct {
	Now             int64  `json:"now"`
	TimestampType   string `json:"timestampType"`
	BeforeMaxMs     int64  `json:"beforeMaxMs"`
	AfterMaxMs      int64  `json:"afterMaxMs"`
	CleanupPolicy   string `json:"cleanupPolicy"`
	RecordTimestamp int64  `json:"recordTimestamp"`
	KeyIsNull       bool   `json:"keyIsNull"`
	Result          Answer `json:"result"`
}

// Answer is where an append went, or Kafka's name of the error.
type Answer struct {
	FirstOffset int64  `json:"firstOffset"`
	LastOffset  int64  `json:"lastOffset"`
	Appended    bool   `json:"appended"` // false: recognised as a duplicate
	Error       string `json:"error"`
}

// ProducerOps is one script of behaviour/producer-ops.json.
type ProducerOps struct {
	Name                     string          `json:"name"`
	Config                   Config          `json:"config"`
	Ops                      []ProducerOp    `json:"ops"`
	FinalProducers           []ProducerState `json:"finalProducers"`
	FinalAbortedTransactions []AbortedTxn    `json:"finalAbortedTransactions"`
	SegmentBaseOffsets       []int64         `json:"segmentBaseOffsets"` // a hint
}

// ProducerOp is an append ("produce") or the end of a transaction ("marker").
// LogEndOffset and LastStableOffset are those after it.
type ProducerOp struct {
	Op                 string `json:"op"`
	ProducerID         int64  `json:"producerId"`
	ProducerEpoch      int16  `json:"producerEpoch"`
	BaseSequence       int32  `json:"baseSequence"`
	Records            int32  `json:"records"`
	Transactional      bool   `json:"transactional"`
	CoordinatorEpoch   int32  `json:"coordinatorEpoch"`
	Commit             bool   `json:"commit"`
	TransactionVersion int16  `json:"transactionVersion"`
	Result             Answer `json:"result"`
	LogEndOffset       int64  `json:"logEndOffset"`
	LastStableOffset   int64  `json:"lastStableOffset"`
}
