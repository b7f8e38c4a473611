package log

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestCleanPowerCut cuts the power at every call of a round of several groups, with
// every choice of what was not synced that the simulator tries: the log opens with
// the newest record of each key at its offset, an aborted one nowhere, and without
// a trace of what was under way.
func TestCleanPowerCut(t *testing.T) {
	every := 7 // states are many, and an open takes its time
	if os.Getenv("LEAT_LONG") != "" {
		every = 1
	}
	g := newRules(t, func(c *Config) { c.SegmentBytes = 450 })
	l := g.log
	script(t, l, "a=1 b=1", "p1 txn a=2 b=2", "--", "p1 abort", "a=3 c=1", "--", "c=2", "b", "--",
		"p2 d=1", "p2 d=2", "p1 txn e=1", "--", "p1 commit", "h=1 c", "d=3 f=1", "--", "x=1")
	require.NoError(t, g.fs.SyncDir("."))
	list := l.segments.Load()
	require.NoError(t, l.awaitSealed(context.Background(), list.segs[:len(list.segs)-1]))
	visible := func(l *Log) map[string]string {
		m := newest(t, l)
		for k, v := range m {
			if strings.HasPrefix(v, " at") { // a tombstone, or that it is gone
				delete(m, k)
			}
		}
		return m
	}
	want := map[string]string{"a": "3 at 5", "d": "3 at 14", "e": "1 at 11", "f": "1 at 15", "x": "1 at 16"}
	for k, v := range want {
		require.Equal(t, v, visible(l)[k])
	}

	state := OpenState{RecoveryPoint: l.DurableEnd(), StartOffset: -1, HighWatermark: -1}
	check := func(tree *vfs.Mem, what any) {
		env := NewEnv(EnvOptions{FS: tree, Writer: WriterPwrite})
		defer env.Close()
		l, rep, err := Open(env, g.folder(), g.cfg, state)
		require.NoError(t, err, what)
		defer l.Abandon()
		require.Nil(t, rep.Damage, what)
		require.Empty(t, rep.Cuts, what)
		got := visible(l)
		for k, v := range want {
			require.Equal(t, v, got[k], what)
		}
		require.Empty(t, got["b"], what)
		require.Empty(t, got["c"], what)
		aborted, err := l.AbortedTxns(0, noOffset, nil)
		require.NoError(t, err)
		for _, b := range refLog(t, l) {
			require.True(t, b.BaseOffset != 2 || isAborted(aborted, b.raw), what)
		}
		for name := range folderFiles(t, tree, g.folder()) {
			require.False(t, strings.HasSuffix(name, cleanedSuffix) || strings.HasSuffix(name, swapSuffix), name)
		}
	}
	var mu sync.Mutex
	states := 0
	mem := g.fs.(*vfs.Mem)
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if !op.Mutates() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for c, cut := range mem.Dirty().States(2, uint64(states)) {
			if states++; states%every == 0 {
				check(cut, c)
			}
		}
		return nil
	})
	r, err := l.Compact(context.Background(), CleanOptions{Now: time.UnixMilli(ruleNow), MaxLag: -1, TombstoneRetain: time.Second, MapBytes: 1 << 16})
	mem.SetHook(nil)
	require.NoError(t, err)
	require.Greater(t, r.Into, 1)
	require.Greater(t, states, 1000)
	t.Logf("%d states", states)
	check(mem.CrashClone(vfs.None), "in the end")
}
