package segment

import (
	"errors"
	"io"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Head is the position of the first batch whose last offset is at least target, in
// a pinned segment, and that batch's header, which lives as long as the pin and
// until the next use of buf: the segment's size and nil when there is none. It
// looks at headers near an index entry and reads no batch. Damage there is a
// *CorruptError.
func (s *Segment) Head(target int64, buf *Buffer) (pos int64, h codec.Batch, err error) {
	v := s.mu.view
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	if buf.ahead == 0 {
		buf.ahead = regionAhead
	}
	x, err := s.offsetIndex()
	if err == nil {
		pos, h, err = s.head(x, target, buf)
	}
	if err != nil && errors.Is(err, errIndexWrong) {
		err = s.withIndexes(buf, func(x *indexes) (err error) {
			pos, h, err = s.head(x.offsets, target, buf)
			return err
		})
	}
	return pos, h, err
}

func (s *Segment) head(x index.Offsets, target int64, buf *Buffer) (pos int64, h codec.Batch, err error) {
	if pos, err = s.find(x, target, buf); err != nil {
		return 0, nil, err
	}
	h, _, err = s.headerAt(pos, s.size.Load(), target, buf)
	if err == io.EOF {
		return pos, nil, nil
	}
	return pos, h, err
}
