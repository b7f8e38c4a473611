package log

import (
	"fmt"
	"strconv"

	"github.com/leatlog/leat/segment"
)

// Swap is a replacement of segments by a cleaned one that has begun: those with
// base offsets from From up to and without To by the one at From, which has
// Files. Until it has ended the files have their old sums or these, and a segment
// between From and To is one that is to go as soon as the log file at From is the
// new one.
//
//	<line crc32c> swap <from> <to>
//	<line crc32c> by <file crc32c> <size> <file name>    once a file
//
// There is one at a time. The lines are in the file before the first of the
// segment's files gets another name, and go after the last one of those that are
// replaced is gone.
type Swap struct {
	From, To int64
	Files    []segment.FileSum

	// left are the segments that were replaced and whose files may be there; guarded
	// by the log's turn.
	left []*segment.Segment
}

// parseSwap takes in a line of a swap.
func (s *Sums) parseSwap(fields [][]byte) bool {
	switch kind := string(fields[1]); {
	case kind == "swap" && len(fields) == 4:
		from, err1 := strconv.ParseInt(string(fields[2]), 10, 64)
		to, err2 := strconv.ParseInt(string(fields[3]), 10, 64)
		if err1 == nil && err2 == nil && 0 <= from && from < to {
			s.Swap = &Swap{From: from, To: to}
		}
	case kind == "by" && len(fields) == 5:
		crc, err1 := strconv.ParseUint(string(fields[2]), 16, 32)
		size, err2 := strconv.ParseInt(string(fields[3]), 10, 64)
		if err1 == nil && err2 == nil && size >= 0 && s.Swap != nil {
			s.Swap.Files = append(s.Swap.Files, segment.FileSum{Name: string(fields[4]), Size: size, CRC: uint32(crc)})
		}
	default:
		return false
	}
	return true
}

// append is the lines; none of nil.
func (w *Swap) append(b []byte) []byte {
	if w == nil {
		return b
	}
	b = appendSumsLine(b, fmt.Appendf(nil, "swap %d %d", w.From, w.To))
	for _, f := range w.Files {
		b = appendSumsLine(b, fmt.Appendf(nil, "by %08x %d %s", f.CRC, f.Size, f.Name))
	}
	return b
}

// of is the sum of the new segment's file.
func (w *Swap) of(suffix string) (segment.FileSum, bool) {
	name := segment.FileName(w.From, suffix)
	for _, f := range w.Files {
		if f.Name == name {
			return f, true
		}
	}
	return segment.FileSum{}, false
}

// replaces tells whether a segment is one of those that go.
func (w *Swap) replaces(base int64) bool { return w.From <= base && base < w.To }

// settle makes the sums those of the log after the swap. The swap stays, until
// the files are what they are to be.
func (s *Sums) settle(w *Swap) {
	s.unpack()
	for name := range s.Files {
		if base, _, ok := segment.ParseName(name); ok && w.replaces(base) {
			delete(s.Files, name)
		}
	}
	for _, f := range w.Files {
		s.Files[f.Name] = f
	}
}
