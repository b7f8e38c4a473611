package codec

import (
	"encoding/binary"
	"math"
)

// A record, uncompressed, as it follows a batch's header or another record:
//
//	+--------+----------+-----------+--------+-------+-----+-------+-------+--------+-----------------
//	| length | attri-   | timestamp | offset | key   | key | value | value | header | headers:
//	|        | butes: 0 | delta     | delta  | length|     | length|       | count  | key length, key,
//	| varint | 1 byte   | varlong   | varint | varint|     | varint|       | varint | value length, value
//	+--------+----------+-----------+--------+-------+-----+-------+-------+--------+-----------------
//	         |<- length counts these ------------------------------------------------------------ ... ->|
//
// A length of -1 means that key or value is absent. A header's key cannot be.
//
// minRecord is the smallest: null key and value, no headers.
const minRecord = 7

// RecordSize is the number of bytes that PutRecord writes, the length in front
// included. It is math.MaxInt32 for a record that cannot be encoded since
// nothing in a batch may be that large.
func RecordSize(offsetDelta int32, timestampDelta int64, key, value []byte, headers []RecordHeader) int {
	body := bodySize(offsetDelta, timestampDelta, key, value)
	if len(headers) == 0 {
		body++
	} else {
		body += headersSize(headers)
	}
	return clampSize(body + int64(sizeUvarlong(uint64(body)<<1)))
}

// bodySize is the size of a record without its length and its headers. It is
// 64 bits wide since a caller's key and value may be the same memory, and add
// up to more than 32 bits can say.
func bodySize(offsetDelta int32, timestampDelta int64, key, value []byte) int64 {
	return 1 + int64(SizeVarlong(timestampDelta)+SizeVarint(offsetDelta)) + fieldSize(key) + fieldSize(value)
}

// fieldSize is the size of a key or a value with its length.
func fieldSize(b []byte) int64 {
	if b == nil {
		return 1 // -1
	}
	return int64(sizeUvarlong(uint64(len(b))<<1)) + int64(len(b))
}

func headersSize(headers []RecordHeader) int64 {
	n := int64(sizeUvarlong(uint64(len(headers)) << 1))
	for i := range headers {
		h := &headers[i]
		n += int64(sizeUvarlong(uint64(len(h.Key))<<1)) + int64(len(h.Key)) + fieldSize(h.Value)
	}
	return n
}

func clampSize(n int64) int {
	return int(min(n, math.MaxInt32))
}

// PutRecord writes one record at the beginning of dst and returns its size.
// dst must have at least RecordSize bytes for the same arguments, or it panics;
// bytes behind the record are not touched.
func PutRecord(dst []byte, offsetDelta int32, timestampDelta int64, key, value []byte, headers []RecordHeader) int {
	o, t := uint64(fold32(offsetDelta)), fold64(timestampDelta)
	if isPlain(key, value, headers, o|t) {
		return putPlain(dst, key, value, o, t)
	}
	return putAny(dst, offsetDelta, timestampDelta, key, value, headers)
}

// isPlain tells whether the fast path can write a record, as it can most: no
// headers, small deltas (already folded), a key of less than 64 bytes, a value
// of less than 4 KiB, and not both empty. Everything in front of the key then
// fits into one word, which is stored at once; and the record has 8 bytes, so
// that the word does not reach behind it.
func isPlain(key, value []byte, headers []RecordHeader, deltas uint64) bool {
	return len(headers) == 0 && deltas < 1<<14 &&
		uint(len(key)) < 1<<6 && uint(len(value)) < 1<<12 && len(key)+len(value) > 0
}

// prepend puts the varint of u, less than 1<<14, in front of the n bytes of w,
// the lowest of which comes first in memory.
func prepend(w uint64, n int, u uint64) (uint64, int) {
	if u < 0x80 {
		return w<<8 | u, n + 1
	}
	return w<<16 | u>>7<<8 | 0x80 | u&0x7f, n + 2
}

// length is the length of a field, folded for its varint: -1 if it is absent.
func length(b []byte) uint64 {
	if b == nil {
		return 1
	}
	return uint64(len(b)) << 1
}

// putPlain writes a record that isPlain allows.
func putPlain(dst, key, value []byte, offsetDelta, timestampDelta uint64) int {
	w, n := prepend(length(key), 1, offsetDelta)
	w, n = prepend(w, n, timestampDelta)
	v, vn := prepend(0, 0, length(value))
	rest := len(key) + vn + len(value) + 1
	w, n = prepend(w<<8, n+1, uint64(n+1+rest)<<1) // the attributes are 0
	dst = dst[: n+rest : len(dst)]                 // panics beyond len(dst), not cap(dst)
	binary.LittleEndian.PutUint64(dst, w)
	dst[len(dst)-1] = 0 // header count
	if len(key) > 0 {
		n += copy(dst[n:], key)
	}
	// Two bytes also for a length of one: the second is where the value comes,
	// or the header count, which is 0 as well.
	binary.LittleEndian.PutUint16(dst[n:], uint16(v))
	copy(dst[n+vn:], value)
	return len(dst)
}

// putAny writes any record, field by field.
func putAny(dst []byte, offsetDelta int32, timestampDelta int64, key, value []byte, headers []RecordHeader) int {
	body := bodySize(offsetDelta, timestampDelta, key, value)
	if len(headers) == 0 {
		body++
	} else {
		body += headersSize(headers)
	}
	i := putUvarlong(dst, uint64(body)<<1)
	dst[i] = 0 // no attributes of a record are defined
	i++
	i += putUvarlong(dst[i:], fold64(timestampDelta))
	i += putUvarlong(dst[i:], uint64(fold32(offsetDelta)))
	i += putField(dst[i:], key)
	i += putField(dst[i:], value)
	if len(headers) == 0 {
		dst[i] = 0
		return i + 1
	}
	return i + putHeaders(dst[i:], headers)
}

func putField(dst, b []byte) int {
	if b == nil {
		dst[0] = 1 // -1
		return 1
	}
	i := putUvarlong(dst, uint64(len(b))<<1)
	return i + copy(dst[i:], b)
}

func putHeaders(dst []byte, headers []RecordHeader) int {
	i := putUvarlong(dst, uint64(len(headers))<<1)
	for k := range headers {
		h := &headers[k]
		i += putUvarlong(dst[i:], uint64(len(h.Key))<<1)
		i += copy(dst[i:], h.Key)
		i += putField(dst[i:], h.Value)
	}
	return i
}

// RecordsSize is the number of bytes that PutRecords writes when the first
// offset delta is 0: the size of a batch less HeaderSize. It is math.MaxInt32
// if that is too much for a batch.
func RecordsSize(records []Record, baseTimestamp int64) int {
	var n int64
	for i := range records {
		r := &records[i]
		o, t := uint64(i)<<1, fold64(r.Timestamp-baseTimestamp)
		if !isPlain(r.Key, r.Value, r.Headers, o|t) {
			n += int64(RecordSize(int32(i), r.Timestamp-baseTimestamp, r.Key, r.Value, r.Headers))
			continue
		}
		// What putPlain writes: seven single bytes, and what needs two.
		size := minRecord + len(r.Key) + len(r.Value)
		if o >= 0x80 {
			size++
		}
		if t >= 0x80 {
			size++
		}
		if len(r.Value) >= 0x40 {
			size++
		}
		if size > 0x40 { // its length, without itself, in two bytes
			size++
		}
		n += int64(size)
	}
	return clampSize(n)
}

// PutRecords writes records at the beginning of dst with offset deltas that
// count up from firstDelta; their Offset is not looked at. It returns the bytes
// written and the largest timestamp, -1 when there are no records.
func PutRecords(dst []byte, records []Record, firstDelta int32, baseTimestamp int64) (n int, maxTimestamp int64) {
	if len(records) == 0 {
		return 0, -1
	}
	maxTimestamp = records[0].Timestamp
	for i := range records {
		r := &records[i]
		key, value := r.Key, r.Value
		maxTimestamp = max(maxTimestamp, r.Timestamp)
		o, t := uint64(fold32(firstDelta+int32(i))), fold64(r.Timestamp-baseTimestamp)
		if isPlain(key, value, r.Headers, o|t) {
			n += putPlain(dst[n:], key, value, o, t)
		} else {
			n += putAny(dst[n:], firstDelta+int32(i), r.Timestamp-baseTimestamp, key, value, r.Headers)
		}
	}
	return n, maxTimestamp
}
