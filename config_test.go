package leat

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// everyOption differs from the defaults in every field. A field that is added
// and not listed here fails TestConfigRoundTrip.
var everyOption = TopicConfig{
	Partitions:      3,
	Durability:      Written,
	FlushInterval:   250 * time.Millisecond,
	FlushBytes:      1 << 20,
	External:        ExternalWatermark | ExternalEpochs,
	Compression:     Zstd,
	Cleanup:         CleanupCompactDelete,
	SegmentBytes:    1 << 20,
	SegmentAge:      time.Hour,
	Retention:       Retention{Age: Unlimited, Bytes: 1 << 40, GroupsBytes: 1 << 30, Groups: []string{"mailer", "billing"}},
	Compaction:      Compaction{MinDirtyRatio: 0.25, MinLag: time.Minute, MaxLag: 24 * time.Hour, TombstoneRetain: time.Hour},
	MaxBatchBytes:   1 << 16,
	Timestamps:      LogAppendTime,
	TimestampBefore: 365 * 24 * time.Hour,
	TimestampAfter:  Unlimited,
	IndexBytes:      1 << 12,
	IndexInterval:   512,
}

// requireEachSet fails for a field of v that is zero, or the default.
func requireEachSet(t *testing.T, v, standard reflect.Value) {
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.Kind() == reflect.Struct {
			requireEachSet(t, f, standard.Field(i))
			continue
		}
		require.False(t, f.IsZero(), "%s is not set", name)
		require.NotEqual(t, standard.Field(i).Interface(), f.Interface(), "%s is the default", name)
	}
}

func TestConfigRoundTrip(t *testing.T) {
	requireEachSet(t, reflect.ValueOf(everyOption), reflect.ValueOf(TopicConfig{}.withDefaults(TopicConfig{})))
	require.Equal(t, everyOption, everyOption.withDefaults(TopicConfig{}))
	require.NoError(t, everyOption.check())

	c, err := ParseTopicConfig(everyOption.Properties())
	require.NoError(t, err)
	c.Partitions = everyOption.Partitions // not a property
	require.Equal(t, everyOption, c)

	standard := TopicConfig{}.withDefaults(TopicConfig{})
	require.NoError(t, standard.check())
	c, err = ParseTopicConfig(TopicConfig{}.Properties())
	require.NoError(t, err)
	require.Equal(t, standard, c.withDefaults(TopicConfig{}))
	require.Equal(t, everyOption, TopicConfig{}.withDefaults(everyOption), "Options.Topic comes before the defaults")
}

// TestConfigDefaults has Kafka's names and values, KAFKA_RULES 4.12.
func TestConfigDefaults(t *testing.T) {
	require.Equal(t, map[string]string{
		"cleanup.policy":                  "delete",
		"compression.type":                "producer",
		"delete.retention.ms":             "86400000",
		"flush.ms":                        "1000", // Kafka: never, it has replicas
		"index.interval.bytes":            "4096",
		"leat.durability":                 "synced",
		"leat.external":                   "",
		"leat.flush.bytes":                "-1",
		"leat.retention.groups":           "",
		"leat.retention.groups.bytes":     "-1",
		"max.compaction.lag.ms":           "9223372036854775807",
		"max.message.bytes":               "1048588",
		"message.timestamp.after.max.ms":  "3600000",
		"message.timestamp.before.max.ms": "9223372036854775807",
		"message.timestamp.type":          "CreateTime",
		"min.cleanable.dirty.ratio":       "0.5",
		"min.compaction.lag.ms":           "0",
		"retention.bytes":                 "-1",
		"retention.ms":                    "604800000",
		"segment.bytes":                   "1073741824",
		"segment.index.bytes":             "10485760",
		"segment.ms":                      "604800000",
	}, TopicConfig{}.Properties())
	require.Equal(t, "partitions=1", TopicConfig{}.String())
	require.Equal(t, "partitions=4 cleanup.policy=compact compression.type=zstd leat.durability=written",
		TopicConfig{Partitions: 4, Compression: Zstd, Durability: Written, Cleanup: CleanupCompact}.String())
}

func TestParseTopicConfig(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        TopicConfig
	}{
		{"cleanup.policy", "compact,delete", TopicConfig{Cleanup: CleanupCompactDelete}},
		{"cleanup.policy", "delete, compact", TopicConfig{Cleanup: CleanupCompactDelete}},
		{"cleanup.policy", "compact", TopicConfig{Cleanup: CleanupCompact}},
		{"compression.type", "lz4", TopicConfig{Compression: LZ4}},
		{"compression.type", "producer", TopicConfig{}},
		{"leat.retention.groups", "a, b", TopicConfig{Retention: Retention{Groups: []string{"a", "b"}}}},
		{"leat.retention.groups", "", TopicConfig{}},
		{"leat.retention.groups.bytes", "5", TopicConfig{Retention: Retention{GroupsBytes: 5}}},
		{"leat.retention.groups.bytes", "0", TopicConfig{Retention: Retention{GroupsBytes: 1}}},
		{"leat.retention.groups.bytes", "-1", TopicConfig{Retention: Retention{GroupsBytes: Unlimited}}},
		{"retention.ms", "-1", TopicConfig{Retention: Retention{Age: Unlimited}}},
		{"retention.ms", " 86400000 ", TopicConfig{Retention: Retention{Age: 24 * time.Hour}}},
		{"segment.ms", "9223372036854775807", TopicConfig{SegmentAge: Unlimited}},
		{"delete.retention.ms", "0", TopicConfig{Compaction: Compaction{TombstoneRetain: time.Millisecond}}},
		{"min.cleanable.dirty.ratio", "0", TopicConfig{Compaction: Compaction{MinDirtyRatio: Unlimited}}},
		{"max.compaction.lag.ms", "9300000000000", TopicConfig{Compaction: Compaction{MaxLag: Unlimited}}},
	} {
		got, err := ParseTopicConfig(map[string]string{c.name: c.value})
		require.NoError(t, err, "%s=%s", c.name, c.value)
		require.Equal(t, c.want, got, "%s=%s", c.name, c.value)
	}
	for name, value := range map[string]string{
		"segment.byte": "1", "segment.bytes": "many", "max.message.bytes": "3000000000", "retention.ms": "-2",
		"cleanup.policy": "keep", "compression.type": "brotli", "message.timestamp.type": "Create",
		"min.cleanable.dirty.ratio": "2", "leat.durability": "hoped", "index.interval.bytes": "-4",
	} {
		_, err := ParseTopicConfig(map[string]string{name: value})
		require.ErrorIs(t, err, ErrInvalidConfig, "%s=%s", name, value)
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		says string
		c    TopicConfig
	}{
		{"Partitions is -1: allowed are 1 to 100000", TopicConfig{Partitions: -1}},
		{"Partitions is 100001", TopicConfig{Partitions: 100_001}},
		{"Durability is 3", TopicConfig{Durability: 3}},
		{"FlushBytes is -2: allowed are 1 to 9223372036854775807, or Unlimited (-1)", TopicConfig{FlushBytes: -2}},
		{"External is 4", TopicConfig{External: 4}},
		{"Compression is 5", TopicConfig{Compression: 5}},
		{"Cleanup is 9", TopicConfig{Cleanup: 9}},
		{"SegmentBytes is 2147483648: allowed are 1024 to 2147483647", TopicConfig{SegmentBytes: 1 << 31}},
		{"SegmentBytes is -1", TopicConfig{SegmentBytes: Unlimited}},
		{"Retention.GroupsBytes is -2: allowed are 1 to", TopicConfig{Retention: Retention{GroupsBytes: -2}}},
		{"Retention.Bytes is -7", TopicConfig{Retention: Retention{Bytes: -7}}},
		{"MaxBatchBytes is 60", TopicConfig{MaxBatchBytes: 60}},
		{"Timestamps is 3", TopicConfig{Timestamps: 3}},
		{"IndexBytes is 23", TopicConfig{IndexBytes: 23}},
		{"IndexInterval is -1", TopicConfig{IndexInterval: -1}},
		{"SegmentAge is 1.5µs: allowed are whole milliseconds from 1ms, or Unlimited (-1)", TopicConfig{SegmentAge: 1500}},
		{"FlushInterval is -1s", TopicConfig{FlushInterval: -time.Second}},
		{"Compaction.MinLag is -1ns: allowed are whole milliseconds from 0s", TopicConfig{Compaction: Compaction{MinLag: -1}}},
		{"Compaction.MinDirtyRatio is 1.5", TopicConfig{Compaction: Compaction{MinDirtyRatio: 1.5}}},
		{"Compaction.MinDirtyRatio is NaN", TopicConfig{Compaction: Compaction{MinDirtyRatio: math.NaN()}}},
		{`Retention.Groups has "a,b"`, TopicConfig{Retention: Retention{Groups: []string{"a,b"}}}},
		{`Retention.Groups has ""`, TopicConfig{Retention: Retention{Groups: []string{""}}}},
	} {
		full := c.c.withDefaults(TopicConfig{})
		err := full.check()
		require.ErrorIs(t, err, ErrInvalidConfig, c.says)
		require.ErrorContains(t, err, c.says)
	}
}

func TestConfigStrings(t *testing.T) {
	require.Equal(t, "synced", Synced.String())
	require.Equal(t, "Durability(7)", Durability(7).String())
	require.Equal(t, "Durability(0)", Durability(0).String())
	require.Equal(t, "compact,delete", CleanupCompactDelete.String())
	require.Equal(t, "LogAppendTime", LogAppendTime.String())
	require.Equal(t, "watermark,epochs", (ExternalWatermark | ExternalEpochs).String())
	require.Equal(t, "read_committed", ReadCommitted.String())
	require.Equal(t, "Isolation(9)", Isolation(9).String())
	require.Equal(t, "pwrite", WriterPwrite.String())
	require.Equal(t, "offset 7", At(7).String())
	require.Equal(t, "last 7", LastN(7).String())
	require.Equal(t, "earliest", Earliest.String())
	require.Equal(t, "latest", Latest.String())
	require.Equal(t, "time 2009-11-10T23:00:00Z", AtTime(time.Date(2009, 11, 10, 23, 0, 0, 0, time.UTC)).String())
}
