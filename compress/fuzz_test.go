package compress

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/pierrec/lz4/v4"
)

// fuzzLimit is small, so that the fuzzer meets it.
const fuzzLimit = 70 << 10

func fuzz(f *testing.F, k Codec, reference func([]byte) ([]byte, error)) {
	for _, p := range payloads(f) {
		if p.codec == k && len(p.body) < 5000 && len(p.body) > 0 {
			f.Add(p.body)
		}
	}
	c := New()
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, dst := range [][]byte{nil, []byte("kept"), make([]byte, 7, fuzzLimit/2)} {
			got, err := c.AppendDecoded(dst, in, k, fuzzLimit)
			if !bytes.HasPrefix(got, dst) {
				t.Fatal("what was in dst is gone")
			}
			if err != nil {
				if len(got) != len(dst) {
					t.Fatalf("%v, and yet %d bytes", err, len(got))
				}
				requireSentinel(t, err)
				continue
			}
			got = got[len(dst):]
			if len(got) > fuzzLimit {
				t.Fatalf("%d bytes", len(got))
			}
			if _, err := c.AppendDecoded(nil, in, k, len(got)); err != nil {
				t.Fatalf("%d bytes do not fit %d: %v", len(got), len(got), err)
			}
			if reference != nil {
				want, err := reference(in)
				if err != nil || !bytes.Equal(want, got) {
					t.Fatalf("the library reads %d bytes, %v; here %d", len(want), err, len(got))
				}
			}
			enc, err := c.Append(nil, got, k)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := c.AppendDecoded(nil, enc, k, len(got)); err != nil || !bytes.Equal(back, got) {
				t.Fatalf("round trip: %v", err)
			}
		}
	})
}

func FuzzDecodeGzip(f *testing.F) { fuzz(f, Gzip, nil) }
func FuzzDecodeZstd(f *testing.F) { fuzz(f, Zstd, nil) }

// The framing is this package's own: the library must read the same, wherever it
// is read here.
func FuzzDecodeLZ4(f *testing.F) {
	fuzz(f, LZ4, func(in []byte) ([]byte, error) {
		return io.ReadAll(lz4.NewReader(bytes.NewReader(in)))
	})
}

func FuzzDecodeSnappy(f *testing.F) {
	fuzz(f, Snappy, func(in []byte) (out []byte, err error) {
		if !bytes.HasPrefix(in, []byte(snappyMagic)) {
			return s2.Decode(nil, in)
		}
		for len(in) > 0 {
			block, rest, err := snappyNext(in)
			if err != nil {
				return nil, err
			}
			if in = rest; block == nil {
				continue
			}
			b, err := s2.Decode(nil, block)
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
		}
		return out, nil
	})
}

// FuzzRoundTrip is over inputs of all codecs: what goes in comes out.
func FuzzRoundTrip(f *testing.F) {
	for _, in := range []string{"", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "The quick brown fox"} {
		f.Add([]byte(in), uint16(1))
		f.Add([]byte(in), uint16(3000))
	}
	c := New()
	f.Fuzz(func(t *testing.T, in []byte, times uint16) {
		if len(in)*int(times) > 300<<10 {
			return
		}
		in = bytes.Repeat(in, int(times))
		for _, k := range codecs {
			enc, err := c.Append(nil, in, k)
			if err != nil || len(enc) > Bound(len(in), k) {
				t.Fatalf("%s: %v, %d bytes of %d", k, err, len(enc), len(in))
			}
			if back, err := c.AppendDecoded(nil, enc, k, len(in)); err != nil || !bytes.Equal(back, in) {
				t.Fatalf("%s: %v", k, err)
			}
		}
	})
}
