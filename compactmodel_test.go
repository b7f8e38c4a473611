package leat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// TestCompactModel: whatever is appended, cleaned, deleted and crashed, and
// whenever, of each key the latest record is there, what was deleted never comes
// back, offsets stay, and transactions are seen whole or not at all: by those who
// read in this store, after it was opened again, and from another one.
//
//	LEAT_LONG=1 go test -run TestCompactModel .        many seeds
//	LEAT_SEED=7 go test -run TestCompactModel .        that one
func TestCompactModel(t *testing.T) {
	first, seeds, steps := uint64(1), uint64(8), 120
	if os.Getenv("LEAT_LONG") != "" {
		first, seeds, steps = uint64(time.Now().UnixNano()), 100, 300
	}
	if v := os.Getenv("LEAT_SEED"); v != "" {
		_, err := fmt.Sscan(v, &first)
		require.NoError(t, err)
		seeds = 1
	}
	var sum compactCounts
	for seed := first; seed < first+seeds; seed++ {
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newCompactModel(t, seed, &sum).run(steps) })
		}) {
			break
		}
	}
	t.Logf("%+v", sum)
	if os.Getenv("LEAT_SEED") == "" && !t.Failed() {
		// It must have met what it is about.
		for what, n := range map[string]int{"cleanings": sum.cleanings, "crashes in cleanings": sum.crashes, "tombstones gone": sum.tombstonesGone,
			"transactions": sum.transactions, "aborted": sum.aborted, "reopened": sum.reopened, "removed": sum.removed} {
			require.Positive(t, n, what)
		}
	}
}

type compactCounts struct {
	cleanings, crashes, reopened, removed, tombstonesGone, transactions, aborted, starts int
}

// compactModel is a partition, and all that was ever appended to it.
type compactModel struct {
	t      *testing.T
	rng    *rand.Rand
	sum    *compactCounts
	m      *vfs.Mem
	opts   Options
	config TopicConfig
	st     *Store
	p      *Partition

	records   []modelRecord // by offset
	start     int64
	producers map[int64]*modelProducer
	touched   []time.Time // by offset: when a cleaning first had been there; zero: never
	told      events
	follower  *modelFollower
}

type modelRecord struct {
	key, value string // "": a tombstone
	marker     bool
	txn        *modelTxn // nil: of none
	at         time.Time
}

type modelTxn struct {
	first            int64
	ended, committed bool
}

type modelProducer struct {
	sequence int32
	open     *modelTxn
}

func newCompactModel(t *testing.T, seed uint64, sum *compactCounts) *compactModel {
	rng := rand.New(rand.NewPCG(seed, 5))
	g := &compactModel{t: t, rng: rng, sum: sum, m: vfs.NewCrashMem(), producers: map[int64]*modelProducer{}}
	g.m.SetMapped(rng.IntN(2) == 0)
	g.opts.Cleaner = Cleaner{Memory: []int64{0, minCleanerMemory, 3 * minCleanerMemory}[rng.IntN(3)], Off: rng.IntN(4) == 0}
	g.opts.Observer = &Observer{Compact: g.told.add}
	g.config = TopicConfig{
		Cleanup: []Cleanup{CleanupCompact, CleanupCompact, CleanupCompactDelete}[rng.IntN(3)], SegmentBytes: 1 << (10 + rng.IntN(3)),
		Durability:  []Durability{Synced, Written}[rng.IntN(2)],
		Compression: []Compression{None, None, LZ4}[rng.IntN(3)],
		Retention:   Retention{Age: 40 * time.Minute},
		Compaction: Compaction{
			MinDirtyRatio: []float64{0.1, 0.5, Unlimited}[rng.IntN(3)], TombstoneRetain: 20 * time.Minute,
			MinLag: []time.Duration{0, 0, 5 * time.Minute}[rng.IntN(3)],
		},
	}
	return g
}

func (g *compactModel) run(steps int) {
	var err error
	g.st, err = openFS(g.m, &g.opts)
	require.NoError(g.t, err)
	defer func() {
		if g.t.Failed() { // or what failed would drown in what it left running
			g.m.SetHook(nil)
			_ = g.st.Close()
			_ = g.follower.st.Close()
		}
	}()
	g.p = part(g.t, g.st, "table", g.config)
	g.follow()
	for range steps {
		g.step()
		g.check()
	}
	for id, p := range g.producers {
		if p.open != nil {
			g.end(id, p, true)
		}
	}
	time.Sleep(g.config.Compaction.MinLag + time.Second)
	g.compact()
	g.check()
	g.reopen()
	g.check()
	g.follower.close()
	require.NoError(g.t, g.st.Close())
}

func (g *compactModel) step() {
	switch n := g.rng.IntN(100); {
	case n < 45:
		for range 1 + g.rng.IntN(6) {
			g.append()
		}
	case n < 60:
		g.transaction()
	case n < 66:
		g.refused()
	case n < 76:
		time.Sleep(time.Duration(g.rng.Int64N(int64(10 * time.Minute))))
		synctest.Wait()
	case n < 80:
		g.compact()
	case n < 86:
		g.crashCleaning()
	case n < 90:
		g.reopen()
	case n < 93:
		g.crash(g.m.CrashClone(g.choice()))
	case n < 96:
		g.deleteRecords()
	case n < 98:
		_, err := g.p.Topic().Retain(ctx)
		require.NoError(g.t, err)
	default:
		g.follower.read()
	}
	g.noteCleanings()
}

// choice is what a power cut leaves of what was not synced. What was acknowledged
// of a topic that is Written would be in that, so all of it stays then.
func (g *compactModel) choice() vfs.Choice {
	if g.config.Durability == Written {
		return vfs.All
	}
	d := g.m.Dirty()
	list := append(vfs.Choices(d, 8, g.rng.Uint64()), vfs.None, vfs.All)
	return list[g.rng.IntN(len(list))]
}

func (g *compactModel) record() modelRecord {
	r := modelRecord{key: fmt.Sprintf("k%d", g.rng.IntN(40)), at: time.Now()}
	if g.rng.IntN(4) > 0 {
		r.value = fmt.Sprintf("%d %s", len(g.records), strings.Repeat("~", g.rng.IntN(60)))
	}
	return r
}

func (g *compactModel) append() {
	var list []Record
	base := int64(len(g.records))
	for range 1 + g.rng.IntN(3) {
		r := g.record()
		list = append(list, Record{Key: []byte(r.key)})
		if r.value != "" {
			list[len(list)-1].Value = []byte(r.value)
		}
		g.records = append(g.records, r)
	}
	offset, err := g.p.Append(ctx, list...)
	require.NoError(g.t, err)
	require.Equal(g.t, base, offset)
}

// refused is a record without a key, which compaction would lose.
func (g *compactModel) refused() {
	_, err := g.p.Append(ctx, Record{Key: []byte("x"), Value: []byte("y")}, Record{Value: []byte("z")})
	require.ErrorIs(g.t, err, ErrInvalidRecord)
}

// transaction goes on with one, begins one, or ends one.
func (g *compactModel) transaction() {
	id := int64(1 + g.rng.IntN(3))
	p := g.producers[id]
	if p == nil {
		p = &modelProducer{}
		g.producers[id] = p
	}
	if p.open != nil && g.rng.IntN(2) == 0 {
		g.end(id, p, g.rng.IntN(3) > 0)
		return
	}
	base := int64(len(g.records))
	if p.open == nil {
		p.open = &modelTxn{first: base}
		g.sum.transactions++
	}
	now := time.Now().UnixMilli()
	h := codec.Header{LeaderEpoch: -1, BaseTimestamp: now, MaxTimestamp: now, ProducerID: id, BaseSequence: p.sequence,
		Attributes: codec.TransactionalBit | uint16(g.config.Compression)}
	var list []codec.Record
	for i := range 1 + g.rng.IntN(3) {
		r := g.record()
		r.txn = p.open
		c := codec.Record{Offset: int64(i), Timestamp: now, Key: []byte(r.key)}
		if r.value != "" {
			c.Value = []byte(r.value)
		}
		list = append(list, c)
		g.records = append(g.records, r)
		p.sequence++
	}
	h.LastOffsetDelta = int32(len(list) - 1)
	raw, err := codec.AppendBatch(nil, h, list, g.st.env.Coders())
	require.NoError(g.t, err)
	r, err := g.p.log.Load().AppendRaw(raw, log.RawOptions{Transactional: true, Keyed: true})
	require.NoError(g.t, err)
	require.NoError(g.t, g.p.Sync(ctx))
	require.Equal(g.t, base, r.BaseOffset)
}

func (g *compactModel) end(id int64, p *modelProducer, commit bool) {
	_, err := g.p.log.Load().AppendMarker(log.Marker{ProducerID: id, Commit: commit, Time: time.Now()}, log.Durability(g.config.Durability))
	require.NoError(g.t, err)
	require.NoError(g.t, g.p.Sync(ctx))
	g.records = append(g.records, modelRecord{marker: true, at: time.Now()})
	p.open.ended, p.open.committed = true, commit
	p.open = nil
	if !commit {
		g.sum.aborted++
	}
}

// compact cleans all there is, and looks whether it has.
func (g *compactModel) compact() {
	require.NoError(g.t, g.p.Compact(ctx, nil))
	g.noteCleanings()
	if g.stable() < int64(len(g.records)) || g.config.Compaction.MinLag > 0 && time.Since(g.last()) <= g.config.Compaction.MinLag {
		return
	}
	latest := g.latest()
	n := 0
	for offset, r := range g.read(ReadCommitted) {
		require.Equal(g.t, latest[r.key], offset, "%q has a later one", r.key)
		n++
	}
	g.sum.removed += len(g.records) - n
}

func (g *compactModel) last() (at time.Time) {
	if n := len(g.records); n > 0 {
		at = g.records[n-1].at
	}
	return at
}

// crashCleaning compacts and, at some moment of that, keeps what a crash would
// leave. That is what the store goes on with.
func (g *compactModel) crashCleaning() {
	when, n := g.rng.IntN(60), 0
	choice := g.rng.Uint64()
	var seeing sync.Mutex // what works in the background comes by, too
	var left *vfs.Mem
	g.m.SetHook(func(op vfs.Op, name string, before bool) error {
		seeing.Lock()
		defer seeing.Unlock()
		if !op.Mutates() || left != nil {
			return nil
		}
		if n++; n > when {
			d := g.m.Dirty()
			list := append(vfs.Choices(d, 8, choice), vfs.None, vfs.All)
			if g.config.Durability == Written {
				list = []vfs.Choice{vfs.All}
			}
			left = d.Clone(list[choice%uint64(len(list))])
		}
		return nil
	})
	require.NoError(g.t, g.p.Compact(ctx, nil))
	g.m.SetHook(nil)
	g.noteCleanings()
	g.check()
	seeing.Lock()
	tree := left
	seeing.Unlock()
	if tree != nil {
		g.sum.crashes++
		g.crash(tree)
	}
}

// crash goes on with what is left of the files.
func (g *compactModel) crash(left *vfs.Mem) {
	g.follower.close()
	g.st.abandonAll()
	left.SetMapped(g.m.Mapped())
	g.m = left
	g.open()
}

func (g *compactModel) reopen() {
	g.sum.reopened++
	g.follower.close()
	require.NoError(g.t, g.st.Close())
	g.open()
}

func (g *compactModel) open() {
	st, err := openFS(g.m, &g.opts)
	require.NoError(g.t, err)
	g.st, g.p = st, reopened(g.t, st, "table")
	g.follow()
}

func (g *compactModel) deleteRecords() {
	if stable := g.stable(); stable > g.start {
		g.start += g.rng.Int64N(min(stable-g.start, 30) + 1)
		require.NoError(g.t, g.p.DeleteRecords(ctx, g.start))
		g.sum.starts++
	}
}

// noteCleanings takes down which records a cleaning has been at: none of those
// before has seen them.
func (g *compactModel) noteCleanings() {
	for len(g.touched) < len(g.records) {
		g.touched = append(g.touched, time.Time{})
	}
	for _, e := range g.told.take() {
		require.NoError(g.t, e.Err)
		g.sum.cleanings++
		for i := range g.touched {
			if g.touched[i].IsZero() {
				g.touched[i] = time.Now().Add(-10 * time.Minute) // since the last step, at the earliest
			}
		}
	}
}

// stable is the model's last stable offset.
func (g *compactModel) stable() int64 {
	stable := int64(len(g.records))
	for _, p := range g.producers {
		if p.open != nil {
			stable = min(stable, p.open.first)
		}
	}
	return stable
}

// visible tells whether a ReadCommitted reader is to see a record.
func (g *compactModel) visible(offset int64) bool {
	r := &g.records[offset]
	return !r.marker && offset >= g.start && offset < g.stable() && (r.txn == nil || r.txn.committed)
}

// latest is the offset of the last visible record of each key.
func (g *compactModel) latest() map[string]int64 {
	latest := map[string]int64{}
	for offset := range g.records {
		if g.visible(int64(offset)) {
			latest[g.records[offset].key] = int64(offset)
		}
	}
	return latest
}

// read reads all there is. Each record is what was appended at its offset.
func (g *compactModel) read(i Isolation) map[int64]*modelRecord {
	r, err := g.p.Reader(ReaderOptions{UntilEnd: true, Isolation: i})
	require.NoError(g.t, err)
	got := map[int64]*modelRecord{}
	last := int64(-1)
	for rec, err := range r.Records(ctx) {
		require.NoError(g.t, err)
		require.Greater(g.t, rec.Offset, last)
		last = rec.Offset
		got[rec.Offset] = g.requireRecord(rec)
	}
	require.NoError(g.t, r.Close())
	return got
}

func (g *compactModel) requireRecord(rec *Record) *modelRecord {
	require.Less(g.t, rec.Offset, int64(len(g.records)))
	m := &g.records[rec.Offset]
	require.False(g.t, m.marker, "offset %d", rec.Offset)
	require.Equal(g.t, m.key, string(rec.Key), "offset %d", rec.Offset)
	require.Equal(g.t, m.value, string(rec.Value), "offset %d", rec.Offset)
	require.Equal(g.t, m.value == "", rec.Value == nil, "offset %d", rec.Offset)
	return m
}

// check compares the partition with the model.
func (g *compactModel) check() {
	t := g.t
	require.Equal(t, int64(len(g.records)), g.p.LogEndOffset())
	require.Equal(t, max(g.stable(), g.p.LogStartOffset()), g.p.LastStableOffset())
	g.checkStart()
	latest := g.latest()
	g.read(ReadUncommitted)
	got := g.read(ReadCommitted)
	for offset := range got {
		require.True(t, g.visible(offset), "offset %d is of a transaction that was aborted, or is not decided", offset)
	}
	for key, offset := range latest {
		r := &g.records[offset]
		if got[offset] != nil {
			continue
		}
		require.Empty(t, r.value, "%q is lost: it was last set at offset %d", key, offset)
		touched := g.touched[offset]
		require.False(t, touched.IsZero(), "the tombstone of %q at offset %d has gone before any cleaning", key, offset)
		require.GreaterOrEqual(t, time.Since(touched), g.config.Compaction.TombstoneRetain,
			"the tombstone of %q at offset %d has gone too early", key, offset)
		g.sum.tombstonesGone++
		for o, m := range got {
			require.NotEqual(t, key, m.key, "offset %d is back, which was deleted at offset %d", o, offset)
		}
	}
	require.Empty(t, g.st.Stats().Compactions.Uncleanable)
}

// checkStart: the log start offset rises when retention says so.
func (g *compactModel) checkStart() {
	start := g.p.LogStartOffset()
	require.GreaterOrEqual(g.t, start, g.start)
	if start > g.start {
		require.Equal(g.t, CleanupCompactDelete, g.config.Cleanup)
		for o := g.start; o < start; o++ {
			if g.visible(o) && g.records[o].value != "" && g.latest()[g.records[o].key] == o { // tombstones go before
				require.Greater(g.t, time.Since(g.records[o].at), g.config.Retention.Age, "offset %d was deleted too early", o)
			}
		}
		g.start = start
	}
}

// modelFollower reads on from where it was, in a store of its own that is open for
// reading, and keeps the table that comes of it.
type modelFollower struct {
	g     *compactModel
	st    *Store
	p     *Partition
	r     *Reader
	table map[string]int64 // the offset of each key's last record
	at    time.Time        // when it had read all there was
}

func (g *compactModel) follow() {
	st, err := openFollower(g.m, nil)
	require.NoError(g.t, err)
	tp, err := st.Topic("table")
	require.NoError(g.t, err)
	p, err := tp.Partition(0)
	require.NoError(g.t, err)
	f := &modelFollower{g: g, st: st, p: p, table: map[string]int64{}, at: time.Now()}
	f.r, err = p.Reader(ReaderOptions{})
	require.NoError(g.t, err)
	g.follower = f
}

// read takes what is there, and compares the table with the model's.
func (f *modelFollower) read() {
	g := f.g
	begun := time.Now()
	stable := g.stable()
	var stuck error
	for f.r.Offset() < stable {
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		b, err := f.r.Next(soon)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			stuck = err
			break // nothing is left below there
		}
		if err == io.EOF {
			break
		}
		var gone *OffsetError
		if errors.As(err, &gone) && gone.Offset < gone.Start {
			require.NoError(g.t, f.r.SeekTo(gone.Start)) // it was deleted
			continue
		}
		require.NoError(g.t, err)
		for rec, err := range b.Records() {
			require.NoError(g.t, err)
			g.requireRecord(rec)
			require.True(g.t, rec.Offset < g.start || g.visible(rec.Offset), "offset %d is of a transaction that was aborted, or is not decided: %+v", rec.Offset, g.records[rec.Offset].txn)
			f.table[string(rec.Key)] = rec.Offset
		}
	}
	if begun.Sub(f.at) < g.config.Compaction.TombstoneRetain {
		for key, offset := range g.latest() {
			at, ok := f.table[key]
			require.True(g.t, ok && at == offset || g.records[offset].value == "" && !ok, "%q is of offset %d to a follower, which has read up to %d, and of %d: %v, %v", key, at, f.r.Offset(), offset, f.p.Describe(), stuck)
		}
	} else {
		// It may have missed a tombstone, as any consumer of Kafka's that was away for so
		// long, and has to begin anew.
		f.table = map[string]int64{}
		require.NoError(g.t, f.r.SeekTo(g.p.LogStartOffset()))
	}
	f.at = begun
}

func (f *modelFollower) close() {
	f.read()
	require.NoError(f.g.t, f.r.Close())
	require.NoError(f.g.t, f.st.Close())
}
