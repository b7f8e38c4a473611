package leat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// TestGoldenFetch: what Kafka's log answered to a fetch is what goes over a
// connection. (Package log compares all of the answers, byte for byte where
// Kafka cuts a batch too.)
func TestGoldenFetch(t *testing.T) {
	for _, set := range goldenSets(t) {
		for _, w := range []Writer{WriterMapped, WriterPwrite} {
			t.Run(set+"/"+w.String(), func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				st, err := Open(golden.CopyDir(t, "partition", set, "clean"), &Options{Writer: w})
				require.NoError(t, err)
				defer func() { require.NoError(t, st.Close()) }()
				tp, err := st.Topic(want.Topic)
				require.NoError(t, err)
				p, err := tp.Partition(want.Partition)
				require.NoError(t, err)
				exact := 0
				for _, f := range want.State.Fetches {
					if !f.MinOneMessage {
						continue
					}
					o := FetchOptions{Offset: f.StartOffset, MaxBytes: int(f.MaxBytes), Follower: f.Isolation == "LOG_END"}
					if f.Isolation == "HIGH_WATERMARK" {
						o.Isolation = ReadUncommitted
					}
					got, err := p.Fetch(o)
					if f.Error != "" {
						require.ErrorIs(t, err, ErrOffsetOutOfRange)
						continue
					}
					require.NoError(t, err)
					require.Equal(t, []int64{want.State.LogStartOffset, want.State.LastStableOffset, want.State.HighWatermark},
						[]int64{got.LogStartOffset, got.LastStableOffset, got.HighWatermark})
					sent := overTCP(t, got)
					require.True(t, bytes.Equal(got.Bytes(), sent))
					if sum := sha256.Sum256(sent); len(sent) == int(f.SizeInBytes) {
						require.Equal(t, f.SHA256, hex.EncodeToString(sum[:]))
						exact++
					}
					require.Len(t, got.Aborted, len(f.AbortedTransactions))
					for i, a := range f.AbortedTransactions {
						require.Equal(t, AbortedTxn{a.ProducerID, a.FirstOffset}, got.Aborted[i])
					}
					got.Release()
				}
				require.Positive(t, exact)
			})
		}
	}
}

// overTCP is what arrives of a run at the other end of a connection.
func overTCP(t *testing.T, f *Fetched) []byte {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	to, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	from, err := l.Accept()
	require.NoError(t, err)
	defer from.Close()
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(from)
		got <- b
	}()
	n, err := f.WriteTo(to)
	require.NoError(t, err)
	require.EqualValues(t, f.Len(), n)
	require.NoError(t, to.Close())
	return <-got
}

// TestFetchWhole reads a partition run by run, from any offset, and finds what a
// reader finds.
func TestFetchWhole(t *testing.T) {
	forms(t, func(t *testing.T, p *Partition) {
		var raw []byte
		r := reader(t, p, ReaderOptions{UntilEnd: true})
		for {
			b, err := r.Next(ctx)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			raw = append(raw, b.Bytes()...)
		}
		for _, most := range []int{1, 2500, 0, Unlimited} {
			var got []byte
			runs := 0
			for offset := int64(0); offset < p.HighWatermark(); runs++ {
				f, err := p.Fetch(FetchOptions{Offset: offset, MaxBytes: most, Verify: runs%2 == 0})
				require.NoError(t, err)
				require.Equal(t, offset, f.BaseOffset())
				require.Len(t, f.Bytes(), f.Len())
				require.Equal(t, len(f.Bytes()), cap(f.Bytes()), "an append must not write into the log")
				got = append(got, f.Bytes()...)
				offset = f.NextOffset()
				f.Release()
			}
			require.True(t, bytes.Equal(raw, got))
			require.Equal(t, most == 1, runs == 50, "a batch a run")
		}
		f, err := p.Fetch(FetchOptions{Offset: 7, MaxBytes: 1})
		require.NoError(t, err)
		require.EqualValues(t, 6, f.BaseOffset(), "the batch that holds it")
		require.EqualValues(t, 8, f.NextOffset())
		f.Release()
	})
}

// TestFetchOptions: what is refused, and what follows an end.
func TestFetchOptions(t *testing.T) {
	st := openStore(t, vfs.NewMem(), nil)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 3)
	_, err := p.Fetch(FetchOptions{Isolation: 2})
	require.ErrorIs(t, err, ErrInvalidConfig)
	_, err = p.Fetch(FetchOptions{MaxBytes: -2})
	require.ErrorIs(t, err, ErrInvalidConfig)
	_, err = p.Fetch(FetchOptions{Offset: 4})
	var e *OffsetError
	require.ErrorAs(t, err, &e)
	require.Equal(t, OffsetError{Topic: "orders", Offset: 4, End: 3}, *e)

	empty, err := p.Fetch(FetchOptions{Offset: 3})
	require.NoError(t, err)
	require.Zero(t, empty.Len())
	require.Empty(t, empty.Bytes())
	require.NoError(t, empty.Err())
	require.EqualValues(t, 3, empty.NextOffset())
	empty.Release()

	f, err := p.Fetch(FetchOptions{})
	require.NoError(t, err)
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	_, err = p.Fetch(FetchOptions{})
	require.ErrorIs(t, err, ErrUnknownTopic)
	b, err := codec.Next(f.Bytes())
	require.NoError(t, err)
	require.NoError(t, b.Check(), "a run outlives its topic")
	other := part(t, st, "other", TopicConfig{})
	require.NoError(t, st.Close())
	_, err = other.Fetch(FetchOptions{})
	require.ErrorIs(t, err, ErrClosed)
	require.Len(t, overTCP(t, f), f.Len(), "and its store")
	f.Release()
	f.Release()
	require.Nil(t, f.Bytes())
	_, err = f.WriteTo(io.Discard)
	require.ErrorIs(t, err, ErrClosed)
}

// TestSyncedFetch: a fetch sees what is durable, a follower's all.
func TestSyncedFetch(t *testing.T) {
	st := openStore(t, vfs.NewMem(), nil)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 2)
	_, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Value: []byte("soon")})
	require.NoError(t, err)
	for follower, next := range map[bool]int64{false: 2, true: 3} {
		f, err := p.Fetch(FetchOptions{Follower: follower})
		require.NoError(t, err)
		require.Equal(t, next, f.NextOffset())
		require.EqualValues(t, 2, f.HighWatermark)
		f.Release()
	}
	require.NoError(t, p.Sync(ctx))
	f, err := p.Fetch(FetchOptions{Offset: 2, Isolation: ReadUncommitted})
	require.NoError(t, err)
	require.EqualValues(t, 3, f.NextOffset())
	f.Release()
}
