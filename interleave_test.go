package leat

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// interleaved lets followers look at a store at every call that its writer makes
// of the filesystem: before it and after it.
type interleaved struct {
	t      *testing.T
	m      *vfs.Mem
	looks  sync.Mutex // the writer has goroutines, and a look makes calls too
	w      *Store     // nil while there is no writer
	views  []*followView
	exact  bool // the writer maps leat.state
	counts struct{ looks, records, restarts int }

	mu struct {
		sync.Mutex
		// values is what was ever appended at an offset, the last one last: what
		// is seen there must be one of them, and the last once it is acknowledged.
		values map[string][]string
		acked  map[string]int64 // ends
		topics map[string]bool  // those that must be there
	}
}

func newInterleaved(t *testing.T, mapped bool) *interleaved {
	x := &interleaved{t: t, m: vfs.NewCrashMem(), exact: mapped && bits.UintSize == 64}
	x.m.SetMapped(mapped)
	x.mu.values, x.mu.acked, x.mu.topics = map[string][]string{}, map[string]int64{}, map[string]bool{}
	x.m.SetHook(func(op vfs.Op, name string, before bool) error {
		if op.Mutates() && x.looks.TryLock() {
			x.look(fmt.Sprintf("%v %s, before: %v", op, name, before))
			x.looks.Unlock()
		}
		return nil
	})
	return x
}

// quiet runs f without looks in between.
func (x *interleaved) quiet(f func()) {
	x.looks.Lock()
	defer x.looks.Unlock()
	f()
}

func (x *interleaved) open() {
	writer := WriterMapped
	if x.counts.looks%2 == 1 || debugSlices {
		// A follower reads ahead into what is not published yet, and drops it. In
		// memory that is a race with a store, between processes it is none.
		writer = WriterPwrite
	}
	w, err := openFS(x.m, &Options{Writer: writer})
	require.NoError(x.t, err)
	x.quiet(func() { x.w = w })
}

// kill is the end of the writer's process.
func (x *interleaved) kill() {
	x.quiet(func() {
		w := x.w
		x.w = nil
		w.end()
		for _, l := range w.openLogs() {
			l.Abandon()
		}
		w.env.Close()
		require.NoError(x.t, w.state.closeFiles())
		require.NoError(x.t, w.lock.Close())
	})
}

func (x *interleaved) close() {
	w := x.w
	require.NoError(x.t, w.Close())
	x.quiet(func() { x.w = nil })
}

func (x *interleaved) create(name string, c TopicConfig) {
	_, err := x.w.CreateTopic(ctx, name, c)
	require.NoError(x.t, err)
	x.mu.Lock()
	x.mu.topics[name] = true
	x.mu.Unlock()
}

func (x *interleaved) append(topic, value string, n int) {
	tp, err := x.w.Topic(topic)
	require.NoError(x.t, err)
	p, err := tp.Partition(0)
	require.NoError(x.t, err)
	records := make([]Record, n)
	base := p.LogEndOffset()
	x.mu.Lock()
	for i := range records {
		v := fmt.Sprintf("%s/%d of %d", value, i, n)
		records[i].Value = []byte(v)
		key := fmt.Sprintf("%s@%d", topic, base+int64(i))
		x.mu.values[key] = append(x.mu.values[key], v)
	}
	x.mu.Unlock()
	at, err := p.Append(ctx, records...)
	require.NoError(x.t, err)
	require.Equal(x.t, base, at)
	x.mu.Lock()
	x.mu.acked[topic] = base + int64(n)
	x.mu.Unlock()
}

// follow adds a follower.
func (x *interleaved) follow() {
	x.quiet(func() {
		st, err := openFollower(x.m, nil)
		require.NoError(x.t, err)
		x.views = append(x.views, &followView{x: x, st: st, readers: map[string]*viewReader{}})
	})
}

// end closes the followers: that is no change either.
func (x *interleaved) end() {
	x.look("the end")
	before := x.m.Hash()
	for _, v := range x.views {
		for _, r := range v.readers {
			require.NoError(x.t, r.rd.Close())
		}
		require.NoError(x.t, v.st.Close())
	}
	require.Equal(x.t, before, x.m.Hash())
	x.t.Logf("%+v", x.counts)
	require.Positive(x.t, x.counts.records)
}

func (x *interleaved) look(at string) {
	x.counts.looks++
	for i, v := range x.views {
		v.look(fmt.Sprintf("follower %d, %s", i, at))
	}
}

// followView is one follower.
type followView struct {
	x       *interleaved
	st      *Store
	readers map[string]*viewReader
}

// viewReader reads a topic on and on.
type viewReader struct {
	id   TopicID
	rd   *Reader
	seen []string // by offset
}

func (v *followView) look(at string) {
	t, x := v.x.t, v.x
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.mu.topics {
		tp, err := v.st.Topic(name)
		if errors.Is(err, ErrUnknownTopic) && !x.exact {
			continue // until the files are looked at again
		}
		require.NoError(t, err, at)
		p, err := tp.Partition(0)
		require.NoError(t, err, at)
		r := v.readers[name]
		if r == nil {
			rd, err := p.Reader(ReaderOptions{})
			require.NoError(t, err, at)
			r = &viewReader{id: tp.ID(), rd: rd}
			v.readers[name] = r
		}
		v.read(at, p, r)
	}
}

// read reads what there is to see.
func (v *followView) read(at string, p *Partition, r *viewReader) {
	t, x := v.x.t, v.x
	topic := p.topic.name
	visible := p.HighWatermark()
	if l := writerLog(x.w, p); l != nil && x.exact && l.Failed() == nil {
		require.LessOrEqual(t, visible, l.LogEndOffset(), at)
		if p.topic.Config().Durability != Written {
			require.LessOrEqual(t, visible, l.DurableEnd(), at)
		}
		require.GreaterOrEqual(t, visible, x.mu.acked[topic], at)
	}
	for r.rd.Offset() != p.HighWatermark() {
		b, err := r.rd.Next(ctx) // there is something, so it does not wait
		var gone *OffsetError
		if errors.As(err, &gone) {
			x.counts.restarts++
			require.LessOrEqual(t, gone.End, r.rd.Offset(), at)
			require.NoError(t, r.rd.SeekTo(gone.End), at)
			r.seen = r.seen[:gone.End]
			continue
		}
		require.NoError(t, err, at)
		require.Equal(t, int64(len(r.seen)), b.BaseOffset(), at)
		n := 0
		for rec, err := range b.Records() {
			require.NoError(t, err, at)
			value := string(rec.Value)
			require.Contains(t, x.mu.values[fmt.Sprintf("%s@%d", topic, rec.Offset)], value, at)
			r.seen = append(r.seen, value)
			x.counts.records++
			n++
		}
		require.Equal(t, int(b.NextOffset()-b.BaseOffset()), n, at)
	}
}

// writerLog is the writer's own view of a partition, if it has it open.
func writerLog(w *Store, p *Partition) interface {
	LogEndOffset() int64
	DurableEnd() int64
	Failed() error
} {
	if w == nil {
		return nil
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	t := w.mu.topics[p.topic.name]
	if t == nil || t.id != p.topic.id {
		return nil
	}
	l := t.handle(p.id).log.Load()
	if l == nil {
		return nil
	}
	return l
}

// final compares what each follower sees, and what its readers have read, with
// what the writer sees.
func (x *interleaved) final(topic string) {
	tp, err := x.w.Topic(topic)
	require.NoError(x.t, err)
	p, err := tp.Partition(0)
	require.NoError(x.t, err)
	require.NoError(x.t, p.Sync(ctx))
	want := valuesOf(x.t, p)
	x.quiet(func() {
		for _, v := range x.views {
			q := reopened(x.t, v.st, topic)
			for !x.exact && q.HighWatermark() < int64(len(want)) {
				<-time.After(10 * time.Millisecond) // until the folder is listed again
			}
			require.Equal(x.t, want, valuesOf(x.t, q))
			v.look("final")
			require.Equal(x.t, want, v.readers[topic].seen)
		}
	})
}

// TestInterleaved: followers that look at every moment of a writer's life see
// whole batches only, each once, in order, all that was acknowledged, and never
// more than what counts as durable.
func TestInterleaved(t *testing.T) {
	for _, c := range []TopicConfig{
		{SegmentBytes: 4096}, {SegmentBytes: 4096, Durability: Written}, {SegmentBytes: 4096, Compression: LZ4},
	} {
		t.Run(fmt.Sprintf("%v/%v", c.Durability, c.Compression), func(t *testing.T) {
			x := newInterleaved(t, true)
			x.open()
			x.follow()
			x.create("orders", c)
			for i := range 60 {
				x.append("orders", fmt.Sprintf("first %d", i), 1+i%7)
			}
			x.follow()
			x.close()
			x.open()
			for i := range 20 {
				x.append("orders", fmt.Sprintf("second %d", i), 1+i%7)
			}
			for range 3 {
				x.kill()
				x.tear("orders")
				x.open()
				x.follow()
				for i := range 20 {
					x.append("orders", fmt.Sprintf("again %d", i), 1+i%7)
				}
			}
			x.final("orders")
			x.close()
			x.end()
		})
	}
}

// tear leaves half a batch behind what was published, as a writer that was
// killed may.
func (x *interleaved) tear(topic string) {
	x.quiet(func() {
		list, err := x.m.ReadDir(folderName(topic, 0))
		require.NoError(x.t, err)
		name := ""
		for _, e := range list {
			if _, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix {
				name = e.Name
			}
		}
		f, err := x.m.Open(folderName(topic, 0)+"/"+name, vfs.ReadWrite)
		require.NoError(x.t, err)
		defer f.Close()
		b := make([]byte, 1<<20)
		n, _ := f.ReadAt(b, 0)
		b = b[:n]
		for len(b) > 0 && b[len(b)-1] == 0 {
			b = b[:len(b)-1]
		}
		_, err = f.WriteAt(b[:min(len(b), 100)], int64(len(b)))
		require.NoError(x.t, err)
	})
}

// lose takes back what is in the last segment from a random batch on, as a power
// cut may, though one leaves no follower: those that have read it must notice
// all the same, when a writer has recovered.
func (x *interleaved) lose(topic string, r *rand.Rand) (from int64) {
	x.quiet(func() {
		q := reopened(x.t, x.views[0].st, topic)
		l := q.log.Load()
		rd, err := q.Reader(ReaderOptions{UntilEnd: true})
		require.NoError(x.t, err)
		last := l.Segments()[len(l.Segments())-1].BaseOffset
		type place struct{ pos, offset int64 }
		var places []place
		for {
			b, err := rd.Next(ctx)
			if err != nil {
				break
			}
			if b.BaseOffset() >= max(last, l.DurableEnd()) { // else it would be damage
				_, pos := rd.cur.Position()
				places = append(places, place{pos, b.BaseOffset()})
			}
		}
		require.NoError(x.t, rd.Close())
		require.NotEmpty(x.t, places)
		at := places[r.IntN(len(places))]
		f, err := x.m.Open(folderName(topic, 0)+"/"+segment.FileName(last, segment.LogSuffix), vfs.ReadWrite)
		require.NoError(x.t, err)
		require.NoError(x.t, f.Zero(at.pos, 20+r.Int64N(200)))
		require.NoError(x.t, f.Close())
		from = at.offset
		x.mu.Lock()
		x.mu.acked[topic] = from
		x.mu.Unlock()
	})
	return from
}

// TestInterleavedLoss: a recovery that takes back what was published is never
// seen half done, and readers that were there learn of it, however late.
func TestInterleavedLoss(t *testing.T) {
	if bits.UintSize < 64 {
		t.Skip("nothing is mapped: a follower does not know what is durable")
	}
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			x := newInterleaved(t, true)
			x.open()
			x.follow()
			x.create("orders", TopicConfig{SegmentBytes: 16 << 10, Durability: Written, FlushInterval: Unlimited})
			for round := range 4 {
				for i := range 10 + r.IntN(30) {
					x.append("orders", fmt.Sprintf("%d: %d", round, i), 1+r.IntN(5))
				}
				x.look("before the kill")
				x.kill()
				late := x.views
				from := x.lose("orders", r)
				if seed%2 == 0 {
					x.views = nil // these look again when there is more than before
				}
				x.follow()
				x.open()
				x.append("orders", fmt.Sprintf("%d: new", round), 1)
				tp, err := x.w.Topic("orders")
				require.NoError(t, err)
				p, err := tp.Partition(0)
				require.NoError(t, err)
				require.LessOrEqual(t, p.LogEndOffset(), from+1)
				for p.LogEndOffset() < from+40 {
					x.append("orders", fmt.Sprintf("%d: after", round), 3)
				}
				if seed%2 == 0 {
					x.views = append(x.views, late...)
				}
				x.final("orders")
			}
			x.close()
			x.end()
			require.Positive(t, x.counts.restarts)
		})
	}
}

// TestInterleavedHeap: where the words cannot be mapped, followers go by the
// files.
func TestInterleavedHeap(t *testing.T) {
	x := newInterleaved(t, false)
	x.open()
	x.follow()
	x.create("orders", TopicConfig{SegmentBytes: 64 << 10})
	for i := range 60 {
		x.append("orders", fmt.Sprintf("first %d", i), 1+i%7)
	}
	for range 3 {
		x.kill()
		x.tear("orders")
		x.open()
		x.follow()
		for i := range 20 {
			x.append("orders", fmt.Sprintf("again %d", i), 1+i%7)
		}
	}
	x.final("orders")
	x.close()
	x.open()
	x.final("orders")
	x.close()
	x.end()
}
