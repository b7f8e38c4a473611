package leat

import (
	"bytes"
	"context"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

func TestTopics(t *testing.T) {
	fsys := vfs.NewMem()
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	names := func(st *Store) (list []string) {
		for tp := range st.Topics() {
			list = append(list, tp.Name())
		}
		return list
	}
	require.Empty(t, names(st))

	orders, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 3})
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "orders", TopicConfig{})
	require.ErrorIs(t, err, ErrTopicExists)
	_, err = st.CreateTopic(ctx, "mail", TopicConfig{})
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "__mine", TopicConfig{})
	require.ErrorIs(t, err, ErrInvalidTopic)
	_, err = st.CreateTopic(ctx, "x", TopicConfig{Partitions: -3})
	require.ErrorIs(t, err, ErrInvalidConfig)
	require.Equal(t, []string{"mail", "orders"}, names(st))

	same, err := st.Topic("orders")
	require.NoError(t, err)
	require.Same(t, orders, same)
	_, err = st.Topic("nope")
	require.ErrorIs(t, err, ErrUnknownTopic)
	require.ErrorContains(t, err, `"nope"`)
	_, err = st.Topic(metadataTopic)
	require.ErrorIs(t, err, ErrUnknownTopic, "the catalog is not for users")

	for id := range int32(3) {
		p, err := orders.Partition(id)
		require.NoError(t, err)
		require.Equal(t, id, p.ID())
		same, err := orders.Partition(id)
		require.NoError(t, err)
		require.Same(t, p, same)
	}
	for _, id := range []int32{-1, 3} {
		_, err = orders.Partition(id)
		require.ErrorIs(t, err, ErrUnknownPartition)
	}
	n := 0
	for p := range orders.Partitions() {
		require.Equal(t, int32(n), p.ID())
		require.Equal(t, int64(0), p.LogEndOffset())
		n++
	}
	require.Equal(t, 3, n)

	require.NoError(t, st.DeleteTopic(ctx, "mail"))
	require.ErrorIs(t, st.DeleteTopic(ctx, "mail"), ErrUnknownTopic)
	require.Equal(t, []string{"orders"}, names(st))
	_, err = fsys.Stat("mail-0")
	require.ErrorIs(t, err, fs.ErrNotExist)
	id := orders.ID()
	require.NoError(t, st.Close())

	st = openStore(t, fsys, nil)
	require.Equal(t, []string{"orders"}, names(st))
	orders, err = st.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, id, orders.ID())
	require.Equal(t, int32(3), orders.Config().Partitions)
}

// TestEveryOptionSurvives sets each option to what is not its default, writes,
// closes, opens again and reads.
func TestEveryOptionSurvives(t *testing.T) {
	fsys := vfs.NewMem()
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	c := everyOption
	c.External = 0 // a wrapper would have to move the watermark
	tp, err := st.CreateTopic(ctx, "all", c)
	require.NoError(t, err)
	require.Equal(t, c, tp.Config())
	_, err = st.CreateTopic(ctx, "external", everyOption)
	require.NoError(t, err)
	p, err := tp.Partition(1)
	require.NoError(t, err)
	fill(t, p, 20)
	require.NoError(t, st.Close())

	st = openStore(t, fsys, nil)
	tp, err = st.Topic("all")
	require.NoError(t, err)
	require.Equal(t, c, tp.Config())
	p, err = tp.Partition(1)
	require.NoError(t, err)
	require.Equal(t, count(0, 20), offsetsOf(t, p, ReaderOptions{}))
	b, err := reader(t, p, ReaderOptions{}).Next(ctx)
	require.NoError(t, err)
	require.Equal(t, Zstd, b.Compression())
	tp, err = st.Topic("external")
	require.NoError(t, err)
	require.Equal(t, everyOption, tp.Config())
}

// TestLogConfig: every option reaches the log, or is for something else.
func TestLogConfig(t *testing.T) {
	tp := newTopic(nil, "orders", TopicID{7}, everyOption)
	require.Equal(t, log.Config{
		Topic: "orders", Partition: 2, TopicID: TopicID{7},
		SegmentBytes: 1 << 20, SegmentAge: time.Hour, IndexBytes: 1 << 12, IndexInterval: 512, MaxBatchBytes: 1 << 16,
		Compression: Zstd, LogAppendTime: true, TimestampBefore: 365 * 24 * time.Hour, TimestampAfter: Unlimited,
		Durability: log.Written, FlushInterval: 250 * time.Millisecond, FlushBytes: 1 << 20,
		ExternalEpochs: true, ExternalWatermark: true,
	}, tp.logConfig(2))
	require.Equal(t, log.Synced, log.Durability(Synced))
	require.Equal(t, log.WriterPwrite, log.Writer(WriterPwrite))
	require.Equal(t, log.WriterMapped, log.Writer(WriterMapped))
}

// TestOptionsTopic: defaults of the store are for topics that are created, and
// stay with them.
func TestOptionsTopic(t *testing.T) {
	fsys := vfs.NewMem()
	o := Options{Topic: TopicConfig{Partitions: 2, Durability: Written, Retention: Retention{Age: time.Hour}}}
	st, err := openFS(fsys, &o)
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "a", TopicConfig{Partitions: 5})
	require.NoError(t, err)
	want := TopicConfig{Partitions: 5, Durability: Written, Retention: Retention{Age: time.Hour}}.withDefaults(TopicConfig{})
	require.Equal(t, want, tp.Config())
	require.NoError(t, st.Close())

	st = openStore(t, fsys, nil)
	tp, err = st.Topic("a")
	require.NoError(t, err)
	require.Equal(t, want, tp.Config())

	_, err = OpenMem(&Options{Topic: TopicConfig{SegmentBytes: 1}})
	require.ErrorIs(t, err, ErrInvalidConfig)
	require.ErrorContains(t, err, "SegmentBytes")
	_, err = OpenMem(&Options{Writer: 9})
	require.ErrorIs(t, err, ErrInvalidConfig)
}

func TestPartitionFor(t *testing.T) {
	var want golden.Murmur2
	golden.JSON(t, &want, "murmur2.json")
	st := memStore(t)
	for i, n := range want.PartitionCounts {
		tp := newTopic(st, "orders", TopicID{}, TopicConfig{Partitions: n})
		for _, k := range want.Keys {
			require.Equal(t, k.Partitions[i], tp.PartitionFor(k.Key))
		}
	}
}

func TestUseAfterClose(t *testing.T) {
	st, err := OpenMem(nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{Partitions: 2})
	fill(t, p, 3)
	r, err := p.Reader(ReaderOptions{})
	require.NoError(t, err)
	b, err := r.Next(ctx)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	require.NoError(t, st.Close(), "a second close does nothing")

	tp := p.Topic()
	for name, call := range map[string]func() error{
		"Store.Topic":        func() error { _, err := st.Topic("orders"); return err },
		"Store.CreateTopic":  func() error { _, err := st.CreateTopic(ctx, "x", TopicConfig{}); return err },
		"Store.DeleteTopic":  func() error { return st.DeleteTopic(ctx, "orders") },
		"Topic.Partition":    func() error { _, err := tp.Partition(0); return err },
		"unopened partition": func() error { _, err := tp.Partition(1); return err },
		"Append":             func() error { _, err := p.Append(ctx, Record{}); return err },
		"Append of nothing":  func() error { _, err := p.Append(ctx); return err },
		"AppendWith":         func() error { _, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{}); return err },
		"Sync":               func() error { return p.Sync(ctx) },
		"Reader":             func() error { _, err := p.Reader(ReaderOptions{}); return err },
		"OffsetForTime":      func() error { _, err := p.OffsetForTime(time.Now()); return err },
		"Reopen":             func() error { return p.Reopen(ctx) },
		"Next":               func() error { _, err := r.Next(ctx); return err },
		"SeekTo":             func() error { return r.SeekTo(0) },
		"Records": func() error {
			for _, err := range r.Records(ctx) {
				return err
			}
			return nil
		},
	} {
		require.ErrorIs(t, call(), ErrClosed, name)
	}
	for range st.Topics() {
		t.Fatal("a topic of a closed store")
	}
	// What the reader gave last stays.
	require.Equal(t, int64(0), b.BaseOffset())
	for rec, err := range b.Records() {
		require.NoError(t, err)
		require.Equal(t, "v0", string(rec.Value))
	}
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Nil(t, b.Bytes())
	_, err = r.Next(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

func TestCancelledContext(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := st.CreateTopic(over, "x", TopicConfig{})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, st.DeleteTopic(over, "orders"), context.Canceled)
	_, err = p.Append(over, Record{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = reader(t, p, ReaderOptions{}).Next(over)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, int64(0), p.LogEndOffset())
}

// TestGoneAndFailed: what every method of a topic and a partition says when the
// topic was deleted, or the store closed, and which error a failed partition gives.
func TestGoneAndFailed(t *testing.T) {
	for _, state := range []struct {
		name string
		make func(st *Store, m *vfs.Mem, p *Partition)
		want error
	}{
		{"deleted", func(st *Store, _ *vfs.Mem, p *Partition) { require.NoError(t, st.DeleteTopic(ctx, "orders")) }, ErrUnknownTopic},
		{"closed", func(st *Store, _ *vfs.Mem, p *Partition) { require.NoError(t, st.Close()) }, ErrClosed},
		{"failed", func(_ *Store, m *vfs.Mem, p *Partition) {
			f := &fault{op: vfs.OpSync, name: "orders-0/", err: syscall.EIO}
			f.on.Store(true)
			m.SetHook(f.hook)
			_, err := p.Append(ctx, Record{Value: []byte("v")})
			require.ErrorIs(t, err, ErrFailed)
			m.SetHook(nil)
		}, ErrFailed},
	} {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{External: ExternalWatermark})
		fill(t, p, 3)
		require.NoError(t, p.SetHighWatermark(2))
		f, err := p.Fetch(FetchOptions{})
		require.NoError(t, err)
		raw := bytes.Clone(f.Bytes()[:f.Len()/2])
		f.Release()
		state.make(st, m, p)
		tp := p.Topic()
		for name, call := range map[string]func() error{
			"Partition.Append":           func() error { _, err := p.Append(ctx, Record{}); return err },
			"Partition.AppendWith":       func() error { _, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{}); return err },
			"Partition.AppendBatches":    func() error { _, err := p.AppendBatches(raw, AppendOptions{}); return err },
			"Partition.Sync":             func() error { return p.Sync(ctx) },
			"Partition.TruncateTo":       func() error { return p.TruncateTo(1) },
			"Partition.ResetTo":          func() error { return p.ResetTo(1) },
			"Partition.SetHighWatermark": func() error { return p.SetHighWatermark(3) },
			"Partition.DeleteRecords":    func() error { return p.DeleteRecords(ctx, 1) },
			"Partition.Export":           func() error { return p.Export(ctx, t.TempDir()) },
			"Topic.Retain":               func() error { _, err := tp.Retain(ctx); return err },
			"Fetch at the end":           func() error { _, err := p.Fetch(FetchOptions{Offset: p.LogEndOffset()}); return err },
		} {
			if state.name == "failed" && name == "Partition.SetHighWatermark" {
				continue // it writes no record
			}
			err := call()
			assert.ErrorIs(t, err, state.want, "%s %s", state.name, name)
			if err != nil {
				assert.Equal(t, 1, strings.Count(err.Error(), "leat:"), "%s %s: %v", state.name, name, err)
			}
		}
		for name, call := range map[string]func() error{
			"Topic.Partition":                 func() error { _, err := tp.Partition(0); return err },
			"Topic.SetConfig":                 func() error { return tp.SetConfig(ctx, tp.Config()) },
			"Topic.SetProperties":             func() error { return tp.SetProperties(ctx, nil) },
			"Topic.AddPartitions":             func() error { return tp.AddPartitions(ctx, 1) },
			"Partition.Reader":                func() error { _, err := p.Reader(ReaderOptions{}); return err },
			"Partition.Fetch":                 func() error { _, err := p.Fetch(FetchOptions{}); return err },
			"Partition.OffsetForTime":         func() error { _, err := p.OffsetForTime(time.Now()); return err },
			"Partition.OffsetForMaxTimestamp": func() error { _, _, err := p.OffsetForMaxTimestamp(); return err },
			"Partition.Reopen":                func() error { return p.Reopen(ctx) },
		} {
			if state.name == "failed" {
				break // these do what they do: reading goes on
			}
			err := call()
			assert.ErrorIs(t, err, state.want, "%s %s", state.name, name)
		}
		if state.name != "closed" {
			require.NoError(t, st.Close())
		}
	}
}

// TestConcurrentCreate: one wins, and the others are told.
func TestConcurrentCreate(t *testing.T) {
	st := memStore(t)
	results := make(chan error)
	for range 8 {
		go func() {
			_, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 2})
			results <- err
		}()
	}
	won := 0
	for range 8 {
		if err := <-results; err == nil {
			won++
		} else {
			require.ErrorIs(t, err, ErrTopicExists)
		}
	}
	require.Equal(t, 1, won)
}
