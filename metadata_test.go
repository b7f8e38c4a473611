package leat

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var someTopic = topicRecord{
	name: "orders", id: TopicID{1, 2, 3}, partitions: 4, state: topicDeleting,
	pairs: []pair{{"retention.ms", "-1"}, {"of.a.newer.leat", ""}},
}

func TestMetadataRecords(t *testing.T) {
	value, err := someTopic.value()
	require.NoError(t, err)
	// The form is on disks: it must never change.
	require.Equal(t, "\x00\x00"+"\x01\x02\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+"\x00\x00\x00\x04"+"\x01"+
		"\x00\x00\x00\x02"+"\x00\x0cretention.ms"+"\x00\x02-1"+"\x00\x0fof.a.newer.leat"+"\x00\x00", string(value))
	require.Equal(t, "\x00\x00\x00\x06orders", string(topicKey("orders")))
	require.Equal(t, "\x00\x01", string(storeKey()))

	kind, name, err := parseMetadataKey(topicKey("orders"))
	require.NoError(t, err)
	require.Equal(t, int16(kindTopic), kind)
	again, err := parseTopic(name, value)
	require.NoError(t, err)
	require.Equal(t, &someTopic, again)

	kind, _, err = parseMetadataKey(storeKey())
	require.NoError(t, err)
	require.Equal(t, int16(kindStore), kind)
	require.NoError(t, parseStore(storeValue()))

	long := topicRecord{pairs: []pair{{"a", strings.Repeat("x", 1<<15)}}}
	_, err = long.value()
	require.ErrorIs(t, err, ErrInvalidConfig)
}

func TestMetadataRefuses(t *testing.T) {
	value, err := someTopic.value()
	require.NoError(t, err)
	for n := range value {
		_, err := parseTopic("orders", value[:n])
		require.ErrorIs(t, err, errMetadata, "cut at %d", n)
	}
	_, err = parseTopic("orders", append(bytes.Clone(value), 0))
	require.ErrorContains(t, err, "1 bytes behind")

	patch := func(at int, b ...byte) []byte {
		v := bytes.Clone(value)
		copy(v[at:], b)
		return v
	}
	_, err = parseTopic("orders", patch(0, 0, 1))
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, `topic "orders": version not known: 1,`)
	_, err = parseTopic("orders", patch(22, 2))
	require.ErrorIs(t, err, ErrUnsupported, "a state of a newer Leat")
	_, err = parseTopic("orders", patch(18, 0, 0, 0, 0))
	require.ErrorContains(t, err, "0 partitions")
	_, err = parseTopic("orders", patch(23, 0xff, 0xff, 0xff, 0xff))
	require.ErrorIs(t, err, errMetadata, "a negative count")
	_, err = parseTopic("orders", patch(23, 0x7f, 0xff, 0xff, 0xff))
	require.ErrorIs(t, err, errMetadata, "a count beyond the bytes")

	for n := range topicKey("orders") {
		_, _, err := parseMetadataKey(topicKey("orders")[:n])
		require.ErrorIs(t, err, errMetadata, "cut at %d", n)
	}
	_, _, err = parseMetadataKey(topicKey(""))
	require.ErrorIs(t, err, errMetadata)
	_, _, err = parseMetadataKey([]byte{0, 9})
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorIs(t, parseStore([]byte{0, 1}), ErrUnsupported)
	require.ErrorIs(t, parseStore([]byte{0, 0, 0}), errMetadata)
}

// FuzzMetadata: whatever a record holds, it is refused, or means what encoding it
// again says, byte for byte.
func FuzzMetadata(f *testing.F) {
	value, err := someTopic.value()
	require.NoError(f, err)
	f.Add(topicKey("orders"), value)
	f.Add(topicKey("orders"), []byte(nil))
	f.Add(storeKey(), storeValue())
	f.Add(binary.BigEndian.AppendUint16(nil, 7), []byte{0, 0})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		kind, name, err := parseMetadataKey(key)
		if err != nil {
			return
		}
		if kind == kindStore {
			if parseStore(value) == nil {
				require.Equal(t, storeValue(), value)
			}
			return
		}
		require.Equal(t, key, topicKey(name))
		if r, err := parseTopic(name, value); err == nil {
			again, err := r.value()
			require.NoError(t, err)
			require.Equal(t, value, again)
			_, _ = new(Store).makeTopic(r)
		}
	})
}
