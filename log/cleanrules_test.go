package log

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/segment"
)

// The rules of KAFKA_RULES 4.7, one by one. A batch is a line of words:
//
//	k=v  a record        k  a tombstone      =v  a record without a key
//	.    an offset without a record
//	p1   producer 1      e2 its epoch is 2   txn transactional
//	commit, abort        markers             h=5 the delete horizon
//	zstd, append, t=7    codec, LogAppendTime, the first timestamp (then one more each)
//
// "--" begins a segment. What a log holds is written the same way, behind the
// offsets of each batch.

const (
	ruleNow    = 1000
	ruleRetain = 100 * time.Millisecond
)

// script appends the batches of lines to a log.
func script(t testing.TB, l *Log, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if line == "--" {
			require.NoError(t, l.RollLarge(1))
			continue
		}
		_, err := l.AppendRaw(scriptBatch(t, l, line), RawOptions{Follower: true, Durability: Written})
		require.NoError(t, err, line)
	}
	require.NoError(t, l.Sync(context.Background()))
}

func scriptBatch(t testing.TB, l *Log, line string) []byte {
	h := newHeader()
	h.BaseOffset = l.LogEndOffset()
	h.BaseTimestamp, h.ProducerID, h.LastOffsetDelta = 100, -1, -1
	marker, horizon := "", int64(-1)
	var rs []codec.Record
	for word := range strings.FieldsSeq(line) {
		key, value, found := strings.Cut(word, "=")
		n, err := strconv.ParseInt(strings.TrimLeft(word, "pe"), 10, 64)
		switch {
		case word == "txn":
			h.Attributes |= codec.TransactionalBit
		case word == "append":
			h.Attributes |= codec.TimestampTypeBit
		case word == "commit", word == "abort":
			marker = word
		case word == "zstd":
			h.Attributes |= uint16(compress.Zstd)
		case key == "h" && found:
			horizon, err = strconv.ParseInt(value, 10, 64)
			require.NoError(t, err)
		case key == "t" && found:
			h.BaseTimestamp, err = strconv.ParseInt(value, 10, 64)
			require.NoError(t, err)
		case word[0] == 'p' && err == nil:
			h.ProducerID, h.ProducerEpoch, h.BaseSequence = n, 0, 0
		case word[0] == 'e' && err == nil:
			h.ProducerEpoch = int16(n)
		case word == ".":
			h.LastOffsetDelta++
		default:
			h.LastOffsetDelta++
			r := codec.Record{Offset: h.BaseOffset + int64(h.LastOffsetDelta), Timestamp: h.BaseTimestamp + int64(len(rs))}
			if key != "" {
				r.Key = []byte(strings.Trim(key, `"`))
			}
			if found {
				r.Value = []byte(value)
			}
			rs = append(rs, r)
			h.MaxTimestamp = r.Timestamp
		}
	}
	if marker != "" {
		return codec.AppendMarker(nil, h, marker == "commit", 3)
	}
	if horizon >= 0 {
		h.BaseTimestamp = horizon
		h.Attributes |= codec.DeleteHorizonBit
	}
	b, err := codec.AppendBatch(nil, h, rs, l.env.coders)
	require.NoError(t, err)
	return b
}

// written says what a log holds.
func written(t testing.TB, l *Log) (lines []string) {
	t.Helper()
	for _, b := range refLog(t, l) {
		w := []string{fmt.Sprintf("%d-%d", b.BaseOffset, b.lastOffset())}
		if b.ProducerID >= 0 {
			w = append(w, fmt.Sprintf("p%d", b.ProducerID))
		}
		if b.has(codec.TransactionalBit) && !b.has(codec.ControlBit) {
			w = append(w, "txn")
		}
		if b.has(codec.DeleteHorizonBit) {
			w = append(w, fmt.Sprintf("h=%d", b.BaseTimestamp))
		}
		if b.has(codec.ControlBit) {
			w = append(w, "marker")
		}
		for _, r := range b.records {
			switch {
			case b.has(codec.ControlBit):
				w = append(w, []string{"abort", "commit"}[r.Key[3]])
			case r.Value == nil:
				w = append(w, string(r.Key))
			default:
				w = append(w, string(r.Key)+"="+string(r.Value))
			}
		}
		lines = append(lines, strings.Join(w, " "))
	}
	return lines
}

func newRules(t testing.TB, change ...func(*Config)) *rig {
	c := Config{SegmentBytes: 1 << 20, IndexInterval: 100, ProducerExpiration: -1, ExternalEpochs: true, TimestampAfter: -1}
	for _, f := range change {
		f(&c)
	}
	g := newRig(t, WriterPwrite, true, c)
	g.open()
	return g
}

func ruleOptions() CleanOptions {
	return CleanOptions{Now: time.UnixMilli(ruleNow), From: 0, MaxLag: -1, TombstoneRetain: ruleRetain, MapBytes: 1 << 16}
}

func TestCleanRules(t *testing.T) {
	for _, tc := range []struct {
		name  string
		log   []string // all is cleaned but the last segment
		clean []string // what one cleaning leaves of it
	}{
		{"the newest record of each key stays",
			[]string{"a=1 b=1 c=1", "a=2", "--", "b=2 a=3", "--", "x=1"},
			[]string{"0-2 c=1", "4-5 b=2 a=3", "6-6 x=1"}},
		{"whatever the last segment holds is not looked at",
			[]string{"a=1", "--", "b=1", "--", "a=2 =nokey"},
			[]string{"0-0 a=1", "1-1 b=1", "2-3 a=2 =nokey"}},
		{"an empty value is a value, and an empty key a key",
			[]string{`""=1 a=1`, `""= a=`, "--", "x=1"},
			[]string{"2-3 = a=", "4-4 x=1"}},
		{"records without a key go",
			[]string{"=1 a=1 =2", "=3", "--", "x=1"},
			[]string{"0-2 a=1", "3-3", "4-4 x=1"}},
		{"a tombstone removes what is before it, and gets a delete horizon",
			[]string{"a=1 b=1", "a b=2", "--", "x=1"},
			[]string{"2-3 h=1100 a b=2", "4-4 x=1"}},
		{"a tombstone whose horizon has not come stays as it is",
			[]string{"h=1001 a b=1", "c=1", "--", "x=1"},
			[]string{"0-1 h=1001 a b=1", "2-2 c=1", "3-3 x=1"}},
		{"one whose horizon has come goes",
			[]string{"h=1000 a b=1", "c=1", "--", "x=1"},
			[]string{"0-1 h=1000 b=1", "2-2 c=1", "3-3 x=1"}},
		{"a horizon is never moved, and stays when its tombstones are gone",
			[]string{"h=5 b=1 a c=1", "c=2", "--", "x=1"},
			[]string{"0-2 h=5 b=1", "3-3 c=2", "4-4 x=1"}},
		{"a due tombstone still removes what is before it",
			[]string{"a=1", "h=1000 a", "c=1", "--", "x=1"},
			[]string{"2-2 c=1", "3-3 x=1"}},
		{"without records the last batch of the round keeps its header",
			[]string{"a=1", "a=2 a=3", "--", "=1", "--", "x=1"},
			[]string{"1-2 a=3", "3-3", "4-4 x=1"}},
		{"offsets that were missing stay so",
			[]string{". a=1 . b=1 .", ". a=2 .", "c=1", "--", "x=1"},
			[]string{"0-4 b=1", "5-7 a=2", "8-8 c=1", "9-9 x=1"}},
		{"the batch with a producer's last sequence keeps its header",
			[]string{"p1 a=1", "p1 a=2", "p2 a=3", "a=4", "--", "x=1"},
			[]string{"1-1 p1", "2-2 p2", "3-3 a=4", "4-4 x=1"}},
		{"a transaction that was committed is data like other, and its marker stays",
			[]string{"p1 txn a=1 b=1", "p1 commit", "a=2", "c=1", "--", "x=1"},
			[]string{"0-1 p1 txn b=1", "2-2 p1 marker commit", "3-3 a=2", "4-4 c=1", "5-5 x=1"}},
		{"an aborted one goes, but for the last sequence; the marker stays while any is left",
			[]string{"a=0", "p1 txn a=1", "p1 txn a=2", "p1 abort", "c=1", "--", "x=1"},
			[]string{"0-0 a=0", "2-2 p1 txn", "3-3 p1 marker abort", "4-4 c=1", "5-5 x=1"}},
		{"an aborted record hides none before it, nor one of the same producer before",
			[]string{"p1 txn a=1 b=1", "p1 commit", "p1 txn a=2 b=2", "p1 abort", "p1 txn c=1", "p1 commit", "c=2", "--", "x=1"},
			[]string{"0-1 p1 txn a=1 b=1", "2-2 p1 marker commit", "5-5 p1 marker abort", "6-6 p1 txn", "7-7 p1 marker commit", "8-8 c=2", "9-9 x=1"}},
		{"two transactions at a time are told apart",
			[]string{"p1 txn a=1", "p2 txn a=2", "p1 txn b=1", "p2 abort", "p1 commit", "c=1", "--", "x=1"},
			[]string{"0-0 p1 txn a=1", "1-1 p2 txn", "2-2 p1 txn b=1", "3-3 p2 marker abort", "4-4 p1 marker commit", "5-5 c=1", "6-6 x=1"}},
		{"a marker without data gets a delete horizon",
			[]string{"p1 commit", "p2 abort", "p1 e1 a=1", "p2 e1 b=1", "--", "x=1"},
			[]string{"0-0 p1 h=1100 marker commit", "1-1 p2 h=1100 marker abort", "2-2 p1 a=1", "3-3 p2 b=1", "4-4 x=1"}},
		{"the newest marker of a producer without data keeps its header",
			[]string{"h=7 z=1", "p1 commit", "a=1", "--", "x=1"},
			[]string{"0-0 h=7 z=1", "1-1 p1 h=1100 marker commit", "2-2 a=1", "3-3 x=1"}},
		{"an open transaction, and what follows it, is not cleaned",
			[]string{"a=1", "a=2", "--", "p1 txn a=3", "--", "a=4", "--", "x=1"},
			[]string{"1-1 a=2", "2-2 p1 txn a=3", "3-3 a=4", "4-4 x=1"}},
		{"with LogAppendTime the time of a batch stays",
			[]string{"append t=50 a=1 b=1", "append t=60 b=2", "--", "x=1"},
			[]string{"0-1 a=1", "2-2 b=2", "3-3 x=1"}},
		{"compressed batches likewise",
			[]string{"zstd a=1 b=1", "zstd b=2 c", "--", "x=1"},
			[]string{"0-1 a=1", "2-3 h=1100 b=2 c", "4-4 x=1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRules(t)
			script(t, g.log, tc.log...)
			before := refLog(t, g.log)
			d, err := g.log.Dirty(ruleOptions())
			require.NoError(t, err)
			_, err = g.log.Compact(context.Background(), ruleOptions())
			require.NoError(t, err)
			require.Equal(t, tc.clean, written(t, g.log))
			// And the reference agrees, in every byte.
			ref := refClean{log: before, upper: d.To, latest: d.To - 1, now: ruleNow, horizon: ruleNow + 100,
				producers: g.log.lastRecords(), cleanedSegment: func(b *refBatch) bool { return b.BaseOffset < d.To }}
			requireRef(t, ref.clean(), refLog(t, g.log))
			g.reopen()
			require.Equal(t, tc.clean, written(t, g.log))
		})
	}
}

// TestCleanLife: what becomes of tombstones and markers from one cleaning to the
// next. A cleaning comes only when there is something new.
func TestCleanLife(t *testing.T) {
	g := newRules(t)
	at := func(now int64, lines ...string) {
		t.Helper()
		from := g.log.LogEndOffset()
		script(t, g.log, fmt.Sprintf("n%d=1", now), "--") // else there would be nothing to clean
		o := ruleOptions()
		o.Now, o.From = time.UnixMilli(now), from
		_, err := g.log.Compact(context.Background(), o)
		require.NoError(t, err)
		var got []string
		for _, l := range written(t, g.log) {
			if !strings.Contains(l, "n") || strings.Contains(l, "txn") {
				got = append(got, l)
			}
		}
		require.Equal(t, lines, got)
	}
	script(t, g.log, "a=1 b=1", "a", "p1 txn b=2", "p1 abort", "p1 e1 z=1", "p1 e1 z=2", "--")
	o := ruleOptions()
	_, err := g.log.Compact(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"0-1 b=1", "2-2 h=1100 a", "4-4 p1 marker abort", "6-6 p1 z=2"}, written(t, g.log))
	aborted, err := g.log.AbortedTxns(0, 100, nil)
	require.NoError(t, err)
	require.Len(t, aborted, 1) // its marker is still read

	at(1099, "0-1 b=1", "2-2 h=1100 a", "4-4 p1 h=1199 marker abort", "6-6 p1 z=2")
	aborted, err = g.log.AbortedTxns(0, 100, nil)
	require.NoError(t, err)
	require.Empty(t, aborted)
	at(1100, "0-1 b=1", "4-4 p1 h=1199 marker abort", "6-6 p1 z=2")
	at(1199, "0-1 b=1", "6-6 p1 z=2")
}

// TestCleanMarkerOfProducer: of a producer whose newest batch is a marker the epoch
// must stay known: the marker keeps its header, until there is something newer.
func TestCleanMarkerOfProducer(t *testing.T) {
	g := newRules(t)
	clean := func(now, from int64, want ...string) {
		t.Helper()
		o := ruleOptions()
		o.Now, o.From = time.UnixMilli(now), from
		_, err := g.log.Compact(context.Background(), o)
		require.NoError(t, err)
		require.Equal(t, want, written(t, g.log))
	}
	script(t, g.log, "p1 e1 commit", "p1 e2 commit", "a=1", "--", "b=1")
	clean(1000, 0, "0-0 p1 h=1100 marker commit", "1-1 p1 h=1100 marker commit", "2-2 a=1", "3-3 b=1")
	script(t, g.log, "--", "c=1")
	clean(1100, 3, "1-1 p1 marker", "2-2 a=1", "3-3 b=1", "4-4 c=1")
	script(t, g.log, "--", "d=1")
	clean(1200, 4, "1-1 p1 marker", "2-2 a=1", "3-3 b=1", "4-4 c=1", "5-5 d=1")
	script(t, g.log, "p1 e2 e=1", "--", "f=1")
	clean(1200, 5, "2-2 a=1", "3-3 b=1", "4-4 c=1", "5-5 d=1", "6-6 p1 e=1", "7-7 f=1")
}

// TestCleanAbortAcross: an aborted transaction spans segments that are cleaned into
// one, and such that are not. Its data goes from all of them, and the new index has
// it once.
func TestCleanAbortAcross(t *testing.T) {
	for _, segmentBytes := range []int64{1 << 20, 300} {
		g := newRules(t, func(c *Config) { c.SegmentBytes = segmentBytes })
		script(t, g.log, "a=0", "p1 txn a=1", "--", "p1 txn a=2", "b=1", "--", "p1 txn b=2", "p1 abort", "c=1", "--", "p1 e1 x=1", "--")
		r, err := g.log.Compact(context.Background(), ruleOptions())
		require.NoError(t, err)
		require.Equal(t, segmentBytes > 1000, r.Into == 1)
		require.Equal(t, []string{"0-0 a=0", "3-3 b=1", "5-5 p1 marker abort", "6-6 c=1", "7-7 p1 x=1"}, written(t, g.log))
		aborted, err := g.log.AbortedTxns(0, 100, nil)
		require.NoError(t, err)
		require.Len(t, aborted, 1)
		require.EqualValues(t, 1, aborted[0].FirstOffset)
		require.EqualValues(t, 5, aborted[0].LastOffset)
	}
}

// TestDirty: what a cleaning would take.
func TestDirty(t *testing.T) {
	lines := []string{"t=100 a=1", "--", "t=200 a=1", "a=2", "--", "t=900 a=1", "--", "t=300 a=1", "--", "x=1"}
	size := func(l *Log, i, j int) (n int64) {
		for _, s := range l.Segments()[i:j] {
			n += s.Size
		}
		return n
	}
	for _, tc := range []struct {
		name           string
		change         func(o *CleanOptions)
		log            []string
		start          int64
		from, to       int64
		clean, dirty   [2]int // which segments
		overdue, ratio bool
	}{
		{"all", func(o *CleanOptions) {}, nil, 0, 0, 5, [2]int{}, [2]int{0, 4}, false, false},
		{"not known", func(o *CleanOptions) { o.From = -1 }, nil, 0, 0, 5, [2]int{}, [2]int{0, 4}, false, false},
		{"some", func(o *CleanOptions) { o.From = 3 }, nil, 0, 3, 5, [2]int{0, 2}, [2]int{2, 4}, false, true},
		{"inside of a segment", func(o *CleanOptions) { o.From = 2 }, nil, 0, 2, 5, [2]int{0, 2}, [2]int{1, 4}, false, true},
		{"none", func(o *CleanOptions) { o.From = 5 }, nil, 0, 5, 5, [2]int{0, 4}, [2]int{}, false, false},
		{"beyond the uncleanable", func(o *CleanOptions) { o.From = 6 }, nil, 0, 6, 6, [2]int{0, 4}, [2]int{}, false, false},
		{"beyond the end", func(o *CleanOptions) { o.From = 7 }, nil, 0, 0, 5, [2]int{}, [2]int{0, 4}, false, false},
		{"below the start", func(o *CleanOptions) { o.From = 0 }, nil, 1, 1, 5, [2]int{}, [2]int{0, 3}, false, false},
		{"a start inside of a segment", func(o *CleanOptions) { o.From = 0 }, nil, 2, 2, 5, [2]int{0, 1}, [2]int{0, 3}, false, false},
		{"too young", func(o *CleanOptions) { o.MinLag = 101 * time.Millisecond }, nil, 0, 0, 3, [2]int{}, [2]int{0, 2}, false, false},
		{"just old enough", func(o *CleanOptions) { o.MinLag = 100 * time.Millisecond }, nil, 0, 0, 5, [2]int{}, [2]int{0, 4}, false, false},
		{"young, and cleaned", func(o *CleanOptions) { o.MinLag, o.From = 101*time.Millisecond, 5 }, nil, 0, 5, 5, [2]int{0, 4}, [2]int{}, false, false},
		{"overdue", func(o *CleanOptions) { o.MaxLag = 899 * time.Millisecond }, nil, 0, 0, 5, [2]int{}, [2]int{0, 4}, true, false},
		{"just not overdue", func(o *CleanOptions) { o.MaxLag = 900 * time.Millisecond }, nil, 0, 0, 5, [2]int{}, [2]int{0, 4}, false, false},
		{"overdue, and cleaned", func(o *CleanOptions) { o.MaxLag, o.From = 101*time.Millisecond, 5 }, nil, 0, 5, 5, [2]int{0, 4}, [2]int{}, false, false},
		{"an open transaction", func(o *CleanOptions) {}, []string{"a=1", "--", "b=1", "p1 txn b=2", "--", "c=1", "--", "x=1"}, 0, 0, 1, [2]int{}, [2]int{0, 1}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRules(t)
			if tc.log == nil {
				tc.log = lines
			}
			script(t, g.log, tc.log...)
			if tc.start > 0 {
				_, err := g.log.DeleteRecords(context.Background(), tc.start)
				require.NoError(t, err)
			}
			o := ruleOptions()
			tc.change(&o)
			d, err := g.log.Dirty(o)
			require.NoError(t, err)
			require.Equal(t, tc.from, d.From)
			require.Equal(t, tc.to, d.To)
			require.Equal(t, size(g.log, tc.clean[0], tc.clean[1]), d.CleanBytes)
			require.Equal(t, size(g.log, tc.dirty[0], tc.dirty[1]), d.DirtyBytes)
			require.Equal(t, tc.overdue, d.Overdue)
			switch {
			case d.DirtyBytes == 0:
				require.Zero(t, d.Ratio())
			case d.CleanBytes == 0:
				require.EqualValues(t, 1, d.Ratio())
			default:
				require.InDelta(t, float64(d.DirtyBytes)/float64(d.CleanBytes+d.DirtyBytes), d.Ratio(), 1e-9)
			}
			r, err := g.log.Compact(context.Background(), o)
			require.NoError(t, err)
			require.Equal(t, d.To, r.To)
			require.Equal(t, d.DirtyBytes > 0, r.Segments > 0)
		})
	}
}

// TestCleanGroups: as many segments become one as fit segment.bytes, the indexes,
// and the 31 bits of an offset in them.
func TestCleanGroups(t *testing.T) {
	one := []string{"a=1", "--", "b=1", "--", "c=1", "--", "d=1", "--", "e=1", "--", "x=1"}
	size := int64(len(scriptBatch(t, newRules(t).log, "a=1")))
	for _, tc := range []struct {
		name   string
		change func(c *Config)
		log    []string
		bases  []int64
	}{
		{"all", func(c *Config) {}, one, []int64{0, 5}},
		{"two of a size", func(c *Config) { c.SegmentBytes = 2 * size }, one, []int64{0, 2, 4, 5}},
		{"a byte less", func(c *Config) { c.SegmentBytes = 2*size - 1 }, one, []int64{0, 1, 2, 3, 4, 5}},
		{"the index", func(c *Config) { c.IndexBytes, c.IndexInterval = 3*12, 1 }, // one entry of time each
			one, []int64{0, 3, 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRules(t, tc.change)
			script(t, g.log, tc.log...)
			_, err := g.log.Compact(context.Background(), ruleOptions())
			require.NoError(t, err)
			var bases []int64
			for _, s := range g.log.Segments() {
				bases = append(bases, s.BaseOffset)
			}
			require.Equal(t, tc.bases, bases)
		})
	}
}

// TestCleanFar: relative offsets have 31 bits. Segments that reach that far are
// joined, one that reaches an offset further is not, and an empty one always is.
func TestCleanFar(t *testing.T) {
	for _, tc := range []struct {
		last  int64 // offset of the last batch of the second segment
		bases []int64
	}{
		{1<<31 - 1, []int64{0, 1 << 31}},
		{1 << 31, []int64{0, 1, 1<<31 + 1}},
	} {
		g := newRules(t)
		script(t, g.log, "a=1", "--", "b=1")
		h := newHeader()
		h.BaseOffset, h.LastOffsetDelta = tc.last, 0
		raw, err := codec.AppendBatch(nil, h, []codec.Record{{Offset: tc.last, Key: []byte("c"), Value: []byte("1")}}, nil)
		require.NoError(t, err)
		_, err = g.log.AppendRaw(raw, RawOptions{Follower: true})
		require.NoError(t, err)
		script(t, g.log, "--", "x=1")
		before := written(t, g.log)
		_, err = g.log.Compact(context.Background(), ruleOptions())
		require.NoError(t, err)
		var bases []int64
		for _, s := range g.log.Segments() {
			bases = append(bases, s.BaseOffset)
		}
		require.Equal(t, tc.bases, bases)
		require.Equal(t, before, written(t, g.log))
		g.reopen()
		require.Equal(t, before, written(t, g.log))
	}
}

// TestCleanFarGap: where a gap lies between two segments, a round ends at the next
// one: the part before it would be dirty for ever otherwise.
func TestCleanFarGap(t *testing.T) {
	const far = int64(1 << 33)
	g := newRules(t)
	script(t, g.log, "a=1", "a=2")
	h := newHeader()
	h.BaseOffset, h.LastOffsetDelta, h.ProducerID, h.ProducerEpoch, h.BaseSequence = far, 0, 1, 0, 0
	h.Attributes = codec.TransactionalBit
	raw, err := codec.AppendBatch(nil, h, []codec.Record{{Offset: far, Key: []byte("c"), Value: []byte("1")}}, nil)
	require.NoError(t, err)
	_, err = g.log.AppendRaw(raw, RawOptions{Follower: true})
	require.NoError(t, err)
	script(t, g.log, "--", "x=1")
	r, err := g.log.Compact(context.Background(), ruleOptions())
	require.NoError(t, err)
	require.EqualValues(t, far, r.To)
	require.Equal(t, []string{"1-1 a=2", fmt.Sprintf("%d-%d p1 txn c=1", far, far), fmt.Sprintf("%d-%d x=1", far+1, far+1)}, written(t, g.log))
}

// TestCleanSnapshots: the producer snapshots of bases that vanish go with them, and
// the sequences are known all the same when the log has only its batches.
func TestCleanSnapshots(t *testing.T) {
	g := newRules(t)
	script(t, g.log, "p1 a=1", "--", "p2 a=2 b=1", "--", "p1 e1 a=3", "--", "a=4", "--", "x=1", "--", "y=1")
	require.NoError(t, g.log.awaitSealed(context.Background(), g.log.segments.Load().segs[:5]))
	require.Len(t, names(g.files(), segment.SnapshotSuffix), 5)
	o := ruleOptions()
	_, err := g.log.Compact(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"1-2 p2 b=1", "3-3 p1", "4-4 a=4", "5-5 x=1", "6-6 y=1"}, written(t, g.log))
	require.Equal(t, []string{segment.FileName(6, segment.SnapshotSuffix)}, names(g.files(), segment.SnapshotSuffix))
	want := g.log.lastRecords()
	require.Len(t, want, 2)
	g.log.Abandon()
	g.remove(segment.FileName(6, segment.SnapshotSuffix))
	g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
	g.open()
	require.Equal(t, want, g.log.lastRecords())
	require.True(t, slices.Equal([]string{"1-2 p2 b=1", "3-3 p1", "4-4 a=4", "5-5 x=1", "6-6 y=1"}, written(t, g.log)))
}
