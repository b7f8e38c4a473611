package leat

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// counted is what the files of all partitions take.
func counted(t testing.TB, fsys vfs.FS) (sum int64) {
	t.Helper()
	folders, err := fsys.ReadDir(".")
	require.NoError(t, err)
	for _, f := range folders {
		if _, _, ok := parseFolder(f.Name); !ok {
			continue
		}
		list, err := fsys.ReadDir(f.Name)
		require.NoError(t, err)
		for _, e := range list {
			sum += e.Size
		}
	}
	return sum
}

// TestDiskLimitRange refuses what no store can work with.
func TestDiskLimitRange(t *testing.T) {
	for _, n := range []int64{-2, 1, minDiskLimit - 1} {
		_, err := OpenMem(&Options{DiskLimit: n})
		require.ErrorIs(t, err, ErrInvalidConfig)
		require.Contains(t, err.Error(), fmt.Sprint(n))
	}
	for _, n := range []int64{Unlimited, 0, minDiskLimit} {
		openStore(t, vfs.NewMem(), &Options{DiskLimit: n})
	}
}

// TestDiskLimit: a store that is written to for ever stays below its limit, by
// giving up what is oldest, over all topics, but not what is to be kept. The
// count is exact all along.
func TestDiskLimit(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		synctest.Test(t, func(t *testing.T) {
			const limit = 2 << 20
			m := vfs.NewMem()
			o := &Options{DiskLimit: limit, Writer: w, Cleaner: Cleaner{Off: true}}
			st, err := openFS(m, o)
			require.NoError(t, err)
			keep := part(t, st, "keep", TopicConfig{Cleanup: CleanupCompact, SegmentBytes: 16 << 10})
			groups := part(t, st, "groups", TopicConfig{SegmentBytes: 16 << 10, Retention: Retention{Groups: []string{"g"}}})
			old := part(t, st, "old", TopicConfig{SegmentBytes: 16 << 10})
			for range 200 {
				_, err := keep.Append(ctx, Record{Key: []byte("k"), Value: make([]byte, 1000)})
				require.NoError(t, err)
				_, err = groups.Append(ctx, Record{Value: make([]byte, 1000)})
				require.NoError(t, err)
				_, err = old.Append(ctx, Record{Value: make([]byte, 1000)})
				require.NoError(t, err)
			}
			require.Zero(t, old.LogStartOffset())
			time.Sleep(time.Minute)
			busy := part(t, st, "busy", TopicConfig{Durability: Written, SegmentBytes: 32 << 10})
			large := part(t, st, "large", TopicConfig{}) // segments of 1 GiB
			for i := range 6000 {
				for _, p := range []*Partition{busy, large} {
					_, err := p.Append(ctx, Record{Value: make([]byte, 1000)})
					require.NoError(t, err, "record %d of %s", i, p)
				}
				if i%20 == 0 {
					time.Sleep(time.Second)
					synctest.Wait() // what makes room may be slower elsewhere
					require.LessOrEqual(t, st.disk.used.Load(), int64(limit))
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, counted(t, m), st.disk.used.Load())
			require.EqualValues(t, 192, old.LogStartOffset()/16*16, "all but the last segment, before any of busy went")
			require.NotZero(t, busy.LogStartOffset())
			require.NotZero(t, large.LogStartOffset())
			require.Greater(t, busy.LogEndOffset()-busy.LogStartOffset(), int64(100), "no more than needed")
			require.Zero(t, keep.LogStartOffset())
			require.Zero(t, groups.LogStartOffset())
			require.Len(t, offsetsOf(t, keep, ReaderOptions{}), 200)
			require.NoError(t, st.Close())
			require.Equal(t, counted(t, m), st.disk.used.Load())

			st, err = openFS(m, o)
			require.NoError(t, err)
			require.Equal(t, counted(t, m), st.disk.used.Load())
			require.NoError(t, st.Close())

			// With less than is there: the store opens, and makes room in
			// partitions that nobody has opened.
			o.DiskLimit = minDiskLimit
			st, err = openFS(m, o)
			require.NoError(t, err)
			synctest.Wait()
			require.LessOrEqual(t, counted(t, m), int64(minDiskLimit))
			require.Equal(t, counted(t, m), st.disk.used.Load())
			_, err = reopened(t, st, "busy").Append(ctx, Record{Value: make([]byte, 1000)})
			require.NoError(t, err)
			require.NoError(t, st.Close())
		})
	}
}

// TestDiskLimitManyPartitions: what partitions hold in advance leaves room for
// the others.
func TestDiskLimitManyPartitions(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		st := openStore(t, vfs.NewMem(), &Options{DiskLimit: minDiskLimit, Writer: w})
		tp, err := st.CreateTopic(ctx, "many", TopicConfig{Partitions: 150, Cleanup: CleanupCompact})
		require.NoError(t, err)
		for range 3 {
			for p := range tp.Partitions() {
				_, err := p.Append(ctx, Record{Key: []byte("k"), Value: make([]byte, 1000)})
				require.NoError(t, err, p)
			}
		}
	}
}

// TestDiskLimitFull: when nothing may be deleted appends are refused, by name,
// and nothing is half written; topics can still be deleted, and then appends
// succeed again.
func TestDiskLimitFull(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMem()
			st, err := openFS(m, &Options{DiskLimit: minDiskLimit, Writer: w})
			require.NoError(t, err)
			c := TopicConfig{Cleanup: CleanupCompact, SegmentBytes: 64 << 10}
			p, q := part(t, st, "p", c), part(t, st, "q", c)
			value := make([]byte, 1000)
			appends := func(p *Partition) (n int, err error) {
				for {
					if _, err := p.Append(ctx, Record{Key: []byte("k"), Value: value}); err != nil {
						return n, err
					}
					n++
				}
			}
			for _, p := range []*Partition{q, p} {
				for range 300 {
					_, err := p.Append(ctx, Record{Key: []byte("k"), Value: value})
					require.NoError(t, err)
				}
			}
			n, err := appends(p)
			require.ErrorIs(t, err, ErrNoSpace)
			require.Contains(t, err.Error(), "DiskLimit of 1048576 bytes")
			require.Greater(t, st.disk.used.Load(), int64(minDiskLimit)*9/10, "a small limit can be used up")
			_, err = appends(p)
			require.ErrorIs(t, err, ErrNoSpace)
			require.Len(t, offsetsOf(t, p, ReaderOptions{}), 300+n)
			for i := range 60 { // topics come and go all the same
				_, err := st.CreateTopic(ctx, fmt.Sprint("t", i), c)
				require.NoError(t, err)
				require.NoError(t, st.DeleteTopic(ctx, fmt.Sprint("t", i)))
			}
			require.NoError(t, st.DeleteTopic(ctx, "q"))
			more, err := appends(p)
			require.ErrorIs(t, err, ErrNoSpace)
			require.Greater(t, more, 100)
			require.NoError(t, st.Close())

			st, err = openFS(m, &Options{DiskLimit: minDiskLimit, Writer: w})
			require.NoError(t, err)
			p = reopened(t, st, "p")
			require.Len(t, offsetsOf(t, p, ReaderOptions{}), 300+n+more)
			require.NoError(t, st.DeleteTopic(ctx, "p"))
			require.Equal(t, counted(t, m), st.disk.used.Load())
			require.NoError(t, st.Close())
		})
	}
}

// TestDiskLimitCountsAll: what truncation, reset, import, deletion and a failed
// import do to files is counted as they do it.
func TestDiskLimitCountsAll(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		m := vfs.NewMem()
		st := openStore(t, m, &Options{DiskLimit: 4 << 20, Writer: w})
		exact := func(what string) {
			t.Helper()
			require.Equal(t, counted(t, m), st.disk.used.Load(), what)
		}
		p := part(t, st, "orders", TopicConfig{SegmentBytes: 16 << 10})
		for range 300 {
			_, err := p.Append(ctx, Record{Value: make([]byte, 1000)})
			require.NoError(t, err)
		}
		out := t.TempDir()
		require.NoError(t, p.Export(ctx, out))
		exact("appends")
		held := reader(t, p, ReaderOptions{From: At(200)})
		_, err := held.Next(ctx)
		require.NoError(t, err)
		require.NoError(t, p.TruncateTo(201))
		exact("truncation, of a segment that is read")
		require.NoError(t, p.TruncateTo(100))
		exact("truncation")
		fill(t, p, 3)
		require.NoError(t, p.ResetTo(50))
		fill(t, p, 3)
		exact("reset")
		q, err := st.Import(ctx, "more", 0, out)
		require.NoError(t, err)
		exact("import")
		require.Equal(t, int64(300), q.LogEndOffset())
		fill(t, q, 3)
		require.NoError(t, q.DeleteRecords(ctx, 200))
		exact("records deleted")
		for i := range int32(20) {
			if _, err = st.Import(ctx, "full", i, out); err != nil {
				break
			}
		}
		require.ErrorIs(t, err, ErrNoSpace)
		require.LessOrEqual(t, counted(t, m), int64(4<<20)+64<<10)
		exact("a store that is full")
		for _, name := range []string{"full", "more", "orders"} {
			require.NoError(t, st.DeleteTopic(ctx, name))
			exact("topics deleted")
		}
	}
}

// TestDiskLimitAdopted: what comes from elsewhere is not deleted for the limit
// before somebody has said what is to be kept of it.
func TestDiskLimitAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{SegmentBytes: 16 << 10})
		for range 2000 {
			_, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Value: make([]byte, 1000)})
			require.NoError(t, err)
		}
		require.NoError(t, st.Close())
		list, err := m.ReadDir(".")
		require.NoError(t, err)
		for _, e := range list {
			if !e.IsDir() {
				require.NoError(t, m.Remove(e.Name))
			}
		}
		list, err = m.ReadDir("__metadata-0")
		require.NoError(t, err)
		for _, e := range list {
			require.NoError(t, m.Remove("__metadata-0/"+e.Name))
		}
		require.NoError(t, m.Remove("__metadata-0"))

		st, err = openFS(m, &Options{DiskLimit: minDiskLimit})
		require.NoError(t, err)
		synctest.Wait()
		p = reopened(t, st, "orders")
		_, err = p.Append(ctx, Record{Value: make([]byte, 1000)})
		require.ErrorIs(t, err, ErrNoSpace)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, p.LogStartOffset())
		require.Equal(t, int64(2000), p.LogEndOffset())
		require.NoError(t, p.Topic().SetConfig(ctx, TopicConfig{}))
		require.NoError(t, p.DeleteRecords(ctx, 1))
		_, err = p.Append(ctx, Record{Value: make([]byte, 1000)})
		require.ErrorIs(t, err, ErrNoSpace)
		synctest.Wait()
		require.NotZero(t, p.LogStartOffset(), "it is configured now")
		require.NoError(t, st.Close())
	})
}
