package codec

import (
	"fmt"
	"math"

	"github.com/leatlog/leat/compress"
)

// AppendBatch appends a whole batch of records: h's fields as they are, but for
// BatchLength, Magic, CRC and RecordCount, which follow from the rest. Offset
// deltas come from the records' offsets, which must rise and lie between
// h.BaseOffset and that plus h.LastOffsetDelta; gaps are fine. Timestamp deltas
// count from h.BaseTimestamp. The records are compressed with the codec of
// h.Attributes; coders may be nil if that is none. After an error dst is
// returned as it came.
//
// It is the convenient way. To write in place, without an intermediate buffer,
// use RecordsSize, PutRecords, Header.Put and Seal.
func AppendBatch(dst []byte, h Header, records []Record, coders *compress.Coders) ([]byte, error) {
	k := compress.Codec(h.Attributes & CodecMask)
	if !k.Valid() {
		return dst, unsupportedCodec(k)
	}
	size := int64(HeaderSize)
	next, last := h.BaseOffset, h.BaseOffset+int64(h.LastOffsetDelta)
	if h.LastOffsetDelta < 0 || last < h.BaseOffset {
		return dst, fmt.Errorf("%w: base offset %d with last offset delta %d", ErrInvalid, h.BaseOffset, h.LastOffsetDelta)
	}
	for i := range records {
		r := &records[i]
		if r.Offset < next || r.Offset > last {
			return dst, fmt.Errorf("%w: record %d has offset %d, expected %d to %d", ErrInvalid, i, r.Offset, next, last)
		}
		next = r.Offset + 1
		size += int64(RecordSize(int32(r.Offset-h.BaseOffset), r.Timestamp-h.BaseTimestamp, r.Key, r.Value, r.Headers))
		if size >= math.MaxInt32 {
			return dst, fmt.Errorf("%w: more than 2^31-1 bytes with record %d", ErrTooLarge, i)
		}
	}
	h.Magic = Magic
	h.RecordCount = int32(len(records))

	start := len(dst)
	if k == compress.None {
		dst = grow(dst, int(size))
		putAll(dst[start+HeaderSize:], &h, records)
	} else {
		plain := make([]byte, size-HeaderSize)
		putAll(plain, &h, records)
		packed, err := coders.Append(grow(dst, HeaderSize), plain, k)
		if err != nil {
			return dst, fmt.Errorf("codec: compress with %s: %w", k, err)
		}
		if int64(len(packed)-start) > math.MaxInt32 {
			return dst, fmt.Errorf("%w: %d bytes after compression", ErrTooLarge, len(packed)-start)
		}
		dst = packed
	}
	h.Put(dst[start:])
	Seal(dst[start:])
	return dst, nil
}

func putAll(dst []byte, h *Header, records []Record) {
	n := 0
	for i := range records {
		r := &records[i]
		n += PutRecord(dst[n:], int32(r.Offset-h.BaseOffset), r.Timestamp-h.BaseTimestamp, r.Key, r.Value, r.Headers)
	}
}

// grow is dst with n more bytes, of any content.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst[:len(dst)+n]
	}
	return append(dst, make([]byte, n)...)
}
