package compress

import (
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindow is how far back a match may lie when encoding. A batch is 1 MiB
	// by default, and the encoder sets twice the window aside for inputs above
	// 128 KiB; the library's default is 8 MiB.
	zstdWindow = 1 << 20

	// zstdMaxWindow is the largest that a frame may ask for: what the reference
	// library, and so Kafka, takes unless told otherwise.
	zstdMaxWindow = 128 << 20

	// zstdBlockMax is the most that one block decodes to.
	zstdBlockMax = 128 << 10
)

func (p *pools) appendZstd(dst, src []byte) ([]byte, error) {
	e, _ := p.zstdWriters.Get().(*zstd.Encoder)
	if e == nil {
		var err error
		e, err = zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.SpeedDefault), // level 3
			zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderCRC(false), // a batch has a CRC
			zstd.WithZeroFrames(true),  // no input is still a frame
		)
		if err != nil {
			return dst, fmt.Errorf("compress: zstd: %w", err)
		}
	}
	dst = e.EncodeAll(src, dst)
	p.zstdWriters.Put(e)
	return dst, nil
}

func (p *pools) decodeZstd(dst, src []byte, limit int) ([]byte, error) {
	least, most, err := zstdSize(src)
	if err != nil {
		return nil, err
	}
	if least > int64(limit) {
		return nil, tooLarge(limit)
	}
	d, _ := p.zstdReaders.Get().(*zstd.Decoder)
	if d == nil {
		d, err = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(false),
			zstd.WithDecoderMaxWindow(zstdMaxWindow),
			zstd.WithDecodeAllCapLimit(true),
		)
		if err != nil {
			return nil, fmt.Errorf("compress: zstd: %w", err)
		}
	}
	out, err := appendFrames(d, dst, src, least, most, limit)
	p.zstdReaders.Put(d)
	return out, err
}

// appendFrames decodes src, which decodes to least bytes at least and most at
// most. Where they differ the size is not known before, as in all that Kafka's
// streaming writer makes. Room is guessed then, and if it was too little, decoding
// starts again with more.
//
// The decoder's errors do not tell damage from too little room. But a block that
// finds no room in the limit and one block more begins beyond the limit.
func appendFrames(d *zstd.Decoder, dst, src []byte, least, most int64, limit int) ([]byte, error) {
	start := len(dst)
	ceiling := int(min(most, int64(min(limit, math.MaxInt-start-zstdBlockMax))+zstdBlockMax))
	// Eight to one is more than most records yield.
	room := int(min(max(least, 8*int64(len(src)), 4096, int64(cap(dst)-start)), int64(ceiling)))
	for {
		dst = grow(dst, room)
		// The decoder gets a slice of its own: it takes what is before for its
		// history, and stops at the capacity.
		out, err := d.DecodeAll(src, dst[start:start:start+room])
		switch {
		case err == nil && len(out) <= limit:
			dst = dst[:start+len(out)]
			if len(out) > 0 && &out[0] != &dst[start] {
				copy(dst[start:], out)
			}
			return dst, nil
		case len(out) > limit:
			return nil, tooLarge(limit)
		case room == ceiling:
			return nil, corrupt("zstd: after %d bytes: %v", len(out), err)
		case room > ceiling/4:
			room = ceiling
		default:
			room *= 4
		}
	}
}

// zstdSize walks over the frames and blocks of src, and returns bounds of what
// they decode to. They are equal if the frames declare their size, or have no
// compressed blocks. The walk also finds what the library passes over: bytes
// after the last frame that are too few to be one.
func zstdSize(src []byte) (least, most int64, err error) {
	if len(src) == 0 {
		return 0, 0, corrupt("zstd: empty")
	}
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, 0, corrupt("zstd: header: %v", noEOF(err))
		}
		if h.Skippable {
			n := int64(h.HeaderSize) + int64(h.SkippableSize)
			if n > int64(len(src)) {
				return 0, 0, corrupt("zstd: cut frame")
			}
			src = src[n:]
			continue
		}
		src = src[h.HeaderSize:]
		low, high, rest, err := zstdBlocks(src, &h)
		if err != nil {
			return 0, 0, err
		}
		if h.HasFCS {
			// What the frame declares must lie between what its blocks allow.
			if h.FrameContentSize < uint64(low) || h.FrameContentSize > uint64(high) {
				return 0, 0, corrupt("zstd: a frame declares %d bytes", h.FrameContentSize)
			}
			low, high = int64(h.FrameContentSize), int64(h.FrameContentSize)
		}
		least, most, src = least+low, most+high, rest
	}
	return least, most, nil
}

// zstdBlocks walks over the blocks of one frame:
//
//	3 bytes, little endian: bit 0 last, bits 1-2 type, bits 3-23 size
//	type 0 raw: size bytes; 1 one byte repeated size times; 2 size bytes, compressed
func zstdBlocks(src []byte, h *zstd.Header) (low, high int64, rest []byte, err error) {
	blockMax := int64(zstdBlockMax)
	if !h.SingleSegment {
		blockMax = min(blockMax, int64(min(h.WindowSize, zstdMaxWindow)))
	}
	for last := false; !last; {
		if len(src) < 3 {
			return 0, 0, nil, corrupt("zstd: cut block header")
		}
		bits := uint32(src[0]) | uint32(src[1])<<8 | uint32(src[2])<<16
		last = bits&1 != 0
		size := int64(bits >> 3)
		stored := size
		switch bits >> 1 & 3 {
		case 0:
			low, high = low+size, high+size
		case 1:
			low, high = low+size, high+size
			stored = 1
		case 2:
			high += blockMax
		default:
			return 0, 0, nil, corrupt("zstd: reserved block type")
		}
		if size > zstdBlockMax {
			return 0, 0, nil, corrupt("zstd: a block of %d bytes", size)
		}
		src = src[3:]
		if stored > int64(len(src)) {
			return 0, 0, nil, corrupt("zstd: a block of %d bytes with %d left", stored, len(src))
		}
		src = src[stored:]
	}
	if h.HasCheckSum {
		if len(src) < 4 {
			return 0, 0, nil, corrupt("zstd: cut checksum")
		}
		src = src[4:]
	}
	return low, high, src, nil
}
