package log

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestReplaceFaults: each call of the file system in a replacement fails in turn,
// alone or with those that follow, undone or done all the same. The segments are
// what they were, or replaced as a whole; the log goes on, unless a sync of its
// folder failed, and what is left lying about goes with the next cleaning or the
// next open.
func TestReplaceFaults(t *testing.T) {
	for name, fault := range faultErrors {
		for _, mode := range []string{"once", "done", "lasting"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				for n := 1; replaceFault(t, n, mode, fault); n++ {
					require.Less(t, n, 500)
				}
			})
		}
	}
}

// replaceFault fails the n-th call; false if there are not so many.
func replaceFault(t *testing.T, n int, mode string, fault error) bool {
	g := newRig(t, []Writer{WriterMapped, WriterPwrite}[n%2], true, smallSegments)
	g.fill(40)
	l := g.open()
	bases := g.bases()
	old, kept := upTo(40, all), upTo(40, func(o int64) bool { return o >= bases[3] || even(o) })
	mem := g.fs.(*vfs.Mem)
	calls, hit, at := 0, "", vfs.Op(0)
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if before == (mode == "done") {
			return nil
		}
		if calls++; calls == n {
			hit, at = fmt.Sprint(n, " ", op, " ", name), op
		}
		if calls == n || calls > n && mode == "lasting" {
			return fault
		}
		return nil
	})
	err := sift(l, 0, 3, even)
	mem.SetHook(nil)
	if calls < n {
		require.NoError(t, err)
		g.log.Abandon()
		return false
	}
	if mode != "lasting" && at != vfs.OpClose && at != vfs.OpMap {
		require.Zero(t, g.fs.OpenFiles(), hit)
	}
	if l.Failed() != nil {
		require.ErrorIs(t, err, fault, hit)
		require.True(t, at == vfs.OpSyncDir || mode == "lasting", hit) // the first that failed, or one behind it
	} else {
		want := kept
		if err != nil {
			want = old
		}
		require.Equal(t, want, offsetsOf(t, l), hit)
		g.add(1, Synced)
		// Nothing is in the way of the next.
		if n%3 > 0 {
			require.NoError(t, sift(l, 0, 2, all), hit)
			require.Equal(t, append(want[:len(want):len(want)], 40), offsetsOf(t, l), hit)
			checkSums(t, g.fs, l)
		}
		old, kept = append(want[:len(want):len(want)], 40), nil
	}
	l.Abandon()
	g.st = OpenState{RecoveryPoint: []int64{40, 0}[n%2], StartOffset: -1, HighWatermark: -1}
	g.open()
	require.Nil(t, g.rep.Damage, hit)
	require.Empty(t, g.rep.Cuts, hit)
	require.Contains(t, [][]int64{old, kept}, offsetsOf(t, g.log), hit)
	for _, name := range g.names() {
		require.False(t, strings.HasSuffix(name, swapSuffix) || strings.HasSuffix(name, cleanedSuffix) || strings.HasSuffix(name, temporarySuffix), "%s: %s", hit, name)
	}
	require.NoError(t, sumsFit(g.fs, g.log, false), hit)
	g.add(1, Synced)
	g.log.Abandon()
	return true
}

// TestReplaceLeftovers: old files that cannot be removed are removed before the log
// is made shorter: segments to come may get their names.
func TestReplaceLeftovers(t *testing.T) {
	for name, change := range map[string]func(l *Log) error{
		"truncation":  func(l *Log) error { return l.TruncateTo(3, nil) },
		"reset":       func(l *Log) error { return l.ResetTo(7, nil) },
		"replacement": func(l *Log) error { return sift(l, 0, 2, all) },
		"nothing":     func(l *Log) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, WriterPwrite, true, smallSegments)
			g.fill(40)
			l := g.open()
			old := g.logFile(g.bases()[1])
			mem := g.fs.(*vfs.Mem)
			mem.SetHook(func(op vfs.Op, name string, before bool) error {
				if op == vfs.OpRemove && before && strings.HasSuffix(name, old) {
					return syscall.EIO
				}
				return nil
			})
			require.NoError(t, sift(l, 0, 3, even))
			require.Contains(t, g.names(), old)
			if name != "nothing" {
				require.ErrorIs(t, change(l), syscall.EIO)
			}
			mem.SetHook(nil)
			require.NoError(t, change(l))
			require.Equal(t, name == "nothing", slices.Contains(g.names(), old))
			want := offsetsOf(t, l)
			l.Abandon()
			g.st = OpenState{RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
			g.open()
			require.Nil(t, g.rep.Damage)
			require.Empty(t, g.rep.Cuts)
			require.Equal(t, want, offsetsOf(t, g.log))
			require.NotContains(t, g.names(), old)
		})
	}
}
