package leat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

var ctx = context.Background()

// openStore opens a store that the test closes.
func openStore(t testing.TB, fsys vfs.FS, o *Options) *Store {
	t.Helper()
	st, err := openFS(fsys, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// memStore is an empty store in memory.
func memStore(t testing.TB) *Store {
	t.Helper()
	return openStore(t, vfs.NewMem(), nil)
}

// part makes a topic and opens its first partition.
func part(t testing.TB, st *Store, topic string, c TopicConfig) *Partition {
	t.Helper()
	tp, err := st.CreateTopic(ctx, topic, c)
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	return p
}

// reopened is the first partition of a topic of a store that was opened again.
func reopened(t testing.TB, st *Store, topic string) *Partition {
	t.Helper()
	tp, err := st.Topic(topic)
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	return p
}

// fill appends n records of a batch each: keys k0.., values v0..
func fill(t testing.TB, p *Partition, n int) {
	t.Helper()
	for range n {
		i := p.LogEndOffset()
		offset, err := p.Append(ctx, Record{Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i)})
		require.NoError(t, err)
		require.Equal(t, i, offset)
	}
}

func reader(t testing.TB, p *Partition, o ReaderOptions) *Reader {
	t.Helper()
	r, err := p.Reader(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// offsetsOf reads to the end.
func offsetsOf(t testing.TB, p *Partition, o ReaderOptions) []int64 {
	t.Helper()
	o.UntilEnd = true
	r, err := p.Reader(o)
	require.NoError(t, err)
	list := []int64{}
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		list = append(list, rec.Offset)
	}
	require.NoError(t, r.Close())
	return list
}

// valuesOf reads all values, as strings.
func valuesOf(t testing.TB, p *Partition) []string {
	t.Helper()
	r, err := p.Reader(ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	list := []string{}
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		list = append(list, string(rec.Value))
	}
	require.NoError(t, r.Close())
	return list
}

// drain reads batches until EOF and returns their base offsets.
func drain(t testing.TB, r *Reader) []int64 {
	t.Helper()
	var list []int64
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		list = append(list, b.BaseOffset())
	}
}

// count is 0, 1, .. n-1.
func count(from, to int64) []int64 {
	list := []int64{}
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}
