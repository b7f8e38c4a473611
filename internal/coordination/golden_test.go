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
	record
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
