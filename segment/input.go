package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// scanInput is the file being scanned: mapped where it can be, else a window of
// it.
type scanInput struct {
	f    vfs.File
	maps *Maps
	size int64
	m    vfs.Map
	data []byte // the map
	// ahead checks CRCs in front of the scan; nil where there is no use.
	ahead *verifier

	// inspect looks at what was accepted; nil: nobody does.
	inspect *inspector

	tried int64 // bytes of what looked like batches behind damage

	buf    []byte // without a map: bytes from at on
	at     int64
	window int64 // how many to read at once; grows up to scanWindow
	// brief: a page of zeros is taken for zeros up to the end. Who comes back soon
	// does not read all of the room that is left each time.
	brief bool
}

func (s *Segment) openScan(f vfs.File, size int64) *scanInput {
	in := &scanInput{f: f, size: size, maps: s.maps, window: scanWindow}
	if size == 0 || !s.maps.reserve() {
		return in
	}
	m, err := f.Map(size, false)
	if err != nil {
		s.maps.unreserve()
		return in // pread does as well
	}
	in.m, in.data = m, m.Bytes()
	in.ahead = startVerifier(m, size, f.Path())
	return in
}

func (in *scanInput) close() {
	if in.m != nil {
		if in.ahead != nil {
			in.ahead.close()
		}
		_ = in.m.Unmap()
		in.maps.unreserve()
	}
}

// shorter tells whether the file has become shorter, and takes its size for what
// it is now: another process seals the segment, and cuts off the zeros.
func (in *scanInput) shorter() bool {
	size, err := in.f.Size()
	if err != nil || size >= in.size || in.m != nil {
		return false
	}
	in.size, in.buf = size, in.buf[:0]
	return true
}

// bytes gives n bytes at pos.
func (in *scanInput) bytes(pos int64, n int) ([]byte, error) {
	if in.m != nil {
		return in.data[pos : pos+int64(n)], nil
	}
	if i := pos - in.at; i >= 0 && i+int64(n) <= int64(len(in.buf)) {
		return in.buf[i : i+int64(n)], nil
	}
	want := max(int64(n), min(in.window, in.size-pos))
	in.window = min(2*in.window, scanWindow)
	if int64(cap(in.buf)) < want {
		in.buf = make([]byte, want)
	}
	in.buf, in.at = in.buf[:want], pos
	m, err := in.f.ReadAt(in.buf, pos)
	in.buf = in.buf[:m]
	if m < n {
		return nil, fmt.Errorf("%s: read at %d: %w", in.f.Path(), pos, err)
	}
	return in.buf[:n], nil
}

// next gives the batch at r.Valid with its CRC checked, or sets why there is
// none. The rules are those of Kafka's FileLogInputStream and ensureValid.
func (in *scanInput) next(r *Scan) (codec.Batch, error) {
	pos := r.Valid
	left := in.size - pos
	if left == 0 {
		return nil, nil
	}
	if left <= 17 {
		r.Stop, r.Err = StopShort, fmt.Errorf("%d bytes left are no batch", left)
		return nil, in.zeros(r)
	}
	head := min(left, codec.HeaderSize)
	h, err := in.bytes(pos, int(head))
	if err != nil {
		return nil, err
	}
	length := int64(int32(binary.BigEndian.Uint32(h[8:])))
	n := length + codec.LogOverhead
	switch {
	case length < 14:
		r.Stop, r.Err = StopCorrupt, fmt.Errorf("batch length %d", length)
		return nil, in.zeros(r)
	case n > left:
		r.Stop, r.Err = StopShort, fmt.Errorf("batch of %d bytes where %d are left", n, left)
		return nil, nil
	}
	magic := int8(h[16])
	if magic < codec.Magic {
		r.Stop, r.Err = StopCorrupt, error(&codec.MagicError{Magic: magic})
		b, err := in.bytes(pos, int(n))
		if err == nil && magic >= 0 && legacyCRC(b) {
			r.Stop = StopFormat
		}
		return nil, err
	}
	if n < codec.HeaderSize {
		r.Stop, r.Err = StopCorrupt, fmt.Errorf("batch length %d", length)
		return nil, nil
	}
	b, err := in.bytes(pos, int(n))
	if err != nil {
		return nil, err
	}
	batch := codec.Batch(b)
	if in.ahead != nil && in.ahead.sound(pos, n) || batch.CRCValid() {
		return batch, nil
	}
	r.Stop, r.Err = StopCorrupt, fmt.Errorf("CRC does not match a batch of %d bytes", n)
	return nil, nil
}

// legacyCRC recognises a message of format 0 or 1, whose CRC-32 covers all
// behind itself.
func legacyCRC(b []byte) bool {
	return crc32.ChecksumIEEE(b[16:]) == binary.BigEndian.Uint32(b[12:])
}

// zeros turns a stop into StopZeros when nothing but zero bytes are left.
func (in *scanInput) zeros(r *Scan) error {
	for pos := r.Valid; pos < in.size; {
		n := int(min(64<<10, in.size-pos))
		if in.brief {
			n = min(n, 4096)
		}
		b, err := in.bytes(pos, n)
		if err != nil {
			return err
		}
		if !allZero(b) {
			return nil
		}
		if pos += int64(n); in.brief {
			break
		}
	}
	r.Stop, r.Err = StopZeros, nil
	return nil
}

// allZero looks at eight bytes at a time.
func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
