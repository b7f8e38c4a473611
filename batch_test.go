package leat

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// forms are the ways in which a batch can lie in memory.
func forms(t *testing.T, f func(t *testing.T, p *Partition)) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		for _, codec := range []Compression{None, Zstd} {
			t.Run(fmt.Sprintf("%s/%v", name, codec), func(t *testing.T) {
				st, err := openFS(fsys(t), nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, st.Close()) }()
				p := part(t, st, "batches", TopicConfig{Compression: codec, SegmentBytes: 4096})
				for i := range 50 { // some twenty segments
					_, err := p.Append(ctx, Record{Value: bytes.Repeat([]byte{'a' + byte(i%26)}, 1000)}, Record{Value: []byte("x")})
					require.NoError(t, err)
				}
				f(t, p)
			})
		}
	}
}

// contents is what a batch says, for comparing.
func contents(t *testing.T, b *Batch) string {
	require.NoError(t, codec.Batch(b.Bytes()).Check())
	var s bytes.Buffer
	for rec, err := range b.Records() {
		require.NoError(t, err)
		fmt.Fprintf(&s, "%d %s\n", rec.Offset, rec.Value)
	}
	return s.String()
}

// TestRetain: retained batches outlive the reader's next call, the reader, the
// topic and the store.
func TestRetain(t *testing.T) {
	forms(t, func(t *testing.T, p *Partition) {
		r, err := p.Reader(ReaderOptions{UntilEnd: true})
		require.NoError(t, err)
		var kept []*Batch
		var want []string
		for range 50 {
			b, err := r.Next(ctx)
			require.NoError(t, err)
			want = append(want, contents(t, b))
			k := b.Retain()
			kept = append(kept, k, k.Retain())
			if len(kept)%4 == 0 {
				k.Release()
				k.Release() // once is enough, twice does nothing
				kept[len(kept)-2] = kept[len(kept)-1].Retain()
			}
		}
		check := func() {
			for i, b := range kept {
				require.Equal(t, want[i/2], contents(t, b))
			}
		}
		check()
		require.NoError(t, r.Close())
		check()
		st := p.topic.store
		require.NoError(t, st.DeleteTopic(ctx, "batches"))
		check()
		require.NoError(t, st.Close())
		check()
		for _, b := range kept {
			b.Release()
			requireOver(t, b)
		}
	})
}

// requireOver: a batch whose life is over says so, and nothing else happens.
func requireOver(t *testing.T, b *Batch) {
	require.Nil(t, b.Bytes())
	require.Equal(t, int64(-1), b.BaseOffset())
	require.Equal(t, int64(-1), b.NextOffset())
	require.Equal(t, -1, b.RecordCount())
	require.Equal(t, None, b.Compression())
	n := 0
	for rec, err := range b.Records() {
		require.Nil(t, rec)
		require.ErrorIs(t, err, ErrClosed)
		n++
	}
	require.Equal(t, 1, n)
	again := b.Retain()
	require.Nil(t, again.Bytes())
	again.Release()
}

func TestBatchLife(t *testing.T) {
	forms(t, func(t *testing.T, p *Partition) {
		r := reader(t, p, ReaderOptions{UntilEnd: true})
		b, err := r.Next(ctx)
		require.NoError(t, err)
		b.Release() // early
		requireOver(t, b)
		b, err = r.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, int64(2), b.BaseOffset())
		// Released in the middle of a loop.
		n := 0
		for rec, err := range b.Records() {
			if n++; n == 1 {
				require.NoError(t, err)
				require.Equal(t, int64(2), rec.Offset)
				b.Release()
				continue
			}
			require.ErrorIs(t, err, ErrClosed)
		}
		require.Equal(t, 2, n)

		// A loop within a loop over the same batch.
		b, err = r.Next(ctx)
		require.NoError(t, err)
		var pairs []string
		for x, err := range b.Records() {
			require.NoError(t, err)
			for y, err := range b.Records() {
				require.NoError(t, err)
				pairs = append(pairs, fmt.Sprint(x.Offset, y.Offset, len(x.Value), len(y.Value)))
			}
		}
		require.Equal(t, []string{"4 4 1000 1000", "4 5 1000 1", "5 4 1 1000", "5 5 1 1"}, pairs)

		require.NoError(t, r.SeekTo(0))
		requireOver(t, b)
		b, err = r.Next(ctx)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		requireOver(t, b)
	})
}

// TestSlicesAreCut: appending to a slice that was read does not write into what
// lies behind it.
func TestSlicesAreCut(t *testing.T) {
	forms(t, func(t *testing.T, p *Partition) {
		r := reader(t, p, ReaderOptions{})
		b, err := r.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, len(b.Bytes()), cap(b.Bytes()))
		for rec, err := range b.Records() {
			require.NoError(t, err)
			require.Equal(t, len(rec.Value), cap(rec.Value))
		}
	})
}

func TestClone(t *testing.T) {
	in := Record{Key: []byte("k"), Value: []byte{}, Headers: []Header{{Key: "h", Value: []byte("v")}, {Key: "n"}}}
	out := in.Clone()
	require.Equal(t, &in, out)
	in.Key[0], in.Headers[0].Value[0], in.Headers[1].Key = 'x', 'x', "x"
	require.Equal(t, "k", string(out.Key))
	require.Equal(t, "v", string(out.Headers[0].Value))
	require.Equal(t, "n", out.Headers[1].Key)
	require.NotNil(t, out.Value)
	require.Nil(t, (&Record{}).Clone().Headers)
	require.Nil(t, (&Record{}).Clone().Value)
}
