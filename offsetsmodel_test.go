package leat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// offsetsModel is what groups have committed of orders, and what they may have:
// what one call is about, that may have been cut off.
type offsetsModel struct {
	t         testing.TB
	rng       *rand.Rand
	m         *vfs.Mem
	mapped    bool
	st        *Store
	follower  *Store
	committed map[offsetsKey]int64
	pending   map[int64]map[offsetsKey]int64 // -1: a tombstone
	later     map[offsetsKey]bool            // committed or removed by none since the open transactions began
	sequence  map[int64]int32
	cuts      []offsetsCut
}

// offsetsCut is what a power cut in the midst of an operation left, and what must
// be there: all of one of them.
type offsetsCut struct {
	left   *vfs.Mem
	either [2]map[offsetsKey]int64
}

// TestOffsetsModel: commits of several groups, alone and in transactions, removals,
// compactions, opens and crashes, also in the midst of each: what was acknowledged
// is there, what was not is there as a whole or not at all, and no commit is of
// records that are gone.
//
//	LEAT_LONG=1 go test -run TestOffsetsModel .        many seeds
func TestOffsetsModel(t *testing.T) {
	first, seeds, steps := uint64(1), uint64(4), 70
	if os.Getenv("LEAT_LONG") != "" {
		first, seeds, steps = uint64(time.Now().UnixNano()), 200, 200
	}
	cuts := 0
	for seed := first; seed < first+seeds; seed++ {
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			g := &offsetsModel{t: t, rng: rand.New(rand.NewPCG(seed, 9)), m: vfs.NewCrashMem(), committed: map[offsetsKey]int64{},
				pending: map[int64]map[offsetsKey]int64{}, later: map[offsetsKey]bool{}, sequence: map[int64]int32{}}
			g.mapped = seed%2 == 0 && bits.UintSize == 64
			g.m.SetMapped(g.mapped)
			g.run(steps)
			cuts += len(g.cuts)
		}) {
			break
		}
	}
	require.Greater(t, cuts, 20)
}

func (g *offsetsModel) open() {
	var err error
	g.st, err = openFS(g.m, nil)
	require.NoError(g.t, err)
	g.follower, err = openFollower(g.m, nil)
	require.NoError(g.t, err)
}

func (g *offsetsModel) run(steps int) {
	g.open()
	topicOf(g.t, g.st, "orders", TopicConfig{Partitions: 3, Durability: Written, FlushInterval: Unlimited, SegmentBytes: 1 << 10})
	require.NoError(g.t, g.st.makeOffsetsTopic(ctx))
	tp, err := g.st.Topic(offsetsTopic)
	require.NoError(g.t, err)
	require.NoError(g.t, tp.SetProperties(ctx, map[string]string{"segment.bytes": "1024", "max.message.bytes": "1000"}))
	for range steps {
		switch g.rng.IntN(12) {
		case 0, 1, 2, 3:
			g.commit()
		case 4:
			g.remove()
		case 5, 6:
			g.transaction()
		case 7:
			g.end()
		case 8:
			require.NoError(g.t, g.st.saveGroup(ctx, g.group(), coordination.GroupValue{Generation: 1}))
		case 9:
			g.cutIn(g.committed, func() {
				tp, err := g.st.Topic(offsetsTopic)
				require.NoError(g.t, err)
				require.NoError(g.t, tp.Compact(ctx, nil))
			})
		case 10:
			g.reopen()
		case 11:
			if g.mapped { // else it is told late
				g.look(g.follower, g.committed, g.pending)
			}
		}
		g.look(g.st, g.committed, g.pending)
	}
	require.NoError(g.t, g.follower.Close())
	require.NoError(g.t, g.st.Close())
	for _, c := range g.cuts {
		g.checkCut(c)
	}
}

func (g *offsetsModel) group() string { return string(rune('a' + g.rng.IntN(3))) }

// position is one of orders, behind records that are appended for it.
func (g *offsetsModel) position() Position {
	id := g.rng.Int32N(3)
	tp, err := g.st.Topic("orders")
	require.NoError(g.t, err)
	p, err := tp.Partition(id)
	require.NoError(g.t, err)
	for range 1 + g.rng.IntN(3) {
		offset := p.LogEndOffset()
		_, err := p.Append(ctx, Record{Value: fmt.Appendf(nil, "%d", offset)})
		require.NoError(g.t, err)
	}
	return Position{Topic: "orders", Partition: id, Offset: 1 + g.rng.Int64N(p.LogEndOffset()), Metadata: []string{"", "m"}[g.rng.IntN(2)]}
}

// cutIn does something, and keeps what a power cut in its midst leaves.
func (g *offsetsModel) cutIn(after map[offsetsKey]int64, do func()) {
	before := maps.Clone(g.committed)
	// The store has goroutines of its own, so that this must not take from rng.
	rng := rand.New(rand.NewPCG(g.rng.Uint64(), 1))
	var mu sync.Mutex
	at, n, done := rng.IntN(12), 0, false
	g.m.SetHook(func(op vfs.Op, _ string, first bool) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n == at && !done {
			for _, left := range g.m.Dirty().States(1, rng.Uint64()) {
				if rng.IntN(3) == 0 {
					g.cuts = append(g.cuts, offsetsCut{left, [2]map[offsetsKey]int64{before, maps.Clone(after)}})
					break
				}
			}
		}
		return nil
	})
	do()
	mu.Lock()
	done = true
	mu.Unlock()
	g.m.SetHook(nil)
}

func (g *offsetsModel) commit() {
	group := g.group()
	var at []Position
	after := maps.Clone(g.committed)
	for range 1 + g.rng.IntN(3) {
		p := g.position()
		at = append(at, p)
		after[offsetsKey{group: group, topic: p.Topic, partition: p.Partition}] = p.Offset
	}
	g.cutIn(after, func() { require.NoError(g.t, g.st.commitOffsets(ctx, group, at, nil)) })
	for _, p := range at {
		g.settled(offsetsKey{group: group, topic: p.Topic, partition: p.Partition})
	}
	g.committed = after
}

// settled: what open transactions hold of a key is older than what is known now.
func (g *offsetsModel) settled(k offsetsKey) {
	for _, of := range g.pending {
		if _, ok := of[k]; ok {
			g.later[k] = true
		}
	}
}

func (g *offsetsModel) remove() {
	group := g.group()
	after := maps.Clone(g.committed)
	maps.DeleteFunc(after, func(k offsetsKey, _ int64) bool { return k.group == group })
	do := func() { require.NoError(g.t, g.st.removeOffsets(ctx, group, nil)) }
	if n := len(g.committed) - len(after); n < 3 { // it is one batch
		g.cutIn(after, do)
	} else {
		do()
	}
	for _, of := range g.pending {
		maps.DeleteFunc(of, func(k offsetsKey, _ int64) bool { return k.group == group })
	}
	g.committed = after
}

// transaction adds to the open transaction of a producer. Keys are not shared
// between producers, and not with commits that came since: that has a test of its
// own.
func (g *offsetsModel) transaction() {
	producer := int64(1 + g.rng.IntN(2))
	k := offsetsKey{group: g.group(), topic: "orders"}
	p := g.position()
	k.partition = p.Partition
	for other, of := range g.pending {
		if _, ok := of[k]; ok && other != producer {
			return
		}
	}
	offset := p.Offset
	if g.rng.IntN(4) == 0 {
		offset = -1
	}
	data, err := g.st.Topic("orders")
	require.NoError(g.t, err)
	part, err := data.Partition(p.Partition)
	require.NoError(g.t, err)
	require.NoError(g.t, part.Sync(ctx))
	appendRaw(g.t, g.st, offsetsBatch(g.t, func(h *codec.Header) {
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = producer, 0, g.sequence[producer]
		h.Attributes |= codec.TransactionalBit
	}, offsetRecord(g.t, k.group, tpOf(k.topic, k.partition), offset)))
	g.sequence[producer]++
	if g.pending[producer] == nil {
		g.pending[producer] = map[offsetsKey]int64{}
	}
	g.pending[producer][k] = offset
	delete(g.later, k)
}

func (g *offsetsModel) end() {
	producer, commit := int64(1+g.rng.IntN(2)), g.rng.IntN(3) > 0
	if g.pending[producer] == nil {
		return
	}
	after := maps.Clone(g.committed)
	if commit {
		for k, offset := range g.pending[producer] {
			switch {
			case g.later[k]:
			case offset < 0:
				delete(after, k)
			default:
				after[k] = offset
			}
		}
	}
	g.cutIn(after, func() {
		l := offsetsPart(g.t, g.st, 0).log.Load()
		r, err := l.AppendMarker(log.Marker{ProducerID: producer, Commit: commit, Time: time.Now()}, log.Synced)
		require.NoError(g.t, err)
		require.NoError(g.t, l.WaitDurable(ctx, r.Durable, r.Generation))
	})
	delete(g.pending, producer)
	g.committed = after
}

func (g *offsetsModel) reopen() {
	require.NoError(g.t, g.follower.Close())
	if g.rng.IntN(2) == 0 {
		require.NoError(g.t, g.st.Close())
	} else {
		was := g.st
		var list []*vfs.Mem
		for _, left := range g.m.Dirty().States(3, g.rng.Uint64()) {
			list = append(list, left)
		}
		g.m = list[g.rng.IntN(len(list))]
		g.m.SetMapped(g.mapped)
		require.NoError(g.t, was.Close())
	}
	g.open()
}

// look compares all that is known with the model.
func (g *offsetsModel) look(st *Store, want map[offsetsKey]int64, pending map[int64]map[offsetsKey]int64) {
	o, err := st.committedOffsets(ctx)
	require.NoError(g.t, err)
	for _, group := range []string{"a", "b", "c"} {
		for id := range int32(3) {
			k := offsetsKey{group: group, topic: "orders", partition: id}
			c, ok, err := o.fetch(group, tpOf("orders", id))
			require.NoError(g.t, err)
			offset, there := want[k]
			require.Equal(g.t, there, ok, "%v", k)
			if there {
				require.Equal(g.t, offset, c.offset, "%v", k)
			}
			unstable := false
			for _, of := range pending {
				_, has := of[k]
				unstable = unstable || has
			}
			require.Equal(g.t, unstable, c.unstable, "%v", k)
		}
	}
}

// checkCut opens what a power cut left.
func (g *offsetsModel) checkCut(c offsetsCut) {
	st, err := openFS(c.left, nil)
	require.NoError(g.t, err)
	o, err := st.committedOffsets(ctx)
	require.NoError(g.t, err)
	got := map[offsetsKey]int64{}
	for _, group := range o.groups() {
		all, err := o.all(group)
		require.NoError(g.t, err)
		for _, one := range all {
			got[offsetsKey{group: group, topic: one.tp.Topic, partition: one.tp.Partition}] = one.offset
			offset, err := st.resume(one.tp, one.committed)
			require.NoError(g.t, err, "what it refers to is lost")
			tp, err := st.Topic(one.tp.Topic)
			require.NoError(g.t, err)
			p, err := tp.Partition(one.tp.Partition)
			require.NoError(g.t, err)
			for rec, err := range reader(g.t, p, ReaderOptions{From: At(offset - 1), UntilEnd: true}).Records(ctx) {
				require.NoError(g.t, err)
				require.Equal(g.t, fmt.Sprint(offset-1), string(rec.Value))
				break
			}
		}
	}
	require.True(g.t, maps.Equal(got, c.either[0]) || maps.Equal(got, c.either[1]), "%v is neither %v nor %v", got, c.either[0], c.either[1])
	require.NoError(g.t, st.Close())
}

// TestOffsetsRace: many goroutines commit for groups of their own and for one
// that they share, while groups are removed, partitions compacted, offsets
// fetched, and the store closed at last. Each finds what it has committed.
func TestOffsetsRace(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, &Options{OffsetsRetention: time.Nanosecond})
	require.NoError(t, err)
	st.offsets.live = func(group string) bool { return group != "expires" }
	tp := topicOf(t, st, "orders", TopicConfig{Partitions: 8})
	for p := range tp.Partitions() {
		fill(t, p, 60)
	}
	require.NoError(t, st.makeOffsetsTopic(ctx))
	ops, err := st.Topic(offsetsTopic)
	require.NoError(t, err)
	require.NoError(t, ops.SetProperties(ctx, map[string]string{"segment.bytes": "4096"}))
	var work sync.WaitGroup
	var mu sync.Mutex
	shared := int64(0) // what was committed by all, in turn
	for i := range int32(8) {
		work.Go(func() {
			group := fmt.Sprint("g", i)
			for offset := int64(1); offset <= 50; offset++ {
				at := []Position{{Topic: "orders", Partition: i, Offset: offset}}
				require.NoError(t, st.commitOffsets(ctx, group, at, nil))
				require.Equal(t, offset, fetched(t, st, group, tpOf("orders", i)))
				require.NoError(t, st.commitOffsets(ctx, "expires", at, nil))
				// The owner changes: whoever has the fence sees what came before.
				err := st.commitOffsets(ctx, "all", []Position{{Topic: "orders", Offset: 1 + offset%50}}, func() (func(), error) {
					mu.Lock()
					if got := fetched(t, st, "all", tpOf("orders", 0)); shared > 0 {
						require.Equal(t, shared, got)
					}
					shared = 1 + offset%50
					return mu.Unlock, nil
				})
				require.NoError(t, err)
				if offset%10 == 0 {
					require.NoError(t, st.saveGroup(ctx, group, coordination.GroupValue{Generation: int32(offset)}))
				}
			}
		})
	}
	work.Go(func() {
		for range 20 {
			require.NoError(t, ops.Compact(ctx, nil))
			_, err := st.Retain(ctx)
			require.NoError(t, err)
			require.NoError(t, st.removeOffsets(ctx, "nobody", nil))
			_ = mustGroups(t, st)
		}
	})
	work.Wait()
	for i := range int32(8) {
		require.Equal(t, int64(50), fetched(t, st, fmt.Sprint("g", i), tpOf("orders", i)))
	}
	// Whoever commits while the store is closed is told so.
	stop, cancel := context.WithCancel(ctx)
	for i := range int32(4) {
		work.Go(func() {
			for stop.Err() == nil {
				err := st.commitOffsets(ctx, fmt.Sprint("g", i), []Position{{Topic: "orders", Partition: i, Offset: 55}}, nil)
				if err != nil {
					require.True(t, errors.Is(err, ErrClosed) || errors.Is(err, ErrFailed), "%v", err)
					return
				}
			}
		})
	}
	require.NoError(t, st.Close())
	cancel()
	work.Wait()
	st = openStore(t, m, nil)
	require.True(t, slices.Contains([]int64{50, 55}, fetched(t, st, "g0", tpOf("orders", 0))))
}
