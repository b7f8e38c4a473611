package codec

import (
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

var everyField = Header{
	BaseOffset:      0x0102030405060708,
	BatchLength:     0x11121314,
	LeaderEpoch:     -2,
	Magic:           -3,
	CRC:             0xa1a2a3a4,
	Attributes:      0xfffe,
	LastOffsetDelta: 0x21222324,
	BaseTimestamp:   -4,
	MaxTimestamp:    0x3132333435363738,
	ProducerID:      0x4142434445464748,
	ProducerEpoch:   -5,
	BaseSequence:    0x51525354,
	RecordCount:     -6,
}

func TestHeaderLayout(t *testing.T) {
	b := make([]byte, HeaderSize+3)
	b[HeaderSize] = 0xee
	everyField.Put(b)
	require.Equal(t, "0102030405060708"+"11121314"+"fffffffe"+"fd"+"a1a2a3a4"+"fffe"+"21222324"+
		"fffffffffffffffc"+"3132333435363738"+"4142434445464748"+"fffb"+"51525354"+"fffffffa"+"ee0000",
		hex.EncodeToString(b))
	h, err := ParseHeader(b)
	require.NoError(t, err)
	require.Equal(t, everyField, h)
	require.Equal(t, everyField, Batch(b).Header())
}

func TestParseHeaderShort(t *testing.T) {
	for n := range HeaderSize {
		_, err := ParseHeader(make([]byte, n))
		require.ErrorIs(t, err, ErrShort)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

func TestSealAndPatch(t *testing.T) {
	records := []Record{{Offset: 5, Timestamp: 7, Value: []byte("x")}}
	b, err := AppendBatch(nil, NewHeader(5, records), records, nil)
	require.NoError(t, err)
	require.NoError(t, Batch(b).Check())

	SetBaseOffset(b, 1<<40)
	SetLeaderEpoch(b, 17)
	require.NoError(t, Batch(b).Check(), "neither is under the CRC")
	require.Equal(t, int64(1<<40), Batch(b).BaseOffset())
	require.Equal(t, int32(17), Batch(b).LeaderEpoch())

	b[len(b)-1]++
	require.ErrorIs(t, Batch(b).Check(), ErrCorrupt)
	Seal(b)
	require.NoError(t, Batch(b).Check())
	require.Equal(t, len(b)-LogOverhead, int(Batch(b).BatchLength()))
}

func TestNewHeader(t *testing.T) {
	h := NewHeader(10, []Record{{Offset: 10, Timestamp: 30}, {Offset: 12, Timestamp: 40}, {Offset: 15, Timestamp: -2}})
	require.Equal(t, Header{
		BaseOffset: 10, LeaderEpoch: -1, Magic: 2, LastOffsetDelta: 5, BaseTimestamp: 30, MaxTimestamp: 40,
		ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, RecordCount: 3,
	}, h)
	h = NewHeader(10, nil)
	require.Equal(t, int64(-1), h.MaxTimestamp)
	require.Zero(t, h.RecordCount)
}
