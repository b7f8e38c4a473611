package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// payload is what follows the header of a batch of 61 bytes.
type payload struct {
	name  string
	codec Codec
	batch golden.Batch
	body  []byte
}

func payloads(t testing.TB) (list []payload) {
	t.Helper()
	var names []string
	golden.JSON(t, &names, "batches", "index.json")
	for _, name := range names {
		if strings.HasPrefix(name, "old/") {
			continue
		}
		var f golden.BatchFile
		golden.JSON(t, &f, "batches", name+".json")
		log := golden.Bytes(t, "batches", name+".log")
		for i, b := range f.Batches {
			k, err := Parse(b.Compression)
			require.NoError(t, err)
			list = append(list, payload{
				name:  fmt.Sprintf("%s/%d", name, i),
				codec: k,
				batch: b,
				body:  log[b.Position+61 : b.Position+b.SizeInBytes],
			})
		}
	}
	return list
}

// records walks over the records of a decoded payload by their lengths, and
// checks key and value, which lie where the sidecar's lengths say.
func requireRecords(t *testing.T, p payload, b []byte) {
	t.Helper()
	for i, r := range p.batch.Records {
		n, size := binary.Varint(b)
		require.Positive(t, size, "%s: record %d", p.name, i)
		require.GreaterOrEqual(t, len(b), size+int(n), "%s: record %d", p.name, i)
		body := b[size : size+int(n)]
		b = b[size+int(n):]

		body = body[1:] // attributes
		for range 2 {   // timestamp delta, offset delta
			_, size = binary.Varint(body)
			body = body[size:]
		}
		for _, want := range []golden.Data{r.Key, r.Value} {
			var got []byte
			n, size = binary.Varint(body)
			body = body[size:]
			if n >= 0 {
				got, body = body[:n:n], body[n:]
			}
			require.True(t, want.Equal(got), "%s: record %d: %s", p.name, i, want)
		}
	}
	require.Empty(t, b, p.name)
}

func TestReadsKafka(t *testing.T) {
	c := New()
	defer c.Close()
	seen := map[Codec]int{}
	for _, p := range payloads(t) {
		if p.batch.RecordCount == 0 {
			continue // an emptied batch keeps no codec
		}
		seen[p.codec]++
		prefix := []byte("prefix")
		got, err := c.AppendDecoded(prefix, p.body, p.codec, 1<<20)
		require.NoError(t, err, p.name)
		require.Equal(t, "prefix", string(got[:6]), p.name)
		got = got[6:]
		requireRecords(t, p, got)

		// The limit is exact.
		same, err := c.AppendDecoded(nil, p.body, p.codec, len(got))
		require.NoError(t, err, p.name)
		require.True(t, bytes.Equal(got, same), p.name)
		_, err = c.AppendDecoded(nil, p.body, p.codec, len(got)-1)
		require.ErrorIs(t, err, ErrTooLarge, p.name)

		// And what this package makes of it reads the same.
		again, err := c.Append(nil, got, p.codec)
		require.NoError(t, err, p.name)
		same, err = c.AppendDecoded(nil, again, p.codec, len(got))
		require.NoError(t, err, p.name)
		require.True(t, bytes.Equal(got, same), p.name)
		// No limit at all, in effect, and room that is there already.
		same, err = c.AppendDecoded(make([]byte, 9, 20), p.body, p.codec, math.MaxInt)
		require.NoError(t, err, p.name)
		require.True(t, bytes.Equal(got, same[9:]), p.name)
	}
	for _, k := range codecs {
		require.NotZero(t, seen[k], k)
	}
}

// What is written must look to a reader like what Kafka writes: the same frame
// headers, blocks of the same sizes, and about as many bytes.
func TestWritesAsKafka(t *testing.T) {
	c := New()
	defer c.Close()
	headers := map[Codec]int{Gzip: 3, Snappy: 16, LZ4: 7, Zstd: 4}
	for _, p := range payloads(t) {
		if p.codec == None || p.batch.RecordCount == 0 {
			continue
		}
		raw, err := c.AppendDecoded(nil, p.body, p.codec, 1<<20)
		require.NoError(t, err, p.name)
		got, err := c.Append(nil, raw, p.codec)
		require.NoError(t, err, p.name)
		n := headers[p.codec]
		require.Equal(t, p.body[:n], got[:n], p.name)
		require.LessOrEqual(t, float64(len(got)), 1.2*float64(len(p.body))+16, p.name)
		if path.Base(path.Dir(p.name)) == "json100" || path.Base(path.Dir(p.name)) == "large" {
			t.Logf("%-18s %7d bytes: Kafka %7d, here %7d", p.name, len(raw), len(p.body), len(got))
		}
		switch p.codec {
		case LZ4:
			want, _, err := parseLZ4(p.body)
			require.NoError(t, err)
			have, _, err := parseLZ4(got)
			require.NoError(t, err)
			require.Equal(t, want, have)
			require.Equal(t, []byte{0, 0, 0, 0}, got[len(got)-4:])
		case Snappy:
			require.Equal(t, snappyLengths(t, p.body), snappyLengths(t, got), p.name)
		}
	}
}

func snappyLengths(t *testing.T, b []byte) (lengths []int) {
	for len(b) > 0 {
		block, rest, err := snappyNext(b)
		require.NoError(t, err)
		if b = rest; block != nil {
			n, err := snappyLen(block)
			require.NoError(t, err)
			lengths = append(lengths, n)
		}
	}
	return lengths
}

// inputs are of the sizes around what codecs cut blocks at.
func inputs() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 300<<10)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	text := []byte(strings.Repeat("10.1.2.3 - - [17/May/2015:10:05:03] \"GET /index.html\" 200 5120\n", 6000))
	for i := range len(text) / 40 {
		text[i*40+rnd.IntN(40)] = byte('0' + rnd.IntN(10))
	}
	list := map[string][]byte{"empty": {}, "zeros": make([]byte, 1<<20), "random": random, "text": text}
	for _, n := range []int{1, 2, 15, 16, 100, 32<<10 - 1, 32 << 10, 32<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 128<<10 + 1} {
		list[fmt.Sprintf("text of %d", n)] = text[:n]
		list[fmt.Sprintf("random of %d", n)] = random[:n]
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	c := New()
	defer c.Close()
	for name, in := range inputs() {
		for _, k := range codecs {
			out, err := c.Append([]byte("x"), in, k)
			require.NoError(t, err, "%s %s", name, k)
			require.Equal(t, byte('x'), out[0])
			require.LessOrEqual(t, len(out)-1, Bound(len(in), k), "%s %s", name, k)
			for _, room := range []int{0, 1, len(in) - 1, len(in), len(in) + 1, 2 * len(in)} {
				dst := append(make([]byte, 0, max(room, 0)+1), 'y')
				got, err := c.AppendDecoded(dst, out[1:], k, len(in))
				require.NoError(t, err, "%s %s", name, k)
				require.Equal(t, byte('y'), got[0])
				require.True(t, bytes.Equal(in, got[1:]), "%s %s", name, k)
			}
			if len(in) > 0 {
				dst := append(make([]byte, 0, 2*len(in)), 'y')
				got, err := c.AppendDecoded(dst, out[1:], k, len(in)-1)
				require.ErrorIs(t, err, ErrTooLarge, "%s %s", name, k)
				require.Equal(t, "y", string(got))
			}
		}
	}
}

// Every cut of encoded data, and most single changes of a bit, must be noticed or
// decode to something within the limit; none may panic.
func TestDamage(t *testing.T) {
	c := New()
	defer c.Close()
	in := inputs()["text"][:3000]
	for _, k := range codecs[1:] {
		good, err := c.Append(nil, in, k)
		require.NoError(t, err)
		for n := range good {
			got, err := c.AppendDecoded(nil, good[:n:n], k, 1<<16)
			if k == Snappy && n == len(snappyHeader) {
				require.NoError(t, err) // no block yet
				require.Empty(t, got)
				continue
			}
			require.ErrorIs(t, err, ErrCorrupt, "%s cut to %d", k, n)
		}
		_, err = c.AppendDecoded(nil, append(good[:len(good):len(good)], 0), k, 1<<16)
		require.ErrorIs(t, err, ErrCorrupt, "%s with a byte too many", k)
		for bit := range 8 * len(good) {
			bad := bytes.Clone(good)
			bad[bit/8] ^= 1 << (bit % 8)
			got, err := c.AppendDecoded(nil, bad, k, 4000)
			require.LessOrEqual(t, len(got), 4000)
			if err != nil {
				require.Nil(t, got)
				requireSentinel(t, err)
			}
		}
	}
}

func requireSentinel(t testing.TB, err error) {
	t.Helper()
	for _, e := range []error{ErrCorrupt, ErrTooLarge} {
		if e == err {
			t.Fatalf("%v says nothing about the place", err)
		}
	}
	if !isSentinel(err) {
		t.Fatalf("%v is none of the package's errors", err)
	}
}

func TestErrors(t *testing.T) {
	c := New()
	for k := range Codec(8) {
		if k.Valid() {
			name, err := k.MarshalText()
			require.NoError(t, err)
			require.Equal(t, k.String(), string(name))
			var back Codec
			require.NoError(t, back.UnmarshalText(name))
			require.Equal(t, k, back)
			continue
		}
		_, err := k.MarshalText()
		require.ErrorIs(t, err, ErrUnknown)
		_, err = c.Append(nil, nil, k)
		require.ErrorIs(t, err, ErrUnknown)
		_, err = c.AppendDecoded(nil, nil, k, 1)
		require.EqualError(t, err, fmt.Sprintf("compress: unknown codec %d", k))
	}
	_, err := Parse("brotli")
	require.ErrorIs(t, err, ErrUnknown)

	_, err = c.AppendDecoded(nil, []byte("ab"), None, -1)
	require.ErrorIs(t, err, ErrTooLarge)
	for _, k := range codecs[1:] {
		_, err = c.AppendDecoded(nil, nil, k, 100)
		require.ErrorIs(t, err, ErrCorrupt, k)
	}

	c.Close()
	for _, k := range codecs {
		_, err = c.Append(nil, nil, k)
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.AppendDecoded(nil, nil, k, 1)
		require.ErrorIs(t, err, ErrClosed)
	}
}

func TestConcurrent(t *testing.T) {
	c := New()
	var wg sync.WaitGroup
	text := inputs()["text"]
	for g := range 8 {
		wg.Go(func() {
			var enc, dec []byte
			for i := range 40 {
				k := codecs[(g+i)%len(codecs)]
				in := text[g*1000 : g*1000+i*3000]
				var err error
				if enc, err = c.Append(enc[:0], in, k); err != nil {
					t.Error(err)
					return
				}
				if dec, err = c.AppendDecoded(dec[:0], enc, k, len(in)); err != nil || !bytes.Equal(in, dec) {
					t.Errorf("%s: %v", k, err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.Close()
	// Those of this test may still be on their way out; a library's would stay.
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	require.NotContains(t, string(stacks), "klauspost")
	require.NotContains(t, string(stacks), "pierrec")
}

// A coder that came out of a bubble into another, or into none, would be fatal.
// Coders of different bubbles, and of none, take turns here.
func TestBubbles(t *testing.T) {
	in := inputs()["text"][:200<<10]
	use := func(t *testing.T, c *Coders) {
		for _, k := range codecs {
			out, err := c.Append(nil, in, k)
			require.NoError(t, err)
			got, err := c.AppendDecoded(nil, out, k, len(in))
			require.NoError(t, err)
			require.True(t, bytes.Equal(in, got))
		}
	}
	outside := New()
	defer outside.Close()
	for range 3 {
		use(t, outside)
		synctest.Test(t, func(t *testing.T) {
			c := New()
			defer c.Close()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { use(t, c) })
			}
			wg.Wait()
			// The test ends with an error if a goroutine of c is left.
		})
	}
}
