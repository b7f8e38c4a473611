package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
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

// The power-loss test. A random script of appends, syncs, rolls, closes and
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
// a recovery point lowered by damage by TestCorruptBelowTheMark.

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

	mem    *vfs.Mem
	env    *Env
	cfg    Config
	writer Writer
	sparse bool // the file system cannot allocate

	log    *Log
	words  *[8]uint64             // allocated, for 64-bit atomics on 32-bit systems
	failed atomic.Pointer[string] // what the first check that failed said
	broken atomic.Bool            // the next sync of a log file fails

	mu struct {
		sync.Mutex // the hook runs on many goroutines
		rng        *rand.Rand
		values     [][]byte // all that was ever given to Append, by offset
		acked      int64    // what was promised to survive
		marks      [][8]uint64
		checkpoint int64
		clean      bool
	}
}

func newPower(t *testing.T, seed uint64, stats *powerStats) *power {
	p := &power{t: t, seed: seed, stats: stats, words: new([8]uint64), rng: rand.New(rand.NewPCG(seed, 1))}
	p.mu.rng = rand.New(rand.NewPCG(seed, 2))
	p.mu.checkpoint = -1
	p.writer = []Writer{WriterMapped, WriterPwrite}[p.rng.IntN(2)]
	p.sparse = p.rng.IntN(5) == 0
	p.cfg = Config{
		Topic:         "t",
		SegmentBytes:  []int64{3 << 10, 9000, 20 << 10, 64 << 10}[p.rng.IntN(4)],
		IndexBytes:    []int{64, 4096}[p.rng.IntN(2)],
		IndexInterval: []int{1, 200, 4096}[p.rng.IntN(3)],
		Durability:    []Durability{Synced, Written}[p.rng.IntN(2)],
		FlushInterval: []time.Duration{-1, time.Millisecond}[p.rng.IntN(2)],
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
	st.Marks, st.MarksValid = NewMarks(p.words, nil), !st.New
	l, _, err := Open(p.env, "t-0", p.cfg, st)
	require.NoError(p.t, err, p)
	require.EqualValues(p.t, len(p.mu.values), l.LogEndOffset(), p)
	p.log = l
	p.mu.Lock()
	p.mu.clean = false
	p.mu.Unlock()
}

func (p *power) step() {
	ctx := context.Background()
	switch n := p.rng.IntN(23); {
	case n < 14:
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
		p.mu.Lock()
		p.mu.checkpoint = p.log.RecoveryPoint()
		p.mu.Unlock()
	case n < 18: // write-back in the background
		p.mem.Writeback()
	case n < 19:
		require.NoError(p.t, p.log.Close(), p)
		require.True(p.t, p.log.Clean(), p)
		p.ack(p.log.LogEndOffset())
		p.cut(false)
		p.mu.Lock()
		p.mu.checkpoint, p.mu.clean = p.log.RecoveryPoint(), true
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
	default: // the process is killed, and the store opened again
		p.log.Abandon()
		p.open(OpenState{RecoveryPoint: p.mu.checkpoint, StartOffset: -1, HighWatermark: -1})
		p.ack(p.log.LogEndOffset())
	}
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
		v := p.value(len(p.mu.values), p.rng.IntN(2)*p.rng.IntN(600))
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
