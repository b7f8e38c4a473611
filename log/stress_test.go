package log

import (
	"context"
	"errors"
	"fmt"
	"math"
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

	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
)

// The stress test lets appends of both durabilities, cancelled contexts, syncs,
// followers and rolls meet on one log, over a file system that may fail, until
// the log is closed or abandoned at a random moment. It looks for what only
// shows between goroutines: a call that never returns, an acknowledgement that
// comes before the disk, records that are read after their caller was told that
// they are its own again, offsets of somebody else. LEAT_LONG=1 runs it longer.

func TestStress(t *testing.T) {
	budget := 3 * time.Second
	if testing.Short() {
		budget = time.Second
	}
	if os.Getenv("LEAT_LONG") != "" {
		budget = 5 * time.Minute
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	goroutines := runtime.NumGoroutine()
	var total stressStats
	start := time.Now()
	for seed := uint64(start.UnixNano()); time.Since(start) < budget; seed++ {
		runtime.GOMAXPROCS([]int{1, 2, 4}[seed%3])
		newStress(t, seed, &total).run()
	}
	for range 1000 { // one that has just returned may still be counted
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		runtime.Gosched()
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines, "%s", stacks())
	t.Logf("%d rounds, %d calls: %d acknowledged, %d cancelled, %d without space, %d failed or closed; %d power cuts, %d rolls",
		total.rounds.Load(), total.calls.Load(), total.acked.Load(), total.cancelled.Load(),
		total.full.Load(), total.ended.Load(), total.cuts.Load(), total.rolls.Load())
	require.NotZero(t, total.acked.Load())
	require.NotZero(t, total.cuts.Load())
}

type stressStats struct {
	rounds, calls, acked, cancelled, full, ended, cuts, rolls atomic.Int64
}

// stress is one round.
type stress struct {
	t     *testing.T
	seed  uint64
	stats *stressStats

	mem    *vfs.Mem
	env    *Env
	cfg    Config
	writer Writer
	log    *Log
	words  *[8]uint64 // an allocation of its own: 64-bit atomics need it aligned on 386

	// What the file system does, on any goroutine.
	syncs  atomic.Int64 // until one fails; never when it began below 1
	full   bool         // allocations and new files fail now and then
	pauses int          // how often others run during a sync
	paused atomic.Int64

	// The log is ended when it has so many records. A quiet round has no end but
	// that of its few appends, and nobody whose calls would wake one that was
	// forgotten.
	enough int64
	quiet  bool
	ending chan struct{}
	once   sync.Once
	seen   [4]atomic.Int64 // how far the followers are

	failed atomic.Pointer[string] // what the first check that failed said

	mu struct {
		sync.Mutex
		calls []stressCall
	}
}

// stressCall is what one Append was told.
type stressCall struct {
	id     string
	count  int
	base   int64
	err    error
	synced bool // was asked for
}

func newStress(t *testing.T, seed uint64, stats *stressStats) *stress {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &stress{t: t, seed: seed, stats: stats, mem: vfs.NewCrashMem(), ending: make(chan struct{})}
	s.cfg = Config{
		Topic:         "t",
		SegmentBytes:  []int64{3 << 10, 10 << 10, 64 << 10, 1 << 20}[rng.IntN(4)],
		IndexInterval: 300,
		Compression:   []compress.Codec{compress.None, compress.None, compress.LZ4}[rng.IntN(3)],
		Durability:    []Durability{Synced, Written}[rng.IntN(2)],
		FlushInterval: []time.Duration{-1, time.Millisecond, time.Hour}[rng.IntN(3)],
		FlushBytes:    []int64{0, 1, 5000}[rng.IntN(3)],
	}
	s.writer = []Writer{WriterMapped, WriterPwrite}[rng.IntN(2)]
	s.full = rng.IntN(3) == 0
	s.pauses = []int{0, 1, 30}[rng.IntN(3)]
	if rng.IntN(3) == 0 {
		s.syncs.Store(1 + rng.Int64N(60))
	}
	s.enough = rng.Int64N(2000)
	if rng.IntN(3) == 0 {
		s.quiet, s.enough = true, math.MaxInt64
		s.cfg.FlushInterval = time.Hour
	}
	return s
}

func (s *stress) String() string {
	return fmt.Sprintf("seed %d, mapped %v, full %v, %+v", s.seed, s.writer == WriterMapped, s.full, s.cfg)
}

// fail keeps the first complaint: it may come from any goroutine.
func (s *stress) fail(format string, args ...any) {
	what := fmt.Sprintf(format, args...) + "\n" + s.String()
	s.failed.CompareAndSwap(nil, &what)
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

func (s *stress) run() {
	t := s.t
	watchdog := time.AfterFunc(time.Minute, func() {
		panic(fmt.Sprintf("something hangs: %v\n%s", s, stacks()))
	})
	defer watchdog.Stop()
	require.NoError(t, s.mem.Mkdir("t-0"))
	require.NoError(t, s.mem.SyncDir("."))
	s.env = NewEnv(EnvOptions{FS: s.mem, MaxMaps: 100, Writer: s.writer})
	var err error
	s.words = new([8]uint64)
	s.log, _, err = Open(s.env, "t-0", s.cfg, OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1, Marks: NewMarks(s.words, nil)})
	require.NoError(t, err)
	s.mem.SetHook(s.hook)

	rng := rand.New(rand.NewPCG(s.seed, 2))
	var wg, readers sync.WaitGroup
	end, stop := context.WithCancel(context.Background())
	few := 2 + rng.IntN(3)
	switch {
	case s.quiet && rng.IntN(2) == 0:
		wg.Go(func() { s.bursts(few) })
	case s.quiet:
		for i := range few {
			wg.Go(func() { s.appender(i) })
		}
	default:
		for i := range 1 + rng.IntN(24) {
			wg.Go(func() { s.appender(i) })
		}
		for range rng.IntN(3) {
			wg.Go(s.syncer)
		}
		readers.Go(s.search)
	}
	followers := rng.IntN(len(s.seen))
	for i := range followers {
		readers.Go(func() { s.follow(end, i) })
	}
	abandon := rng.IntN(3) == 0
	idle := make(chan struct{})
	go func() { wg.Wait(); close(idle) }()
	select {
	case <-s.ending:
	case <-idle:
		for i := range followers { // all are told of the last record
			for s.log.Failed() == nil && s.seen[i].Load() < s.log.HighWatermark() {
				runtime.Gosched()
			}
		}
	}
	if rng.IntN(4) == 0 {
		s.syncs.Store(1) // just when the log is ending
	}
	if abandon {
		s.log.Abandon()
	} else {
		err = s.log.Close()
	}
	words := [8]uint64{}
	for i := range words {
		words[i] = atomic.LoadUint64(&s.words[i])
	}
	s.env.Close() // as a store does, with callers still about
	<-idle
	stop()
	readers.Wait()
	s.mem.SetHook(nil)

	require.Equal(t, words, *s.words, "the marks were written after the close: in a file they are unmapped by then\n%v", s)
	require.LessOrEqual(t, s.log.DurableEnd(), s.log.LogEndOffset(), s)
	if end := s.log.LogEndOffset(); end > 0 {
		require.EqualValues(t, end, NewMarks(s.words, nil).Published(), s)
	}
	require.EqualValues(t, s.log.DurableEnd(), NewMarks(s.words, nil).Durable(), s)
	if !abandon && err == nil && s.log.Clean() {
		require.EqualValues(t, s.log.LogEndOffset(), s.log.DurableEnd(), s)
	}
	s.check(s.mem, false)
	s.check(s.mem.CrashClone(vfs.None), true)
	if what := s.failed.Load(); what != nil {
		t.Fatal(*what)
	}
	s.stats.rounds.Add(1)
	s.stats.rolls.Add(int64(len(s.log.Segments()) - 1))
}

// maxPaused bounds the pauses of a round: with one processor and many that spin, a
// log of small segments took minutes for them, and looked as if it hung.
const maxPaused = 30_000

// hook lets others run where the disk would take its time, and fails.
func (s *stress) hook(op vfs.Op, name string, before bool) error {
	switch {
	case op == vfs.OpSync || op == vfs.OpSyncDir:
		for range s.pauses {
			if s.paused.Add(1) > maxPaused {
				break
			}
			runtime.Gosched()
		}
		if before && s.syncs.Add(-1) == 0 {
			return syscall.EIO
		}
	case before && s.full && (op == vfs.OpAllocate || op == vfs.OpCreate) && rand.IntN(6) == 0:
		return vfs.ErrNoSpace
	}
	return nil
}

// appender appends until the log ends.
func (s *stress) appender(g int) {
	rng := rand.New(rand.NewPCG(s.seed, 100+uint64(g)))
	for i := range 200 {
		if !s.append(fmt.Sprintf("%d.%d", g, i), rng, g+i == 0 || rng.IntN(80) == 0) {
			return
		}
		if s.log.LogEndOffset() >= s.enough {
			s.once.Do(func() { close(s.ending) })
		}
	}
}

// bursts are appends of a few at once, and then of nobody until all have
// returned: a call that is forgotten stays so.
func (s *stress) bursts(n int) {
	for i := 0; i < 400 && s.log.Failed() == nil; i++ {
		var wg sync.WaitGroup
		for g := range n {
			wg.Go(func() {
				s.append(fmt.Sprintf("%d.%d", i, g), rand.New(rand.NewPCG(s.seed, uint64(i*n+g))), i%100 == 0)
			})
		}
		wg.Wait()
	}
}

// append appends some records, of which the id is the key, notes what it is told,
// and says whether the log goes on. The bytes are its own again when Append
// returns, and it overwrites them. powerCut is for when they are acknowledged.
func (s *stress) append(id string, rng *rand.Rand, powerCut bool) bool {
	var records []Record
	padding := strings.Repeat("x", rng.IntN(2)*rng.IntN(400))
	for k := range 1 + rng.IntN(4) {
		r := Record{Key: []byte(id), Value: fmt.Appendf(nil, "%s/%d/%s", id, k, padding)}
		if rng.IntN(2) == 0 {
			r.Timestamp = time.UnixMilli(1_000_000 + rng.Int64N(1000))
		}
		records = append(records, r)
	}
	d := []Durability{0, Synced, Written}[rng.IntN(3)]
	if s.quiet && rng.IntN(8) > 0 {
		d = []Durability{Synced, Written}[s.seed%2] // mostly of one kind
	}
	if d == 0 {
		d = s.cfg.Durability
	}
	ctx, cancel := s.context(rng)
	base, err := s.log.Append(ctx, records, d)
	durable := s.log.DurableEnd()
	cancel()
	if err == nil && d == Synced {
		if durable < base+int64(len(records)) {
			s.fail("%s at %d is acknowledged, and the log durable to %d", id, base, durable)
		}
		if powerCut {
			s.powerCut(id, base, len(records), rng)
		}
	}
	for k := range records {
		for _, b := range [][]byte{records[k].Key, records[k].Value} {
			for j := range b {
				b[j] = '!'
			}
		}
	}
	s.mu.Lock()
	s.mu.calls = append(s.mu.calls, stressCall{id, len(records), base, err, d == Synced})
	s.mu.Unlock()
	clear(records)
	return s.count(err)
}

// count says whether to go on after err.
func (s *stress) count(err error) bool {
	s.stats.calls.Add(1)
	switch {
	case err == nil:
		s.stats.acked.Add(1)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		s.stats.cancelled.Add(1)
	case errors.Is(err, ErrFailed), err == ErrClosed:
		s.stats.ended.Add(1)
		return false
	case errors.Is(err, ErrNoSpace):
		s.stats.full.Add(1)
	default:
		s.fail("append: %v", err)
		return false
	}
	return true
}

// context is one that never ends, or soon.
func (s *stress) context(rng *rand.Rand) (context.Context, context.CancelFunc) {
	switch rng.IntN(6) {
	case 0:
		return context.WithTimeout(context.Background(), time.Duration(rng.IntN(200))*time.Microsecond)
	case 1:
		ctx, cancel := context.WithCancel(context.Background())
		pauses := rng.IntN(20)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range pauses {
				runtime.Gosched()
			}
			cancel()
		}()
		return ctx, func() { <-done }
	}
	return context.Background(), func() {}
}

func (s *stress) syncer() {
	rng := rand.New(rand.NewPCG(s.seed, 99))
	for range 100 {
		ctx, cancel := s.context(rng)
		end := s.log.LogEndOffset()
		err := s.log.Sync(ctx)
		durable := s.log.DurableEnd()
		cancel()
		if err == nil && durable < end {
			s.fail("synced to %d, and the log is durable to %d", end, durable)
		}
		if !s.count(err) {
			return
		}
		runtime.Gosched()
	}
}
