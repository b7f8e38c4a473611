package leat

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

func tpOf(topic string, id int32) log.TopicPartition {
	return log.TopicPartition{Topic: topic, Partition: id}
}

// fetched is the offset that a group has committed of a partition, -1 if none.
func fetched(t testing.TB, st *Store, group string, tp log.TopicPartition) int64 {
	t.Helper()
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	c, ok, err := o.fetch(group, tp)
	require.NoError(t, err)
	require.Equal(t, ok, c.offset >= 0)
	return c.offset
}

// commitAt commits one offset of orders-0.
func commitAt(t testing.TB, st *Store, group string, offset int64) {
	t.Helper()
	require.NoError(t, st.commitOffsets(ctx, group, []Position{{Topic: "orders", Offset: offset}}, nil))
}

// offsetsPart is a partition of __consumer_offsets.
func offsetsPart(t testing.TB, st *Store, id int32) *Partition {
	t.Helper()
	tp, err := st.Topic(offsetsTopic)
	require.NoError(t, err)
	p, err := tp.Partition(id)
	require.NoError(t, err)
	return p
}

func TestCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st := openStore(t, m, nil)
		p := part(t, st, "orders", TopicConfig{})
		fill(t, p, 10)
		tp := tpOf("orders", 0)
		require.Equal(t, int64(-1), fetched(t, st, "mailer", tp))
		_, err := st.Topic(offsetsTopic)
		require.ErrorIs(t, err, ErrUnknownTopic, "made by the first commit")
		require.NoError(t, st.commitOffsets(ctx, "mailer", []Position{{Topic: "orders", Offset: 7, Metadata: "host a"}}, nil))
		commitAt(t, st, "audit", 10)
		want := committed{offset: 7, epoch: 0, metadata: "host a", at: time.Now().UnixMilli(), expires: -1}
		for range 2 {
			o, err := st.committedOffsets(ctx)
			require.NoError(t, err)
			c, ok, err := o.fetch("mailer", tp)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, want, c)
			_, ok, err = o.fetch("mailer", tpOf("orders", 1))
			require.NoError(t, err)
			require.False(t, ok)
			require.Equal(t, []string{"audit", "mailer"}, o.groups())
			all, err := o.all("mailer")
			require.NoError(t, err)
			require.Equal(t, []groupOffset{{tp, want}}, all)
			require.NoError(t, st.Close())
			time.Sleep(time.Hour)
			st = openStore(t, m, nil)
		}
		c := offsetsPart(t, st, 0).Topic().Config()
		require.Equal(t, int32(1), c.Partitions)
		require.Equal(t, CleanupCompact, c.Cleanup)
		require.Equal(t, int64(100<<20), c.SegmentBytes)
		require.Equal(t, Synced, c.Durability)
		commitAt(t, st, "mailer", 3)
		require.Equal(t, int64(3), fetched(t, st, "mailer", tp), "a commit may go back when that is asked for")

		require.NoError(t, st.Close())
		require.ErrorIs(t, st.commitOffsets(ctx, "mailer", []Position{{Topic: "orders", Offset: 3}}, nil), ErrClosed)
		_, err = st.committedOffsets(ctx)
		require.ErrorIs(t, err, ErrClosed)
	})
}

// TestCommitChecks: what is refused has changed nothing.
func TestCommitChecks(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 10)
	require.NoError(t, p.DeleteRecords(ctx, 5))
	commitAt(t, st, "g", 6)
	end := offsetsPart(t, st, 0).LogEndOffset()
	fenced := errors.New("fenced")
	for name, c := range map[string]struct {
		group string
		at    []Position
		err   error
	}{
		"no group":     {"", []Position{{Topic: "orders", Offset: 7}}, ErrNoGroup},
		"long group":   {strings.Repeat("g", 40_000), []Position{{Topic: "orders", Offset: 7}}, ErrInvalidConfig},
		"topic":        {"g", []Position{{Topic: "orders", Offset: 7}, {Topic: "other"}}, ErrUnknownTopic},
		"partition":    {"g", []Position{{Topic: "orders", Offset: 7}, {Topic: "orders", Partition: 1}}, ErrUnknownPartition},
		"negative":     {"g", []Position{{Topic: "orders", Offset: -1}}, ErrOffsetOutOfRange},
		"beyond":       {"g", []Position{{Topic: "orders", Offset: 11}}, ErrOffsetOutOfRange},
		"metadata":     {"g", []Position{{Topic: "orders", Offset: 7, Metadata: strings.Repeat("m", 4097)}}, ErrMetadataTooLarge},
		"fenced":       {"g", []Position{{Topic: "orders", Offset: 7}}, fenced},
		"fenced empty": {"g", nil, fenced},
	} {
		t.Run(name, func(t *testing.T) {
			fence := func() (func(), error) { return nil, fenced }
			require.ErrorIs(t, st.commitOffsets(ctx, c.group, c.at, fence), c.err)
			require.Equal(t, end, offsetsPart(t, st, 0).LogEndOffset())
			require.Equal(t, int64(6), fetched(t, st, "g", tpOf("orders", 0)))
		})
	}
	var e *OffsetError
	require.ErrorAs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 11}}, nil), &e)
	require.Equal(t, OffsetError{Topic: "orders", Offset: 11, Start: 5, End: 10}, *e)
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, st.commitOffsets(over, "g", []Position{{Topic: "orders", Offset: 7}}, nil), context.Canceled)
	require.NoError(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 2, Metadata: strings.Repeat("m", 4096)}}, nil),
		"below the log start: what was done was done")
	require.Equal(t, int64(2), fetched(t, st, "g", tpOf("orders", 0)))
	require.NoError(t, st.commitOffsets(ctx, "g", nil, nil))
}

// TestCommitSyncsWhatItRefersTo: a commit of Written records makes them durable
// first, of several partitions side by side, and only through its positions.
func TestCommitSyncsWhatItRefersTo(t *testing.T) {
	st := memStore(t)
	tp := topicOf(t, st, "orders", TopicConfig{Partitions: 3, Durability: Written, FlushInterval: Unlimited})
	var at []Position
	for p := range tp.Partitions() {
		fill(t, p, 5)
		at = append(at, Position{Topic: "orders", Partition: p.ID(), Offset: 3})
	}
	require.NoError(t, st.commitOffsets(ctx, "g", at[:1], nil))
	for i, p := range opened(t, tp) {
		require.Equal(t, i == 0, p.Describe().DurableEnd >= 3)
	}
	require.NoError(t, st.commitOffsets(ctx, "g", at, nil))
	for _, p := range opened(t, tp) {
		require.GreaterOrEqual(t, p.Describe().DurableEnd, int64(3))
	}
}

// TestCommitFence: fence is asked when what the commit refers to is durable, and
// holds until its offset can be read.
func TestCommitFence(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{Durability: Written, FlushInterval: Unlimited})
	fill(t, p, 5)
	steps := []string{}
	fence := func() (func(), error) {
		require.Equal(t, int64(5), p.Describe().DurableEnd)
		require.Equal(t, int64(-1), fetched(t, st, "g", tpOf("orders", 0)))
		steps = append(steps, "fence")
		return func() {
			require.Equal(t, int64(4), fetched(t, st, "g", tpOf("orders", 0)))
			steps = append(steps, "release")
		}, nil
	}
	require.NoError(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 4}}, fence))
	require.Equal(t, []string{"fence", "release"}, steps)

	// It is let go of after errors too.
	over, cancel := context.WithCancel(ctx)
	held := 0
	err := st.commitOffsets(over, "g", []Position{{Topic: "orders", Offset: 5}}, func() (func(), error) {
		cancel()
		held++
		return func() { held-- }, nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, held)
}

// TestAdoptedOffsets: what a broker's __consumer_offsets says, by the sidecar of
// the golden one, with keys of both versions, aborted transactions and newer values.
func TestAdoptedOffsets(t *testing.T) {
	dir := golden.CopyDir(t, "offsets")
	var sidecar struct{ Batches []golden.Batch }
	golden.JSON(t, &sidecar, "offsets", "consumer_offsets_log.json")
	offsets, metas := map[string]map[log.TopicPartition]committed{}, map[string]coordination.GroupValue{}
	for _, b := range sidecar.Batches {
		if b.IsTransactional {
			continue // all are aborted
		}
		for _, r := range b.Records {
			key, value := r.Key.Bytes, r.Value.Bytes
			if kind, err := coordination.KeyKind(key); err == nil && kind == coordination.KindGroup {
				k, err := coordination.ParseGroupKey(key)
				require.NoError(t, err)
				delete(metas, k.Group)
				if value != nil {
					metas[k.Group], err = coordination.ParseGroupValue(value)
					require.NoError(t, err)
				}
				continue
			}
			k, err := coordination.ParseOffsetKey(key)
			require.NoError(t, err)
			if offsets[k.Group] == nil {
				offsets[k.Group] = map[log.TopicPartition]committed{}
			}
			delete(offsets[k.Group], tpOf(k.Topic, k.Partition))
			if value != nil {
				v, err := coordination.ParseOffsetValue(value)
				require.NoError(t, err)
				offsets[k.Group][tpOf(k.Topic, k.Partition)] = committed{offset: v.Offset, epoch: v.LeaderEpoch,
					metadata: v.Metadata, at: v.CommitTimestamp, expires: v.ExpireTimestamp, logOffset: r.Offset}
			}
		}
	}
	require.Greater(t, len(offsets), 3)
	require.NotEmpty(t, metas)
	check := func(st *Store) {
		o, err := st.committedOffsets(ctx)
		require.NoError(t, err)
		names := map[string]bool{}
		for name, want := range offsets {
			names[name] = true
			all, err := o.all(name)
			require.NoError(t, err)
			got := map[log.TopicPartition]committed{}
			for _, g := range all {
				got[g.tp] = g.committed
			}
			require.Equal(t, want, got, name)
		}
		for name, want := range metas {
			names[name] = true
			v, ok := o.metadata(name)
			require.True(t, ok)
			require.Equal(t, want, v)
		}
		require.Len(t, o.groups(), len(names))
		_, ok := o.metadata("analytics")
		require.False(t, ok, "a tombstone")
	}
	f, err := OpenReadOnly(dir, nil)
	require.NoError(t, err)
	check(f)
	require.NoError(t, f.Close())
	st, err := Open(dir, nil)
	require.NoError(t, err)
	check(st)

	// Leat goes on in it: in the partition where the group is, or of a new group in
	// the one there is; and removes what was written under keys of version 0.
	p := part(t, st, "orders", TopicConfig{Partitions: 20})
	fill(t, p, 3)
	commitAt(t, st, "x", 2)
	commitAt(t, st, "new", 3)
	require.Equal(t, int64(2), fetched(t, st, "x", tpOf("orders", 0)))
	require.NoError(t, st.removeOffsets(ctx, "x", nil))
	require.Equal(t, 2, len(tombstones(t, offsetsPart(t, st, 12), "x", "t.with-dots_1", 3)), "one for each version of the key")
	for range 2 {
		o, err := st.committedOffsets(ctx)
		require.NoError(t, err)
		all, err := o.all("x")
		require.NoError(t, err)
		require.Empty(t, all)
		require.NotContains(t, o.groups(), "x")
		require.Equal(t, int64(3), fetched(t, st, "new", tpOf("orders", 0)))
		require.NoError(t, st.Close())
		st, err = Open(dir, nil)
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
}

// tombstones are the versions of the keys under which a commit was removed.
func tombstones(t *testing.T, p *Partition, group, topic string, id int32) (versions []int16) {
	for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
		require.NoError(t, err)
		if k, err := coordination.ParseOffsetKey(rec.Key); err == nil && rec.Value == nil && k.Group == group && k.Topic == topic && k.Partition == id {
			versions = append(versions, k.Version)
		}
	}
	return versions
}

// offsetsBatch is an encoded batch of records for __consumer_offsets.
func offsetsBatch(t testing.TB, change func(h *codec.Header), records ...codec.Record) []byte {
	t.Helper()
	for i := range records {
		records[i].Offset, records[i].Timestamp = int64(i), 1_700_000_000_000
	}
	h := codec.NewHeader(0, records)
	if change != nil {
		change(&h)
	}
	coders := compress.New()
	defer coders.Close()
	b, err := codec.AppendBatch(nil, h, records, coders)
	require.NoError(t, err)
	return b
}

// offsetRecord is a commit, or a tombstone if the offset is negative.
func offsetRecord(t testing.TB, group string, tp log.TopicPartition, offset int64) codec.Record {
	t.Helper()
	key, err := coordination.AppendOffsetKey(nil, coordination.OffsetKey{Version: 1, Group: group, Topic: tp.Topic, Partition: tp.Partition})
	require.NoError(t, err)
	if offset < 0 {
		return codec.Record{Key: key}
	}
	value, err := coordination.AppendOffsetValue(nil, coordination.OffsetValue{Version: 3, Offset: offset, LeaderEpoch: -1, CommitTimestamp: 1, ExpireTimestamp: -1})
	require.NoError(t, err)
	return codec.Record{Key: key, Value: value}
}

// appendRaw appends an encoded batch to __consumer_offsets behind the store's
// back, as a transaction coordinator does.
func appendRaw(t testing.TB, st *Store, raw []byte) {
	t.Helper()
	l := offsetsPart(t, st, 0).log.Load()
	r, err := l.AppendRaw(raw, log.RawOptions{Transactional: true, Durability: log.Synced})
	require.NoError(t, err)
	require.NoError(t, l.WaitDurable(ctx, r.Durable, r.Generation))
}

// TestTransactionalCommits: what a transaction commits holds from its marker on,
// and the fetch before says that it is open. Of two commits the later record counts.
func TestTransactionalCommits(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "g", 1)
	sequence := map[int64]int32{}
	begin := func(producer int64, records ...codec.Record) {
		appendRaw(t, st, offsetsBatch(t, func(h *codec.Header) {
			h.ProducerID, h.ProducerEpoch, h.BaseSequence = producer, 0, sequence[producer]
			h.Attributes |= codec.TransactionalBit
		}, records...))
		sequence[producer] += int32(len(records))
	}
	end := func(producer int64, commit bool) {
		l := offsetsPart(t, st, 0).log.Load()
		r, err := l.AppendMarker(log.Marker{ProducerID: producer, Commit: commit, Time: time.Now()}, log.Synced)
		require.NoError(t, err)
		require.NoError(t, l.WaitDurable(ctx, r.Durable, r.Generation))
	}
	type seen struct {
		offset   int64
		unstable bool
	}
	look := func(st *Store, id int32) seen {
		o, err := st.committedOffsets(ctx)
		require.NoError(t, err)
		c, ok, err := o.fetch("g", tpOf("orders", id))
		require.NoError(t, err)
		require.Equal(t, c.offset >= 0, ok)
		return seen{c.offset, c.unstable}
	}
	requireSeen := func(want ...seen) {
		t.Helper()
		f, err := openFollower(m, nil)
		require.NoError(t, err)
		for i, w := range want {
			require.Equal(t, w, look(st, int32(i)), "partition %d", i)
			require.Equal(t, w, look(f, int32(i)), "partition %d, followed", i)
		}
		require.NoError(t, f.Close())
		require.NoError(t, st.Close())
		st = openStore(t, m, nil)
		for i, w := range want {
			require.Equal(t, w, look(st, int32(i)), "partition %d, opened again", i)
		}
	}
	tp := func(id int32) log.TopicPartition { return tpOf("orders", id) }

	begin(7, offsetRecord(t, "g", tp(0), 5), offsetRecord(t, "g", tp(1), 6))
	requireSeen(seen{1, true}, seen{-1, true}, seen{-1, false})
	require.Equal(t, []string{"g"}, mustGroups(t, st))
	end(7, false)
	requireSeen(seen{1, false}, seen{-1, false})

	begin(7, offsetRecord(t, "g", tp(0), 5), offsetRecord(t, "g", tp(1), 6))
	begin(8, offsetRecord(t, "g", tp(1), 3))
	begin(7, offsetRecord(t, "g", tp(0), 7))
	end(7, true)
	requireSeen(seen{7, false}, seen{6, true})
	end(8, true)
	requireSeen(seen{7, false}, seen{3, false})

	// An ordinary commit after the transactional one stays, whenever the marker comes.
	begin(7, offsetRecord(t, "g", tp(0), 9))
	commitAt(t, st, "g", 8)
	requireSeen(seen{8, true})
	end(7, true)
	requireSeen(seen{8, false})

	// A tombstone removes what transactions hold, too; one of a transaction waits.
	begin(7, offsetRecord(t, "g", tp(0), 9), offsetRecord(t, "g", tp(1), -1))
	require.NoError(t, st.removeOffsets(ctx, "g", []log.TopicPartition{tp(0)}))
	requireSeen(seen{-1, false}, seen{3, true})
	end(7, true)
	requireSeen(seen{-1, false}, seen{-1, false})
	require.Empty(t, mustGroups(t, st))
}

func mustGroups(t testing.TB, st *Store) []string {
	t.Helper()
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	return o.groups()
}

// TestOffsetsOtherRecords: records of kinds that are not known are carried along,
// compressed batches are read.
func TestOffsetsOtherRecords(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "g", 1)
	appendRaw(t, st, offsetsBatch(t, func(h *codec.Header) { h.Attributes |= uint16(Zstd) },
		codec.Record{Key: []byte{0, 3, 0, 1, 'g'}, Value: []byte("whatever")},
		codec.Record{Key: []byte{0x7f, 0xff}, Value: nil},
		offsetRecord(t, "g", tpOf("orders", 0), 4),
		codec.Record{Key: []byte{0, 8, 0, 1, 'g'}}))
	require.Equal(t, int64(4), fetched(t, st, "g", tpOf("orders", 0)))
	tp, err := st.Topic(offsetsTopic)
	require.NoError(t, err)
	require.NoError(t, tp.SetProperties(ctx, map[string]string{"compression.type": "lz4"}))
	commitAt(t, st, "g", 5)
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	require.Equal(t, int64(5), fetched(t, st, "g", tpOf("orders", 0)))
}

// TestDamagedOffsets: a record that says what cannot be understood, or that is
// damaged, may be one that makes a commit that is known an old one: nothing is
// said of the groups of its partition any more, and nothing else is touched.
func TestDamagedOffsets(t *testing.T) {
	good := offsetRecord(t, "g", tpOf("orders", 0), 4)
	for name, c := range map[string]struct {
		record codec.Record
		err    error
	}{
		"value":       {codec.Record{Key: good.Key, Value: good.Value[:9]}, ErrCorrupt},
		"key":         {codec.Record{Key: good.Key[:4], Value: good.Value}, ErrCorrupt},
		"no key":      {codec.Record{Value: good.Value}, ErrCorrupt},
		"short key":   {codec.Record{Key: []byte{0}, Value: good.Value}, ErrCorrupt},
		"group":       {codec.Record{Key: []byte{0, 2, 0, 1, 'g'}, Value: []byte{0, 3, 9}}, ErrCorrupt},
		"newer value": {codec.Record{Key: good.Key, Value: []byte{0, 9, 1, 2, 3}}, ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			st := openStore(t, m, nil)
			fill(t, part(t, st, "orders", TopicConfig{}), 10)
			commitAt(t, st, "g", 1)
			commitAt(t, st, "h", 1)
			appendRaw(t, st, offsetsBatch(t, nil, offsetRecord(t, "g", tpOf("orders", 0), 3), c.record))
			for range 2 {
				require.ErrorIs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 5}}, nil), c.err)
				o, err := st.committedOffsets(ctx)
				require.NoError(t, err)
				for _, group := range []string{"g", "h", "i"} {
					_, _, err = o.fetch(group, tpOf("orders", 0))
					require.ErrorIs(t, err, c.err)
					_, err = o.all(group)
					require.ErrorIs(t, err, c.err)
				}
				var e *CorruptError
				if errors.As(err, &e) {
					require.Contains(t, e.Path, "__consumer_offsets-0")
					require.Positive(t, e.Position)
					require.Equal(t, int64(3), e.Offset)
				}
				require.Equal(t, []string{"g", "h"}, o.groups(), "they are listed all the same")
				require.ErrorIs(t, st.removeOffsets(ctx, "g", nil), c.err)
				require.ErrorIs(t, st.saveGroup(ctx, "g", coordination.GroupValue{}), c.err)
				fill(t, reopened(t, st, "orders"), 1)
				require.NoError(t, st.Close())
				st = openStore(t, m, nil)
			}
		})
	}
}

// TestBitFlipInOffsets: damage below what was durable, found at open and later.
func TestBitFlipInOffsets(t *testing.T) {
	m := vfs.NewMem()
	m.SetMapped(false)
	st := openStore(t, m, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	for i := range int64(5) {
		commitAt(t, st, "g", i)
	}
	require.NoError(t, st.Close())
	f, err := m.Open("__consumer_offsets-0/00000000000000000000.log", vfs.ReadWrite)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 300)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, 300)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	st = openStore(t, m, nil)
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	_, _, err = o.fetch("g", tpOf("orders", 0))
	var e *CorruptError
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Path, "__consumer_offsets-0")
	require.ErrorIs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 5}}, nil), ErrCorrupt)
	fill(t, reopened(t, st, "orders"), 1)
}

// TestOffsetsReopen: after a sync that failed nobody knows whether the commit is
// there: nothing is said until the partition was opened again, and then what it
// says.
func TestOffsetsReopen(t *testing.T) {
	m := vfs.NewCrashMem()
	st := openStore(t, m, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "g", 1)
	f := &fault{op: vfs.OpSync, name: offsetsTopic, err: syscall.EIO}
	m.SetHook(f.hook)
	f.on.Store(true)
	require.ErrorIs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 2}}, nil), ErrFailed)
	f.on.Store(false)
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	_, _, err = o.fetch("g", tpOf("orders", 0))
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 3}}, nil), ErrFailed)
	p := offsetsPart(t, st, 0)
	require.NoError(t, p.Reopen(ctx))
	want := int64(1)
	if p.LogEndOffset() == 2 {
		want = 2
	}
	require.Equal(t, want, fetched(t, st, "g", tpOf("orders", 0)))
	commitAt(t, st, "g", 4)
	require.Equal(t, int64(4), fetched(t, st, "g", tpOf("orders", 0)))
}

// TestCommitNoSpace: a full disk changes nothing, and later commits succeed.
func TestCommitNoSpace(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "g", 1)
	long := strings.Repeat("m", 4000)
	free := true
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		if !free && before && (op == vfs.OpAllocate || op == vfs.OpWriteAt) && strings.HasPrefix(name, offsetsTopic) {
			return vfs.ErrNoSpace
		}
		return nil
	})
	var err error
	last := int64(1)
	free = false
	for i := int64(2); i < 100 && err == nil; i++ { // as far as room was allocated ahead
		if err = st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: i % 10, Metadata: long}}, nil); err == nil {
			last = i % 10
		}
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.Equal(t, last, fetched(t, st, "g", tpOf("orders", 0)))
	free = true
	commitAt(t, st, "g", 9)
	require.Equal(t, int64(9), fetched(t, st, "g", tpOf("orders", 0)))
	m.SetHook(nil)
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	require.Equal(t, int64(9), fetched(t, st, "g", tpOf("orders", 0)))
}
