package leat

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// startWait calls Store.Wait on a goroutine. over tells, when nothing moves any
// more, whether it has returned.
func startWait(st *Store, at []Position, minBytes int, i Isolation) (over func() (bool, error)) {
	done := make(chan error, 1)
	go func() { done <- st.Wait(ctx, at, minBytes, i) }()
	return func() (bool, error) {
		synctest.Wait()
		select {
		case err := <-done:
			return true, err
		default:
			return false, nil
		}
	}
}

// bubbled runs a test with a store in memory within a bubble.
func bubbled(t *testing.T, f func(t *testing.T, st *Store)) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), nil)
		require.NoError(t, err)
		f(t, st)
		require.NoError(t, st.Close())
	})
}

// TestStoreWait: the long poll over two partitions, one of which nobody has opened.
func TestStoreWait(t *testing.T) {
	bubbled(t, func(t *testing.T, st *Store) {
		a, b := part(t, st, "a", TopicConfig{}), part(t, st, "b", TopicConfig{Durability: Written})
		fill(t, a, 1)
		one, err := a.Fetch(FetchOptions{})
		require.NoError(t, err)
		size := one.Len()
		one.Release()

		at := []Position{{Topic: "a", Offset: 1}, {Topic: "b", Offset: 0, Metadata: "none of its business"}}
		any, two := startWait(st, at, 0, ReadCommitted), startWait(st, at, 2*size, ReadUncommitted)
		over, _ := any()
		require.False(t, over)
		fill(t, b, 1)
		over, err = any()
		require.True(t, over)
		require.NoError(t, err)
		over, _ = two()
		require.False(t, over, "half of it")
		_, err = a.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Key: []byte("k1"), Value: []byte("v1")})
		require.NoError(t, err)
		over, _ = two()
		require.False(t, over, "it is not durable")
		require.NoError(t, a.Sync(ctx))
		over, err = two()
		require.True(t, over)
		require.NoError(t, err)
		require.NoError(t, st.Wait(ctx, at, 2*size, ReadCommitted), "it is there")

		soon, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		begun := time.Now()
		require.ErrorIs(t, st.Wait(soon, at, 2*size+1, ReadCommitted), context.DeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(begun))
		require.ErrorIs(t, st.Wait(soon, at, 2*size+1, ReadCommitted), context.DeadlineExceeded)
	})
}

// TestStoreWaitEnds: what a Fetch would tell is not waited for.
func TestStoreWaitEnds(t *testing.T) {
	bubbled(t, func(t *testing.T, st *Store) {
		fill(t, part(t, st, "a", TopicConfig{}), 3)
		part(t, st, "gone", TopicConfig{})
		for _, at := range [][]Position{
			{},
			{{Topic: "a", Offset: 4}},
			{{Topic: "a", Offset: -1}},
			{{Topic: "a", Offset: 3}, {Topic: "a", Offset: 4}},
			{{Topic: "a", Partition: 1, Offset: 3}},
			{{Topic: "a", Offset: 3}, {Topic: "unknown"}},
		} {
			require.NoError(t, st.Wait(ctx, at, 1<<20, ReadCommitted), "%v", at)
		}
		require.ErrorIs(t, st.Wait(ctx, nil, 0, 2), ErrInvalidConfig)
		done, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, st.Wait(done, []Position{{Topic: "unknown"}}, 0, ReadCommitted), context.Canceled)

		deleted := startWait(st, []Position{{Topic: "gone"}, {Topic: "a", Offset: 3}}, 1, ReadCommitted)
		over, _ := deleted()
		require.False(t, over)
		require.NoError(t, st.DeleteTopic(ctx, "gone"))
		over, err := deleted()
		require.True(t, over)
		require.NoError(t, err)

		closed := startWait(st, []Position{{Topic: "a", Offset: 3}}, 1, ReadCommitted)
		over, _ = closed()
		require.False(t, over)
		require.NoError(t, st.Close())
		over, err = closed()
		require.True(t, over)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, st.Wait(ctx, nil, 0, ReadCommitted), ErrClosed)
	})
}

// TestMinBytes: a reader that has read all that there was waits for more of it
// than one record, and reads what came without waiting in between.
func TestMinBytes(t *testing.T) {
	bubbled(t, func(t *testing.T, st *Store) {
		p := part(t, st, "orders", TopicConfig{Durability: Written})
		fill(t, p, 1)
		size := int(p.log.Load().Size())
		r := reader(t, p, ReaderOptions{MinBytes: 3 * size})
		got := make(chan int64, 100)
		go func() {
			for {
				b, err := r.Next(ctx)
				if err != nil {
					require.ErrorIs(t, err, ErrClosed)
					close(got)
					return
				}
				got <- b.BaseOffset()
			}
		}()
		there := func() (list []int64) {
			synctest.Wait()
			for len(got) > 0 {
				list = append(list, <-got)
			}
			return list
		}
		require.Empty(t, there())
		fill(t, p, 1)
		time.Sleep(time.Hour)
		require.Empty(t, there(), "without MaxWait there is no end to it")
		fill(t, p, 1)
		require.Equal(t, []int64{0, 1, 2}, there())
		fill(t, p, 2)
		require.Empty(t, there())
		_, err := p.Append(ctx, Record{Value: make([]byte, 10*size)})
		require.NoError(t, err)
		require.Equal(t, []int64{3, 4, 5}, there())
		require.NoError(t, st.Close())
		_, more := <-got
		require.False(t, more)
	})
}

// TestMaxWait: what is there is given when its time is over.
func TestMaxWait(t *testing.T) {
	bubbled(t, func(t *testing.T, st *Store) {
		p := part(t, st, "orders", TopicConfig{Durability: Written})
		r := reader(t, p, ReaderOptions{MinBytes: 1 << 20, MaxWait: time.Minute})
		go func() {
			time.Sleep(time.Hour)
			fill(t, p, 1)
			time.Sleep(59 * time.Second)
			fill(t, p, 1)
		}()
		begun := time.Now()
		for i := range int64(2) {
			b, err := r.Next(ctx)
			require.NoError(t, err)
			require.Equal(t, i, b.BaseOffset())
			require.Equal(t, time.Hour+time.Minute, time.Since(begun))
		}
		fill(t, p, 1)
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := r.Next(soon)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		b, err := r.Next(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 2, b.BaseOffset())

		require.NoError(t, r.SeekTo(1))
		begun = time.Now()
		_, err = r.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(begun), "a reader that is moved gathers anew")
	})
}

// TestMinBytesUntil: no reader waits beyond its end.
func TestMinBytesUntil(t *testing.T) {
	bubbled(t, func(t *testing.T, st *Store) {
		p := part(t, st, "orders", TopicConfig{Durability: Written})
		fill(t, p, 5)
		require.Equal(t, count(0, 5), offsetsOf(t, p, ReaderOptions{MinBytes: 1 << 20}))
		require.Equal(t, []int64{0, 1, 2}, drain(t, reader(t, p, ReaderOptions{Until: 3, MinBytes: 1 << 20})))
		ends := make(chan []int64)
		go func() { ends <- drain(t, reader(t, p, ReaderOptions{Until: 7, MinBytes: 1 << 20})) }()
		fill(t, p, 1)
		synctest.Wait()
		require.Empty(t, ends)
		fill(t, p, 1)
		require.Equal(t, count(0, 7), <-ends)

		empty := part(t, st, "empty", TopicConfig{})
		require.Empty(t, offsetsOf(t, empty, ReaderOptions{MinBytes: 100}))

		_, err := p.Reader(ReaderOptions{MinBytes: -1})
		require.ErrorIs(t, err, ErrInvalidConfig)
		_, err = p.Reader(ReaderOptions{MaxWait: -1})
		require.ErrorIs(t, err, ErrInvalidConfig)
	})
}

// TestMinBytesReopen: gathering goes on in the log that a Reopen puts in place of
// a failed one, and a failure is told after what can be read.
func TestMinBytesReopen(t *testing.T) {
	bubbled(t, func(t *testing.T, st *Store) {
		m := vfs.NewMem()
		f := &fault{op: vfs.OpSync, name: "orders-0/00000000000000000000.log", err: context.Canceled}
		m.SetHook(f.hook)
		own, err := openFS(m, nil)
		require.NoError(t, err)
		defer own.Close()
		p := part(t, own, "orders", TopicConfig{})
		r := reader(t, p, ReaderOptions{MinBytes: 200})
		got := make(chan any, 10)
		go func() {
			for {
				b, err := r.Next(ctx)
				if err != nil {
					got <- err
					return
				}
				got <- b.BaseOffset()
			}
		}()
		fill(t, p, 1)
		synctest.Wait()
		require.Empty(t, got)
		f.on.Store(true)
		_, err = p.Append(ctx, Record{})
		require.ErrorIs(t, err, ErrFailed)
		require.EqualValues(t, 0, <-got)
		require.ErrorIs(t, (<-got).(error), ErrFailed)
		f.on.Store(false)
		require.NoError(t, p.Reopen(ctx))
		require.EqualValues(t, 2, p.LogEndOffset(), "the record was there, though not proved to be")
		soon, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		_, err = r.Next(soon)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		fill(t, p, 4)
		for i := range int64(5) {
			i++
			b, err := r.Next(ctx)
			require.NoError(t, err)
			require.Equal(t, i, b.BaseOffset())
		}
	})
}
