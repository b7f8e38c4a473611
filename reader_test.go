package leat

import (
	"context"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// at is the time of the i-th record of timed.
func at(i int64) time.Time { return time.UnixMilli(1_700_000_000_000 + 1000*i) }

// timed is a partition of records 0..9, a second apart, in batches of two.
func timed(t *testing.T, c TopicConfig) *Partition {
	p := part(t, memStore(t), "timed", c)
	for i := int64(0); i < 10; i += 2 {
		_, err := p.Append(ctx, Record{Timestamp: at(i)}, Record{Timestamp: at(i + 1)})
		require.NoError(t, err)
	}
	return p
}

func TestReaderStarts(t *testing.T) {
	p := timed(t, TopicConfig{})
	for _, c := range []struct {
		o     ReaderOptions
		first int64 // of what is read to the end at 10
	}{
		{ReaderOptions{}, 0},
		{ReaderOptions{From: Earliest}, 0},
		{ReaderOptions{From: Latest}, 10},
		{ReaderOptions{From: At(0)}, 0},
		{ReaderOptions{From: At(4)}, 4},
		{ReaderOptions{From: At(5)}, 5}, // inside a batch
		{ReaderOptions{From: At(10)}, 10},
		{ReaderOptions{From: LastN(0)}, 10},
		{ReaderOptions{From: LastN(3)}, 7},
		{ReaderOptions{From: LastN(10)}, 0},
		{ReaderOptions{From: LastN(11)}, 0},
		{ReaderOptions{From: LastN(math.MaxInt64)}, 0},
		{ReaderOptions{From: AtTime(time.Time{})}, 0},
		{ReaderOptions{From: AtTime(at(0))}, 0},
		{ReaderOptions{From: AtTime(at(3))}, 3},
		{ReaderOptions{From: AtTime(at(3).Add(1))}, 4}, // a nanosecond later
		{ReaderOptions{From: AtTime(at(9))}, 9},
		{ReaderOptions{From: AtTime(at(10))}, 10},
		{ReaderOptions{From: AtTime(time.Unix(1<<40, 0))}, 10},
	} {
		c.o.UntilEnd = true
		r := reader(t, p, c.o)
		require.Equal(t, c.first, r.Offset(), "%v", c.o.From)
		require.Equal(t, count(c.first, 10), offsetsOf(t, p, c.o), "%v", c.o.From)
	}
	for _, offset := range []int64{-1, 11, math.MaxInt64, math.MinInt64} {
		_, err := p.Reader(ReaderOptions{From: At(offset)})
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
		var e *OffsetError
		require.ErrorAs(t, err, &e)
		require.Equal(t, OffsetError{Topic: "timed", Offset: offset, Start: 0, End: 10}, *e)
	}
	for _, o := range []ReaderOptions{{From: LastN(-1)}, {Until: -1}, {Isolation: 2}} {
		_, err := p.Reader(o)
		require.ErrorIs(t, err, ErrInvalidConfig)
	}
}

func TestReaderUntil(t *testing.T) {
	p := timed(t, TopicConfig{})
	for until := int64(1); until <= 10; until++ {
		for from := range until + 1 {
			r := reader(t, p, ReaderOptions{From: At(from), Until: until})
			var got []int64
			for rec, err := range r.Records(ctx) {
				require.NoError(t, err)
				got = append(got, rec.Offset)
			}
			require.ElementsMatch(t, count(from, until), got, "%d to %d", from, until)
			_, err := r.Next(ctx)
			require.ErrorIs(t, err, io.EOF, "and again")
		}
	}
	// With both, the nearer one counts.
	require.Equal(t, count(0, 10), offsetsOf(t, p, ReaderOptions{Until: 99}))
	require.Equal(t, count(0, 3), offsetsOf(t, p, ReaderOptions{Until: 3}))
	// UntilEnd is the end as of now.
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	fill(t, p, 5)
	require.Equal(t, []int64{0, 2, 4, 6, 8}, drain(t, r))
}

// TestReaderInsideBatch: batches come whole, records from where was asked.
func TestReaderInsideBatch(t *testing.T) {
	p := timed(t, TopicConfig{})
	r := reader(t, p, ReaderOptions{From: At(3), Until: 5})
	b, err := r.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(2), b.BaseOffset())
	require.Equal(t, int64(4), b.NextOffset())
	require.Equal(t, 2, b.RecordCount())
	require.Equal(t, []int64{3}, offsetsIn(t, b))
	require.Equal(t, []int64{3}, offsetsIn(t, b.Retain()), "a kept batch has the same bounds")
	b, err = r.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(4), b.BaseOffset())
	require.Equal(t, []int64{4}, offsetsIn(t, b))
	require.Equal(t, "timed", b.Topic())
	require.Equal(t, int32(0), b.Partition())
	_, err = r.Next(ctx)
	require.ErrorIs(t, err, io.EOF)
}

func offsetsIn(t *testing.T, b *Batch) (list []int64) {
	for rec, err := range b.Records() {
		require.NoError(t, err)
		list = append(list, rec.Offset)
	}
	return list
}

// TestRecordsLeftAndResumed: a loop that was left goes on behind the last record
// it gave, and Next gives the rest of that batch.
func TestRecordsLeftAndResumed(t *testing.T) {
	p := timed(t, TopicConfig{})
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	var got []int64
	for len(got) < 10 {
		for rec, err := range r.Records(ctx) {
			require.NoError(t, err)
			got = append(got, rec.Offset)
			require.Equal(t, rec.Offset+1, r.Offset())
			break
		}
	}
	require.Equal(t, count(0, 10), got)
	require.NoError(t, r.SeekTo(4))
	for range r.Records(ctx) {
		break
	}
	b, err := r.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(4), b.BaseOffset())
	require.Equal(t, []int64{5}, offsetsIn(t, b))
	require.Equal(t, int64(6), r.Offset())
}

func TestSeekTo(t *testing.T) {
	p := timed(t, TopicConfig{})
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	for _, offset := range []int64{7, 0, 10, 3} {
		require.NoError(t, r.SeekTo(offset))
		require.Equal(t, offset, r.Offset())
		var got []int64
		for rec, err := range r.Records(ctx) {
			require.NoError(t, err)
			got = append(got, rec.Offset)
		}
		require.ElementsMatch(t, count(offset, 10), got)
	}
	var e *OffsetError
	require.ErrorAs(t, r.SeekTo(11), &e)
	require.Equal(t, int64(10), e.End)
	require.ErrorAs(t, r.SeekTo(-1), &e)

	// Inside a loop, to skip and to repeat.
	require.NoError(t, r.SeekTo(0))
	var got []int64
	repeated := false
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		got = append(got, rec.Offset)
		switch {
		case rec.Offset == 1:
			require.NoError(t, r.SeekTo(7))
		case rec.Offset == 8 && !repeated:
			repeated = true
			require.NoError(t, r.SeekTo(8))
		}
	}
	require.Equal(t, []int64{0, 1, 7, 8, 8, 9}, got)
}

func TestRecordFields(t *testing.T) {
	for _, codec := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		p := part(t, memStore(t), "fields", TopicConfig{Compression: codec})
		in := []Record{
			{Timestamp: at(1), Key: []byte("k"), Value: []byte("v"), Headers: []Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}},
			{Timestamp: at(0), Key: nil, Value: []byte{}},
			{Timestamp: at(2), Key: []byte{}, Value: nil},
		}
		base, err := p.Append(ctx, in...)
		require.NoError(t, err)
		var out []*Record
		for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
			require.NoError(t, err)
			out = append(out, rec.Clone())
		}
		for i := range in {
			want := in[i]
			want.Topic, want.Offset = "fields", base+int64(i)
			if want.Headers == nil {
				want.Headers = out[i].Headers
				require.Empty(t, want.Headers)
			}
			require.Equal(t, &want, out[i], "%v, record %d", codec, i)
		}
	}
}

// TestNoTimestamp: a zero time is the time of the append.
func TestNoTimestamp(t *testing.T) {
	p := part(t, memStore(t), "now", TopicConfig{})
	before := time.Now().Truncate(time.Millisecond)
	fill(t, p, 1)
	for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
		require.NoError(t, err)
		require.WithinRange(t, rec.Timestamp, before, time.Now())
	}
}

// TestReaderFollows: a reader at the end is woken by an append, and by the end
// of its context.
func TestReaderFollows(t *testing.T) {
	for _, d := range []Durability{Synced, Written} {
		p := part(t, memStore(t), "follow", TopicConfig{Durability: d})
		got := make(chan int64)
		r := reader(t, p, ReaderOptions{})
		go func() {
			for rec, err := range r.Records(ctx) {
				if err != nil {
					break
				}
				got <- rec.Offset
				if rec.Offset == 99 {
					break
				}
			}
			close(got)
		}()
		for i := range int64(100) {
			_, err := p.Append(ctx, Record{})
			require.NoError(t, err)
			require.Equal(t, i, <-got)
		}
		_, open := <-got
		require.False(t, open)
	}
	p := part(t, memStore(t), "quiet", TopicConfig{})
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err := reader(t, p, ReaderOptions{}).Next(soon)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestDeletedTopic: what a reader has stays, and what it does next is told why.
func TestDeletedTopic(t *testing.T) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		t.Run(name, func(t *testing.T) {
			st := openStore(t, fsys(t), nil)
			p := part(t, st, "doomed", TopicConfig{Partitions: 3})
			fill(t, p, 10)
			has := reader(t, p, ReaderOptions{})
			b, err := has.Next(ctx)
			require.NoError(t, err)
			kept := b.Retain()
			waits := reader(t, p, ReaderOptions{From: Latest})
			woken := make(chan error)
			go func() { _, err := waits.Next(ctx); woken <- err }()
			require.NoError(t, st.DeleteTopic(ctx, "doomed"))

			require.ErrorIs(t, <-woken, ErrUnknownTopic)
			_, err = has.Next(ctx)
			require.ErrorIs(t, err, ErrUnknownTopic)
			require.ErrorContains(t, err, "doomed")
			require.Equal(t, []int64{0}, offsetsIn(t, b))
			_, err = p.Append(ctx, Record{})
			require.ErrorIs(t, err, ErrUnknownTopic)
			require.ErrorIs(t, p.Sync(ctx), ErrUnknownTopic)
			_, err = p.Reader(ReaderOptions{})
			require.ErrorIs(t, err, ErrUnknownTopic)
			_, err = p.Topic().Partition(1)
			require.ErrorIs(t, err, ErrUnknownTopic)

			// A new topic of that name is another one.
			again := part(t, st, "doomed", TopicConfig{})
			require.NotEqual(t, p.Topic().ID(), again.Topic().ID())
			require.Equal(t, int64(0), again.LogEndOffset())
			require.Equal(t, []int64{0}, offsetsIn(t, kept))
			kept.Release()
		})
	}
}

func memFS(*testing.T) vfs.FS { return vfs.NewMem() }

func diskFS(t *testing.T) vfs.FS {
	fsys, err := vfs.OS(t.TempDir(), vfs.Options{Create: true})
	require.NoError(t, err)
	return fsys
}
