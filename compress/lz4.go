package compress

import (
	"encoding/binary"

	"github.com/pierrec/lz4/v4"
)

// Kafka writes one LZ4 frame a batch:
//
//	+-------------+-----+-----+----+-----------------------------------+-------------+
//	| 04 22 4D 18 | 60  | 40  | 82 | blocks: size u32, then the data   | 00 00 00 00 |
//	| magic       | FLG | BD  | HC | top bit of the size: stored as is | end mark    |
//	+-------------+-----+-----+----+-----------------------------------+-------------+
//	  integers little endian
//
// FLG 60: version 1, independent blocks, no checksums, no content size. BD 40:
// blocks of at most 64 KiB. HC, the second byte of the XXH32 of FLG and BD, is
// then always 82.
//
// The frame is put together here rather than by the library's Writer and Reader,
// which pool blocks for the whole process and copy them once more.
const (
	lz4Magic  = "\x04\x22\x4D\x18"
	lz4Header = lz4Magic + "\x60\x40\x82"
	lz4Block  = 64 << 10
	lz4Stored = 1 << 31 // in a block's size: not compressed

	// Bits of FLG and BD. Kafka's reader refuses linked blocks and dictionaries,
	// and so does this one: what it took, no Kafka client could read.
	lz4Version         = 0xC0
	lz4Independent     = 0x20
	lz4BlockChecksum   = 0x10
	lz4ContentSize     = 0x08
	lz4ContentChecksum = 0x04
	lz4Reserved        = 0x03 // a dictionary id is the lower one
	lz4BDReserved      = 0x8F
)

func lz4Bound(n int) int {
	return len(lz4Header) + n + 4*((n+lz4Block-1)/lz4Block) + 4
}

func (p *pools) appendLZ4(dst, src []byte) []byte {
	// Kafka's default level is called 9, but at that one its writer uses the
	// fast compressor; only other levels select the slow, thorough one.
	c, _ := p.lz4Writers.Get().(*lz4.Compressor)
	if c == nil {
		c = new(lz4.Compressor)
	}
	dst = append(dst, lz4Header...)
	for len(src) > 0 {
		block := src[:min(len(src), lz4Block)]
		src = src[len(block):]
		dst = growMore(dst, 4+len(block))
		at := len(dst) + 4
		into := dst[at : at+len(block)]
		// An error says that it does not fit: it is larger than it was.
		n, err := c.CompressBlock(block, into)
		size := uint32(n)
		if err != nil || n == 0 || n >= len(block) {
			n = copy(into, block)
			size = uint32(n) | lz4Stored
		}
		dst = dst[:at+n]
		binary.LittleEndian.PutUint32(dst[at-4:], size)
	}
	p.lz4Writers.Put(c)
	return append(dst, 0, 0, 0, 0)
}

// lz4Frame is a frame header.
type lz4Frame struct {
	blockMax        int
	blockChecksum   bool
	contentChecksum bool
	contentSize     int64 // -1 if not declared
}

func parseLZ4(src []byte) (f lz4Frame, rest []byte, err error) {
	if len(src) < len(lz4Header) {
		return f, nil, corrupt("lz4: %d bytes are no frame", len(src))
	}
	if string(src[:4]) != lz4Magic {
		return f, nil, corrupt("lz4: magic %x", src[:4])
	}
	flg, bd := src[4], src[5]
	switch {
	case flg&lz4Version != 0x40:
		return f, nil, corrupt("lz4: version %d", flg>>6)
	case flg&lz4Independent == 0:
		return f, nil, corrupt("lz4: linked blocks")
	case flg&lz4Reserved != 0 || bd&lz4BDReserved != 0 || bd>>4 < 4:
		return f, nil, corrupt("lz4: descriptor %02x %02x", flg, bd)
	}
	f.blockMax = 1 << (8 + 2*(bd>>4)) // 4 is 64 KiB, 7 is 4 MiB
	f.blockChecksum = flg&lz4BlockChecksum != 0
	f.contentChecksum = flg&lz4ContentChecksum != 0
	f.contentSize = -1
	n := 6
	if flg&lz4ContentSize != 0 {
		n += 8
		if len(src) < n+1 {
			return f, nil, corrupt("lz4: cut header")
		}
		if f.contentSize = int64(binary.LittleEndian.Uint64(src[6:])); f.contentSize < 0 {
			return f, nil, corrupt("lz4: content size %d", uint64(f.contentSize))
		}
	}
	if sum := byte(xxh32(src[4:n]) >> 8); src[n] != sum {
		return f, nil, corrupt("lz4: header checksum %02x, should be %02x", src[n], sum)
	}
	return f, src[n+1:], nil
}

// next cuts the next block off src; its checksum is src[len(block):]. At the end
// mark block is nil.
func (f *lz4Frame) next(src []byte) (block []byte, stored bool, rest []byte, err error) {
	if len(src) < 4 {
		return nil, false, nil, corrupt("lz4: no end mark")
	}
	size := binary.LittleEndian.Uint32(src)
	src = src[4:]
	if size == 0 {
		return nil, false, src, nil
	}
	n := int(size &^ lz4Stored)
	after := n
	if f.blockChecksum {
		after += 4
	}
	if n == 0 || n > f.blockMax || after > len(src) {
		return nil, false, nil, corrupt("lz4: a block of %d bytes with %d left", n, len(src))
	}
	return src[:n:n], size&lz4Stored != 0, src[after:], nil
}

func decodeLZ4(dst, src []byte, limit int) ([]byte, error) {
	f, src, err := parseLZ4(src)
	if err != nil {
		return nil, err
	}
	// First the sizes: a look at each sequence's lengths costs a fraction of
	// decoding, and room is made once, for exactly what is needed. A dst that is
	// surely large enough, as that of a reader becomes, is spared it.
	start, rest := len(dst), src
	if !f.fits(src, min(cap(dst)-start, limit)) {
		total, err := f.size(src, limit)
		if err != nil {
			return nil, err
		}
		dst = grow(dst, total)
	}
	for {
		block, stored, after, err := f.next(rest)
		if err != nil {
			return nil, err
		}
		if block == nil {
			rest = after
			break
		}
		if f.blockChecksum {
			want := binary.LittleEndian.Uint32(rest[4+len(block):])
			if sum := xxh32(block); sum != want {
				return nil, corrupt("lz4: block checksum %08x, should be %08x", want, sum)
			}
		}
		rest = after
		if stored {
			dst = append(dst, block...)
			continue
		}
		into := dst[len(dst):min(cap(dst), len(dst)+f.blockMax, start+limit)]
		n, err := lz4.UncompressBlock(block, into)
		if err != nil {
			return nil, corrupt("lz4: after %d bytes: %v", len(dst)-start, err)
		}
		dst = dst[:len(dst)+n]
	}
	if f.contentChecksum {
		if len(rest) < 4 {
			return nil, corrupt("lz4: cut content checksum")
		}
		if sum := xxh32(dst[start:]); binary.LittleEndian.Uint32(rest) != sum {
			return nil, corrupt("lz4: content checksum %x, should be %08x", rest[:4], sum)
		}
		rest = rest[4:]
	}
	if f.contentSize >= 0 && f.contentSize != int64(len(dst)-start) {
		return nil, corrupt("lz4: %d bytes declared, %d there", f.contentSize, len(dst)-start)
	}
	if len(rest) > 0 {
		return nil, corrupt("lz4: %d bytes after the frame", len(rest))
	}
	return dst, nil
}

// fits tells whether the blocks of src cannot decode to more than room.
func (f *lz4Frame) fits(src []byte, room int) bool {
	for {
		block, stored, rest, err := f.next(src)
		if err != nil || block == nil {
			return true // the error is found again
		}
		n := f.blockMax
		if stored {
			n = len(block)
		}
		if room -= n; room < 0 {
			return false
		}
		src = rest
	}
}

// size is what the blocks of src decode to, at most limit.
func (f *lz4Frame) size(src []byte, limit int) (total int, err error) {
	for {
		block, stored, rest, err := f.next(src)
		if err != nil {
			return 0, err
		}
		if block == nil {
			return total, nil
		}
		n := len(block)
		if !stored {
			if n, err = lz4Size(block); err != nil {
				return 0, err
			}
		}
		if n > f.blockMax {
			return 0, corrupt("lz4: a block decodes to %d bytes, %d are allowed", n, f.blockMax)
		}
		if n > limit-total {
			return 0, tooLarge(limit)
		}
		total += n
		src = rest
	}
}

// lz4Size adds up the lengths of a block's sequences:
//
//	token: high four bits literals, low four bits match - 4; 15 goes on in bytes
//	to the first that is not 255; literals; offset u16; the last has no match
//
// A byte adds 255 at most, so the sum of a block of 4 MiB fits an int32.
func lz4Size(block []byte) (int, error) {
	total := 0
	for i := 0; ; {
		token := block[i]
		i++
		literals := int(token >> 4)
		if literals == 15 {
			n, more := lz4Length(block[i:])
			literals, i = literals+n, i+more
		}
		i += literals
		total += literals
		if i == len(block) {
			return total, nil
		}
		match := int(token & 15)
		if i += 2; i < len(block) && match == 15 {
			n, more := lz4Length(block[i:])
			match, i = match+n, i+more
		}
		if i >= len(block) {
			return 0, corrupt("lz4: a block ends within a sequence")
		}
		total += match + 4
	}
}

// lz4Length is the rest of a length, and how many bytes it takes.
func lz4Length(b []byte) (n, size int) {
	for _, v := range b {
		n += int(v)
		size++
		if v != 255 {
			break
		}
	}
	return n, size
}
