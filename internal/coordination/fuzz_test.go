package coordination

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/fields"
	"github.com/leatlog/leat/internal/golden"
)

// FuzzKeys and FuzzValues: whatever the bytes are, each decoder refuses them, or
// what it makes of them is the same after it was encoded and decoded again, and
// can be shown. (The bytes need not be: Kafka takes longer varints than needed.)
func FuzzKeys(f *testing.F) {
	seed(f, func(r kafkaRecord) []byte { return r.Key })
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, types := range [][]recordType{offsetTypes[:], transactionTypes[:]} {
			for _, is := range types {
				stable(t, b, is.key)
			}
		}
		if kind, err := KeyKind(b); err == nil {
			_, _ = DescribeOffset(b, nil)
			require.GreaterOrEqual(t, kind, int16(0))
		}
		p := PartitionOf(string(b), 50)
		require.True(t, p >= 0 && p < 50)
	})
}

func FuzzValues(f *testing.F) {
	seed(f, func(r kafkaRecord) []byte { return r.Value })
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, types := range [][]recordType{offsetTypes[1:], transactionTypes[:]} {
			for _, is := range types {
				stable(t, b, is.value)
			}
		}
		stable(t, b, record[Subscription])
		stable(t, b, record[Assignment])
	})
}

func seed(f *testing.F, half func(kafkaRecord) []byte) {
	for _, name := range []string{"group-records.json", "new-group-records.json", "transaction-records.json", "consumer-protocol.json"} {
		var records []struct {
			kafkaRecord
			Blob golden.Hex `json:"bytes"`
		}
		golden.JSON(f, &records, "offsets", name)
		for _, r := range records {
			if b := half(r.kafkaRecord); b != nil {
				f.Add(b)
			}
			if r.Blob != nil {
				f.Add([]byte(r.Blob))
			}
		}
	}
}

func stable(t *testing.T, b []byte, make func() Record) {
	first := make()
	if Parse(b, first) != nil {
		return
	}
	once, err := Append(nil, first)
	require.NoError(t, err)
	require.LessOrEqual(t, len(once), len(b))
	second := make()
	require.NoError(t, Parse(once, second))
	require.True(t, reflect.DeepEqual(first, second), "%#v %#v", first, second)
	twice, err := Append(nil, second)
	require.NoError(t, err)
	require.Equal(t, once, twice)
	for _, expand := range []bool{false, true} {
		c := fields.Show(nil)
		c.Expand = expand
		first.fields(&c)
		out, err := c.End("")
		require.NoError(t, err)
		require.True(t, json.Valid(out), "%s", out)
	}
}
