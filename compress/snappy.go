package compress

import (
	"encoding/binary"
	"math"

	"github.com/klauspost/compress/s2"
)

// Kafka's snappy is the stream of the Java library, known as xerial framing:
//
//	+--------------------------+---------------+--------------------+
//	| 82 'S' 'N' 'A' 'P'       | version  i32  | oldest compatible  |
//	| 'P' 'Y' 00               | 1             | version  i32  1    |
//	+------------+-------------+---------------+--------------------+
//	| length i32 | one raw snappy block of that many bytes          |
//	+------------+--------------------------------------------------+
//	  ... repeated to the end; all integers big endian
//
// The Java reader takes a second header where a length is expected (two streams,
// one after the other), and data that does not begin with the magic as one raw
// block. Some clients, in Go above all, write raw blocks, so both are read here.
const (
	snappyMagic  = "\x82SNAPPY\x00"
	snappyHeader = snappyMagic + "\x00\x00\x00\x01\x00\x00\x00\x01"

	// snappyBlock is what the Java library cuts its input into.
	snappyBlock = 32 << 10

	// snappyRatio bounds what a byte can decode to: a copy of 64 bytes takes
	// three.
	snappyRatio = 22
)

func snappyBound(n int) int {
	blocks := (n + snappyBlock - 1) / snappyBlock
	return len(snappyHeader) + blocks*(4+s2.MaxEncodedLen(snappyBlock))
}

func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, snappyHeader...)
	for len(src) > 0 {
		block := src[:min(len(src), snappyBlock)]
		src = src[len(block):]
		dst = growMore(dst, 4+s2.MaxEncodedLen(len(block)))
		at := len(dst) + 4
		// There is room for the worst case, so it is encoded in place. The
		// encoder's tables come from pools of its package; they are plain
		// memory, which may pass between stores and bubbles.
		n := len(s2.EncodeSnappy(dst[at:cap(dst)], block))
		dst = dst[:at+n]
		binary.BigEndian.PutUint32(dst[at-4:], uint32(n))
	}
	return dst
}

// growMore makes room for n more bytes behind dst, and if it must allocate, for
// twice what is there, since more may follow.
func growMore(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	return grow(dst, max(n, len(dst)))
}

// snappyNext cuts the next raw block off src, which is not empty. A header in
// its place yields no block.
func snappyNext(src []byte) (block, rest []byte, err error) {
	if len(src) >= len(snappyMagic) && string(src[:len(snappyMagic)]) == snappyMagic {
		if len(src) < len(snappyHeader) {
			return nil, nil, corrupt("snappy: cut header")
		}
		if version := binary.BigEndian.Uint32(src[8:]); version < 1 || version > math.MaxInt32 {
			return nil, nil, corrupt("snappy: version %d", int32(version))
		}
		return nil, src[len(snappyHeader):], nil
	}
	if len(src) < 4 {
		return nil, nil, corrupt("snappy: %d bytes where a block should begin", len(src))
	}
	n := binary.BigEndian.Uint32(src)
	src = src[4:]
	if n == 0 || uint64(n) > uint64(len(src)) {
		return nil, nil, corrupt("snappy: a block of %d bytes with %d left", n, len(src))
	}
	return src[:n], src[n:], nil
}

// snappyLen is the length that a raw block declares for its content.
func snappyLen(block []byte) (int, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return 0, corrupt("snappy: %v", err)
	}
	if int64(n) > int64(len(block))*snappyRatio {
		return 0, corrupt("snappy: a block of %d bytes declares %d", len(block), n)
	}
	return n, nil
}

func decodeSnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) == 0 {
		return nil, corrupt("snappy: empty")
	}
	if len(src) < len(snappyMagic) || string(src[:len(snappyMagic)]) != snappyMagic {
		n, err := snappyLen(src)
		if err != nil {
			return nil, err
		}
		if n > limit {
			return nil, tooLarge(limit)
		}
		return snappyDecode(grow(dst, n), src, n)
	}
	// First the lengths, so that room is made once, for exactly what is needed.
	total := 0
	for rest := src; len(rest) > 0; {
		block, next, err := snappyNext(rest)
		if err != nil {
			return nil, err
		}
		rest = next
		if block == nil {
			continue
		}
		n, err := snappyLen(block)
		if err != nil {
			return nil, err
		}
		if n > limit-total {
			return nil, tooLarge(limit)
		}
		total += n
	}
	dst = grow(dst, total)
	for rest := src; len(rest) > 0; {
		var block []byte
		block, rest, _ = snappyNext(rest)
		if block == nil {
			continue
		}
		n, err := snappyLen(block)
		if err == nil {
			dst, err = snappyDecode(dst, block, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// snappyDecode decodes a block of n bytes into dst, which has room for them.
func snappyDecode(dst, block []byte, n int) ([]byte, error) {
	end := len(dst) + n
	if _, err := s2.Decode(dst[len(dst):end:end], block); err != nil {
		return nil, corrupt("snappy: %v", err)
	}
	return dst[:end], nil
}
