package codec

import "math/bits"

// The variable-length integers of Kafka: seven bits a byte, lowest first, the
// top bit set on all bytes but the last. Signed ones are folded first (zig-zag:
// 0, -1, 1, -2 become 0, 1, 2, 3), so that small negative numbers stay short.
//
//	300 = zig-zag 600 = 0b100_1011000 -> 1101 1000 | 0000 0100
const (
	maxVarint  = 5
	maxVarlong = 10
)

func fold32(v int32) uint32   { return uint32(v)<<1 ^ uint32(v>>31) }
func unfold32(u uint32) int32 { return int32(u>>1) ^ -int32(u&1) }
func fold64(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unfold64(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// SizeVarint is the number of bytes, 1 to 5, that AppendVarint writes for v.
func SizeVarint(v int32) int { return SizeUvarint(fold32(v)) }

// SizeVarlong is the number of bytes, 1 to 10, that AppendVarlong writes for v.
func SizeVarlong(v int64) int { return sizeUvarlong(fold64(v)) }

// SizeUvarint is the number of bytes, 1 to 5, that AppendUvarint writes for v.
func SizeUvarint(v uint32) int { return sizeUvarlong(uint64(v)) }

// sizeUvarlong is ceil(bits/7), and 1 for zero; the fraction 9/64 stands for
// 1/7 and is exact for 0 to 64 bits.
func sizeUvarlong(v uint64) int { return int(uint(bits.Len64(v))*9+64) >> 6 }

// AppendVarint appends v as Kafka's varint.
func AppendVarint(dst []byte, v int32) []byte { return AppendUvarint(dst, fold32(v)) }

// AppendVarlong appends v as Kafka's varlong.
func AppendVarlong(dst []byte, v int64) []byte {
	u := fold64(v)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// AppendUvarint appends v as Kafka's unsigned varint.
func AppendUvarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// PutVarint writes v at the beginning of dst, which must have SizeVarint(v)
// bytes, and returns how many it wrote.
func PutVarint(dst []byte, v int32) int { return putUvarlong(dst, uint64(fold32(v))) }

// PutVarlong is PutVarint for 64 bits.
func PutVarlong(dst []byte, v int64) int { return putUvarlong(dst, fold64(v)) }

func putUvarlong(dst []byte, u uint64) int {
	i := 0
	for u >= 0x80 {
		dst[i] = byte(u) | 0x80
		u >>= 7
		i++
	}
	dst[i] = byte(u)
	return i + 1
}

// Varint reads a varint at the beginning of b and returns it with its length.
// The length is 0 if b ends too early and negative if more than five bytes say
// that they go on. As in Kafka, longer forms than needed are accepted, and bits
// of the fifth byte that do not fit are ignored.
func Varint(b []byte) (v int32, n int) {
	u, n := Uvarint(b)
	return unfold32(u), n
}

// Varlong is Varint for 64 bits and at most ten bytes.
func Varlong(b []byte) (v int64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return unfold64(uint64(b[0])), 1
	}
	u, n := uvarlong(b)
	return unfold64(u), n
}

// Uvarint is Varint without the folding.
func Uvarint(b []byte) (v uint32, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1
	}
	return uvarint(b)
}

func uvarint(b []byte) (uint32, int) {
	var u uint32
	for i, c := range b {
		u |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return u, i + 1
		}
		if i == maxVarint-1 {
			return 0, -maxVarint
		}
	}
	return 0, 0
}

func uvarlong(b []byte) (uint64, int) {
	var u uint64
	for i, c := range b {
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return u, i + 1
		}
		if i == maxVarlong-1 {
			return 0, -maxVarlong
		}
	}
	return 0, 0
}
