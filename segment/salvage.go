package segment

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// Piece is a batch with a good CRC, wherever it lies in a file. What the CRC does
// not cover, its offset, its leader epoch and its magic byte, may be wrong.
type Piece struct {
	Pos, Size  int64
	Base, Next int64
	Epoch      int32
	Magic      int8
}

// End is the position behind it.
func (p *Piece) End() int64 { return p.Pos + p.Size }

// Salvage finds the batches in a log file of which anything may be wrong, in the
// order of their positions and whatever their offsets. What is between two of
// them, or behind the last but for zeros, is lost; end is the position behind all
// that is not zero. A file of an older message format is ErrUnsupported.
func (s *Segment) Salvage() (pieces []Piece, end int64, err error) {
	f, err := s.maps.open(s.fsys, s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return nil, 0, fmt.Errorf("segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, 0, err
	}
	if end, err = lastNonZero(f, 0, size); err != nil {
		return nil, 0, err
	}
	// Not mapped: what is damaged may be so because the disk is.
	in := &scanInput{f: f, maps: s.maps, size: size, window: scanWindow}
	for pos := int64(0); pos < end; {
		b, err := in.salvage(pos)
		if err != nil {
			return nil, 0, err
		}
		if b == nil {
			if pos, err = in.findMagic(pos + 1); err != nil {
				return nil, 0, err
			}
			continue
		}
		p := Piece{Pos: pos, Size: int64(len(b)), Base: b.BaseOffset(), Next: b.NextOffset(), Epoch: b.LeaderEpoch(), Magic: b.Magic()}
		pieces = append(pieces, p)
		pos = p.End()
	}
	if n := len(pieces); n > 0 {
		end = max(end, pieces[n-1].End()) // a batch may end in zeros
	}
	return pieces, end, nil
}

// salvage is the batch at pos, nil if there is none.
func (in *scanInput) salvage(pos int64) (codec.Batch, error) {
	if in.size-pos < codec.HeaderSize {
		return nil, nil
	}
	h, err := in.bytes(pos, codec.HeaderSize)
	if err != nil {
		return nil, err
	}
	n := int64(int32(binary.BigEndian.Uint32(h[8:]))) + codec.LogOverhead
	if n < codec.HeaderSize || n > in.size-pos {
		return nil, nil
	}
	// See resume: honest bytes seldom look like a header.
	if in.tried += n; in.tried > 16*in.size+1<<20 {
		return nil, nil
	}
	b, err := in.bytes(pos, int(n))
	if err != nil {
		return nil, err
	}
	batch := codec.Batch(b)
	switch magic := batch.Magic(); {
	case batch.CRCValid():
	case (magic == 0 || magic == 1) && legacyCRC(b):
		return nil, fmt.Errorf("%w: %s at position %d: %w", ErrUnsupported, in.f.Path(), pos, &codec.MagicError{Magic: magic})
	default:
		return nil, nil
	}
	if batch.LastOffsetDelta() < 0 || batch.RecordCount() < 0 {
		return nil, nil
	}
	return batch, nil
}

// Kept is a piece that stays in a file that is written anew, with what its header
// is to say.
type Kept struct {
	Piece
	NewBase  int64
	NewEpoch int32
}

// Changed tells whether the header is to say something else.
func (k *Kept) Changed() bool {
	return k.NewBase != k.Base || k.NewEpoch != k.Epoch || k.Magic != codec.Magic
}

// CopyKept is CopyHead of some pieces of the log file, in order.
func (s *Segment) CopyKept(kept []Kept) error {
	return s.prepareHead(func(dst vfs.File) (err error) {
		src, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, src.Close()) }()
		at := int64(0)
		var buf []byte
		flush := func() error {
			n, err := dst.WriteAt(buf, at)
			at += int64(n)
			buf = buf[:0]
			return err
		}
		for _, k := range kept {
			if len(buf) > 0 && int64(len(buf))+k.Size > copyWindow {
				if err := flush(); err != nil {
					return err
				}
			}
			buf = append(buf, make([]byte, k.Size)...)
			b := buf[int64(len(buf))-k.Size:]
			if n, err := src.ReadAt(b, k.Pos); n < len(b) {
				return fmt.Errorf("%s: read at %d: %w", src.Path(), k.Pos, err)
			}
			codec.SetBaseOffset(b, k.NewBase)
			codec.SetLeaderEpoch(b, k.NewEpoch)
			b[16] = codec.Magic
			if err := codec.Batch(b).Check(); err != nil {
				return fmt.Errorf("%s: at %d: %w", src.Path(), k.Pos, err)
			}
		}
		if len(buf) == 0 {
			return nil
		}
		return flush()
	})
}
