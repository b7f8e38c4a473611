package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// The power-loss test. A random script of appends, plain and raw, syncs, rolls, closes and
// opens runs over a file system that remembers what is durable. At every call
// that changes the disk, and between the steps, the power is cut: trees are made
// that the disk may hold then, and each is recovered and checked (see
// powercheck_test.go). LEAT_LONG=1 runs it for minutes, LEAT_SEED=n repeats the
// script of one seed.
//
// That it can fail was tried by hand. It found: acknowledging before the sync; no
// sync of the folder after a roll, or of the rolled segment; a torn tail not made
// zero; later segments left behind a cut; nothing written again after a failed
// sync; the durable mark stored before the sync, beyond it, or before the sealed
// segment was synced; files replaced without a sync; an epoch begun after the cut
// or not at all; only the mark's segment scanned; gaps accepted; zeros left in a
// sealed segment; a checksum noted before the seal; a close without a sync, and a
// rest without one. Later
// segments put aside after the cut are found by TestRecoveryIsRepeatable; marks or
// a recovery point lowered by damage by TestCorruptBelowTheMark. Of deletion it
// found: files removed before the start offset was durable, or the folder of a new
// segment; a start offset beyond what is durable; what is left of a deletion taken
// for damage, or read again; a record that DeleteRecords has taken coming back.

func TestPowerLoss(t *testing.T) {
	budget := 8 * time.Second
	if testing.Short() {
		budget = 2 * time.Second
	}
	if os.Getenv("LEAT_LONG") != "" {
		budget = 10 * time.Minute
	}
	seed := uint64(1)
	if s := os.Getenv("LEAT_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		require.NoError(t, err)
		budget = 0
	} else if os.Getenv("LEAT_LONG") != "" {
		seed = uint64(time.Now().UnixNano())
	}
	var total powerStats
	start := time.Now()
	for {
		p := newPower(t, seed, &total)
		p.run()
		seed++
		if time.Since(start) > budget {
			break
		}
	}
	states := total.states.Load()
	t.Logf("%d states, %d of them in recovery, %d cut, %d kills, last seed %d: %.0f states/s", states, total.deep.Load(),
		total.cuts.Load(), total.kills.Load(), seed-1, float64(states)/time.Since(start).Seconds())
	require.NotZero(t, total.cuts.Load(), "no state had a torn tail")
	require.NotZero(t, total.deep.Load())
}

type powerStats struct{ states, deep, cuts, kills atomic.Int64 }

// power is one script.
type power struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand // of the script
	stats *powerStats

	mem       *vfs.Mem
	env       *Env
	cfg       Config
	writer    Writer
	sparse    bool // the file system cannot allocate
	kind      powerKind
	truncates atomic.Bool // some truncation has begun

	log    *Log
	words  *[8]uint64             // allocated, for 64-bit atomics on 32-bit systems
	failed atomic.Pointer[string] // what the first check that failed said
	broken atomic.Bool            // the next sync of a log file fails

	mu struct {
		sync.Mutex // the hook runs on many goroutines
		rng        *rand.Rand
		origin     int64    // where the log was begun last
		values     [][]byte // all that was given to Append and not truncated, by offset from origin on
		acked      int64    // what was promised to survive
		takenBack  int      // counts when what was promised became less
		resetting  int64    // where a reset under way will begin; -1: there is none
		start      int64    // what was promised to be deleted
		deleting   int64    // what may be
		saved      int64    // the start offset when the marks were last synced
		syncs      int      // of the marks
		marks      [][8]uint64
		checkpoint int64
		startPoint int64 // the log start checkpoint
		clean      bool
	}
}

// powerKind is what a script does beside what all do: not everything, so that it
// can be told what must be there.
type powerKind int

const (
	powerRaw    powerKind = iota // appends raw batches, with gaps and transactions, and truncates
	powerReset                   // truncates, and begins the log anew elsewhere
	powerDelete                  // raises the log start
)

func newPower(t *testing.T, seed uint64, stats *powerStats) *power {
	p := &power{t: t, seed: seed, stats: stats, words: new([8]uint64), rng: rand.New(rand.NewPCG(seed, 1))}
	p.mu.rng = rand.New(rand.NewPCG(seed, 2))
	p.mu.checkpoint, p.mu.startPoint, p.mu.resetting = -1, -1, -1
	p.writer = []Writer{WriterMapped, WriterPwrite}[p.rng.IntN(2)]
	p.sparse = p.rng.IntN(5) == 0
	p.kind = powerKind(p.rng.IntN(3))
	p.cfg = Config{
		Topic:         "t",
		SegmentBytes:  []int64{3 << 10, 9000, 20 << 10, 64 << 10}[p.rng.IntN(4)],
		IndexBytes:    []int{64, 4096}[p.rng.IntN(2)],
		IndexInterval: []int{1, 200, 4096}[p.rng.IntN(3)],
		Durability:    []Durability{Synced, Written}[p.rng.IntN(2)],
		FlushInterval: []time.Duration{-1, time.Millisecond}[p.rng.IntN(2)],
		// Raw appends bring producers, whose times are of long ago.
		ProducerExpiration: -1,
	}
	p.mem = vfs.NewCrashMem()
	require.NoError(t, p.mem.Mkdir("t-0"))
	require.NoError(t, p.mem.SyncDir("."))
	return p
}

func (p *power) String() string {
	return fmt.Sprintf("seed %d, mapped %v, sparse %v, %+v", p.seed, p.writer == WriterMapped, p.sparse, p.cfg)
}

// newEnv is the environment over a tree, with the same options.
func (p *power) newEnv(m *vfs.Mem) *Env {
	return NewEnv(EnvOptions{FS: m, MaxMaps: 100, Writer: p.writer})
}

// fault is what the file system of the script always refuses.
func (p *power) fault(op vfs.Op) error {
	if p.sparse && op == vfs.OpAllocate {
		return vfs.ErrNotSupported
	}
	return nil
}

func (p *power) run() {
	p.env = p.newEnv(p.mem)
	p.mem.SetHook(p.hook)
	p.open(OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1})
	for range 12 + p.rng.IntN(12) {
		p.step()
		p.cut(p.rng.IntN(4) == 0)
		if s := p.failed.Load(); s != nil {
			p.t.Fatal(*s) // here, for the hook is called on other goroutines too
		}
	}
	p.mem.SetHook(nil)
	p.log.Abandon()
	p.env.Close()
}

func (p *power) open(st OpenState) {
	st.Marks, st.MarksValid = NewMarks(p.words, p.syncMarks), !st.New
	st.StartOffset = p.mu.startPoint
	l, _, err := Open(p.env, "t-0", p.cfg, st)
	require.NoError(p.t, err, p)
	require.Equal(p.t, p.end(), l.LogEndOffset(), p)
	p.log = l
	p.mu.Lock()
	p.mu.clean = false
	p.mu.Unlock()
}

// end is where the log should. Only the script changes it.
func (p *power) end() int64 { return p.mu.origin + int64(len(p.mu.values)) }

// syncMarks makes leat.state durable as it is.
func (p *power) syncMarks() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := NewMarks(p.words, nil).snapshot()
	p.mu.marks = [][8]uint64{now} // what was in it before cannot be there any more
	p.mu.syncs++
	p.mu.saved = int64(littleEndian(now[markStart]))
	return nil
}

// checkpoint is what the store does: a start offset is listed only when the
// first segment does not say it.
func (p *power) checkpoint() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.checkpoint, p.mu.startPoint = p.log.RecoveryPoint(), -1
	if start := p.log.LogStartOffset(); start > p.log.Segments()[0].BaseOffset {
		p.mu.startPoint = start
	}
	return nil
}

func (p *power) step() {
	ctx := context.Background()
	switch n := p.rng.IntN(32); {
	case n >= 25 && p.kind == powerRaw:
		p.raw()
	case n < 14 || n >= 25:
		d := []Durability{0, Synced, Written}[p.rng.IntN(3)]
		records := p.records()
		base, err := p.log.Append(ctx, records, d)
		require.NoError(p.t, err, p)
		if d == Synced || d == 0 && p.cfg.Durability == Synced {
			p.ack(base + int64(len(records)))
		}
	case n < 16:
		end := p.log.LogEndOffset()
		require.NoError(p.t, p.log.Sync(ctx), p)
		p.ack(end)
	case n < 17: // the store writes its checkpoints
		_ = p.checkpoint()
	case n < 18: // write-back in the background
		p.mem.Writeback()
	case n < 19:
		require.NoError(p.t, p.log.Close(), p)
		require.True(p.t, p.log.Clean(), p)
		p.ack(p.log.LogEndOffset())
		p.cut(false)
		p.mu.Lock()
		p.mu.checkpoint, p.mu.startPoint, p.mu.clean = p.log.RecoveryPoint(), -1, true
		p.mu.Unlock()
		p.cut(true)
		p.open(OpenState{Clean: true, RecoveryPoint: p.mu.checkpoint, StartOffset: -1, HighWatermark: -1})
	case n < 20:
		p.failSync()
	case n < 22: // idle, or making room for another
		p.log.tryRest(p.rng.IntN(3) > 0)
		if p.rng.IntN(2) == 0 { // which has nothing to sync any more
			end := p.log.LogEndOffset()
			require.NoError(p.t, p.log.Sync(ctx), p)
			p.ack(end)
		}
	case n < 24 && p.kind == powerDelete:
		if n < 23 {
			p.deleteRecords()
		} else {
			p.retain()
		}
	case n < 23 || n < 24 && p.kind == powerRaw:
		p.truncate()
	case n < 24:
		p.reset()
	default: // the process is killed, and the store opened again
		p.log.Abandon()
		p.open(OpenState{RecoveryPoint: p.mu.checkpoint, StartOffset: -1, HighWatermark: -1})
		p.ack(p.log.LogEndOffset())
	}
}

// truncate makes the log shorter. Until that is done it may be as long as it was,
// or anything in between; afterwards nothing that went comes back.
func (p *power) truncate() {
	l := p.log
	if l.LogEndOffset() == l.LogStartOffset() {
		return
	}
	offset := l.LogStartOffset() + p.rng.Int64N(l.LogEndOffset()-l.LogStartOffset())
	end := l.LogStartOffset() // behind the last batch that lies below offset
	c := l.NewCursor(end)
	if p.rng.IntN(2) == 0 {
		defer c.Close() // it keeps the segment pinned
	}
	for {
		b, err := c.Next(l.LogEndOffset())
		if err != nil || b.NextOffset() > offset {
			break
		}
		end = b.NextOffset()
	}
	p.mu.Lock()
	p.truncates.Store(true)
	p.mu.acked = min(p.mu.acked, end)
	p.mu.takenBack++
	p.mu.Unlock()
	require.NoError(p.t, l.TruncateTo(offset, p.checkpoint), p)
	require.Equal(p.t, end, l.LogEndOffset(), p)
	p.mu.Lock()
	p.mu.values, p.mu.acked = slices.Clip(p.mu.values[:end-p.mu.origin]), end
	p.mu.takenBack++
	p.mu.Unlock()
	c.Close()
	p.cut(true)
}

// reset empties the log. Until that is done it may be a piece of what it was.
func (p *power) reset() {
	l := p.log
	to := max(0, l.LogStartOffset()-20) + p.rng.Int64N(l.LogEndOffset()-l.LogStartOffset()+40)
	switch p.rng.IntN(4) {
	case 0:
		to = l.LogStartOffset()
	case 1:
		to = l.Segments()[p.rng.IntN(len(l.Segments()))].BaseOffset
	}
	p.mu.Lock()
	p.mu.acked, p.mu.resetting = p.mu.origin, to
	p.mu.takenBack++
	p.mu.Unlock()
	require.NoError(p.t, l.ResetTo(to, p.checkpoint), p)
	p.mu.Lock()
	p.mu.origin, p.mu.start, p.mu.deleting = to, to, to
	p.mu.values, p.mu.acked, p.mu.resetting = nil, to, -1
	p.mu.takenBack++
	p.mu.Unlock()
	p.cut(true)
}

// deleteRecords raises the log start offset somewhere.
func (p *power) deleteRecords() {
	start, high := p.log.LogStartOffset(), p.log.HighWatermark()
	before := start + p.rng.Int64N(high-start+1)
	p.delete(before, func() error {
		_, err := p.log.DeleteRecords(context.Background(), before)
		return err
	})
	require.Equal(p.t, before, p.log.LogStartOffset(), p)
}

// retain deletes whole segments, by size or by age.
func (p *power) retain() {
	r := Retention{Delete: true, Age: -1, Bytes: -1}
	if p.rng.IntN(2) == 0 {
		r.Bytes = 1 + p.rng.Int64N(2*p.cfg.SegmentBytes)
	} else {
		r.Age = time.Duration(p.rng.IntN(200)) * time.Millisecond
	}
	now := time.UnixMilli(1_000_000 + 10*p.end())
	p.delete(p.log.LogEndOffset(), func() error {
		_, err := p.log.Retain(context.Background(), r, now)
		return err
	})
}

func (p *power) delete(upto int64, do func() error) {
	p.mu.Lock()
	p.mu.deleting = max(p.mu.deleting, upto)
	p.mu.Unlock()
	require.NoError(p.t, do(), p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.start = p.log.LogStartOffset()
	p.mu.deleting = p.mu.start
}

// failSync lets a sync fail. What it should have made durable stays in the
// cache, looks clean and is lost in the next power cut, unless reopening the
// partition writes it again.
func (p *power) failSync() {
	ctx := context.Background()
	l := p.log
	records := p.records()
	base, err := l.Append(ctx, records, Written)
	require.NoError(p.t, err, p)
	p.broken.Store(true)
	if err = l.Sync(ctx); err == nil {
		p.ack(base + int64(len(records)))
	}
	if p.broken.CompareAndSwap(true, false) {
		require.NoError(p.t, err, p)
		return // it was durable already
	}
	// The failure is final, whoever met it.
	for l.Failed() == nil {
		runtime.Gosched()
	}
	_, err = l.Append(ctx, []Record{{Value: []byte("never")}}, Written)
	require.ErrorIs(p.t, err, ErrFailed, p)
	require.ErrorIs(p.t, l.Sync(ctx), ErrFailed, p)
	p.cut(false)
	l.Abandon()
	p.open(OpenState{RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1})
	require.Equal(p.t, p.log.LogEndOffset(), p.log.HighWatermark(), p)
	p.ack(p.log.LogEndOffset())
	p.cut(true)
}

// records makes some and counts them as tried.
func (p *power) records() []Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := make([]Record, 1+p.rng.IntN(4))
	for i := range records {
		v := p.value(int(p.end()), p.rng.IntN(2)*p.rng.IntN(600))
		p.mu.values = append(p.mu.values, v)
		records[i] = Record{Value: v, Timestamp: time.UnixMilli(int64(1_000_000 + 10*len(p.mu.values) + p.rng.IntN(40)))}
	}
	return records
}

// value tells its offset, its script and how often that offset was written.
func (p *power) value(offset, padding int) []byte {
	v := fmt.Appendf(nil, "%d/%d/%d/", p.seed, offset, p.rng.Uint64())
	for range padding {
		v = append(v, byte(p.rng.Uint32()))
	}
	return v
}

func (p *power) ack(end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.acked = max(p.mu.acked, end)
}

// hook cuts the power at every call that changes something, before and after.
func (p *power) hook(op vfs.Op, name string, before bool) error {
	if op.Mutates() {
		p.cut(false)
	}
	if !before {
		return nil
	}
	if op == vfs.OpSync && strings.HasSuffix(name, segment.LogSuffix) && p.broken.CompareAndSwap(true, false) {
		return syscall.EIO
	}
	return p.fault(op)
}
