package leat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestTruncateTo: records go, others take their place, and a restart knows.
func TestTruncateTo(t *testing.T) {
	for name, newFS := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		t.Run(name, func(t *testing.T) {
			fsys := newFS(t)
			st, err := openFS(fsys, nil)
			require.NoError(t, err)
			p := part(t, st, "a", TopicConfig{})
			fill(t, p, 30)
			require.NoError(t, p.TruncateTo(12))
			require.EqualValues(t, 12, p.LogEndOffset())
			require.EqualValues(t, 12, p.HighWatermark())
			require.EqualValues(t, 1, p.LeaderEpoch())
			epoch, end := p.EndOffsetForEpoch(0)
			require.Equal(t, []int64{0, 12}, []int64{int64(epoch), end})
			fill(t, p, 5)
			require.Equal(t, count(0, 17), offsetsOf(t, p, ReaderOptions{UntilEnd: true}))
			var oe *OffsetError
			require.ErrorAs(t, p.TruncateTo(18), &oe)
			require.Equal(t, OffsetError{Topic: "a", Offset: 18, End: 17}, *oe)
			require.ErrorIs(t, p.TruncateTo(-1), ErrOffsetOutOfRange)
			require.ErrorIs(t, p.SetHighWatermark(1), ErrInvalidConfig)

			require.NoError(t, p.ResetTo(100))
			require.EqualValues(t, 100, p.LogStartOffset())
			require.EqualValues(t, 100, p.LogEndOffset())
			require.EqualValues(t, 2, p.LeaderEpoch())
			fill(t, p, 3)
			require.ErrorIs(t, p.TruncateTo(99), ErrOffsetOutOfRange)
			require.NoError(t, p.ResetTo(50))
			fill(t, p, 4)
			require.NoError(t, p.TruncateTo(53))
			require.NoError(t, st.Close())
			require.ErrorIs(t, p.TruncateTo(50), ErrClosed)
			require.ErrorIs(t, p.ResetTo(50), ErrClosed)
			require.ErrorIs(t, p.SetHighWatermark(50), ErrClosed)
			if name == "disk" {
				return // its fsys is closed with the store
			}
			st = openStore(t, fsys, nil)
			require.True(t, st.clean)
			p = reopened(t, st, "a")
			require.Equal(t, count(50, 53), offsetsOf(t, p, ReaderOptions{UntilEnd: true}))
			require.EqualValues(t, 50, p.LogStartOffset())
			require.EqualValues(t, 4, p.LeaderEpoch())
		})
	}
}

// TestTruncateInternal: what Leat keeps for itself is not to be shortened by
// others.
func TestTruncateInternal(t *testing.T) {
	st := memStore(t)
	p := &Partition{topic: &Topic{store: st, name: metadataTopic}}
	require.ErrorIs(t, p.TruncateTo(0), ErrInvalidTopic)
	require.ErrorIs(t, p.ResetTo(0), ErrInvalidTopic)
}

// TestReaderOfTruncated: a reader before the new end goes on, one behind it is
// told, and what it was given stays.
func TestReaderOfTruncated(t *testing.T) {
	for name, newFS := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		for _, w := range []Writer{WriterMapped, WriterPwrite} {
			t.Run(fmt.Sprintf("%s/%v", name, w), func(t *testing.T) {
				st := openStore(t, newFS(t), &Options{Writer: w})
				p := part(t, st, "a", TopicConfig{})
				fill(t, p, 30)
				before, behind := reader(t, p, ReaderOptions{}), reader(t, p, ReaderOptions{From: At(20), Isolation: ReadUncommitted})
				atEnd, untilEnd := reader(t, p, ReaderOptions{From: Latest}), reader(t, p, ReaderOptions{UntilEnd: true, From: At(5)})
				b, err := before.Next(ctx)
				require.NoError(t, err)
				kept, err := behind.Next(ctx)
				require.NoError(t, err)
				retained := kept.Retain()
				defer retained.Release()
				bytes := string(retained.Bytes())
				_, err = untilEnd.Next(ctx)
				require.NoError(t, err)

				require.NoError(t, p.TruncateTo(10))
				require.Equal(t, "v0", string(first(t, b).Value))
				require.Equal(t, "v20", string(first(t, kept).Value))
				for range 15 {
					_, err := p.Append(ctx, Record{Value: []byte("other")})
					require.NoError(t, err)
				}
				require.Equal(t, "v20", string(first(t, kept).Value))
				require.Equal(t, bytes, string(retained.Bytes()))

				for i := int64(1); i < 25; i++ {
					b, err := before.Next(ctx)
					require.NoError(t, err)
					require.Equal(t, i, b.BaseOffset())
					if i >= 10 {
						require.Equal(t, "other", string(first(t, b).Value))
					}
				}
				var oe *OffsetError
				_, err = behind.Next(ctx)
				require.ErrorAs(t, err, &oe)
				require.Equal(t, OffsetError{Topic: "a", Offset: 21, End: 10}, *oe)
				require.EqualValues(t, 21, behind.Offset())
				require.NoError(t, behind.SeekTo(oe.End))
				require.Equal(t, count(10, 25), take(t, behind, 15))
				_, err = atEnd.Next(ctx)
				require.ErrorAs(t, err, &oe)
				require.EqualValues(t, 30, oe.Offset)
				_, err = atEnd.Next(ctx)
				require.ErrorAs(t, err, &oe) // still not there
				require.Equal(t, count(6, 25), drain(t, untilEnd))
				require.Equal(t, bytes, string(retained.Bytes()))
			})
		}
	}
}

func first(t *testing.T, b *Batch) *Record {
	t.Helper()
	for r, err := range b.Records() {
		require.NoError(t, err)
		return r.Clone()
	}
	t.Fatal("no record")
	return nil
}

func take(t *testing.T, r *Reader, n int) (offsets []int64) {
	t.Helper()
	for range n {
		b, err := r.Next(ctx)
		require.NoError(t, err)
		offsets = append(offsets, b.BaseOffset())
	}
	return offsets
}

// TestTruncateWakesReader: one that waits at the end is told when that moves
// back.
func TestTruncateWakesReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		defer st.Close()
		p := part(t, st, "a", TopicConfig{})
		fill(t, p, 10)
		r := reader(t, p, ReaderOptions{From: Latest})
		done := make(chan error, 1)
		go func() { _, err := r.Next(ctx); done <- err }()
		synctest.Wait()
		require.NoError(t, p.TruncateTo(4))
		synctest.Wait()
		require.ErrorIs(t, <-done, ErrOffsetOutOfRange)
		// One at the new end has lost nothing.
		require.NoError(t, r.SeekTo(4))
		go func() { _, err := r.Next(ctx); done <- err }()
		synctest.Wait()
		require.Empty(t, done)
		fill(t, p, 1)
		synctest.Wait()
		require.NoError(t, <-done)
	})
}

// TestExternal: what a wrapper owns, through restarts and crashes.
func TestExternal(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "a", TopicConfig{External: ExternalWatermark | ExternalEpochs})
	fill(t, p, 20)
	require.EqualValues(t, 0, p.HighWatermark())
	require.EqualValues(t, 20, p.LogEndOffset())
	require.EqualValues(t, 0, p.LeaderEpoch())
	require.Empty(t, offsetsOf(t, p, ReaderOptions{UntilEnd: true}))
	require.NoError(t, p.SetHighWatermark(15))
	require.Equal(t, count(0, 15), offsetsOf(t, p, ReaderOptions{UntilEnd: true}))
	require.Equal(t, count(0, 15), offsetsOf(t, p, ReaderOptions{UntilEnd: true, Isolation: ReadUncommitted}))
	require.EqualValues(t, 15, p.LastStableOffset())
	require.ErrorIs(t, p.SetHighWatermark(21), ErrOffsetOutOfRange)
	require.NoError(t, p.SetHighWatermark(2))
	require.EqualValues(t, 15, p.HighWatermark())

	check := func(tree *vfs.Mem, clean bool, watermark, end int64) {
		st := openStore(t, tree, nil)
		require.Equal(t, clean, st.clean)
		p := reopened(t, st, "a")
		require.Equal(t, watermark, p.HighWatermark())
		require.Equal(t, end, p.LogEndOffset())
		require.EqualValues(t, 0, p.LeaderEpoch())
	}
	if bits.UintSize == 64 { // elsewhere leat.state is not mapped, and as old as the last checkpoint
		check(m.Snapshot(), false, 15, 20) // killed
	}
	require.NoError(t, p.TruncateTo(10))
	require.EqualValues(t, 10, p.HighWatermark())
	fill(t, p, 8)
	check(m.CrashClone(vfs.None), false, 10, 18) // and not what it was before
	require.NoError(t, p.SetHighWatermark(12))
	require.NoError(t, st.Close())
	check(m, true, 12, 18)
}

// TestCrashOfTruncation: whenever the power goes, a partition that is truncated or
// reset is what it was, a piece of it, or what it was to become; and afterwards
// only that.
func TestCrashOfTruncation(t *testing.T) {
	type state struct {
		start  int64
		values []string
	}
	var mu sync.Mutex
	now, next := state{}, (*state)(nil)
	piece := false // of now, not less than next, will do
	c := newCuts(func(op string, left *vfs.Mem) {
		mu.Lock()
		defer mu.Unlock()
		for range 2 {
			st, err := openFS(left, nil)
			require.NoError(t, err, op)
			tp, err := st.Topic("a")
			require.NoError(t, err, op)
			p, err := tp.Partition(0)
			require.NoError(t, err, op)
			got := state{p.LogStartOffset(), nil}
			r, err := p.Reader(ReaderOptions{UntilEnd: true}) // closed here: thousands would keep their stores
			require.NoError(t, err, op)
			for {
				b, err := r.Next(ctx)
				if err == io.EOF {
					break
				}
				require.NoError(t, err, op)
				got.values = append(got.values, string(first(t, b).Value))
			}
			switch {
			case next != nil && got.start == next.start && fmt.Sprint(got.values) == fmt.Sprint(next.values):
			case piece && next != nil && len(got.values) <= len(now.values):
				require.Equal(t, now.start, got.start, op)
				require.Equal(t, now.values[:len(got.values)], append([]string{}, got.values...), op)
				if next.start == now.start {
					require.GreaterOrEqual(t, len(got.values), len(next.values), op)
				}
			default:
				require.Equal(t, now.start, got.start, op)
				require.Equal(t, append([]string{}, now.values...), append([]string{}, got.values...), op)
			}
			_, err = p.Append(ctx, Record{Value: []byte("on")})
			require.NoError(t, err, op)
			require.NoError(t, p.TruncateTo(got.start+int64(len(got.values))), op)
			require.NoError(t, r.Close())
			st.abandonAll()
			left = left.CrashClone(vfs.None)
			if next != nil && got.start == next.start && len(got.values) == len(next.values) {
				continue // it was durable all of a sudden: so it stays
			}
		}
	})
	c.m.SetHook(nil)
	st, err := openFS(c.m, nil)
	require.NoError(t, err)
	p := part(t, st, "a", TopicConfig{SegmentBytes: 16 << 10})
	i := 0
	fillWith := func(n int) {
		for range n {
			i++
			v := fmt.Sprintf("%d %s", i, strings.Repeat("x", 4000))
			_, err := p.Append(ctx, Record{Value: []byte(v)})
			require.NoError(t, err)
			now.values = append(now.values, v)
		}
	}
	do := func(to state, call func() error) {
		mu.Lock()
		next, piece = &to, true
		mu.Unlock()
		c.m.SetHook(func(op vfs.Op, name string, before bool) error {
			if op.Mutates() && before {
				c.cut(fmt.Sprintf("%v %s", op, name))
			}
			return nil
		})
		require.NoError(t, call())
		mu.Lock()
		now, next, piece = to, nil, false
		mu.Unlock()
		c.cut("done")
		c.m.SetHook(nil)
	}
	fillWith(10)
	do(state{0, now.values[:6:6]}, func() error { return p.TruncateTo(6) })
	fillWith(3)
	do(state{50, nil}, func() error { return p.ResetTo(50) })
	fillWith(6)
	do(state{20, nil}, func() error { return p.ResetTo(20) })
	fillWith(2)
	do(state{20, nil}, func() error { return p.TruncateTo(20) })
	require.NoError(t, st.Close())
	t.Logf("%d states", c.states)
	require.Greater(t, c.states, 100)
}

// TestTruncateFails: whatever call of the disk fails, the partition is what it
// was, or has failed, and Reopen tells what became of it.
func TestTruncateFails(t *testing.T) {
	for name, call := range map[string]func(p *Partition) error{
		"truncate":   func(p *Partition) error { return p.TruncateTo(5) },
		"reset up":   func(p *Partition) error { return p.ResetTo(40) },
		"reset":      func(p *Partition) error { return p.ResetTo(5) },
		"reset down": func(p *Partition) error { return p.ResetTo(0) },
	} {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for n := 1; ; n++ {
				m := vfs.NewCrashMem()
				st, err := openFS(m, nil)
				require.NoError(t, err)
				p := part(t, st, "a", TopicConfig{SegmentBytes: 16 << 10})
				require.NoError(t, p.ResetTo(2))
				for i := 2; i < 14; i++ {
					_, err := p.Append(ctx, Record{Value: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 4000))})
					require.NoError(t, err)
				}
				var calls atomic.Int64
				where := ""
				m.SetHook(func(op vfs.Op, name string, before bool) error {
					if before && op.Mutates() && calls.Add(1) == int64(n) {
						where = fmt.Sprintf("call %d, %v %s", n, op, name)
						return syscall.EIO
					}
					return nil
				})
				err = call(p)
				m.SetHook(nil)
				switch {
				case where == "":
					require.NoError(t, err)
				case errors.Is(err, ErrFailed):
					failed++
					require.ErrorIs(t, err, syscall.EIO, where)
					require.ErrorIs(t, p.TruncateTo(p.LogStartOffset()), ErrFailed, where)
					require.NoError(t, p.Reopen(context.Background()), where)
					_, err = p.Append(ctx, Record{Value: []byte("on")})
					require.NoError(t, err, where)
					require.NoError(t, p.TruncateTo(p.LogEndOffset()-1), where)
				case err != nil:
					require.ErrorIs(t, err, syscall.EIO, where)
					require.EqualValues(t, 14, p.LogEndOffset(), where)
				}
				if start, end := p.LogStartOffset(), p.LogEndOffset(); start < end || start == 2 {
					require.EqualValues(t, 2, start, where)
					require.LessOrEqual(t, end, int64(14), where)
					if name == "truncate" {
						require.GreaterOrEqual(t, end, int64(5), where)
					}
					for i, v := range valuesOf(t, p) {
						require.True(t, strings.HasPrefix(v, fmt.Sprintf("%d ", i+2)), where)
					}
				}
				if err = call(p); errors.Is(err, ErrFailed) { // what failed worked in the background
					require.NoError(t, p.Reopen(context.Background()), where)
					err = call(p)
				}
				require.NoError(t, err, where)
				fill(t, p, 3)
				require.NoError(t, st.Close(), where)
				if where == "" {
					break
				}
			}
			require.NotZero(t, failed)
		})
	}
}

// TestTruncateBesideAdministration: nothing waits for one another in a circle.
func TestTruncateBesideAdministration(t *testing.T) {
	st, err := OpenMem(nil)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 4 {
		p := part(t, st, fmt.Sprintf("a%d", i), TopicConfig{})
		fill(t, p, 20)
		wg.Go(func() {
			for n := int64(39); n >= 0; n-- {
				err := p.TruncateTo(n)
				if errors.Is(err, ErrUnknownTopic) {
					return
				}
				if err != nil {
					require.ErrorIs(t, err, ErrOffsetOutOfRange)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				if _, err := p.Append(ctx, Record{Value: []byte("x")}); err != nil {
					require.ErrorIs(t, err, ErrUnknownTopic)
					return
				}
				if err := p.ResetTo(30); err != nil {
					require.ErrorIs(t, err, ErrUnknownTopic)
					return
				}
			}
		})
		wg.Go(func() { require.NoError(t, st.DeleteTopic(ctx, fmt.Sprintf("a%d", i))) })
	}
	wg.Wait()
	require.NoError(t, st.Close())
}

// TestResetOfDamaged: a replica gives up its bad copy.
func TestResetOfDamaged(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "a", TopicConfig{External: ExternalEpochs})
	fill(t, p, 20)
	require.NoError(t, st.Close())
	f, err := m.Open("a-0/00000000000000000000.log", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 200)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, m.Remove(cleanName))

	st, err = openFS(m, nil)
	require.NoError(t, err)
	p = reopened(t, st, "a")
	_, err = p.Append(ctx, Record{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, p.TruncateTo(10), ErrCorrupt)
	r := reader(t, p, ReaderOptions{})
	_, err = r.Next(ctx)
	require.NoError(t, err)
	require.NoError(t, p.ResetTo(7))
	_, err = r.Next(ctx)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	fill(t, p, 3)
	require.Equal(t, count(7, 10), offsetsOf(t, p, ReaderOptions{}))
	left := m.CrashClone(vfs.None)
	require.NoError(t, st.Close())
	for _, tree := range []*vfs.Mem{m, left} {
		st := openStore(t, tree, nil)
		require.Equal(t, tree == m, st.clean)
		p := reopened(t, st, "a")
		require.Equal(t, count(7, 10), offsetsOf(t, p, ReaderOptions{}))
		fill(t, p, 1)
	}
}
