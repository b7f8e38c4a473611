package log

import (
	"context"
	"math"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// What one feature does to another.

// meanwhile is a context that does something when it is first asked for its error:
// a wait asks between looking and lying down.
type meanwhile struct {
	context.Context
	do func()
}

func (m *meanwhile) Err() error {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return m.Context.Err()
}

// TestTruncatedBeforeTheWait: a truncation between a reader's look and its waiting
// does not leave it waiting for an end that is far away now.
func TestTruncatedBeforeTheWait(t *testing.T) {
	for _, many := range []bool{false, true} {
		g := newRig(t, WriterPwrite, true, smallSegments)
		l := g.open()
		g.add(20, Synced)
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ctx := &meanwhile{end, func() {
			require.NoError(t, l.TruncateTo(10, nil))
			if many {
				time.AfterFunc(10*time.Millisecond, func() { g.add(8, Synced) })
			}
		}}
		w := NewWaiter()
		if !many {
			require.NoError(t, l.Wait(ctx, w, 20, false))
		} else {
			// There is something from 5 on, and it wants more than there is.
			at := []Watch{{Log: l, Offset: 5}}
			require.NoError(t, w.WaitFor(ctx, at, WaitOptions{MinBytes: l.Size() / 20 * 12}), "many")
		}
		require.Empty(t, l.tail.mu.list)
	}
}

// TestFailedQuietWakesWithTheError: who waits for a sync while a truncation has
// quietened the log gets the error of that sync, also when another has failed the
// log and has not come to waking it.
func TestFailedQuietWakesWithTheError(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	l := g.open()
	g.add(3, Written)
	waited := make(chan error, 1)
	first := true
	g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, name string, before bool) error {
		if op != vfs.OpSync || !before || !first {
			return nil
		}
		first = false
		go func() { waited <- l.waitDurable(context.Background(), 3) }()
		for n := 0; n == 0; runtime.Gosched() {
			l.sync.Lock()
			n = len(l.sync.waiters)
			l.sync.Unlock()
		}
		l.refuse.Store(&refusal{ErrFailed}) // the road's helper, say, has met the same
		return syscall.EIO
	})
	require.ErrorIs(t, l.TruncateTo(1, nil), ErrFailed)
	require.ErrorIs(t, <-waited, ErrFailed)
	require.Zero(t, l.DurableEnd())
}

// TestConfigureTellsNobodyUnderTheLock: an Observer may append.
func TestConfigureTellsNobodyUnderTheLock(t *testing.T) {
	c := smallSegments
	c.Durability, c.FlushInterval = Written, -1
	g := newRig(t, WriterPwrite, true, c)
	g.env.Close()
	told := 0
	g.env = NewEnv(EnvOptions{FS: g.fs, Writer: WriterPwrite, Observer: &Observer{Sync: func(Event) {
		if told++; told < 3 {
			g.add(1, Written)
		}
	}}})
	l := g.open()
	g.add(3, Written)
	c.Durability = Synced
	done := make(chan error, 1)
	go func() { done <- l.Configure(c) }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		buf := make([]byte, 1<<16)
		t.Fatalf("it hangs\n%s", buf[:runtime.Stack(buf, true)])
	}
	require.Equal(t, l.LogEndOffset(), l.HighWatermark())
}

// TestStatsOfAHealedLog: after a reset a damaged log is as good as new.
func TestStatsOfAHealedLog(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	g.remove(g.logFile(bases[2]))
	g.st.Clean = false
	l := g.open()
	require.True(t, l.Stats().Damaged)
	require.NoError(t, l.ResetTo(60, nil))
	s := l.Stats()
	require.False(t, s.Damaged)
	require.NoError(t, s.Failed)
}

// TestTruncateToFar: a log that is cut where a segment begins behind a gap of more
// than a segment ends before the gap, as it does when it is cut inside of it. An
// empty segment behind the gap would be taken for what is left of a lost one.
func TestTruncateToFar(t *testing.T) {
	const far = int64(math.MaxInt32) + 1000
	for _, offset := range []int64{far, far + 1, far - 1, 77} {
		g := newRig(t, WriterPwrite, true, Config{TimestampAfter: -1, FlushInterval: -1})
		g.open()
		g.add(5, Written)
		_, err := g.log.AppendRaw(numberedBatch(t, far, 2, at(far, 0)), RawOptions{Follower: true})
		require.NoError(t, err)
		require.NoError(t, g.log.TruncateTo(offset, nil))
		require.EqualValues(t, 5, g.log.LogEndOffset(), "to %d", offset)
		g.log.Abandon()
		g.st = OpenState{RecoveryPoint: g.log.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
		g.open()
		require.Nil(t, g.rep.Damage, "to %d", offset)
		require.EqualValues(t, 5, g.log.LogEndOffset())
		g.add(2, Synced)
		checkDense(t, g.log)
	}
}

// TestPowerFailsWhileKilledLogRecovers: segments that were rolled and never synced
// get their checksums by the recovery that follows a kill. If the power fails then,
// no checksum may be there of a file whose name is not.
func TestPowerFailsWhileKilledLogRecovers(t *testing.T) {
	c := smallSegments
	c.Durability, c.FlushInterval = Written, time.Hour
	g := newRig(t, WriterPwrite, true, c)
	require.NoError(t, g.fs.SyncDir("."))
	l := g.open()
	g.add(20, Written)
	require.GreaterOrEqual(t, len(l.seals.queue), 3)
	l.Abandon()
	mem := g.fs.(*vfs.Mem)
	var trees []*vfs.Mem
	var states []string
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if op.Mutates() && !before && strings.Contains(name, sumsName) {
			for choice, tree := range mem.Dirty().States(1, uint64(len(trees))) {
				trees, states = append(trees, tree), append(states, choice.String())
			}
		}
		return nil
	})
	g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
	g.open()
	mem.SetHook(nil)
	require.EqualValues(t, 20, g.log.LogEndOffset())
	require.NotEmpty(t, trees)
	for i, tree := range trees {
		env := NewEnv(EnvOptions{FS: tree, Writer: WriterPwrite})
		l, rep, err := Open(env, "t-0", c, OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1})
		require.NoError(t, err, states[i])
		require.Nil(t, rep.Damage, states[i])
		checkDense(t, l)
		l.Abandon()
		env.Close()
	}
	t.Logf("%d states", len(trees))
}
