package segment

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// A scan that has its CRCs checked ahead, on other goroutines, finds what one
// does that checks them itself, wherever and however often the file is damaged.
func TestScanVerifiedAhead(t *testing.T) {
	c := small
	c.Bytes, c.IndexBytes = 16<<20, 1<<20
	var file []byte
	var starts []int64
	for base := int64(0); len(file) < 9<<20; {
		b := spec{base: base, records: 1 + int(base%3), time: base, size: 3000 + int(base%7)*900}
		starts = append(starts, int64(len(file)))
		file = append(file, b.encode()...)
		base = b.last() + 1
	}
	r := rand.New(rand.NewPCG(1, 2))
	damage := map[string]func(b []byte){
		"none":  func([]byte) {},
		"first": func(b []byte) { b[100] ^= 1 },
		"last":  func(b []byte) { b[len(b)-1] ^= 1 },
		"zeros": func(b []byte) { clear(b[starts[len(starts)/2]:]) },
		"cut length": func(b []byte) {
			binary.BigEndian.PutUint32(b[starts[len(starts)/3]+8:], 7)
		},
		"long length": func(b []byte) {
			binary.BigEndian.PutUint32(b[starts[len(starts)/3]+8:], 1<<30)
		},
		"length over another": func(b []byte) {
			at := starts[len(starts)/4]
			n := binary.BigEndian.Uint32(b[at+8:])
			binary.BigEndian.PutUint32(b[at+8:], 2*n)
		},
		"order": func(b []byte) { codec.SetBaseOffset(b[starts[200]:], 3) },
	}
	for _, name := range []string{"some 0", "some 1", "some 2", "some 3"} {
		damage[name] = func(b []byte) {
			for range 1 + r.IntN(5) {
				b[starts[r.IntN(len(starts))]+21+r.Int64N(2000)] ^= byte(1 + r.IntN(255))
			}
		}
	}
	for name, hurt := range damage {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, c, false)
			b := append([]byte(nil), file...)
			hurt(b)
			g.write(0, LogSuffix, b)
			for _, around := range []bool{false, true} {
				procs := runtime.GOMAXPROCS(1)
				want, err1 := g.open(0).Scan(ScanOptions{Around: around})
				runtime.GOMAXPROCS(max(2, procs))
				got, err2 := g.open(0).Scan(ScanOptions{Around: around})
				runtime.GOMAXPROCS(procs)
				require.NoError(t, err1)
				require.NoError(t, err2)
				require.Equal(t, want.Valid, got.Valid)
				require.Equal(t, want.Next, got.Next)
				require.Equal(t, want.Batches, got.Batches)
				require.Equal(t, want.Stop, got.Stop)
				require.Equal(t, want.Err, got.Err)
				require.Equal(t, want.Holes, got.Holes)
				require.Equal(t, want.w.offsets.Bytes(), got.w.offsets.Bytes())
				require.Equal(t, want.w.times.Bytes(), got.w.times.Bytes())
			}
			require.Zero(t, g.maps.Count())
		})
	}
}

// What is checked ahead is used: a scan of a sound file leaves every batch to
// the workers.
func TestVerifierCoversAll(t *testing.T) {
	g := newRig(t, small, false)
	if !g.canMap || runtime.GOMAXPROCS(0) == 1 {
		t.Skip("needs maps and a second core")
	}
	var file []byte
	var sizes []int64
	for base := int64(0); len(file) < 6<<20; base++ {
		b := spec{base: base, records: 1, time: base, size: 4000}.encode()
		file, sizes = append(file, b...), append(sizes, int64(len(b)))
	}
	g.write(0, LogSuffix, file)
	f, err := g.fs.Open(g.name(0, LogSuffix), vfs.ReadOnly)
	require.NoError(t, err)
	defer f.Close()
	in := g.open(0).openScan(f, int64(len(file)))
	defer in.close()
	require.NotNil(t, in.ahead)
	pos := int64(0)
	for _, n := range sizes {
		require.True(t, in.ahead.sound(pos, n), "batch at %d", pos)
		pos += n
	}
	require.False(t, in.ahead.sound(pos, 100), "beyond the end")
}
