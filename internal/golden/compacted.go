package golden

// Compacted is compacted/<set>/expected.json: the life of the topic kv.
type Compacted struct {
	Topic     string        `json:"topic"`
	Partition int32         `json:"partition"`
	Config    Config        `json:"config"`
	Steps     []CompactStep `json:"steps"`
}

// CompactStep is one data directory, compacted/<set>/<Dir>/kv-0. From
// CurrentTimeMs on the fields are the inputs and the result of a cleaning, and
// set in cleaned steps only; the step before is the exact input.
type CompactStep struct {
	Dir   string          `json:"dir"`
	Files map[string]File `json:"files"`

	CurrentTimeMs          *int64           `json:"currentTimeMs"`
	FirstDirtyOffset       *int64           `json:"firstDirtyOffset"`
	FirstUncleanableOffset *int64           `json:"firstUncleanableOffset"`
	LastStableOffset       *int64           `json:"lastStableOffset"`
	ActiveProducersBefore  []ActiveProducer `json:"activeProducersBefore"`
	NewFirstDirtyOffset    *int64           `json:"newFirstDirtyOffset"`
}

// ActiveProducer is a producer that the log knows before a cleaning.
type ActiveProducer struct {
	ProducerID     int64  `json:"producerId"`
	ProducerEpoch  int16  `json:"producerEpoch"`
	LastDataOffset *int64 `json:"lastDataOffset"` // nil: its last entry is a marker
}
