package leat

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// kilobytes appends n records that take a segment of 1 KiB each.
func kilobytes(t testing.TB, p *Partition, n int) {
	t.Helper()
	for range n {
		_, err := p.Append(ctx, Record{Value: make([]byte, 900)})
		require.NoError(t, err)
	}
}

var kilobyteSegments = TopicConfig{SegmentBytes: 1 << 10}

func withRetention(c TopicConfig, r Retention) TopicConfig {
	c.Retention = r
	return c
}

// TestRetentionInBackground: old segments go by themselves, five minutes after
// they may at the latest, in partitions that nobody has opened as well, and
// without anything running in between.
func TestRetentionInBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		hour := withRetention(kilobyteSegments, Retention{Age: time.Hour})
		p := part(t, st, "hour", hour)
		week := part(t, st, "week", kilobyteSegments) // the default
		forever := part(t, st, "forever", withRetention(kilobyteSegments, Retention{Age: Unlimited}))
		small := part(t, st, "small", withRetention(kilobyteSegments, Retention{Age: Unlimited, Bytes: 4 << 10}))
		groups := part(t, st, "groups", withRetention(kilobyteSegments, Retention{Age: time.Hour, Bytes: 1, Groups: []string{"g"}}))
		all := []*Partition{p, week, forever, small, groups}
		for _, p := range all {
			kilobytes(t, p, 10)
		}
		starts := func(want ...int64) {
			t.Helper()
			synctest.Wait()
			var got []int64
			for i, p := range all {
				// Looking at an offset would open it.
				if l := p.log.Load(); l != nil {
					got = append(got, l.LogStartOffset())
				} else {
					got = append(got, want[i])
				}
			}
			require.Equal(t, want, got)
		}
		time.Sleep(retentionInterval - time.Second)
		starts(0, 0, 0, 0, 0)
		time.Sleep(2 * time.Second)
		starts(0, 0, 0, 5, 0) // 10 of 965 bytes: the rest is not below 4096
		time.Sleep(54 * time.Minute)
		starts(0, 0, 0, 5, 0)
		time.Sleep(retentionInterval + time.Minute)
		starts(10, 0, 0, 5, 0)
		kilobytes(t, p, 3)
		require.NoError(t, st.Close())

		// Nobody opens them from here on, but to delete.
		st, err = openFS(m, nil)
		require.NoError(t, err)
		all = all[:0]
		for _, name := range []string{"hour", "week", "forever", "small", "groups"} {
			tp, err := st.Topic(name)
			require.NoError(t, err)
			all = append(all, tp.handle(0))
		}
		time.Sleep(55 * time.Minute)
		for _, p := range all {
			require.Nil(t, p.log.Load(), "%s was opened for nothing", p)
		}
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		require.NotNil(t, all[0].log.Load())
		starts(13, 0, 0, 5, 0)
		require.Nil(t, all[1].log.Load())
		time.Sleep(7 * 24 * time.Hour)
		starts(13, 10, 0, 5, 0)
		require.NotNil(t, all[1].log.Load())
		require.Nil(t, all[2].log.Load(), "nothing can go")
		require.Nil(t, all[4].log.Load(), "nothing is known of groups")
		require.NoError(t, st.Close())
		time.Sleep(time.Hour) // nothing is left that would run
	})
}

// TestRetentionTimer: it is armed while there are topics.
func TestRetentionTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		armed := func() bool {
			st.mu.RLock()
			defer st.mu.RUnlock()
			return st.retention.armed
		}
		require.False(t, armed())
		part(t, st, "a", TopicConfig{})
		require.True(t, armed())
		require.NoError(t, st.DeleteTopic(ctx, "a"))
		time.Sleep(2 * retentionInterval)
		require.False(t, armed())
		part(t, st, "b", TopicConfig{})
		time.Sleep(10 * retentionInterval)
		synctest.Wait()
		require.True(t, armed())
		begun := time.Now()
		require.NoError(t, st.Close())
		require.Zero(t, time.Since(begun), "Close waits for no timer")
	})
}

// TestRetainOnDemand: now, and over the partitions of a topic or of a store; an
// error in one partition does not stop the others.
func TestRetainOnDemand(t *testing.T) {
	m := vfs.NewCrashMem()
	st := openStore(t, m, nil)
	c := withRetention(kilobyteSegments, Retention{Age: Unlimited, Bytes: 1})
	c.Partitions = 3
	for _, name := range []string{"a", "b"} {
		tp, err := st.CreateTopic(ctx, name, c)
		require.NoError(t, err)
		for p := range tp.Partitions() {
			kilobytes(t, p, 5)
		}
	}
	tp, err := st.Topic("a")
	require.NoError(t, err)
	f := &fault{op: vfs.OpRemove, name: "a-1/", err: errors.New("removal refused")}
	m.SetHook(f.hook)
	f.on.Store(true)
	d, err := tp.Retain(ctx)
	require.ErrorIs(t, err, f.err)
	require.Contains(t, err.Error(), "a-1/")
	require.Equal(t, 8, d.Segments)
	f.on.Store(false)
	d, err = st.Retain(ctx)
	require.NoError(t, err)
	require.Equal(t, 4+12, d.Segments, "what could not be deleted, and the other topic")
	require.Equal(t, int64(16*970), d.Bytes)

	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err = st.Retain(over)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, st.DeleteTopic(ctx, "a"))
	_, err = tp.Retain(ctx)
	require.ErrorIs(t, err, ErrUnknownTopic)
	require.NoError(t, st.Close())
	_, err = st.Retain(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

// TestDeleteRecordsOfPartition: what a user sees of it, before and after a crash.
func TestDeleteRecordsOfPartition(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", kilobyteSegments)
	_, err = p.Append(ctx, Record{Value: []byte("0")}, Record{Value: []byte("1")}, Record{Value: []byte("2")}) // one batch
	require.NoError(t, err)
	kilobytes(t, p, 7)
	behind, slow := reader(t, p, ReaderOptions{From: At(5)}), reader(t, p, ReaderOptions{})
	b, err := slow.Next(ctx)
	require.NoError(t, err)
	kept := b.Retain()

	require.ErrorIs(t, p.DeleteRecords(ctx, 11), ErrOffsetOutOfRange)
	require.ErrorIs(t, p.DeleteRecords(ctx, -2), ErrOffsetOutOfRange)
	require.NoError(t, p.DeleteRecords(ctx, 1))
	require.Equal(t, count(1, 10), offsetsOf(t, p, ReaderOptions{}), "inside of a batch")
	raw := reader(t, p, ReaderOptions{})
	b, err = raw.Next(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 0, b.BaseOffset(), "the batch itself is whole")

	require.NoError(t, p.DeleteRecords(ctx, 4))
	require.NoError(t, p.DeleteRecords(ctx, 2), "nothing to do")
	require.EqualValues(t, 4, p.LogStartOffset())
	require.Equal(t, count(4, 10), offsetsOf(t, p, ReaderOptions{}))
	_, err = slow.Next(ctx)
	var gone *OffsetError
	require.ErrorAs(t, err, &gone)
	require.EqualValues(t, 4, gone.Start)
	_, err = p.Reader(ReaderOptions{From: At(3)})
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	b, err = behind.Next(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 5, b.BaseOffset())
	values := []string{}
	for r, err := range kept.Records() {
		require.NoError(t, err)
		values = append(values, string(r.Value))
	}
	require.Equal(t, []string{"0", "1", "2"}, values)
	kept.Release()

	cut := m.CrashClone(vfs.Choice{}) // nothing that was not synced
	st2 := openStore(t, cut, nil)
	p2 := reopened(t, st2, "orders")
	require.EqualValues(t, 4, p2.LogStartOffset())
	require.Equal(t, count(4, 10), offsetsOf(t, p2, ReaderOptions{}))

	require.NoError(t, p.DeleteRecords(ctx, -1))
	require.Empty(t, offsetsOf(t, p, ReaderOptions{}))
	require.NoError(t, st.Close())
	st3 := openStore(t, m, nil)
	p3 := reopened(t, st3, "orders")
	require.EqualValues(t, 10, p3.LogStartOffset())
	require.NoError(t, st3.DeleteTopic(ctx, "orders"))
	require.ErrorIs(t, p3.DeleteRecords(ctx, -1), ErrUnknownTopic)
}

// TestDeleteRecordsWithoutMarks: a partition that leat.state has no line for
// keeps its start in the checkpoint, before a file goes.
func TestDeleteRecordsWithoutMarks(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "orders", kilobyteSegments)
	require.NoError(t, err)
	st.state.mu.Lock()
	st.state.max, st.state.mu.free = st.state.mu.lines, nil
	st.state.mu.Unlock()
	p, err := tp.Partition(0)
	require.NoError(t, err)
	kilobytes(t, p, 8)
	var trees []*vfs.Mem
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpRemove && strings.HasSuffix(name, ".log") && !before {
			if len(trees) == 0 { // the timer's checkpoint comes in the middle
				require.NoError(t, st.saveStarts())
			}
			d := m.Dirty()
			for _, c := range vfs.Choices(d, 3, 7) {
				trees = append(trees, d.Clone(c))
			}
		}
		return nil
	})
	require.NoError(t, p.DeleteRecords(ctx, 5))
	m.SetHook(nil)
	require.NotEmpty(t, trees)
	for i, tree := range trees {
		trees[i] = nil // each takes some megabytes, and a 32-bit system has few
		st, err := openFS(tree, nil)
		require.NoError(t, err)
		p := reopened(t, st, "orders")
		require.EqualValues(t, 5, p.LogStartOffset())
		require.Equal(t, count(5, 8), offsetsOf(t, p, ReaderOptions{}))
		require.NoError(t, st.Close())
	}
	require.NoError(t, st.Close())
}

// TestRetentionBesideAll: deletions of all kinds, appends, readers, topics that
// come and go, and a close in the middle.
func TestRetentionBesideAll(t *testing.T) {
	st, err := OpenMem(nil)
	require.NoError(t, err)
	c := withRetention(TopicConfig{SegmentBytes: 16 << 10}, Retention{Age: Unlimited, Bytes: 50 << 10})
	c.Durability, c.FlushInterval = Written, 5*time.Millisecond // what was rolled is sealed soon
	p := part(t, st, "orders", c)
	var work sync.WaitGroup
	var appended, deleted atomic.Int64
	fine := func(err error) bool {
		if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrOffsetOutOfRange) && !errors.Is(err, ErrUnknownTopic) {
			t.Error(err)
		}
		return !errors.Is(err, ErrClosed) && !t.Failed()
	}
	work.Go(func() {
		for {
			for !st.isClosed() && p.LogEndOffset()-p.LogStartOffset() > 2000 {
				runtime.Gosched() // deletion is to keep up, on any machine
			}
			_, err := p.Append(ctx, Record{Value: make([]byte, 300)})
			if !fine(err) {
				return
			}
			appended.Add(1)
		}
	})
	work.Go(func() {
		for {
			d, err := st.Retain(ctx)
			deleted.Add(int64(d.Segments))
			if !fine(err) || !fine(p.DeleteRecords(ctx, max(p.HighWatermark()-200, 0))) {
				return
			}
		}
	})
	work.Go(func() {
		for i := 0; ; i++ {
			name := fmt.Sprintf("t%d", i%3)
			tp, err := st.CreateTopic(ctx, name, c)
			if !fine(err) {
				return
			}
			q, err := tp.Partition(0)
			if !fine(err) {
				return
			}
			for range 5 {
				_, err = q.Append(ctx, Record{Value: make([]byte, 900)})
			}
			if !fine(err) || !fine(st.DeleteTopic(ctx, name)) {
				return
			}
		}
	})
	for range 2 {
		work.Go(func() {
			for {
				r, err := p.Reader(ReaderOptions{UntilEnd: true})
				if !fine(err) {
					return
				}
				for _, err := range r.Records(ctx) {
					if !fine(err) || err != nil {
						break
					}
				}
				if r.Close() != nil || st.isClosed() {
					return
				}
			}
		})
	}
	for (deleted.Load() < 20 || appended.Load() < 1000) && !t.Failed() {
		_, err := p.OffsetForTime(time.Now())
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	work.Wait()
}
