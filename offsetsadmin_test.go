package leat

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// TestOffsetsFollower: a follower sees commits as they come, what compaction
// left of them, and those of a store that was opened again; it cannot commit.
func TestOffsetsFollower(t *testing.T) {
	synctest.Test(t, followOffsets)
}

func followOffsets(t *testing.T) {
	later := func() { time.Sleep(time.Second) } // where no map tells at once that a segment was begun
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	f, err := openFollower(m, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	tp := tpOf("orders", 0)
	require.Equal(t, int64(-1), fetched(t, f, "g", tp), "there is no topic yet")
	for i := range int64(5) {
		commitAt(t, st, "g", i)
		require.Equal(t, i, fetched(t, f, "g", tp))
	}
	require.NoError(t, st.removeOffsets(ctx, "g", nil))
	require.Equal(t, int64(-1), fetched(t, f, "g", tp))
	commitAt(t, st, "g", 6)
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	later()
	require.Equal(t, int64(6), fetched(t, f, "g", tp))
	commitAt(t, st, "g", 7)
	later()
	require.Equal(t, int64(7), fetched(t, f, "g", tp))
	ops, err := st.Topic(offsetsTopic)
	require.NoError(t, err)
	require.NoError(t, ops.Compact(ctx, nil))
	commitAt(t, st, "h", 8)
	later()
	require.Equal(t, int64(7), fetched(t, f, "g", tp))
	require.Equal(t, int64(8), fetched(t, f, "h", tp))

	require.ErrorIs(t, f.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 1}}, nil), ErrReadOnly)
	require.ErrorIs(t, f.removeOffsets(ctx, "g", nil), ErrReadOnly)
	require.ErrorIs(t, f.saveGroup(ctx, "g", coordination.GroupValue{}), ErrReadOnly)
}

// TestOffsetsFollowerStartsAgain: a follower that has not looked for longer than
// tombstones are kept, and one of a log that was taken back, read it all again.
func TestOffsetsFollowerStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewCrashMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		fill(t, part(t, st, "orders", TopicConfig{}), 10)
		commitAt(t, st, "g", 1)
		commitAt(t, st, "h", 1)
		f, err := openFollower(m, nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, f.Close()) }()
		tp := tpOf("orders", 0)
		require.Equal(t, int64(1), fetched(t, f, "g", tp))

		ops, err := st.Topic(offsetsTopic)
		require.NoError(t, err)
		require.NoError(t, st.removeOffsets(ctx, "g", nil))
		require.NoError(t, ops.Compact(ctx, nil))
		time.Sleep(25 * time.Hour)
		commitAt(t, st, "h", 2)
		require.NoError(t, ops.Compact(ctx, nil))
		require.NoError(t, ops.Compact(ctx, nil))
		require.Equal(t, int64(-1), fetched(t, f, "g", tp))
		require.Equal(t, int64(2), fetched(t, f, "h", tp))
		require.Equal(t, int64(-1), fetched(t, st, "g", tp))

		// So does the writer, if what is new came in another way.
		commitAt(t, st, "i", 1)
		require.Equal(t, int64(1), fetched(t, st, "i", tp))
		appendRaw(t, st, offsetsBatch(t, nil, offsetRecord(t, "i", tp, -1)))
		require.NoError(t, ops.Compact(ctx, nil))
		time.Sleep(25 * time.Hour)
		require.NoError(t, ops.Compact(ctx, nil))
		appendRaw(t, st, offsetsBatch(t, nil, offsetRecord(t, "j", tp, 1)))
		require.NoError(t, ops.Compact(ctx, nil))
		found := false
		for rec, err := range reader(t, offsetsPart(t, st, 0), ReaderOptions{UntilEnd: true}).Records(ctx) {
			require.NoError(t, err)
			k, err := coordination.ParseOffsetKey(rec.Key)
			require.NoError(t, err)
			found = found || k.Group == "i"
		}
		require.False(t, found, "the tombstone is gone")
		require.Equal(t, int64(-1), fetched(t, st, "i", tp))

		// What was read may be taken back.
		commitAt(t, st, "h", 3)
		require.Equal(t, int64(3), fetched(t, f, "h", tp))
		l := offsetsPart(t, st, 0).log.Load()
		require.NoError(t, l.TruncateTo(l.LogEndOffset()-1, st.checkpoint))
		require.Equal(t, int64(2), fetched(t, f, "h", tp))
		require.Equal(t, int64(2), fetched(t, st, "h", tp))
		require.NoError(t, st.Close())
	})
}

// TestRemoveManyOffsets: the tombstones of a group fit whatever batches there are.
func TestRemoveManyOffsets(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	topicOf(t, st, "orders", TopicConfig{Partitions: 90})
	for id := range int32(90) {
		require.NoError(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Partition: id}}, nil))
	}
	ops, err := st.Topic(offsetsTopic)
	require.NoError(t, err)
	require.NoError(t, ops.SetProperties(ctx, map[string]string{"max.message.bytes": "500"}))
	require.NoError(t, st.removeOffsets(ctx, "g", []log.TopicPartition{tpOf("orders", 7), tpOf("other", 8), tpOf("orders", 89)}))
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	all, err := o.all("g")
	require.NoError(t, err)
	require.Len(t, all, 88)
	require.NoError(t, st.removeOffsets(ctx, "g", nil))
	require.Empty(t, mustGroups(t, st))
	require.NoError(t, st.Close())
	st = openStore(t, m, nil)
	require.Empty(t, mustGroups(t, st))
}

// TestForgetDeletedTopic: a topic that is created again inherits no positions,
// wherever a crash came in between, and however its deletion was finished.
func TestForgetDeletedTopic(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	fill(t, part(t, st, "other", TopicConfig{}), 10)
	commitAt(t, st, "g", 5)
	require.NoError(t, st.commitOffsets(ctx, "h", []Position{{Topic: "other", Offset: 4}, {Topic: "orders", Offset: 3}}, nil))
	var (
		mu      sync.Mutex
		crashes []*vfs.Mem
	)
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		mu.Lock()
		defer mu.Unlock()
		if before && (op == vfs.OpSync || op == vfs.OpRemove) {
			crashes = append(crashes, m.Snapshot())
		}
		return nil
	})
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	m.SetHook(nil)
	crashes = append(crashes, m.Snapshot())
	require.NoError(t, st.Close())
	again := 0
	for _, m := range crashes {
		st, err := openFS(m, nil)
		require.NoError(t, err)
		_, err = st.Topic("orders")
		if err == nil {
			require.Equal(t, int64(5), fetched(t, st, "g", tpOf("orders", 0)))
			require.NoError(t, st.DeleteTopic(ctx, "orders"))
			again++
		}
		part(t, st, "orders", TopicConfig{})
		require.Equal(t, int64(-1), fetched(t, st, "g", tpOf("orders", 0)))
		require.Equal(t, int64(-1), fetched(t, st, "h", tpOf("orders", 0)))
		require.Equal(t, int64(4), fetched(t, st, "h", tpOf("other", 0)))
		require.NoError(t, st.Close())
	}
	require.Less(t, again, len(crashes))
	require.Greater(t, len(crashes), 4)
}

// TestCommitWhileTopicIsDeleted: a commit that began before the deletion is
// forgotten with the others, or is refused.
func TestCommitWhileTopicIsDeleted(t *testing.T) {
	st := memStore(t)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "other", 1)
	err := st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 5}}, func() (func(), error) {
		require.NoError(t, st.DeleteTopic(ctx, "orders"))
		fill(t, part(t, st, "orders", TopicConfig{}), 2)
		return nil, nil
	})
	require.ErrorIs(t, err, ErrUnknownTopic)
	require.Equal(t, int64(-1), fetched(t, st, "g", tpOf("orders", 0)))
	require.Equal(t, int64(-1), fetched(t, st, "other", tpOf("orders", 0)))
}

// TestForgetOfDamagedOffsets: what nobody can read may hold positions of a topic
// that is deleted: its name stays taken.
func TestForgetOfDamagedOffsets(t *testing.T) {
	st := memStore(t)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "g", 1)
	good := offsetRecord(t, "g", tpOf("orders", 0), 4)
	good.Value = good.Value[:5]
	appendRaw(t, st, offsetsBatch(t, nil, good))
	require.ErrorIs(t, st.DeleteTopic(ctx, "orders"), ErrCorrupt)
	_, err := st.Topic("orders")
	require.ErrorIs(t, err, ErrUnknownTopic)
	_, err = st.CreateTopic(ctx, "orders", TopicConfig{})
	require.ErrorIs(t, err, ErrCorrupt)
	part(t, st, "others", TopicConfig{})
}

// TestOffsetsRetention: offsets expire when it is asked for, counted from the
// commit or from when the group was left, and never those of a group that has
// members.
func TestOffsetsRetention(t *testing.T) {
	_, err := OpenMem(&Options{OffsetsRetention: -2})
	require.ErrorIs(t, err, ErrInvalidConfig)
	for _, keep := range []time.Duration{0, Unlimited, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMem()
			o := &Options{OffsetsRetention: keep}
			st := openStore(t, m, o)
			fill(t, part(t, st, "orders", TopicConfig{Partitions: 2, Retention: Retention{Age: Unlimited}}), 10)
			st.offsets.live = func(group string) bool { return group == "live" }
			commitAt(t, st, "old", 1)
			commitAt(t, st, "live", 2)
			commitAt(t, st, "left", 3)
			require.NoError(t, st.commitOffsets(ctx, "half", []Position{{Topic: "orders", Offset: 4}, {Topic: "orders", Partition: 1}}, nil))
			require.NoError(t, st.saveGroup(ctx, "half", coordination.GroupValue{CurrentStateTimestamp: 1}))
			require.NoError(t, st.saveGroup(ctx, "old", coordination.GroupValue{CurrentStateTimestamp: 1}))
			time.Sleep(12 * time.Hour)
			require.NoError(t, st.saveGroup(ctx, "left", coordination.GroupValue{CurrentStateTimestamp: time.Now().UnixMilli()}))
			commitAt(t, st, "half", 5)
			require.Equal(t, []string{"half", "left", "live", "old"}, mustGroups(t, st))
			time.Sleep(12*time.Hour + 6*time.Minute)
			synctest.Wait()
			if keep <= 0 {
				time.Sleep(200 * time.Hour)
				synctest.Wait()
				require.Equal(t, []string{"half", "left", "live", "old"}, mustGroups(t, st))
				return
			}
			require.Equal(t, []string{"half", "left", "live"}, mustGroups(t, st))
			require.Equal(t, int64(5), fetched(t, st, "half", tpOf("orders", 0)))
			require.Equal(t, int64(-1), fetched(t, st, "half", tpOf("orders", 1)))
			require.Equal(t, int64(3), fetched(t, st, "left", tpOf("orders", 0)), "counted from when it was left")
			time.Sleep(12 * time.Hour)
			_, err = st.Retain(ctx)
			require.NoError(t, err)
			require.Equal(t, []string{"live"}, mustGroups(t, st))
			require.NoError(t, st.Close())
			st = openStore(t, m, o)
			require.Equal(t, []string{"live"}, mustGroups(t, st))
			_, err = st.Retain(ctx)
			require.NoError(t, err)
			require.Empty(t, mustGroups(t, st), "its members were of another process")
		})
	}
}

// TestRemovalsWaitForCommits: a commit that is under way is neither missed by a
// removal that comes after it, nor lost to an expiry that had not seen it.
func TestRemovalsWaitForCommits(t *testing.T) {
	for _, expire := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMem()
			st, err := openFS(m, &Options{OffsetsRetention: time.Hour})
			require.NoError(t, err)
			fill(t, part(t, st, "orders", TopicConfig{Retention: Retention{Age: Unlimited}}), 10)
			commitAt(t, st, "g", 1)
			time.Sleep(2*time.Hour + time.Minute)
			synctest.Wait()
			require.Equal(t, int64(-1), fetched(t, st, "g", tpOf("orders", 0)))
			commitAt(t, st, "g", 2)
			time.Sleep(61 * time.Minute) // the next pass has not come
			require.Equal(t, int64(2), fetched(t, st, "g", tpOf("orders", 0)))
			held := make(chan struct{})
			var once sync.Once
			m.SetHook(func(op vfs.Op, name string, before bool) error {
				if before && op == vfs.OpSync && strings.HasPrefix(name, offsetsTopic) {
					once.Do(func() { <-held })
				}
				return nil
			})
			go func() { require.NoError(t, st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: 3}}, nil)) }()
			synctest.Wait()
			go func() {
				if expire {
					require.NoError(t, st.expireOffsets(ctx))
				} else {
					require.NoError(t, st.removeOffsets(ctx, "g", nil))
				}
			}()
			synctest.Wait()
			close(held)
			synctest.Wait()
			m.SetHook(nil)
			want := int64(-1)
			if expire {
				want = 3
			}
			require.Equal(t, want, fetched(t, st, "g", tpOf("orders", 0)))
			require.NoError(t, st.Close())
		})
	}
}

// TestOffsetsGate: who shuts waits for those inside, who come meanwhile wait for
// him, and all give up when they are told to.
func TestOffsetsGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g offsetsGate
		over, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.NoError(t, g.enter(ctx))
		require.NoError(t, g.enter(ctx))
		require.ErrorIs(t, g.shut(over), context.DeadlineExceeded)
		require.NoError(t, g.enter(over), "it is open again")
		for range 3 {
			g.leave()
		}
		require.NoError(t, g.shut(ctx))
		require.ErrorIs(t, g.enter(over), context.DeadlineExceeded)
		require.ErrorIs(t, g.shut(over), context.DeadlineExceeded)
		var entered atomic.Int32
		go func() {
			require.NoError(t, g.enter(ctx))
			entered.Add(1)
			time.Sleep(time.Minute)
			entered.Add(-1)
			g.leave()
		}()
		synctest.Wait()
		require.Zero(t, entered.Load())
		g.open()
		synctest.Wait()
		require.Equal(t, int32(1), entered.Load())
		require.NoError(t, g.shut(ctx))
		require.Zero(t, entered.Load())
		g.open()
	})
}

// TestSavedGroup: a generation that was saved is known at once and, a second
// later, durable; of two the later record counts, in whatever order they are seen.
func TestSavedGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewCrashMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		generation := func(st *Store) int32 {
			o, err := st.committedOffsets(ctx)
			require.NoError(t, err)
			v, ok := o.metadata("g")
			require.Equal(t, ok, v.Generation > 0)
			return v.Generation
		}
		require.Zero(t, generation(st))
		for i := range int32(3) {
			require.NoError(t, st.saveGroup(ctx, "g", coordination.GroupValue{ProtocolType: "consumer", Generation: i + 1}))
			require.Equal(t, i+1, generation(st))
		}
		require.ErrorIs(t, st.saveGroup(ctx, "", coordination.GroupValue{}), ErrNoGroup)
		require.Equal(t, []string{"g"}, mustGroups(t, st))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		for _, left := range m.Dirty().States(1, 1) {
			st, err := openFS(left, nil)
			require.NoError(t, err)
			require.Equal(t, int32(3), generation(st))
			require.NoError(t, st.Close())
		}
		require.NoError(t, st.removeOffsets(ctx, "g", nil))
		require.Zero(t, generation(st))
		require.NoError(t, st.Close())
	})
	s := newOffsetsState()
	put := func(at int64, generation int32) {
		s.put(&offsetsRecord{offsetsKey: offsetsKey{group: "g", meta: true}, at: at, value: &coordination.GroupValue{Generation: generation}})
	}
	put(7, 2)
	put(3, 1)
	require.Equal(t, int32(2), s.groups["g"].meta.Generation)
}

// TestExplicitExpiry: what an old client said itself counts.
func TestExplicitExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t, vfs.NewMem(), &Options{OffsetsRetention: 100 * time.Hour})
		fill(t, part(t, st, "orders", TopicConfig{Retention: Retention{Age: Unlimited}}), 10)
		commitAt(t, st, "stays", 1)
		r := offsetRecord(t, "goes", tpOf("orders", 0), 1)
		var err error
		r.Value, err = coordination.AppendOffsetValue(nil, coordination.OffsetValue{Version: 1, Offset: 1, LeaderEpoch: -1,
			CommitTimestamp: time.Now().UnixMilli(), ExpireTimestamp: time.Now().Add(time.Hour).UnixMilli()})
		require.NoError(t, err)
		appendRaw(t, st, offsetsBatch(t, nil, r))
		time.Sleep(55 * time.Minute)
		require.Len(t, mustGroups(t, st), 2)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"stays"}, mustGroups(t, st))
	})
}

// TestInternalTopicsAreTheStores: users read internal topics, and nothing else.
func TestInternalTopicsAreTheStores(t *testing.T) {
	st := memStore(t)
	fill(t, part(t, st, "orders", TopicConfig{}), 10)
	commitAt(t, st, "g", 1)
	p := offsetsPart(t, st, 0)
	tp := p.Topic()
	pr, err := st.Producer(ProducerConfig{})
	require.NoError(t, err)
	raw := offsetsBatch(t, nil, offsetRecord(t, "g", tpOf("orders", 0), 4))
	adopted := *tp.settings.Load()
	for name, do := range map[string]func() error{
		"append":        func() error { _, err := p.Append(ctx, Record{Key: []byte("k")}); return err },
		"raw":           func() error { _, err := p.AppendBatches(raw, AppendOptions{}); return err },
		"mirror":        func() error { _, err := p.AppendBatches(raw, AppendOptions{Follower: true}); return err },
		"produce":       func() error { return pr.Produce(ctx, &Record{Topic: offsetsTopic, Key: []byte("k")}) },
		"truncate":      func() error { return p.TruncateTo(0) },
		"reset":         func() error { return p.ResetTo(0) },
		"deleteRecords": func() error { return p.DeleteRecords(ctx, -1) },
		"delete":        func() error { return st.DeleteTopic(ctx, offsetsTopic) },
		"metadata":      func() error { return st.DeleteTopic(ctx, metadataTopic) },
		"create":        func() error { _, err := st.CreateTopic(ctx, offsetsTopic, TopicConfig{}); return err },
		"partitions":    func() error { return tp.AddPartitions(ctx, 1) },
		"append, as adopted": func() error { // where the policy is delete
			was := adopted
			now := adopted
			now.config.Cleanup = CleanupDelete
			tp.replace(&now)
			defer tp.replace(&was)
			_, err := p.Append(ctx, Record{Key: []byte("k")})
			return err
		},
	} {
		require.ErrorIs(t, do(), ErrInvalidTopic, name)
	}
	require.Equal(t, int64(1), p.LogEndOffset())
	for _, set := range []map[string]string{{"cleanup.policy": "delete"}, {"cleanup.policy": "compact,delete"}, {"leat.external": "watermark"}, {"leat.durability": "written"}} {
		require.ErrorIs(t, tp.SetProperties(ctx, set), ErrInvalidConfig)
	}
	require.NoError(t, tp.SetProperties(ctx, map[string]string{"segment.bytes": "65536"}))
	require.NoError(t, pr.Close())
	require.Equal(t, int64(1), fetched(t, st, "g", tpOf("orders", 0)))
}

// TestResume: an offset whose epoch has ended below it is behind records that were
// taken back, and never silently another record.
func TestResume(t *testing.T) {
	tp := tpOf("orders", 0)
	commitThen := func(t *testing.T, change func(st *Store, p *Partition)) (int64, error) {
		st := memStore(t)
		p := part(t, st, "orders", TopicConfig{})
		fill(t, p, 10)
		require.NoError(t, p.TruncateTo(9)) // epoch 1 begins
		fill(t, p, 11)
		commitAt(t, st, "g", 15)
		change(st, p)
		o, err := st.committedOffsets(ctx)
		require.NoError(t, err)
		c, ok, err := o.fetch("g", tp)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, int32(1), c.epoch)
		return st.resume(tp, c)
	}
	for name, c := range map[string]struct {
		change func(st *Store, p *Partition)
		err    *OffsetError
	}{
		"nothing": {func(*Store, *Partition) {}, nil},
		"truncated above": {func(_ *Store, p *Partition) {
			require.NoError(t, p.TruncateTo(15))
			fill(t, p, 3)
		}, nil},
		"truncated below": {func(_ *Store, p *Partition) {
			require.NoError(t, p.TruncateTo(14))
			fill(t, p, 30)
		}, &OffsetError{Topic: "orders", Offset: 15, End: 14}},
		"truncated into the epoch before": {func(_ *Store, p *Partition) {
			require.NoError(t, p.TruncateTo(5))
			fill(t, p, 30)
		}, &OffsetError{Topic: "orders", Offset: 15, End: 5}},
		"reset": {func(_ *Store, p *Partition) {
			require.NoError(t, p.ResetTo(0))
			fill(t, p, 30)
		}, &OffsetError{Topic: "orders", Offset: 15}},
		"retention": {func(_ *Store, p *Partition) { require.NoError(t, p.DeleteRecords(ctx, 18)) },
			&OffsetError{Topic: "orders", Offset: 15, Start: 18, End: 20}},
		"retention up to it": {func(_ *Store, p *Partition) { require.NoError(t, p.DeleteRecords(ctx, 15)) }, nil},
		"another log": {func(_ *Store, p *Partition) {
			require.NoError(t, p.log.Load().ResetTo(0, p.topic.store.checkpoint))
			fill(t, p, 30)
		}, &OffsetError{Topic: "orders", Offset: 15}},
	} {
		t.Run(name, func(t *testing.T) {
			offset, err := commitThen(t, c.change)
			if c.err == nil {
				require.NoError(t, err)
				require.Equal(t, int64(15), offset)
				return
			}
			var e *OffsetError
			require.ErrorAs(t, err, &e)
			require.Equal(t, *c.err, *e)
		})
	}
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 10)
	_, err := st.resume(tpOf("other", 0), committed{})
	require.ErrorIs(t, err, ErrUnknownTopic)
	_, err = st.resume(tpOf("orders", 1), committed{})
	require.ErrorIs(t, err, ErrUnknownPartition)
	for _, c := range []committed{{offset: 11, epoch: -1}, {offset: -1, epoch: -1}, {offset: 5, epoch: 3}, {offset: 11, epoch: 0}} {
		_, err = st.resume(tp, c)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
	}
	for _, c := range []committed{{offset: 10, epoch: -1}, {offset: 0, epoch: 3}, {offset: 10, epoch: 0}} {
		_, err = st.resume(tp, c)
		require.NoError(t, err)
	}
}

// TestCommitAtTheStart: where no record lies before a position, the epoch stored
// tells all the same when the log has begun anew.
func TestCommitAtTheStart(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	fill(t, p, 10)
	require.NoError(t, p.DeleteRecords(ctx, 8))
	commitAt(t, st, "g", 8)
	o, err := st.committedOffsets(ctx)
	require.NoError(t, err)
	c, _, err := o.fetch("g", tpOf("orders", 0))
	require.NoError(t, err)
	_, err = st.resume(tpOf("orders", 0), c)
	require.NoError(t, err)
	require.NoError(t, p.ResetTo(0))
	fill(t, p, 20)
	_, err = st.resume(tpOf("orders", 0), c)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
}

// TestOffsetsHoles: with some of the partitions of a broker there, each group is
// where its records are. One that cannot be read takes nothing from the groups of
// the others, but of a group that nobody knows it cannot be told whether it is new.
func TestOffsetsHoles(t *testing.T) {
	logOf := func(group string, bad bool) []byte {
		dir := t.TempDir()
		st, err := Open(dir, nil)
		require.NoError(t, err)
		fill(t, part(t, st, "orders", TopicConfig{}), 10)
		commitAt(t, st, group, 1)
		if bad {
			r := offsetRecord(t, group, tpOf("orders", 0), 4)
			r.Value = r.Value[:5]
			appendRaw(t, st, offsetsBatch(t, nil, r))
		}
		require.NoError(t, st.Close())
		b, err := os.ReadFile(dir + "/__consumer_offsets-0/00000000000000000000.log")
		require.NoError(t, err)
		return b
	}
	for _, bad := range []bool{false, true} {
		dir := t.TempDir()
		for id, b := range map[string][]byte{"3": logOf("a", false), "31": logOf("b", bad)} {
			require.NoError(t, os.Mkdir(dir+"/__consumer_offsets-"+id, 0o700))
			require.NoError(t, os.WriteFile(dir+"/__consumer_offsets-"+id+"/00000000000000000000.log", b, 0o600))
		}
		st, err := Open(dir, nil)
		require.NoError(t, err)
		fill(t, part(t, st, "orders", TopicConfig{}), 10)
		require.Equal(t, []string{"a", "b"}, mustGroups(t, st))
		require.Equal(t, int64(1), fetched(t, st, "a", tpOf("orders", 0)))
		commitAt(t, st, "a", 2)
		require.Equal(t, int64(2), offsetsPart(t, st, 3).LogEndOffset())
		if bad {
			o, err := st.committedOffsets(ctx)
			require.NoError(t, err)
			for _, group := range []string{"b", "c", "d", "e"} {
				_, _, err = o.fetch(group, tpOf("orders", 0))
				require.ErrorIs(t, err, ErrCorrupt)
				require.ErrorIs(t, st.commitOffsets(ctx, group, []Position{{Topic: "orders", Offset: 1}}, nil), ErrCorrupt)
			}
			require.NoError(t, st.Close())
			continue
		}
		commitAt(t, st, "b", 3)
		require.Equal(t, int64(2), offsetsPart(t, st, 31).LogEndOffset())
		for _, group := range []string{"c", "d", "e", "f"} {
			commitAt(t, st, group, 4)
		}
		require.NoError(t, st.Close())
		st, err = Open(dir, nil)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c", "d", "e", "f"}, mustGroups(t, st))
		require.Equal(t, int64(4), fetched(t, st, "f", tpOf("orders", 0)))
		require.NoError(t, st.Close())
	}
}

// TestCommitFaults: at whatever call the disk fails, once or for good, a commit
// says so, and afterwards what it says holds: the old offset or the new one, and
// the new one if it was acknowledged.
func TestCommitFaults(t *testing.T) {
	for _, cause := range []error{syscall.EIO, vfs.ErrNoSpace} {
		for _, sticky := range []bool{false, true} {
			for n := int64(1); ; n++ {
				m := vfs.NewCrashMem()
				m.SetMapped(n%2 == 0)
				st, err := openFS(m, nil)
				require.NoError(t, err)
				p := part(t, st, "orders", TopicConfig{Durability: Written, FlushInterval: Unlimited})
				fill(t, p, 10)
				if n%4 < 2 { // else the topic is made as well
					commitAt(t, st, "g", 1)
				}
				var calls atomic.Int64
				m.SetHook(func(op vfs.Op, _ string, before bool) error {
					if !before || op == vfs.OpClose {
						return nil
					}
					if c := calls.Add(1); c == n || sticky && c > n {
						return cause
					}
					return nil
				})
				acked := int64(-1)
				if n%4 < 2 {
					acked = 1
				}
				tried := acked
				for i := int64(2); i < 4; i++ {
					tried = i
					if err := st.commitOffsets(ctx, "g", []Position{{Topic: "orders", Offset: i}}, nil); err == nil {
						acked = i
					} else {
						require.True(t, errors.Is(err, cause) || errors.Is(err, ErrFailed) || errors.Is(err, ErrNoSpace), "%v", err)
						break
					}
				}
				m.SetHook(nil)
				died := m.Snapshot()
				_ = st.Close()
				for _, left := range []*vfs.Mem{died, m} {
					st, err := openFS(left, nil)
					require.NoError(t, err)
					got := fetched(t, st, "g", tpOf("orders", 0))
					require.True(t, got == acked || got == tried, "call %d: %d of %d, %d", n, got, acked, tried)
					end := reopened(t, st, "orders").LogEndOffset()
					require.GreaterOrEqual(t, end, got)
					commitAt(t, st, "g", end)
					require.Equal(t, end, fetched(t, st, "g", tpOf("orders", 0)))
					require.NoError(t, st.Close())
				}
				if calls.Load() < n {
					require.Greater(t, n, int64(4))
					break
				}
			}
		}
	}
}
