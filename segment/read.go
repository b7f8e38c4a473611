package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/leatlog/leat/codec"
)

// Buffer is where a reader without a map keeps what it read: a window of the
// file. One reader owns it; what it holds lives until its next use.
type Buffer struct {
	b   []byte
	at  int64 // position of b[0] in the segment
	seg *Segment
}

// readAhead is how much a reader without a map asks for at once.
const readAhead = 64 << 10

// Mapped reports whether readers of a pinned segment look at its map. If not,
// what ReadBatch returns lives in the caller's buffer.
func (s *Segment) Mapped() bool { return s.mu.view.m != nil }

// Data is the whole map of a pinned segment, nil when there is none. Only the
// bytes below Size may be touched.
func (s *Segment) Data() []byte { return s.mu.view.data }

// window returns n bytes at pos of a pinned segment. Without a map they are in
// buf until its next use.
func (s *Segment) window(pos int64, n int, buf *Buffer) ([]byte, error) {
	v := s.mu.view
	if v.data != nil {
		return v.data[pos : pos+int64(n) : pos+int64(n)], nil
	}
	if buf.seg == s && pos >= buf.at && pos+int64(n) <= buf.at+int64(len(buf.b)) {
		i := int(pos - buf.at)
		return buf.b[i : i+n : i+n], nil
	}
	want := int(max(int64(n), min(readAhead, s.size.Load()-pos)))
	if cap(buf.b) < want {
		buf.b = make([]byte, want)
	}
	buf.b, buf.at, buf.seg = buf.b[:want], pos, s
	m, err := v.file.ReadAt(buf.b, pos)
	if m < n {
		buf.seg = nil
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%s: read %d bytes at %d: %w", s.Path(), n, pos, err)
	}
	buf.b = buf.b[:m]
	return buf.b[:n:n], nil
}

// Forget makes the buffer read anew, after the file below it was changed.
func (b *Buffer) Forget() { b.seg = nil }

// BatchAt returns the whole batch at pos of a pinned segment, which ends at or
// below Size; only its length is checked. io.EOF means that pos is the end.
// Damage is a *CorruptError that names offset as the first that is lost.
func (s *Segment) BatchAt(pos, offset int64, buf *Buffer) (codec.Batch, error) {
	left := s.size.Load() - pos
	if left <= 0 {
		return nil, io.EOF
	}
	if left < codec.HeaderSize {
		return nil, s.corrupt(pos, offset, fmt.Errorf("%d bytes left are no batch", left))
	}
	h, err := s.window(pos, codec.HeaderSize, buf)
	if err != nil {
		return nil, err
	}
	n := int64(int32(binary.BigEndian.Uint32(h[8:]))) + codec.LogOverhead
	if n < codec.HeaderSize || n > left {
		return nil, s.corrupt(pos, offset, fmt.Errorf("batch of %d bytes where %d are left", n, left))
	}
	b, err := s.window(pos, int(n), buf)
	return codec.Batch(b), err
}
