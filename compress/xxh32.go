package compress

import (
	"encoding/binary"
	"math/bits"
)

const (
	xxhPrime1 = 2654435761
	xxhPrime2 = 2246822519
	xxhPrime3 = 3266489917
	xxhPrime4 = 668265263
	xxhPrime5 = 374761393
)

// xxh32 is the checksum of LZ4 frames: XXH32 with seed 0. Kafka's writer has it
// over two constant bytes only, so this one need not be fast.
func xxh32(b []byte) uint32 {
	n := uint32(len(b))
	h := uint32(xxhPrime5)
	if len(b) >= 16 {
		// Four lanes, in which the prime sums wrap around.
		var v1, v2, v3, v4 uint32 = xxhPrime1, xxhPrime2, 0, 0
		v1 += xxhPrime2
		v4 -= xxhPrime1
		for ; len(b) >= 16; b = b[16:] {
			v1 = bits.RotateLeft32(v1+binary.LittleEndian.Uint32(b)*xxhPrime2, 13) * xxhPrime1
			v2 = bits.RotateLeft32(v2+binary.LittleEndian.Uint32(b[4:])*xxhPrime2, 13) * xxhPrime1
			v3 = bits.RotateLeft32(v3+binary.LittleEndian.Uint32(b[8:])*xxhPrime2, 13) * xxhPrime1
			v4 = bits.RotateLeft32(v4+binary.LittleEndian.Uint32(b[12:])*xxhPrime2, 13) * xxhPrime1
		}
		h = bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) + bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18)
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*xxhPrime3, 17) * xxhPrime4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*xxhPrime5, 11) * xxhPrime1
	}
	h ^= h >> 15
	h *= xxhPrime2
	h ^= h >> 13
	h *= xxhPrime3
	return h ^ h>>16
}
