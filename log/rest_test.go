package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// many is an environment of several logs whose files and maps are counted.
type many struct {
	t    *testing.T
	mem  *vfs.Mem
	leak *leakFS
	env  *Env
	cfg  Config
	logs []*Log
	next []int // the offset that the next record of each gets
}

func newMany(t *testing.T, n, awake int, w Writer, c Config) *many {
	m := &many{t: t, mem: vfs.NewCrashMem(), cfg: c, next: make([]int, n)}
	m.leak = &leakFS{FS: m.mem}
	m.env = NewEnv(EnvOptions{FS: m.leak, MaxMaps: 1000, Writer: w, MaxAwake: awake})
	for i := range n {
		require.NoError(t, m.mem.Mkdir(fmt.Sprintf("t-%d", i)))
		require.NoError(t, m.mem.SyncDir("."))
		m.logs = append(m.logs, m.open(i, OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}))
	}
	t.Cleanup(func() {
		for _, l := range m.logs {
			l.Abandon()
		}
		m.env.Close()
	})
	return m
}

func (m *many) open(i int, st OpenState) *Log {
	c := m.cfg
	c.Topic, c.Partition = "t", int32(i)
	l, _, err := Open(m.env, fmt.Sprintf("t-%d", i), c, st)
	require.NoError(m.t, err)
	return l
}

func (m *many) append(i int, d Durability) {
	m.t.Helper()
	base, err := m.logs[i].Append(context.Background(), []Record{numbered(m.next[i])}, d)
	require.NoError(m.t, err)
	require.EqualValues(m.t, m.next[i], base)
	m.next[i]++
}

// reopen closes all logs in order, opens them again and reads them.
func (m *many) reopen() {
	m.t.Helper()
	for i, l := range m.logs {
		require.NoError(m.t, l.Close())
		require.True(m.t, l.Clean())
		m.logs[i] = m.open(i, OpenState{Clean: true, RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1})
		require.EqualValues(m.t, m.next[i], m.logs[i].LogEndOffset())
		for k, r := range readAllRecords(m.t, m.logs[i], 0) {
			require.Equal(m.t, string(numbered(k).Value), string(r.Value))
		}
	}
}

// A log that was just opened has no file open, and one that nothing is appended
// to comes to rest within two calls of Settle, by nobody's doing but the caller's.
func TestIdleLogsRest(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for _, d := range []Durability{Synced, Written} {
			m := newMany(t, 4, 100, w, Config{Durability: d, FlushInterval: time.Hour, SegmentBytes: 1 << 20})
			require.Zero(t, m.leak.files.Load())
			require.Zero(t, m.leak.maps.Load())
			require.False(t, m.env.Settle(), "nothing to come to rest")
			for i := range m.logs {
				m.append(i, 0)
			}
			require.Equal(t, 4, m.env.Awake())
			if d == Written {
				require.True(t, m.env.Settle())
				require.True(t, m.env.Settle(), "they are not durable yet, and will be")
				for _, l := range m.logs {
					require.NoError(t, l.Sync(context.Background()))
				}
			} else {
				require.True(t, m.env.Settle())
			}
			m.append(1, Synced)
			require.True(t, m.env.Settle())
			require.Equal(t, 1, m.env.Awake(), "one was in use")
			require.False(t, m.env.Settle())
			require.Zero(t, m.env.Awake())
			require.Zero(t, m.leak.files.Load())
			require.Zero(t, m.leak.maps.Load())
			for i, l := range m.logs {
				require.Len(t, readAllRecords(t, l, 0), m.next[i])
				m.append(i, Synced)
			}
			m.reopen()
			require.Zero(t, m.env.Awake())
		}
	}
}

// What nobody is going to sync does not keep the timer of the store running.
func TestUnsyncedLogsDoNotRest(t *testing.T) {
	m := newMany(t, 1, 100, WriterMapped, Config{Durability: Written, FlushInterval: -1})
	m.append(0, 0)
	require.True(t, m.env.Settle())
	require.False(t, m.env.Settle())
	require.Equal(t, 1, m.env.Awake())
	require.False(t, m.logs[0].w.active.Resting())

	m.logs[0].fail(errors.New("broken"))
	require.False(t, m.env.Settle())
	require.Equal(t, 1, m.env.Awake(), "a failed one stays as it is")
	m.logs[0].Abandon()
	require.Zero(t, m.env.Awake())
}

// With a budget of five logs thirty are written in turn, and never are more open.
func TestAwakeBudget(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for _, d := range []Durability{Synced, Written} {
			const logs, budget = 30, 5
			m := newMany(t, logs, budget, w, Config{Durability: d, FlushInterval: time.Hour, SegmentBytes: 1 << 20})
			for range 6 {
				for i := range m.logs {
					m.append(i, 0)
					require.LessOrEqual(t, m.env.Awake(), budget)
					require.LessOrEqual(t, m.leak.files.Load(), int64(budget))
				}
			}
			m.reopen()
		}
	}
}

// Logs that are appended to often stay awake while others come and go.
func TestAwakeBudgetSparesTheBusy(t *testing.T) {
	m := newMany(t, 40, 8, WriterMapped, Config{SegmentBytes: 1 << 20})
	opens := 0
	m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpOpen && before && strings.HasPrefix(name, "t-0/") {
			opens++
		}
		return nil
	})
	for i := 1; i < 40; i++ {
		m.append(0, Synced)
		m.append(i, Synced)
	}
	m.mem.SetHook(nil)
	require.LessOrEqual(t, opens, 2, "once it is known to be busy")
}

// Where no other log can rest, an append goes over the budget and does not wait.
func TestAwakeBudgetIsNoLimit(t *testing.T) {
	m := newMany(t, 5, 2, WriterMapped, Config{SegmentBytes: 1 << 20})
	m.append(0, Synced)
	m.append(1, Synced)
	m.logs[0].writing.Lock()
	m.logs[1].writing.Lock()
	m.append(2, Synced)
	m.append(3, Synced)
	require.LessOrEqual(t, m.env.Awake(), 4)
	require.GreaterOrEqual(t, m.env.Awake(), 3)
	m.logs[0].unlock()
	m.logs[1].unlock()
	for range 4 {
		m.append(4, Synced)
		m.append(3, Synced)
	}
	m.append(2, Synced)
	m.reopen()
}

// An append that was handed over to a log while it was put to rest is done.
func TestRestLeavesNobodyBehind(t *testing.T) {
	for _, d := range []Durability{Synced, Written} {
		m := newMany(t, 1, 8, WriterMapped, Config{SegmentBytes: 1 << 20})
		l := m.logs[0]
		m.append(0, Synced)
		done := make(chan error, 1)
		m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if op == vfs.OpClose && before && strings.HasSuffix(name, segment.LogSuffix) && l.pending.Load() == nil {
				go func() {
					_, err := l.Append(context.Background(), []Record{numbered(1)}, d)
					done <- err
				}()
				for l.pending.Load() == nil {
					runtime.Gosched()
				}
			}
			return nil
		})
		require.True(t, l.tryRest(true))
		m.mem.SetHook(nil)
		require.NoError(t, <-done)
		m.next[0]++
		m.reopen()
	}
}

// Without a descriptor an append is an error that changes nothing, and a later one
// is done; the partition has not failed, and reads of it go on.
func TestAppendWithoutDescriptors(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		m := newMany(t, 3, 8, w, Config{SegmentBytes: 1 << 20})
		m.append(0, Synced)
		m.append(1, Synced)
		require.True(t, m.logs[0].tryRest(true))
		cur := m.logs[0].NewCursor(0)
		defer cur.Close()
		_, err := cur.Next(1)
		require.NoError(t, err)
		out := true
		m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if out && before && (op == vfs.OpOpen || op == vfs.OpCreate) {
				return syscall.EMFILE
			}
			return nil
		})
		_, err = m.logs[0].Append(context.Background(), []Record{numbered(1)}, Synced)
		require.ErrorIs(t, err, vfs.ErrTooManyFiles)
		require.ErrorIs(t, err, syscall.EMFILE)
		require.Contains(t, err.Error(), "t-0/")
		require.NoError(t, m.logs[0].Failed())
		require.EqualValues(t, 1, m.logs[0].LogEndOffset())
		require.True(t, m.logs[1].w.active.Resting(), "it gave its descriptor up, in vain")
		_, err = cur.Next(1)
		require.ErrorIs(t, err, ErrWait)
		out = false
		m.append(0, Synced)
		m.mem.SetHook(nil)
		m.reopen()
	}
}

// One log's last descriptor is another's first.
func TestAppendTakesADescriptorFromAnother(t *testing.T) {
	m := newMany(t, 2, 8, WriterMapped, Config{SegmentBytes: 1 << 20})
	m.append(0, Synced)
	m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpOpen && m.leak.files.Load() > 0 {
			return syscall.EMFILE
		}
		return nil
	})
	m.append(1, Synced)
	m.append(0, Synced)
	m.mem.SetHook(nil)
	m.reopen()
}

// A clean open that meets the limit of descriptors, once or for good, fails and
// changes nothing: recovering would take as many.
func TestOpenWithoutDescriptors(t *testing.T) {
	m := newMany(t, 1, 8, WriterMapped, Config{SegmentBytes: 3000, IndexInterval: 1})
	for range 60 {
		m.append(0, Synced)
	}
	l := m.logs[0]
	require.NoError(t, l.Close())
	before := folderFiles(t, m.mem, "t-0")
	st := OpenState{Clean: true, RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
	c := m.cfg
	c.Topic = "t"
	for n := 2; ; n++ {
		count := 0
		m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if before && (op == vfs.OpOpen || op == vfs.OpCreate) {
				if count++; count == n/2 || count > n/2 && n%2 == 0 {
					return syscall.EMFILE
				}
			}
			return nil
		})
		l, rep, err := Open(m.env, "t-0", c, st)
		m.mem.SetHook(nil)
		require.Equal(t, before, folderFiles(t, m.mem, "t-0"), "call %d", n)
		require.Zero(t, m.leak.files.Load())
		if err == nil {
			require.True(t, rep.Clean)
			require.Greater(t, n, 6)
			m.logs[0] = l
			break
		}
		require.ErrorIs(t, err, vfs.ErrTooManyFiles, "call %d", n)
	}
	m.reopen()
}

// A log that does not get its data to the disk when it is put to rest has failed,
// and no other; whoever wanted its descriptor goes on.
func TestRestThatCannotSync(t *testing.T) {
	m := newMany(t, 3, 2, WriterMapped, Config{Durability: Written, FlushInterval: -1, SegmentBytes: 1 << 20})
	m.append(0, 0)
	m.append(1, 0)
	m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpSync && strings.HasPrefix(name, "t-0/") {
			return syscall.EIO
		}
		return nil
	})
	m.append(2, 0)
	m.append(2, 0)
	for m.logs[0].Failed() == nil { // not looked at for being in use
		m.append(1, 0)
		m.append(2, 0)
	}
	require.ErrorIs(t, m.logs[0].Failed(), syscall.EIO)
	_, err := m.logs[0].Append(context.Background(), []Record{numbered(1)}, 0)
	require.ErrorIs(t, err, ErrFailed)
	require.NoError(t, m.logs[1].Failed())
	require.NoError(t, m.logs[2].Failed())
	require.Less(t, m.logs[0].DurableEnd(), m.logs[0].LogEndOffset())
}

// A log that rests has nothing to lose: what it holds is on the disk, whatever its
// durable end says.
func TestRestIsDurable(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		m := newMany(t, 1, 2, w, Config{Durability: Written, FlushInterval: -1, SegmentBytes: 1 << 20})
		for range 5 {
			m.append(0, 0)
		}
		require.True(t, m.logs[0].tryRest(true))
		require.NoError(t, m.logs[0].Sync(context.Background()))
		for _, c := range vfs.Choices(m.mem.Dirty(), 4, 1) {
			env := NewEnv(EnvOptions{FS: m.mem.CrashClone(c), MaxMaps: 100})
			l, _, err := Open(env, "t-0", Config{Topic: "t"}, OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1})
			require.NoError(t, err)
			require.EqualValues(t, 5, l.LogEndOffset())
			l.Abandon()
			env.Close()
		}
	}
}

// The file of a resting log that was exchanged fails the log: what was promised is
// not in there.
func TestWakeOfAnotherFileFailsTheLog(t *testing.T) {
	m := newMany(t, 1, 2, WriterMapped, Config{SegmentBytes: 1 << 20})
	m.append(0, Synced)
	require.True(t, m.logs[0].tryRest(true))
	require.NoError(t, m.mem.Remove("t-0/00000000000000000000.log"))
	_, err := m.logs[0].Append(context.Background(), []Record{numbered(1)}, 0)
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, m.logs[0].Failed(), ErrFailed)
}

// A log that was opened after a clean close and not written to is closed without a
// call that would change anything, and is clean. One that was is closed in full.
func TestCloseUntouched(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		m := newMany(t, 2, 8, w, Config{SegmentBytes: 3000, IndexInterval: 1})
		for range 60 {
			m.append(0, Synced)
		}
		m.reopen()
		for range 3 {
			before := folderFiles(t, m.mem, "t-0")
			var changes []string
			m.mem.SetHook(func(op vfs.Op, name string, b bool) error {
				if b && op.Mutates() {
					changes = append(changes, op.String()+" "+name)
				}
				return nil
			})
			m.reopen() // which also reads all
			m.mem.SetHook(nil)
			require.Empty(t, changes)
			require.Equal(t, before, folderFiles(t, m.mem, "t-0"))
		}
		m.append(0, Synced)
		m.reopen()
		require.Contains(t, folderFiles(t, m.mem, "t-0"), fmt.Sprintf("%020d.snapshot", 61))
		// Something that a clean close leaves is missing.
		l := m.logs[0]
		require.NoError(t, l.Close())
		require.NoError(t, m.mem.Remove("t-0/"+fmt.Sprintf("%020d.snapshot", 61)))
		m.logs[0] = m.open(0, OpenState{Clean: true, RecoveryPoint: 61, StartOffset: -1, HighWatermark: -1})
		m.reopen()
		require.Contains(t, folderFiles(t, m.mem, "t-0"), fmt.Sprintf("%020d.snapshot", 61))
		require.True(t, m.logs[0].untouched())
		// After a recovery the index files of the last segment are not to be trusted.
		m.logs[0].Abandon()
		m.logs[0] = m.open(0, OpenState{RecoveryPoint: 61, StartOffset: -1, HighWatermark: -1})
		m.logs[0].noteTxns(m.logs[0].w.active)
		require.False(t, m.logs[0].untouched())
		m.reopen()
		require.True(t, m.logs[0].untouched())
	}
}

// Appends, syncs, readers, rolls, rests by the budget and by Settle, and a close in
// the middle of it. Meant for the race detector.
func TestConcurrentRests(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for _, d := range []Durability{Synced, Written} {
			t.Run(fmt.Sprintf("mapped=%v/durability=%d", w == WriterMapped, d), func(t *testing.T) {
				concurrentRests(t, w, d)
			})
		}
	}
}

func concurrentRests(t *testing.T, w Writer, d Durability) {
	const logs, callers, each = 6, 3, 40
	m := newMany(t, logs, 2, w, Config{Durability: d, FlushInterval: time.Millisecond, SegmentBytes: 4000, IndexInterval: 200})
	ctx, cancel := context.WithCancel(context.Background())
	var writers, others sync.WaitGroup
	var done atomic.Bool
	closing := logs - 1 // is closed while it is written to
	for i, l := range m.logs {
		for c := range callers {
			writers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(c)))
				for k := range each {
					_, err := l.Append(ctx, []Record{{Value: make([]byte, rng.IntN(300))}}, []Durability{0, Synced, Written}[rng.IntN(3)])
					if err == nil && rng.IntN(8) == 0 {
						err = l.Sync(ctx)
					}
					if err != nil && !(i == closing && errors.Is(err, ErrClosed)) {
						t.Errorf("log %d: %v", i, err)
						return
					}
					if i == closing && c == 0 && k == each/2 {
						if err := l.Close(); err != nil {
							t.Errorf("close: %v", err)
						}
					}
				}
			})
		}
		others.Go(func() {
			cur := l.NewCursor(0)
			defer cur.Close()
			wait := NewWaiter()
			for next := int64(0); ; {
				b, err := cur.Next(l.Visible(true))
				if err == ErrWait {
					if err = l.Wait(ctx, wait, next, true); err == nil {
						continue
					}
				}
				if err != nil {
					if ctx.Err() == nil && !(i == closing && errors.Is(err, ErrClosed)) {
						t.Errorf("read of log %d: %v", i, err)
					}
					return
				}
				if b.BaseOffset() != next {
					t.Errorf("log %d: offset %d where %d is next", i, b.BaseOffset(), next)
					return
				}
				next = b.NextOffset()
			}
		})
	}
	others.Go(func() {
		for !done.Load() {
			m.env.Settle()
			runtime.Gosched()
		}
	})
	writers.Wait()
	done.Store(true)
	for i, l := range m.logs {
		if i != closing {
			require.NoError(t, l.Sync(context.Background()))
			require.EqualValues(t, callers*each, l.LogEndOffset())
		}
	}
	cancel()
	others.Wait()
	for i, l := range m.logs {
		require.NoError(t, l.Close())
		require.True(t, l.Clean())
		m.logs[i] = m.open(i, OpenState{Clean: true, RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1})
		require.EqualValues(t, l.LogEndOffset(), m.logs[i].LogEndOffset())
		require.Len(t, readAllRecords(t, m.logs[i], 0), int(l.LogEndOffset()))
	}
	for _, l := range m.logs {
		l.Abandon()
	}
	require.Zero(t, m.env.Awake())
	require.Zero(t, m.leak.files.Load())
	require.Zero(t, m.leak.maps.Load())
}

// What is packed is found, unpacked and written as before.
func TestPackedSums(t *testing.T) {
	s := ParseSums([]byte(sumsHeader))
	s.Dense = 7
	rng := rand.New(rand.NewPCG(1, 2))
	want := map[string]segment.FileSum{}
	check := func() {
		t.Helper()
		for name, f := range want {
			base, suffix, _ := segment.ParseName(name)
			l := &sums{Sums: s}
			got, ok := l.of(base, suffix)
			require.True(t, ok, name)
			require.Equal(t, f, got)
			_, ok = l.of(base+1, suffix)
			require.False(t, ok)
			_, ok = l.of(base, segment.SnapshotSuffix)
			require.False(t, ok)
		}
	}
	for range 5 {
		for range 20 {
			f := segment.FileSum{Name: segment.FileName(2*rng.Int64N(40), sumSuffixes[rng.IntN(4)]), Size: rng.Int64(), CRC: rng.Uint32()}
			if s.Files == nil {
				s.Files = map[string]segment.FileSum{}
			}
			s.Files[f.Name], want[f.Name] = f, f
		}
		check()
		s.pack()
		require.Nil(t, s.Files)
		require.Len(t, s.packed, len(want)*packedSum)
		check()
	}
	text := s.format()
	require.Equal(t, want, s.Files)
	require.Empty(t, s.packed)
	again := ParseSums(text)
	require.Equal(t, want, again.Files)
	s.pack()
	s.pack()
	check()
}

// A log that rolls while it rests, as retention lets it, wakes for it, and without
// a descriptor stays as it is.
func TestRollAtRest(t *testing.T) {
	m := newMany(t, 1, 8, WriterMapped, Config{SegmentBytes: 1 << 20})
	l := m.logs[0]
	m.append(0, Synced)
	require.True(t, l.tryRest(true))
	roll := func() error {
		l.writing.Lock()
		defer l.unlock()
		return l.roll(1)
	}
	m.mem.SetHook(func(op vfs.Op, _ string, before bool) error {
		if before && op == vfs.OpOpen {
			return syscall.EMFILE
		}
		return nil
	})
	require.ErrorIs(t, roll(), vfs.ErrTooManyFiles)
	m.mem.SetHook(nil)
	require.NoError(t, l.Failed())
	require.Len(t, l.Segments(), 1)
	require.NoError(t, roll())
	require.Len(t, l.Segments(), 2)
	require.Equal(t, 1, m.env.Awake())
	m.append(0, Synced)
	m.reopen()
}

// Segments that fill faster than the disk can seal them do not pile up, each with
// its descriptor; and a disk that seals nothing for want of space holds nobody.
func TestBacklogIsBounded(t *testing.T) {
	for _, full := range []bool{false, true} {
		m := newMany(t, 1, 8, WriterPwrite, Config{SegmentBytes: 1024, Durability: Written, FlushInterval: -1})
		l := m.logs[0]
		gate := make(chan struct{})
		m.mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if op != vfs.OpSync || !before || !strings.HasSuffix(name, segment.IndexSuffix) {
				return nil
			}
			if full {
				return syscall.ENOSPC
			}
			<-gate
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 3 * maxBacklog {
				_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 600)}}, 0)
				if err != nil {
					t.Error(err)
				}
			}
		})
		for waiting := full; !waiting; runtime.Gosched() {
			l.seals.Lock()
			waiting = l.seals.shorter != nil
			l.seals.Unlock()
			require.Less(t, len(l.Segments()), 3*maxBacklog, "nothing held it back")
		}
		if !full {
			require.Len(t, l.Segments(), maxBacklog+1)
			require.LessOrEqual(t, m.leak.files.Load(), int64(maxBacklog+2), "those, the active one, and an index")
		}
		close(gate)
		wg.Wait()
		m.mem.SetHook(nil)
		require.Len(t, l.Segments(), 3*maxBacklog)
		require.NoError(t, l.Close())
	}
}

// A segment that was made ahead of its time goes with the rest.
func TestRestDiscardsThePrepared(t *testing.T) {
	m := newMany(t, 1, 8, WriterMapped, Config{SegmentBytes: 1 << 20})
	l := m.logs[0]
	m.append(0, Synced)
	p, err := segment.Prepare(m.env.fsys, m.env.maps, l.dir, l.scfg, 64<<10)
	if errors.Is(err, vfs.ErrNotSupported) {
		t.Skip("nothing is mapped here")
	}
	require.NoError(t, err)
	l.ahead.next.Store(p)
	l.ahead.making.Lock()
	require.False(t, l.tryRest(true), "the helper is at work")
	l.ahead.making.Unlock()
	require.True(t, l.tryRest(true))
	require.Zero(t, m.leak.files.Load())
	require.Zero(t, m.leak.maps.Load())
	require.NotContains(t, folderFiles(t, m.mem, "t-0"), segment.PreparedName)
	m.append(0, Synced)
	m.reopen()
}
