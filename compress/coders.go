package compress

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// Coders encodes and decodes for one store. It is safe for many goroutines.
type Coders struct {
	// pools is nil after Close. It is behind a pointer so that Close can let go
	// of all pooled memory at once: a sync.Pool cannot be emptied.
	pools atomic.Pointer[pools]
}

// pools holds what coders need beyond their input and output. They are of the
// store, not of the package, because a zstd coder holds a channel: one made
// inside a testing/synctest bubble must never be used outside. The collector
// empties them when a store is idle.
type pools struct {
	gzipWriters sync.Pool // *gzipWriter, 0.8 MiB
	gzipReaders sync.Pool // *gzipReader, 50 KiB
	lz4Writers  sync.Pool // *lz4.Compressor, 0.1 MiB
	zstdWriters sync.Pool // *zstd.Encoder, 1.5 MiB, 4 MiB for inputs above 128 KiB
	zstdReaders sync.Pool // *zstd.Decoder, 0.2 MiB
}

// New makes coders for one store. Nothing is set aside before it is needed.
func New() *Coders {
	c := new(Coders)
	c.pools.Store(new(pools))
	return c
}

// Close lets go of all pooled memory. Calls that are running end as usual, later
// ones return ErrClosed.
func (c *Coders) Close() { c.pools.Store(nil) }

// Append appends src, encoded by k, to dst, and returns the extended slice. dst
// and src must not overlap. The space between the length and the capacity of dst
// is written to. No memory is set aside if dst has Bound(len(src), k) bytes left
// (gzip aside). Levels are Kafka's defaults, or what comes nearest: gzip 6, lz4
// fast, zstd 3.
func (c *Coders) Append(dst, src []byte, k Codec) ([]byte, error) {
	p := c.pools.Load()
	if p == nil {
		return dst, ErrClosed
	}
	switch k {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return p.appendGzip(dst, src)
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		return p.appendLZ4(dst, src), nil
	case Zstd:
		return p.appendZstd(dst, src)
	}
	return dst, k.unknown()
}

// AppendDecoded appends what k encoded as src to dst, and returns the extended
// slice. It appends at most limit bytes: data that decodes to more is
// ErrTooLarge, and data that cannot be decoded is ErrCorrupt. Either way dst
// comes back as it was, but the space between its length and its capacity may
// have been written to. dst and src must not overlap.
//
// Whatever src says, one call sets aside no more memory than four times the limit
// and 512 KiB, the pooled coder not counted: that is a zstd bomb. Where the size is
// known it is that size, once, and nothing if dst has room.
func (c *Coders) AppendDecoded(dst, src []byte, k Codec, limit int) ([]byte, error) {
	p := c.pools.Load()
	if p == nil {
		return dst, ErrClosed
	}
	var out []byte
	var err error
	// So that len(dst)+limit is an int, also for a limit of math.MaxInt.
	limit = min(max(limit, 0), math.MaxInt-len(dst))
	switch k {
	case None:
		if len(src) > limit {
			return dst, tooLarge(limit)
		}
		return append(dst, src...), nil
	case Gzip:
		out, err = p.decodeGzip(dst, src, limit)
	case Snappy:
		out, err = decodeSnappy(dst, src, limit)
	case LZ4:
		out, err = decodeLZ4(dst, src, limit)
	case Zstd:
		out, err = p.decodeZstd(dst, src, limit)
	default:
		err = k.unknown()
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Bound is the most that Append appends for n bytes.
func Bound(n int, k Codec) int {
	switch k {
	case Gzip:
		// Stored blocks of 64 KiB have 5 bytes of header; the encoder's are
		// smaller. 18 bytes of header and trailer.
		return n + n/1024 + 64
	case Snappy:
		return snappyBound(n)
	case LZ4:
		return lz4Bound(n)
	case Zstd:
		// 3 bytes a block of 128 KiB, 14 of frame header, and what the encoder
		// writes before it sees that a block does not compress.
		return n + n/128 + 128
	}
	return n
}

func tooLarge(limit int) error {
	return fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
}

// grow makes room for n more bytes behind dst. It allocates exactly that: who
// calls it knows the size, or doubles it.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	bigger := make([]byte, len(dst), len(dst)+n)
	copy(bigger, dst)
	return bigger
}
