package leat

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// compacted is a topic with small segments that is only compacted when told to.
var compacted = TopicConfig{Cleanup: CleanupCompact, SegmentBytes: 1 << 10}

// put appends one record; a value of "" is a tombstone.
func put(t testing.TB, p *Partition, key, value string) int64 {
	t.Helper()
	r := Record{Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	offset, err := p.Append(ctx, r)
	require.NoError(t, err)
	return offset
}

// puts appends n records of so many keys, in turn, with their numbers for values.
func puts(t testing.TB, p *Partition, n, keys int) {
	t.Helper()
	for range n {
		i := p.LogEndOffset()
		put(t, p, fmt.Sprintf("k%d", i%int64(keys)), fmt.Sprintf("%d%s", i, strings.Repeat(".", 90)))
	}
}

// row is a record as a reader has it.
type row struct {
	offset     int64
	key, value string // "": a tombstone
}

func rowsOf(t testing.TB, p *Partition) []row {
	t.Helper()
	r, err := p.Reader(ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	rows := []row{}
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		rows = append(rows, row{rec.Offset, string(rec.Key), string(rec.Value)})
	}
	require.NoError(t, r.Close())
	return rows
}

// latestOf leaves of each key the last row, in their order.
func latestOf(rows []row) []row {
	last := map[string]int64{}
	for _, r := range rows {
		last[r.key] = r.offset
	}
	list := []row{}
	for _, r := range rows {
		if last[r.key] == r.offset {
			list = append(list, r)
		}
	}
	return list
}

// events collects what an Observer.Compact is told.
type events struct {
	sync.Mutex
	list []Event
}

func (e *events) add(v Event) {
	e.Lock()
	defer e.Unlock()
	e.list = append(e.list, v)
}

func (e *events) take() []Event {
	e.Lock()
	defer e.Unlock()
	list := e.list
	e.list = nil
	return list
}

// TestCompact: of each key the latest record is left, at its offset, what was
// appended last included; and again after the store was opened again.
func TestCompact(t *testing.T) {
	m := vfs.NewMem()
	var told events
	st, err := openFS(m, &Options{Cleaner: Cleaner{Off: true}, Observer: &Observer{Compact: told.add}})
	require.NoError(t, err)
	p := part(t, st, "orders", compacted)
	require.NoError(t, p.Compact(ctx, nil), "an empty one")
	told.take()
	puts(t, p, 100, 7)
	put(t, p, "k3", "")
	want := latestOf(rowsOf(t, p))
	before := p.Describe().Bytes
	var at []Progress
	require.NoError(t, p.Topic().Compact(ctx, func(g Progress) { at = append(at, g) }))
	require.Equal(t, want, rowsOf(t, p))
	require.Len(t, want, 7)
	require.Equal(t, int64(101), p.LogEndOffset())

	require.NotEmpty(t, at)
	for i, g := range at {
		require.Equal(t, "orders", g.Topic)
		require.Equal(t, i == len(at)-1, g.Done == g.Total, "%v", g)
	}
	list := told.take()
	require.Len(t, list, 1)
	e := list[0]
	require.NoError(t, e.Err)
	require.Equal(t, int64(101), e.Offset)
	require.Equal(t, int64(101-7), e.Records)
	require.Equal(t, before-p.Describe().Bytes, e.Bytes)
	require.Greater(t, e.Segments, 5)
	c := st.Stats().Compactions
	require.Equal(t, []int64{1, 0, 94, e.Bytes}, []int64{c.Cleanings, c.Errors, c.Records, c.Bytes})
	require.Contains(t, st.Stats().String(), "cleaned 1 times (0 failed")

	puts(t, p, 20, 7)
	want = latestOf(rowsOf(t, p))
	require.NoError(t, p.Compact(ctx, nil))
	require.Equal(t, want, rowsOf(t, p))
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	require.True(t, st.clean)
	p = reopened(t, st, "orders")
	require.Equal(t, want, rowsOf(t, p))
	require.Equal(t, int64(121), put(t, p, "k1", "more"))
}

// TestCompactRefuses what must not be compacted, or cannot.
func TestCompactRefuses(t *testing.T) {
	st, err := openFS(vfs.NewMem(), nil)
	require.NoError(t, err)
	p := part(t, st, "kept", TopicConfig{})
	require.ErrorIs(t, p.Compact(ctx, nil), ErrInvalidConfig)
	require.ErrorIs(t, p.Topic().Compact(ctx, nil), ErrInvalidConfig)
	c := part(t, st, "orders", compacted)
	puts(t, c, 50, 3)
	over, cancel := context.WithCancel(ctx)
	cancel()
	was := rowsOf(t, c)
	require.ErrorIs(t, c.Compact(over, nil), context.Canceled)
	require.ErrorIs(t, c.Topic().Compact(over, nil), context.Canceled)
	require.Equal(t, was, rowsOf(t, c))
	require.Zero(t, st.Stats().Compactions.Errors)
	tp := c.Topic()
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	require.ErrorIs(t, tp.Compact(ctx, nil), ErrUnknownTopic)
	require.ErrorIs(t, c.Compact(ctx, nil), ErrUnknownTopic)
	require.NoError(t, st.Close())
	require.ErrorIs(t, p.Compact(ctx, nil), ErrClosed)
	_, err = openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Memory: 100}})
	require.ErrorIs(t, err, ErrInvalidConfig)
	_, err = openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Rate: -2}})
	require.ErrorIs(t, err, ErrInvalidConfig)
}

// TestCompactTombstones: a tombstone stays for TombstoneRetain after the first
// cleaning, and goes with the first Compact after that, though nothing was
// appended; what it has deleted never comes back.
func TestCompactTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Off: true}})
		require.NoError(t, err)
		c := compacted
		c.Compaction.TombstoneRetain = time.Hour
		p := part(t, st, "orders", c)
		puts(t, p, 40, 4)
		put(t, p, "k2", "")
		want := latestOf(rowsOf(t, p))
		require.Equal(t, row{40, "k2", ""}, want[3])
		for range 3 {
			require.NoError(t, p.Compact(ctx, nil))
			require.Equal(t, want, rowsOf(t, p))
			time.Sleep(15 * time.Minute)
		}
		time.Sleep(15*time.Minute + time.Second)
		require.NoError(t, p.Compact(ctx, nil))
		require.Equal(t, want[:3], rowsOf(t, p))
		require.NoError(t, st.Close())
	})
}

// TestCompactOff: nothing is compacted by itself.
func TestCompactOff(t *testing.T) {
	for _, off := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			st, err := openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Off: off}})
			require.NoError(t, err)
			p := part(t, st, "orders", compacted)
			puts(t, p, 50, 3)
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Equal(t, off, st.Stats().Compactions.Cleanings == 0)
			require.Equal(t, off, len(rowsOf(t, p)) == 50)
			require.NoError(t, st.Close())
		})
	}
}

// TestCompactMemory: with room for few keys it takes several rounds, and what is
// left is the same.
func TestCompactMemory(t *testing.T) {
	var told events
	st := openStore(t, vfs.NewMem(), &Options{Cleaner: Cleaner{Off: true, Memory: minCleanerMemory}, Observer: &Observer{Compact: told.add}})
	p := part(t, st, "orders", compacted)
	puts(t, p, 1500, 1200)
	want := latestOf(rowsOf(t, p))
	require.NoError(t, p.Compact(ctx, nil))
	require.Equal(t, want, rowsOf(t, p))
	list := told.take()
	require.Greater(t, len(list), 5)
	for i, e := range list[1:] {
		require.Greater(t, e.Offset, list[i].Offset)
	}
	require.Equal(t, int64(1500), list[len(list)-1].Offset)
	require.Equal(t, int64(1500), st.found.cleaned((&cleaning{topic: p.topic}).key(), p.log.Load()))
}

// TestCompactRate: a cleaning takes as long as it may.
func TestCompactRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Off: true, Rate: 1 << 20}})
		require.NoError(t, err)
		c := compacted
		c.SegmentBytes = 1 << 20
		p := part(t, st, "orders", c)
		for i := range 8 << 3 {
			put(t, p, fmt.Sprint(i%4), strings.Repeat("x", 128<<10))
		}
		begun := time.Now()
		require.NoError(t, p.Compact(ctx, nil))
		// 8 MiB are read twice, of which next to nothing is written.
		require.InDelta(t, 16, time.Since(begun).Seconds(), 4)

		for i := range 8 << 3 {
			put(t, p, fmt.Sprint(i%4), strings.Repeat("x", 128<<10))
		}
		begun = time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			require.NoError(t, st.Close())
		}()
		require.ErrorIs(t, p.Compact(ctx, nil), ErrClosed)
		require.InDelta(t, 3, time.Since(begun).Seconds(), 1.5, "Close does not wait for it")
	})
}

// TestCompactInBackground: partitions are cleaned by themselves when enough of them
// is dirty, those that nobody has opened as well, and nothing runs otherwise.
func TestCompactInBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		armed := func() bool {
			synctest.Wait()
			st.mu.RLock()
			defer st.mu.RUnlock()
			return st.cleaner.armed
		}
		plain := part(t, st, "plain", TopicConfig{SegmentBytes: 1 << 10})
		fill(t, plain, 50)
		require.False(t, armed(), "there is nothing to compact")
		p := part(t, st, "orders", compacted)
		require.True(t, armed())
		puts(t, p, 100, 5)
		was := rowsOf(t, p)
		time.Sleep(cleanInterval - time.Second)
		require.Equal(t, was, rowsOf(t, p))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		after := rowsOf(t, p)
		require.Less(t, len(after), 20)
		require.Equal(t, latestOf(was), latestOf(after))
		require.Equal(t, was[99], after[len(after)-1])
		time.Sleep(3 * time.Minute)
		require.False(t, armed(), "nothing is dirty enough, and nobody appends")
		n := st.Stats().Compactions.Cleanings
		require.EqualValues(t, 1, n)
		puts(t, p, 1, 5)
		require.True(t, armed())
		time.Sleep(3 * time.Minute)
		require.False(t, armed())
		require.Equal(t, n, st.Stats().Compactions.Cleanings)
		fill(t, plain, 500)
		time.Sleep(3 * time.Minute)
		require.False(t, armed())

		// A topic that is to be compacted from now on.
		require.NoError(t, plain.Topic().SetConfig(ctx, compacted))
		require.True(t, armed())
		fill(t, plain, 1)
		time.Sleep(cleanInterval + time.Second)
		synctest.Wait()
		require.EqualValues(t, n+1, st.Stats().Compactions.Cleanings)

		// Those that nobody opens.
		late := compacted
		late.Compaction.MaxLag = time.Hour
		late.Compaction.MinDirtyRatio = 1
		puts(t, part(t, st, "late", late), 100, 5)
		puts(t, part(t, st, "dirty", withRatio(0.9)), 100, 5)
		fill(t, part(t, st, "clean", withRatio(1)), 100)
		young := compacted
		young.Compaction.MinLag = 2 * time.Hour
		puts(t, part(t, st, "young", young), 100, 5)
		require.NoError(t, st.Close())
		st, err = openFS(m, nil)
		require.NoError(t, err)
		open := func() map[string]bool {
			synctest.Wait()
			names := map[string]bool{}
			for tp := range st.Topics() {
				if tp.opened(0) != nil {
					names[tp.Name()] = true
				}
			}
			return names
		}
		require.True(t, armed())
		require.Empty(t, open())
		time.Sleep(cleanInterval + time.Second)
		require.Equal(t, map[string]bool{"dirty": true}, open())
		time.Sleep(time.Hour)
		require.Equal(t, map[string]bool{"dirty": true, "late": true}, open())
		time.Sleep(3 * time.Hour)
		require.Equal(t, map[string]bool{"dirty": true, "late": true, "young": true}, open())
		require.EqualValues(t, 3, st.Stats().Compactions.Cleanings)
		require.Empty(t, st.Stats().Compactions.Uncleanable)
		for name := range open() {
			require.Less(t, len(rowsOf(t, reopened(t, st, name))), 20, name)
		}
		time.Sleep(24 * time.Hour)
		require.NoError(t, st.Close())
		time.Sleep(time.Hour) // nothing is left that would run
	})
}

// TestCompactConfigured: a topic that is to be compacted from now on is looked at,
// though nobody appends to anything any more.
func TestCompactConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), nil)
		require.NoError(t, err)
		p := part(t, st, "plain", TopicConfig{SegmentBytes: 1 << 10})
		puts(t, p, 100, 5)
		time.Sleep(time.Second)
		require.NoError(t, p.Topic().SetConfig(ctx, compacted))
		time.Sleep(cleanInterval + time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, st.Stats().Compactions.Cleanings)
		require.Less(t, len(rowsOf(t, p)), 20)
		require.NoError(t, st.Close())
	})
}

func withRatio(r float64) TopicConfig {
	c := compacted
	c.Compaction.MinDirtyRatio = r
	return c
}

// TestCompactLags: of an open partition too, what is too young is left alone, and
// what is too old is not, though little is dirty.
func TestCompactLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), nil)
		require.NoError(t, err)
		young, old := withRatio(0.1), withRatio(1)
		young.Compaction.MinLag = time.Hour
		old.Compaction.MaxLag = 2 * time.Hour
		a, b := part(t, st, "young", young), part(t, st, "old", old)
		puts(t, a, 100, 5)
		puts(t, b, 100, 5)
		require.NoError(t, a.Compact(ctx, nil))
		require.Len(t, rowsOf(t, a), 100, "whoever asks for it")
		time.Sleep(55 * time.Minute)
		require.Len(t, rowsOf(t, a), 100)
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		require.Less(t, len(rowsOf(t, a)), 20)
		require.Len(t, rowsOf(t, b), 100)
		time.Sleep(50*time.Minute + 16*time.Minute)
		synctest.Wait()
		require.Less(t, len(rowsOf(t, b)), 20)
		time.Sleep(time.Minute)
		put(t, b, "x", "y")
		was := st.Stats().Rolls
		time.Sleep(2*time.Hour + time.Second)
		put(t, b, "x", "z")
		require.Equal(t, was+1, st.Stats().Rolls, "rolled in time, as what is appended to is never cleaned")
		require.NoError(t, st.Close())
	})
}

// TestCompactDirtiestFirst and one at a time.
func TestCompactDirtiestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told events
		st, err := openFS(vfs.NewMem(), &Options{Observer: &Observer{Compact: told.add}})
		require.NoError(t, err)
		tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 4, Cleanup: CleanupCompact, SegmentBytes: 1 << 10,
			Compaction: Compaction{MinDirtyRatio: 0.01}})
		require.NoError(t, err)
		var want []int32
		for p := range tp.Partitions() {
			fill(t, p, 200)
		}
		require.NoError(t, tp.Compact(ctx, nil))
		told.take()
		for i, id := range []int32{2, 0, 3, 1} {
			p, err := tp.Partition(id)
			require.NoError(t, err)
			fill(t, p, 500-100*i)
			want = append(want, id)
		}
		time.Sleep(cleanInterval + time.Second)
		synctest.Wait()
		var got []int32
		for _, e := range told.take() {
			require.NoError(t, e.Err)
			got = append(got, e.Partition)
		}
		require.Equal(t, want, got)
		require.NoError(t, st.Close())
	})
}

// TestCompactFails: an error in one partition is told, is tried again with growing
// pauses, and keeps nothing else from being cleaned.
func TestCompactFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		var told events
		st, err := openFS(m, &Options{Observer: &Observer{Compact: told.add}})
		require.NoError(t, err)
		f := &fault{op: vfs.OpCreate, name: "a-0/00000000000000000000.log.cleaned", err: vfs.ErrNoSpace}
		m.SetHook(f.hook)
		a, b := part(t, st, "a", compacted), part(t, st, "b", compacted)
		puts(t, a, 100, 3)
		puts(t, b, 60, 3)
		f.on.Store(true)
		err = a.Topic().Compact(ctx, nil)
		require.ErrorIs(t, err, ErrNoSpace)
		require.Contains(t, err.Error(), "a-0")
		require.Len(t, rowsOf(t, a), 100)
		c := st.Stats().Compactions
		require.Equal(t, []int64{1, 1}, []int64{c.Cleanings, c.Errors})
		require.Len(t, c.Uncleanable, 1)
		u := c.Uncleanable[0]
		require.Equal(t, []any{"a", int32(0), 1, time.Now().Add(15 * time.Second)}, []any{u.Topic, u.Partition, u.Failures, u.Retry})
		require.Contains(t, u.Err, "no space")
		begun := time.Now()
		var at []time.Duration
		for range 8 {
			before := st.Stats().Compactions.Errors
			for st.Stats().Compactions.Errors == before {
				time.Sleep(time.Second)
				synctest.Wait()
				require.Less(t, time.Since(begun), 6*time.Hour)
			}
			at = append(at, time.Since(begun).Round(15*time.Second))
			begun = time.Now()
		}
		s := time.Second
		require.Equal(t, []time.Duration{15 * s, 30 * s, 60 * s, 120 * s, 240 * s, 480 * s, 960 * s, 1920 * s}, at)
		require.Less(t, len(rowsOf(t, b)), 20)
		errs := 0
		for _, e := range told.take() {
			if e.Err != nil {
				require.Equal(t, "a", e.Topic)
				require.ErrorIs(t, e.Err, ErrNoSpace)
				errs++
			}
		}
		require.Equal(t, 9, errs)
		_, err = a.Append(ctx, Record{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)

		f.on.Store(false)
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		require.Less(t, len(rowsOf(t, a)), 20)
		require.Empty(t, st.Stats().Compactions.Uncleanable)
		require.Empty(t, namesWith(t, m, "a-0", ".cleaned"))
		require.NoError(t, st.Close())
	})
}

func namesWith(t testing.TB, fsys vfs.FS, folder, part string) (names []string) {
	t.Helper()
	list, err := fsys.ReadDir(folder)
	require.NoError(t, err)
	for _, e := range list {
		if strings.Contains(e.Name, part) {
			names = append(names, e.Name)
		}
	}
	return names
}

// TestCompactDamaged: a partition that turns out damaged is told of, once, and left
// alone; others are cleaned.
func TestCompactDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		var told events
		st, err := openFS(m, &Options{Cleaner: Cleaner{Off: true}})
		require.NoError(t, err)
		puts(t, part(t, st, "a", compacted), 100, 3)
		puts(t, part(t, st, "b", compacted), 100, 3)
		require.NoError(t, st.Close())
		logs := namesWith(t, m, "a-0", ".log")
		x, err := m.Open("a-0/"+logs[3], vfs.ReadWrite)
		require.NoError(t, err)
		_, err = x.WriteAt([]byte{0xff}, 80)
		require.NoError(t, err)
		require.NoError(t, x.Close())

		st, err = openFS(m, &Options{Observer: &Observer{Compact: told.add}})
		require.NoError(t, err)
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		c := st.Stats().Compactions
		require.EqualValues(t, 1, c.Errors)
		require.Len(t, c.Uncleanable, 1)
		require.Zero(t, c.Uncleanable[0].Retry)
		require.Contains(t, c.Uncleanable[0].String(), "a-0: ")
		require.Less(t, len(rowsOf(t, reopened(t, st, "b"))), 20)
		for _, e := range told.take() {
			require.Equal(t, e.Topic == "a", e.Err != nil)
			if e.Err != nil {
				require.ErrorIs(t, e.Err, ErrCorrupt)
			}
		}
		a := reopened(t, st, "a")
		require.ErrorIs(t, a.Compact(ctx, nil), ErrCorrupt, "whoever asks for it is told")
		require.NoError(t, a.ResetTo(0))
		puts(t, a, 100, 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Less(t, len(rowsOf(t, a)), 20)
		require.Empty(t, st.Stats().Compactions.Uncleanable)
		require.NoError(t, st.Close())
	})
}

// TestCleanerCheckpoint: Kafka's file says how far each partition is clean; it is
// read again, and never says too much.
func TestCleanerCheckpoint(t *testing.T) {
	m := vfs.NewMem()
	off := &Options{Cleaner: Cleaner{Off: true}}
	st, err := openFS(m, off)
	require.NoError(t, err)
	text := func() string {
		t.Helper()
		b, err := readSmall(m, cleanerName)
		require.NoError(t, err)
		return string(b)
	}
	p := part(t, st, "orders", compacted)
	puts(t, p, 60, 3)
	require.NoError(t, p.Compact(ctx, nil))
	require.Equal(t, "0\n1\norders 0 60\n", text())
	puts(t, p, 60, 3)
	require.NoError(t, st.Close())

	st, err = openFS(m, off)
	require.NoError(t, err)
	p = reopened(t, st, "orders")
	first := func() int64 { return st.found.cleaned((&cleaning{topic: p.topic}).key(), p.log.Load()) }
	require.EqualValues(t, 60, first())
	other := part(t, st, "other", compacted)
	puts(t, other, 30, 3)
	require.NoError(t, other.Compact(ctx, nil))
	require.Equal(t, "0\n2\norders 0 60\nother 0 30\n", text())

	// Before records are taken back, the file says less.
	said := ""
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op.Mutates() && said == "" && strings.HasPrefix(name, "orders-0/") && strings.HasSuffix(name, ".log") {
			said = text()
		}
		return nil
	})
	require.NoError(t, p.TruncateTo(40))
	end := p.LogEndOffset()
	require.LessOrEqual(t, end, int64(40))
	require.Equal(t, fmt.Sprintf("0\n2\norders 0 %d\nother 0 30\n", end), said)
	said = ""
	puts(t, p, 60, 3)
	require.LessOrEqual(t, first(), end)
	require.NoError(t, p.Compact(ctx, nil))
	require.EqualValues(t, p.LogEndOffset(), first())
	said = ""
	require.NoError(t, p.ResetTo(1000))
	require.NotContains(t, said, "orders 0 1")
	require.EqualValues(t, -1, first(), "below the start: from there on")
	m.SetHook(nil)
	puts(t, p, 60, 3)
	require.NoError(t, p.Compact(ctx, nil))
	require.EqualValues(t, 1060, first())

	// What was cleaned before records were taken back says nothing of what came since.
	job := &cleaning{topic: p.topic, part: p, log: p.log.Load()}
	require.NoError(t, st.saveCleaned(ctx, job, job.log.Generation()-1, 1059))
	require.EqualValues(t, 1060, first())
	require.NoError(t, st.saveCleaned(ctx, job, job.log.Generation(), 1059))
	require.EqualValues(t, 1059, first())

	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	p = part(t, st, "orders", compacted)
	require.NotContains(t, text(), "orders", "a new topic of that name")
	require.EqualValues(t, -1, first())
	require.NoError(t, st.Close())

	// A log that ends before what the file says was cut, or is another one.
	require.NoError(t, m.Remove(cleanerName))
	x, err := m.Create(cleanerName)
	require.NoError(t, err)
	_, err = x.WriteAt([]byte("0\n2\norders 0 7\nother 0 31\n"), 0)
	require.NoError(t, err)
	require.NoError(t, x.Close())
	st = openStore(t, m, off)
	p = reopened(t, st, "orders")
	require.EqualValues(t, -1, first())
	puts(t, p, 20, 3)
	require.EqualValues(t, -1, first(), "not when it has grown, either")
	p = reopened(t, st, "other")
	require.EqualValues(t, -1, first())
}

// TestCompactAndRetention: with both policies old segments go whole, and of what
// stays the latest of each key does.
func TestCompactAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), nil)
		require.NoError(t, err)
		c := compacted
		c.Cleanup = CleanupCompactDelete
		c.Retention = Retention{Age: time.Hour, Bytes: Unlimited}
		p := part(t, st, "orders", c)
		puts(t, p, 100, 5)
		for i := range 20 {
			put(t, p, fmt.Sprintf("old%d", i), strings.Repeat("x", 90))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Less(t, len(rowsOf(t, p)), 5+20+12)
		require.Zero(t, p.LogStartOffset())
		time.Sleep(40 * time.Minute)
		puts(t, p, 100, 5)
		time.Sleep(30 * time.Minute) // the first ones are too old now
		synctest.Wait()
		rows := rowsOf(t, p)
		require.GreaterOrEqual(t, p.LogStartOffset(), int64(100))
		require.Less(t, len(rows), 30)
		require.Equal(t, int64(219), rows[len(rows)-1].offset)
		keys := map[string]bool{}
		for _, r := range rows {
			keys[r.key] = true
		}
		for i := range 5 {
			require.True(t, keys[fmt.Sprintf("k%d", i)])
		}
		require.NoError(t, st.Close())
	})
}

// TestCompactWhileTruncated: a cleaning that records were taken from meanwhile
// begins again, and is no error.
func TestCompactWhileTruncated(t *testing.T) {
	for _, how := range []string{"truncate", "reset", "delete records"} {
		t.Run(how, func(t *testing.T) {
			m := vfs.NewMem()
			st := openStore(t, m, &Options{Cleaner: Cleaner{Off: true}})
			p := part(t, st, "orders", compacted)
			puts(t, p, 100, 5)
			done := make(chan error, 1)
			var once sync.Once
			m.SetHook(func(op vfs.Op, name string, before bool) error {
				if before && op == vfs.OpCreate && strings.HasSuffix(name, ".log.cleaned") {
					once.Do(func() {
						go func() {
							switch how {
							case "truncate":
								done <- p.TruncateTo(30)
							case "reset":
								done <- p.ResetTo(10)
							default:
								done <- p.DeleteRecords(ctx, 30)
							}
						}()
					})
				}
				return nil
			})
			require.NoError(t, p.Compact(ctx, nil))
			require.NoError(t, <-done)
			m.SetHook(nil)
			require.Empty(t, st.Stats().Compactions.Uncleanable)
			puts(t, p, 50, 5)
			want := latestOf(rowsOf(t, p))
			require.NoError(t, p.Compact(ctx, nil))
			require.Equal(t, want, rowsOf(t, p))
			require.NotEmpty(t, want)
		})
	}
}

// TestMetadataIsCleaned: the store's own topic does not grow with every change of a
// topic, says the same when it is read again, and to those who follow.
func TestMetadataIsCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		m.SetMapped(true)
		st, err := openFS(m, nil)
		require.NoError(t, err)
		var said bytes.Buffer
		r, err := openFollower(m, &Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
		require.NoError(t, err)
		kept, gone := part(t, st, "kept", TopicConfig{}), part(t, st, "gone", TopicConfig{})
		look := func(s *Store) map[string]TopicConfig {
			list := map[string]TopicConfig{}
			for tp := range s.Topics() {
				list[tp.Name()] = tp.Config()
			}
			return list
		}
		require.Equal(t, look(st), look(r))
		padding := strings.Repeat("g", 30000)
		change := func(n int) {
			for i := range n {
				c := TopicConfig{Retention: Retention{Groups: []string{fmt.Sprint(i), padding}}}
				require.NoError(t, kept.Topic().SetConfig(ctx, c))
			}
		}
		change(200)
		require.NoError(t, st.DeleteTopic(ctx, gone.topic.name))
		change(300) // 15 MB, in segments of 4 MiB
		size := st.meta.Size()
		require.Greater(t, size, int64(12<<20))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Less(t, st.meta.Size(), int64(5<<20))
		require.Equal(t, look(st), look(r), "one that looks now and then: %s", said.String())
		require.Empty(t, said.String())
		again, err := openFollower(m, nil)
		require.NoError(t, err)
		require.Equal(t, look(st), look(again))
		require.Zero(t, st.Stats().Compactions.Cleanings, "the store's own topics are left out")

		// One that looks again when even the tombstones are gone.
		part(t, st, "late", TopicConfig{})
		require.Equal(t, look(st), look(r))
		require.NoError(t, st.DeleteTopic(ctx, "late"))
		for range 3 {
			change(500)
			time.Sleep(25 * time.Hour)
		}
		synctest.Wait()
		require.False(t, metadataHas(t, st, "late"))
		require.Equal(t, look(st), look(r))
		require.NotContains(t, look(r), "late")

		want := look(st)
		require.NoError(t, r.Close())
		require.NoError(t, again.Close())
		require.NoError(t, st.Close())
		st, err = openFS(m, nil)
		require.NoError(t, err)
		require.Equal(t, want, look(st))
		require.NoError(t, st.Close())
	})
}

// metadataHas tells whether __metadata still has a record of a topic.
func metadataHas(t testing.TB, s *Store, name string) bool {
	t.Helper()
	c := s.meta.NewCursor(s.meta.LogStartOffset())
	defer c.Close()
	for {
		b, err := c.Next(s.meta.LogEndOffset())
		if err != nil {
			return false
		}
		if bytes.Contains(b, topicKey(name)) {
			return true
		}
	}
}

// TestCompactManyPartitions: thousands of partitions that are clean cost a look at
// their folders, once, and are not opened.
func TestCompactManyPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		c := compacted
		c.Partitions = 500
		tp, err := st.CreateTopic(ctx, "many", c)
		require.NoError(t, err)
		p, err := tp.Partition(77)
		require.NoError(t, err)
		require.NoError(t, st.Close())
		st, err = openFS(m, nil)
		require.NoError(t, err)
		p = part(t, st, "orders", compacted)
		var reads sync.Map
		m.SetHook(func(op vfs.Op, name string, before bool) error {
			if before && op == vfs.OpReadDir && strings.HasPrefix(name, "many-") {
				n, _ := reads.LoadOrStore(name, new(int))
				*n.(*int)++
			}
			return nil
		})
		for range 20 {
			puts(t, p, 20, 3)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		require.Greater(t, st.Stats().Compactions.Cleanings, int64(5))
		folders := 0
		for name, n := range maps.Collect(reads.Range) {
			require.Equal(t, 1, *n.(*int), name)
			folders++
		}
		require.Equal(t, 500, folders)
		require.Equal(t, 1, st.Stats().Open)
		m.SetHook(nil)
		require.NoError(t, st.Close())
	})
}

// TestCompactTogether: appends, reads, retention and compactions from several
// goroutines, with the cleaner of the store in between.
func TestCompactTogether(t *testing.T) {
	st := openStore(t, vfs.NewMem(), nil)
	c := compacted
	c.Durability = Written
	p := part(t, st, "orders", c)
	const writers, each, keys = 4, 300, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				key := fmt.Sprintf("%d-%d", w, rng.IntN(keys))
				if _, err := p.Append(ctx, Record{Key: []byte(key), Value: fmt.Appendf(nil, "%d", i)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 8 {
				if err := p.Compact(ctx, nil); err != nil {
					t.Error(err)
				}
				if _, err := p.Topic().Retain(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() { // of each key a reader sees rising values
		for range 5 {
			seen := map[string]string{}
			r, err := p.Reader(ReaderOptions{UntilEnd: true})
			if err != nil {
				t.Error(err)
				return
			}
			last := int64(-1)
			for rec, err := range r.Records(ctx) {
				if err != nil {
					t.Error(err)
					break
				}
				if rec.Offset <= last {
					t.Errorf("offset %d after %d", rec.Offset, last)
				}
				last = rec.Offset
				seen[string(rec.Key)] = string(rec.Value)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	want := latestOf(rowsOf(t, p))
	require.NoError(t, p.Compact(ctx, nil))
	require.Equal(t, want, rowsOf(t, p))
	require.EqualValues(t, writers*each, p.LogEndOffset())
}
