package codec

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
)

// FuzzBatch reads arbitrary bytes as a log would: what is accepted must be
// consistent, and can be written again.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(three(f)), false)
	f.Add(AppendMarker(nil, Header{BaseOffset: 5, ProducerID: 1}, true, 2), false)
	f.Add([]byte(plainBatch(math.MaxInt32, math.MaxInt32, []byte("tiny"))), false)
	f.Add(make([]byte, 100), true)
	coders := compress.New()
	f.Cleanup(func() { coders.Close() })
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		data = append([]byte(nil), data...)
		if seal && len(data) >= HeaderSize && len(data) < 1<<20 {
			Seal(data) // or no input would ever get past the CRC
			data[magicPos] = Magic
		}
		b, err := Next(data)
		if err != nil {
			require.Nil(t, b)
			return
		}
		require.GreaterOrEqual(t, len(b), HeaderSize)
		require.LessOrEqual(t, len(b), len(data))
		h := b.Header()
		copied := make([]byte, HeaderSize)
		h.Put(copied)
		require.Equal(t, []byte(b[:HeaderSize]), copied)

		const limit = 1 << 20
		client := Validate(b, coders, limit, true) == nil
		ok := Validate(b, coders, limit, false) == nil
		require.True(t, ok || !client, "what a client may send is valid")
		payload, err := Unpack(b, nil, coders, limit)
		if err != nil {
			require.False(t, ok)
			return
		}
		require.LessOrEqual(t, len(payload), max(limit, len(b)))
		records, err := DecodeAll(b, payload, nil)
		if b.Check() == nil {
			require.Equal(t, ok, err == nil, "%v", err)
		}
		if err != nil || b.Check() != nil {
			return
		}
		require.Len(t, records, int(b.RecordCount()))
		next := b.BaseOffset()
		for i := range records {
			require.GreaterOrEqual(t, records[i].Offset, next)
			next = records[i].Offset + 1
		}
		require.LessOrEqual(t, next, b.NextOffset())
		if client {
			require.Equal(t, b.NextOffset(), next)
		}
		requireAgain(t, b, payload)
	})
}

// requireAgain encodes the records of b without compression: the same payload,
// if it was written the shortest way, and the same records in any case.
func requireAgain(t *testing.T, b Batch, payload []byte) {
	t.Helper()
	plain := append(Batch(nil), b[:HeaderSize]...)
	plain[attributesPos+1] &^= TimestampTypeBit // so that deltas survive
	records, err := DecodeAll(plain, payload, nil)
	require.NoError(t, err)
	h := b.Header()
	h.Attributes &^= CodecMask | TimestampTypeBit
	out, err := AppendBatch(nil, h, records, nil)
	require.NoError(t, err)
	again := Batch(out)
	require.NoError(t, again.Check())
	if shortest(payload, len(records)) {
		require.True(t, bytes.Equal(payload, again.Payload()), "%x became %x", payload, again.Payload())
	}
	decoded, err := DecodeAll(again, again.Payload(), nil)
	require.NoError(t, err)
	requireRecords(t, records, decoded)
}

// shortest tells whether each varint of the n records of a payload that is
// known to be good has the least bytes, and all attributes are zero.
func shortest(payload []byte, n int) bool {
	ok := true
	next := func() int64 {
		v, k := binary.Varint(payload)
		if k <= 0 || k != SizeVarlong(v) {
			ok = false // ten bytes with too many bits are odd, too
			v, k = Varlong(payload)
		}
		payload = payload[k:]
		return v
	}
	skip := func(n int64) {
		if n > int64(len(payload)) {
			ok = false // the length had more than 32 bits
			return
		}
		payload = payload[max(n, 0):]
	}
	for range n {
		next()
		ok = ok && payload[0] == 0
		skip(1)
		next()
		next()
		skip(next())
		skip(next())
		for range next() {
			if !ok {
				return false
			}
			skip(next())
			skip(next())
		}
		if !ok {
			return false
		}
	}
	return ok
}

// FuzzRecordDecoder decodes an arbitrary payload with an arbitrary header, with
// a decoder for each of the two ways, and compares with the careful path alone.
func FuzzRecordDecoder(f *testing.F) {
	b := three(f)
	f.Add(int32(3), int32(2), uint16(0), []byte(b.Payload()))
	f.Add(int32(1), int32(0), uint16(TimestampTypeBit), rec(attr, 100000, 0, 70, string(fill(70)), -1, 0))
	f.Add(int32(2), int32(200), uint16(DeleteHorizonBit), raw(rec(attr, 0, 63, -1, -1, 0), rec(attr, 0, 64, 0, 0, 1, 0, 0)))
	f.Fuzz(func(t *testing.T, count, lastDelta int32, attributes uint16, payload []byte) {
		h := Header{BaseOffset: 1 << 40, RecordCount: count, LastOffsetDelta: lastDelta, Attributes: attributes, BaseTimestamp: 1e12, MaxTimestamp: 2e12}
		b := make(Batch, HeaderSize)
		h.Put(b)
		before := string(payload)

		var all, one, slow Decoder
		records, errAll := all.DecodeAll(b, payload, nil)
		errOne, errSlow := one.Reset(b, payload), slow.Reset(b, payload)
		require.Equal(t, errOne, errSlow)
		n := 0
		var r, s Record
		for errOne == nil {
			errOne = one.Next(&r)
			if slow.left == 0 {
				errSlow = slow.end()
			} else {
				errSlow = slow.slow(&s)
			}
			require.Equal(t, errSlow, errOne)
			if errOne == nil {
				require.True(t, r.Equal(&s), "fast %+v, careful %+v", r, s)
				require.True(t, r.Equal(&records[n]))
				require.Equal(t, len(r.Key), cap(r.Key))
				require.Equal(t, len(r.Value), cap(r.Value))
				n++
			}
		}
		require.Len(t, records, n)
		if errOne == io.EOF {
			require.NoError(t, errAll)
			require.Equal(t, int(count), n)
		} else {
			require.Equal(t, errOne, errAll)
		}
		require.LessOrEqual(t, n*minRecord, len(payload))
		require.Equal(t, before, string(payload))
	})
}

// FuzzControl reads an arbitrary control record, and the same inside a batch.
func FuzzControl(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 7})
	f.Add([]byte{0, 0, 0, 2}, []byte{})
	f.Add([]byte{0xff, 0xff, 0, 0}, []byte(nil))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := ParseControl(&Record{Key: key, Value: value})
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			require.Zero(t, c)
		} else if c.IsMarker() {
			require.GreaterOrEqual(t, c.ValueVersion, int16(0))
		}
		records := []Record{{Key: key, Value: value}}
		h := NewHeader(0, records)
		h.Attributes = ControlBit
		b, errBatch := AppendBatch(nil, h, records, nil)
		require.NoError(t, errBatch)
		again, ok, errAgain := DecodeControl(b)
		require.Equal(t, err, errAgain)
		require.Equal(t, err == nil, ok)
		require.Equal(t, c, again)
	})
}
