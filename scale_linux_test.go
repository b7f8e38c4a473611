package leat

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What a process may have is bounded, and what a store wants of it must be, too:
// descriptors, maps, memory, whatever the number of partitions and segments.
// LEAT_LONG=1 tries it with 10,000 partitions and 100,000 segments.

const (
	scaleDirEnv        = "LEAT_SCALE_DIR"
	scalePartitionsEnv = "LEAT_SCALE_PARTITIONS"
	scaleLimitEnv      = "LEAT_SCALE_LIMIT"
)

// long is the number for a long run, or else the other.
func long(n, otherwise int) int {
	if os.Getenv("LEAT_LONG") != "" {
		return n
	}
	return otherwise
}

// scaleDir is a directory in memory, where syncs take no time, if there is room for
// need bytes: what is allocated ahead of the tails is a lot.
func scaleDir(t *testing.T, need uint64) string {
	var room unix.Statfs_t
	if shm := memoryDir(); shm != "" && unix.Statfs(shm, &room) == nil && room.Bavail*uint64(room.Bsize) > 2*need {
		dir, err := os.MkdirTemp(shm, "leat-scale-")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// TestManyPartitions runs the test below in a process of few descriptors.
func TestManyPartitions(t *testing.T) {
	partitions, limit := long(10_000, 400), long(1024, 128)
	dir := scaleDir(t, uint64(partitions)*2*(80<<10))
	cmd := exec.Command(os.Args[0], "-test.run=^TestManyPartitionsChild$", "-test.v")
	cmd.Env = append(os.Environ(), scaleDirEnv+"="+dir,
		scalePartitionsEnv+"="+strconv.Itoa(partitions), scaleLimitEnv+"="+strconv.Itoa(limit))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// TestManyPartitionsChild appends to ten times as many partitions as it may have
// descriptors, from several goroutines, and reads them.
func TestManyPartitionsChild(t *testing.T) {
	dir := os.Getenv(scaleDirEnv)
	if dir == "" {
		t.Skip("the other process of TestManyPartitions")
	}
	partitions, _ := strconv.Atoi(os.Getenv(scalePartitionsEnv))
	limit, _ := strconv.ParseUint(os.Getenv(scaleLimitEnv), 10, 64)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}))

	const rounds, goroutines = 3, 4
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		store := fmt.Sprintf("%s/%v", dir, w)
		st, err := Open(store, &Options{Writer: w})
		require.NoError(t, err)
		_, err = st.CreateTopic(ctx, "many", TopicConfig{Partitions: int32(partitions)})
		require.NoError(t, err)
		list := openAll(t, st, partitions)
		most := 0
		for round := range rounds {
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := g; i < partitions; i += goroutines {
						value := fmt.Appendf(nil, "%d/%d", i, round)
						if _, err := list[i].AppendWith(ctx, AppendOptions{Durability: Durability(i % 3)}, Record{Value: value}); err != nil {
							t.Errorf("partition %d: %v", i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			require.False(t, t.Failed())
			now := takeResources(store)
			most = max(most, now.fds)
			require.LessOrEqual(t, st.env.Awake(), int(limit)/4)
			require.LessOrEqual(t, now.fds, int(limit)/2)
			require.LessOrEqual(t, now.maps, 2*int(limit)/4+1, "those of writers, their readers', and the state's")
		}
		t.Logf("%v: %d partitions written to with at most %d descriptors", w, partitions, most)
		read := func() {
			for i, p := range list {
				require.NoError(t, p.Sync(ctx)) // the Written ones are not visible before
				values := valuesOf(t, p)
				require.GreaterOrEqual(t, len(values), rounds)
				for round, v := range values[:rounds] {
					require.Equal(t, fmt.Sprintf("%d/%d", i, round), v)
				}
			}
		}
		read()
		exhausted(t, st, list)
		require.NoError(t, st.Close())

		// Opened once more: they are idle, and have nothing.
		st, err = Open(store, &Options{Writer: w})
		require.NoError(t, err)
		before := takeResources(store)
		list = openAll(t, st, partitions)
		after := takeResources(store)
		require.LessOrEqual(t, after.fds, before.fds)
		require.LessOrEqual(t, after.maps, before.maps)
		require.LessOrEqual(t, after.goroutines, before.goroutines)
		require.LessOrEqual(t, (after.heap-before.heap)/int64(partitions), int64(2048), "bytes of heap a partition")
		read()
		require.NoError(t, st.Close())
		runtime.GC()
	}
}

// exhausted takes all descriptors there are: an append that needs one is an error
// and changes nothing, and works again when a few are given back.
func exhausted(t *testing.T, st *Store, list []*Partition) {
	st.env.Settle()
	st.env.Settle()
	require.Zero(t, st.env.Awake())
	var hogs []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			require.ErrorIs(t, err, syscall.EMFILE)
			break
		}
		hogs = append(hogs, f)
	}
	ends := make([]int64, len(list))
	failed := 0
	for i, p := range list {
		ends[i] = p.LogEndOffset()
		if _, err := p.Append(ctx, Record{Value: []byte("now?")}); err != nil {
			require.ErrorIs(t, err, syscall.EMFILE)
			require.False(t, errors.Is(err, ErrFailed), err)
			require.Contains(t, err.Error(), p.String())
			require.Equal(t, ends[i], p.LogEndOffset())
			failed++
		}
		ends[i] = p.LogEndOffset()
	}
	if st.opts.Writer == WriterMapped && st.fsys.Mapped() { // else readers have left some that can be had
		require.Equal(t, len(list), failed)
	}
	r, err := list[0].Reader(ReaderOptions{})
	require.NoError(t, err)
	_, err = r.Next(ctx)
	if err != nil { // unless its segment was still mapped
		require.ErrorIs(t, err, syscall.EMFILE)
		require.False(t, errors.Is(err, ErrCorrupt), err)
	}
	require.NoError(t, r.Close())

	// A few descriptors serve all partitions, one after the other.
	for _, f := range hogs[:6] {
		require.NoError(t, f.Close())
	}
	for i, p := range list {
		offset, err := p.Append(ctx, Record{Value: []byte("late")})
		require.NoError(t, err)
		require.Equal(t, ends[i], offset)
	}
	for _, f := range hogs[6:] {
		require.NoError(t, f.Close())
	}
	for i, p := range list {
		values := valuesOf(t, p)
		require.Len(t, values, int(ends[i])+1)
		require.Equal(t, "late", values[ends[i]])
	}
}

// TestManyMaps: a budget of maps that is far below what would be wanted is kept,
// and everything works.
func TestManyMaps(t *testing.T) {
	const budget, partitions = 6, 30
	dir := scaleDir(t, 16<<20)
	st, err := Open(dir, &Options{MaxMaps: budget})
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "many", TopicConfig{Partitions: partitions, SegmentBytes: 8192})
	require.NoError(t, err)
	list := openAll(t, st, partitions)
	readers := make([]*Reader, partitions)
	for round := range 6 {
		for i, p := range list {
			_, err := p.Append(ctx, Record{Value: make([]byte, 3000)})
			require.NoError(t, err)
			if round == 0 {
				readers[i] = must[*Reader](t)(p.Reader(ReaderOptions{}))
			}
			b, err := readers[i].Next(ctx)
			require.NoError(t, err)
			require.EqualValues(t, round, b.BaseOffset())
		}
		require.LessOrEqual(t, takeResources(dir).maps, budget+1, "the state's is one more")
		require.LessOrEqual(t, st.env.Maps().Count(), budget)
	}
	for _, r := range readers {
		require.NoError(t, r.Close())
	}
	require.NoError(t, st.Close())
	require.Zero(t, takeResources(dir).maps)
}

// TestManySegments: what a sealed segment costs is a few hundred bytes; opening a
// partition opens none of them, and reading through them all has few of them open
// at a time.
func TestManySegments(t *testing.T) {
	segments := long(100_000, 2_000)
	const partitions = 4
	dir := scaleDir(t, uint64(segments)*(16<<10))
	const maps = 50
	o := &Options{MaxMaps: maps, Writer: WriterPwrite}
	st, err := Open(dir, o)
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "many", TopicConfig{Partitions: partitions, SegmentBytes: 1024, Durability: Written, FlushInterval: Unlimited})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for _, p := range openAll(t, st, partitions) {
		wg.Go(func() {
			value := make([]byte, 600) // one to a segment
			for range segments / partitions {
				if _, err := p.Append(ctx, Record{Value: value}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.False(t, t.Failed())
	require.LessOrEqual(t, takeResources(dir).fds, 500, "those of segments that wait to be sealed")
	require.NoError(t, st.Close())

	st, err = Open(dir, o)
	require.NoError(t, err)
	before := takeResources(dir)
	list := openAll(t, st, partitions)
	after := takeResources(dir)
	count := 0
	for _, p := range list {
		count += len(p.log.Load().Segments())
	}
	require.GreaterOrEqual(t, count, segments-partitions)
	each := float64(after.heap-before.heap) / float64(count)
	t.Logf("%d segments, %.0f bytes of heap each", count, each)
	require.Less(t, each, 450.)
	require.LessOrEqual(t, after.fds, before.fds)
	require.LessOrEqual(t, after.maps, before.maps)
	for _, p := range list {
		r, err := p.Reader(ReaderOptions{UntilEnd: true})
		require.NoError(t, err)
		n := 0
		for rec, err := range r.Records(ctx) {
			require.NoError(t, err)
			require.EqualValues(t, n, rec.Offset)
			if n++; n%1000 == 0 {
				now := takeResources(dir)
				require.LessOrEqual(t, now.maps, maps+1)
				require.LessOrEqual(t, now.fds, before.fds+4)
			}
		}
		require.NoError(t, r.Close())
		require.Equal(t, segments/partitions, n)
	}
	require.NoError(t, st.Close())
	require.Zero(t, takeResources(dir).maps)
}
