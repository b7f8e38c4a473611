package log

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestKeyHash: the vectors of the SipHash authors for the form of 128 bits, with
// the key 00 01 .. 0f and the input 00 01 .. n-1.
func TestKeyHash(t *testing.T) {
	k := keyHash{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	in := make([]byte, 64)
	for i := range in {
		in[i] = byte(i)
	}
	for n, want := range map[int]string{
		0:  "a3817f04ba25a8e66df67214c7550293",
		1:  "da87c1d86b99af44347659119b22fc45",
		2:  "8177228da4a45dc7fca38bdef60affe4",
		8:  "3b62a9ba6258f5610f83e264f31497b4",
		15: "5493e99933b0a8117e08ec0f97cfc3d9",
	} {
		s := k.sum(in[:n])
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], s.a)
		binary.LittleEndian.PutUint64(b[8:], s.b)
		require.Equal(t, want, hex.EncodeToString(b[:]), "%d bytes", n)
	}
	// Each cleaning has its own key.
	require.NotEqual(t, newKeyHash(), newKeyHash())
}

// TestKeyHashUsesAllBits: what both halves say matters, and each byte of a key of
// any length.
func TestKeyHashUsesAllBits(t *testing.T) {
	k := newKeyHash()
	seen := map[sum128]string{}
	for n := range 40 {
		key := make([]byte, n)
		for i := -1; i < n; i++ {
			if i >= 0 {
				key[i]++
			}
			s := k.sum(key)
			require.Empty(t, seen[s])
			seen[s] = fmt.Sprintf("%x", key)
		}
	}
}

func TestKeyMap(t *testing.T) {
	require.EqualValues(t, keySlotSize, unsafe.Sizeof(keySlot{}))
	k := newKeyHash()
	m := newKeyMap(24*1000, 1<<40)
	require.EqualValues(t, 24*1000, m.bytes())
	require.Equal(t, 900, m.max)
	key := func(i int) sum128 { return k.sum(fmt.Appendf(nil, "key %d", i)) }
	for i := range 900 {
		require.True(t, m.put(key(i), int64(i)))
	}
	require.False(t, m.put(key(900), 900)) // full
	for i := range 900 {
		require.EqualValues(t, i, m.get(key(i)))
		require.True(t, m.put(key(i), int64(1000+i)), "a key that is there needs no room")
		require.EqualValues(t, 1000+i, m.get(key(i)))
	}
	for i := range 1000 {
		require.EqualValues(t, -1, m.get(key(900+i)))
	}
}

// TestKeyMapSize: the memory is what is needed, and never more than allowed.
func TestKeyMapSize(t *testing.T) {
	for _, tc := range []struct{ bytes, keys int64 }{
		{0, 0}, {-1, 5}, {1, 1}, {48, 100}, {1 << 20, 1}, {1 << 20, 10}, {1 << 20, 1000}, {1 << 20, 1 << 62}, {100, 1 << 62}, {24 * 11, 9}, {24 * 10, 9},
	} {
		m := newKeyMap(tc.bytes, tc.keys)
		require.GreaterOrEqual(t, m.max, 1)
		require.Less(t, m.max, len(m.slots), "a search must end")
		require.LessOrEqual(t, m.bytes(), max(tc.bytes, 2*keySlotSize))
		if tc.bytes > (tc.keys+tc.keys/8+3)*keySlotSize && tc.keys < 1<<40 {
			require.GreaterOrEqual(t, int64(m.max), tc.keys)
			require.LessOrEqual(t, m.bytes(), (tc.keys+tc.keys/8+3)*keySlotSize)
		}
	}
}

// TestKeyMapHalves: keys that share 64 bits of their hash are told apart, whichever
// half it is, also when they begin at the same slot.
func TestKeyMapHalves(t *testing.T) {
	m := newKeyMap(24*100, 1<<40)
	for i := range uint64(20) {
		require.True(t, m.put(sum128{5, i}, int64(i)))
		require.True(t, m.put(sum128{i << 59, 7}, int64(100+i)))
	}
	for i := range uint64(20) {
		require.EqualValues(t, i, m.get(sum128{5, i}))
		require.EqualValues(t, 100+i, m.get(sum128{i << 59, 7}))
	}
	// The last slots go on at the first.
	m = newKeyMap(24*4, 1<<40)
	for i := range uint64(3) {
		require.True(t, m.put(sum128{^uint64(0), i}, int64(i)))
	}
	for i := range uint64(3) {
		require.EqualValues(t, i, m.get(sum128{^uint64(0), i}))
	}
}

func BenchmarkKeyHash(b *testing.B) {
	for _, n := range []int{8, 16, 36} {
		key := make([]byte, n)
		b.Run(fmt.Sprintf("sip128/%d", n), func(b *testing.B) {
			k := newKeyHash()
			for i := 0; b.Loop(); i++ {
				key[0] = byte(i)
				k.sum(key)
			}
		})
		b.Run(fmt.Sprintf("maphash-twice/%d", n), func(b *testing.B) {
			s, u := maphash.MakeSeed(), maphash.MakeSeed()
			for i := 0; b.Loop(); i++ {
				key[0] = byte(i)
				_ = maphash.Bytes(s, key) ^ maphash.Bytes(u, key)
			}
		})
	}
}

func BenchmarkKeyMap(b *testing.B) {
	m := newKeyMap(64<<20, 1<<40)
	k := newKeyHash()
	var key [8]byte
	for i := range m.max {
		binary.LittleEndian.PutUint64(key[:], uint64(i))
		m.put(k.sum(key[:]), int64(i))
	}
	for b.Loop() {
		binary.LittleEndian.PutUint64(key[:], rand.Uint64N(uint64(m.max)))
		m.get(k.sum(key[:]))
	}
}
