package log

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// keyHash tells keys apart in the cleaner's map by 128 bits instead of by their
// bytes. Two keys with the same hash would be one key, and the older of the two
// records would be lost, so that must not happen by chance, nor to somebody who
// chooses the keys. It is SipHash-2-4 in its form of 128 bits, with a key of its
// own for each cleaning:
//
//   - it is a pseudo-random function: who does not know the key cannot do better
//     than chance, which for 100 million keys is 1 in 10^22. Kafka's MD5 has no
//     key, and pairs of keys that collide can be made in seconds
//   - hash/maphash with two seeds is quicker (BenchmarkKeyHash: a third), but what
//     it is differs between processors, none of it is meant to have 128 bits, and
//     a difference of two inputs can be chosen that vanishes far more often
type keyHash struct{ k0, k1 uint64 }

// sum128 is the hash of a key.
type sum128 struct{ a, b uint64 }

func newKeyHash() keyHash {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return keyHash{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
}

func (k keyHash) sum(p []byte) sum128 {
	v0 := k.k0 ^ 0x736f6d6570736575
	v1 := k.k1 ^ 0x646f72616e646f6d ^ 0xee
	v2 := k.k0 ^ 0x6c7967656e657261
	v3 := k.k1 ^ 0x7465646279746573
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range p {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last

	v2 ^= 0xee
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	a := v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return sum128{a, v0 ^ v1 ^ v2 ^ v3}
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v1
	v0 += v3
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
