package compress

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// lines are like those of an access log, the size of a batch of a hundred.
func lines() []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	var b []byte
	for i := range 100 {
		b = fmt.Appendf(b, "10.%d.%d.7 - - [17/May/2015:10:05:%02d +0000] \"GET /presentations/%x.png HTTP/1.1\" 200 %d\n",
			rnd.IntN(256), rnd.IntN(256), i/2, rnd.Uint32(), rnd.IntN(100000))
	}
	return b
}

func BenchmarkAppend(b *testing.B) {
	in := lines()
	for _, k := range codecs {
		b.Run("codec="+k.String(), func(b *testing.B) {
			c := New()
			defer c.Close()
			dst := make([]byte, 0, Bound(len(in), k))
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				out, err := c.Append(dst, in, k)
				if err != nil {
					b.Fatal(err)
				}
				n = len(out)
			}
			b.ReportMetric(float64(len(in))/float64(n), "ratio")
		})
	}
}

func BenchmarkAppendDecoded(b *testing.B) {
	in := lines()
	for _, k := range codecs {
		b.Run("codec="+k.String(), func(b *testing.B) {
			c := New()
			defer c.Close()
			enc, err := c.Append(nil, in, k)
			require.NoError(b, err)
			dst := make([]byte, 0, len(in))
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.AppendDecoded(dst, enc, k, len(in)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// In steady state, with room in dst, only gzip allocates.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops pooled coders at random")
	}
	for _, in := range [][]byte{lines(), inputs()["text"]} {
		for _, k := range []Codec{None, Snappy, LZ4, Zstd} {
			c := New()
			dst := make([]byte, 0, Bound(len(in), k))
			var enc []byte
			// A collection in between may cost an allocation; a coder for each
			// call would cost one a run.
			require.Less(t, testing.AllocsPerRun(50, func() { enc, _ = c.Append(dst, in, k) }), 1.0, k)
			for _, limit := range []int{len(in), 1 << 20} {
				back := make([]byte, 0, len(in))
				require.Less(t, testing.AllocsPerRun(50, func() { back, _ = c.AppendDecoded(back[:0], enc, k, limit) }), 1.0, k)
				require.Len(t, back, len(in))
			}
		}
	}
}
