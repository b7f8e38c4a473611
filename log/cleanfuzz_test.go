package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// cleanGame plays appends, transactions, clocks, cleanings and reopenings, as its
// input says, and compares each cleaning with the reference.
type cleanGame struct {
	t     testing.TB
	g     *rig
	in    []byte
	clock int64
	from  int64 // the cleaner's checkpoint
	open  map[int64]bool
	epoch map[int64]int16
	seq   map[int64]int32
	last  map[int64]lastRecord
	steps struct{ cleanings, removed, markers, emptied, dated int }
}

func (p *cleanGame) next(n int) int {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return int(b) % n
}

func newCleanGame(t testing.TB, in []byte) *cleanGame {
	p := &cleanGame{t: t, in: in, clock: 1_000_000, open: map[int64]bool{}, epoch: map[int64]int16{}, seq: map[int64]int32{}, last: map[int64]lastRecord{}}
	w := WriterMapped
	if p.next(2) == 1 {
		w = WriterPwrite
	}
	p.g = newRig(t, w, true, Config{SegmentBytes: int64(400 + 100*p.next(20)), IndexInterval: 100, IndexBytes: 4096, ProducerExpiration: -1,
		ExternalEpochs: true, TimestampAfter: -1})
	p.g.open()
	return p
}

func (p *cleanGame) play() {
	for len(p.in) > 0 {
		switch k := p.next(16); {
		case k < 9:
			p.data()
		case k < 12:
			p.marker()
		case k < 13:
			require.NoError(p.t, p.g.log.RollLarge(1))
		case k < 15:
			p.clean()
		default:
			p.again()
		}
		p.clock += int64(p.next(4)) * 10
	}
	p.clean()
}

// data appends a batch as a leader sends it, which may have been cleaned there:
// with gaps, sparse or empty.
func (p *cleanGame) data() {
	l := p.g.log
	h := newHeader()
	h.BaseOffset = l.LogEndOffset()
	if p.next(4) == 0 {
		h.BaseOffset += int64(p.next(5))
	}
	h.Attributes = uint16([]compress.Codec{0, 0, 0, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}[p.next(7)])
	logAppend := p.next(5) == 0
	if logAppend {
		h.Attributes |= codec.TimestampTypeBit
	}
	n := p.next(6)
	if n == 0 {
		h.Attributes &^= codec.CodecMask // as a cleaner leaves it
	}
	var rs []codec.Record
	delta := int32(-1)
	for range n {
		delta++
		if p.next(6) == 0 {
			delta += int32(p.next(3))
		}
		r := codec.Record{Offset: h.BaseOffset + int64(delta), Timestamp: p.clock + int64(p.next(5)) - 2}
		switch p.next(9) {
		case 0:
			r.Timestamp = -1
		case 1:
			r.Timestamp = 5 // the clock went back
		}
		if k := p.next(12); k > 0 {
			r.Key = fmt.Appendf(nil, "key-%d", k)[:5+k%2] // of which some are the same
		}
		if p.next(4) > 0 {
			r.Value = fmt.Appendf(nil, "value at %d", r.Offset)
		}
		if p.next(5) == 0 {
			r.Headers = []codec.RecordHeader{{Key: "h", Value: r.Key}}
		}
		rs = append(rs, r)
	}
	h.LastOffsetDelta = max(delta, 0) + int32(p.next(3)/2)
	h.BaseTimestamp, h.MaxTimestamp = p.clock, p.clock
	if n > 0 && !logAppend {
		h.BaseTimestamp, h.MaxTimestamp = rs[0].Timestamp, rs[0].Timestamp
		for _, r := range rs {
			h.MaxTimestamp = max(h.MaxTimestamp, r.Timestamp)
		}
	}
	if p.next(8) == 0 {
		h.Attributes |= codec.DeleteHorizonBit
		h.BaseTimestamp = p.clock + int64(p.next(8))*10
	}
	if id := int64(p.next(5)) - 1; id >= 0 {
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = id, p.epoch[id], p.seq[id]
		p.seq[id] += h.LastOffsetDelta + 1
		if p.open[id] || p.next(2) == 0 {
			p.open[id] = true
			h.Attributes |= codec.TransactionalBit
		}
		p.last[id] = lastRecord{h.BaseOffset + int64(h.LastOffsetDelta), h.ProducerEpoch}
	}
	raw, err := codec.AppendBatch(nil, h, rs, p.g.env.coders)
	require.NoError(p.t, err)
	p.append(raw)
}

func (p *cleanGame) append(raw []byte) {
	_, err := p.g.log.AppendRaw(raw, RawOptions{Follower: true, Durability: Written})
	require.NoError(p.t, err)
	require.NoError(p.t, p.g.log.Sync(context.Background()))
}

func (p *cleanGame) marker() {
	id := int64(p.next(4))
	if !p.open[id] && p.next(4) > 0 {
		return
	}
	h := newHeader()
	h.BaseOffset, h.BaseTimestamp, h.ProducerID = p.g.log.LogEndOffset(), p.clock, id
	last, known := p.last[id]
	if p.next(3) == 0 {
		p.epoch[id]++ // as with version 2 of transactions: sequences begin anew
		p.seq[id] = 0
		last = lastRecord{-1, p.epoch[id]}
	}
	h.ProducerEpoch = p.epoch[id]
	if !known {
		last = lastRecord{-1, h.ProducerEpoch}
	}
	p.last[id] = last
	p.open[id] = false
	p.append(codec.AppendMarker(nil, h, p.next(2) == 0, 7))
}

func (p *cleanGame) clean() {
	t, l := p.t, p.g.log
	before := refLog(t, l)
	o := CleanOptions{Now: time.UnixMilli(p.clock), From: p.from, MaxLag: -1, TombstoneRetain: time.Duration(p.next(6)) * 10 * time.Millisecond, MapBytes: 1 << 16}
	d, err := l.Dirty(o)
	require.NoError(t, err)
	for id, r := range p.last {
		require.Equal(t, r, l.lastRecords()[id], "producer %d", id)
	}
	segs := l.Segments()
	r, err := l.Compact(context.Background(), o)
	require.NoError(t, err)
	require.Equal(t, d.From, r.From)
	require.Equal(t, d.To, r.To)
	p.from = r.To
	if r.From == r.To {
		require.Zero(t, r.Segments)
		return
	}
	ref := refClean{log: before, from: d.From, upper: d.To, latest: d.To - 1, now: p.clock, horizon: p.clock + o.TombstoneRetain.Milliseconds(),
		producers: p.last, cleanedSegment: func(b *refBatch) bool { return b.BaseOffset < d.To }}
	after := refLog(t, l)
	requireRef(t, ref.clean(), after)
	p.steps.cleanings++
	if len(after) < len(before) {
		p.steps.removed++
	}
	for _, b := range after {
		switch {
		case b.has(codec.ControlBit):
			p.steps.markers++
		case len(b.records) == 0:
			p.steps.emptied++
		case b.has(codec.DeleteHorizonBit):
			p.steps.dated++
		}
	}
	p.checkCounts(r, before, after, segs)
}

func (p *cleanGame) checkCounts(r Cleaned, before, after []*refBatch, segs []SegmentInfo) {
	t, l := p.t, p.g.log
	var bytes [2]int64
	var records [2]int64
	for i, list := range [][]*refBatch{before, after} {
		for _, b := range list {
			if b.BaseOffset < r.To {
				records[i] += int64(b.RecordCount)
				bytes[i] += int64(len(b.raw))
			}
		}
	}
	require.Equal(t, records, [2]int64{r.RecordsRead, r.RecordsKept})
	// Segments in which nothing changes are left alone, and not counted.
	require.Equal(t, bytes[0]-bytes[1], r.BytesBefore-r.BytesAfter)
	require.LessOrEqual(t, r.BytesBefore, bytes[0])
	require.Equal(t, len(segs)-r.Segments+r.Into, len(l.Segments()))
}

// again opens the log once more, as it was closed or as a crash has left it.
func (p *cleanGame) again() {
	t, l := p.t, p.g.log
	before := refLog(t, l)
	if p.next(2) == 0 {
		l = p.g.reopen()
		require.True(t, p.g.rep.Clean || len(before) == 0)
	} else {
		l.Abandon()
		p.g.st = OpenState{RecoveryPoint: l.DurableEnd(), StartOffset: -1, HighWatermark: -1}
		l = p.g.open()
		require.Nil(t, p.g.rep.Damage)
		require.Empty(t, p.g.rep.Cuts)
	}
	after := refLog(t, l)
	requireRef(t, before, after)
}

func TestCleanGame(t *testing.T) {
	games := 30
	if os.Getenv("LEAT_LONG") != "" {
		games = 5000
	}
	var all cleanGame
	for seed := range games {
		r := rand.New(rand.NewPCG(uint64(seed), 5))
		in := make([]byte, 200+r.IntN(2000))
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := newCleanGame(t, in)
			p.play()
			all.steps.cleanings += p.steps.cleanings
			all.steps.removed += p.steps.removed
			all.steps.markers += p.steps.markers
			all.steps.emptied += p.steps.emptied
			all.steps.dated += p.steps.dated
		})
	}
	t.Logf("%+v", all.steps)
	require.GreaterOrEqual(t, all.steps.cleanings, games)
	require.Greater(t, all.steps.removed, games/2)
	require.Positive(t, all.steps.markers)
	require.Positive(t, all.steps.emptied)
	require.Positive(t, all.steps.dated)
}

func FuzzClean(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		in := make([]byte, 600)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4000 {
			in = in[:4000]
		}
		newCleanGame(t, in).play()
	})
}
