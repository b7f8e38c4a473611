// Package murmur2 is the hash by which Kafka's producers choose the partition of
// a key. Keys go to the same partition here as in a Kafka client.
package murmur2

import "encoding/binary"

const (
	seed = 0x9747b28c
	mul  = 0x5bd1e995
)

// Sum is the 32-bit MurmurHash2 of key with Kafka's seed, as the signed number
// that Java has for it. A nil key hashes as an empty one does; a caller who
// wants to spread records without a key must see to that before.
func Sum(key []byte) int32 {
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * mul
		k ^= k >> 24
		h = h*mul ^ k*mul
	}
	if len(key) > 0 {
		if len(key) > 2 {
			h ^= uint32(key[2]) << 16
		}
		if len(key) > 1 {
			h ^= uint32(key[1]) << 8
		}
		h = (h ^ uint32(key[0])) * mul
	}
	h ^= h >> 13
	h *= mul
	return int32(h ^ h>>15)
}

// Partition is the partition of key among n, which must be above zero. The sign
// bit is cleared, not the absolute value taken: the two differ for half of all
// keys.
func Partition(key []byte, n int32) int32 {
	return (Sum(key) & 0x7fffffff) % n
}
