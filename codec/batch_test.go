package codec

import (
	"errors"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// sealed is a batch with header h and the payload as it is.
func sealed(h Header, payload []byte) Batch {
	b := make([]byte, HeaderSize+len(payload))
	h.Magic = Magic
	h.Put(b)
	copy(b[HeaderSize:], payload)
	Seal(b)
	return b
}

func three(t testing.TB) Batch {
	t.Helper()
	records := []Record{
		{Offset: 100, Timestamp: 1000, Key: []byte("a"), Value: []byte("one")},
		{Offset: 101, Timestamp: 1002, Key: []byte("b")},
		{Offset: 102, Timestamp: 1001, Value: []byte{}, Headers: []RecordHeader{{Key: "h", Value: []byte("v")}, {Key: ""}}},
	}
	b, err := AppendBatch(nil, NewHeader(100, records), records, nil)
	require.NoError(t, err)
	return b
}

func TestNext(t *testing.T) {
	good := three(t)
	edit := func(f func(b []byte)) []byte {
		b := append([]byte(nil), good...)
		f(b)
		return b
	}
	length := func(n uint32) func(b []byte) {
		return func(b []byte) { b[8], b[9], b[10], b[11] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n) }
	}
	small := make([]byte, 46) // as large as a record of the oldest format
	length(34)(small)

	for _, c := range []struct {
		name string
		in   []byte
		want error // nil: a batch
	}{
		{"whole", good, nil},
		{"followed by another", append(append([]byte{}, good...), good...), nil},
		{"empty", nil, io.EOF},
		{"one byte", good[7:8], ErrShort},
		{"17 bytes", good[:17], ErrShort},
		{"18 bytes", good[:18], ErrShort},
		{"a header", good[:HeaderSize], ErrShort},
		{"one byte less", good[:len(good)-1], ErrShort},
		{"a zero byte", make([]byte, 1), ErrZero},
		{"17 zero bytes", make([]byte, 17), ErrZero},
		{"18 zero bytes", make([]byte, 18), ErrZero},
		{"zero bytes", make([]byte, 4096), ErrZero},
		{"length 0 in a batch that is not zero", edit(length(0)), ErrCorrupt},
		{"length 13", edit(length(13)), ErrCorrupt},
		{"length 14", edit(length(14)), ErrCorrupt},
		{"length 48", edit(length(48)), ErrCorrupt},
		{"length 48 past the end", edit(length(48))[:50], ErrShort},
		{"length 49", edit(length(49)), nil},
		{"length -1", edit(length(math.MaxUint32)), ErrCorrupt},
		{"length of the least int32", edit(length(1 << 31)), ErrCorrupt},
		{"length of the greatest int32", edit(length(math.MaxInt32)), ErrShort},
		{"length one more", edit(func(b []byte) { b[11]++ }), ErrShort},
		{"old format, small", small, ErrUnsupportedMagic},
		{"magic -1, small", edit(func(b []byte) { length(30)(b); b[16] = 0xff }), ErrUnsupportedMagic},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Next(c.in)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.Nil(t, b)
				return
			}
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(b), HeaderSize)
			require.Equal(t, len(b), cap(b), "an append must not write into the log")
			require.Equal(t, int64(len(b)), int64(b.BatchLength())+LogOverhead)
			size, err := BatchSize(c.in[:18])
			require.NoError(t, err)
			require.Equal(t, int64(len(b)), size)
		})
	}
}

func TestNextErrorsSayWhere(t *testing.T) {
	b := append([]byte(nil), three(t)...)
	b[8], b[11] = 0xff, 0
	_, err := Next(b)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 8, e.Pos)
	require.ErrorContains(t, err, "batch length -16777216")
	require.ErrorContains(t, err, "at byte 8 of the batch")
}

func TestCheck(t *testing.T) {
	h := NewHeader(100, nil)
	with := func(f func(h *Header)) Batch {
		h := h
		f(&h)
		return sealed(h, nil)
	}
	for _, c := range []struct {
		name  string
		b     Batch
		want  string // part of the error; empty: none
		pos   int
		kafka bool // Kafka's recovery lets it pass
	}{
		{"good", with(func(h *Header) {}), "", 0, true},
		{"unknown attributes", with(func(h *Header) { h.Attributes = 0xff87 }), "", 0, true},
		{"emptied by the cleaner", with(func(h *Header) { h.LastOffsetDelta = 9 }), "", 0, true},
		{"greatest offset", with(func(h *Header) { h.BaseOffset = math.MaxInt64 - 10; h.LastOffsetDelta = 9 }), "", 0, true},
		{"offset overflow", with(func(h *Header) { h.BaseOffset = math.MaxInt64 - 10; h.LastOffsetDelta = 10 }), "pass 2^63-1", 23, true},
		{"next offset overflow", with(func(h *Header) { h.BaseOffset = math.MaxInt64 }), "pass 2^63-1", 23, true},
		{"negative base offset", with(func(h *Header) { h.BaseOffset = -1 }), "base offset -1", 0, true},
		{"negative delta", with(func(h *Header) { h.LastOffsetDelta = -1 }), "last offset delta -1", 23, true},
		{"negative count", with(func(h *Header) { h.RecordCount = math.MinInt32 }), "record count -2147483648", 57, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.kafka {
				require.NoError(t, c.b.CheckCRC())
			}
			err := c.b.Check()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, c.want)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.pos, e.Pos)
		})
	}
}

// Every byte of a batch but the twelve that the log may set (and the magic,
// which has an error of its own) is under the CRC, or is the CRC.
func TestCheckFindsEveryFlip(t *testing.T) {
	good := three(t)
	for i := range good {
		for bit := range 8 {
			b := append(Batch(nil), good...)
			b[i] ^= 1 << bit
			err := b.Check()
			switch {
			case i < lengthPos || i >= leaderEpochPos && i < magicPos:
				if i == 0 && bit == 7 {
					require.ErrorContains(t, err, "negative")
				}
			case i < leaderEpochPos:
				require.ErrorContains(t, err, "batch length")
			case i == magicPos:
				require.ErrorIs(t, err, ErrUnsupportedMagic)
			default:
				require.ErrorIs(t, err, ErrCorrupt)
				require.ErrorContains(t, err, "CRC")
				require.ErrorIs(t, b.CheckCRC(), ErrCorrupt)
				require.False(t, b.CRCValid())
			}
		}
	}
}

func TestMagic(t *testing.T) {
	for _, c := range []struct {
		magic int8
		kafka bool // passes Kafka's recovery
		older bool
	}{{0, false, true}, {1, false, true}, {3, true, false}, {127, true, false}, {-128, false, false}, {-1, false, false}} {
		b := append(Batch(nil), three(t)...)
		b[16] = byte(c.magic)
		err := b.Check()
		require.ErrorIs(t, err, ErrUnsupportedMagic)
		require.ErrorIs(t, err, ErrUnsupported)
		require.False(t, errors.Is(err, ErrCorrupt), "it is another format, not damage")
		var m *MagicError
		require.ErrorAs(t, err, &m)
		require.Equal(t, c.magic, m.Magic)
		if c.older {
			require.ErrorContains(t, err, "older than 0.11")
		} else {
			require.NotContains(t, err.Error(), "older")
		}
		if c.kafka {
			require.NoError(t, b.CheckCRC())
		} else {
			require.ErrorIs(t, b.CheckCRC(), ErrUnsupportedMagic)
		}
	}
}

func TestCheckShort(t *testing.T) {
	for n := range HeaderSize {
		require.ErrorIs(t, three(t)[:n].Check(), ErrShort)
		require.ErrorIs(t, three(t)[:n].CheckCRC(), ErrShort)
	}
}

func TestSequences(t *testing.T) {
	for _, c := range []struct{ seq, n, want int32 }{
		{0, 0, 0}, {5, 3, 8}, {-1, 3, -1}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0},
		{math.MaxInt32 - 2, 4, 1}, {math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1}, {math.MinInt32, 1, -1},
	} {
		require.Equal(t, c.want, AddSequence(c.seq, c.n), "%d + %d", c.seq, c.n)
	}
	h := NewHeader(10, nil)
	h.BaseSequence, h.LastOffsetDelta = math.MaxInt32-1, 3
	b := sealed(h, nil)
	require.Equal(t, int32(1), b.LastSequence())
	require.Equal(t, int32(math.MaxInt32), b.Sequence(11))
	require.Equal(t, int32(0), b.Sequence(12))
}

func TestPayloadIsCapped(t *testing.T) {
	b := append(three(t), "more"...)
	whole, err := Next(b)
	require.NoError(t, err)
	for _, p := range [][]byte{whole.Payload(), b[:len(whole)].Payload()} {
		require.Equal(t, len(p), cap(p))
		_ = append(p, 'X')
		require.Equal(t, "more", string(b[len(whole):]))
	}
}
