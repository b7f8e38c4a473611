package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMarker(t *testing.T) {
	h := Header{
		BaseOffset: 12, LeaderEpoch: 3, BaseTimestamp: 77, ProducerID: 5, ProducerEpoch: 6,
		// What a marker does not take from its caller:
		Magic: 9, Attributes: 0xffff, LastOffsetDelta: 7, MaxTimestamp: 8, BaseSequence: 9, RecordCount: 10,
	}
	for _, commit := range []bool{true, false} {
		b := Batch(AppendMarker(nil, h, commit, 42))
		require.Len(t, b, MarkerSize)
		require.NoError(t, Validate(b, nil, 0, false))
		require.True(t, b.IsControl())
		require.True(t, b.IsTransactional())
		require.Equal(t, int64(77), b.MaxTimestamp())
		require.Equal(t, int32(-1), b.BaseSequence())
		require.Equal(t, int64(12), b.LastOffset())
		c, ok, err := DecodeControl(b)
		require.NoError(t, err)
		require.True(t, ok)
		want := Control{Type: ControlAbort, CoordinatorEpoch: 42}
		if commit {
			want.Type = ControlCommit
		}
		require.Equal(t, want, c)
		require.True(t, c.IsMarker())
	}
}

func TestParseControl(t *testing.T) {
	for _, c := range []struct {
		name       string
		key, value string
		want       Control
		err        string
	}{
		{"abort", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x05", Control{CoordinatorEpoch: 5}, ""},
		{"commit", "\x00\x00\x00\x01", "\x00\x00\xff\xff\xff\xff", Control{Type: 1, CoordinatorEpoch: -1}, ""},
		{"newer value", "\x00\x00\x00\x01", "\x00\x09\x00\x00\x00\x05more", Control{Type: 1, ValueVersion: 9, CoordinatorEpoch: 5}, ""},
		{"newer key", "\x00\x03\x00\x01more", "\x00\x00\x00\x00\x00\x05", Control{Type: 1, KeyVersion: 3, CoordinatorEpoch: 5}, ""},
		{"leader change", "\x00\x00\x00\x02", "", Control{Type: ControlLeaderChange}, ""},
		{"unknown type", "\x00\x00\x01\x00", "?", Control{Type: 256}, ""},
		{"negative type", "\x00\x00\xff\xff", "", Control{Type: -1}, ""},
		{"no key", "", "\x00\x00\x00\x00\x00\x05", Control{}, "key of 0 bytes"},
		{"short key", "\x00\x00\x00", "\x00\x00\x00\x00\x00\x05", Control{}, "key of 3 bytes"},
		{"negative key version", "\xff\xff\x00\x00", "\x00\x00\x00\x00\x00\x05", Control{}, "key version -1"},
		{"short value", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x00", Control{}, "value of 5 bytes"},
		{"negative value version", "\x00\x00\x00\x00", "\x80\x00\x00\x00\x00\x05", Control{}, "value version -32768"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseControl(&Record{Key: []byte(c.key), Value: []byte(c.value)})
			if c.err != "" {
				require.ErrorIs(t, err, ErrCorrupt)
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := ParseControl(&Record{})
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestDecodeControlEmptied(t *testing.T) {
	h := NewHeader(5, nil)
	h.Attributes = TransactionalBit | ControlBit
	_, ok, err := DecodeControl(sealed(h, nil))
	require.NoError(t, err)
	require.False(t, ok)

	_, _, err = DecodeControl(sealed(h, []byte{0}))
	require.ErrorIs(t, err, ErrCorrupt)
	h.Attributes |= 1
	_, _, err = DecodeControl(sealed(h, []byte{0}))
	require.ErrorIs(t, err, ErrUnsupported)
}
