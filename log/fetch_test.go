package log

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// modelBatch is a batch of a log that a test has made up.
type modelBatch struct {
	segment    int64 // base offset
	pos        int64
	raw        codec.Batch
	base, next int64
}

// modelLog is a log made up batch by batch: with gaps and transactions, as
// compaction and others may leave one.
type modelLog struct {
	batches []modelBatch
	files   map[int64][]byte // by base offset
	aborted []index.AbortedTxn
	end     int64
}

const modelInterval = 600 // between index entries

func makeModelLog(r *rand.Rand, batches int, sparse, transactions bool) *modelLog {
	coders := compress.New()
	defer coders.Close()
	m := &modelLog{files: map[int64][]byte{}}
	open := map[int64]int64{} // producer to first offset
	seq := map[int64]int32{}
	seg := int64(0)
	for range batches {
		if sparse && r.IntN(4) == 0 {
			m.end += r.Int64N(50)
		}
		if len(m.files[seg]) > 4000 && r.IntN(8) == 0 {
			seg = m.end
		}
		var raw []byte
		producer := 1000 + r.Int64N(3)
		switch first, active := open[producer]; {
		case active && r.IntN(3) == 0:
			abort := r.IntN(2) == 0
			raw = producerMarker(producer, 0, m.end, !abort, 0)
			delete(open, producer)
			if abort {
				stable := m.end + 1
				for _, other := range open {
					stable = min(stable, other)
				}
				m.aborted = append(m.aborted, index.AbortedTxn{ProducerID: producer, FirstOffset: first, LastOffset: m.end, LastStableOffset: stable})
			}
		case transactions && r.IntN(2) == 0:
			raw = modelData(coders, r, m.end, producer, seq[producer])
			seq[producer] += codec.Batch(raw).LastOffsetDelta() + 1
			if !active {
				open[producer] = m.end
			}
		default:
			raw = modelData(coders, r, m.end, -1, -1)
		}
		b := codec.Batch(raw)
		m.batches = append(m.batches, modelBatch{seg, int64(len(m.files[seg])), b, b.BaseOffset(), b.NextOffset()})
		m.files[seg] = append(m.files[seg], raw...)
		m.end = b.NextOffset()
	}
	return m
}

func modelData(coders *compress.Coders, r *rand.Rand, base, producer int64, seq int32) []byte {
	records := make([]codec.Record, 1+r.IntN(4))
	for i := range records {
		records[i] = codec.Record{Offset: base + int64(i), Timestamp: 1 + base, Key: []byte("k"), Value: make([]byte, r.IntN(120))}
	}
	h := codec.NewHeader(base, records)
	if producer >= 0 {
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = producer, 0, seq
		h.Attributes |= codec.TransactionalBit
	}
	b, err := codec.AppendBatch(nil, h, records, coders)
	if err != nil {
		panic(err)
	}
	return b
}

// write puts the log into the rig's folder as somebody else's.
func (m *modelLog) write(g *rig) {
	if g.dir == "" {
		g.dir = "t-0"
	}
	for base, b := range m.files {
		g.putFile(segment.FileName(base, segment.LogSuffix), b)
	}
	g.st = OpenState{Adopted: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}
}

// run is what a fetch gives, found by walking all batches.
func (m *modelLog) run(offset, limit, most int64) (raw []byte, first, next int64, batches []modelBatch) {
	first, next = offset, offset
	for _, b := range m.batches {
		switch {
		case b.next <= offset:
			continue
		case b.next > limit,
			len(batches) > 0 && (b.segment != batches[0].segment || most >= 0 && int64(len(raw)+len(b.raw)) > most):
			return raw, first, next, batches
		}
		if len(batches) == 0 {
			first = b.base
		}
		batches = append(batches, b)
		raw = append(raw, b.raw...)
		next = b.next
	}
	return raw, first, next, batches
}

// available is how many bytes of whole batches lie from offset up to limit.
func (m *modelLog) available(offset, limit int64) (n int64) {
	for _, b := range m.batches {
		if b.next > offset {
			if b.next > limit {
				break
			}
			n += int64(len(b.raw))
		}
	}
	return n
}

// forEachView is forEachWriter, and once more without any map.
func forEachView(t *testing.T, c Config, f func(t *testing.T, g *rig)) {
	forEachWriter(t, c, f)
	t.Run("no maps", func(t *testing.T) {
		g := newRig(t, WriterPwrite, false, c)
		g.env.maps = segment.NewMaps(0)
		f(t, g)
	})
}

// TestFetchModel compares fetches of random offsets, sizes and isolations, over
// dense, sparse and transactional logs, with a walk over all batches. The high
// watermark is moved by a wrapper, so that it is anywhere, inside of batches too.
func TestFetchModel(t *testing.T) {
	logs, each := 2, 150
	if os.Getenv("LEAT_LONG") != "" {
		logs, each = 100, 2000
	}
	c := Config{SegmentBytes: 1 << 20, IndexInterval: modelInterval, IndexBytes: 4096, ExternalWatermark: true}
	forEachView(t, c, func(t *testing.T, g *rig) {
		for seed := range logs {
			for kind := range 4 {
				r := rand.New(rand.NewPCG(uint64(seed), uint64(kind)))
				m := makeModelLog(r, 250, kind&1 != 0, kind&2 != 0)
				g.dir = fmt.Sprintf("t-%d", seed*4+kind+1)
				require.NoError(t, g.fs.Mkdir(g.dir))
				m.write(g)
				l := g.open()
				require.Equal(t, m.end, l.LogEndOffset())
				testFetchModel(t, r, l, m, each)
				require.NoError(t, l.Close())
			}
		}
	})
}

func testFetchModel(t *testing.T, r *rand.Rand, l *Log, m *modelLog, each int) {
	watermark := int64(0)
	for i := range each {
		if i%10 == 0 {
			watermark = min(watermark+r.Int64N(m.end/8+1), m.end)
			if i > each*9/10 {
				watermark = m.end
			}
			require.NoError(t, l.SetHighWatermark(watermark))
		}
		o := FetchOptions{Offset: r.Int64N(m.end + 1), MaxBytes: r.Int64N(3000), Verify: r.IntN(4) == 0}
		if r.IntN(4) == 0 {
			o.MaxBytes = -1
		}
		limit := l.HighWatermark()
		switch r.IntN(4) {
		case 0, 3:
			o.Committed, limit = true, l.LastStableOffset()
		case 1:
			o.Follower, limit = true, m.end
		}
		most := o.MaxBytes
		if most == 0 {
			most = defaultFetch
		}
		raw, first, next, batches := m.run(o.Offset, limit, most)
		var f Fetched
		require.NoError(t, l.Fetch(o, &f), "%+v", o)
		what := fmt.Sprintf("%+v below %d of %d", o, limit, m.end)
		require.EqualValues(t, len(raw), f.Len(), what)
		require.True(t, bytes.Equal(raw, f.Bytes()), what)
		require.Equal(t, next, f.Next, what)
		if len(raw) > 0 {
			require.Equal(t, first, f.First, what)
		}
		require.Equal(t, watermark, f.HighWatermark)
		require.Equal(t, l.LastStableOffset(), f.LastStableOffset)
		var sent bytes.Buffer
		n, err := f.WriteTo(&sent)
		require.NoError(t, err)
		require.EqualValues(t, len(raw), n)
		require.True(t, bytes.Equal(raw, sent.Bytes()))
		requireAborted(t, m, o, limit, &f, batches)
		f.Release()
		f.Release()

		want := 1 + r.Int64N(4000)
		n, err = l.available(o.Offset, limit, want)
		require.NoError(t, err)
		if there := m.available(o.Offset, limit); there < want {
			require.Equal(t, there, n, "available: %s", what)
		} else {
			require.GreaterOrEqual(t, n, want, "available: %s", what)
		}
	}
}

// requireAborted compares with Kafka's list, computed from all batches.
func requireAborted(t *testing.T, m *modelLog, o FetchOptions, limit int64, f *Fetched, run []modelBatch) {
	if !o.Committed || len(run) == 0 {
		require.Nil(t, f.Aborted)
		return
	}
	upper := m.upper(run[0], limit, o.MaxBytes)
	var want []index.AbortedTxn
	for _, a := range m.aborted {
		// Kafka begins with the index of the run's segment, which has no marker
		// below it.
		if a.LastOffset >= max(o.Offset, run[0].segment) && a.FirstOffset < upper {
			want = append(want, a)
		}
		if a.LastOffset >= run[0].segment && a.LastStableOffset >= upper {
			break
		}
	}
	require.Equal(t, want, f.Aborted, "%+v: %d to %d, below %d", o, f.First, f.Next, upper)
}

// upper is Kafka's fetchUpperBoundOffset: the offset of the first index entry at
// or behind the position where its fetch would end.
func (m *modelLog) upper(first modelBatch, limit, most int64) int64 {
	if most == 0 {
		most = defaultFetch
	}
	cut := int64(len(m.files[first.segment]))
	if most >= 0 {
		cut = min(cut, first.pos+max(most, int64(len(first.raw))))
	}
	since, next := 0, m.end
	found := int64(-1)
	for _, b := range m.batches {
		if b.segment > first.segment {
			next = b.segment
			break
		}
		if b.segment != first.segment {
			continue
		}
		if b.next > limit {
			cut = min(cut, b.pos)
		}
	}
	for _, b := range m.batches {
		if b.segment != first.segment {
			continue
		}
		if since > modelInterval {
			if b.pos >= cut && found < 0 {
				found = b.next - 1
			}
			since = 0
		}
		since += len(b.raw)
	}
	if found >= 0 {
		return found
	}
	return next
}

// TestFetchErrors: the range, a closed and a failed log, and a run after its
// release.
func TestFetchErrors(t *testing.T) {
	forEachView(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		for i := range 20 {
			_, err := l.Append(context.Background(), []Record{numbered(i)}, Written)
			require.NoError(t, err)
		}
		require.NoError(t, l.Sync(context.Background()))
		for _, offset := range []int64{-1, 21, 1 << 40} {
			err := l.Fetch(FetchOptions{Offset: offset}, new(Fetched))
			var e *OffsetError
			require.ErrorAs(t, err, &e)
			require.Equal(t, OffsetError{Topic: "t", Offset: offset, Start: 0, End: 20}, *e)
		}
		var empty, f Fetched
		require.NoError(t, l.Fetch(FetchOptions{Offset: 20}, &empty))
		require.Zero(t, empty.Len())
		require.Nil(t, empty.Bytes())
		require.Equal(t, []int64{20, 20}, []int64{empty.First, empty.Next})
		n, err := empty.WriteTo(new(bytes.Buffer))
		require.Zero(t, n)
		require.NoError(t, err)
		empty.Release()

		require.NoError(t, l.Fetch(FetchOptions{Offset: 3, MaxBytes: 1}, &f))
		kept := slices.Clone(f.Bytes())
		require.EqualValues(t, 3, codec.Batch(kept).BaseOffset())
		l.fail(os.ErrInvalid)
		require.ErrorIs(t, l.Fetch(FetchOptions{Offset: 20}, new(Fetched)), ErrFailed, "at the end of a failed log")
		var g2 Fetched
		require.NoError(t, l.Fetch(FetchOptions{Offset: 19}, &g2), "what is there can be had")
		g2.Release()
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Fetch(FetchOptions{Offset: 3}, new(Fetched)), ErrClosed)

		require.True(t, bytes.Equal(kept, f.Bytes()), "it stays as long as it is held")
		var sent bytes.Buffer
		_, err = f.WriteTo(&sent)
		require.NoError(t, err)
		require.Equal(t, kept, sent.Bytes())
		f.Release()
		f.Release()
		require.Nil(t, f.Bytes())
		require.NotZero(t, f.Len())
		n, err = f.WriteTo(&sent)
		require.Zero(t, n)
		require.ErrorIs(t, err, ErrClosed)
	})
}

// TestFetchDamage: a run ends before damage that is known, and before a batch
// that Verify finds damaged; one that would begin with it is an error.
func TestFetchDamage(t *testing.T) {
	forEachView(t, Config{SegmentBytes: 1 << 20, IndexInterval: 300, IndexBytes: 4096}, func(t *testing.T, g *rig) {
		g.open()
		for i := range 60 {
			_, err := g.log.Append(context.Background(), []Record{numbered(i)}, Written)
			require.NoError(t, err)
		}
		require.NoError(t, g.log.Close())
		var positions []int64
		file := g.getFile(g.logFile(0))
		for pos := int64(0); pos < int64(len(file)); {
			positions = append(positions, pos)
			pos += int64(codec.Batch(file[pos:]).BatchLength()) + codec.LogOverhead
		}
		require.Len(t, positions, 60)
		g.damage(0, func(b []byte) []byte { b[positions[30]+30] ^= 1; return b })

		// Nobody has noticed.
		g.st = OpenState{Clean: true, RecoveryPoint: 60, StartOffset: -1, HighWatermark: -1}
		l := g.open()
		var f Fetched
		require.NoError(t, l.Fetch(FetchOptions{Offset: 10, MaxBytes: -1}, &f))
		require.EqualValues(t, 60, f.Next, "raw batches are for whoever checks them")
		f.Release()
		var v Fetched
		require.NoError(t, l.Fetch(FetchOptions{Offset: 10, MaxBytes: -1, Verify: true}, &v))
		require.EqualValues(t, 30, v.Next)
		require.Equal(t, positions[30]-positions[10], v.Len())
		v.Release()
		requireCorruptAt(t, l.Fetch(FetchOptions{Offset: 30, Verify: true}, new(Fetched)), positions[30], 30)
		require.NoError(t, l.Close())

		// A scan has.
		g.st = OpenState{RecoveryPoint: 60, StartOffset: -1, HighWatermark: -1}
		l = g.open()
		require.NotNil(t, l.Damage())
		for _, from := range []int64{0, 10, 29} {
			var f Fetched
			require.NoError(t, l.Fetch(FetchOptions{Offset: from, MaxBytes: -1}, &f))
			require.EqualValues(t, 30, f.Next)
			f.Release()
			n, err := l.available(from, 60, 1<<20)
			require.NoError(t, err)
			require.EqualValues(t, 1<<20, n, "damage is something to be told")
		}
		requireCorruptAt(t, l.Fetch(FetchOptions{Offset: 30}, new(Fetched)), positions[30], 30)
		var rest Fetched
		require.NoError(t, l.Fetch(FetchOptions{Offset: 31, MaxBytes: -1}, &rest))
		require.EqualValues(t, 60, rest.Next)
		rest.Release()
		require.ErrorIs(t, l.Fetch(FetchOptions{Offset: 60}, new(Fetched)), ErrCorrupt, "nothing will come")
	})
}

func requireCorruptAt(t *testing.T, err error, pos, offset int64) {
	t.Helper()
	var e *segment.CorruptError
	require.ErrorAs(t, err, &e)
	require.Equal(t, pos, e.Position)
	require.Equal(t, offset, e.Offset)
}

// TestFetchMissing: offsets that cannot be missing are damage, and a gap of a
// sparse log is not.
func TestFetchMissing(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(30)
	g.st = OpenState{Clean: true, RecoveryPoint: 30, StartOffset: -1, HighWatermark: -1}
	l := g.open()
	list := l.segments.Load()
	l.segments.Store(newList(slices.Delete(slices.Clone(list.segs), 1, 2)))
	var e *segment.CorruptError
	require.ErrorAs(t, l.Fetch(FetchOptions{Offset: bases[1]}, new(Fetched)), &e)
	require.Equal(t, bases[1], e.Offset)
	l.denseFrom.Store(noOffset)
	var f Fetched
	require.NoError(t, l.Fetch(FetchOptions{Offset: bases[1]}, &f))
	require.Equal(t, bases[2], f.First)
	f.Release()
	l.segments.Store(list)
}

// TestFetchGap: the same inside of a segment.
func TestFetchGap(t *testing.T) {
	m := makeModelLog(rand.New(rand.NewPCG(1, 1)), 60, true, false)
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 1 << 20})
	m.write(g)
	l := g.open()
	gaps := 0
	for i, b := range m.batches[1:] {
		before := m.batches[i]
		if b.base == before.next || b.segment != before.segment {
			continue
		}
		gaps++
		var f Fetched
		l.denseFrom.Store(noOffset)
		require.NoError(t, l.Fetch(FetchOptions{Offset: before.next, MaxBytes: 1}, &f))
		require.Equal(t, b.base, f.First)
		f.Release()
		l.denseFrom.Store(0)
		requireCorruptAt(t, l.Fetch(FetchOptions{Offset: before.next, MaxBytes: 1}, new(Fetched)), b.pos, before.next)
	}
	require.Positive(t, gaps)
}

// TestFetchWhileWritten: fetches beside appends that roll, a removal of the
// oldest segments, and the close. Every run is whole batches of what was
// appended, in order, and stays what it was as long as it is held.
func TestFetchWhileWritten(t *testing.T) {
	c := Config{SegmentBytes: 3000, IndexInterval: 300, Durability: Written}
	forEachView(t, c, func(t *testing.T, g *rig) {
		leak := &leakFS{FS: g.fs}
		env := envLike(g, leak)
		defer env.Close()
		l, _, err := Open(env, "t-0", g.cfg, g.st)
		require.NoError(t, err)
		g.cfg.Topic = "t"
		const total = 600
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range total {
				if _, err := l.Append(context.Background(), []Record{numbered(i)}, Written); err != nil {
					t.Error(err)
				}
				if i%50 == 49 {
					dropOldest(t, l)
				}
			}
		})
		var held []*Fetched
		var mu sync.Mutex
		for reader := range 3 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(reader)))
				for offset := int64(0); offset < total; {
					f := new(Fetched)
					err := l.Fetch(FetchOptions{Offset: offset, MaxBytes: r.Int64N(5000) - 1, Committed: r.IntN(2) == 0}, f)
					if err != nil {
						if start := l.LogStartOffset(); offset >= start {
							t.Errorf("offset %d, start %d: %v", offset, start, err)
							return
						}
						offset = l.LogStartOffset()
						continue
					}
					if !soundRun(t, f) {
						return
					}
					offset = f.Next
					if r.IntN(50) == 0 || offset == total { // the last one always
						mu.Lock()
						held = append(held, f)
						mu.Unlock()
						continue
					}
					f.Release()
				}
			})
		}
		wg.Wait()
		require.NoError(t, l.Close())
		require.NotEmpty(t, held)
		for _, f := range held {
			soundRun(t, f)
			var sent bytes.Buffer
			_, err := f.WriteTo(&sent)
			require.NoError(t, err)
			require.True(t, bytes.Equal(sent.Bytes(), f.Bytes()))
			f.Release()
		}
		require.Zero(t, leak.files.Load(), "files")
		require.Zero(t, leak.maps.Load(), "maps")
	})
}

// envLike is a rig's environment over another file system.
func envLike(g *rig, fsys vfs.FS) *Env {
	w := WriterPwrite
	if g.env.mapped {
		w = WriterMapped
	}
	e := NewEnv(EnvOptions{FS: fsys, Writer: w})
	e.maps = g.env.maps
	return e
}

// dropOldest removes all segments that are sealed, as retention might.
func dropOldest(t *testing.T, l *Log) { dropOldestN(t, l, 1<<30) }

// dropOldestN removes at most so many.
func dropOldestN(t *testing.T, l *Log, most int) {
	l.writing.Lock()
	defer l.unlock()
	list := l.segments.Load()
	l.seals.Lock()
	n := slices.IndexFunc(list.segs, func(s *segment.Segment) bool {
		return s == list.active() || slices.ContainsFunc(l.seals.queue, func(j *sealing) bool { return j.seg == s })
	})
	l.seals.Unlock()
	if n = min(n, most); n == 0 {
		return
	}
	l.start.Store(list.bases[n])
	l.segments.Store(newList(list.segs[n:]))
	for _, s := range list.segs[:n] {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	}
}

// soundRun checks that a run is whole batches without a gap.
func soundRun(t *testing.T, f *Fetched) bool {
	b := f.Bytes()
	next := f.First
	for len(b) > 0 {
		batch, err := codec.Next(b)
		if err == nil {
			err = batch.Check()
		}
		if err != nil || batch.BaseOffset() != next {
			t.Errorf("at offset %d: batch %d, %v", next, batch.BaseOffset(), err)
			return false
		}
		next = batch.NextOffset()
		b = b[len(batch):]
	}
	if next != f.Next || f.LogStartOffset > f.LastStableOffset || f.LastStableOffset > f.HighWatermark || f.Next > max(f.HighWatermark, f.First) {
		t.Errorf("run %d to %d of %d, %d, %d", f.First, f.Next, f.LogStartOffset, f.LastStableOffset, f.HighWatermark)
		return false
	}
	return true
}

// TestQuietSegments: what a fetch has learned of segments without aborted
// transactions does not outlive a change of the list.
func TestQuietSegments(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	m := makeModelLog(r, 200, false, false)
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 1 << 20})
	m.write(g)
	l := g.open()
	_, err := l.AbortedTxns(0, noOffset, nil)
	require.NoError(t, err)
	list := l.segments.Load()
	require.Greater(t, len(list.segs), 4)
	require.Equal(t, &span{0, len(list.segs) - 1}, list.quiet.Load(), "all but the active one")
	require.Nil(t, newList(list.segs[1:]).quiet.Load())
	require.Equal(t, list.quiet.Load(), list.with(list.segs[0]).quiet.Load())

	l2 := newList(list.segs)
	l2.learn(span{3, 5})
	l2.learn(span{0, 1})
	require.Equal(t, span{3, 5}, *l2.quiet.Load(), "the longer one")
	l2.learn(span{1, 3})
	require.Equal(t, span{1, 5}, *l2.quiet.Load())
	l2.learn(span{2, 4})
	require.Equal(t, span{1, 5}, *l2.quiet.Load())
	l2.learn(span{7, 7})
	require.Equal(t, span{1, 5}, *l2.quiet.Load())
}
