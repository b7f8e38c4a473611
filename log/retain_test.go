package log

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// onePerSegment makes every record a segment of its own, of the same size.
var onePerSegment = Config{SegmentBytes: 1000, IndexBytes: 4096, TimestampAfter: -1}

const onePerSegmentSize = 943

// times appends a record for each time, in milliseconds; -1 is none.
func (g *rig) times(ms ...int64) {
	g.t.Helper()
	for _, t := range ms {
		r := Record{Value: make([]byte, 870)}
		if t >= 0 {
			r.Timestamp = time.UnixMilli(t)
			_, err := g.log.Append(context.Background(), []Record{r}, Synced)
			require.NoError(g.t, err)
			continue
		}
		g.log.writing.Lock()
		_, err := g.log.appendLocked([][]Record{{r}}, 1, facts{bound: 950, latest: noTime}, Written)
		g.log.unlock()
		require.NoError(g.t, err)
	}
	require.NoError(g.t, g.log.Sync(context.Background()))
	for _, s := range g.log.Segments() {
		require.LessOrEqual(g.t, s.Size, int64(onePerSegmentSize+12))
	}
}

func (g *rig) bases() []int64 {
	var bases []int64
	for _, s := range g.log.Segments() {
		bases = append(bases, s.BaseOffset)
	}
	return bases
}

// names are the files in the folder; what seals in the background changes some.
func (g *rig) names() (names []string) {
	list, err := g.fs.ReadDir(g.folder())
	require.NoError(g.t, err)
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

// TestRetain is KAFKA_RULES 4.6, case by case.
func TestRetain(t *testing.T) {
	const all = int64(-1)
	g := newRig(t, WriterPwrite, true, onePerSegment)
	g.open()
	g.times(1, 1)
	size := g.log.Segments()[0].Size
	require.NoError(t, g.log.Close())

	for _, c := range []struct {
		name   string
		times  []int64
		rules  Retention
		now    int64
		high   int64 // of a wrapper; all: the end
		start  int64 // deleted before
		bases  []int64
		starts int64
	}{
		{"nothing to do", []int64{0, 1, 2}, Retention{true, time.Hour, 1 << 40, Floor{}}, 5, all, 0, []int64{0, 1, 2}, 0},
		{"age", []int64{0, 10, 20, 30}, Retention{true, 15 * time.Millisecond, -1, Floor{}}, 30, all, 0, []int64{2, 3}, 2},
		{"exactly the age stays", []int64{0, 10, 20}, Retention{true, 10 * time.Millisecond, -1, Floor{}}, 20, all, 0, []int64{1, 2}, 1},
		{"all are too old", []int64{0, 10, 20}, Retention{true, 10 * time.Millisecond, -1, Floor{}}, 100, all, 0, []int64{3}, 3},
		{"stop at the first that stays", []int64{0, 90, 0, 0, 0}, Retention{true, 50 * time.Millisecond, -1, Floor{}}, 100, all, 0, []int64{1, 2, 3, 4}, 1},
		{"a time in the future stays", []int64{1 << 40, 0, 0}, Retention{true, time.Millisecond, -1, Floor{}}, 100, all, 0, []int64{0, 1, 2}, 0},
		{"a clock before 1970", []int64{5, 5, 5}, Retention{true, time.Millisecond, -1, Floor{}}, -1 << 40, all, 0, []int64{0, 1, 2}, 0},
		{"a clock in the year 2262", []int64{5, 5}, Retention{true, 1<<63 - 1, -1, Floor{}}, 1<<43 + 1<<40, all, 0, []int64{2}, 2},
		{"no time: the file's", []int64{-1, -1, 0}, Retention{true, time.Hour, -1, Floor{}}, time.Now().UnixMilli(), all, 0, []int64{0, 1, 2}, 0},
		{"no time: the file's is old", []int64{-1, -1, 0}, Retention{true, time.Hour, -1, Floor{}}, time.Now().Add(2 * time.Hour).UnixMilli(), all, 0, []int64{3}, 3},
		{"no limit of age", []int64{0, 0}, Retention{true, -1, -1, Floor{}}, 1 << 40, all, 0, []int64{0, 1}, 0},
		{"size", []int64{0, 0, 0, 0}, Retention{true, -1, 2 * size, Floor{}}, 0, all, 0, []int64{2, 3}, 2},
		{"never below the size", []int64{0, 0, 0, 0}, Retention{true, -1, 2*size + 1, Floor{}}, 0, all, 0, []int64{1, 2, 3}, 1},
		{"size of one", []int64{0, 0, 0, 0}, Retention{true, -1, 1, Floor{}}, 0, all, 0, []int64{3}, 3},
		{"size, then age", []int64{0, 0, 50, 90}, Retention{true, 45 * time.Millisecond, 3 * size, Floor{}}, 100, all, 0, []int64{3}, 3},
		{"not beyond the high watermark", []int64{0, 0, 0, 0}, Retention{true, time.Millisecond, 1, Floor{}}, 100, 2, 0, []int64{2, 3}, 2},
		{"high watermark inside", []int64{0, 0, 0, 0}, Retention{true, time.Millisecond, 1, Floor{}}, 100, 0, 0, []int64{0, 1, 2, 3}, 0},
		{"a floor", []int64{0, 0, 0, 0}, Retention{true, time.Millisecond, 1, Floor{true, 2, -1, "g"}}, 100, all, 0, []int64{2, 3}, 2},
		{"a floor that nobody has moved", []int64{0, 0, 0, 0}, Retention{true, time.Millisecond, 1, Floor{On: true, Bytes: -1}}, 100, all, 0, []int64{0, 1, 2, 3}, 0},
		{"a floor at the end", []int64{0, 0, 0, 0}, Retention{true, time.Millisecond, 1, Floor{true, 4, -1, "g"}}, 100, all, 0, []int64{4}, 4},
		{"a floor beyond what is old", []int64{0, 0, 100, 100}, Retention{true, time.Millisecond, -1, Floor{true, 4, 0, "g"}}, 100, all, 0, []int64{2, 3}, 2},
		{"a floor that may hold two", []int64{0, 0, 0, 0, 0}, Retention{true, time.Millisecond, -1, Floor{true, 1, 2 * size, "g"}}, 100, all, 0, []int64{3, 4}, 3},
		{"a floor that may hold all but a byte", []int64{0, 0, 0, 0, 0}, Retention{true, time.Millisecond, -1, Floor{true, 1, 4*size - 1, "g"}}, 100, all, 0, []int64{2, 3, 4}, 2},
		{"a floor that may hold nothing", []int64{0, 0, 0, 0, 0}, Retention{true, time.Millisecond, -1, Floor{true, 1, 0, "g"}}, 100, all, 0, []int64{5}, 5},
		{"a floor's limit is of what would go", []int64{0, 0, 0, 100, 100}, Retention{true, time.Millisecond, -1, Floor{true, 0, 2 * size, "g"}}, 100, all, 0, []int64{1, 2, 3, 4}, 1},
		{"a floor's limit, by size", []int64{0, 0, 0, 0, 0}, Retention{true, -1, 2 * size, Floor{true, 0, 2 * size, "g"}}, 100, all, 0, []int64{1, 2, 3, 4}, 1},
		{"a floor without limits", []int64{0, 0}, Retention{true, -1, -1, Floor{true, 0, 0, "g"}}, 100, all, 0, []int64{0, 1}, 0},
		{"compact only", []int64{0, 0, 0}, Retention{false, time.Millisecond, 1, Floor{}}, 100, all, 0, []int64{0, 1, 2}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := onePerSegment
			cfg.ExternalWatermark = c.high != all
			g := newRig(t, WriterPwrite, true, cfg)
			l := g.open()
			g.times(c.times...)
			require.Len(t, l.Segments(), len(c.times))
			if c.high != all {
				require.NoError(t, l.SetHighWatermark(c.high))
			}
			before := l.Size()
			d, err := l.Retain(context.Background(), c.rules, time.UnixMilli(c.now))
			require.NoError(t, err)
			require.Equal(t, c.bases, g.bases())
			require.Equal(t, c.starts, l.LogStartOffset())
			require.EqualValues(t, len(c.times), l.LogEndOffset())
			require.Equal(t, before-l.Size(), d.Bytes)
			require.Equal(t, int(c.starts), d.Segments)
			d, err = l.Retain(context.Background(), c.rules, time.UnixMilli(c.now))
			require.NoError(t, err)
			require.Zero(t, d, "an empty last segment stays")
			require.Equal(t, c.bases, g.bases())
		})
	}
}

// TestDeleteRecords: the range that Kafka allows, what it does to readers, and
// that it stays.
func TestDeleteRecords(t *testing.T) {
	ctx := context.Background()
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		var synced atomic.Int64
		g.st.Marks = NewMarks(new([8]uint64), func() error { synced.Add(1); return nil })
		l := g.open()
		for i := range 40 {
			_, err := l.Append(ctx, []Record{numbered(i)}, Synced)
			require.NoError(t, err)
		}
		_, err := l.Append(ctx, []Record{numbered(40), numbered(41), numbered(42)}, Synced) // a batch
		require.NoError(t, err)
		bases := g.bases()

		for _, bad := range []int64{-2, 44, 1 << 62} {
			_, err := l.DeleteRecords(ctx, bad)
			var e *OffsetError
			require.ErrorAs(t, err, &e)
			require.Equal(t, OffsetError{Topic: "t", Offset: bad, Start: 0, End: 43}, *e)
		}
		require.Zero(t, l.LogStartOffset())

		at := bases[2] + 1 // inside the third segment
		behind, below := l.NewCursor(at), l.NewCursor(1)
		defer behind.Close()
		defer below.Close()
		for _, c := range []*Cursor{behind, below} {
			_, err := c.Next(43)
			require.NoError(t, err)
		}
		d, err := l.DeleteRecords(ctx, at)
		require.NoError(t, err)
		require.NotZero(t, synced.Load(), "the start is durable")
		require.Equal(t, 2, d.Segments)
		require.Equal(t, bases[2:], g.bases())
		require.Equal(t, at, l.LogStartOffset())
		require.EqualValues(t, at, g.st.Marks.Start())
		_, err = below.Next(43)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		b, err := behind.Next(43)
		require.NoError(t, err)
		require.Equal(t, at+1, b.BaseOffset())
		for _, name := range g.names() {
			for _, gone := range bases[:2] {
				require.NotContains(t, name, fmt.Sprintf("%020d.", gone))
			}
		}
		e, ok := l.epochs.Latest()
		require.True(t, ok)
		require.Equal(t, at, e.StartOffset)

		for _, lower := range []int64{0, at} {
			d, err = l.DeleteRecords(ctx, lower)
			require.NoError(t, err)
			require.Zero(t, d)
			require.Equal(t, at, l.LogStartOffset())
		}
		// A batch across the start is whole.
		_, err = l.DeleteRecords(ctx, 41)
		require.NoError(t, err)
		c := l.NewCursor(41)
		b, err = c.Next(43)
		require.NoError(t, err)
		require.EqualValues(t, 40, b.BaseOffset())
		c.Close()
		offset, _, found, err := l.OffsetForTimestamp(0)
		require.NoError(t, err)
		require.True(t, found)
		require.EqualValues(t, 41, offset)

		// All of it: the last segment stays, as in Kafka.
		_, err = l.DeleteRecords(ctx, -1)
		require.NoError(t, err)
		require.EqualValues(t, 43, l.LogStartOffset())
		require.Len(t, g.bases(), 1)
		require.NoError(t, l.Close())
		require.Contains(t, g.files()[epochsName], "0 43\n")
		g.st = OpenState{Clean: true, RecoveryPoint: 43, StartOffset: -1, HighWatermark: -1, Marks: g.st.Marks, MarksValid: true}
		g.open()
		require.True(t, g.rep.Clean)
		require.EqualValues(t, 43, g.log.LogStartOffset())
		g.log.Abandon()
		g.st.Clean, g.st.StartOffset = false, -1
		g.open()
		require.EqualValues(t, 43, g.log.LogStartOffset(), "the marks say so")
		base, err := g.log.Append(ctx, []Record{numbered(43)}, Synced)
		require.NoError(t, err)
		require.EqualValues(t, 43, base)
		require.Len(t, readAllRecords(t, g.log, 43), 1)
	})
}

// TestDeleteUnderReaders: what readers have pinned keeps its bytes after its
// files are gone, and gives everything back when they let go.
func TestDeleteUnderReaders(t *testing.T) {
	ctx := context.Background()
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		dir := t.TempDir()
		fsys, err := vfs.OS(dir, vfs.Options{Create: true})
		require.NoError(t, err)
		require.NoError(t, fsys.Mkdir("t-0"))
		leak := &leakFS{FS: fsys}
		cfg := smallSegments
		cfg.Topic = "t"
		g := &rig{t: t, fs: leak, cfg: cfg, st: OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}}
		g.env = NewEnv(EnvOptions{FS: leak, MaxMaps: 1000, Writer: w})
		l := g.open()
		for i := range 60 {
			_, err := l.Append(ctx, []Record{numbered(i)}, Synced)
			require.NoError(t, err)
		}
		var cursors []*Cursor
		var batches [][]byte
		var kept []string
		for i := int64(0); i < 50; i += 7 {
			c := l.NewCursor(i)
			b, err := c.Next(60)
			require.NoError(t, err)
			cursors, batches, kept = append(cursors, c), append(batches, b), append(kept, string(b))
		}
		d, err := l.Retain(ctx, Retention{Delete: true, Age: time.Millisecond, Bytes: -1}, time.Now())
		require.NoError(t, err)
		require.Greater(t, d.Segments, 5)
		require.Equal(t, []int64{60}, g.bases())
		for i, b := range batches {
			require.Equal(t, kept[i], string(b))
		}
		if w == WriterMapped && runtime.GOOS == "linux" {
			require.NotZero(t, deletedMaps(t, dir), "readers hold maps of files that are gone")
		}
		for _, c := range cursors {
			_, err := c.Next(60)
			require.ErrorIs(t, err, ErrOffsetOutOfRange)
			c.Close()
		}
		_, err = l.Append(ctx, []Record{numbered(60)}, Synced)
		require.NoError(t, err)
		if runtime.GOOS == "linux" {
			require.Zero(t, deletedMaps(t, dir))
		}
		for _, name := range g.names() {
			require.False(t, strings.HasSuffix(name, ".log") && name != g.logFile(60), name)
		}
		require.NoError(t, l.Close())
		require.Zero(t, leak.files.Load())
		require.Zero(t, leak.maps.Load())
		g.env.Close()
		require.NoError(t, fsys.Close())
	}
}

// deletedMaps counts the maps and descriptors of this process that are of files
// below dir that are gone.
func deletedMaps(t *testing.T, dir string) (n int) {
	b, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, dir) && strings.Contains(line, "(deleted)") {
			n++
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) && strings.HasSuffix(to, " (deleted)") {
			n++
		}
	}
	return n
}

// TestDeletedMeanwhile: what a reader or a lookup is about to look at is deleted
// between two of its steps. That is no damage and no closed log.
func TestDeletedMeanwhile(t *testing.T) {
	ctx := context.Background()
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	l := g.open()
	c := l.NewCursor(bases[1])
	defer c.Close()
	for c.Offset() < bases[2] {
		_, err := c.Next(60)
		require.NoError(t, err)
	}
	_, err := l.DeleteRecords(ctx, bases[3]+1)
	require.NoError(t, err)
	err = c.step() // Next has looked at the start before
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	require.NotErrorIs(t, err, ErrCorrupt)

	looked := false
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpOpen && !looked && strings.HasSuffix(name, ".timeindex") {
			looked = true
			_, err := l.DeleteRecords(ctx, 59)
			require.NoError(t, err)
		}
		return nil
	})
	offset, _, found, err := l.OffsetForMaxTimestamp()
	require.NoError(t, err)
	require.True(t, found)
	require.EqualValues(t, 59, offset)
	require.True(t, looked)
}

// TestDeleteBesideOthers: appends, readers, deletions and a close at the same
// time. Readers see each record they get once, in order and whole, or are told
// that it is gone.
func TestDeleteBesideOthers(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for _, d := range []Durability{Synced, Written} {
			t.Run(fmt.Sprintf("mapped=%v/%v", w == WriterMapped, d), func(t *testing.T) {
				cfg := smallSegments
				cfg.Durability, cfg.FlushInterval = d, time.Millisecond
				testDeleteBesideOthers(t, newRig(t, w, false, cfg))
			})
		}
	}
}

func testDeleteBesideOthers(t *testing.T, g *rig) {
	ctx := context.Background()
	g.st.Marks = NewMarks(new([8]uint64), nil)
	l := g.open()
	total := 400
	if os.Getenv("LEAT_LONG") != "" {
		total = 20_000
	}
	var work sync.WaitGroup
	var appended atomic.Bool
	work.Go(func() {
		defer appended.Store(true)
		for i := range total {
			if _, err := l.Append(ctx, []Record{numbered(i)}, Written); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		work.Go(func() {
			c := l.NewCursor(0)
			defer c.Close()
			for {
				b, err := c.Next(l.HighWatermark())
				var gone *OffsetError
				switch {
				case err == nil:
					if !b.CRCValid() || b.BaseOffset() >= c.Offset() {
						t.Errorf("batch at %d", b.BaseOffset())
					}
				case errors.As(err, &gone):
					if gone.Offset >= gone.Start {
						t.Error(err)
						return
					}
					c.SeekTo(l.LogStartOffset())
				case errors.Is(err, ErrWait):
					if appended.Load() && c.Offset() >= l.LogEndOffset() {
						return
					}
					_ = l.Sync(ctx)
				default:
					t.Error(err)
					return
				}
				if _, _, _, err := l.OffsetForTimestamp(1000 + c.Offset()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Go(func() {
		for !appended.Load() {
			if _, _, _, err := l.OffsetForMaxTimestamp(); err != nil {
				t.Error(err)
			}
			if _, err := l.AbortedTxns(0, 1<<40, nil); err != nil {
				t.Error(err)
			}
		}
	})
	var deleted atomic.Int64
	for i := range 2 {
		work.Go(func() {
			last := false
			for n := 0; !last; n++ {
				last = appended.Load() // one more round when all is there
				var d Deleted
				var err error
				if i == 0 {
					if err := l.Sync(ctx); err != nil {
						t.Error(err)
					}
					d, err = l.DeleteRecords(ctx, max(l.HighWatermark()-int64(20+n%50), 0))
				} else {
					d, err = l.Retain(ctx, Retention{Delete: true, Age: -1, Bytes: 5000}, time.Now())
				}
				deleted.Add(int64(d.Segments))
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	require.NotZero(t, deleted.Load())
	// A close in the middle of a deletion: it is carried through.
	work.Go(func() { _, _ = l.Retain(ctx, Retention{Delete: true, Age: -1, Bytes: 1}, time.Now()) })
	require.NoError(t, l.Close())
	work.Wait()
	require.Zero(t, g.env.Maps().Count())
	start := l.LogStartOffset()
	for _, name := range g.names() {
		if base, suffix, ok := segment.ParseName(name); ok {
			require.GreaterOrEqual(t, base, g.bases()[0], "%s is left, or was made when its log was gone", suffix)
		}
	}
	g.st = OpenState{Clean: true, RecoveryPoint: int64(total), StartOffset: -1, HighWatermark: -1, Marks: g.st.Marks, MarksValid: true}
	g.open()
	require.True(t, g.rep.Clean)
	require.Equal(t, start, g.log.LogStartOffset())
	records := readAllRecords(t, g.log, start)
	require.NotEmpty(t, records)
	for i, r := range records {
		require.Equal(t, string(numbered(int(records[0].Offset)+i).Value), string(r.Value))
	}
}

// TestDeletionInterrupted: whatever files of a deletion a crash leaves, the next
// open finishes it, and takes a hole among them for what it is.
func TestDeletionInterrupted(t *testing.T) {
	for _, how := range []string{"marks", "checkpoint", "adopted, marks", "adopted, checkpoint"} {
		for _, clean := range []bool{false, true} {
			g := newRig(t, WriterPwrite, true, smallSegments)
			bases := g.fill(60)
			start := bases[4] + 1
			g.st = OpenState{Clean: clean, RecoveryPoint: 60, StartOffset: -1, HighWatermark: -1, Adopted: strings.HasPrefix(how, "adopted")}
			if strings.HasSuffix(how, "marks") {
				words := [8]uint64{markStart: littleEndian(uint64(start)), markDurable: littleEndian(60), markPublished: littleEndian(60)}
				g.st.Marks, g.st.MarksValid = NewMarks(&words, nil), true
			} else {
				g.st.StartOffset = start
				if g.st.Adopted { // others may have had it since
					g.st.Marks = NewMarks(new([8]uint64), nil)
				}
			}
			g.remove(g.logFile(bases[0])) // its indexes are left
			g.remove(g.logFile(bases[2]))
			l := g.open()
			at := fmt.Sprintf("%s, clean %v", how, clean)
			require.Nil(t, g.rep.Damage, at)
			require.Equal(t, start, l.LogStartOffset(), at)
			if how == "adopted, checkpoint" { // it is not ours to delete at open
				require.Contains(t, g.bases(), bases[1])
			} else {
				require.Equal(t, bases[4:], g.bases(), at)
				for _, name := range g.names() {
					for _, gone := range bases[:4] {
						require.False(t, strings.HasPrefix(name, fmt.Sprintf("%020d.", gone)) && !strings.HasSuffix(name, ".snapshot"), name)
					}
				}
			}
			require.Len(t, readAllRecords(t, l, start), int(60-start), at)
			_, err := l.Retain(context.Background(), Retention{}, time.Now())
			require.NoError(t, err)
			require.Equal(t, bases[4:], g.bases(), at)
		}
	}
}

// TestDeletionFinishedAfterKill: a process was killed before the name of the
// segment that stays was synced. A power cut while the next open removes the
// others must not leave the folder without any.
func TestDeletionFinishedAfterKill(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	g.fill(60)
	mem := g.fs.(*vfs.Mem)
	require.NoError(t, mem.SyncDir("."))
	f, err := mem.Create(g.folder() + "/" + g.logFile(60))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	words := [8]uint64{markStart: littleEndian(60), markDurable: littleEndian(60), markPublished: littleEndian(60)}
	open := func(env *Env) *Log {
		words := words
		l, rep, err := Open(env, "t-0", g.cfg, OpenState{RecoveryPoint: 60, StartOffset: -1, HighWatermark: -1,
			Marks: NewMarks(&words, nil), MarksValid: true})
		require.NoError(t, err)
		require.Nil(t, rep.Damage)
		require.EqualValues(t, 60, l.LogStartOffset())
		require.EqualValues(t, 60, l.LogEndOffset())
		return l
	}
	var trees []*vfs.Mem
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpRemove && strings.HasSuffix(name, ".log") && !before {
			d := mem.Dirty()
			for _, c := range vfs.Choices(d, 2, uint64(len(trees))) {
				trees = append(trees, d.Clone(c))
			}
		}
		return nil
	})
	g.log = open(g.env)
	mem.SetHook(nil)
	require.NotEmpty(t, trees)
	for _, tree := range trees {
		env := NewEnv(EnvOptions{FS: tree, MaxMaps: 100})
		open(env).Abandon()
		env.Close()
	}
}

// TestDeleteWhileSealing: a deletion waits for the segment that is being sealed,
// or its indexes would be made when its log is gone.
func TestDeleteWhileSealing(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	l := g.open()
	sealing, goOn := make(chan struct{}), make(chan struct{})
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpCreate && strings.HasSuffix(name, segment.FileName(0, segment.TimeSuffix)) {
			close(sealing)
			<-goOn
		}
		return nil
	})
	for i := range 40 {
		_, err := l.Append(context.Background(), []Record{numbered(i)}, Written)
		require.NoError(t, err)
	}
	<-sealing
	require.NoError(t, l.Sync(context.Background()))
	done := make(chan error, 1)
	go func() {
		_, err := l.DeleteRecords(context.Background(), 40)
		done <- err
	}()
	for l.OldestFile() == 0 && l.Segments()[0].BaseOffset == 0 {
		runtime.Gosched() // until the list is without it
	}
	for range 10_000 {
		runtime.Gosched()
	}
	select {
	case err := <-done:
		t.Errorf("the deletion did not wait: %v", err)
		done <- err
	default:
	}
	close(goOn)
	require.NoError(t, <-done)
	require.NoError(t, l.Close())
	for _, name := range g.names() {
		if base, _, ok := segment.ParseName(name); ok {
			require.GreaterOrEqual(t, base, g.bases()[0], name)
		}
	}
}

// TestStartNotBelieved: a start offset beyond what is durable deletes nothing at
// open.
func TestStartNotBelieved(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	g.st = OpenState{RecoveryPoint: bases[3], StartOffset: bases[5], HighWatermark: -1}
	g.open()
	require.Equal(t, bases, g.bases())
	require.Equal(t, bases[5], g.log.LogStartOffset())
}

// TestDeletionFails: a file that cannot be removed is reported and tried again;
// nothing of it comes back meanwhile.
func TestDeletionFails(t *testing.T) {
	ctx := context.Background()
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	g.st.Marks = NewMarks(new([8]uint64), nil)
	l := g.open()
	stuck := g.logFile(bases[1])
	cause := errors.New("removal refused")
	var on atomic.Bool
	on.Store(true)
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpRemove && on.Load() && strings.HasSuffix(name, stuck) {
			return cause
		}
		return nil
	})
	d, err := l.DeleteRecords(ctx, bases[4])
	require.ErrorIs(t, err, cause)
	require.Equal(t, 1, d.Segments)
	require.Equal(t, bases[4:], g.bases())
	require.Equal(t, bases[4], l.LogStartOffset())
	require.Equal(t, bases[0], l.OldestFile(), "the checkpoint is to keep the start")
	require.NoError(t, l.Failed())
	_, err = l.Retain(ctx, Retention{}, time.Now())
	require.ErrorIs(t, err, cause)
	on.Store(false)
	d, err = l.Retain(ctx, Retention{}, time.Now())
	require.NoError(t, err)
	require.Equal(t, 3, d.Segments)
	require.NotZero(t, d.Bytes)
	require.Equal(t, bases[4], l.OldestFile())
	for _, name := range g.names() {
		require.False(t, strings.HasSuffix(name, ".log") && !slices.Contains(bases[4:], baseOf(t, name)), name)
	}
	_, err = l.Append(ctx, []Record{numbered(60)}, Synced)
	require.NoError(t, err)
}

func baseOf(t *testing.T, name string) (base int64) {
	_, err := fmt.Sscanf(name, "%d.", &base)
	require.NoError(t, err)
	return base
}

// TestStartNotSaved: no file goes before the start offset is durable, by the
// marks or, without, by the checkpoint.
func TestStartNotSaved(t *testing.T) {
	ctx := context.Background()
	cause := errors.New("sync refused")
	for _, marked := range []bool{true, false} {
		g := newRig(t, WriterPwrite, true, smallSegments)
		bases := g.fill(60)
		broken := true
		save := func() error {
			if broken {
				return cause
			}
			return nil
		}
		if marked {
			g.st.Marks = NewMarks(new([8]uint64), save)
		} else {
			g.st.SaveStart = save
		}
		l := g.open()
		for range 2 { // also when the start is where it should be
			_, err := l.DeleteRecords(ctx, bases[3])
			require.ErrorIs(t, err, cause)
			require.Contains(t, g.names(), g.logFile(0))
		}
		broken = false
		d, err := l.DeleteRecords(ctx, bases[3])
		require.NoError(t, err)
		require.Equal(t, 3, d.Segments)
		require.NotContains(t, g.names(), g.logFile(0))
	}
}

// TestProducersOutliveTheirRecords: retention takes all records, and a producer's
// sequence is still known, after a crash as well (KAFKA_RULES 4.8).
func TestProducersOutliveTheirRecords(t *testing.T) {
	for _, d := range []Durability{Synced, Written} { // sealed at once, or later
		testProducersOutlive(t, d)
	}
}

func testProducersOutlive(t *testing.T, d Durability) {
	cfg := onePerSegment
	cfg.Durability, cfg.FlushInterval = d, time.Hour
	g := newRig(t, WriterPwrite, true, cfg)
	g.st.Marks = NewMarks(new([8]uint64), nil)
	l := g.open()
	l.stateMu.Lock()
	l.producers.Load([]ProducerSnapshot{{ProducerID: 7, ProducerEpoch: 1, LastSequence: 3, LastOffset: 0, Timestamp: time.Now().UnixMilli(), CoordinatorEpoch: -1, CurrentTxnFirstOffset: -1}}, 0, noOffset)
	l.stateMu.Unlock()
	g.times(1, 2, 3)
	_, err := l.Retain(context.Background(), Retention{Delete: true, Age: 0, Bytes: -1}, time.Now())
	require.NoError(t, err)
	require.EqualValues(t, 3, l.LogStartOffset())
	l.Abandon()
	g.st = OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1, Marks: g.st.Marks, MarksValid: true}
	for range 2 {
		l = g.open()
		require.EqualValues(t, 3, l.LogEndOffset())
		p, ok := l.producers.Producer(7)
		require.True(t, ok)
		require.EqualValues(t, 3, p.Batches[0].LastSequence)
		l.Abandon()
	}
}

// TestSumsStayBounded: the lines of deleted segments leave the file.
func TestSumsStayBounded(t *testing.T) {
	ctx := context.Background()
	g := newRig(t, WriterPwrite, true, onePerSegment)
	l := g.open()
	for range 300 {
		g.times(1, 2)
		_, err := l.Retain(ctx, Retention{Delete: true, Age: -1, Bytes: 2000}, time.Now())
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(l.segments.Load().segs), 3)
	lines := strings.Count(string(g.getFile(sumsName)), "\n")
	require.Less(t, lines, 2*staleLines)
	require.LessOrEqual(t, len(l.sums.Files), 20)
	g.reopen()
	require.True(t, g.rep.Clean)
	for name := range ParseSums(g.getFile(sumsName)).Files {
		require.Less(t, baseOf(t, name), int64(600))
	}
}

// TestUnstableBelowTheStart: an open transaction that lies below the start holds
// the last stable offset back no further than the start (KAFKA_RULES 4.6).
func TestUnstableBelowTheStart(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	l := g.open()
	for i := range 30 {
		_, err := l.Append(context.Background(), []Record{numbered(i)}, Synced)
		require.NoError(t, err)
	}
	l.stateMu.Lock()
	l.producers.Load([]ProducerSnapshot{{ProducerID: 7, LastOffset: -1, CurrentTxnFirstOffset: 5, CoordinatorEpoch: -1}}, 0, noOffset)
	l.setUnstable()
	l.stateMu.Unlock()
	require.EqualValues(t, 5, l.LastStableOffset())
	_, err := l.DeleteRecords(context.Background(), 20)
	require.NoError(t, err)
	require.EqualValues(t, 20, l.LastStableOffset())
}

// TestDeleteOldestFloor: a store that is full takes what the floor allows, and
// beyond the floor what is more than it may hold.
func TestDeleteOldestFloor(t *testing.T) {
	g := newRig(t, WriterPwrite, true, onePerSegment)
	l := g.open()
	g.times(1, 2, 3, 4, 5, 6)
	size := l.Segments()[0].Size
	for _, c := range []struct {
		f     Floor
		start int64 // after
	}{
		{Floor{true, 0, -1, "g"}, 0},
		{Floor{true, 0, 6 * size, "g"}, 0},
		{Floor{true, 0, 6*size - 1, "g"}, 1},
		{Floor{true, 1, -1, "g"}, 1},
		{Floor{true, 2, -1, "g"}, 2},
		{Floor{true, 2, -1, "g"}, 2},
		{Floor{true, 2, 0, "g"}, 3},
		{Floor{}, 4},
		{Floor{true, 100, -1, "g"}, 5},
		{Floor{}, 5}, // the active one stays
	} {
		was := l.LogStartOffset()
		_, ok, err := l.OldestSealed(c.f)
		require.NoError(t, err)
		require.Equal(t, c.start > was, ok, "%+v", c.f)
		d, err := l.DeleteOldest(context.Background(), c.f)
		require.NoError(t, err)
		require.Equal(t, c.start, l.LogStartOffset(), "%+v", c.f)
		require.EqualValues(t, c.start-was, d.Segments)
	}
}

// TestDeleteEvent: what a deletion has removed is counted and told when others may go
// on, and what it could not remove as well; one of nothing is not.
func TestDeleteEvent(t *testing.T) {
	ctx := context.Background()
	var s seen
	g := newRig(t, WriterPwrite, true, onePerSegment)
	g.observe(s.observer())
	l := g.open()
	g.times(1, 2, 3, 4, 5, 6)
	size := l.Segments()[0].Size
	_, err := l.DeleteRecords(ctx, 2)
	require.NoError(t, err)
	_, err = l.DeleteRecords(ctx, 2)
	require.NoError(t, err)
	_, err = l.DeleteRecords(ctx, 100)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	_, err = l.Retain(ctx, Retention{}, time.Now())
	require.NoError(t, err)
	require.Len(t, s.delete, 1)
	e := s.delete[0]
	e.Duration = 0
	require.Equal(t, Event{Topic: "t", Offset: 0, Segments: 2, Records: 2, Bytes: 2 * size}, e)

	cause := errors.New("removal refused")
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpRemove && strings.HasSuffix(name, g.logFile(3)) {
			return cause
		}
		return nil
	})
	_, err = l.Retain(ctx, Retention{Delete: true, Age: -1, Bytes: 1}, time.Now())
	require.ErrorIs(t, err, cause)
	require.Len(t, s.delete, 2)
	e = s.delete[1]
	require.ErrorIs(t, e.Err, cause)
	require.Equal(t, [3]int64{2, 1, size}, [3]int64{e.Offset, e.Records, e.Bytes})
	g.fs.(*vfs.Mem).SetHook(nil)
	_, err = l.DeleteOldest(ctx, Floor{})
	require.NoError(t, err)
	require.Len(t, s.delete, 2, "there is one segment left")
	_, err = l.Retain(ctx, Retention{}, time.Now())
	require.NoError(t, err)
	require.Len(t, s.delete, 3)
	require.Equal(t, [3]int64{3, 2, 2 * size}, [3]int64{s.delete[2].Offset, s.delete[2].Records, s.delete[2].Bytes})
	n := g.env.Totals()
	require.EqualValues(t, 5, n.SegmentsDeleted)
	require.Equal(t, Counts{Records: 5, Bytes: 5 * size}, n.Deleted)
}
