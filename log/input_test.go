package log

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
)

// What a caller gives is refused before anything is written, or kept as it is.

// TestRefusedAppends: each refusal leaves the log as it was, and usable.
func TestRefusedAppends(t *testing.T) {
	now := time.Now()
	one := func(r Record) []Record { return []Record{r} }
	c := Config{MaxBatchBytes: 1000, TimestampBefore: time.Hour, SegmentBytes: 4096}
	for _, codec := range []compress.Codec{compress.None, compress.Zstd} {
		c.Compression = codec
		cases := []struct {
			name    string
			records []Record
			want    error
		}{
			{"none", nil, ErrInvalidRecord},
			{"empty", []Record{}, ErrInvalidRecord},
			{"large key", one(Record{Key: noise(1000)}), ErrRecordTooLarge},
			{"large value", one(Record{Value: noise(1000)}), ErrRecordTooLarge},
			{"large header", one(Record{Headers: []RecordHeader{{Key: "k", Value: noise(1000)}}}), ErrRecordTooLarge},
			{"large header key", one(Record{Headers: []RecordHeader{{Key: string(noise(1000))}}}), ErrRecordTooLarge},
			{"many", make([]Record, 1000), ErrRecordTooLarge},
			{"too late", one(Record{Timestamp: now.Add(2 * time.Hour)}), ErrInvalidTimestamp},
			{"too early", one(Record{Timestamp: now.Add(-2 * time.Hour)}), ErrInvalidTimestamp},
			{"second of two", []Record{{Timestamp: now}, {Timestamp: now.Add(2 * time.Hour)}}, ErrInvalidTimestamp},
			{"before 1970", one(Record{Timestamp: time.UnixMilli(-1)}), ErrInvalidTimestamp},
			{"long before", one(Record{Timestamp: time.Unix(math.MinInt64/2, 0)}), ErrInvalidTimestamp},
			{"long after", one(Record{Timestamp: time.Unix(math.MaxInt64/2, 0)}), ErrInvalidTimestamp},
		}
		for _, tc := range cases {
			if tc.name == "many" && codec != compress.None {
				continue // they compress well
			}
			t.Run(fmt.Sprintf("%v/%s", codec, tc.name), func(t *testing.T) {
				g := newRig(t, WriterMapped, true, c)
				l := g.open()
				_, err := l.Append(context.Background(), []Record{{Value: []byte("before")}}, Written)
				require.NoError(t, err)
				_, err = l.Append(context.Background(), tc.records, Synced)
				require.ErrorIs(t, err, tc.want)
				require.EqualValues(t, 1, l.LogEndOffset())
				base, err := l.Append(context.Background(), []Record{{Value: []byte("after")}}, Synced)
				require.NoError(t, err)
				require.EqualValues(t, 1, base)
				require.Len(t, readAllRecords(t, l, 0), 2)
			})
		}
	}
}

// RecordHeader keeps the tables short.
type RecordHeader = codec.RecordHeader

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// TestLargestBatch: what fits max.message.bytes to the byte is taken, and one
// byte more is not.
func TestLargestBatch(t *testing.T) {
	const most = 5000
	g := newRig(t, WriterPwrite, true, Config{MaxBatchBytes: most, SegmentBytes: 1 << 20})
	l := g.open()
	ts := time.Now()
	fit := 0
	for n := most - 200; n < most; n++ {
		_, err := l.Append(context.Background(), []Record{{Value: make([]byte, n), Timestamp: ts}}, Written)
		size := codec.HeaderSize + codec.RecordSize(0, 0, nil, make([]byte, n), nil)
		if size <= most {
			require.NoError(t, err, "%d bytes", size)
			fit = size
		} else {
			require.ErrorIs(t, err, ErrRecordTooLarge)
		}
	}
	require.Equal(t, most, fit)
	// The same for segment.bytes, with room for nothing else.
	g = newRig(t, WriterMapped, true, Config{SegmentBytes: 1000})
	l = g.open()
	for range 3 {
		_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 1000-codec.HeaderSize-10), Timestamp: ts}}, Written)
		require.NoError(t, err)
	}
	require.Len(t, l.Segments(), 3)
	_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 1000-codec.HeaderSize), Timestamp: ts}}, Written)
	require.ErrorIs(t, err, ErrRecordTooLarge)
}

// TestRecordsAreKept: every field comes back, null is not empty, and the caller
// may use his slices again.
func TestRecordsAreKept(t *testing.T) {
	records := []Record{
		{Key: nil, Value: nil},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("k"), Value: []byte("v"), Headers: []RecordHeader{{Key: "a", Value: nil}, {Key: "a", Value: []byte{}}, {Key: "", Value: []byte("x")}}},
		{Value: noise(3000), Timestamp: time.UnixMilli(5)},
		{Value: []byte("last"), Timestamp: time.UnixMilli(3)},
	}
	for _, c := range []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd} {
		for _, logAppend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/logappend=%v", c, logAppend), func(t *testing.T) {
				forEachWriter(t, Config{Compression: c, LogAppendTime: logAppend}, func(t *testing.T, g *rig) {
					l := g.open()
					before := time.Now().UnixMilli()
					value := []byte("mine")
					_, err := l.Append(context.Background(), append(records, Record{Value: value}), Written)
					copy(value, "xxxx")
					require.NoError(t, err)
					for range 2 {
						got := readAllRecords(t, g.log, 0)
						require.Len(t, got, len(records)+1)
						require.Equal(t, "mine", string(got[len(records)].Value))
						for i, w := range records {
							require.EqualValues(t, i, got[i].Offset)
							require.Equal(t, w.Key, got[i].Key)
							require.Equal(t, w.Value, got[i].Value)
							require.Len(t, got[i].Headers, len(w.Headers))
							for k := range w.Headers {
								require.Equal(t, w.Headers[k], got[i].Headers[k])
							}
							if w.Timestamp.IsZero() || logAppend {
								require.GreaterOrEqual(t, got[i].Timestamp, before-1000)
								require.LessOrEqual(t, got[i].Timestamp, time.Now().UnixMilli())
							} else {
								require.Equal(t, w.Timestamp.UnixMilli(), got[i].Timestamp)
							}
						}
						g.reopen()
					}
				})
			})
		}
	}
}

// TestOutOfRange: the error has the range.
func TestOutOfRange(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{})
	g.st.StartOffset = 100
	l := g.open()
	_, err := l.Append(context.Background(), make([]Record, 5), Synced)
	require.NoError(t, err)
	for _, offset := range []int64{math.MinInt64, -1, 0, 99, 106, math.MaxInt64} {
		c := l.NewCursor(offset)
		_, err := c.Next(l.HighWatermark())
		var oe *OffsetError
		require.ErrorAs(t, err, &oe, "%d", offset)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		require.Equal(t, OffsetError{Topic: "t", Offset: offset, Start: 100, End: 105}, *oe)
		c.Close()
	}
	c := l.NewCursor(105)
	_, err = c.Next(l.HighWatermark())
	require.ErrorIs(t, err, ErrWait)
}

// TestUseAfterClose: everything says so, and nothing hangs.
func TestUseAfterClose(t *testing.T) {
	for _, how := range []string{"close", "abandon"} {
		t.Run(how, func(t *testing.T) {
			ctx := context.Background()
			g := newRig(t, WriterMapped, true, Config{})
			l := g.open()
			_, err := l.Append(ctx, make([]Record, 3), Synced)
			require.NoError(t, err)
			open := l.NewCursor(0)
			b, err := open.Next(l.HighWatermark())
			require.NoError(t, err)
			kept := string(b)
			waited := make(chan error)
			go func() { waited <- l.Wait(ctx, NewWaiter(), 3, false) }()
			if how == "close" {
				require.NoError(t, l.Close())
				require.NoError(t, l.Close())
			}
			l.Abandon()
			require.ErrorIs(t, <-waited, ErrClosed)
			_, err = l.Append(ctx, make([]Record, 1), Synced)
			require.ErrorIs(t, err, ErrClosed)
			_, err = l.Append(ctx, make([]Record, 1), Written)
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, l.Sync(ctx), ErrClosed)
			require.ErrorIs(t, l.Wait(ctx, NewWaiter(), 3, true), ErrClosed)
			_, err = l.NewCursor(0).Next(3)
			require.ErrorIs(t, err, ErrClosed)
			_, err = open.Next(3)
			require.ErrorIs(t, err, ErrClosed)
			require.Equal(t, kept, string(b)) // pinned until the cursor lets go
			open.Close()
			_, _, _, err = l.OffsetForTimestamp(0)
			require.ErrorIs(t, err, ErrClosed)
			_, _, _, err = l.OffsetForMaxTimestamp()
			require.ErrorIs(t, err, ErrClosed)
			_, err = l.AbortedTxns(0, 3, nil)
			require.ErrorIs(t, err, ErrClosed)
			require.EqualValues(t, 3, l.RecoveryPoint())
		})
	}
}

// TestLastOffsets: at the end of all offsets an append is an error, and nothing
// wraps around.
func TestLastOffsets(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		g := newRig(t, w, true, Config{SegmentBytes: 400})
		g.st.StartOffset = math.MaxInt64 - 10
		l := g.open()
		ctx := context.Background()
		base, err := l.Append(ctx, make([]Record, 4), Synced)
		require.NoError(t, err)
		require.Equal(t, int64(math.MaxInt64-10), base)
		_, err = l.Append(ctx, make([]Record, 7), Synced)
		require.ErrorIs(t, err, ErrOffsetOverflow)
		for range 6 {
			_, err = l.Append(ctx, []Record{{Value: make([]byte, 200)}}, Synced)
			require.NoError(t, err)
		}
		require.Equal(t, int64(math.MaxInt64), l.LogEndOffset())
		_, err = l.Append(ctx, make([]Record, 1), Synced)
		require.ErrorIs(t, err, ErrOffsetOverflow)
		check := func() {
			require.Equal(t, int64(math.MaxInt64), g.log.LogEndOffset())
			require.Len(t, readAllRecords(t, g.log, g.log.LogStartOffset()), 10)
			c := g.log.NewCursor(math.MaxInt64 - 1)
			b, err := c.Next(math.MaxInt64)
			require.NoError(t, err)
			require.Equal(t, int64(math.MaxInt64-1), b.LastOffset())
			_, err = c.Next(math.MaxInt64)
			require.ErrorIs(t, err, ErrWait)
			c.Close()
		}
		check()
		g.reopen()
		check()
		g.log.Abandon()
		g.st.Clean, g.st.RecoveryPoint = false, -1
		g.open()
		require.Nil(t, g.rep.Damage)
		check()
		_, err = g.log.Append(ctx, make([]Record, 1), Synced)
		require.ErrorIs(t, err, ErrOffsetOverflow)
	}
}

// TestRollReasons: a segment ends when Kafka's would.
func TestRollReasons(t *testing.T) {
	ctx := context.Background()
	start := time.Now().Add(-time.Hour)
	segments := func(t *testing.T, c Config, appends int, record func(i int) Record) []int64 {
		g := newRig(t, WriterPwrite, true, c)
		l := g.open()
		for i := range appends {
			_, err := l.Append(ctx, []Record{record(i)}, Written)
			require.NoError(t, err)
		}
		var bases []int64
		for _, s := range l.Segments() {
			bases = append(bases, s.BaseOffset)
		}
		require.Len(t, readAllRecords(t, l, 0), appends)
		g.reopen()
		require.True(t, g.rep.Clean)
		require.Len(t, readAllRecords(t, g.log, 0), appends)
		return bases
	}
	t.Run("time", func(t *testing.T) {
		// By the records' time, against the first batch's, and only if later.
		minutes := []int{0, 5, 10, 11, 12, 3, 21, 22}
		require.Equal(t, []int64{0, 3, 7}, segments(t, Config{SegmentAge: 10 * time.Minute}, len(minutes),
			func(i int) Record { return Record{Timestamp: start.Add(time.Duration(minutes[i]) * time.Minute)} }))
	})
	t.Run("no time", func(t *testing.T) {
		require.Equal(t, []int64{0}, segments(t, Config{SegmentAge: -1}, 3,
			func(i int) Record { return Record{Timestamp: start.Add(time.Duration(i) * 20 * time.Minute)} }))
	})
	t.Run("index full", func(t *testing.T) {
		// Two entries of 12 bytes fit, of which the time index keeps one free.
		bases := segments(t, Config{IndexBytes: 24, IndexInterval: 1}, 10, func(i int) Record {
			return Record{Value: make([]byte, 100), Timestamp: start.Add(time.Duration(i) * time.Second)}
		})
		require.Greater(t, len(bases), 3)
		for i := 1; i < len(bases); i++ {
			require.EqualValues(t, 2, bases[i]-bases[i-1], "%v", bases)
		}
	})
	t.Run("size", func(t *testing.T) {
		require.Len(t, segments(t, Config{SegmentBytes: 300}, 10, func(int) Record { return Record{Value: make([]byte, 200)} }), 10)
	})
	t.Run("no room in an index", func(t *testing.T) {
		g := newRig(t, WriterPwrite, true, Config{IndexBytes: 8, IndexInterval: 1})
		l := g.open()
		_, err := l.Append(ctx, make([]Record, 1), Written)
		require.ErrorContains(t, err, "segment.index.bytes")
	})
}

// TestRelativeOffsets: an offset that is 2^31 above its segment's base begins a
// new one.
func TestRelativeOffsets(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	batch := func(base int64) []byte {
		rs := []codec.Record{{Offset: base, Timestamp: 1, Value: []byte("sparse")}}
		b, err := codec.AppendBatch(nil, codec.NewHeader(base, rs), rs, coders)
		require.NoError(t, err)
		return b
	}
	g := newRig(t, WriterMapped, true, Config{SegmentAge: -1})
	// A sparse segment, as a compaction leaves it, that ends just below.
	last := int64(math.MaxInt32 - 1)
	g.putFile(g.logFile(0), append(batch(0), batch(last)...))
	g.st = OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1, Adopted: true}
	l := g.open()
	require.Equal(t, last+1, l.LogEndOffset())
	for i := range 3 {
		base, err := l.Append(context.Background(), []Record{{Value: []byte{byte(i)}}}, Synced)
		require.NoError(t, err)
		require.Equal(t, last+1+int64(i), base)
	}
	require.Equal(t, []int64{0, last + 2}, []int64{l.Segments()[0].BaseOffset, l.Segments()[1].BaseOffset})
	for range 2 {
		require.Len(t, readAllRecords(t, g.log, 0), 5)
		require.Equal(t, last+3, readAllRecords(t, g.log, last+3)[0].Offset)
		g.reopen()
	}
}

// TestFullDisk: at every size of the disk an append that does not fit is
// ErrNoSpace, leaves nothing behind, and the log goes on when there is space.
func TestFullDisk(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		t.Run(fmt.Sprintf("mapped=%v", w == WriterMapped), func(t *testing.T) {
			for limit := int64(2000); limit < 140_000; limit += 3001 {
				g := newRig(t, w, true, Config{SegmentBytes: 20_000, IndexInterval: 100, IndexBytes: 4096})
				l := g.open()
				mem := g.fs.(*vfs.Mem)
				mem.SetLimit(limit)
				var err error
				n := 0
				for ; n < 2000 && err == nil; n++ {
					_, err = l.Append(context.Background(), []Record{numbered(n)}, Synced)
				}
				n--
				require.ErrorIs(t, err, ErrNoSpace, "limit %d", limit)
				require.EqualValues(t, n, l.LogEndOffset())
				require.Nil(t, l.Failed())
				require.Len(t, readAllRecords(t, l, 0), n)
				mem.SetLimit(0)
				for i := range 300 {
					base, err := l.Append(context.Background(), []Record{numbered(n + i)}, Synced)
					require.NoError(t, err)
					require.EqualValues(t, n+i, base)
				}
				g.reopen()
				require.True(t, g.rep.Clean)
				rs := readAllRecords(t, g.log, 0)
				require.Len(t, rs, n+300)
				for i, r := range rs {
					require.Equal(t, string(numbered(i).Value), string(r.Value))
				}
				g.log.Abandon()
			}
		})
	}
}

// TestErrorsSayWhat: an error that a user sees names partition, limits and
// settings.
func TestErrorsSayWhat(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{MaxBatchBytes: 100})
	l := g.open()
	_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 200)}}, Written)
	for _, part := range []string{"t-0", "100", "max.message.bytes"} {
		require.True(t, strings.Contains(err.Error(), part), err)
	}
	_, err = l.NewCursor(7).Next(1)
	for _, part := range []string{"t-0", "7"} {
		require.True(t, strings.Contains(err.Error(), part), err)
	}
}
