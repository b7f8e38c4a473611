package coordination

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/fields"
	"github.com/leatlog/leat/internal/golden"
)

// kafkaRecord is a record as golden/offsets/*-records.json has them.
type kafkaRecord struct {
	Type         string          `json:"type"`
	KeyVersion   int16           `json:"keyVersion"`
	Key          golden.Hex      `json:"key"`
	KeyFields    json.RawMessage `json:"keyFields"`
	ValueVersion *int16          `json:"valueVersion"` // nil: a tombstone
	Value        golden.Hex      `json:"value"`
	ValueFields  json.RawMessage `json:"valueFields"`
}

// again is b parsed, shown, and appended; each form of append is to give b.
func again[T any, P interface {
	*T
	Record
}](t *testing.T, b []byte, parse func([]byte) (T, error), put func([]byte, T) ([]byte, error)) (shown string) {
	t.Helper()
	v, err := parse(b)
	require.NoError(t, err)
	out, err := put([]byte("before"), v)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", append([]byte("before"), b...)), fmt.Sprintf("%x", out))
	c := fields.Show(nil)
	P(&v).fields(&c)
	out, err = c.End("")
	require.NoError(t, err)
	return string(out)
}

// requireFields compares the fields as shown with Kafka's, as JSON: numbers as they
// are written, since some have 64 bits.
func requireFields(t *testing.T, want json.RawMessage, shown string) {
	t.Helper()
	values := [2]any{}
	for i, text := range [][]byte{want, []byte(shown)} {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		require.NoError(t, d.Decode(&values[i]), "%s", text)
	}
	require.Equal(t, values[0], values[1])
}

func TestKafkaGroupRecords(t *testing.T) {
	var records []kafkaRecord
	golden.JSON(t, &records, "offsets", "group-records.json")
	seen := map[string]int{}
	for _, r := range records {
		kind, err := KeyKind(r.Key)
		require.NoError(t, err)
		require.Equal(t, r.KeyVersion, kind)
		var key, value string
		switch kind {
		case KindOldOffset, KindOffset:
			require.Equal(t, "OffsetCommit", r.Type)
			key = again(t, r.Key, ParseOffsetKey, AppendOffsetKey)
			if r.ValueVersion != nil {
				v, err := ParseOffsetValue(r.Value)
				require.NoError(t, err)
				require.Equal(t, *r.ValueVersion, v.Version)
				require.Equal(t, v.Version == 1, v.ExpireTimestamp != -1)
				require.Equal(t, v.Version >= 3, v.LeaderEpoch != -1)
				value = again(t, r.Value, ParseOffsetValue, AppendOffsetValue)
			}
		case KindGroup:
			require.Equal(t, "GroupMetadata", r.Type)
			key = again(t, r.Key, ParseGroupKey, AppendGroupKey)
			if r.ValueVersion != nil {
				v, err := ParseGroupValue(r.Value)
				require.NoError(t, err)
				require.Equal(t, *r.ValueVersion, v.Version)
				value = again(t, r.Value, ParseGroupValue, AppendGroupValue)
			}
		default:
			require.Fail(t, "kind", "%d", kind)
		}
		requireFields(t, r.KeyFields, key)
		what := r.Type + " tombstone"
		if r.ValueVersion != nil {
			requireFields(t, r.ValueFields, value)
			what = fmt.Sprintf("%s %d", r.Type, *r.ValueVersion)
		}
		seen[what]++
	}
	for version := range 5 {
		require.NotZero(t, seen[fmt.Sprintf("OffsetCommit %d", version)], version)
		require.NotZero(t, seen[fmt.Sprintf("GroupMetadata %d", version)], version)
	}
	require.NotZero(t, seen["OffsetCommit tombstone"])
}

func TestKafkaGroupPartition(t *testing.T) {
	var groups []struct {
		ID    string `json:"groupId"`
		Hash  int32  `json:"javaHashCode"`
		Of50  int32  `json:"partitionOf50"`
		OfFew int32  `json:"partitionOf7"`
	}
	golden.JSON(t, &groups, "offsets", "group-partition.json")
	require.NotEmpty(t, groups)
	for _, g := range groups {
		require.Equal(t, g.Hash, javaHash(g.ID), "%q", g.ID)
		require.Equal(t, g.Of50, PartitionOf(g.ID, 50), "%q", g.ID)
		require.Equal(t, g.OfFew, PartitionOf(g.ID, 7), "%q", g.ID)
	}
	// "😀" is two UTF-16 units to Java, d83d and de00.
	require.Equal(t, int32(0xd83d*31+0xde00), javaHash("😀"))
}

// The segment has the records of group-records.json, and markers.
func TestKafkaOffsetsSegment(t *testing.T) {
	log := golden.Bytes(t, "offsets", "__consumer_offsets-12", "00000000000000000000.log")
	seen := map[string]int{}
	for len(log) > 0 {
		b, err := codec.Next(log)
		require.NoError(t, err)
		log = log[b.Size():]
		if b.IsControl() {
			continue
		}
		records, err := codec.DecodeAll(b, b.Payload(), nil)
		require.NoError(t, err)
		for _, r := range records {
			kind, err := KeyKind(r.Key)
			require.NoError(t, err)
			switch {
			case kind <= KindOffset:
				again(t, r.Key, ParseOffsetKey, AppendOffsetKey)
				if r.Value != nil {
					again(t, r.Value, ParseOffsetValue, AppendOffsetValue)
				}
			case kind == KindGroup:
				again(t, r.Key, ParseGroupKey, AppendGroupKey)
				if r.Value != nil {
					again(t, r.Value, ParseGroupValue, AppendGroupValue)
				}
			}
			seen[fmt.Sprint(kind, r.Value == nil)]++
		}
	}
	require.NotZero(t, seen["1 false"])
	require.NotZero(t, seen["1 true"])
	require.NotZero(t, seen["2 false"])
}

func TestKafkaTransactionRecords(t *testing.T) {
	var records []kafkaRecord
	golden.JSON(t, &records, "offsets", "transaction-records.json")
	seen := map[string]int{}
	for _, r := range records {
		requireFields(t, r.KeyFields, again(t, r.Key, ParseTransactionKey, AppendTransactionKey))
		if r.ValueVersion == nil {
			seen["tombstone"]++
			continue
		}
		v, err := ParseTransactionValue(r.Value)
		require.NoError(t, err)
		require.Equal(t, *r.ValueVersion, v.Version)
		require.Empty(t, v.Tags, "all that Kafka wrote is known")
		requireFields(t, r.ValueFields, again(t, r.Value, ParseTransactionValue, AppendTransactionValue))
		seen[fmt.Sprint(v.Version, v.Partitions == nil)]++
	}
	for _, what := range []string{"tombstone", "0 false", "0 true", "1 false", "1 true"} {
		require.NotZero(t, seen[what], what)
	}
}

// The newer kinds have no Parse of their own: they go through Parse and Append.
func TestKafkaConsumerGroupRecords(t *testing.T) {
	var records []kafkaRecord
	golden.JSON(t, &records, "offsets", "new-group-records.json")
	seen := map[int16]int{}
	for _, r := range records {
		require.Less(t, int(r.KeyVersion), len(offsetTypes))
		is := offsetTypes[r.KeyVersion]
		require.Equal(t, r.Type, is.name)
		for _, half := range []struct {
			bytes  []byte
			record Record
			fields json.RawMessage
		}{{r.Key, is.key(), r.KeyFields}, {r.Value, is.value(), r.ValueFields}} {
			require.NoError(t, Parse(half.bytes, half.record))
			out, err := Append(nil, half.record)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%x", []byte(half.bytes)), fmt.Sprintf("%x", out))
			c := fields.Show(nil)
			half.record.fields(&c)
			out, err = c.End("")
			require.NoError(t, err)
			requireFields(t, half.fields, string(out))
			require.NotContains(t, string(out), "taggedFields", "all that Kafka wrote is known")
		}
		seen[r.KeyVersion]++
	}
	for kind := KindConsumerGroup; kind <= KindCurrentAssignment; kind++ {
		require.NotZero(t, seen[int16(kind)], kind)
	}
}

func TestKafkaConsumerProtocol(t *testing.T) {
	var blobs []struct {
		What    string     `json:"what"`
		Version int16      `json:"version"`
		Bytes   golden.Hex `json:"bytes"`
	}
	golden.JSON(t, &blobs, "offsets", "consumer-protocol.json")
	seen := map[string]int{}
	for _, b := range blobs {
		seen[fmt.Sprint(b.What, b.Version)]++
		if b.What == "assignment" {
			again(t, b.Bytes, ParseAssignment, AppendAssignment)
			a, err := ParseAssignment(b.Bytes)
			require.NoError(t, err)
			require.Equal(t, Assignment{
				Version: b.Version, UserData: []byte("u"),
				Partitions: []TopicPartitions{{Topic: "orders", Partitions: []int32{1, 4}}},
			}, a)
			continue
		}
		again(t, b.Bytes, ParseSubscription, AppendSubscription)
		s, err := ParseSubscription(b.Bytes)
		require.NoError(t, err)
		want := Subscription{Version: b.Version, Topics: []string{"a", "orders"}, UserData: []byte("user"), Generation: -1}
		if b.Version >= 1 {
			want.Owned = []TopicPartitions{{Topic: "orders", Partitions: []int32{1}}}
		}
		if b.Version >= 2 {
			want.Generation = 5
		}
		if b.Version >= 3 {
			want.Rack = new("rack-1")
		}
		require.Equal(t, want, s)
	}
	for version := range 4 {
		require.NotZero(t, seen[fmt.Sprint("assignment", version)])
		require.NotZero(t, seen[fmt.Sprint("subscription", version)])
	}
}
