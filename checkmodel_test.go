package leat

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// TestCheckModel does at random whatever a store can be asked for, closes it, kills
// it or cuts the power at any moment of that, and has what is left checked: it is
// never damaged, before the next open and after it.
func TestCheckModel(t *testing.T) {
	seeds, steps := 12, 40
	if allBits {
		seeds, steps = 1500, 120
	}
	var done checkCounts
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newCheckModel(t, seed, &done).run(steps)
			})
		})
		if !ok {
			return
		}
	}
	t.Logf("%+v", done)
	require.NotContains(t, fmt.Sprintf("%+v ", done), ":0 ", "something was never done")
}

type checkCounts struct {
	Appends, Transactions, Markers, Gaps, Truncations, Resets, Deletions, Cleanings, Exports, Full int
	Closes, Kills, Cuts, Inside                                                                    int
}

type checkModel struct {
	t    *testing.T
	rng  *rand.Rand
	m    *vfs.Mem
	opts Options
	st   *Store
	dir  string // for what is exported
	sum  *checkCounts

	topics   []string
	made     int
	exported int
	sequence map[string]int32 // of each partition's producers; gone with a crash
}

func newCheckModel(t *testing.T, seed uint64, sum *checkCounts) *checkModel {
	rng := rand.New(rand.NewPCG(seed, 11))
	g := &checkModel{t: t, rng: rng, sum: sum, m: vfs.NewCrashMem(), dir: t.TempDir(), sequence: map[string]int32{}}
	g.m.SetMapped(rng.IntN(2) == 0)
	g.opts.Writer = []Writer{WriterAuto, WriterPwrite}[rng.IntN(2)]
	g.opts.Cleaner = Cleaner{Memory: []int64{0, minCleanerMemory}[rng.IntN(2)], Off: rng.IntN(3) == 0}
	return g
}

func (g *checkModel) run(steps int) {
	g.open()
	defer func() {
		g.m.SetHook(nil)
		g.m.SetLimit(0)
		if g.st != nil {
			g.st.abandonAll()
		}
	}()
	g.create()
	for range steps {
		if g.rng.IntN(12) == 0 {
			g.inside(g.step)
		} else {
			g.step()
		}
		switch g.rng.IntN(20) {
		case 0:
			g.close()
		case 1:
			g.sum.Kills++
			g.crash(g.m.Snapshot(), "kill")
		case 2:
			g.sum.Cuts++
			c := g.choice()
			g.crash(g.m.CrashClone(c), fmt.Sprintf("cut %v", c))
		}
	}
	g.close()
}

func (g *checkModel) choice() vfs.Choice {
	list := append(vfs.Choices(g.m.Dirty(), 8, g.rng.Uint64()), vfs.None, vfs.All)
	return list[g.rng.IntN(len(list))]
}

func (g *checkModel) open() {
	st, err := openFS(g.m, &g.opts)
	require.NoError(g.t, err)
	g.st, g.topics = st, nil
	clear(g.sequence)
	for topic := range st.Topics() {
		g.topics = append(g.topics, topic.name)
	}
}

// sound checks what is left.
func (g *checkModel) sound(m *vfs.Mem, when string) {
	list, errs := checkAll(g.t, m, "")
	require.Empty(g.t, errs, when)
	require.Empty(g.t, damageOf(list), when)
}

func (g *checkModel) close() {
	g.sum.Closes++
	require.NoError(g.t, g.st.Close())
	g.sound(g.m, "closed")
	g.open()
}

// crash goes on with what is left.
func (g *checkModel) crash(left *vfs.Mem, when string) {
	g.m.SetHook(nil)
	left.SetMapped(g.m.Mapped())
	g.sound(left, when)
	g.st.abandonAll()
	g.m = left
	g.open()
	for topic := range g.st.Topics() {
		for p := range topic.Partitions() {
			l, err := p.use()
			require.NoError(g.t, err, when)
			require.Nil(g.t, l.Damage(), when)
		}
	}
	if g.rng.IntN(2) == 0 {
		g.sound(g.m.Snapshot(), when+", opened, killed")
	}
}

// inside does a step, and has what a crash in the midst of it would have left
// checked.
func (g *checkModel) inside(step func()) {
	m, kill, at, n := g.m, g.rng.IntN(2) == 0, g.rng.IntN(30), 0
	seed := g.rng.Uint64()
	var left *vfs.Mem
	var when string
	var mu sync.Mutex // what runs in the background asks, too
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		mu.Lock()
		defer mu.Unlock()
		if !op.Mutates() || left != nil {
			return nil
		}
		if n++; n > at {
			when = fmt.Sprintf("in %v %s, %v, before %v", op, name, kill, before)
			d := m.Dirty()
			c := vfs.All
			if !kill {
				list := append(vfs.Choices(d, 8, seed), vfs.None, vfs.All)
				c = list[seed%uint64(len(list))]
			}
			left = d.Clone(c)
		}
		return nil
	})
	step()
	m.SetHook(nil)
	mu.Lock()
	taken, moment := left, when
	mu.Unlock()
	if taken != nil && m == g.m {
		g.sum.Inside++
		g.crash(taken, moment)
	}
}

func (g *checkModel) create() {
	pick := func(of ...int64) int64 { return of[g.rng.IntN(len(of))] }
	g.made++
	c := TopicConfig{
		Partitions: int32(1 + g.rng.IntN(2)), SegmentBytes: pick(1<<10, 2<<10, 8<<10, 1<<30), SegmentAge: time.Duration(pick(0, int64(10*time.Minute))),
		Durability: Durability(pick(int64(Synced), int64(Written))), External: External(pick(0, 0, 1, 2, 3)),
		Compression: Compression(pick(0, int64(LZ4), int64(Zstd))), Cleanup: Cleanup(pick(1, 1, 2, 3)),
		Retention:  Retention{Age: time.Duration(pick(0, int64(20*time.Minute))), Bytes: pick(0, 4<<10)},
		Timestamps: TimestampType(pick(0, int64(LogAppendTime))), TimestampAfter: time.Duration(pick(0, int64(time.Hour))),
		IndexInterval: int32(pick(1, 300, 4096)), IndexBytes: int32(pick(0, 24, 120)),
		FlushInterval: time.Duration(pick(0, int64(Unlimited))), FlushBytes: pick(0, 1000),
		Compaction: Compaction{MinDirtyRatio: 0.1, TombstoneRetain: time.Duration(pick(0, int64(10*time.Minute)))},
	}
	name := fmt.Sprintf("t%d", g.made)
	_, err := g.st.CreateTopic(ctx, name, c)
	g.may(err)
	if err == nil {
		g.topics = append(g.topics, name)
	}
}

// may is for what a full disk is allowed to stop.
func (g *checkModel) may(err error) {
	if err != nil {
		require.ErrorIs(g.t, err, ErrNoSpace)
	}
}

func (g *checkModel) partition() *Partition {
	for {
		topic, err := g.st.Topic(g.topics[g.rng.IntN(len(g.topics))])
		require.NoError(g.t, err)
		if p, err := topic.Partition(g.rng.Int32N(topic.Config().Partitions)); err == nil {
			return p
		}
	}
}

func (g *checkModel) step() {
	if len(g.topics) == 0 {
		g.create()
		return
	}
	p := g.partition()
	l, err := p.use()
	require.NoError(g.t, err)
	switch n := g.rng.IntN(100); {
	case n < 30:
		for range 1 + g.rng.IntN(8) {
			g.append(p)
		}
	case n < 42:
		for range 1 + g.rng.IntN(4) {
			g.transaction(p, l)
		}
	case n < 50:
		g.follow(p, l)
	case n < 53:
		g.may(p.Sync(ctx))
	case n < 59:
		time.Sleep(time.Duration(g.rng.Int64N(int64(10 * time.Minute))))
		synctest.Wait()
	case n < 64:
		g.sum.Truncations++
		from := l.LogStartOffset()
		g.may(p.TruncateTo(from + g.rng.Int64N(l.LogEndOffset()-from+1)))
		clear(g.sequence)
	case n < 66:
		g.sum.Resets++
		g.may(p.ResetTo(g.rng.Int64N(2*l.LogEndOffset() + 10)))
		clear(g.sequence)
	case n < 71:
		if from, to := l.LogStartOffset(), l.HighWatermark(); to > from {
			g.sum.Deletions++
			g.may(p.DeleteRecords(ctx, from+g.rng.Int64N(to-from+1)))
		}
	case n < 75:
		_, err := g.st.Retain(ctx)
		g.may(err)
	case n < 80:
		if p.topic.cfg().Cleanup != CleanupDelete {
			g.sum.Cleanings++
			g.may(p.Compact(ctx, nil))
		}
	case n < 83:
		if p.topic.cfg().External&ExternalWatermark != 0 {
			g.may(p.SetHighWatermark(l.HighWatermark() + g.rng.Int64N(l.LogEndOffset()-l.HighWatermark()+1)))
		}
	case n < 86:
		g.alter(p.topic)
	case n < 88:
		g.create()
	case n < 89:
		g.may(p.topic.AddPartitions(ctx, p.topic.cfg().Partitions+1))
	case n < 90:
		name := p.topic.name
		g.may(g.st.DeleteTopic(ctx, name))
		g.topics = nil
		for topic := range g.st.Topics() {
			g.topics = append(g.topics, topic.name)
		}
	case n < 92:
		g.may(p.Reopen(ctx))
	case n < 95:
		g.export(p)
	default:
		g.sum.Full++
		g.m.SetLimit(g.m.Used() + g.rng.Int64N(3000))
		for range 10 {
			g.append(p)
		}
		g.m.SetLimit(0)
		for topic := range g.st.Topics() {
			for p := range topic.Partitions() {
				if _, err := p.use(); err != nil {
					require.NoError(g.t, p.Reopen(ctx))
				}
			}
		}
	}
}

func (g *checkModel) alter(topic *Topic) {
	c := topic.Config()
	switch g.rng.IntN(5) {
	case 0:
		c.SegmentBytes = 1 << (10 + g.rng.IntN(5))
	case 1:
		c.Cleanup = Cleanup(1 + g.rng.IntN(3))
	case 2:
		c.External = External(g.rng.IntN(4))
	case 3:
		c.Retention.Age = time.Duration(1+g.rng.IntN(60)) * time.Minute
	case 4:
		c.Durability = Durability(1 + g.rng.IntN(2))
	}
	g.may(topic.SetConfig(ctx, c))
}

func (g *checkModel) append(p *Partition) {
	g.sum.Appends++
	var list []Record
	for range 1 + g.rng.IntN(3) {
		r := Record{Key: fmt.Append(nil, "k", g.rng.IntN(20))}
		if g.rng.IntN(4) > 0 {
			r.Value = []byte(strings.Repeat("~", g.rng.IntN(200)))
		}
		if g.rng.IntN(3) == 0 {
			r.Timestamp = time.Now().Add(-time.Duration(g.rng.Int64N(int64(time.Hour))))
		}
		list = append(list, r)
	}
	o := AppendOptions{Durability: Durability(g.rng.IntN(3))}
	if e := p.LeaderEpoch(); p.topic.cfg().External&ExternalEpochs != 0 {
		o.Epoch = max(0, e) + g.rng.Int32N(2)
	}
	_, err := p.AppendWith(ctx, o, list...)
	g.may(err)
}

// transaction goes on with one of a few, or ends it, or sends a plain batch of a
// producer.
func (g *checkModel) transaction(p *Partition, l *log.Log) {
	id := int64(1 + g.rng.IntN(4))
	if g.rng.IntN(3) == 0 {
		g.sum.Markers++
		_, err := l.AppendMarker(log.Marker{ProducerID: id, Commit: g.rng.IntN(2) == 0, CoordinatorEpoch: 3, Time: time.Now()}, log.Durability(1+g.rng.IntN(2)))
		g.may(err)
		return
	}
	g.sum.Transactions++
	key := fmt.Sprint(p, " ", id)
	n := 1 + g.rng.IntN(3)
	raw := g.batch(n, func(h *codec.Header) {
		h.ProducerID, h.BaseSequence = id, g.sequence[key]
		h.Attributes |= codec.TransactionalBit
	})
	// After a crash, and where records were taken back, the sequence is another.
	if _, err := l.AppendRaw(raw, log.RawOptions{Transactional: true, Keyed: p.keyed.Load()}); err == nil {
		g.sequence[key] += int32(n)
	}
}

func (g *checkModel) batch(n int, change func(h *codec.Header)) []byte {
	now := time.Now().UnixMilli()
	h := codec.Header{LeaderEpoch: -1, LastOffsetDelta: int32(n - 1), BaseTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
	h.Attributes = uint16([]compress.Codec{compress.None, compress.Zstd, compress.Snappy}[g.rng.IntN(3)])
	change(&h)
	if h.ProducerID >= 0 {
		h.ProducerEpoch = 0
	}
	list := make([]codec.Record, n)
	for i := range list {
		list[i] = codec.Record{Offset: h.BaseOffset + int64(i), Timestamp: now, Key: fmt.Append(nil, "k", g.rng.IntN(20)), Value: make([]byte, g.rng.IntN(300))}
	}
	raw, err := codec.AppendBatch(nil, h, list, g.st.env.Coders())
	require.NoError(g.t, err)
	return raw
}

// follow appends what a leader has that was compacted, in a new epoch now and then.
func (g *checkModel) follow(p *Partition, l *log.Log) {
	var raw []byte
	next, epoch := l.LogEndOffset(), max(0, l.LatestEpoch())
	gaps := 0
	for range 1 + g.rng.IntN(4) {
		if g.rng.IntN(3) == 0 {
			next += 1 + g.rng.Int64N(20)
			gaps++
		}
		if g.rng.IntN(4) == 0 {
			epoch++
		}
		n := 1 + g.rng.IntN(3)
		raw = append(raw, g.batch(n, func(h *codec.Header) { h.BaseOffset, h.LeaderEpoch = next, epoch })...)
		next += int64(n)
	}
	_, err := p.AppendBatches(raw, AppendOptions{Follower: true})
	if err == nil {
		g.sum.Gaps += gaps
	}
}

// export copies a partition, has the copy checked and takes it in as another.
func (g *checkModel) export(p *Partition) {
	g.exported++
	dir := filepath.Join(g.dir, fmt.Sprintf("e%d-0", g.exported))
	if g.rng.IntN(2) == 0 {
		dir = filepath.Join(g.dir, fmt.Sprintf("x%d", g.exported)) // a name that says nothing
	}
	require.NoError(g.t, os.Mkdir(dir, 0o700))
	if err := p.Export(ctx, dir); err != nil {
		require.ErrorIs(g.t, err, ErrNoSpace)
		return
	}
	list, errs := checkDir(g.t, dir)
	require.Empty(g.t, errs)
	require.Empty(g.t, damageOf(list))
	g.sum.Exports++
	name := fmt.Sprintf("i%d", g.exported)
	_, err := g.st.Import(ctx, name, 0, dir)
	g.may(err)
	if err == nil {
		g.topics = append(g.topics, name)
	}
}

// TestRecoveryKeepsEpochs: a truncation of all notes that there is no epoch, and
// then the power goes before it cuts. What recovery reads from the batches then
// outlives the next close.
func TestRecoveryKeepsEpochs(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	p := part(t, st, "orders", TopicConfig{External: ExternalEpochs})
	_, err := p.AppendWith(ctx, AppendOptions{Epoch: 5}, Record{Value: []byte("v")})
	require.NoError(t, err)
	left := m.Snapshot()
	require.NoError(t, log.WriteFile(left, "orders-0/leader-epoch-checkpoint", []byte("0\n0\n")))

	for range 2 {
		st, err = openFS(left, nil)
		require.NoError(t, err)
		require.EqualValues(t, 5, reopened(t, st, "orders").LeaderEpoch())
		require.NoError(t, st.Close())
		list, errs := checkAll(t, left, "")
		requireSound(t, list, errs)
	}
}
