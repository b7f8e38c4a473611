package leat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestStats compares what a store counts with what was done to it.
func TestStats(t *testing.T) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		t.Run(name, func(t *testing.T) { testStats(t, fsys(t)) })
	}
}

func testStats(t *testing.T, fsys vfs.FS) {
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	before := st.Stats()
	require.Zero(t, before.Topics)
	require.Zero(t, before.Appended, "the store's own topics are not counted")
	require.Zero(t, before.Syncs)
	require.Empty(t, before.PerPartition)
	require.Positive(t, before.Files)

	synced, err := st.CreateTopic(ctx, "synced", TopicConfig{Partitions: 3})
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "aside", TopicConfig{Partitions: 5})
	require.NoError(t, err)
	written := part(t, st, "written", TopicConfig{Durability: Written, FlushInterval: Unlimited, SegmentBytes: 64 << 10})
	packed := part(t, st, "packed", TopicConfig{Compression: Zstd})
	s := st.Stats()
	require.Equal(t, 4, s.Topics)
	require.Equal(t, 10, s.Partitions)
	require.Equal(t, 2, s.Open)
	require.Zero(t, s.Appended)

	p, err := synced.Partition(2)
	require.NoError(t, err)
	const singles = 7
	fill(t, p, singles)
	_, err = packed.Append(ctx, slices.Repeat([]Record{{Value: make([]byte, 1000)}}, 50)...)
	require.NoError(t, err)
	const batches = 200
	for range batches {
		_, err := written.Append(ctx, Record{Value: make([]byte, 1000)}, Record{})
		require.NoError(t, err)
	}
	read := func(p *Partition) (c Counts) {
		r, err := p.Reader(ReaderOptions{UntilEnd: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		for {
			b, err := r.Next(ctx)
			if err == io.EOF {
				return c
			}
			require.NoError(t, err)
			c.Batches++
			c.Records += int64(b.RecordCount())
			c.Bytes += int64(len(b.Bytes()))
		}
	}
	want := map[*Partition]Counts{p: read(p), packed: read(packed), written: read(written)}
	require.Equal(t, int64(singles), want[p].Batches)
	require.Equal(t, int64(50), want[packed].Records)
	require.Equal(t, int64(batches), want[written].Batches)

	s = st.Stats()
	require.Equal(t, 3, s.Open)
	total := Counts{}
	require.Len(t, s.PerPartition, 3)
	for i, p := range []*Partition{packed, p, written} { // by name
		n := s.PerPartition[i]
		require.Equal(t, p.Topic().Name(), n.Topic)
		require.Equal(t, p.ID(), n.Partition)
		require.Equal(t, want[p], n.Appended)
		require.Equal(t, want[p], n.Read)
		require.Equal(t, want[p].Bytes, n.Bytes)
		require.Equal(t, p.LogEndOffset(), n.LogEndOffset)
		require.Equal(t, want[p].Records, n.LogEndOffset)
		require.Equal(t, n.LogEndOffset, n.HighWatermark)
		require.Equal(t, n.LogEndOffset, n.LastStableOffset)
		if p == written {
			require.Equal(t, int64(2*batches), n.LogEndOffset)
			require.Positive(t, n.Segments)
		} else {
			require.Zero(t, n.Unsynced())
			require.Equal(t, 1, n.Segments)
		}
		total.Batches += want[p].Batches
		total.Records += want[p].Records
		total.Bytes += want[p].Bytes
	}
	require.Equal(t, total, s.Appended)
	require.Equal(t, total, s.Read)
	require.Equal(t, total.Bytes, s.Bytes)
	require.Equal(t, s.PerPartition[2].Segments+2, s.Segments)
	require.Equal(t, int64(s.PerPartition[2].Segments-1), s.Rolls)
	require.Positive(t, s.Rolls)
	require.Equal(t, int64(singles+1), s.Syncs)
	require.Equal(t, uint64(singles+1), s.Sync.Count())
	require.InDelta(t, singles+1+batches, s.Append.Count(), 64)
	require.Zero(t, s.EndToEnd.Count())
	require.Positive(t, s.MaxMaps)

	// Later numbers are not lower, also when partitions are gone.
	require.NoError(t, st.DeleteTopic(ctx, "written"))
	after := st.Stats()
	require.Equal(t, s.Appended, after.Appended)
	require.Equal(t, s.Read, after.Read)
	require.Equal(t, 3, after.Topics)
	require.Len(t, after.PerPartition, 2)
	require.NoError(t, st.Close())
	closed := st.Stats()
	require.Equal(t, s.Appended, closed.Appended)
	require.Zero(t, closed.Topics)
	require.Zero(t, closed.Files)
	require.Zero(t, closed.Maps)

	// To be read by people and by programs.
	require.Contains(t, s.String(), "topics 4, partitions 10 (3 open, 0 failed, 0 damaged)")
	require.Contains(t, s.String(), fmt.Sprintf("%d batches, %d records, %d bytes", total.Batches, total.Records, total.Bytes))
	require.Contains(t, s.String(), "end to end never")
	require.Contains(t, s.PerPartition[1].String(), "synced-2: offsets 0 to 7, high watermark 7, last stable 7, durable 7, segments 1")
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var back struct {
		Topics       int
		Sync         struct{ Count, P99 int64 }
		PerPartition []struct {
			Topic    string
			Appended Counts
		}
	}
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, 4, back.Topics)
	require.EqualValues(t, singles+1, back.Sync.Count)
	require.EqualValues(t, s.Sync.Quantile(0.99), back.Sync.P99)
	require.Equal(t, "packed", back.PerPartition[0].Topic)
	require.Equal(t, want[packed], back.PerPartition[0].Appended)
}

// TestHistogramValue: what a Histogram says is what its buckets say.
func TestHistogramValue(t *testing.T) {
	var none Histogram
	require.Equal(t, "never", none.String())
	require.Zero(t, none.Quantile(1))
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 20)
	h := st.Stats().Sync
	last, bound := uint64(0), time.Duration(0)
	for d, n := range h.Buckets() {
		require.Greater(t, d, bound)
		require.Equal(t, n, h.CountUpTo(d))
		bound, last = d, n
	}
	require.Equal(t, h.Count(), last)
	require.Equal(t, last, h.CountUpTo(math.MaxInt64))
	require.Equal(t, h.Sum()/20, h.Mean())
	require.LessOrEqual(t, h.Quantile(0.5), h.Quantile(0.99))
	require.Equal(t, bound, h.Quantile(1))
	require.Contains(t, h.String(), "20 times, mean ")
}

// TestStatsOfFailures: partitions that refuse appends are counted, and the next
// Stats of a partition that was opened again is of the new one.
func TestStatsOfFailures(t *testing.T) {
	m := vfs.NewCrashMem()
	st := openStore(t, m, nil)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 64 << 10})
	fill(t, p, 5)
	f := &fault{op: vfs.OpSync, name: "orders-0/", err: syscall.EIO}
	m.SetHook(f.hook)
	f.on.Store(true)
	_, err := p.Append(ctx, Record{})
	require.ErrorIs(t, err, ErrFailed)
	f.on.Store(false)
	s := st.Stats()
	require.Equal(t, 1, s.Failed)
	require.True(t, s.PerPartition[0].Failed)
	require.Equal(t, int64(1), s.PerPartition[0].Unsynced())
	require.Contains(t, s.PerPartition[0].String(), ", failed")
	require.NoError(t, p.Reopen(ctx))
	s = st.Stats()
	require.Zero(t, s.Failed)
	require.Equal(t, int64(6), s.Appended.Batches)
	require.Zero(t, s.PerPartition[0].Appended)
	require.Equal(t, int64(1), s.Recoveries)
}

// TestEndToEnd: batches that a reader had waited for are measured from their
// timestamp, others are not.
func TestEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{Timestamps: CreateTime})
		fill(t, p, 2)
		r, err := p.Reader(ReaderOptions{})
		require.NoError(t, err)
		next := func() {
			_, err := r.Next(ctx)
			require.NoError(t, err)
		}
		next()
		next()
		synctest.Wait()
		require.Zero(t, st.Stats().EndToEnd.Count(), "they were there")
		require.Equal(t, int64(0), st.Stats().Read.Batches, "not told yet")

		go next()
		synctest.Wait() // it waits
		require.Equal(t, int64(2), st.Stats().Read.Batches)
		_, err = p.Append(ctx, Record{Timestamp: time.Now().Add(-3 * time.Second)})
		require.NoError(t, err)
		synctest.Wait()
		h := st.Stats().EndToEnd
		require.Equal(t, uint64(1), h.Count())
		require.GreaterOrEqual(t, h.Sum(), 3*time.Second)
		require.Less(t, h.Sum(), 3*time.Second+2*time.Millisecond)

		fill(t, p, 1)
		next() // without waiting
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = r.Next(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		fill(t, p, 1)
		next() // the wait was given up
		require.Equal(t, uint64(1), st.Stats().EndToEnd.Count())

		go next()
		synctest.Wait()
		_, err = p.Append(ctx, Record{Timestamp: time.Now().Add(time.Second)}) // by a clock that is ahead
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, uint64(2), st.Stats().EndToEnd.Count())
		require.Equal(t, h.Sum(), st.Stats().EndToEnd.Sum())
		require.NoError(t, r.Close())
		require.NoError(t, st.Close())
	})
}

// TestFetchTimes: one batch in 64 is measured, whatever is left of the others.
func TestFetchTimes(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{Durability: Written})
	fill(t, p, 640)
	require.Len(t, offsetsOf(t, p, ReaderOptions{}), 640)
	h := st.Stats().Fetch
	require.InDelta(t, 640, h.Count(), 64)
	require.Zero(t, h.Count()%64)
	require.Positive(t, h.Sum())
	require.Equal(t, int64(640), st.Stats().Read.Batches)
}

// TestStatsMeanwhile: Stats may be taken at any time, and what it says is
// possible: offsets in order, counts that do not fall.
func TestStatsMeanwhile(t *testing.T) {
	var told atomic.Int64
	count := func(Event) { told.Add(1) }
	st, err := OpenMem(&Options{Observer: &Observer{Append: count, Sync: count, Roll: count}})
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 4, SegmentBytes: 16 << 10})
	require.NoError(t, err)
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range int32(4) {
		wg.Go(func() {
			p, err := tp.Partition(i)
			if err != nil {
				t.Error(err)
				return
			}
			o := AppendOptions{Durability: Durability(i % 3)}
			for range 300 {
				if _, err := p.AppendWith(running, o, Record{Value: make([]byte, 300)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for p := range tp.Partitions() {
				r, err := p.Reader(ReaderOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				for range r.Records(running) {
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			name := fmt.Sprint("comes-", i)
			for range 5 {
				p := part(t, st, name, TopicConfig{})
				if _, err := p.Append(running, Record{}); err != nil {
					t.Error(err)
				}
				if err := st.DeleteTopic(ctx, name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	over := make(chan struct{})
	var measuring sync.WaitGroup
	for range 2 {
		measuring.Go(func() {
			var last Stats
			for i := 0; ; i++ {
				s := st.Stats()
				for _, p := range s.PerPartition {
					if !(p.LogStartOffset <= p.LastStableOffset && p.LastStableOffset <= p.HighWatermark &&
						p.HighWatermark <= p.LogEndOffset && p.DurableEnd <= p.LogEndOffset) {
						t.Error(p)
					}
				}
				for _, c := range [][2]int64{
					{last.Appended.Batches, s.Appended.Batches}, {last.Appended.Bytes, s.Appended.Bytes}, {last.Read.Records, s.Read.Records},
					{last.Syncs, s.Syncs}, {last.Rolls, s.Rolls}, {int64(last.Append.Count()), int64(s.Append.Count())},
				} {
					if c[0] > c[1] {
						t.Errorf("%d after %d", c[1], c[0])
					}
				}
				last = s
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	for st.Stats().Appended.Batches < 4*300+4*5 && !t.Failed() { // then the readers stop as well
		s := st.Stats()
		_, _ = s.String(), s
	}
	stop()
	wg.Wait()
	require.NoError(t, st.Close()) // while they measure
	close(over)
	measuring.Wait()
	s := st.Stats()
	require.Equal(t, int64(4*300+4*5), s.Appended.Records)
	require.GreaterOrEqual(t, told.Load(), s.Syncs+s.Rolls)
}

// TestObserver: a store's life, as it is told. The calls use the store: the
// partition that was just recovered, and those that were just written.
func TestObserver(t *testing.T) {
	m := vfs.NewCrashMem()
	var mu sync.Mutex
	var told []string
	var st *Store
	inside := false
	tell := func(what string) func(Event) {
		return func(e Event) {
			mu.Lock()
			if inside {
				mu.Unlock()
				return
			}
			inside = true
			told = append(told, fmt.Sprintf("%s %s-%d offset=%d records=%d segments=%d err=%v", what, e.Topic, e.Partition, e.Offset, e.Records, e.Segments, e.Err != nil))
			mu.Unlock()
			if e.Bytes == 0 && what != "sync" || e.Duration <= 0 {
				t.Errorf("%s: %+v", what, e)
			}
			if st != nil && e.Topic != metadataTopic {
				tp, err := st.Topic(e.Topic)
				require.NoError(t, err)
				p, err := tp.Partition(e.Partition)
				require.NoError(t, err)
				if e.Err == nil {
					_, err = p.Append(ctx, Record{Value: []byte("told")})
					require.NoError(t, err)
				}
				_ = st.Stats()
				name := fmt.Sprintf("told-%d", len(told))
				_, err = st.CreateTopic(ctx, name, TopicConfig{})
				require.NoError(t, err)
				require.NoError(t, st.DeleteTopic(ctx, name))
			}
			mu.Lock()
			inside = false
			mu.Unlock()
		}
	}
	var damaged []*CorruptError
	var behind []error
	o := &Options{Observer: &Observer{
		Append: tell("append"), Sync: tell("sync"), Roll: tell("roll"), Recover: tell("recover"),
		Corrupt:    func(e *CorruptError) { damaged = append(damaged, e) },
		Background: func(err error) { mu.Lock(); behind = append(behind, err); mu.Unlock() },
	}}
	took := func() []string {
		mu.Lock()
		defer mu.Unlock()
		list := told
		told = nil
		return list
	}
	var err error
	st, err = openFS(m, o)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 64 << 10})
	require.Empty(t, took(), "the store's own topics are not told of")
	_, err = p.Append(ctx, Record{}, Record{})
	require.NoError(t, err)
	require.Equal(t, []string{
		"sync orders-0 offset=0 records=2 segments=0 err=false",
		"append orders-0 offset=0 records=2 segments=0 err=false", // offset 2 was told in between
	}, took())
	for p.LogEndOffset() < 20 {
		_, err = p.Append(ctx, Record{Value: make([]byte, 40<<10)})
		require.NoError(t, err)
	}
	require.Contains(t, strings.Join(took(), "\n"), "roll orders-0 offset=")
	s := st.Stats()
	require.Equal(t, s.Appended.Batches, int64(s.Append.Count()), "all are measured when all are told")

	// A crash with a torn tail: the recovery says so, and may use the partition.
	left := m.Snapshot()
	st.abandonAll()
	base := s.PerPartition[0]
	file := fmt.Sprintf("orders-0/%020d.log", lastSegment(t, left, "orders-0"))
	f, err := left.Open(file, vfs.ReadWrite)
	require.NoError(t, err)
	size := lastBatchEnd(t, f)
	_, err = f.WriteAt([]byte("torn"), size)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	var said strings.Builder
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	st = nil
	again, err := openFS(left, o)
	require.NoError(t, err)
	st = again
	took() // of __metadata
	p = reopened(t, st, "orders")
	list := took()
	require.Regexp(t, fmt.Sprintf("^recover orders-0 offset=%d records=%[1]d segments=[1-9] err=true$", base.LogEndOffset), list[0])
	require.Equal(t, 1, strings.Count(said.String(), "cut off"), "a cut is logged once: %s", said.String())
	require.Empty(t, damaged)
	require.Equal(t, int64(4), st.Stats().BytesCut)

	// Damage is told once, to whoever reads it and however often.
	end := p.LogEndOffset()
	fill(t, p, 1)
	f, err = left.Open(file, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xee}, size+65)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for range 3 {
		r := reader(t, p, ReaderOptions{From: At(base.LogEndOffset), UntilEnd: true})
		_, err = r.Next(ctx)
		for err == nil {
			_, err = r.Next(ctx)
		}
		require.ErrorIs(t, err, ErrCorrupt)
	}
	require.Len(t, damaged, 1)
	require.Contains(t, damaged[0].Path, file)
	require.Equal(t, int64(1), st.Stats().Damages)
	require.Greater(t, end, int64(0))

	// A failure reaches the background.
	flt := &fault{op: vfs.OpSync, name: "orders-0/", err: syscall.EIO}
	left.SetHook(flt.hook)
	flt.on.Store(true)
	_, err = p.Append(ctx, Record{})
	require.ErrorIs(t, err, ErrFailed)
	flt.on.Store(false)
	require.NoError(t, st.Close())
	require.Len(t, behind, 1)
	require.ErrorIs(t, behind[0], ErrFailed)
	require.ErrorIs(t, behind[0], syscall.EIO)
}

// lastSegment is the highest base offset of a folder's log files.
func lastSegment(t *testing.T, fsys vfs.FS, folder string) (base int64) {
	t.Helper()
	list, err := fsys.ReadDir(folder)
	require.NoError(t, err)
	for _, e := range list {
		var n int64
		if strings.HasSuffix(e.Name, ".log") {
			_, err := fmt.Sscanf(e.Name, "%d", &n)
			require.NoError(t, err)
			base = max(base, n)
		}
	}
	return base
}

// lastBatchEnd is where the zeros of a log file begin, or its end.
func lastBatchEnd(t *testing.T, f vfs.File) int64 {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	if !errors.Is(err, io.EOF) {
		require.NoError(t, err)
	}
	pos := int64(0)
	for pos+12 <= size {
		n := int64(b[pos+8])<<24 | int64(b[pos+9])<<16 | int64(b[pos+10])<<8 | int64(b[pos+11])
		if n == 0 {
			break
		}
		pos += 12 + n
	}
	return pos
}

// TestBackground: what fails behind everybody's back is told.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		var behind []error
		st, err := openFS(m, &Options{Observer: &Observer{Background: func(err error) { behind = append(behind, err) }}})
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{})
		fill(t, p, 1)
		f := &fault{op: vfs.OpCreate, name: recoveryName, err: syscall.EIO}
		m.SetHook(f.hook)
		f.on.Store(true)
		time.Sleep(checkpointInterval + time.Second)
		synctest.Wait()
		require.Len(t, behind, 1)
		require.ErrorIs(t, behind[0], syscall.EIO)
		require.ErrorContains(t, behind[0], "checkpoint")
		f.on.Store(false)
		time.Sleep(checkpointInterval + time.Second)
		require.Len(t, behind, 1)
		require.NoError(t, st.Close())
	})
}

// TestBackgroundSilent: checkpoints that are written are nobody's concern, even if
// others are to come.
func TestBackgroundSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(&Options{Observer: &Observer{Background: func(err error) { t.Error(err) }}})
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{})
		for range 10 {
			fill(t, p, 1)
			time.Sleep(checkpointInterval / 2)
		}
		require.NoError(t, st.Close())
	})
}

// TestStatsOfFollower: that a store that is open for reading refuses appends is no
// failure of its partitions; damage is told.
func TestStatsOfFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		w, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, w, "orders", TopicConfig{})
		fill(t, p, 5)
		var told []*CorruptError
		r, err := openFollower(m, &Options{Observer: &Observer{Corrupt: func(e *CorruptError) { told = append(told, e) }}})
		require.NoError(t, err)
		q := reopened(t, r, "orders")
		require.Len(t, offsetsOf(t, q, ReaderOptions{}), 5)
		s := r.Stats()
		require.Equal(t, []int{1, 0, 0}, []int{s.Open, s.Failed, s.Damaged})
		require.Equal(t, int64(5), s.Read.Records)
		require.False(t, s.PerPartition[0].Failed)
		require.Equal(t, w.Stats().Bytes, s.Bytes)
		require.NoError(t, q.Describe().Err)

		f, err := m.Open("orders-0/00000000000000000000.log", vfs.ReadWrite)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("damage"), 100)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		soon, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		rd, err := q.Reader(ReaderOptions{})
		require.NoError(t, err)
		for err == nil {
			_, err = rd.Next(soon)
		}
		require.ErrorIs(t, err, ErrCorrupt)
		require.NoError(t, rd.Close())
		require.Len(t, told, 1)
		require.Equal(t, int64(1), r.Stats().Damages)
		require.NoError(t, r.Close())
		require.NoError(t, w.Close())
	})
}

// TestStatsOfHealed: a damaged partition that was reset is damaged no longer.
func TestStatsOfHealed(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{}), 5)
	require.NoError(t, st.Close())
	require.NoError(t, m.Remove(cleanName))
	f, err := m.Open("orders-0/00000000000000000000.log", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 100)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	st = openStore(t, m, nil)
	p := reopened(t, st, "orders")
	require.Equal(t, 1, st.Stats().Damaged)
	require.ErrorIs(t, p.Describe().Err, ErrCorrupt)
	require.NoError(t, p.ResetTo(0))
	fill(t, p, 1)
	require.NoError(t, p.Describe().Err)
	s := st.Stats()
	require.Equal(t, []int{0, 0}, []int{s.Damaged, s.Failed})
	require.False(t, s.PerPartition[0].Damaged)
}

// TestObserverOfBrokenPartition: who is told that a partition cannot be opened may
// try it himself. It is told once.
func TestObserverOfBrokenPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		part(t, st, "orders", TopicConfig{})
		require.NoError(t, st.Close())
		require.NoError(t, m.Rename("orders-0", "elsewhere"))
		told := 0
		var tp *Topic
		again := func(e *CorruptError) {
			told++
			require.Contains(t, e.Path, "orders-0")
			_, err := tp.Partition(0)
			require.ErrorIs(t, err, ErrCorrupt)
		}
		st, err = openFS(m, &Options{Observer: &Observer{Corrupt: again}})
		require.NoError(t, err)
		tp, err = st.Topic("orders")
		require.NoError(t, err)
		for range 3 {
			_, err = tp.Partition(0)
			require.ErrorIs(t, err, ErrCorrupt)
		}
		require.Equal(t, 1, told)
		require.Equal(t, int64(1), st.Stats().Damages)
		require.Zero(t, st.Stats().Open)
		require.NoError(t, st.Close())
	})
}
