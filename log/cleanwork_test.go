package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// newest is the value of each key that a log holds, and where it lies.
func newest(t testing.TB, l *Log) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, r := range readAllRecords(t, l, l.LogStartOffset()) {
		if r.Key != nil {
			m[string(r.Key)] = fmt.Sprintf("%s at %d", r.Value, r.Offset)
		}
	}
	return m
}

// fillKeys appends records of so many keys in turn.
func fillKeys(t testing.TB, l *Log, records, keys, perBatch int) {
	t.Helper()
	for i := 0; i < records; {
		var rs []Record
		for ; len(rs) < perBatch && i < records; i++ {
			rs = append(rs, Record{Key: fmt.Appendf(nil, "key %d", i*7919%keys), Value: fmt.Appendf(nil, "value %d", i)})
		}
		_, err := l.Append(context.Background(), rs, Written)
		require.NoError(t, err)
	}
	require.NoError(t, l.Sync(context.Background()))
}

// TestCleanRounds: ten times more keys than the map holds take several rounds, of
// which each gets on, also when one segment or one batch has more. The memory is
// what was allowed, and in the end each key has one record.
func TestCleanRounds(t *testing.T) {
	const held = 90 // of 100 slots
	for _, tc := range []struct {
		name         string
		segmentBytes int64
		perBatch     int
		codec        compress.Codec
	}{
		{"many segments", 2000, 7, 0},
		{"one segment", 1 << 20, 7, 0},
		{"one batch", 1 << 20, 2000, 0},
		{"one compressed batch", 1 << 20, 2000, compress.Zstd},
		{"batches as large as the map", 1 << 20, held, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, WriterMapped, true, Config{SegmentBytes: tc.segmentBytes, IndexInterval: 100, Compression: tc.codec})
			l := g.open()
			fillKeys(t, l, 2000, 10*held, tc.perBatch)
			require.NoError(t, l.RollLarge(1))
			want := newest(t, l)
			require.Len(t, want, 10*held)
			o := CleanOptions{Now: time.Now(), From: 0, MaxLag: -1, TombstoneRetain: time.Hour, MapBytes: 24 * 100}
			rounds := 0
			for ; ; rounds++ {
				r, err := l.Compact(context.Background(), o)
				require.NoError(t, err)
				require.Equal(t, o.From, r.From)
				require.LessOrEqual(t, r.MapBytes, o.MapBytes)
				require.LessOrEqual(t, r.Keys, int64(held))
				require.Equal(t, want, newest(t, l))
				if r.To == l.LogEndOffset() {
					break
				}
				require.GreaterOrEqual(t, r.To-r.From, int64(min(tc.perBatch, held)), "a round gets on")
				o.From = r.To
			}
			require.GreaterOrEqual(t, rounds, 9)
			require.Len(t, readAllRecords(t, l, 0), len(want))
			g.reopen()
			require.Equal(t, want, newest(t, g.log))
		})
	}
}

// TestCleanPartOfALog: what lies behind the last key in the map is left alone,
// keyless records and aborted ones of the same segment too.
func TestCleanPartOfALog(t *testing.T) {
	g := newRules(t)
	script(t, g.log, "a=1 a=2 b=1", "=1 a=3 c=1 d", "=2 c=2 d=2", "--", "x=1")
	o := ruleOptions()
	o.MapBytes = 24 * 3 // two keys
	r, err := g.log.Compact(context.Background(), o)
	require.NoError(t, err)
	require.EqualValues(t, 3, r.To) // the second batch does not fit
	// The third key made the round end, but a's place was known by then.
	require.Equal(t, []string{"2-2 b=1"}, trimBases(written(t, g.log)[:1]))
	require.Equal(t, []string{"0-2 b=1", "3-6 h=1100 =1 a=3 c=1 d", "7-9 =2 c=2 d=2", "10-10 x=1"}, written(t, g.log))
}

// trimBases makes "0-2 b=1" "2-2 b=1": only the last offset matters.
func trimBases(lines []string) (out []string) {
	for _, l := range lines {
		first, rest, _ := strings.Cut(l, " ")
		_, last, _ := strings.Cut(first, "-")
		out = append(out, last+"-"+last+" "+rest)
	}
	return out
}

// leftovers are files of a cleaning that were not removed.
func leftovers(g *rig) (list []string) {
	for name := range g.files() {
		if strings.HasSuffix(name, cleanedSuffix) || strings.HasSuffix(name, swapSuffix) {
			list = append(list, name)
		}
	}
	return list
}

// TestCleanFails: whichever call of the system fails, and in whichever way, the log
// is as it was or cleaned, no file is left, and the next cleaning does it.
func TestCleanFails(t *testing.T) {
	for maps, failure := range map[int]error{1000: vfs.ErrNoSpace, 0: errors.New("the disk is gone")} {
		for n := 0; ; n++ {
			g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 3000, IndexInterval: 100})
			g.env.Close()
			g.env = NewEnv(EnvOptions{FS: g.fs, Writer: WriterPwrite, MaxMaps: maps}) // without maps reads are calls
			l := g.open()
			fillKeys(t, l, 80, 20, 2)
			require.NoError(t, l.RollLarge(1))
			list := l.segments.Load()
			require.NoError(t, l.awaitSealed(context.Background(), list.segs[:len(list.segs)-1]))
			before := newest(t, l)
			all := len(readAllRecords(t, l, 0))
			var mu sync.Mutex
			calls, failed := 0, vfs.Op(0)
			mem := g.fs.(*vfs.Mem)
			mem.SetHook(func(op vfs.Op, name string, begin bool) error {
				if !begin || op == vfs.OpPopulate || op == vfs.OpUnmap || op == vfs.OpClose {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				if calls++; calls == n+1 {
					failed = op
					return failure
				}
				return nil
			})
			o := CleanOptions{Now: time.Now(), From: 0, MaxLag: -1, MapBytes: 1 << 16}
			r, err := l.Compact(context.Background(), o)
			mem.SetHook(nil)
			if calls <= n {
				require.NoError(t, err)
				require.Greater(t, n, 40)
				break
			}
			where := fmt.Sprintf("call %d: %v", n, failed)
			require.Equal(t, before, newest(t, l), where)
			if err != nil && failed != vfs.OpRemove && l.Failed() == nil {
				require.Empty(t, leftovers(g), where)
			}
			if errors.Is(failure, vfs.ErrNoSpace) && err != nil && (failed == vfs.OpWriteAt || failed == vfs.OpAllocate) {
				require.ErrorIs(t, err, ErrNoSpace, where)
			}
			if l.Failed() != nil { // of a sync of the folder that leaves nothing to go by
				require.Equal(t, vfs.OpSyncDir, failed, where)
				l.Abandon()
				g.st = OpenState{RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
				l = g.open()
				require.Equal(t, before, newest(t, l), where)
			}
			if err != nil {
				r, err = l.Compact(context.Background(), o)
				require.NoError(t, err, where)
			}
			require.Equal(t, l.segments.Load().active().Base(), r.To, where)
			require.Equal(t, before, newest(t, l), where)
			require.Less(t, len(readAllRecords(t, l, 0)), all, where)
			if failed != vfs.OpRename { // an index that did not get its place is made anew, and goes at the next open
				require.Empty(t, leftovers(g), where)
			}
			g.log.Abandon()
		}
	}
}

// swallow makes two batches one, of their size together, with the records and the
// offsets of one of them.
func swallow(t testing.TB, two []byte, second bool) []byte {
	one, err := codec.Next(two)
	require.NoError(t, err)
	if second {
		one = codec.Batch(two[len(one):])
	}
	rs, err := codec.DecodeAll(one, one.Payload(), nil)
	require.NoError(t, err)
	value := rs[len(rs)-1].Value
	for n := 1; ; n++ {
		rs[len(rs)-1].Value = append(slices.Clone(value), make([]byte, n)...)
		b, err := codec.AppendBatch(nil, one.Header(), rs, nil)
		require.NoError(t, err)
		if len(b) == len(two) {
			return b
		}
		require.Less(t, len(b), len(two))
	}
}

// TestCleanDamage: a damaged batch ends the cleaning with its place, in the first
// pass and in the second, and what is damaged is left alone.
func TestCleanDamage(t *testing.T) {
	places := func(b []byte) (at []int) {
		for pos := 0; pos < len(b); {
			at = append(at, pos)
			batch, _ := codec.Next(b[pos:])
			pos += len(batch)
		}
		return at
	}
	for _, tc := range []struct {
		name   string
		change func(t testing.TB, b []byte) []byte
	}{
		{"a bit", func(t testing.TB, b []byte) []byte { b[len(b)-3] ^= 1; return b }},
		{"an offset", func(t testing.TB, b []byte) []byte { codec.SetBaseOffset(b, 0); return b }},
		{"records that are none", func(t testing.TB, b []byte) []byte {
			first, _ := codec.Next(b)
			first[codec.HeaderSize] = 2
			codec.Seal(first)
			return b
		}},
		{"a batch is missing", func(t testing.TB, b []byte) []byte {
			at := places(b)
			return append(swallow(t, b[:at[2]], true), b[at[2]:]...)
		}},
		{"the last batch is missing", func(t testing.TB, b []byte) []byte {
			at := places(b)
			from := at[len(at)-2]
			return append(slices.Clone(b[:from]), swallow(t, b[from:], false)...)
		}},
		{"a batch too long", func(t testing.TB, b []byte) []byte {
			at := places(b)
			last := b[at[len(at)-1]:]
			last[26]++ // the last offset delta
			codec.Seal(last)
			return b
		}},
	} {
		for _, w := range []Writer{WriterMapped, WriterPwrite} {
			for _, clean := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/mapped=%v/clean=%v", tc.name, w == WriterMapped, clean), func(t *testing.T) {
					g := newRig(t, w, true, Config{SegmentBytes: 700, IndexInterval: 100})
					l := g.open()
					fillKeys(t, l, 60, 5, 2)
					bases := l.segments.Load().bases
					require.Greater(t, len(bases), 4)
					g.reopen()
					g.damage(bases[1], func(b []byte) []byte { return tc.change(t, b) })
					files := g.files()
					o := CleanOptions{Now: time.Now(), From: 0, MaxLag: -1, MapBytes: 1 << 16}
					if clean {
						o.From = bases[2]
					}
					_, err := g.log.Compact(context.Background(), o)
					var damage *segment.CorruptError
					require.ErrorAs(t, err, &damage)
					require.Contains(t, damage.Path, segment.FileName(bases[1], segment.LogSuffix))
					after := g.files()
					if clean { // the segment before was done
						require.Equal(t, files[segment.FileName(bases[1], segment.LogSuffix)], after[segment.FileName(bases[1], segment.LogSuffix)])
						require.Len(t, g.log.Segments(), len(bases))
					} else {
						require.True(t, maps.Equal(files, after))
					}
					require.NoError(t, g.log.Failed())
					require.Empty(t, leftovers(g))
				})
			}
		}
	}
}

// TestCleanCancelled: whenever ctx ends, the log is as it was or cleaned, and
// nothing is left.
func TestCleanCancelled(t *testing.T) {
	for n := 0; ; n++ {
		g := newRig(t, WriterMapped, true, Config{SegmentBytes: 2000, IndexInterval: 100})
		l := g.open()
		fillKeys(t, l, 150, 20, 3)
		before := newest(t, l)
		ctx, cancel := context.WithCancel(context.Background())
		reports := 0
		var last CleanProgress
		o := CleanOptions{Now: time.Now(), MaxLag: -1, MapBytes: 1 << 16, Progress: func(p CleanProgress) {
			require.GreaterOrEqual(t, p.Done, last.Done)
			require.LessOrEqual(t, p.Done, p.Total)
			last = p
			if reports++; reports == n+1 {
				cancel()
			}
		}}
		r, err := l.Compact(ctx, o)
		require.Equal(t, before, newest(t, l))
		require.Empty(t, leftovers(g))
		cancel()
		if reports <= n {
			require.NoError(t, err)
			require.Greater(t, n, 5)
			require.Equal(t, last.Total, last.Done)
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, n+1, reports, "nothing more is done")
		require.Equal(t, r.Segments == 0, r.RecordsRead == 0, "nor does what was read of it")
		require.Equal(t, r.From, r.To, "what was not finished counts as not begun")
		g.reopen()
		require.Equal(t, before, newest(t, g.log))
		g.log.Abandon()
	}
	g := newRig(t, WriterMapped, true, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := g.open().Compact(ctx, CleanOptions{MaxLag: -1})
	require.ErrorIs(t, err, context.Canceled)
}

// TestCleanPace: what is read and written in both passes takes the time that the
// rate says. Close does not wait for it, and one cleaning waits for another.
func TestCleanPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fill := func() *rig {
			g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 200_000})
			fillKeys(t, g.open(), 2000, 1<<20, 50)
			require.NoError(t, g.log.RollLarge(1))
			return g
		}
		g := fill()
		o := CleanOptions{Now: time.Now(), MaxLag: -1, MapBytes: 1 << 20, Rate: 1000}
		begun := time.Now()
		r, err := g.log.Compact(context.Background(), o)
		require.NoError(t, err)
		// Two readings and one writing.
		want := float64(2*r.BytesBefore+r.BytesAfter) / float64(o.Rate)
		require.InDelta(t, want, time.Since(begun).Seconds(), want/50)
		require.Equal(t, time.Since(begun), r.Duration)

		g = fill()
		ended := make(chan error)
		begun = time.Now()
		go func() {
			_, err := g.log.Compact(context.Background(), o)
			ended <- err
		}()
		synctest.Wait()
		second := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := g.log.Compact(ctx, o)
			second <- err
		}()
		require.ErrorIs(t, <-second, context.DeadlineExceeded)
		require.NoError(t, g.log.Close())
		require.ErrorIs(t, <-ended, ErrClosed)
		require.Equal(t, time.Second, time.Since(begun))
		require.Empty(t, leftovers(g))
		_, err = g.log.Compact(context.Background(), o)
		require.ErrorIs(t, err, ErrClosed)
		_, err = g.log.Dirty(o)
		require.ErrorIs(t, err, ErrClosed)
	})
}

// TestCleanTruncated: a truncation that takes back a record which an older one was
// to go for ends the cleaning, wherever it comes; one behind the cleaned part does
// not.
func TestCleanTruncated(t *testing.T) {
	for _, harmless := range []bool{false, true} {
		for n := 0; ; n++ {
			g := newRules(t, func(c *Config) { c.SegmentBytes = 100 })
			l := g.log
			script(t, l, "a=1", "b=1", "c=1", "--", "a=2", "--", "x=1", "y=1")
			end := l.LogEndOffset() - 1
			if !harmless {
				end = 3 // takes a=2 with it
			}
			reports, done := 0, false
			o := ruleOptions()
			o.Progress = func(CleanProgress) {
				if reports++; reports == n+1 {
					release, err := l.HoldDeletions(context.Background())
					require.NoError(t, err)
					require.NoError(t, l.TruncateTo(end, func() error { return nil }))
					release()
					done = true
				}
			}
			_, err := l.Compact(context.Background(), o)
			if !done {
				require.NoError(t, err)
				require.Greater(t, n, 5)
				break
			}
			require.Empty(t, leftovers(g))
			if harmless {
				require.NoError(t, err)
				require.Equal(t, "2 at 3", newest(t, l)["a"])
				continue
			}
			require.True(t, err == nil || errors.Is(err, errSuperseded), err)
			if n < 6 { // five readings for keys, and one of the first segment, which is not replaced yet
				require.ErrorIs(t, err, errSuperseded)
				require.Equal(t, "1 at 0", newest(t, l)["a"])
			}
		}
	}
}

// TestCleanRetention: what retention takes away meanwhile is no reason to end.
func TestCleanRetention(t *testing.T) {
	for n := 0; ; n++ {
		g := newRules(t, func(c *Config) { c.SegmentBytes = 230 })
		l := g.log
		script(t, l, "a=1", "p1 txn b=1", "--", "p1 abort", "c=1", "--", "a=2", "d=1", "--", "c=2", "d=2", "--", "x=1")
		reports, done := 0, false
		o := ruleOptions()
		o.Progress = func(CleanProgress) {
			if reports++; reports == n+1 {
				_, err := l.DeleteRecords(context.Background(), 4)
				require.NoError(t, err)
				done = true
			}
		}
		r, err := l.Compact(context.Background(), o)
		require.Empty(t, leftovers(g))
		if !done {
			require.NoError(t, err)
			require.Greater(t, n, 4)
			return
		}
		require.NoError(t, err)
		require.EqualValues(t, 8, r.To)
		require.Equal(t, map[string]string{"a": "2 at 4", "c": "2 at 6", "d": "2 at 7", "x": "1 at 8"}, newest(t, l))
		require.Len(t, readAllRecords(t, l, 4), 4)
		g.reopen()
		require.Len(t, readAllRecords(t, g.log, 4), 4)
	}
}

// TestCleanUnsealed: segments that wait for a timed sync are synced first, so that
// what is put in their place is not more durable than what follows it says.
func TestCleanUnsealed(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{SegmentBytes: 2000, IndexInterval: 100, Durability: Written, FlushInterval: time.Hour})
	l := g.open()
	for i := range 40 {
		_, err := l.Append(context.Background(), []Record{{Key: fmt.Appendf(nil, "k%d", i%3), Value: make([]byte, 100)}}, Written)
		require.NoError(t, err)
	}
	require.Zero(t, l.DurableEnd())
	r, err := l.Compact(context.Background(), CleanOptions{Now: time.Now(), MaxLag: -1, MapBytes: 1 << 16})
	require.NoError(t, err)
	require.Positive(t, r.Segments)
	require.Equal(t, r.To, l.segments.Load().active().Base())
	require.GreaterOrEqual(t, l.DurableEnd(), r.To)
}

// TestCleanInheritsTime: retention of records without a time goes by the file's,
// which is that of the last segment that was cleaned into it.
func TestCleanInheritsTime(t *testing.T) {
	g := newRules(t)
	script(t, g.log, "t=-1 a=1", "--", "t=-1 b=1", "--", "x=1")
	list := g.log.segments.Load()
	require.NoError(t, g.log.awaitSealed(context.Background(), list.segs[:2]))
	for i, name := range []string{segment.FileName(0, segment.LogSuffix), segment.FileName(1, segment.LogSuffix)} {
		require.NoError(t, g.fs.SetModTime(g.folder()+"/"+name, time.UnixMilli(int64(500+100*i))))
	}
	r, err := g.log.Compact(context.Background(), ruleOptions())
	require.NoError(t, err)
	require.Equal(t, 1, r.Into)
	info, err := g.fs.Stat(g.folder() + "/" + segment.FileName(0, segment.LogSuffix))
	require.NoError(t, err)
	require.EqualValues(t, 600, info.ModTime.UnixMilli())
}

// TestCleanNothing: a log with one segment, and one that is clean, are left alone.
func TestCleanNothing(t *testing.T) {
	g := newRules(t)
	files := g.files()
	r, err := g.log.Compact(context.Background(), ruleOptions())
	require.NoError(t, err)
	require.Equal(t, Cleaned{Duration: r.Duration}, r)
	script(t, g.log, "a=1", "a=2")
	r, err = g.log.Compact(context.Background(), ruleOptions())
	require.NoError(t, err)
	require.Equal(t, Cleaned{Duration: r.Duration}, r)
	require.Equal(t, slices.Sorted(maps.Keys(files))[0], slices.Sorted(maps.Keys(g.files()))[0])
}

// bigOut is a cleaned segment that is nearly full.
type bigOut struct{ n int64 }

func (o *bigOut) append([]byte, []segment.Placed) error { return nil }
func (o *bigOut) abort(index.AbortedTxn) error          { return nil }
func (o *bigOut) size() int64                           { return o.n }

// TestCleanGrows: a delete horizon makes timestamps longer. Where a batch, or what
// is left of its segment, has no room for that, it stays as it is.
func TestCleanGrows(t *testing.T) {
	g := newRules(t)
	raw := scriptBatch(t, g.log, "a=1 b c d=1")
	c := &cleaner{l: g.log, now: 1 << 40, o: ruleOptions(), latest: -1, upper: 100, txns: newCleanedTxns(), keys: newKeyMap(100, 10)}
	size := func() int64 {
		_, err := c.copyBatch(raw)
		require.NoError(t, err)
		n := len(c.raw)
		c.raw, c.run = nil, nil
		return int64(n)
	}
	out := &bigOut{}
	c.out, c.left = out, int64(len(raw))
	grown := size()
	require.Greater(t, grown, int64(len(raw)))
	out.n, c.left = maxCleanedLog-grown, int64(len(raw))
	require.Equal(t, grown, size())
	out.n, c.left = maxCleanedLog-grown+1, int64(len(raw))
	require.EqualValues(t, len(raw), size())
	// With bytes still to come less is left; and a batch of which records go keeps
	// its own times, with which it cannot grow.
	out.n, c.left = maxCleanedLog-grown-10, int64(len(raw))+11
	require.EqualValues(t, len(raw), size())
	c.latest, c.hash = 0, newKeyHash()
	require.True(t, c.keys.put(c.hash.sum([]byte("a")), 7))
	out.n, c.left = maxCleanedLog-int64(len(raw)), int64(len(raw))
	_, err := c.copyBatch(raw)
	require.NoError(t, err)
	b := newRefBatch(t, g.env, c.raw)
	require.False(t, b.has(codec.DeleteHorizonBit))
	require.Len(t, b.records, 3)
	require.EqualValues(t, 101, b.records[0].Timestamp)
}

// TestCleanUnpacked: nor does a horizon make a compressed batch larger than readers
// take.
func TestCleanUnpacked(t *testing.T) {
	if os.Getenv("LEAT_LONG") == "" {
		t.Skip("LEAT_LONG is not set")
	}
	g := newRules(t)
	for less, dated := range map[int]bool{40: false, 60: true} {
		h := newHeader()
		h.BaseOffset, h.LastOffsetDelta, h.Attributes, h.BaseTimestamp, h.MaxTimestamp = 0, 3, uint16(compress.Zstd), 5, 5
		rs := []codec.Record{{Offset: 0, Timestamp: 5, Key: []byte("a"), Value: make([]byte, MaxUnpacked-less)}}
		for i := int64(1); i < 4; i++ {
			rs = append(rs, codec.Record{Offset: i, Timestamp: 5, Key: []byte{byte(i)}})
		}
		raw, err := codec.AppendBatch(nil, h, rs, g.env.coders)
		require.NoError(t, err)
		c := &cleaner{l: g.log, now: 1 << 40, o: ruleOptions(), latest: -1, upper: 100, txns: newCleanedTxns(), keys: newKeyMap(100, 10), out: &bigOut{}}
		_, err = c.copyBatch(raw)
		require.NoError(t, err)
		require.Equal(t, dated, codec.Batch(c.raw).HasDeleteHorizon())
		_, err = codec.Unpack(c.raw, nil, g.env.coders, MaxUnpacked)
		require.NoError(t, err)
	}
}

// TestCleanUnknownCodec: a batch that cannot be read ends the cleaning, with its
// place; the same goes for one that unpacks to too much.
func TestCleanUnknownCodec(t *testing.T) {
	g := newRules(t)
	script(t, g.log, "a=1", "a=2", "--", "x=1")
	g.reopen()
	g.damage(0, func(b []byte) []byte {
		b[22] |= 7
		first, _ := codec.Next(b)
		codec.Seal(first)
		return b
	})
	_, err := g.log.Compact(context.Background(), ruleOptions())
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, segment.FileName(0, segment.LogSuffix)+" at position 0")
	require.NoError(t, g.log.Failed())
	require.Empty(t, leftovers(g))
}

// TestCleanCodecs: records with everything in them, larger than what is read at
// once, in each codec.
func TestCleanCodecs(t *testing.T) {
	for _, k := range []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd} {
		for _, logAppend := range []bool{false, true} {
			for _, w := range []Writer{WriterMapped, WriterPwrite} {
				if k != compress.None && logAppend != (w == WriterPwrite) {
					continue
				}
				t.Run(fmt.Sprintf("%v/append=%v/mapped=%v", k, logAppend, w == WriterMapped), func(t *testing.T) {
					g := newRig(t, w, true, Config{SegmentBytes: 8 << 20, MaxBatchBytes: 4 << 20, Compression: k, LogAppendTime: logAppend})
					if w == WriterPwrite {
						g.env.Close()
						g.env = NewEnv(EnvOptions{FS: g.fs, Writer: w})
					}
					l := g.open()
					large := noise(cleanChunk + 100_000)
					for i := range 4 {
						_, err := l.Append(context.Background(), []Record{
							{Key: []byte("large"), Value: large[i:]},
							{Key: noise(5000), Value: []byte("long key")},
							{Key: fmt.Appendf(nil, "k%d", i%3), Value: []byte{}, Headers: []RecordHeader{{Key: "h", Value: nil}, {Key: "h", Value: noise(300)}}},
							{Key: fmt.Appendf(nil, "only %d", i)},
						}, Written)
						require.NoError(t, err)
					}
					require.NoError(t, l.RollLarge(1))
					require.NoError(t, l.Sync(context.Background()))
					byOffset := map[int64]codec.Record{}
					for _, r := range readAllRecords(t, l, 0) {
						byOffset[r.Offset] = r
					}
					_, err := l.Compact(context.Background(), CleanOptions{Now: time.Now(), MaxLag: -1, TombstoneRetain: time.Hour, MapBytes: 1 << 16})
					require.NoError(t, err)
					var got []int64
					for _, r := range readAllRecords(t, l, 0) {
						got = append(got, r.Offset)
						want := byOffset[r.Offset]
						require.True(t, want.Equal(&r), "offset %d", r.Offset)
					}
					require.Equal(t, []int64{3, 6, 7, 10, 11, 12, 13, 14, 15}, got)
				})
			}
		}
	}
}
