package log

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// The Nth-call loop: each scenario runs once for every call that it makes of the
// file system, which fails then, alone or with all that follow. There is a clear
// error, nothing leaks, and a later open has every record that was acknowledged.

var faultErrors = map[string]error{
	"EIO":    syscall.EIO,
	"ENOSPC": errors.Join(vfs.ErrNoSpace, syscall.ENOSPC),
	"EMFILE": syscall.EMFILE,
}

// faultScenario is a piece of a log's life. acked is the end of what it was
// promised, end the end of what it may have.
type faultScenario struct {
	name string
	cfg  Config
	// before makes what run finds, without faults.
	before func(g *rig)
	run    func(f *faultRun)
}

type faultRun struct {
	g          *rig
	l          *Log
	acked, end int
	exact      bool  // it has neither more nor less than end
	start      int64 // what was promised to be deleted
	deleting   int64 // what may be
	err        error
}

// shorten is a truncation or a reset: it is done, or the log is what it was, or it
// has failed and is something in between.
func (f *faultRun) shorten(to int, do func(int64, func() error) error) {
	f.acked, f.end = to, 40
	if f.err = do(int64(to), nil); f.err == nil {
		f.end, f.exact = to, true
		return
	}
	if f.l.Failed() == nil {
		f.acked, f.exact = 40, true
	}
}

// open opens the log.
func (f *faultRun) open() bool {
	l, _, err := f.g.tryOpen()
	f.l, f.err = l, err
	return err == nil
}

func (f *faultRun) append(n int, d Durability) bool {
	for range n {
		base, err := f.l.Append(context.Background(), []Record{numbered(f.end)}, d)
		if err != nil {
			f.err = err
			return false
		}
		if int(base) != f.end {
			f.err = fmt.Errorf("appended at %d, not %d", base, f.end)
			return false
		}
		f.end++
		if d == Synced {
			f.acked = f.end
		}
	}
	return true
}

// raw appends two batches a call, each call in a leader epoch of its own. A
// follower's log may have gaps from its first call on, though it has none here.
func (f *faultRun) raw(n int, follower bool) bool {
	for range n {
		o, epoch := RawOptions{Follower: follower, Durability: Synced}, int32(f.end+1)
		first, second := at(0, -1), at(0, -1)
		if follower {
			if f.err = f.l.Sync(context.Background()); f.err != nil {
				return false
			}
			f.l.writing.Lock()
			f.err = f.l.allowGaps(int64(f.end))
			f.l.unlock()
			if f.err != nil {
				return false
			}
			first, second = at(int64(f.end), epoch), at(int64(f.end)+1, epoch)
		} else {
			o.Epoch = epoch
		}
		raw := append(numberedBatch(f.g.t, int64(f.end), 1, first), numberedBatch(f.g.t, int64(f.end)+1, 1, second)...)
		r, err := f.l.AppendRaw(raw, o)
		if err == nil && r.BaseOffset != int64(f.end) {
			err = fmt.Errorf("appended at %d, not %d", r.BaseOffset, f.end)
		}
		if f.err = err; err != nil {
			return false
		}
		f.end += 2
		if f.err = f.l.WaitDurable(context.Background(), r.Durable, r.Generation); f.err != nil {
			return false
		}
		f.acked = f.end
	}
	return true
}

var faultScenarios = []faultScenario{
	{
		name: "new", run: func(f *faultRun) { _ = f.open() && f.append(1, Synced) },
	}, {
		name:   "append synced",
		before: func(g *rig) { g.open() },
		run:    func(f *faultRun) { f.append(3, Synced) },
	}, {
		name: "append written and sync", cfg: Config{Durability: Written, FlushInterval: -1},
		before: func(g *rig) { g.open() },
		run: func(f *faultRun) {
			if f.append(3, Written) {
				if f.err = f.l.Sync(context.Background()); f.err == nil {
					f.acked = f.end
				}
			}
		},
	}, {
		name:   "roll",
		before: func(g *rig) { g.open() },
		run:    func(f *faultRun) { f.append(15, Synced) },
	}, {
		name: "roll written", cfg: Config{Durability: Written, FlushInterval: -1},
		before: func(g *rig) { g.open() },
		run: func(f *faultRun) {
			if f.append(15, Written) {
				if f.err = f.l.Sync(context.Background()); f.err == nil {
					f.acked = f.end
				}
			}
		},
	}, {
		name: "rest", cfg: Config{Durability: Written, FlushInterval: -1},
		before: func(g *rig) { g.open() },
		run: func(f *faultRun) {
			for range 3 {
				if !f.append(4, Written) || !f.append(1, Synced) || !f.append(2, Written) {
					return
				}
				f.l.tryRest(true)
				if f.err = f.l.Failed(); f.err != nil {
					return
				}
			}
		},
	}, {
		name: "raw", cfg: Config{ExternalEpochs: true, TimestampAfter: -1},
		before: func(g *rig) { g.open() },
		run:    func(f *faultRun) { _ = f.raw(6, false) && f.raw(6, true) },
	}, {
		name: "close",
		before: func(g *rig) {
			g.open()
			for i := range 8 {
				_, err := g.log.Append(context.Background(), []Record{numbered(i)}, Written)
				require.NoError(g.t, err)
			}
		},
		run: func(f *faultRun) {
			f.end = 8
			if f.err = f.l.Close(); f.err == nil && f.l.Clean() {
				f.acked = f.end
			}
		},
	}, {
		name:   "open clean",
		before: func(g *rig) { g.fill(40) },
		run: func(f *faultRun) {
			f.acked, f.end = 40, 40
			_ = f.open() && f.append(2, Synced)
		},
	}, {
		name: "open unclean",
		before: func(g *rig) {
			bases := g.fill(40)
			g.st = OpenState{RecoveryPoint: bases[1], StartOffset: -1, HighWatermark: -1}
		},
		run: func(f *faultRun) {
			f.acked, f.end = 40, 40 // nothing was lost, but that the open cannot know
			_ = f.open() && f.append(2, Synced)
		},
	}, {
		name: "open torn",
		before: func(g *rig) {
			bases := g.fill(40)
			b := g.getFile(g.logFile(bases[3]))
			b[len(b)/2] ^= 1
			g.putFile(g.logFile(bases[3]), b)
			g.remove(sumsName)
			g.putFile(sumsName, (&Sums{}).format())
			g.st = OpenState{RecoveryPoint: bases[1], StartOffset: -1, HighWatermark: -1}
		},
		run: func(f *faultRun) {
			if f.acked, f.end = int(f.g.st.RecoveryPoint), 40; f.open() {
				f.end = int(f.l.LogEndOffset())
				f.append(2, Synced)
			}
		},
	}, {
		name: "truncate",
		before: func(g *rig) {
			g.fill(40)
			g.open()
		},
		run: func(f *faultRun) { f.shorten(17, f.l.TruncateTo) },
	}, {
		name: "truncate pinned",
		before: func(g *rig) {
			g.fill(40)
			c := g.open().NewCursor(17)
			_, err := c.Next(40)
			require.NoError(g.t, err)
			g.pinned = c
		},
		run: func(f *faultRun) { f.shorten(17, f.l.TruncateTo) },
	}, {
		name: "truncate what is being appended to",
		before: func(g *rig) {
			g.open()
			for i := range 40 {
				_, err := g.log.Append(context.Background(), []Record{numbered(i)}, Synced)
				require.NoError(g.t, err)
			}
			g.log.seals.wait()
		},
		run: func(f *faultRun) { f.shorten(38, f.l.TruncateTo) },
	}, {
		name: "reset",
		before: func(g *rig) {
			g.fill(40)
			g.open()
		},
		run: func(f *faultRun) { f.shorten(0, f.l.ResetTo) },
	}, {
		name:   "delete records",
		before: func(g *rig) { g.fillMarked(40) },
		run: func(f *faultRun) {
			f.acked, f.end, f.deleting = 40, 40, 21
			if _, f.err = f.l.DeleteRecords(context.Background(), 21); f.err == nil {
				f.start = 21
			}
		},
	}, {
		name:   "retain all",
		before: func(g *rig) { g.fillMarked(40) },
		run: func(f *faultRun) {
			f.acked, f.end, f.deleting = 40, 40, 40
			_, f.err = f.l.Retain(context.Background(), Retention{Delete: true, Bytes: -1}, time.Now())
			if f.err == nil {
				f.start = 40
				f.append(2, Synced)
			}
		},
	}, {
		name: "open amid a deletion",
		before: func(g *rig) {
			g.fillMarked(40)
			bases := g.bases()
			require.NoError(g.t, g.log.Close())
			g.st.Marks.store(markStart, bases[3])
			g.remove(g.logFile(bases[1]))
			g.st = OpenState{RecoveryPoint: 40, StartOffset: -1, HighWatermark: -1, Marks: g.st.Marks, MarksValid: true}
		},
		run: func(f *faultRun) {
			f.acked, f.end = 40, 40
			f.start = f.g.st.Marks.Start()
			f.deleting = f.start
			_ = f.open() && f.append(2, Synced)
		},
	}, {
		name: "read",
		before: func(g *rig) {
			g.fill(40)
			g.open()
		},
		run: func(f *faultRun) {
			f.acked, f.end = 40, 40
			for i := 0; i < 40 && f.err == nil; i += 9 {
				c := f.l.NewCursor(int64(i))
				_, f.err = c.Next(40)
				c.Close()
				if f.err == nil {
					_, _, _, f.err = f.l.OffsetForTimestamp(int64(1000 + i))
				}
			}
		},
	},
}

// fillMarked appends records to an open log that has marks.
func (g *rig) fillMarked(records int) {
	g.st.Marks = NewMarks(new([8]uint64), nil)
	g.open()
	for i := range records {
		_, err := g.log.Append(context.Background(), []Record{numbered(i)}, Synced)
		require.NoError(g.t, err)
	}
}

func TestFaults(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	runs := 0
	for _, sc := range faultScenarios {
		t.Run(sc.name, func(t *testing.T) {
			for _, w := range []Writer{WriterMapped, WriterPwrite} {
				for name, cause := range faultErrors {
					for _, sticky := range []bool{false, true} {
						step := 1
						if (sticky || name != "EIO") && os.Getenv("LEAT_LONG") == "" {
							step = 7
						}
						for n := 1; ; n += step {
							runs++
							if !testFault(t, &sc, w, n, sticky, name, cause) {
								break
							}
							require.Less(t, n, 2000)
						}
					}
				}
			}
		})
	}
	t.Logf("%d runs", runs)
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "goroutines are left")
	}
}

// testFault runs a scenario with its nth call failing. It reports whether there
// was one.
func testFault(t *testing.T, sc *faultScenario, w Writer, n int, sticky bool, name string, cause error) bool {
	c := sc.cfg
	c.SegmentBytes, c.IndexInterval, c.IndexBytes = smallSegments.SegmentBytes, smallSegments.IndexInterval, smallSegments.IndexBytes
	mem := vfs.NewCrashMem()
	require.NoError(t, mem.Mkdir("t-0"))
	require.NoError(t, mem.SyncDir("."))
	leak := &leakFS{FS: mem}
	g := &rig{t: t, fs: leak, cfg: c, st: OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}}
	g.cfg.Topic = "t"
	g.env = NewEnv(EnvOptions{FS: leak, MaxMaps: 100, Writer: w})
	if sc.before != nil {
		sc.before(g)
	}
	var calls atomic.Int64
	var where atomic.Pointer[string]
	mem.SetHook(func(op vfs.Op, file string, before bool) error {
		if !before || op == vfs.OpPopulate {
			return nil
		}
		k := calls.Add(1)
		if k == int64(n) || sticky && k > int64(n) {
			s := op.String() + " " + file
			where.CompareAndSwap(nil, &s)
			return cause
		}
		return nil
	})
	f := &faultRun{g: g, l: g.log}
	sc.run(f)
	fired := where.Load() != nil
	at := fmt.Sprintf("%s, mapped %v, call %d, sticky %v, %s", sc.name, w == WriterMapped, n, sticky, name)
	if fired {
		at += " at " + *where.Load()
	}
	switch {
	case f.err == nil: // it was not needed, or tried again
	case errors.Is(f.err, ErrFailed):
		require.NotNil(t, f.l.Failed(), at)
		_, err := f.l.Append(context.Background(), []Record{numbered(0)}, Written)
		require.ErrorIs(t, err, ErrFailed, at)
		if err = f.l.Sync(context.Background()); f.l.DurableEnd() < f.l.LogEndOffset() {
			require.ErrorIs(t, err, ErrFailed, at)
		}
	case errors.Is(f.err, ErrNoSpace):
		require.Equal(t, "ENOSPC", name, at)
	default:
		require.True(t, errors.Is(f.err, errors.Unwrap(cause)) || errors.Is(f.err, cause), "%s: %v", at, f.err)
		require.Contains(t, f.err.Error(), "mem:/", at) // what it was about
	}
	if name == "ENOSPC" && f.l != nil && !sticky && f.err != nil && f.l.Failed() == nil && sc.name != "close" {
		// There is space again: the log goes on.
		f.err = nil
		require.True(t, f.append(1, Synced), "%s: %v", at, f.err)
	}
	mem.SetHook(nil)
	if g.pinned != nil {
		g.pinned.Close()
	}
	if f.l != nil {
		g.st.RecoveryPoint = f.l.RecoveryPoint()
		f.l.Abandon()
	}
	g.env.Close()
	require.Zero(t, leak.files.Load(), at)
	require.Zero(t, leak.maps.Load(), at)
	require.Zero(t, g.env.Maps().Count(), at)

	checkAfterFault(t, g, f, mem.Snapshot(), at+", killed")
	choices := vfs.Choices(mem.Dirty(), 1, uint64(n))
	checkAfterFault(t, g, f, mem.CrashClone(choices[n%len(choices)]), at+", power cut")
	return fired
}

// checkAfterFault opens the log without faults.
func checkAfterFault(t *testing.T, g *rig, f *faultRun, tree *vfs.Mem, at string) {
	env := NewEnv(EnvOptions{FS: tree, MaxMaps: 100})
	defer env.Close()
	st := g.st
	st.Clean, st.New = false, false
	if st.Marks != nil {
		words := st.Marks.snapshot() // this open changes them
		st.Marks, st.MarksValid = NewMarks(&words, nil), true
	}
	l, rep, err := Open(env, "t-0", g.cfg, st)
	require.NoError(t, err, at)
	defer l.Abandon()
	require.Nil(t, rep.Damage, at)
	end := int(l.LogEndOffset())
	require.GreaterOrEqual(t, end, f.acked, at)
	require.LessOrEqual(t, end, max(f.end+1, 40), at) // one more may have been on its way
	if f.exact {
		require.Equal(t, f.end, end, at)
	}
	start := l.LogStartOffset()
	require.GreaterOrEqual(t, start, f.start, at)
	require.LessOrEqual(t, start, f.deleting, at)
	records := readAllRecords(t, l, start)
	require.Len(t, records, end-int(start), at)
	for i, r := range records {
		require.Equal(t, string(numbered(int(start)+i).Value), string(r.Value), at)
	}
	for name := range folderFiles(t, tree, "t-0") {
		require.False(t, strings.HasSuffix(name, temporarySuffix) || name == segment.PreparedName, "%s: %s is left", at, name)
	}
	_, err = l.Append(context.Background(), []Record{numbered(end)}, Synced)
	require.NoError(t, err, at)
}
