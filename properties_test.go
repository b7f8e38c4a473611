package leat

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPropertyErrors: what is refused is named, with what is allowed.
func TestPropertyErrors(t *testing.T) {
	for _, c := range []struct{ name, value, says string }{
		{"retention.mss", "1", `there is no property "retention.mss"; retention.ms is one`},
		{"segment.byte", "1", `there is no property "segment.byte"; segment.bytes is one`},
		{"colour", "blue", `there is no property "colour"; there are cleanup.policy, compression.type, `},
		{strings.Repeat("x", 500), "", `there is no property "` + strings.Repeat("x", 80) + `"; there are`},
		{"flush.messages", "1", "flush.messages is Kafka's and has no meaning here: use leat.flush.bytes or flush.ms"},
		{"min.insync.replicas", "2", "min.insync.replicas is Kafka's and has no meaning here: there are no replicas"},
		{"retention.ms", "-2", `retention.ms is "-2": allowed are whole milliseconds from 0, or -1 for no limit`},
		{"retention.ms", "1.5", `retention.ms is "1.5": allowed are whole milliseconds`},
		{"retention.ms", "7d", `retention.ms is "7d": allowed are whole milliseconds`},
		{"segment.ms", "0", `segment.ms is "0": allowed are whole milliseconds from 1, or 9223372036854775807 for no limit`},
		{"flush.ms", "-1", `flush.ms is "-1"`},
		{"min.compaction.lag.ms", "-1", `min.compaction.lag.ms is "-1": allowed are whole milliseconds from 0`},
		{"min.compaction.lag.ms", "9223372036854775807", `min.compaction.lag.ms is`},
		{"segment.bytes", "1023", `segment.bytes is "1023": allowed are 1024 to 2147483647 bytes`},
		{"segment.bytes", "1G", `segment.bytes is "1G"`},
		{"max.message.bytes", "0", `max.message.bytes is "0": allowed are 61 to 2147483647 bytes`},
		{"max.message.bytes", "2147483648", `max.message.bytes is "2147483648"`},
		{"retention.bytes", "-2", `retention.bytes is "-2": allowed are 0 to 9223372036854775807 bytes, or -1 for no limit`},
		{"leat.flush.bytes", "0", `leat.flush.bytes is "0": allowed are 1 to`},
		{"cleanup.policy", "keep", `cleanup.policy is "keep": allowed are delete; compact; compact,delete`},
		{"compression.type", "uncompressed", `compression.type is "uncompressed": allowed are producer (`},
		{"compression.type", "none", `compression.type is "none": allowed are producer (`},
		{"compression.type", "brotli", `gzip, snappy, lz4, zstd`},
		{"min.cleanable.dirty.ratio", "NaN", `min.cleanable.dirty.ratio is "NaN": allowed are 0 to 1`},
		{"leat.durability", "hoped", `leat.durability is "hoped": allowed are synced; written`},
		{"leat.external", "all", `leat.external is "all": allowed are nothing; watermark; epochs; watermark,epochs`},
		{"leat.retention.groups.bytes", "-2", `leat.retention.groups.bytes is "-2": allowed are 0 to`},
		{"leat.retention.groups", "a,,b", `leat.retention.groups is "a,,b"`},
		{"message.timestamp.type", "createtime", `allowed are CreateTime; LogAppendTime`},
	} {
		_, err := ParseTopicConfig(map[string]string{c.name: c.value})
		require.ErrorIs(t, err, ErrInvalidConfig, c.says)
		require.ErrorContains(t, err, c.says)
	}
}

// TestUselessProperties: each of Kafka's topic properties is one of Leat's, or
// refused with a reason.
func TestUselessProperties(t *testing.T) {
	require.True(t, slices.IsSortedFunc(properties, func(a, b property) int { return strings.Compare(a.name, b.name) }))
	for name, why := range useless {
		require.Nil(t, findProperty(name), name)
		_, err := ParseTopicConfig(map[string]string{name: "1"})
		require.ErrorContains(t, err, name+" is Kafka's and has no meaning here: "+why)
	}
	// org.apache.kafka.common.config.TopicConfig
	for _, name := range strings.Fields(`segment.bytes segment.ms segment.jitter.ms segment.index.bytes flush.messages
		flush.ms retention.bytes retention.ms remote.storage.enable local.retention.ms local.retention.bytes
		remote.log.copy.disable remote.log.delete.on.disable max.message.bytes index.interval.bytes file.delete.delay.ms
		delete.retention.ms min.compaction.lag.ms max.compaction.lag.ms min.cleanable.dirty.ratio cleanup.policy
		unclean.leader.election.enable min.insync.replicas compression.type compression.gzip.level compression.lz4.level
		compression.zstd.level preallocate message.timestamp.type message.timestamp.before.max.ms
		message.timestamp.after.max.ms`) {
		require.True(t, findProperty(name) != nil || useless[name] != "", name)
	}
}

// TestSenselessTogether: values that are allowed one by one.
func TestSenselessTogether(t *testing.T) {
	st := memStore(t)
	for says, props := range map[string]map[string]string{
		"MaxBatchBytes (max.message.bytes) is 4096: no batch can be larger than SegmentBytes (segment.bytes), which is 2048": {
			"max.message.bytes": "4096", "segment.bytes": "2048"},
		"Compaction.MinLag (min.compaction.lag.ms) is 3s: allowed is Compaction.MaxLag (max.compaction.lag.ms) at most, which is 2s": {
			"min.compaction.lag.ms": "3000", "max.compaction.lag.ms": "2000"},
	} {
		_, err := ParseTopicConfig(props)
		require.ErrorIs(t, err, ErrInvalidConfig)
		require.ErrorContains(t, err, says)
		c := TopicConfig{}
		for name, value := range props {
			require.NoError(t, c.set(name, value))
		}
		_, err = st.CreateTopic(ctx, "x", c)
		require.ErrorContains(t, err, says)
	}
	c, err := ParseTopicConfig(map[string]string{"segment.bytes": "2048", "min.compaction.lag.ms": "3000"})
	require.NoError(t, err, "the default batch limit may be above small segments, and no maximum is above every minimum")
	require.Equal(t, 3*time.Second, c.Compaction.MinLag)
}

func TestParseProperties(t *testing.T) {
	props, err := ParseProperties("# a comment\n\n retention.ms = 60000 \r\nleat.external=\ncleanup.policy=compact,delete\n")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"retention.ms": "60000", "leat.external": "", "cleanup.policy": "compact,delete"}, props)
	_, err = ParseTopicConfig(props)
	require.NoError(t, err)
	for text, says := range map[string]string{
		"retention.ms=1\nretention.ms": "line 2 is \"retention.ms\"",
		"=5":                           "line 1",
		"a=1\na=2":                     "line 2: a is there twice",
	} {
		_, err := ParseProperties(text)
		require.ErrorIs(t, err, ErrInvalidConfig)
		require.ErrorContains(t, err, says)
	}
	props, err = ParseProperties("")
	require.NoError(t, err)
	require.Empty(t, props)
}
