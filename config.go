package leat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leatlog/leat/compress"
)

// Unlimited switches a limit off, wherever a configuration has one. Zero always
// means the default.
const Unlimited = -1

// TopicConfig is stored with its topic. The zero value of each field is the
// default that its comment names, which Options.Topic can change for a store.
// Durations are whole milliseconds, as Kafka keeps them.
//
// In brackets is the name of Kafka's property, or Leat's where Kafka has none.
type TopicConfig struct {
	Partitions    int32         // 1 to 100,000; 0: 1
	Durability    Durability    // 0: Synced [leat.durability]
	FlushInterval time.Duration // of Written data; 0: 1 s [flush.ms]
	FlushBytes    int64         // of Written data, a partition; 0: Unlimited [leat.flush.bytes]
	External      External      // what a wrapper owns; 0: nothing [leat.external]
	Compression   Compression   // of what is stored; 0: None, where raw batches keep theirs [compression.type]
	Cleanup       Cleanup       // 0: CleanupDelete [cleanup.policy]
	SegmentBytes  int64         // 1 KiB to 2 GiB - 1; 0: 1 GiB [segment.bytes]
	SegmentAge    time.Duration // 0: 7 days [segment.ms]
	Retention     Retention
	Compaction    Compaction
	MaxBatchBytes int32         // of a stored batch, 61 bytes to 2 GiB - 1; 0: 1,048,588 [max.message.bytes]
	Timestamps    TimestampType // 0: CreateTime [message.timestamp.type]

	// How far from the clock a record's timestamp may lie. Outside is
	// ErrInvalidTimestamp. Not looked at with LogAppendTime.
	TimestampBefore time.Duration // 0: Unlimited [message.timestamp.before.max.ms]
	TimestampAfter  time.Duration // 0: 1 hour [message.timestamp.after.max.ms]

	IndexBytes    int32 // of a segment's offset index, and of its time index; 24 bytes to 1 GiB; 0: 10 MiB [segment.index.bytes]
	IndexInterval int32 // bytes of log between index entries, 1 at least; 0: 4096 [index.interval.bytes]
}

// Retention says what a topic with CleanupDelete keeps.
type Retention struct {
	Age   time.Duration // 0: 7 days [retention.ms]
	Bytes int64         // per partition; 0: Unlimited [retention.bytes]
	// Groups keep what the slowest of them has not committed, though it be old, or
	// beyond Bytes or Options.DiskLimit: whole segments, as always. A group that has
	// committed nothing in a partition keeps all of it. As long as it cannot be found
	// out what they have committed, nothing goes. DeleteRecords is not bound by them,
	// nor is compaction [leat.retention.groups].
	Groups []string
	// GroupsBytes is the most that Groups may hold back in a partition, of what would
	// be deleted without them, so that a group that is dead cannot fill the disk: what
	// is more goes, the oldest first, committed or not, and is logged as a warning. 0:
	// Unlimited [leat.retention.groups.bytes].
	GroupsBytes int64
}

// Compaction says when and how a topic with CleanupCompact is compacted.
type Compaction struct {
	MinDirtyRatio   float64       // up to 1; 0: 0.5; Unlimited: any dirt will do [min.cleanable.dirty.ratio]
	MinLag          time.Duration // 0: none [min.compaction.lag.ms]
	MaxLag          time.Duration // 0: Unlimited [max.compaction.lag.ms]
	TombstoneRetain time.Duration // 0: 1 day [delete.retention.ms]
}

// Durability says what has happened when an append returns nil.
type Durability uint8

const (
	// Synced is the default: the data is on stable storage, and survives a power
	// cut. Concurrent appends share one sync.
	Synced Durability = iota + 1
	// Written is in the page cache: it survives the process, not a power cut.
	// TopicConfig.FlushInterval and FlushBytes say when it is synced.
	Written
)

// External says what a wrapper owns instead of Leat: bits, to be added up.
type External uint8

const (
	// ExternalWatermark leaves the high watermark to the wrapper.
	ExternalWatermark External = 1 << iota
	// ExternalEpochs leaves leader epochs to the wrapper.
	ExternalEpochs
)

// Cleanup says what happens to old records.
type Cleanup uint8

const (
	CleanupDelete        Cleanup = iota + 1 // whole segments, by Retention
	CleanupCompact                          // all but the latest of each key
	CleanupCompactDelete                    // both
)

// TimestampType says whose clock a record's timestamp is.
type TimestampType uint8

const (
	CreateTime    TimestampType = iota + 1 // the caller's
	LogAppendTime                          // the log's, at the append
)

// Compression is how the records of a batch are stored.
type Compression = compress.Codec

const (
	None   = compress.None
	Gzip   = compress.Gzip
	Snappy = compress.Snappy
	LZ4    = compress.LZ4
	Zstd   = compress.Zstd
)

func (d Durability) String() string { return name(d, "Durability", "", "synced", "written") }
func (c Cleanup) String() string {
	return name(c, "Cleanup", "", "delete", "compact", "compact,delete")
}
func (t TimestampType) String() string {
	return name(t, "TimestampType", "", "CreateTime", "LogAppendTime")
}
func (e External) String() string {
	return name(e, "External", "", "watermark", "epochs", "watermark,epochs")
}

func name[T ~uint8](v T, typ string, names ...string) string {
	if int(v) < len(names) && (v > 0 || typ == "External") {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", typ, uint8(v))
}

// String lists the partitions and what differs from the defaults, as Kafka's
// properties.
func (c TopicConfig) String() string {
	c = c.withDefaults(TopicConfig{})
	standard := TopicConfig{}.withDefaults(TopicConfig{})
	var b strings.Builder
	fmt.Fprintf(&b, "partitions=%d", c.Partitions)
	for _, p := range properties {
		if v := p.format(&c); v != p.format(&standard) {
			fmt.Fprintf(&b, " %s=%s", p.name, v)
		}
	}
	return b.String()
}

// defaults are Kafka's (KAFKA_RULES 4.12), but for those that Kafka has no
// property for, and for flush.ms: Kafka leaves syncing to its replicas.
var defaults = TopicConfig{
	Partitions:      1,
	Durability:      Synced,
	FlushInterval:   time.Second,
	FlushBytes:      Unlimited,
	Cleanup:         CleanupDelete,
	SegmentBytes:    1 << 30,
	SegmentAge:      week,
	Retention:       Retention{Age: week, Bytes: Unlimited, GroupsBytes: Unlimited},
	Compaction:      Compaction{MinDirtyRatio: 0.5, MaxLag: Unlimited, TombstoneRetain: 24 * time.Hour},
	MaxBatchBytes:   1<<20 + 12,
	Timestamps:      CreateTime,
	TimestampBefore: Unlimited,
	TimestampAfter:  time.Hour,
	IndexBytes:      10 << 20,
	IndexInterval:   4096,
}

const week = 7 * 24 * time.Hour

// withDefaults fills each zero field from d, or else from the defaults.
func (c TopicConfig) withDefaults(d TopicConfig) TopicConfig {
	for _, from := range []*TopicConfig{&d, &defaults} {
		orDefault(&c.Partitions, from.Partitions)
		orDefault(&c.Durability, from.Durability)
		orDefault(&c.FlushInterval, from.FlushInterval)
		orDefault(&c.FlushBytes, from.FlushBytes)
		orDefault(&c.External, from.External)
		orDefault(&c.Compression, from.Compression)
		orDefault(&c.Cleanup, from.Cleanup)
		orDefault(&c.SegmentBytes, from.SegmentBytes)
		orDefault(&c.SegmentAge, from.SegmentAge)
		orDefault(&c.Retention.Age, from.Retention.Age)
		orDefault(&c.Retention.Bytes, from.Retention.Bytes)
		orDefault(&c.Retention.GroupsBytes, from.Retention.GroupsBytes)
		if c.Retention.Groups == nil {
			c.Retention.Groups = from.Retention.Groups
		}
		orDefault(&c.Compaction.MinDirtyRatio, from.Compaction.MinDirtyRatio)
		orDefault(&c.Compaction.MinLag, from.Compaction.MinLag)
		orDefault(&c.Compaction.MaxLag, from.Compaction.MaxLag)
		orDefault(&c.Compaction.TombstoneRetain, from.Compaction.TombstoneRetain)
		orDefault(&c.MaxBatchBytes, from.MaxBatchBytes)
		orDefault(&c.Timestamps, from.Timestamps)
		orDefault(&c.TimestampBefore, from.TimestampBefore)
		orDefault(&c.TimestampAfter, from.TimestampAfter)
		orDefault(&c.IndexBytes, from.IndexBytes)
		orDefault(&c.IndexInterval, from.IndexInterval)
	}
	c.Retention.Groups = slices.Clone(c.Retention.Groups)
	return c
}

func orDefault[T comparable](v *T, from T) {
	var zero T
	if *v == zero {
		*v = from
	}
}

// maxPartitions keeps the folder name of a short topic name, and the time that
// a create takes, within reason.
const maxPartitions = 100_000

// check refuses values outside their range, with the field's name and the range.
// c has its defaults filled in.
func (c *TopicConfig) check() error {
	if c.Partitions < 1 || c.Partitions > maxPartitions {
		return invalidConfig("Partitions is %d: allowed are 1 to %d", c.Partitions, maxPartitions)
	}
	for _, p := range properties {
		if err := p.check(c); err != nil {
			return err
		}
	}
	return nil
}

// checkTogether refuses values that are allowed one by one and make no sense
// beside each other. It is for what somebody asks for, and not for what is
// stored. c has its defaults filled in.
func (c *TopicConfig) checkTogether() error {
	// The default is above what small segments hold, and does no harm there.
	if int64(c.MaxBatchBytes) > c.SegmentBytes && c.MaxBatchBytes != defaults.MaxBatchBytes {
		return invalidConfig("MaxBatchBytes (max.message.bytes) is %d: no batch can be larger than SegmentBytes (segment.bytes), which is %d",
			c.MaxBatchBytes, c.SegmentBytes)
	}
	if l := c.Compaction; l.MaxLag >= 0 && l.MinLag > l.MaxLag {
		return invalidConfig("Compaction.MinLag (min.compaction.lag.ms) is %v: allowed is Compaction.MaxLag (max.compaction.lag.ms) at most, which is %v",
			l.MinLag, l.MaxLag)
	}
	return nil
}

// segmentAge is when a segment is rolled: in time to be compacted by MaxLag, as
// what is appended to never is.
func (c *TopicConfig) segmentAge() time.Duration {
	lag := c.Compaction.MaxLag
	if c.Cleanup == CleanupDelete || lag < 0 || c.SegmentAge >= 0 && c.SegmentAge < lag {
		return c.SegmentAge
	}
	return lag
}

// complete fills the defaults in, and refuses what is not allowed.
func (c TopicConfig) complete(d TopicConfig) (TopicConfig, error) {
	c = c.withDefaults(d)
	err := c.check()
	if err == nil {
		err = c.checkTogether()
	}
	return c, err
}
