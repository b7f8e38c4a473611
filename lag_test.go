package leat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// slowLag is the lag as one finds it who reads all batches.
func slowLag(t *testing.T, p *Partition, offset, end int64) (lag Lag) {
	t.Helper()
	l, err := p.use()
	require.NoError(t, err)
	from := max(offset, l.LogStartOffset())
	if from >= end {
		return lag
	}
	lag.Records = end - from
	c := l.NewCursor(from)
	defer c.Close()
	oldest := int64(-1)
	for {
		b, err := c.Next(end)
		if errors.Is(err, log.ErrWait) {
			break
		}
		require.NoError(t, err)
		if lag.Bytes == 0 {
			oldest = b.BaseTimestamp()
		}
		lag.Bytes += int64(len(b))
	}
	if oldest >= 0 {
		lag.Time = max(time.Duration(time.Now().UnixMilli()-oldest)*time.Millisecond, 0)
	}
	return lag
}

// TestLag: at every offset it is what a reader would find there, and a follower
// says the same.
func TestLag(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMem()
			m.SetMapped(mapped)
			w := openStore(t, m, nil)
			p := part(t, w, "orders", TopicConfig{SegmentBytes: 8 << 10, IndexInterval: 300})
			random := rand.New(rand.NewPCG(1, 2))
			lag, err := p.Lag(0, ReadCommitted)
			require.NoError(t, err)
			require.Zero(t, lag, "nothing is there")
			for range 150 {
				var batch []Record
				for range 1 + random.IntN(6) {
					batch = append(batch, Record{Value: noise(random.IntN(200))})
				}
				_, err := p.Append(ctx, batch...)
				require.NoError(t, err)
				time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
			}
			require.Greater(t, p.Describe().Segments, 5)
			q := reopened(t, followStore(t, m), "orders")
			check := func() {
				t.Helper()
				end := p.HighWatermark()
				for offset := int64(-2); offset < end+3; offset++ {
					want := slowLag(t, p, offset, end)
					for _, x := range []*Partition{p, q} {
						got, err := x.Lag(offset, Isolation(offset&1))
						require.NoError(t, err)
						require.Equal(t, want, got, "at %d of %d", offset, end)
					}
				}
			}
			check()
			require.NoError(t, p.DeleteRecords(ctx, p.LogEndOffset()/2))
			check()
			lag, err = p.Lag(-1, ReadUncommitted)
			require.NoError(t, err)
			require.Equal(t, p.LogEndOffset()-p.LogStartOffset(), lag.Records, "what is gone is not to be read")
			require.NotZero(t, lag.Time)
			_, err = p.Lag(0, 2)
			require.ErrorIs(t, err, ErrInvalidConfig)
			require.NoError(t, w.Close())
			_, err = p.Lag(0, ReadCommitted)
			require.ErrorIs(t, err, ErrClosed)
		})
	}
}

// TestLagOfWhatIsSeen: what is not durable yet, or belongs to an open transaction,
// is no lag.
func TestLagOfWhatIsSeen(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{External: ExternalWatermark, SegmentBytes: 4 << 10, IndexInterval: 300})
	for range 30 {
		_, err := p.Append(ctx, Record{Value: noise(300)})
		require.NoError(t, err)
	}
	for _, high := range []int64{0, 1, 7, 20, 30} {
		require.NoError(t, p.SetHighWatermark(high))
		for offset := range int64(31) {
			got, err := p.Lag(offset, ReadUncommitted)
			require.NoError(t, err)
			want := slowLag(t, p, offset, high)
			require.Equal(t, [2]int64{want.Records, want.Bytes}, [2]int64{got.Records, got.Bytes}, "at %d of %d", offset, high)
		}
	}
}

// TestLagCompacted: offsets that are gone count as records, and not as bytes; also
// where whole segments are gone, and where the position itself is.
func TestLagCompacted(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "state", compacted)
	puts(t, p, 100, 7)
	require.NoError(t, p.Compact(ctx, nil))
	l, err := p.use()
	require.NoError(t, err)
	require.Less(t, l.Size(), int64(5000), "it was cleaned")
	for offset := range int64(101) {
		got, err := p.Lag(offset, ReadCommitted)
		require.NoError(t, err)
		want := slowLag(t, p, offset, 100)
		require.Equal(t, [2]int64{want.Records, want.Bytes}, [2]int64{got.Records, got.Bytes}, "at %d", offset)
	}
}

// TestLagTime: the clock is the records', one in the future is no lag, and the
// log's own time stands for a whole batch.
func TestLagTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		p := part(t, st, "orders", TopicConfig{})
		now := time.Now()
		for _, age := range []time.Duration{time.Hour, -time.Minute, 0} {
			_, err := p.Append(ctx, Record{Timestamp: now.Add(-age)}, Record{Timestamp: now})
			require.NoError(t, err)
		}
		for offset, want := range []time.Duration{time.Hour, time.Hour, 0, 0, 0, 0, 0} {
			lag, err := p.Lag(int64(offset), ReadCommitted)
			require.NoError(t, err)
			require.Equal(t, want, lag.Time, "at %d", offset)
		}
		q := part(t, st, "stamped", TopicConfig{Timestamps: LogAppendTime})
		_, err := q.Append(ctx, Record{Timestamp: now.Add(-time.Hour)})
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		lag, err := q.Lag(0, ReadCommitted)
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, lag.Time)
		require.Regexp(t, `^1 records, \d+ bytes, 3s$`, lag.String())
		require.Equal(t, Lag{3, 5, 4 * time.Second}, Lag{1, 2, 4 * time.Second}.plus(Lag{2, 3, time.Second}))
		require.NoError(t, st.Close())
	})
}

// TestLagTransactions: what is of an open transaction is lag to those who see it.
func TestLagTransactions(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	old := time.Now().Add(-time.Hour).UnixMilli()
	stamped := func(h *codec.Header) { h.BaseTimestamp, h.MaxTimestamp = old, old }
	appendRaw := func(offset int64, change func(h *codec.Header)) {
		b := rawBatch(t, 3, func(h *codec.Header) {
			stamped(h)
			h.BaseOffset = offset
			change(h)
		})
		_, err := p.AppendBatches(b, AppendOptions{Follower: true})
		require.NoError(t, err)
	}
	appendRaw(0, func(h *codec.Header) {})
	appendRaw(10, func(h *codec.Header) {
		h.Attributes |= codec.TransactionalBit
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = 7, 0, 0
	})
	require.NoError(t, p.Sync(ctx))
	require.EqualValues(t, 10, p.LastStableOffset())
	for offset, want := range map[int64][2]int64{0: {10, 13}, 3: {7, 10}, 9: {1, 4}, 10: {0, 3}, 11: {0, 2}, 13: {0, 0}} {
		for i, n := range want {
			lag, err := p.Lag(offset, Isolation(i))
			require.NoError(t, err)
			require.Equal(t, n, lag.Records, "at %d, %v", offset, Isolation(i))
			there := offset < 3 && n > 0 || Isolation(i) == ReadUncommitted && n > 0
			require.Equal(t, there, lag.Bytes > 0, "at %d, %v", offset, Isolation(i))
			require.Equal(t, there, lag.Time > 0, "at %d, %v", offset, Isolation(i))
		}
	}

	// The log's own time is the batch's largest, whatever its producer said.
	q := part(t, st, "stamped", TopicConfig{Timestamps: LogAppendTime})
	_, err := q.AppendBatches(rawBatch(t, 3, stamped), AppendOptions{})
	require.NoError(t, err)
	require.NoError(t, q.Sync(ctx))
	lag, err := q.Lag(0, ReadCommitted)
	require.NoError(t, err)
	require.EqualValues(t, 3, lag.Records)
	require.Less(t, lag.Time, time.Hour)
}

// TestLagDamaged: how many records there are is known all the same.
func TestLagDamaged(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{})
	for i := range 40 {
		_, err := p.Append(ctx, Record{Value: []byte(strings.Repeat(fmt.Sprint(i%10), 100))})
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	f, err := m.Open("orders-0/00000000000000000000.log", vfs.ReadWrite)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 100), size/40*20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, m.Remove(cleanName))
	st = openStore(t, m, nil)
	p = reopened(t, st, "orders")
	lag, err := p.Lag(20, ReadCommitted)
	require.ErrorIs(t, err, ErrCorrupt)
	require.EqualValues(t, 20, lag.Records)
	lag, err = p.Lag(21, ReadCommitted)
	require.NoError(t, err)
	require.EqualValues(t, 19, lag.Records)
}

// TestLagIndexWrong: an index that does not fit its log is made anew.
func TestLagIndexWrong(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		m := vfs.NewMem()
		m.SetMapped(mapped)
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{SegmentBytes: 8 << 10, IndexInterval: 300})
		for range 40 {
			_, err := p.Append(ctx, Record{Value: noise(400)})
			require.NoError(t, err)
		}
		want, err := p.Lag(7, ReadUncommitted)
		require.NoError(t, err)
		require.NoError(t, st.Close())
		f, err := m.Open("orders-0/00000000000000000000.index", vfs.ReadWrite)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		for at := int64(7); at < size; at += 8 { // the last byte of a position
			_, err = f.WriteAt([]byte{1}, at)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
		got, err := reopened(t, openStore(t, m, nil), "orders").Lag(7, ReadUncommitted)
		require.NoError(t, err)
		require.Equal(t, [2]int64{want.Records, want.Bytes}, [2]int64{got.Records, got.Bytes})
	}
}

// BenchmarkLag: of a position in the middle, and at the end, of 200 segments.
func BenchmarkLag(b *testing.B) {
	st, err := Open(benchDir(b), nil)
	require.NoError(b, err)
	defer st.Close()
	p := part(b, st, "orders", TopicConfig{Durability: Written, SegmentBytes: 64 << 10})
	for range 200 * 64 {
		_, err := p.Append(ctx, Record{Value: make([]byte, 900)})
		require.NoError(b, err)
	}
	for name, offset := range map[string]int64{"middle": p.LogEndOffset() / 2, "end": p.LogEndOffset(), "near": p.LogEndOffset() - 1} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Lag(offset, ReadCommitted); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
