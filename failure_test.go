package leat

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// fault makes calls of one kind, for files whose names hold a text, fail while
// it is on.
type fault struct {
	on   atomic.Bool
	op   vfs.Op
	name string
	err  error
}

func (f *fault) hook(op vfs.Op, name string, before bool) error {
	if before && f.on.Load() && op == f.op && strings.Contains(name, f.name) {
		return f.err
	}
	return nil
}

// TestReopen: a failed sync fails its partition alone, for good; Reopen brings it
// back with everything that was acknowledged, and readers go on.
func TestReopen(t *testing.T) {
	m := vfs.NewCrashMem()
	st := openStore(t, m, nil)
	tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 2, SegmentBytes: 64 << 10})
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	other, err := tp.Partition(1)
	require.NoError(t, err)
	fill(t, p, 5)
	require.NoError(t, p.Reopen(ctx), "nothing to do")

	r := reader(t, p, ReaderOptions{})
	for i := range int64(5) {
		b, err := r.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, i, b.BaseOffset())
	}
	waits := reader(t, p, ReaderOptions{From: Latest})
	woken := make(chan error)
	go func() { _, err := waits.Next(ctx); woken <- err }()

	f := &fault{op: vfs.OpSync, name: "orders-0/", err: syscall.EIO}
	m.SetHook(f.hook)
	f.on.Store(true)
	_, err = p.Append(ctx, Record{Value: []byte("lost?")})
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, <-woken, ErrFailed)
	f.on.Store(false)
	_, err = p.Append(ctx, Record{})
	require.ErrorIs(t, err, ErrFailed, "a later sync proves nothing")
	require.ErrorIs(t, p.Sync(ctx), ErrFailed)
	require.Equal(t, count(0, 5), offsetsOf(t, p, ReaderOptions{}), "what is durable can be read")
	fill(t, other, 3)

	require.NoError(t, p.Reopen(ctx))
	end := p.LogEndOffset()
	require.GreaterOrEqual(t, end, int64(5))
	require.Equal(t, count(0, end), offsetsOf(t, p, ReaderOptions{}))
	offset, err := p.Append(ctx, Record{Value: []byte("after")})
	require.NoError(t, err)
	require.Equal(t, end, offset)
	for i := int64(5); i <= end; i++ { // the readers of before go on
		b, err := r.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, i, b.BaseOffset())
	}
	b, err := waits.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(5), b.BaseOffset())
}

// TestReopenRewritten: a reader whose records did not survive is told, and never
// given other records under the same offsets.
func TestReopenRewritten(t *testing.T) {
	told := 0
	for _, lost := range []int64{0, 4096, 8192, 20000} { // from this position of the file on; 0: nothing
		m := vfs.NewCrashMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{Durability: Written, SegmentBytes: 64 << 10})
		fill(t, p, 3)
		require.NoError(t, p.Sync(ctx))
		for range 20 { // of several pages
			_, err := p.Append(ctx, Record{Value: make([]byte, 1000)})
			require.NoError(t, err)
		}
		r := reader(t, p, ReaderOptions{})
		for r.Offset() < 23 {
			_, err := r.Next(ctx)
			require.NoError(t, err)
		}
		f := &fault{op: vfs.OpSync, name: "orders-0/", err: syscall.EIO}
		m.SetHook(f.hook)
		f.on.Store(true)
		require.ErrorIs(t, p.Sync(ctx), ErrFailed)
		f.on.Store(false)
		if lost > 0 { // the cache was dropped since, and shows what is on the disk
			file, err := m.Open("orders-0/00000000000000000000.log", vfs.ReadWrite)
			require.NoError(t, err)
			require.NoError(t, file.Zero(lost, 1<<20))
			require.NoError(t, file.Close())
		}
		require.NoError(t, p.Reopen(ctx))
		end := p.LogEndOffset()
		require.Equal(t, lost > 0, end < 23)
		fill(t, p, 30)
		b, err := r.Next(ctx)
		if end < 23 {
			told++
			var e *OffsetError
			require.ErrorAs(t, err, &e)
			require.Equal(t, end, e.End)
			require.NoError(t, r.SeekTo(e.End))
			b, err = r.Next(ctx)
		}
		require.NoError(t, err)
		require.Equal(t, end, b.BaseOffset())
		require.NoError(t, r.Close())
		require.NoError(t, st.Close())
	}
	require.Equal(t, 3, told)
}

// TestDiskFull: every growth that finds no space is an error, loses nothing, and
// works when there is space.
func TestDiskFull(t *testing.T) {
	m := vfs.NewCrashMem()
	_, err := func() (*Store, error) {
		m := vfs.NewCrashMem()
		m.SetLimit(100)
		return openFS(m, nil)
	}()
	require.ErrorIs(t, err, ErrNoSpace)

	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 256 << 10})
	fill(t, p, 10)
	m.SetLimit(m.Used() + 10_000)
	var acked int64 = 10
	for range 10_000 {
		_, err = p.Append(ctx, Record{Value: make([]byte, 5000)})
		if err != nil {
			break
		}
		acked++
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.Equal(t, count(0, acked), offsetsOf(t, p, ReaderOptions{}))
	_, err = st.CreateTopic(ctx, "more", TopicConfig{Partitions: 200})
	require.ErrorIs(t, err, ErrNoSpace)
	_, err = st.Topic("more")
	require.ErrorIs(t, err, ErrUnknownTopic)
	list, err := m.ReadDir(".")
	require.NoError(t, err)
	for _, e := range list {
		require.False(t, strings.HasPrefix(e.Name, "more-"), "%s is left", e.Name)
	}
	m.SetLimit(0)
	offset, err := p.Append(ctx, Record{})
	require.NoError(t, err)
	require.Equal(t, acked, offset)
	_, err = st.CreateTopic(ctx, "more", TopicConfig{Partitions: 200})
	require.NoError(t, err)
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	require.Equal(t, count(0, acked+1), offsetsOf(t, reopened(t, st, "orders"), ReaderOptions{}))
}

// TestFaultsOfAdministration makes one call after another fail, in creating and
// deleting a topic and in closing, and looks what a later open finds.
func TestFaultsOfAdministration(t *testing.T) {
	broken := errors.New("broken")
	for _, op := range []vfs.Op{vfs.OpMkdir, vfs.OpCreate, vfs.OpWriteAt, vfs.OpSync, vfs.OpSyncDir, vfs.OpRename, vfs.OpRemove} {
		for nth := 1; ; nth++ {
			m := vfs.NewCrashMem()
			st, err := openFS(m, nil)
			require.NoError(t, err)
			p := part(t, st, "kept", TopicConfig{SegmentBytes: 16 << 10})
			fill(t, p, 3)
			part(t, st, "doomed", TopicConfig{SegmentBytes: 16 << 10})
			calls, hit := atomic.Int32{}, atomic.Bool{}
			m.SetHook(func(o vfs.Op, name string, before bool) error {
				if before && o == op && calls.Add(1) == int32(nth) {
					hit.Store(true)
					return broken
				}
				return nil
			})
			_, cerr := st.CreateTopic(ctx, "new", TopicConfig{Partitions: 2})
			derr := st.DeleteTopic(ctx, "doomed")
			err = st.Close()
			m.SetHook(nil)
			if !hit.Load() {
				require.NoError(t, errors.Join(cerr, derr, err))
				require.Greater(t, nth, 1, "%v is never called", op)
				break
			}
			st, err = openFS(m.Snapshot(), nil)
			require.NoError(t, err, "%v %d", op, nth)
			require.Equal(t, count(0, 3), offsetsOf(t, reopened(t, st, "kept"), ReaderOptions{}), "%v %d", op, nth)
			if cerr == nil {
				reopened(t, st, "new")
			}
			if derr == nil {
				_, err = st.Topic("doomed")
				require.ErrorIs(t, err, ErrUnknownTopic, "%v %d", op, nth)
			}
			for _, name := range []string{"new", "doomed"} { // whatever there is of them
				if _, err := st.Topic(name); err != nil {
					_, err = st.CreateTopic(ctx, name, TopicConfig{})
					require.NoError(t, err, "%v %d", op, nth)
				}
				require.NoError(t, st.DeleteTopic(ctx, name), "%v %d", op, nth)
			}
			require.NoError(t, st.Close())
		}
	}
}
