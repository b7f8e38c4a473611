package leat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// consumer makes a consumer that the test closes.
func consumer(t testing.TB, st *Store, c ConsumerConfig) *Consumer {
	t.Helper()
	r, err := st.Consumer(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// pos is a position without metadata.
func pos(topic string, partition int32, offset int64) Position {
	return Position{Topic: topic, Partition: partition, Offset: offset}
}

// called makes a topic with n partitions, of records that are a batch each, and
// are called by partition and offset.
func called(t testing.TB, st *Store, name string, n int32, records int, c TopicConfig) []*Partition {
	t.Helper()
	c.Partitions = n
	tp, err := st.CreateTopic(ctx, name, c)
	require.NoError(t, err)
	var parts []*Partition
	for p := range tp.Partitions() {
		add(t, p, records)
		parts = append(parts, p)
	}
	return parts
}

// add appends records called by partition and offset, a batch each.
func add(t testing.TB, p *Partition, n int) {
	t.Helper()
	for range n {
		_, err := p.Append(ctx, Record{Value: fmt.Appendf(nil, "%s@%d", p, p.LogEndOffset())})
		require.NoError(t, err)
	}
}

// namesIn are the values of batches.
func namesIn(t testing.TB, batches []*Batch) (list []string) {
	t.Helper()
	for _, b := range batches {
		for rec, err := range b.Records() {
			require.NoError(t, err)
			require.Equal(t, b.Topic(), rec.Topic)
			require.Equal(t, b.Partition(), rec.Partition)
			list = append(list, string(rec.Value))
		}
	}
	return list
}

func polled(t testing.TB, c *Consumer) []string {
	t.Helper()
	batches, err := c.Poll(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, batches)
	return namesIn(t, batches)
}

// names are those of the records of a partition, from one offset to another.
func names(p string, from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("%s@%d", p, i))
	}
	return list
}

// nothing requires that Poll waits.
func nothing(t testing.TB, c *Consumer) {
	t.Helper()
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err := c.Poll(soon)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestConsumerByHand: what Assign names is read, from where it says, several
// batches of several partitions at a time.
func TestConsumerByHand(t *testing.T) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		for _, codec := range []Compression{None, Zstd} {
			t.Run(fmt.Sprintf("%s/%v", name, codec), func(t *testing.T) {
				st := openStore(t, fsys(t), nil)
				called(t, st, "orders", 3, 20, TopicConfig{SegmentBytes: 1 << 10, Compression: codec})
				c := consumer(t, st, ConsumerConfig{})
				require.NoError(t, c.Assign(pos("orders", 0, 3), pos("orders", 2, CommittedOffset)))
				require.Equal(t, []Position{pos("orders", 0, 3), pos("orders", 2, 0)}, c.Assignment())
				want := append(names("orders-0", 3, 20), names("orders-2", 0, 20)...)
				require.Equal(t, want, polled(t, c))
				require.Equal(t, []Position{pos("orders", 0, 20), pos("orders", 2, 20)}, c.Assignment())
				nothing(t, c)
			})
		}
	}
}

// TestPollTakesTurns: a partition with much does not keep others from being read.
func TestPollTakesTurns(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 3, 30, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{MaxBytes: 300})
	require.NoError(t, c.Assign(pos("orders", 0, 0), pos("orders", 1, 0), pos("orders", 2, 0)))
	var order []int32
	for range 6 {
		batches, err := c.Poll(ctx)
		require.NoError(t, err)
		size := 0
		for _, b := range batches {
			require.Equal(t, batches[0].Partition(), b.Partition())
			size += len(b.Bytes())
		}
		require.Less(t, size, 300+100)
		require.GreaterOrEqual(t, size, 300)
		order = append(order, batches[0].Partition())
	}
	require.Equal(t, []int32{0, 1, 2, 0, 1, 2}, order)

	// So in a loop over Records, which stays with one for as much as a Poll takes.
	require.NoError(t, c.SeekAll(ctx, Earliest))
	order = nil
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		if n := len(order); n == 0 || order[n-1] != rec.Partition {
			order = append(order, rec.Partition)
		}
		if len(order) == 7 {
			break
		}
	}
	require.Equal(t, []int32{0, 1, 2, 0, 1, 2, 0}, order)
	// A first batch comes whole.
	p := part(t, st, "big", TopicConfig{})
	_, err := p.Append(ctx, Record{Value: make([]byte, 5000)})
	require.NoError(t, err)
	require.NoError(t, c.Assign(pos("big", 0, 0)))
	batches, err := c.Poll(ctx)
	require.NoError(t, err)
	require.Len(t, batches, 1)
}

// TestConsumerRecords: the position is behind the record of the turn; a loop that
// was left goes on there; Seek and Pause work within.
func TestConsumerRecords(t *testing.T) {
	st := memStore(t)
	topic, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 2})
	require.NoError(t, err)
	for p := range topic.Partitions() {
		for i := range 3 {
			var batch []Record
			for k := range 4 {
				batch = append(batch, Record{Value: fmt.Appendf(nil, "%s@%d", p, 4*i+k)})
			}
			_, err := p.Append(ctx, batch...)
			require.NoError(t, err)
		}
	}
	c := consumer(t, st, ConsumerConfig{})
	require.NoError(t, c.Assign(pos("orders", 0, 1), pos("orders", 1, 0)))
	var got []string
	for len(got) < 23 {
		for rec, err := range c.Records(ctx) {
			require.NoError(t, err)
			at, err := c.Position(rec.Topic, rec.Partition)
			require.NoError(t, err)
			require.Equal(t, rec.Offset+1, at)
			got = append(got, string(rec.Value))
			if len(got)%3 != 0 {
				break
			}
		}
	}
	require.Equal(t, append(names("orders-0", 1, 12), names("orders-1", 0, 12)...), got)
	nothing(t, c)

	// Poll gives the rest of a batch that a loop was left in.
	require.NoError(t, c.Seek(pos("orders", 1, 4)))
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		require.Equal(t, "orders-1@4", string(rec.Value))
		break
	}
	require.Equal(t, names("orders-1", 5, 12), polled(t, c))

	require.NoError(t, c.SeekAll(ctx, Earliest))
	got = nil
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		got = append(got, string(rec.Value))
		switch got[len(got)-1] {
		case "orders-0@1":
			require.NoError(t, c.Seek(pos("orders", 0, 6)))
		case "orders-0@6": // inside a batch
			c.Pause(pos("orders", 0, 0))
		case "orders-1@2":
			require.Equal(t, []string{"orders-1@3"}, polled(t, c)[:1], "a Poll within the loop")
			c.Resume(pos("orders", 0, 0))
		}
		if len(got) == 11 {
			break
		}
	}
	want := slices.Concat(names("orders-0", 0, 2), names("orders-0", 6, 7), names("orders-1", 0, 3), names("orders-0", 7, 12))
	require.Equal(t, want, got)
}

// TestBatchesLive: batches live until the next Poll, retained ones until Release,
// whatever the consumer, the topic and the store do.
func TestBatchesLive(t *testing.T) {
	forms(t, func(t *testing.T, p *Partition) {
		c := consumer(t, p.topic.store, ConsumerConfig{MaxBytes: 10 << 10})
		require.NoError(t, c.Assign(pos("batches", 0, 0)))
		var kept []*Batch
		var want []string
		for c.Assignment()[0].Offset < 100 {
			batches, err := c.Poll(ctx)
			require.NoError(t, err)
			batches = slices.Clone(batches)
			for _, b := range batches {
				want = append(want, contents(t, b))
				kept = append(kept, b.Retain())
			}
			nothing2, cancel := context.WithCancel(ctx)
			cancel()
			for _, b := range batches {
				require.NotNil(t, b.raw)
			}
			_, err = c.Poll(nothing2)
			require.ErrorIs(t, err, context.Canceled)
			for _, b := range batches {
				requireOver(t, b)
			}
		}
		require.Len(t, want, 50)
		require.NoError(t, c.Close())
		require.NoError(t, p.topic.store.DeleteTopic(ctx, "batches"))
		require.NoError(t, p.topic.store.Close())
		for i, b := range kept {
			require.Equal(t, want[i], contents(t, b))
			b.Release()
			requireOver(t, b)
		}
	})
}

// TestAssignRefuses: what is wrong changes nothing.
func TestAssignRefuses(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 2, 5, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{})
	_, err := c.Poll(ctx)
	require.ErrorIs(t, err, ErrNotAssigned)
	require.NoError(t, c.Assign(pos("orders", 0, 2)))
	for _, x := range []struct {
		at   []Position
		want error
	}{
		{[]Position{pos("other", 0, 0)}, ErrUnknownTopic},
		{[]Position{pos("orders", 2, 0)}, ErrUnknownPartition},
		{[]Position{pos("orders", -1, 0)}, ErrUnknownPartition},
		{[]Position{pos("orders", 1, 6)}, ErrOffsetOutOfRange},
		{[]Position{pos("orders", 1, -2)}, ErrOffsetOutOfRange},
		{[]Position{pos("orders", 1, 0), pos("orders", 1, 1)}, ErrInvalidConfig},
	} {
		require.ErrorIs(t, c.Assign(append(x.at, pos("orders", 0, 0))...), x.want, "%v", x.at)
		require.Equal(t, []Position{pos("orders", 0, 2)}, c.Assignment())
	}
	for _, x := range []struct {
		at   Position
		want error
	}{
		{pos("orders", 1, 0), ErrNotAssigned},
		{pos("other", 1, 0), ErrNotAssigned},
		{pos("orders", 0, 6), ErrOffsetOutOfRange},
		{pos("orders", 0, -2), ErrOffsetOutOfRange},
	} {
		require.ErrorIs(t, c.Seek(pos("orders", 0, 3), x.at), x.want, "%v", x.at)
		require.Equal(t, []Position{pos("orders", 0, 2)}, c.Assignment())
	}
	_, err = c.Position("orders", 1)
	require.ErrorIs(t, err, ErrNotAssigned)
	require.ErrorIs(t, c.SeekAll(ctx, At(77)), ErrOffsetOutOfRange)
	require.NoError(t, c.SeekAll(ctx, LastN(1)))
	require.Equal(t, names("orders-0", 4, 5), polled(t, c))
	require.ErrorIs(t, c.Commit(ctx), ErrNoGroup)
	_, err = c.Committed(ctx)
	require.ErrorIs(t, err, ErrNoGroup)
	require.NoError(t, c.Assign())
	require.Empty(t, c.Assignment())
	_, err = c.Poll(ctx)
	require.ErrorIs(t, err, ErrNotAssigned)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Poll(ctx)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, c.Assign(), ErrClosed)
	require.ErrorIs(t, c.Seek(), ErrClosed)
	require.Nil(t, c.Assignment())
	c.Pause(pos("orders", 0, 0))
}

func TestConsumerConfigRefused(t *testing.T) {
	st := memStore(t)
	for _, c := range []ConsumerConfig{
		{Topics: []string{"a"}, Pattern: "a"}, {OutOfRange: 3}, {Isolation: 2}, {AutoCommit: -1}, {AutoCommit: 1},
		{Member: "m"}, {PollTimeout: -2}, {MinBytes: -1}, {MaxBytes: -1}, {MaxWait: -1}, {Start: LastN(-1)}, {Start: At(-1)},
		{Pattern: "("}, {Group: strings.Repeat("g", 32768)}, {Group: "g", Member: strings.Repeat("m", 32768)},
	} {
		_, err := st.Consumer(c)
		require.ErrorIs(t, err, ErrInvalidConfig, "%+v", c)
	}
	_, err := st.Consumer(ConsumerConfig{Topics: []string{"none"}})
	require.ErrorIs(t, err, ErrUnknownTopic)
	called(t, st, "orders", 1, 1, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{Topics: []string{"orders"}})
	require.ErrorIs(t, c.Assign(), ErrInvalidConfig)
	require.Equal(t, "error earliest latest OutOfRange(3)", fmt.Sprint(OutOfRangeError, OutOfRangeEarliest, OutOfRangeLatest, OutOfRange(3)))
}

// TestOutOfRange: what happens when retention has overtaken a position, or the log
// was cut below it.
func TestOutOfRange(t *testing.T) {
	for _, policy := range []OutOfRange{OutOfRangeError, OutOfRangeEarliest, OutOfRangeLatest} {
		t.Run(policy.String(), func(t *testing.T) {
			var said strings.Builder
			st := openStore(t, vfs.NewMem(), &Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
			p := called(t, st, "orders", 2, 20, TopicConfig{SegmentBytes: 1 << 10})[0]
			c := consumer(t, st, ConsumerConfig{OutOfRange: policy, MaxBytes: 1})
			require.NoError(t, c.Assign(pos("orders", 0, 0), pos("orders", 1, 18)))
			require.Equal(t, names("orders-0", 0, 1), polled(t, c))
			require.NoError(t, p.DeleteRecords(ctx, 10))
			require.Equal(t, names("orders-1", 18, 19), polled(t, c))
			var gone *OffsetError
			switch policy {
			case OutOfRangeError:
				c.config.MaxBytes = 1 << 20
				require.Equal(t, names("orders-1", 19, 20), polled(t, c), "the others go on")
				for range 2 {
					_, err := c.Poll(ctx)
					require.ErrorAs(t, err, &gone)
					require.Equal(t, OffsetError{Topic: "orders", Offset: 1, Start: 10, End: 20}, *gone)
					var where *PartitionError
					require.ErrorAs(t, err, &where)
					require.Equal(t, "orders", where.Topic)
					require.Contains(t, err.Error(), "orders-0")
				}
				add(t, c.feeds[1].part, 1)
				require.Equal(t, names("orders-1", 20, 21), polled(t, c))
				_, err := c.Poll(ctx)
				require.ErrorAs(t, err, &gone)
				require.NoError(t, c.Seek(pos("orders", 0, 15)))
				require.Equal(t, names("orders-0", 15, 20), polled(t, c))
			case OutOfRangeEarliest:
				require.Equal(t, names("orders-0", 10, 11), polled(t, c))
				require.Contains(t, said.String(), "left out\"=9")
				c.config.MaxBytes = 1 << 20
				require.Equal(t, append(names("orders-1", 19, 20), names("orders-0", 11, 20)...), polled(t, c))
			case OutOfRangeLatest:
				c.config.MaxBytes = 1 << 20
				require.Equal(t, names("orders-1", 19, 20), polled(t, c))
				require.Contains(t, said.String(), "left out\"=19")
				add(t, p, 1)
				require.Equal(t, names("orders-0", 20, 21), polled(t, c))
				require.NoError(t, c.Seek(pos("orders", 0, 20)))
			}

			// Cut below the position.
			require.NoError(t, p.TruncateTo(14))
			if policy == OutOfRangeError {
				for range 2 {
					_, err := c.Poll(ctx)
					require.ErrorAs(t, err, &gone)
					require.Equal(t, OffsetError{Topic: "orders", Offset: 20, Start: 10, End: 14}, *gone)
				}
				add(t, p, 3)
				_, err := c.Poll(ctx)
				require.ErrorAs(t, err, &gone, "until a Seek")
				require.NoError(t, c.Seek(pos("orders", 0, 14)))
			} else {
				add(t, p, 3)
			}
			require.Equal(t, names("orders-0", 14, 17), polled(t, c), "nothing of what came in its place is left out")
			nothing(t, c)
		})
	}
}

// TestStartOutOfRange: so for a Start, which need not be there.
func TestStartOutOfRange(t *testing.T) {
	st := memStore(t)
	p := called(t, st, "orders", 1, 20, TopicConfig{SegmentBytes: 1 << 10})[0]
	require.NoError(t, p.DeleteRecords(ctx, 10))
	c := consumer(t, st, ConsumerConfig{Start: At(5)})
	require.NoError(t, c.Assign(pos("orders", 0, CommittedOffset)))
	_, err := c.Poll(ctx)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	c = consumer(t, st, ConsumerConfig{Start: At(5), OutOfRange: OutOfRangeEarliest})
	require.NoError(t, c.Assign(pos("orders", 0, CommittedOffset)))
	require.Equal(t, names("orders-0", 10, 20), polled(t, c))
	c = consumer(t, st, ConsumerConfig{Start: Latest})
	require.NoError(t, c.Assign(pos("orders", 0, CommittedOffset)))
	add(t, p, 1)
	require.Equal(t, names("orders-0", 20, 21), polled(t, c), "Latest is that of Assign")
}

// TestConsumerFailures: a partition that fails does not stop the others, comes
// back with Reopen, and is told of though others always have something.
func TestConsumerFailures(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	defer st.Close()
	parts := called(t, st, "orders", 2, 3, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{})
	require.NoError(t, c.Assign(pos("orders", 0, 0), pos("orders", 1, 0)))
	require.Len(t, polled(t, c), 6)
	f := &fault{op: vfs.OpSync, name: "orders-0/00000000000000000000.log", err: errors.New("broken disk")}
	f.on.Store(true)
	m.SetHook(f.hook)
	_, err = parts[0].Append(ctx, Record{Value: []byte("x")})
	require.Error(t, err)
	m.SetHook(nil)
	told, got := 0, 3
	for range 10 {
		add(t, parts[1], 1)
		batches, err := c.Poll(ctx)
		if err != nil {
			told++
			require.ErrorContains(t, err, "orders-0")
			continue
		}
		for _, b := range batches {
			require.Equal(t, int32(1), b.Partition())
			require.EqualValues(t, got, b.BaseOffset())
			got++
		}
	}
	require.Equal(t, 5, told)
	c.Pause(pos("orders", 0, 0))
	require.Equal(t, []Position{pos("orders", 0, 3)}, c.Paused())
	for got < 13 {
		got += len(polled(t, c))
	}
	nothing(t, c)
	require.NoError(t, parts[0].Reopen(ctx))
	c.Resume(pos("orders", 0, 0))
	add(t, parts[0], 1)
	list := polled(t, c)
	require.Equal(t, parts[0].LogEndOffset(), c.Assignment()[0].Offset, "%v", list)
}

// TestConsumerDamage: so with damage, which Seek leads around.
func TestConsumerDamage(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	parts := called(t, st, "orders", 2, 6, TopicConfig{})
	name := "orders-0/00000000000000000000.log"
	b, err := readSmall(m, name)
	require.NoError(t, err)
	damage := parts[0].log.Load().Size()/2 + 66 // inside the fourth record
	f, err := m.Open(name, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[damage] ^ 1}, damage)
	require.NoError(t, errors.Join(err, f.Close()))
	c := consumer(t, st, ConsumerConfig{})
	require.NoError(t, c.Assign(pos("orders", 0, 0), pos("orders", 1, 0)))
	list := polled(t, c)
	require.Subset(t, list, names("orders-1", 0, 6))
	_, err = c.Poll(ctx)
	var corrupt *CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.ErrorContains(t, err, "orders-0")
	require.EqualValues(t, corrupt.Offset, c.Assignment()[0].Offset)
	require.NoError(t, c.Seek(pos("orders", 0, corrupt.Offset+1)))
	require.Equal(t, names("orders-0", int(corrupt.Offset)+1, 6), polled(t, c))
}

// TestConsumerLag: what is in front of it, in all partitions together.
func TestConsumerLag(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 2, 5, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{})
	require.Zero(t, c.Lag())
	require.NoError(t, c.Assign(pos("orders", 0, 1), pos("orders", 1, 3)))
	lag := c.Lag()
	require.Equal(t, int64(6), lag.Records)
	size := int64(0)
	batches, err := c.Poll(ctx)
	require.NoError(t, err)
	for _, b := range batches {
		size += int64(len(b.Bytes()))
	}
	require.Equal(t, size, lag.Bytes)
	require.Zero(t, c.Lag())
}

// TestConsumerOfDeletedTopic: by hand, it is an error until Assign leads elsewhere.
func TestConsumerOfDeletedTopic(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 3, TopicConfig{})
	called(t, st, "other", 1, 3, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{})
	require.NoError(t, c.Assign(pos("orders", 0, 0), pos("other", 0, 0)))
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	require.Equal(t, names("other-0", 0, 3), polled(t, c))
	for range 2 {
		_, err := c.Poll(ctx)
		require.ErrorIs(t, err, ErrUnknownTopic)
	}
	require.ErrorIs(t, c.Seek(pos("orders", 0, 0)), ErrUnknownTopic)
	require.NoError(t, c.Assign(pos("other", 0, 1)))
	require.Equal(t, names("other-0", 1, 3), polled(t, c))
}
