package compress

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func isSentinel(err error) bool {
	for _, e := range []error{ErrCorrupt, ErrTooLarge, ErrUnknown, ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// allocated is how many bytes f sets aside. It counts what is freed on the way
// too, so it is an upper bound of what f holds at any one time.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func bombs(t testing.TB) map[string]bomb {
	c := New()
	defer c.Close()
	zeros := make([]byte, 64<<20)
	list := map[string]bomb{}
	for _, k := range codecs[1:] {
		in := zeros
		if k == Snappy {
			in = in[:16<<20] // it makes no less than a twentieth
		}
		b, err := c.Append(nil, in, k)
		require.NoError(t, err)
		list[k.String()] = bomb{k, b, ErrTooLarge}
	}

	// Compressed blocks in a frame that does not declare its size, as Kafka's are.
	var stream bytes.Buffer
	z, err := zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	for range 32 {
		_, err = z.Write(bytes.Repeat([]byte("leat"), 256<<10))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	list["zstd stream"] = bomb{Zstd, stream.Bytes(), ErrTooLarge}

	// Many members, each of which says truly that it is small.
	var member bytes.Buffer
	w, err := gzip.NewWriterLevel(&member, 9)
	require.NoError(t, err)
	_, err = w.Write(zeros[:1<<20])
	require.NoError(t, errors.Join(err, w.Close()))
	list["gzip members"] = bomb{Gzip, bytes.Repeat(member.Bytes(), 200), ErrTooLarge}

	// Sizes that nothing stands behind.
	lie := bytes.Clone(member.Bytes())
	binary.LittleEndian.PutUint32(lie[len(lie)-4:], 1<<32-1)
	list["gzip declares 4 GiB"] = bomb{Gzip, lie, nil} // 1 MiB, then a wrong trailer
	list["snappy block declares 4 GiB"] = bomb{Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'a'}, ErrCorrupt}
	list["snappy xerial declares 4 GiB"] = bomb{Snappy, append([]byte(snappyHeader), 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'a'), ErrCorrupt}
	list["snappy block of 2 GiB"] = bomb{Snappy, append([]byte(snappyHeader), 0x7f, 0xff, 0xff, 0xff, 1, 0, 'a'), ErrCorrupt}
	list["lz4 declares 2^62"] = bomb{LZ4, lz4Declaring(1 << 62), ErrCorrupt}
	list["lz4 blocks of 4 MiB"] = bomb{LZ4, lz4Frame4MiB(), ErrCorrupt}
	list["zstd declares 2^62"] = bomb{Zstd, zstdDeclaring(1 << 62), ErrCorrupt}
	list["zstd declares 1 GiB"] = bomb{Zstd, zstdDeclaring(1 << 30), ErrCorrupt}
	list["zstd RLE blocks"] = bomb{Zstd, zstdRLE(3000), ErrTooLarge}
	list["zstd RLE frames"] = bomb{Zstd, bytes.Repeat(zstdRLE(1), 3000), ErrTooLarge}
	list["zstd window of 2 GiB"] = bomb{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x09, 0, 0, 'a'}, ErrCorrupt}
	return list
}

type bomb struct {
	codec Codec
	data  []byte
	want  error // nil: either
}

// lz4Declaring is a whole frame of one byte that says it has n.
func lz4Declaring(n uint64) []byte {
	b := append([]byte(lz4Magic), 0x68, 0x40)
	b = binary.LittleEndian.AppendUint64(b, n)
	b = append(b, byte(xxh32(b[4:])>>8))
	return append(b, 1, 0, 0, 0x80, 'a', 0, 0, 0, 0)
}

// lz4Frame4MiB is a frame of the largest blocks, the first of which is damaged.
func lz4Frame4MiB() []byte {
	b := append([]byte(lz4Magic), 0x60, 0x70)
	b = append(b, byte(xxh32(b[4:])>>8))
	return append(b, 5, 0, 0, 0, 0x10, 'a', 9, 9, 0xff, 0, 0, 0, 0)
}

// zstdDeclaring is a frame with a raw block of one byte that says it has n.
func zstdDeclaring(n uint64) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x58}
	b = binary.LittleEndian.AppendUint64(b, n)
	return append(b, 9, 0, 0, 'a')
}

// zstdRLE is a frame of n blocks, each of which repeats a byte 128 Ki times.
func zstdRLE(n int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}
	for i := range n {
		h := uint32(128<<10)<<3 | 1<<1
		if i == n-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 'a')
	}
	return b
}

func TestBombs(t *testing.T) {
	const limit = 1 << 20
	list := bombs(t)
	for name, b := range list {
		t.Run(name, func(t *testing.T) {
			c := New()
			defer c.Close()
			// The first call makes the coder, which is not what is measured.
			var got []byte
			var err error
			warm := allocated(func() { _, err = c.AppendDecoded(nil, b.data, b.codec, limit) })
			require.Error(t, err)
			n := allocated(func() { got, err = c.AppendDecoded(nil, b.data, b.codec, limit) })
			require.Nil(t, got)
			if b.want != nil {
				require.ErrorIs(t, err, b.want)
			}
			requireSentinel(t, err)
			t.Logf("%d bytes of input: %d bytes allocated, %d the first time: %v", len(b.data), n, warm, err)
			if !raceEnabled { // it drops pooled coders at random
				require.LessOrEqual(t, n, uint64(4*limit+512<<10))
			}
			require.LessOrEqual(t, warm, uint64(4*limit+2<<20))
		})
	}
}
