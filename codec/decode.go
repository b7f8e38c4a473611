package codec

import (
	"encoding/binary"
	"io"

	"github.com/leatlog/leat/compress"
)

// Decoder gives the records of one batch after another without copying or
// allocating: keys, values and header values are slices of the payload, with
// no capacity beyond their length, and live as long as it does. The zero value
// is ready for Reset. A Decoder is for one goroutine.
type Decoder struct {
	payload []byte
	pos     int // of the next record in payload
	left    int // records still to come; 0 after an error

	base      int64 // offset that deltas count from
	nextDelta int64 // the least that the next offset delta may be
	lastDelta int64 // the most

	// A record's timestamp is timestamp + delta & deltaMask: with LogAppendTime
	// the mask is 0 and timestamp the batch's maximum.
	timestamp int64
	deltaMask int64

	unpacked bool // payload was compressed in the batch
	err      error

	headers []RecordHeader // those of the last record, or of all since Reset
	keep    bool           // which of the two
	skip    bool           // headers are checked and not kept
	keys    interner
}

// Reset begins with the records of b. The payload is b.Payload(), or its
// decompressed form if the batch is compressed (see [Unpack]). What b says
// about its records is checked as far as it can be; b itself should have passed
// [Batch.Check] or CheckCRC.
func (d *Decoder) Reset(b Batch, payload []byte) error {
	d.payload, d.pos, d.left, d.err, d.keep = nil, 0, 0, nil, false
	if d.headers = d.headers[:0]; cap(d.headers) > maxKeptHeaders {
		d.headers = nil
	}
	k := b.Compression()
	if !k.Valid() {
		return d.fail(unsupportedCodec(k))
	}
	if err := b.checkCounts(); err != nil {
		return d.fail(err)
	}
	count, lastDelta := b.RecordCount(), b.LastOffsetDelta()
	switch {
	case int64(count) > int64(lastDelta)+1:
		return d.fail(corrupt(recordCountPos, "record count %d with last offset delta %d", count, lastDelta))
	case int(count) > len(payload)/minRecord:
		return d.fail(corrupt(recordCountPos, "record count %d in %d bytes of records", count, len(payload)))
	}
	d.payload, d.left = payload, int(count)
	d.base, d.nextDelta, d.lastDelta = b.BaseOffset(), 0, int64(lastDelta)
	d.timestamp, d.deltaMask = b.BaseTimestamp(), -1
	if b.TimestampType() == LogAppendTime {
		d.timestamp, d.deltaMask = b.MaxTimestamp(), 0
	}
	d.unpacked = k != compress.None
	return nil
}

// maxKeptHeaders bounds what one hostile batch leaves behind in a Decoder.
const maxKeptHeaders = 4096

// Next reads the next record into r, all fields of it. r.Headers is valid until
// the following call; what the other slices of r are made of lives as long as
// the payload, and must not be written. r.Clone keeps a record.
//
// io.EOF comes after the last record if nothing follows it. Any other error is
// an *Error, is final, and comes again until Reset; r is then undefined.
func (d *Decoder) Next(r *Record) error {
	// The usual form is decoded here: a key of less than 64 bytes, lengths and
	// deltas of one or two bytes. Everything else, damage included, is for slow,
	// which starts again from the record's beginning.
	if d.left == 0 {
		return d.end()
	}
	p := d.payload[d.pos:]
	if len(p) < 8 {
		return d.slow(r)
	}
	// These eight bytes reach as far as the first byte of the key's length.
	w, n := binary.LittleEndian.Uint64(p), 0
	length, w, n := take(w, n)
	end := n + int(length>>1)
	timestampDelta, w, n := take(w>>8, n+1) // behind the attributes, which mean nothing
	offsetDelta, w, n := take(w, n)
	keyLength, n := w&0xff, n+1
	if (length|timestampDelta|offsetDelta) >= 1<<14 || (length|offsetDelta)&1 != 0 || keyLength >= 0x80 || end > len(p) {
		return d.slow(r)
	}
	p = p[:end:end]
	var key []byte
	if keyLength != 1 {
		k := n + int(keyLength>>1)
		if keyLength&1 != 0 || k > end {
			return d.slow(r)
		}
		key = p[n:k:k]
		n = k
	}
	if n+2 > end {
		return d.slow(r)
	}
	valueLength, _, n := take(uint64(binary.LittleEndian.Uint16(p[n:])), n)
	var value []byte
	if valueLength != 1 {
		v := n + int(valueLength>>1)
		if valueLength >= 1<<14 || valueLength&1 != 0 || v > end {
			return d.slow(r)
		}
		value = p[n:v:v]
		n = v
	}
	delta := int64(offsetDelta >> 1)
	if delta < d.nextDelta || delta > d.lastDelta {
		return d.slow(r)
	}
	var headers []RecordHeader
	if n+1 != end || p[n] != 0 {
		if headers = d.someHeaders(d.pos+n, d.pos+end); headers == nil {
			return d.slow(r)
		}
	}
	r.Offset = d.base + delta
	r.Timestamp = d.timestamp + unfold64(timestampDelta)&d.deltaMask
	r.Key, r.Value, r.Headers = key, value, headers
	d.nextDelta = delta + 1
	d.pos += end
	d.left--
	return nil
}

// take reads a varint of one or two bytes from the low end of w, and gives what
// is left of w and n plus its size. A longer one shows as 1<<14 or more.
func take(w uint64, n int) (u, rest uint64, _ int) {
	if w&0x80 == 0 {
		return w & 0x7f, w >> 8, n + 1
	}
	return w&0x7f | w>>1&0x7f80, w >> 16, n + 2
}

// DecodeAll reads all records of b at once into dst, from its beginning
// whatever its length, and returns it with the length that it then has, grown
// if it has to be: pass the result again for the next batch. The records,
// headers included, are valid until the next call of a method of d. After an
// error the records before it are returned.
func (d *Decoder) DecodeAll(b Batch, payload []byte, dst []Record) ([]Record, error) {
	dst = dst[:0]
	if err := d.Reset(b, payload); err != nil {
		return dst, err
	}
	d.keep = true
	for d.left > 0 {
		if len(dst) == cap(dst) {
			dst = append(dst, Record{}) // never by the count, which may lie
		} else {
			dst = dst[:len(dst)+1]
		}
		if err := d.Next(&dst[len(dst)-1]); err != nil {
			return dst[:len(dst)-1], err
		}
	}
	if err := d.end(); err != io.EOF {
		return dst, err
	}
	return dst, nil
}

// DecodeAll is the method of the same name with a Decoder of its own, so that
// it allocates for headers and the headers stay valid.
func DecodeAll(b Batch, payload []byte, dst []Record) ([]Record, error) {
	var d Decoder
	return d.DecodeAll(b, payload, dst)
}

// end is called with no record left to read.
func (d *Decoder) end() error {
	if d.err != nil {
		return d.err
	}
	if n := len(d.payload) - d.pos; n > 0 {
		e := corrupt(HeaderSize+d.pos, "%d bytes behind the last record", n)
		e.Unpacked = d.unpacked
		return d.fail(e)
	}
	return io.EOF
}

func (d *Decoder) fail(err error) error {
	d.err, d.left = err, 0
	return err
}

// interner makes strings of header keys. They are copies, since a string that
// points into a mapped file would look safe to keep and not be; the few keys
// that a topic has are remembered, so that this does not allocate for each.
type interner [32]string

func (t *interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > 64 {
		return string(b)
	}
	p := &t[(len(b)+int(b[0])*7+int(b[len(b)-1])*5+int(b[len(b)/2])*3)%len(t)]
	if *p != string(b) {
		*p = string(b)
	}
	return *p
}
