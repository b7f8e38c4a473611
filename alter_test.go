package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestSetConfig: what is set is stored at once, and what was read can be set
// back whatever Options.Topic says.
func TestSetConfig(t *testing.T) {
	fsys := vfs.NewCrashMem()
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 3, SegmentBytes: 64 << 10})
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	fill(t, p, 5)

	c := everyOption
	c.External, c.Partitions = 0, 0
	require.NoError(t, tp.SetConfig(ctx, c))
	c.Partitions = 3
	require.Equal(t, c, tp.Config())
	fill(t, p, 5)
	left := fsys.CrashClone(vfs.None)
	st.abandonAll()

	st = openStore(t, left, &Options{Topic: TopicConfig{Compression: Gzip, External: ExternalEpochs, Compaction: Compaction{MinLag: time.Hour}}})
	tp, err = st.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, c, tp.Config(), "durable when SetConfig had returned")
	c = TopicConfig{Partitions: 3}.withDefaults(TopicConfig{})
	require.NoError(t, tp.SetConfig(ctx, c))
	require.NoError(t, tp.SetConfig(ctx, tp.Config()))
	require.Equal(t, c, tp.Config(), "the defaults of new topics are not this one's")

	for says, c := range map[string]TopicConfig{
		"Partitions is 4: there are 3, and AddPartitions makes more": {Partitions: 4},
		"Partitions is 2":     {Partitions: 2},
		"SegmentBytes is 7":   {SegmentBytes: 7},
		"Compaction.MinLag (": {Compaction: Compaction{MinLag: 2, MaxLag: 1}},
	} {
		err := tp.SetConfig(ctx, c)
		require.ErrorIs(t, err, ErrInvalidConfig, says)
		if c.Compaction.MinLag == 0 {
			require.ErrorContains(t, err, says)
		}
		require.ErrorContains(t, err, `topic "orders"`)
	}
	require.Equal(t, TopicConfig{Partitions: 3}.withDefaults(TopicConfig{}), tp.Config(), "nothing has changed")
}

// TestSetConfigTakesEffect on partitions that are open, and on one that is opened
// later.
func TestSetConfigTakesEffect(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{Partitions: 2, SegmentBytes: 64 << 10, Durability: Written, FlushInterval: Unlimited})
	tp := p.Topic()
	_, err := p.Append(ctx, Record{Value: []byte("no key")})
	require.NoError(t, err)
	require.Equal(t, int64(0), p.log.Load().DurableEnd())

	require.NoError(t, tp.SetConfig(ctx, TopicConfig{Cleanup: CleanupCompact, Compression: Zstd, SegmentBytes: 16 << 10, Timestamps: LogAppendTime}))
	require.Equal(t, int64(1), p.log.Load().DurableEnd(), "it is Synced now")
	later, err := tp.Partition(1)
	require.NoError(t, err)
	for _, p := range []*Partition{p, later} {
		_, err = p.Append(ctx, Record{Value: []byte("no key")})
		require.ErrorIs(t, err, ErrInvalidRecord)
		for range 4 {
			_, err = p.Append(ctx, Record{Key: []byte("k"), Value: make([]byte, 100), Timestamp: time.UnixMilli(5)})
			require.NoError(t, err)
		}
		r := reader(t, p, ReaderOptions{From: At(p.LogEndOffset() - 1)})
		b, err := r.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, Zstd, b.Compression())
		for rec := range b.Records() {
			require.NotEqual(t, int64(5), rec.Timestamp.UnixMilli())
		}
		require.Equal(t, p.LogEndOffset(), p.log.Load().DurableEnd())
		_, err = p.Append(ctx, Record{Key: []byte("k"), Value: noise(20 << 10)})
		require.ErrorIs(t, err, ErrRecordTooLarge)
	}
	require.NoError(t, tp.SetConfig(ctx, TopicConfig{}))
	_, err = p.Append(ctx, Record{Value: []byte("no key")})
	require.NoError(t, err)
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// TestSetProperties changes what is named and nothing else.
func TestSetProperties(t *testing.T) {
	fsys := vfs.NewMem()
	o := &Options{Topic: TopicConfig{Compression: LZ4, Retention: Retention{Groups: []string{"audit"}}}}
	st, err := openFS(fsys, o)
	require.NoError(t, err)
	tp := part(t, st, "orders", TopicConfig{SegmentBytes: 64 << 10}).Topic()
	require.NoError(t, tp.SetProperties(ctx, map[string]string{"retention.ms": "60000", "compression.type": "producer", "leat.retention.groups": ""}))
	want := TopicConfig{SegmentBytes: 64 << 10, Retention: Retention{Age: time.Minute}}.withDefaults(TopicConfig{})
	require.Equal(t, want, tp.Config())

	for says, err := range map[string]error{
		`retention.ms is "soon"`:        tp.SetProperties(ctx, map[string]string{"segment.bytes": "2048", "retention.ms": "soon"}),
		`there is no property "x.y"`:    tp.SetProperties(ctx, nil, "segment.ms", "x.y"),
		"flush.messages is Kafka's":     tp.SetProperties(ctx, nil, "flush.messages"),
		"to be set and to be reset":     tp.SetProperties(ctx, map[string]string{"segment.ms": "5"}, "segment.ms"),
		"no batch can be larger than S": tp.SetProperties(ctx, map[string]string{"max.message.bytes": "70000"}),
	} {
		require.ErrorIs(t, err, ErrInvalidConfig, says)
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, want, tp.Config(), "all or nothing")
	require.NoError(t, st.Close())

	st = openStore(t, fsys, o)
	tp, err = st.Topic("orders")
	require.NoError(t, err)
	require.Equal(t, want, tp.Config())
	require.NoError(t, tp.SetProperties(ctx, nil, "retention.ms", "compression.type", "leat.retention.groups"))
	require.Equal(t, TopicConfig{SegmentBytes: 64 << 10}.withDefaults(o.Topic), tp.Config(), "what a new topic would get")
}

// TestAlterAfterTheEnd: of a deleted topic, of a closed store.
func TestAlterAfterTheEnd(t *testing.T) {
	st := memStore(t)
	tp := part(t, st, "orders", TopicConfig{}).Topic()
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	calls := map[string]func() error{
		"SetConfig":     func() error { return tp.SetConfig(ctx, TopicConfig{}) },
		"SetProperties": func() error { return tp.SetProperties(ctx, nil) },
		"AddPartitions": func() error { return tp.AddPartitions(ctx, 1) },
	}
	for name, call := range calls {
		require.ErrorIs(t, call(), ErrUnknownTopic, name)
	}
	require.NoError(t, st.Close())
	for name, call := range calls {
		require.ErrorIs(t, call(), ErrClosed, name)
	}
}

// TestFaultsOfAltering makes one call after another fail: the old configuration
// holds or the new one, never something else, and records stay.
func TestFaultsOfAltering(t *testing.T) {
	broken := errors.New("broken")
	for _, op := range []vfs.Op{vfs.OpMkdir, vfs.OpCreate, vfs.OpWriteAt, vfs.OpSync, vfs.OpSyncDir, vfs.OpRename, vfs.OpRemove} {
		for nth := int32(1); ; nth++ {
			m := vfs.NewCrashMem()
			st, err := openFS(m, nil)
			require.NoError(t, err)
			p := part(t, st, "orders", TopicConfig{SegmentBytes: 16 << 10, Durability: Written})
			fill(t, p, 3)
			before := p.Topic().Config()
			var calls atomic.Int32
			var hit atomic.Bool
			m.SetHook(func(o vfs.Op, _ string, before bool) error {
				if before && o == op && calls.Add(1) == nth {
					hit.Store(true)
					return broken
				}
				return nil
			})
			c := before
			c.Durability, c.Compression = Synced, LZ4
			serr := p.Topic().SetConfig(ctx, c)
			aerr := p.Topic().AddPartitions(ctx, 2)
			m.SetHook(nil)
			got := p.Topic().Config()
			left := m.CrashClone(vfs.None)
			st.abandonAll()

			st, err = openFS(left, nil)
			require.NoError(t, err, "%v %d", op, nth)
			tp, err := st.Topic("orders")
			require.NoError(t, err)
			stored := tp.Config()
			if serr == nil {
				require.Equal(t, LZ4, stored.Compression)
			}
			if aerr == nil {
				require.Equal(t, int32(3), stored.Partitions)
				require.Equal(t, int32(3), got.Partitions)
			}
			require.Contains(t, []int32{1, 3}, stored.Partitions)
			if stored.Partitions == 1 {
				_, err := left.Stat("orders-1")
				require.ErrorIs(t, err, fs.ErrNotExist, "%v %d: what is left of it goes", op, nth)
			}
			for id := range stored.Partitions {
				p, err := tp.Partition(id)
				require.NoError(t, err, "%v %d", op, nth)
				require.LessOrEqual(t, p.LogEndOffset(), int64(3))
			}
			require.NoError(t, tp.AddPartitions(ctx, 1), "%v %d", op, nth)
			require.NoError(t, st.Close())
			if !hit.Load() {
				require.NoError(t, errors.Join(serr, aerr))
				break
			}
			require.Less(t, nth, int32(50))
		}
	}
}

func TestAddPartitions(t *testing.T) {
	fsys := vfs.NewMem()
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{Partitions: 2, SegmentBytes: 64 << 10})
	fill(t, p, 5)
	tp := p.Topic()
	require.NoError(t, tp.AddPartitions(ctx, 3))
	require.Equal(t, int32(5), tp.Config().Partitions)
	for _, n := range []int32{0, -1, 99_996, 1<<31 - 1} {
		err := tp.AddPartitions(ctx, n)
		require.ErrorIs(t, err, ErrInvalidConfig)
		require.ErrorContains(t, err, "orders, which has 5: allowed are 1 to 100000")
	}
	added, err := tp.Partition(4)
	require.NoError(t, err)
	fill(t, added, 7)
	seen := map[int32]bool{}
	for i := range 100 {
		seen[tp.PartitionFor(fmt.Appendf(nil, "key %d", i))] = true
	}
	require.Len(t, seen, 5)
	require.NoError(t, st.Close())
	_, err = fsys.Stat(cleanName)
	require.NoError(t, err, "partitions that nobody has opened are no hindrance")

	st = openStore(t, fsys, nil)
	tp, err = st.Topic("orders")
	require.NoError(t, err)
	n := int32(0)
	for p := range tp.Partitions() {
		require.Equal(t, n, p.ID())
		require.Equal(t, map[int32]int64{0: 5, 4: 7}[n], p.LogEndOffset())
		n++
	}
	require.Equal(t, int32(5), n)
}

// TestAddPartitionsInTheWay: a folder with something in it is not taken over, and
// nothing is left of what was made before it was met.
func TestAddPartitionsInTheWay(t *testing.T) {
	fsys := vfs.NewMem()
	st := openStore(t, fsys, nil)
	tp := part(t, st, "orders", TopicConfig{}).Topic()
	require.NoError(t, fsys.Mkdir("orders-2"))
	f, err := fsys.Create("orders-2/thesis.txt")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	err = tp.AddPartitions(ctx, 3)
	require.ErrorIs(t, err, ErrTopicExists)
	require.ErrorContains(t, err, "thesis.txt")
	require.Equal(t, int32(1), tp.Config().Partitions)
	_, err = fsys.Stat("orders-1")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, tp.AddPartitions(ctx, 1))
}

// TestAddPartitionsWithHoles: the new ones of an adopted topic come behind all
// there are, and the holes stay.
func TestAddPartitionsWithHoles(t *testing.T) {
	fsys := vfs.NewMem()
	for _, folder := range []string{"old-1", "old-4"} {
		require.NoError(t, fsys.Mkdir(folder))
	}
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	tp, err := st.Topic("old")
	require.NoError(t, err)
	require.NoError(t, tp.AddPartitions(ctx, 2))
	require.NoError(t, tp.SetConfig(ctx, TopicConfig{}))
	require.NoError(t, st.Close())
	st = openStore(t, fsys, nil)
	tp, err = st.Topic("old")
	require.NoError(t, err)
	var ids []int32
	for p := range tp.Partitions() {
		ids = append(ids, p.ID())
		require.Equal(t, int64(0), p.LogEndOffset())
	}
	require.Equal(t, []int32{1, 4, 5, 6}, ids)
	_, err = tp.Partition(3)
	require.ErrorIs(t, err, ErrUnknownPartition)
}

// TestAlterUnderLoad: everything at once, for the race detector.
func TestAlterUnderLoad(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 32 << 10, Durability: Written})
	tp := p.Topic()
	var stop atomic.Bool
	var wg sync.WaitGroup
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range 4 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				p, err := tp.Partition(int32(n*i) % tp.Config().Partitions)
				require.NoError(t, err)
				_, err = p.AppendWith(ctx, AppendOptions{Durability: Durability(i % 3)}, Record{Key: []byte("k"), Value: make([]byte, 500)})
				require.NoError(t, err)
				tp.PartitionFor([]byte{byte(n)})
				_ = tp.String()
				for range tp.Partitions() {
				}
			}
		})
	}
	wg.Go(func() {
		r, err := p.Reader(ReaderOptions{})
		require.NoError(t, err)
		defer r.Close()
		for {
			if _, err := r.Next(reading); err != nil {
				require.ErrorIs(t, err, context.Canceled)
				return
			}
		}
	})
	for i := range 40 {
		c := TopicConfig{SegmentBytes: int64(16+16*(i%3)) << 10, Durability: Durability(1 + i%2), Cleanup: Cleanup(1 + i%3)}
		require.NoError(t, tp.SetConfig(ctx, c))
		if i%10 == 0 {
			require.NoError(t, tp.AddPartitions(ctx, 1))
		}
	}
	stop.Store(true)
	cancel()
	wg.Wait()
	require.Equal(t, int32(5), tp.Config().Partitions)
}
