package log

import (
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// Durability says what has happened when an append returns nil.
type Durability uint8

const (
	// Synced: the records are on stable storage.
	Synced Durability = iota + 1
	// Written: they are in the page cache.
	Written
)

// Record is one record to append. Package leat's type has the same fields in
// the same order, so that its slices are used without copying.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	Timestamp  time.Time
	Key, Value []byte
	Headers    []codec.RecordHeader
}

// Config is what a log is told of its topic. Zero values of the sizes and times
// mean Kafka's defaults (KAFKA_RULES 4.12), a negative duration no limit.
type Config struct {
	Topic     string
	Partition int32
	TopicID   [16]byte

	SegmentBytes  int64
	SegmentAge    time.Duration
	IndexBytes    int
	IndexInterval int
	MaxBatchBytes int32

	Compression     compress.Codec
	LogAppendTime   bool
	TimestampBefore time.Duration
	TimestampAfter  time.Duration

	Durability    Durability
	FlushInterval time.Duration // of Written data
	FlushBytes    int64         // of Written data; not positive: no limit

	// ProducerExpiration is how long a producer without an open transaction is
	// remembered (producer.id.expiration.ms).
	ProducerExpiration time.Duration

	ExternalEpochs    bool
	ExternalWatermark bool
}

// Kafka's defaults.
const (
	defaultSegmentBytes  = 1 << 30
	defaultSegmentAge    = 7 * 24 * time.Hour
	defaultIndexBytes    = 10 << 20
	defaultIndexInterval = 4096
	defaultMaxBatchBytes = 1<<20 + 12
	defaultTimestampGap  = time.Hour // message.timestamp.after.max.ms since 4.0
	defaultFlushInterval = time.Second
	defaultExpiration    = 24 * time.Hour
)

func (c *Config) setDefaults() {
	or := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	or(&c.SegmentBytes, defaultSegmentBytes)
	or((*int64)(&c.SegmentAge), int64(defaultSegmentAge))
	or((*int64)(&c.TimestampAfter), int64(defaultTimestampGap))
	or((*int64)(&c.TimestampBefore), -1)
	or((*int64)(&c.FlushInterval), int64(defaultFlushInterval))
	or((*int64)(&c.ProducerExpiration), int64(defaultExpiration))
	if c.IndexBytes == 0 {
		c.IndexBytes = defaultIndexBytes
	}
	if c.IndexInterval == 0 {
		c.IndexInterval = defaultIndexInterval
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = defaultMaxBatchBytes
	}
	if c.Durability == 0 {
		c.Durability = Synced
	}
}
