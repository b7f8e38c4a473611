package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
)

// reference encodes a record as the format says, with nothing of this package.
func reference(offsetDelta int32, timestampDelta int64, key, value []byte, headers []RecordHeader) []byte {
	field := func(dst, b []byte) []byte {
		if b == nil {
			return binary.AppendVarint(dst, -1)
		}
		return append(binary.AppendVarint(dst, int64(len(b))), b...)
	}
	body := binary.AppendVarint([]byte{0}, timestampDelta)
	body = binary.AppendVarint(body, int64(offsetDelta))
	body = field(field(body, key), value)
	body = binary.AppendVarint(body, int64(len(headers)))
	for _, h := range headers {
		body = field(field(body, append([]byte{}, h.Key...)), h.Value)
	}
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func fill(n int) []byte {
	if n < 0 {
		return nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + n)
	}
	return b
}

// Around every size at which something needs one byte more.
var (
	fieldSizes = []int{-1, 0, 1, 2, 50, 54, 55, 56, 57, 58, 62, 63, 64, 65, 100, 127, 128, 4095, 4096, 8160, 8180, 8185, 8190, 8191, 8192, 70000}
	deltas     = []int64{0, 1, -1, 63, -64, 64, -65, 8191, -8192, 8192, -8193, 1 << 20, -1 << 20, math.MaxInt32, math.MinInt32}
)

func TestPutRecord(t *testing.T) {
	headerSets := [][]RecordHeader{nil, {}, {{}}, {{Key: "k", Value: []byte{}}, {Key: "k", Value: fill(300)}}, make([]RecordHeader, 64)}
	check := func(o int32, ts int64, k, v int, h []RecordHeader) {
		t.Helper()
		key, value := fill(k), fill(v)
		want := reference(o, ts, key, value, h)
		require.Equal(t, len(want), RecordSize(o, ts, key, value, h), "size of %d %d %d %d", o, ts, k, v)
		buf := make([]byte, len(want)+16)
		for i := range buf {
			buf[i] = 0xa5
		}
		n := PutRecord(buf, o, ts, key, value, h)
		require.Equal(t, want, buf[:n], "record %d %d %d %d", o, ts, k, v)
		for _, c := range buf[n:] {
			require.Equal(t, byte(0xa5), c, "wrote behind the record %d %d %d %d", o, ts, k, v)
		}
		// A buffer of the exact size is enough.
		require.Equal(t, n, PutRecord(make([]byte, n), o, ts, key, value, h))
	}
	for _, k := range fieldSizes {
		for _, v := range fieldSizes {
			check(0, 0, k, v, nil)
			check(100, 9000, k, v, nil)
		}
	}
	for _, o := range deltas {
		for _, ts := range append(deltas, math.MaxInt64, math.MinInt64) {
			for _, k := range []int{-1, 0, 5} {
				check(int32(o), ts, k, 44, nil)
				check(int32(o), ts, k, -1, nil)
			}
		}
	}
	for _, h := range headerSets {
		check(1, 2, 3, 4, h)
	}
}

// A buffer that is too small is a mistake of the caller's, but what lies behind
// it may be somebody else's.
func TestPutRecordStaysInside(t *testing.T) {
	for _, headers := range [][]RecordHeader{nil, {{Key: "k"}}} {
		size := RecordSize(0, 0, nil, fill(40), headers)
		for n := range size {
			buf := make([]byte, size+8)
			require.Panics(t, func() { PutRecord(buf[:n], 0, 0, nil, fill(40), headers) })
			require.Equal(t, make([]byte, size+8-n), buf[n:])
		}
	}
}

func TestPutRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		records := make([]Record, rng.IntN(200))
		base := int64(1700000000000)
		for i := range records {
			r := &records[i]
			r.Timestamp = base + deltas[rng.IntN(len(deltas))]
			r.Key = fill(rng.IntN(80) - 1)
			r.Value = fill(rng.IntN(300) - 1)
			if rng.IntN(40) == 0 {
				r.Value = fill(fieldSizes[rng.IntN(len(fieldSizes))])
			}
			for range max(0, rng.IntN(8)-5) {
				r.Headers = append(r.Headers, RecordHeader{Key: fmt.Sprint("h", i), Value: fill(rng.IntN(5) - 1)})
			}
		}
		var want []byte
		newest := int64(-1)
		for i, r := range records {
			want = append(want, reference(int32(i), r.Timestamp-base, r.Key, r.Value, r.Headers)...)
			if i == 0 || r.Timestamp > newest {
				newest = r.Timestamp
			}
		}
		require.Equal(t, len(want), RecordsSize(records, base), "round %d", round)
		got := make([]byte, len(want))
		n, m := PutRecords(got, records, 0, base)
		require.Equal(t, len(want), n)
		require.Equal(t, newest, m)
		require.Equal(t, want, got, "round %d", round)
	}
}

func TestPutRecordsFirstDelta(t *testing.T) {
	records := []Record{{Value: []byte("a")}, {Value: []byte("b")}}
	buf := make([]byte, 100)
	n, _ := PutRecords(buf, records, 5000, 0)
	require.Equal(t, append(reference(5000, 0, nil, []byte("a"), nil), reference(5001, 0, nil, []byte("b"), nil)...), buf[:n])
}

func TestPutRecordsNegativeTimestamps(t *testing.T) {
	_, m := PutRecords(make([]byte, 100), []Record{{Timestamp: -9}, {Timestamp: -5}, {Timestamp: -7}}, 0, -9)
	require.Equal(t, int64(-5), m)
	_, m = PutRecords(nil, nil, 0, 0)
	require.Equal(t, int64(-1), m)
}

// A caller's headers may share one large value and add up to more than 31 bits.
func TestSizesSaturate(t *testing.T) {
	value := make([]byte, 1<<24)
	headers := make([]RecordHeader, 200)
	for i := range headers {
		headers[i] = RecordHeader{Key: "k", Value: value}
	}
	require.Equal(t, math.MaxInt32, RecordSize(0, 0, nil, nil, headers))
	r := Record{Headers: headers}
	require.Equal(t, math.MaxInt32, RecordsSize([]Record{r, r, r}, 0))
	_, err := AppendBatch(nil, NewHeader(0, []Record{r}), []Record{r}, nil)
	require.ErrorIs(t, err, ErrTooLarge)

	many := make([]Record, 200)
	for i := range many {
		many[i] = Record{Offset: int64(i), Value: value}
	}
	require.Equal(t, math.MaxInt32, RecordsSize(many, 0))
	_, err = AppendBatch(nil, NewHeader(0, many), many, nil)
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	records := benchRecords(100, 100)
	records[7].Headers = []RecordHeader{{Key: "a", Value: []byte("b")}}
	dst := make([]byte, 1<<16)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n := RecordsSize(records, 0)
		h := Header{Magic: Magic, RecordCount: 100, LastOffsetDelta: 99}
		PutRecords(dst[HeaderSize:], records, 0, 0)
		h.Put(dst)
		Seal(dst[:HeaderSize+n])
	}))
	buf := make([]byte, 0, 1<<16)
	h := NewHeader(0, records)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := AppendBatch(buf, h, records, nil); err != nil {
			t.Fatal(err)
		}
		AppendMarker(buf, h, true, 3)
	}))
}

func TestAppendBatch(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	records := benchRecords(50, 200)
	for i := range records {
		records[i].Offset = 1000 + int64(3*i) // gaps, as after compaction
	}
	records[3].Key, records[4].Value = []byte{}, nil
	records[5].Headers = []RecordHeader{{Key: "x"}, {Key: "y", Value: []byte{}}}
	for k := compress.None; k <= compress.Zstd; k++ {
		t.Run(k.String(), func(t *testing.T) {
			h := NewHeader(990, records)
			h.Attributes = uint16(k) | TransactionalBit | 0x8000
			h.ProducerID, h.ProducerEpoch, h.BaseSequence, h.LeaderEpoch = 7, 8, 9, 10
			h.LastOffsetDelta += 5
			out, err := AppendBatch([]byte("before"), h, records, coders)
			require.NoError(t, err)
			require.Equal(t, "before", string(out[:6]))
			b, err := Next(out[6:])
			require.NoError(t, err)
			require.Equal(t, len(out)-6, len(b))
			require.NoError(t, b.Check())

			got := b.Header()
			h.BatchLength, h.CRC = got.BatchLength, got.CRC
			require.Equal(t, h, got)

			payload, err := Unpack(b, nil, coders, 1<<20)
			require.NoError(t, err)
			decoded, err := DecodeAll(b, payload, nil)
			require.NoError(t, err)
			requireRecords(t, records, decoded)
		})
	}
}

func TestAppendBatchRefuses(t *testing.T) {
	records := []Record{{Offset: 10}, {Offset: 11}}
	h := NewHeader(10, records)
	for _, c := range []struct {
		name  string
		edit  func(h *Header, r []Record)
		want  error
		empty bool // the same without records
	}{
		{"codec 5", func(h *Header, r []Record) { h.Attributes = 5 }, ErrUnsupported, true},
		{"offset below", func(h *Header, r []Record) { r[0].Offset = 9 }, ErrInvalid, false},
		{"offset twice", func(h *Header, r []Record) { r[1].Offset = 10 }, ErrInvalid, false},
		{"offset above", func(h *Header, r []Record) { r[1].Offset = 12 }, ErrInvalid, false},
		{"negative delta", func(h *Header, r []Record) { h.LastOffsetDelta = -1 }, ErrInvalid, true},
		{"offset overflow", func(h *Header, r []Record) { h.BaseOffset = math.MaxInt64 }, ErrInvalid, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, r := h, append([]Record(nil), records...)
			c.edit(&h, r)
			if c.empty {
				r = nil
			}
			out, err := AppendBatch([]byte("before"), h, r, nil)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, "before", string(out))
		})
	}
}

// requireRecords compares field by field, and nil with empty.
func requireRecords(t testing.TB, want, got []Record) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, want[i].Equal(&got[i]), "record %d: want %+v, got %+v", i, want[i], got[i])
	}
}

func TestRecordEqualAndClone(t *testing.T) {
	r := Record{Offset: 1, Timestamp: 2, Key: []byte("k"), Value: []byte{}, Headers: []RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "n"}}}
	c := r.Clone()
	require.True(t, r.Equal(&c))
	for name, edit := range map[string]func(r *Record){
		"offset":            func(r *Record) { r.Offset++ },
		"timestamp":         func(r *Record) { r.Timestamp++ },
		"key":               func(r *Record) { r.Key[0]++ },
		"null value":        func(r *Record) { r.Value = nil },
		"header key":        func(r *Record) { r.Headers[0].Key = "H" },
		"header value":      func(r *Record) { r.Headers[0].Value[0]++ },
		"empty header":      func(r *Record) { r.Headers[1].Value = []byte{} },
		"one header":        func(r *Record) { r.Headers = r.Headers[:1] },
		"headers in a turn": func(r *Record) { r.Headers[0], r.Headers[1] = r.Headers[1], r.Headers[0] },
	} {
		c := r.Clone()
		edit(&c)
		require.False(t, r.Equal(&c), name)
		require.True(t, r.Equal(&r), "the clone of %s shares memory", name)
		require.Equal(t, "k", string(r.Key))
		require.Equal(t, "v", string(r.Headers[0].Value))
	}
}
