package codec

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
)

// raw puts bytes together: an int is a varint, a byte itself, a string its text.
func raw(parts ...any) []byte {
	b := []byte{}
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = binary.AppendVarint(b, int64(p))
		case int64:
			b = binary.AppendVarint(b, p)
		case byte:
			b = append(b, p)
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return b
}

// rec is the length of the parts and the parts.
func rec(parts ...any) []byte {
	body := raw(parts...)
	return raw(len(body), body)
}

const attr = byte(0)

func plainBatch(count, lastDelta int32, payload []byte) Batch {
	h := NewHeader(100, nil)
	h.RecordCount, h.LastOffsetDelta = count, lastDelta
	h.BaseTimestamp, h.MaxTimestamp = 1000, 1009
	return sealed(h, payload)
}

// Each payload is the first record's and, if that can be read, what follows.
// The position counts from the batch's beginning.
func TestDecoderRefuses(t *testing.T) {
	long := strings.Repeat("x", 300)
	over := strings.Repeat("\xff", 10)
	for _, c := range []struct {
		name    string
		count   int32
		payload []byte
		pos     int
		want    string
	}{
		{"negative count", -1, nil, 57, "record count -1"},
		{"count without bytes", 1, nil, 57, "record count 1 in 0 bytes"},
		{"count above the offsets", 11, rec(attr, 0, 0, -1, long, 0), 57, "record count 11 with last offset delta 9"},
		{"bytes without count", 0, []byte{1}, 61, "1 bytes behind the last record"},
		{"bytes behind", 1, raw(rec(attr, 0, 0, -1, -1, 0), "xy"), 68, "2 bytes behind the last record"},
		{"a record too many", 1, raw(rec(attr, 0, 0, -1, -1, 0), rec(attr, 0, 1, -1, -1, 0)), 68, "7 bytes behind the last record"},
		{"a record too few", 3, raw(rec(attr, 0, 0, -1, 10, "0123456789", 0), rec(attr, 0, 1, -1, -1, 0)), 61 + 24, "record length runs past the end"},
		{"length of five bytes", 1, raw(over[:4], "abc"), 61, "record length -268435456 with"},
		{"length overlong", 1, raw(over), 61, "record length has more than 5 bytes"},
		{"length negative", 1, raw(-1, attr, 0, 0, -1, -1, 0), 61, "record length -1"},
		{"length of the least int32", 1, raw(math.MinInt32, "abcdefgh"), 61, "record length -2147483648"},
		{"length of the greatest int32", 1, raw(math.MaxInt32, "abcdefgh"), 61, "record length 2147483647 with 8 bytes left"},
		{"length 5", 1, raw(5, "abcdefgh"), 61, "record length 5"},
		{"length one less", 1, raw(6, attr, 0, 0, -1, 1, "v", 0), 68, "header count runs past"},
		{"length one more", 1, raw(8, attr, 0, 0, -1, 1, "v", 0, "z"), 69, "1 bytes behind the end of the record"},
		{"length past the end", 1, raw(9, attr, 0, 0, -1, 1, "v", 0), 61, "record length 9 with 7 bytes left"},
		{"timestamp overlong", 1, rec(attr, over, "abc"), 63, "timestamp delta has more than 10 bytes"},
		{"timestamp cut", 1, rec(attr, over[:6]), 63, "timestamp delta runs past"},
		{"offset delta overlong", 1, rec(attr, 0, over), 64, "offset delta has more than 5 bytes"},
		{"offset delta negative", 1, rec(attr, 0, -1, -1, -1, 0), 64, "offset delta -1, expected 0 to 9"},
		{"offset delta too large", 1, rec(attr, 0, 20, -1, -1, 0), 64, "offset delta 20, expected 0 to 9"},
		{"offset delta twice", 2, raw(rec(attr, 0, 3, -1, -1, 0), rec(attr, 0, 3, -1, -1, 0)), 71, "offset delta 3, expected 4 to 9"},
		{"offset delta back", 2, raw(rec(attr, 0, 3, -1, -1, 0), rec(attr, 0, 2, -1, -1, 0)), 71, "offset delta 2, expected 4 to 9"},
		{"key length -2", 1, rec(attr, 0, 0, -2, -1, 0), 65, "key length -2"},
		{"key length too large", 1, rec(attr, 0, 0, 3, -1, 0), 65, "key length 3 with 2 bytes left"},
		{"key takes the value's place", 1, rec(attr, 0, 0, 2, -1, 0), 68, "value length runs past"},
		{"key length of the greatest int32", 1, rec(attr, 0, 0, math.MaxInt32, -1, 0), 65, "key length 2147483647"},
		{"value length -2", 1, rec(attr, 0, 0, 1, "k", -2, 0), 67, "value length -2"},
		{"value length too large", 1, rec(attr, 0, 0, -1, 3, "v", 0), 66, "value length 3 with 2 bytes left"},
		{"value takes the count's place", 1, rec(attr, 0, 0, -1, 2, "v", 0), 69, "header count runs past"},
		{"value length of the least int32", 1, rec(attr, 0, 0, -1, math.MinInt32, 0), 66, "value length -2147483648"},
		{"value length large and wrong", 1, rec(attr, 0, 0, -1, 301, long, 0), 64 + 3 + 2 + 301, "header count runs past"},
		{"header count negative", 1, rec(attr, 0, 0, -1, -1, -1), 67, "header count -1"},
		{"header count too large", 1, rec(attr, 0, 0, -1, -1, 2, 0, -1, 0), 67, "header count 2 with 3 bytes left"},
		{"header count of the greatest int32", 1, rec(attr, 0, 0, -1, -1, math.MaxInt32), 67, "header count 2147483647"},
		{"header key null", 1, rec(attr, 0, 0, -1, -1, 1, -1, -1), 68, "header key length -1"},
		{"header key cut", 1, rec(attr, 0, 0, -1, -1, 1, 2, "k"), 68, "header key length 2 with 1 bytes left"},
		{"header value length -2", 1, rec(attr, 0, 0, -1, -1, 1, 1, "k", -2), 70, "header value length -2"},
		{"header value cut", 1, rec(attr, 0, 0, -1, -1, 1, 1, "k", 2, "v"), 70, "header value length 2 with 1 bytes left"},
		{"header too many", 1, rec(attr, 0, 0, -1, -1, 1, 0, -1, 0, -1), 70, "2 bytes behind the end of the record"},
		{"key length odd", 1, rec(attr, 0, 0, -4, "kkk", 0, 0), 65, "key length -4"},
		{"key ends the record", 1, rec(attr, 0, 0, 6, "kkkkkk", 0), 73, "header count runs past"},
		{"value ends the record", 1, rec(attr, 0, 0, -1, 6, "vvvvvv"), 73, "header count runs past"},
		{"value length odd", 1, rec(attr, 0, 0, -1, -4, "vvv", 0), 66, "value length -4"},
		{"value length of three bytes", 1, rec(attr, 0, 0, -1, 1<<13, "vvv", 0), 66, "value length 8192"},
		{"header value missing", 1, rec(attr, 0, 0, -1, -1, 1, 1, "k"), 70, "header value length runs past"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := plainBatch(c.count, 9, c.payload)
			var d Decoder
			var r Record
			err := d.Reset(b, b.Payload())
			for err == nil {
				err = d.Next(&r)
			}
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, c.want)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.pos, e.Pos, "%v", err)
			require.False(t, e.Unpacked)
			require.ErrorContains(t, err, fmt.Sprintf("at byte %d of the batch", c.pos))
			require.Equal(t, err, d.Next(&r), "an error is final")

			_, all := DecodeAll(b, b.Payload(), nil)
			require.Equal(t, err, all)

			// Unless it is about the end of the payload, the same is found
			// where more bytes follow, as the fast path wants them.
			for _, end := range []string{"record count", "record length", "behind the last record"} {
				if strings.Contains(c.want, end) && !strings.Contains(c.want, "record length -") {
					return
				}
			}
			more := plainBatch(c.count+1, 19, raw(c.payload, rec(attr, 0, 19, -1, 300, long, 0)))
			_, err = DecodeAll(more, more.Payload(), nil)
			require.ErrorContains(t, err, strings.Replace(c.want, " to 9", " to 19", 1))
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.pos, e.Pos, "%v", err)
		})
	}
}

func TestErrorsOfCompressedBatches(t *testing.T) {
	b := plainBatch(1, 0, rec(attr, 0, 7, -1, -1, 0))
	b[attributesPos+1] |= byte(compress.Zstd)
	_, err := DecodeAll(b, b.Payload(), nil)
	require.ErrorContains(t, err, "at byte 64 of the decompressed batch")
}

func TestDecoderHugeCountFailsAtOnce(t *testing.T) {
	b := plainBatch(math.MaxInt32, math.MaxInt32, rec(attr, 0, 0, -1, -1, 0))
	require.NoError(t, b.CheckCRC())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := DecodeAll(b, b.Payload(), nil)
	runtime.ReadMemStats(&after)
	require.ErrorContains(t, err, "record count 2147483647 in 7 bytes")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<10))
}

func TestDecoderOffsetOverflow(t *testing.T) {
	h := NewHeader(math.MaxInt64-5, nil)
	h.LastOffsetDelta, h.RecordCount = 9, 1
	b := sealed(h, rec(attr, 0, 9, -1, -1, 0))
	var d Decoder
	require.ErrorContains(t, d.Reset(b, b.Payload()), "pass 2^63-1")
}

func TestDecoderUnknownCodec(t *testing.T) {
	for k := range uint16(3) {
		h := NewHeader(0, nil)
		h.Attributes = 5 + k
		b := sealed(h, nil)
		require.Equal(t, compress.Codec(5+k), b.Compression(), "the header can be looked at")
		require.NoError(t, b.Check())
		var d Decoder
		err := d.Reset(b, nil)
		require.ErrorIs(t, err, ErrUnsupported)
		require.ErrorContains(t, err, fmt.Sprintf("codec %d at byte 21", 5+k))
		require.Equal(t, err, d.Next(new(Record)))
		_, err = Unpack(b, nil, nil, 100)
		require.ErrorIs(t, err, ErrUnsupported)
	}
}

// Longer forms of varints, and attributes of a record, are odd but legal.
func TestDecoderIsLenient(t *testing.T) {
	payload := raw(
		rec(byte(0xff), "\x82\x00", "\x80\x80\x00", "\x82\x80\x00", "k", "\x80\x00", "\x80\x00"),
		rec(attr, -3, 1, -1, -1, 0),
		rec(attr, 0, 2, 70, strings.Repeat("k", 70), 9000, strings.Repeat("v", 9000), 1, 0, 0),
	)
	b := plainBatch(3, 2, payload)
	got, err := DecodeAll(b, b.Payload(), nil)
	require.NoError(t, err)
	requireRecords(t, []Record{
		{Offset: 100, Timestamp: 1001, Key: []byte("k"), Value: []byte{}},
		{Offset: 101, Timestamp: 997},
		{Offset: 102, Timestamp: 1000, Key: []byte(strings.Repeat("k", 70)), Value: []byte(strings.Repeat("v", 9000)), Headers: []RecordHeader{{Value: []byte{}}}},
	}, got)
}

func TestDecoderTimestamps(t *testing.T) {
	payload := raw(rec(attr, 5, 0, -1, -1, 0), rec(attr, -2000, 1, -1, -1, 0), rec(attr, int64(1<<40), 2, -1, -1, 0))
	for _, c := range []struct {
		attributes uint16
		want       [3]int64
	}{
		{0, [3]int64{1005, -1000, 1000 + 1<<40}},
		{DeleteHorizonBit, [3]int64{1005, -1000, 1000 + 1<<40}}, // deltas count from the horizon
		{TimestampTypeBit, [3]int64{1009, 1009, 1009}},
	} {
		h := plainBatch(3, 2, nil).Header()
		h.Attributes = c.attributes
		b := sealed(h, payload)
		got, err := DecodeAll(b, b.Payload(), nil)
		require.NoError(t, err)
		require.Equal(t, c.want, [3]int64{got[0].Timestamp, got[1].Timestamp, got[2].Timestamp})
	}
}

// Every slice that comes out ends where its field does, in both paths.
func TestDecodedSlicesAreCapped(t *testing.T) {
	records := []Record{
		{Offset: 0, Key: []byte("key"), Value: []byte("value")},
		{Offset: 1, Key: []byte{}, Value: []byte{}},
		{Offset: 2, Key: fill(100), Value: fill(10000), Headers: []RecordHeader{{Key: "h", Value: []byte("header")}, {Key: "i", Value: []byte{}}, {Key: "j"}}},
		{Offset: 3, Value: []byte("last")},
	}
	data, err := AppendBatch(nil, NewHeader(0, records), records, nil)
	require.NoError(t, err)
	log := append(data, "the next batch"...)
	b, err := Next(log)
	require.NoError(t, err)
	before := string(log)
	got, err := DecodeAll(b, b.Payload(), nil)
	require.NoError(t, err)
	for _, r := range got {
		for _, s := range [][]byte{r.Key, r.Value} {
			require.Equal(t, len(s), cap(s))
			_ = append(s, "XXXXXXXX"...)
		}
		require.Equal(t, len(r.Headers), cap(r.Headers))
		for _, h := range r.Headers {
			require.Equal(t, len(h.Value), cap(h.Value))
			_ = append(h.Value, "XXXXXXXX"...)
		}
	}
	require.Equal(t, before, string(log))
	requireRecords(t, records, got)
}

func TestDecoderReuse(t *testing.T) {
	with := func(base int64, n int, headers int) (Batch, []Record) {
		records := benchRecords(n, 10)
		for i := range records {
			records[i].Offset += base
			for k := range headers {
				records[i].Headers = append(records[i].Headers, RecordHeader{Key: fmt.Sprint("k", k), Value: fmt.Append(nil, i, k)})
			}
		}
		b, err := AppendBatch(nil, NewHeader(base, records), records, nil)
		require.NoError(t, err)
		return b, records
	}
	var d Decoder
	var dst []Record
	for i, n := range []int{3, 1, 50, 0, 7} {
		b, want := with(int64(1000*i), n, i%3)
		var err error
		dst, err = d.DecodeAll(b, b.Payload(), dst)
		require.NoError(t, err)
		requireRecords(t, want, dst)

		require.NoError(t, d.Reset(b, b.Payload()))
		for k := range want {
			var r Record
			require.NoError(t, d.Next(&r))
			require.True(t, want[k].Equal(&r))
		}
		require.Equal(t, io.EOF, d.Next(new(Record)))
		require.Equal(t, io.EOF, d.Next(new(Record)))
	}
	// After an error a Decoder is as good as new.
	bad := plainBatch(1, 0, []byte("nonsense"))
	_, err := d.DecodeAll(bad, bad.Payload(), dst)
	require.ErrorIs(t, err, ErrCorrupt)
	b, want := with(5, 4, 2)
	dst, err = d.DecodeAll(b, b.Payload(), dst)
	require.NoError(t, err)
	requireRecords(t, want, dst)
}

// What came before a bad record is given.
func TestDecodeAllPartial(t *testing.T) {
	b := plainBatch(2, 9, raw(rec(attr, 0, 0, -1, -1, 0), rec(attr, 0, 0, -1, -1, 0)))
	got, err := DecodeAll(b, b.Payload(), make([]Record, 5))
	require.ErrorIs(t, err, ErrCorrupt)
	requireRecords(t, []Record{{Offset: 100, Timestamp: 1000}}, got)
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	records := benchRecords(100, 100)
	for i := range records {
		records[i].Headers = []RecordHeader{{Key: "trace-id", Value: []byte("1")}, {Key: "content-type", Value: []byte("2")}}
		if i%3 == 0 {
			records[i].Headers = nil
		}
	}
	data, err := AppendBatch(nil, NewHeader(0, records), records, nil)
	require.NoError(t, err)
	b := Batch(data)
	var d Decoder
	dst, err := d.DecodeAll(b, b.Payload(), nil) // warms up
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b, _ := Next(data)
		if b.Check() != nil || d.Reset(b, b.Payload()) != nil {
			t.Fatal("refused")
		}
		var r Record
		for d.Next(&r) == nil {
		}
		dst, _ = d.DecodeAll(b, b.Payload(), dst)
	}))
	for range 5 {
		dst, _ = d.DecodeAll(b, b.Payload(), dst)
	}
	require.Len(t, d.headers, 2*66, "headers of past batches are kept")
	marker := Batch(AppendMarker(nil, Header{}, true, 1))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok, err := DecodeControl(marker); !ok || err != nil {
			t.Fatal(err)
		}
	}))
}

// A hostile batch makes a Decoder grow, but not for good.
func TestDecoderForgetsManyHeaders(t *testing.T) {
	many := make([]RecordHeader, 10*maxKeptHeaders)
	records := []Record{{Headers: many}}
	b, err := AppendBatch(nil, NewHeader(0, records), records, nil)
	require.NoError(t, err)
	var d Decoder
	_, err = d.DecodeAll(b, Batch(b).Payload(), nil)
	require.NoError(t, err)
	require.NoError(t, d.Reset(b, Batch(b).Payload()))
	require.Zero(t, cap(d.headers))
}

func TestHeaderKeysAreCopies(t *testing.T) {
	records := []Record{{Headers: []RecordHeader{{Key: "trace"}, {Key: strings.Repeat("long", 40)}, {Key: ""}}}}
	data, err := AppendBatch(nil, NewHeader(0, records), records, nil)
	require.NoError(t, err)
	got, err := DecodeAll(data, Batch(data).Payload(), nil)
	require.NoError(t, err)
	clear(data) // as when the file is unmapped
	requireRecords(t, records, got)
}

// The small table of keys gives the right one whatever falls together.
func TestInterner(t *testing.T) {
	var in interner
	for round := range 3 {
		for i := range 500 {
			key := fmt.Sprint("key", i*round)
			require.Equal(t, key, in.get([]byte(key)))
		}
	}
}
