package leat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// producer makes one that the test closes.
func producer(t testing.TB, st *Store, c ProducerConfig) *Producer {
	t.Helper()
	p, err := st.Producer(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// topicOf makes a topic.
func topicOf(t testing.TB, st *Store, name string, c TopicConfig) *Topic {
	t.Helper()
	tp, err := st.CreateTopic(ctx, name, c)
	require.NoError(t, err)
	return tp
}

// opened are the partitions of a topic.
func opened(t testing.TB, tp *Topic) []*Partition {
	t.Helper()
	var list []*Partition
	for p := range tp.Partitions() {
		q, err := tp.Partition(p.ID())
		require.NoError(t, err)
		list = append(list, q)
	}
	return list
}

// batchSizes are the record counts of a partition's batches.
func batchSizes(t testing.TB, p *Partition) []int {
	t.Helper()
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	sizes := []int{}
	for {
		b, err := r.Next(ctx)
		if err != nil {
			return sizes
		}
		sizes = append(sizes, b.RecordCount())
	}
}

// answers are what callbacks were told, in order.
type answers struct {
	sync.Mutex
	offsets []int64
	errs    []error
}

func (a *answers) done(r *Record, err error) {
	a.Lock()
	defer a.Unlock()
	a.offsets, a.errs = append(a.offsets, r.Offset), append(a.errs, err)
}

func value(i int) []byte { return []byte("v" + strconv.Itoa(i)) }

// TestProduce: a record is durable, and knows where it is, when Produce returns.
func TestProduce(t *testing.T) {
	for name, c := range map[string]TopicConfig{
		"synced": {}, "written": {Durability: Written}, "packed": {Compression: LZ4}, "log time": {Timestamps: LogAppendTime},
	} {
		t.Run(name, func(t *testing.T) {
			st := memStore(t)
			part := part(t, st, "orders", c)
			p := producer(t, st, ProducerConfig{Linger: time.Hour})
			given := time.UnixMilli(time.Now().UnixMilli() - 1000)
			begun := time.UnixMilli(time.Now().UnixMilli())
			for i := range 5 {
				a, b := &Record{Topic: "orders", Value: value(2 * i)}, &Record{Topic: "orders", Value: value(2*i + 1), Timestamp: given}
				require.NoError(t, p.Produce(ctx, a, b))
				require.Equal(t, []int64{int64(2 * i), int64(2*i + 1)}, []int64{a.Offset, b.Offset})
				require.False(t, a.Timestamp.Before(begun))
				require.Equal(t, name == "log time", !b.Timestamp.Equal(given))
				r := reader(t, part, ReaderOptions{From: At(a.Offset), UntilEnd: true})
				for rec, err := range r.Records(ctx) {
					require.NoError(t, err)
					want := map[int64]*Record{a.Offset: a, b.Offset: b}[rec.Offset]
					require.Equal(t, want.Timestamp.UnixMilli(), rec.Timestamp.UnixMilli())
				}
			}
			require.Equal(t, []int{2, 2, 2, 2, 2}, batchSizes(t, part))
			require.NoError(t, p.Produce(ctx))
			require.Zero(t, p.room.used.Load())
		})
	}
}

// TestProduceCompression: the topic's goes first, the producer's is for those
// without one.
func TestProduceCompression(t *testing.T) {
	st := memStore(t)
	p := producer(t, st, ProducerConfig{Compression: Zstd})
	for name, want := range map[string]Compression{"plain": Zstd, "lz4": LZ4} {
		c := TopicConfig{Durability: Written}
		if want == LZ4 {
			c.Compression = LZ4
		}
		q := part(t, st, name, c)
		require.NoError(t, p.Produce(ctx, &Record{Topic: name, Value: bytes.Repeat([]byte("x"), 1000)}))
		b, err := reader(t, q, ReaderOptions{}).Next(ctx)
		require.NoError(t, err)
		require.Equal(t, want, b.Compression())
		require.Equal(t, 1000, len(collect(t, b)[0].Value))
	}
	// What fits a batch only when it is compressed is taken.
	part(t, st, "small", TopicConfig{MaxBatchBytes: 1000})
	require.NoError(t, p.Produce(ctx, &Record{Topic: "small", Value: make([]byte, 100_000)}))
}

func collect(t testing.TB, b *Batch) []*Record {
	t.Helper()
	var list []*Record
	for r, err := range b.Records() {
		require.NoError(t, err)
		list = append(list, r.Clone())
	}
	return list
}

// TestProduceBatches: a batch goes when the first of its three limits is reached,
// and not before.
func TestProduceBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			config ProducerConfig
			gap    time.Duration // between records, of which there are 10
			sizes  []int
			first  time.Duration // when the first is stored
		}{
			{"records", ProducerConfig{Linger: time.Hour, BatchRecords: 4}, time.Second, []int{4, 4, 2}, 3 * time.Second},
			{"bytes", ProducerConfig{Linger: time.Hour, BatchBytes: 61 + 3*(100+recordFrame)}, time.Second, []int{3, 3, 3, 1}, 2 * time.Second},
			{"one is too many", ProducerConfig{Linger: time.Hour, BatchBytes: 400}, time.Second, []int{2, 2, 2, 2, 2}, 2 * time.Second},
			{"larger than a batch", ProducerConfig{Linger: time.Hour, BatchBytes: 10}, time.Second, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
			{"linger", ProducerConfig{Linger: 2500 * time.Millisecond}, time.Second, []int{3, 3, 3, 1}, 2500 * time.Millisecond},
			{"linger of the second", ProducerConfig{Linger: 2500 * time.Millisecond, BatchRecords: 2}, 2 * time.Second, []int{2, 2, 2, 2, 2}, 2 * time.Second},
			{"no linger", ProducerConfig{}, time.Second, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
		} {
			st, err := OpenMem(nil)
			require.NoError(t, err)
			q := part(t, st, "orders", TopicConfig{})
			p, err := st.Producer(c.config)
			require.NoError(t, err)
			begun := time.Now()
			var first time.Duration
			for i := range 10 {
				p.ProduceAsync(ctx, &Record{Topic: "orders", Value: make([]byte, 100)}, func(r *Record, err error) {
					require.NoError(t, err)
					if r.Offset == 0 {
						first = time.Since(begun)
					}
				})
				if i < 9 {
					time.Sleep(c.gap)
					synctest.Wait()
				}
			}
			require.NoError(t, p.Flush(ctx))
			require.Equal(t, c.first, first, c.name)
			require.Equal(t, c.sizes, batchSizes(t, q), c.name)
			require.NoError(t, p.Close())
			require.NoError(t, st.Close())
		}
	})
}

// TestProduceLinger: linger counts from the first record of each batch, and what
// waits neither for it nor lets others wait is Produce.
func TestProduceLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		part(t, st, "orders", TopicConfig{})
		p, err := st.Producer(ProducerConfig{Linger: 5 * time.Second, BatchRecords: 3})
		require.NoError(t, err)
		begun := time.Now()
		times := map[int]time.Duration{}
		async := func(i int) {
			p.ProduceAsync(ctx, &Record{Topic: "orders", Value: value(i)}, func(*Record, error) { times[i] = time.Since(begun) })
		}
		for i := range 4 { // three are a batch, the fourth begins one at 3 s
			async(i)
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, map[int]time.Duration{0: 2 * time.Second, 1: 2 * time.Second, 2: 2 * time.Second, 3: 8 * time.Second}, times)
		async(4)
		require.NoError(t, p.Produce(ctx, &Record{Topic: "orders"}))
		synctest.Wait()
		require.Equal(t, 9*time.Second, times[4])
		require.Equal(t, 9*time.Second, time.Since(begun))
		async(5)
		require.NoError(t, p.Close())
		require.Equal(t, 9*time.Second, times[5], "nobody waits for linger in Close")
		require.NoError(t, st.Close())
	})
}

// TestProducePartition: Kafka's partition of a key, sticky without one, the one
// of the record, the caller's own.
func TestProducePartition(t *testing.T) {
	st := memStore(t)
	tp := topicOf(t, st, "orders", TopicConfig{Partitions: 7, Durability: Written})
	p := producer(t, st, ProducerConfig{})
	for i := range 100 {
		r := &Record{Topic: "orders", Key: value(i), Partition: 99}
		require.NoError(t, p.Produce(ctx, r))
		require.Equal(t, tp.PartitionFor(r.Key), r.Partition)
	}
	empty := &Record{Topic: "orders", Key: []byte{}}
	require.NoError(t, p.Produce(ctx, empty))
	require.Equal(t, tp.PartitionFor(nil), empty.Partition)

	seen := map[int32]int{}
	last := int32(-1)
	for range 300 { // the partition has nothing to do: its batch is done
		r := &Record{Topic: "orders"}
		require.NoError(t, p.Produce(ctx, r))
		require.NotEqual(t, last, r.Partition)
		last = r.Partition
		seen[last]++
	}
	require.Len(t, seen, 7)

	sticky := producer(t, st, ProducerConfig{Linger: time.Hour, BatchRecords: 10})
	var records []*Record
	for range 100 {
		r := &Record{Topic: "orders"}
		records = append(records, r)
		sticky.ProduceAsync(ctx, r, nil)
	}
	require.NoError(t, sticky.Flush(ctx))
	for i := range 100 {
		require.Equal(t, records[i/10*10].Partition, records[i].Partition)
		if i%10 == 0 && i > 0 {
			require.NotEqual(t, records[i-1].Partition, records[i].Partition)
		}
	}

	fixed := producer(t, st, ProducerConfig{Partitioner: FixedPartition})
	r := &Record{Topic: "orders", Key: value(1), Partition: 3}
	require.NoError(t, fixed.Produce(ctx, r))
	require.Equal(t, int32(3), r.Partition)
	r.Partition = UnknownPartition
	require.NoError(t, fixed.Produce(ctx, r))
	for _, n := range []int32{7, -2} {
		r.Partition = n
		require.ErrorIs(t, fixed.Produce(ctx, r), ErrUnknownPartition)
		require.Equal(t, int64(-1), r.Offset)
		require.ErrorIs(t, fixed.TryProduce(r, nil), ErrUnknownPartition)
	}
	own := producer(t, st, ProducerConfig{Partitioner: lastPartition{}})
	require.NoError(t, own.Produce(ctx, r))
	require.Equal(t, int32(6), r.Partition)
	require.NoError(t, tp.AddPartitions(ctx, 2))
	require.NoError(t, own.Produce(ctx, r))
	require.Equal(t, int32(8), r.Partition)
	key := &Record{Topic: "orders", Key: []byte("after")}
	require.NoError(t, p.Produce(ctx, key))
	require.Equal(t, tp.PartitionFor(key.Key), key.Partition)
}

type lastPartition struct{}

func (lastPartition) Partition(_ *Record, n int32) int32 { return n - 1 }

// TestProduceAlone: a record that cannot be stored fails alone, in the middle of
// a batch too, and the others keep their order.
func TestProduceAlone(t *testing.T) {
	for name, c := range map[string]struct {
		topic TopicConfig
		bad   func(*Record)
		err   error
	}{
		"too large":   {TopicConfig{MaxBatchBytes: 2000}, func(r *Record) { r.Value = make([]byte, 2000) }, ErrRecordTooLarge},
		"timestamp":   {TopicConfig{}, func(r *Record) { r.Timestamp = time.Now().Add(100 * time.Hour) }, ErrInvalidTimestamp},
		"no key":      {TopicConfig{Cleanup: CleanupCompact}, func(r *Record) { r.Key = nil }, ErrInvalidRecord},
		"packed":      {TopicConfig{Compression: Zstd}, func(r *Record) { r.Timestamp = time.Now().Add(100 * time.Hour) }, ErrInvalidTimestamp},
		"no topic":    {TopicConfig{}, func(r *Record) { r.Topic = "none" }, ErrUnknownTopic},
		"nobody else": {TopicConfig{}, func(r *Record) {}, nil},
	} {
		for _, bad := range [][]int{{0}, {9}, {3, 4, 7}} {
			t.Run(fmt.Sprint(name, bad), func(t *testing.T) {
				st := memStore(t)
				q := part(t, st, "orders", c.topic)
				p := producer(t, st, ProducerConfig{Linger: time.Hour})
				var a answers
				want := []string{}
				isBad := map[int]bool{}
				for _, i := range bad {
					isBad[i] = true
				}
				all := make([]*Record, 10)
				errs := make([]error, 10)
				for i := range 10 {
					r := &Record{Topic: "orders", Key: []byte("k"), Value: value(i)}
					if all[i] = r; isBad[i] {
						c.bad(r)
					}
					if !isBad[i] || c.err == nil {
						want = append(want, string(r.Value))
					}
					p.ProduceAsync(ctx, r, func(r *Record, err error) { errs[i] = err; a.done(r, err) })
				}
				require.NoError(t, p.Flush(ctx))
				require.Equal(t, want, valuesOf(t, q))
				require.Len(t, a.offsets, 10)
				next := int64(0)
				for i := range 10 {
					if isBad[i] && c.err != nil {
						require.ErrorIs(t, errs[i], c.err)
						require.NotErrorIs(t, errs[i], ErrUnknownOutcome)
						require.Equal(t, int64(-1), all[i].Offset)
						continue
					}
					require.NoError(t, errs[i])
					require.Equal(t, next, all[i].Offset)
					next++
				}
				require.Zero(t, p.room.used.Load())
				// The same by Produce.
				err := p.Produce(ctx, all...)
				require.ErrorIs(t, err, c.err)
				require.Equal(t, 2*len(want), len(valuesOf(t, q)))
			})
		}
	}
}

// gate holds the syncs of a store up.
type gate struct {
	mu     sync.Mutex
	closed chan struct{}
}

func (g *gate) hook(op vfs.Op, name string, before bool) error {
	g.mu.Lock()
	c := g.closed
	g.mu.Unlock()
	if c != nil && before && op == vfs.OpSync && bytes.Contains([]byte(name), []byte("orders-")) {
		<-c
	}
	return nil
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func gated(t *testing.T, c TopicConfig) (*Store, *Partition, *gate) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	q := part(t, st, "orders", c)
	fill(t, q, 1)
	g := new(gate)
	m.SetHook(g.hook)
	return st, q, g
}

// TestProduceContext: an error of a context says whether the record is known not
// to be stored.
func TestProduceContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, q, g := gated(t, TopicConfig{})
		p, err := st.Producer(ProducerConfig{})
		require.NoError(t, err)
		g.shut()
		over, cancel := context.WithCancel(ctx)
		cancel()
		require.Equal(t, context.Canceled, p.Produce(over, &Record{Topic: "orders"}))
		soon := func() context.Context {
			c, cancel := context.WithTimeout(ctx, time.Second)
			t.Cleanup(cancel)
			return c
		}
		first := &Record{Topic: "orders", Value: []byte("handed over")}
		err = p.Produce(soon(), first)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrUnknownOutcome)
		*first = Record{} // is the caller's again
		var a answers
		p.ProduceAsync(soon(), &Record{Topic: "orders", Value: []byte("async")}, a.done)
		// The sender is at work: this one is only queued.
		err = p.Produce(soon(), &Record{Topic: "orders", Value: []byte("withdrawn")})
		require.Equal(t, context.DeadlineExceeded, err)
		require.Empty(t, a.errs)
		g.open()
		require.NoError(t, p.Flush(ctx))
		require.Equal(t, []string{"v0", "handed over", "async"}, valuesOf(t, q))
		require.Equal(t, Record{}, *first, "nothing is told of it any more")
		require.Equal(t, []int64{2}, a.offsets)
		require.Zero(t, p.room.used.Load())
		g.shut()
		p.ProduceAsync(ctx, &Record{Topic: "orders"}, nil)
		require.ErrorIs(t, p.Flush(soon()), context.DeadlineExceeded)
		g.open()
		require.NoError(t, p.Close())
		require.NoError(t, st.Close())
	})
}

// TestProduceFull: the bound holds, fails or blocks, and whoever waits comes in
// turn.
func TestProduceFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, q, g := gated(t, TopicConfig{})
		p, err := st.Producer(ProducerConfig{MaxBuffered: 4 * (recordKept + 100)})
		require.NoError(t, err)
		g.shut()
		var a answers
		record := func(s string) *Record {
			return &Record{Topic: "orders", Value: append([]byte(s), make([]byte, 100-len(s))...)}
		}
		for range 4 {
			require.NoError(t, p.TryProduce(record("a"), a.done))
		}
		require.Equal(t, ErrFull, p.TryProduce(record("b"), a.done))
		c, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		p.ProduceAsync(c, record("c"), func(r *Record, err error) {
			require.Equal(t, context.DeadlineExceeded, err)
			require.Equal(t, int64(-1), r.Offset)
			cancel()
		})
		require.Error(t, c.Err())
		huge := make(chan error)
		go func() { huge <- p.Produce(ctx, &Record{Topic: "orders", Value: make([]byte, 10_000)}) }()
		synctest.Wait()
		small := make(chan bool)
		go func() {
			p.ProduceAsync(ctx, record("d"), a.done)
			close(small)
		}()
		synctest.Wait()
		require.Len(t, p.room.mu.queue, 2)
		require.Equal(t, ErrFull, p.TryProduce(record("e"), a.done))
		g.open()
		require.NoError(t, <-huge)
		<-small
		require.NoError(t, p.Flush(ctx))
		require.Equal(t, []int64{1, 2, 3, 4, 6}, a.offsets)
		require.Equal(t, int64(7), q.LogEndOffset())
		require.Zero(t, p.room.used.Load())

		// Who waits is not overtaken, though there is room for less.
		g.shut()
		require.NoError(t, p.TryProduce(record("a"), nil))
		go func() { huge <- p.Produce(ctx, &Record{Topic: "orders", Value: make([]byte, 10_000)}) }()
		synctest.Wait()
		require.Equal(t, ErrFull, p.TryProduce(record("e"), a.done))
		g.open()
		require.NoError(t, <-huge)

		// A callback finds room, that of its own record.
		var inside error
		p.ProduceAsync(ctx, &Record{Topic: "orders", Value: make([]byte, 10_000)}, func(*Record, error) {
			inside = p.TryProduce(record("i"), nil)
		})
		require.NoError(t, p.Flush(ctx))
		require.NoError(t, inside)
		require.NoError(t, p.Flush(ctx))
		require.Equal(t, int64(11), q.LogEndOffset())

		// Close wakes those who wait for room.
		g.shut()
		for range 4 {
			require.NoError(t, p.TryProduce(record("a"), nil))
		}
		go func() { huge <- p.Produce(ctx, record("f")) }()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- p.Close() }()
		require.Equal(t, ErrClosed, <-huge)
		g.open()
		require.NoError(t, <-closed)
		require.Equal(t, ErrClosed, p.TryProduce(record("g"), nil))
		require.Equal(t, ErrClosed, p.Produce(ctx, record("g")))
		require.NoError(t, p.Close())
		require.Equal(t, int64(15), q.LogEndOffset())
		require.NoError(t, st.Close())
	})
}

// TestProduceFlushParts: Flush waits for all of a batch that was stored in parts.
func TestProduceFlushParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		part(t, st, "orders", TopicConfig{})
		p, err := st.Producer(ProducerConfig{Linger: time.Hour})
		require.NoError(t, err)
		p.ProduceAsync(ctx, &Record{Topic: "orders", Timestamp: time.Now().Add(100 * time.Hour)}, nil)
		release := make(chan struct{})
		p.ProduceAsync(ctx, &Record{Topic: "orders"}, func(*Record, error) { <-release })
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, p.Flush(soon), context.DeadlineExceeded)
		close(release)
		require.ErrorIs(t, p.Flush(ctx), ErrInvalidTimestamp)
		require.NoError(t, p.Close())
		require.NoError(t, st.Close())
	})
}

// TestProduceCallbacks: one that blocks holds up the callbacks of its partition
// and nothing else; one that panics or ends its goroutine, nothing at all.
func TestProduceCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		st, err := OpenMem(&Options{Observer: &Observer{Background: func(err error) { told = append(told, err) }}})
		require.NoError(t, err)
		tp := topicOf(t, st, "orders", TopicConfig{Partitions: 2})
		p, err := st.Producer(ProducerConfig{Partitioner: FixedPartition})
		require.NoError(t, err)
		var a, within answers
		release := make(chan struct{})
		p.ProduceAsync(ctx, &Record{Topic: "orders"}, func(r *Record, err error) {
			<-release
			// From within, more can be produced.
			require.NoError(t, p.TryProduce(&Record{Topic: "orders", Partition: 1}, within.done))
			a.done(r, err)
		})
		for range 10 {
			p.ProduceAsync(ctx, &Record{Topic: "orders"}, a.done)
			synctest.Wait()
		}
		require.Empty(t, a.offsets)
		require.Equal(t, int64(11), opened(t, tp)[0].LogEndOffset(), "stored all the same")
		require.NoError(t, p.Produce(ctx, &Record{Topic: "orders"}))
		other := make(chan bool)
		p.ProduceAsync(ctx, &Record{Topic: "orders", Partition: 1}, func(*Record, error) { close(other) })
		<-other
		closed := make(chan bool)
		go func() {
			require.NoError(t, p.Flush(ctx))
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("a callback has not returned")
		default:
		}
		close(release)
		<-closed
		require.NoError(t, p.Flush(ctx))
		require.Equal(t, count(0, 11), a.offsets)
		require.Equal(t, []int64{1}, within.offsets)

		a.offsets = nil
		for i := range 30 {
			p.ProduceAsync(ctx, &Record{Topic: "orders"}, func(r *Record, err error) {
				a.done(r, err)
				switch i % 10 {
				case 3:
					panic("a callback's")
				case 5:
					runtime.Goexit()
				}
			})
		}
		require.NoError(t, p.Close())
		require.Equal(t, count(12, 42), a.offsets)
		require.Len(t, told, 3)
		require.ErrorContains(t, told[0], "a callback's")
		require.NoError(t, st.Close())
	})
}

// TestProduceFails: a disk that fails makes the records of that partition fail, in
// order, and says for which the outcome is not known. A full disk is known.
func TestProduceFails(t *testing.T) {
	for name, c := range map[string]struct {
		op      vfs.Op
		err     error
		want    error
		unknown bool
	}{
		"sync":  {vfs.OpSync, syscall.EIO, ErrFailed, true},
		"space": {vfs.OpAllocate, vfs.ErrNoSpace, ErrNoSpace, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewCrashMem()
			st := openStore(t, m, nil)
			tp := topicOf(t, st, "orders", TopicConfig{Partitions: 2, SegmentBytes: 4096})
			parts := opened(t, tp)
			f := &fault{op: c.op, name: "orders-0", err: c.err}
			m.SetHook(f.hook)
			p := producer(t, st, ProducerConfig{Partitioner: FixedPartition})
			require.NoError(t, p.Produce(ctx, &Record{Topic: "orders"}, &Record{Topic: "orders", Partition: 1}))
			f.on.Store(true)
			var bad, good answers
			for i := range 200 {
				p.ProduceAsync(ctx, &Record{Topic: "orders", Value: make([]byte, 100)}, bad.done)
				p.ProduceAsync(ctx, &Record{Topic: "orders", Partition: 1, Value: value(i)}, good.done)
			}
			require.NoError(t, p.Flush(ctx))
			require.Equal(t, count(1, 201), good.offsets)
			require.Len(t, bad.errs, 200)
			failed, unknown := 0, 0
			for i, err := range bad.errs {
				if err == nil {
					require.Zero(t, failed, "stored after one that was not")
					require.Equal(t, int64(i+1), bad.offsets[i])
					continue
				}
				failed++
				require.ErrorIs(t, err, c.want)
				require.Equal(t, int64(-1), bad.offsets[i])
				if errors.Is(err, ErrUnknownOutcome) {
					unknown++
				}
			}
			require.NotZero(t, failed)
			require.Equal(t, c.unknown, unknown > 0)
			f.on.Store(false)
			require.NoError(t, parts[0].Reopen(ctx))
			again := &Record{Topic: "orders", Value: []byte("again")}
			require.NoError(t, p.Produce(ctx, again))
			require.Equal(t, parts[0].LogEndOffset()-1, again.Offset)
			p.ProduceAsync(ctx, &Record{Topic: "nowhere"}, nil)
			p.ProduceAsync(ctx, &Record{Topic: "nowhere"}, nil)
			require.ErrorIs(t, p.Flush(ctx), ErrUnknownTopic, "of records without a callback")
			require.NoError(t, p.Flush(ctx))
		})
	}
}

// TestProducerConfig: what is not allowed is said with the field's name.
func TestProducerConfig(t *testing.T) {
	st := memStore(t)
	for name, c := range map[string]ProducerConfig{
		"Linger": {Linger: -1}, "BatchBytes": {BatchBytes: -1}, "BatchRecords": {BatchRecords: -2},
		"MaxBuffered": {MaxBuffered: -2}, "Compression": {Compression: 9}, "Durability": {Durability: 3},
	} {
		_, err := st.Producer(c)
		require.ErrorIs(t, err, ErrInvalidConfig)
		require.ErrorContains(t, err, name)
	}
	p := producer(t, st, ProducerConfig{MaxBuffered: Unlimited})
	require.Equal(t, ProducerConfig{BatchBytes: defaultBatchBytes, BatchRecords: Unlimited, MaxBuffered: Unlimited}, p.Config())
	require.ErrorIs(t, p.Produce(ctx, nil), ErrInvalidRecord)
	require.ErrorIs(t, p.TryProduce(nil, nil), ErrInvalidRecord)
	done := false
	p.ProduceAsync(ctx, nil, func(*Record, error) { done = true })
	require.True(t, done)
	gone := memStore(t)
	q := producer(t, gone, ProducerConfig{Linger: time.Hour})
	part(t, gone, "orders", TopicConfig{})
	var a answers
	q.ProduceAsync(ctx, &Record{Topic: "orders"}, a.done)
	require.NoError(t, gone.Close())
	require.ErrorIs(t, q.Produce(ctx, &Record{Topic: "orders"}), ErrClosed)
	require.NoError(t, q.Close())
	require.Len(t, a.errs, 1)
	require.ErrorIs(t, a.errs[0], ErrClosed)
	_, err := gone.Producer(ProducerConfig{})
	require.ErrorIs(t, err, ErrClosed)
}
