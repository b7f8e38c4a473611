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
	// ahead is how much a reader without a map asks for at once; 0: readAhead.
	ahead int64
	// kept is where b goes, instead of being overwritten, because somebody still
	// looks at it.
	kept *Held
}

// readAhead is for readers of whole batches.
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
	ahead := buf.ahead
	if ahead == 0 {
		ahead = readAhead
	}
	want := int(max(int64(n), min(ahead, s.size.Load()-pos)))
	if k := buf.kept; k != nil {
		buf.b, buf.kept = k.swap(buf.b, want), nil
	}
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

// headerAt returns the header of the batch at pos of a pinned segment, and the
// size of the batch, which ends at or below end. Errors are those of BatchAt.
func (s *Segment) headerAt(pos, end, offset int64, buf *Buffer) (h codec.Batch, n int64, err error) {
	left := end - pos
	if left <= 0 {
		return nil, 0, io.EOF
	}
	if left < codec.HeaderSize {
		return nil, 0, s.corrupt(pos, offset, fmt.Errorf("%d bytes left are no batch", left))
	}
	b, err := s.window(pos, codec.HeaderSize, buf)
	if err != nil {
		return nil, 0, err
	}
	n = int64(int32(binary.BigEndian.Uint32(b[8:]))) + codec.LogOverhead
	if n < codec.HeaderSize || n > left {
		return nil, 0, s.corrupt(pos, offset, fmt.Errorf("batch of %d bytes where %d are left", n, left))
	}
	return codec.Batch(b), n, nil
}

// BatchAt returns the whole batch at pos of a pinned segment, which ends at or
// below Size; only its length is checked. io.EOF means that pos is the end.
// Damage is a *CorruptError that names offset as the first that is lost.
func (s *Segment) BatchAt(pos, offset int64, buf *Buffer) (codec.Batch, error) {
	_, n, err := s.headerAt(pos, s.size.Load(), offset, buf)
	if err != nil {
		return nil, err
	}
	b, err := s.window(pos, int(n), buf)
	return codec.Batch(b), err
}
