package log

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// A cleaning writes .cleaned files, renames them to .swap, removes what they
// replace and renames them to their final names. An open that finds any of it
// goes on or goes back, and the power may fail at each of its steps: the log is
// the old one or the new one, never both and never neither.

// swapRig has a log whose second and third segment were cleaned into one, as far
// as the suffix says: every other batch is gone.
func swapRig(t *testing.T) (g *rig, cleaned map[string][]byte, before, after []int64) {
	g = newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	g.remove(sumsName) // a cleaned log is not dense
	require.NoError(t, g.fs.SyncDir("."))
	require.NoError(t, g.fs.SyncDir(g.folder()))
	var kept []byte
	for offset := range int64(60) {
		before = append(before, offset)
	}
	after = append(after, before[:bases[1]]...)
	for _, base := range bases[1:3] {
		for b := g.getFile(g.logFile(base)); len(b) > 0; {
			batch, err := codec.Next(b)
			require.NoError(t, err)
			if batch.BaseOffset()%2 == 0 || batch.NextOffset() == bases[3] {
				kept = append(kept, batch...)
				after = append(after, batch.BaseOffset())
			}
			b = b[len(batch):]
		}
	}
	after = append(after, before[bases[3]:]...)
	name := func(suffix string) string { return segment.FileName(bases[1], suffix) }
	return g, map[string][]byte{
		name(segment.LogSuffix):   kept,
		name(segment.IndexSuffix): {},
		name(segment.TimeSuffix):  {},
		name(segment.TxnSuffix):   {},
	}, before, after
}

// swapState opens a tree and tells which of the two logs it has.
func swapState(t *testing.T, g *rig, tree *vfs.Mem, hook vfs.Hook, before, after []int64) string {
	t.Helper()
	tree.SetHook(hook)
	env := NewEnv(EnvOptions{FS: tree, Writer: WriterPwrite})
	defer env.Close()
	l, rep, err := Open(env, g.folder(), g.cfg, g.st)
	require.NoError(t, err)
	defer l.Abandon()
	require.Nil(t, rep.Damage)
	require.Empty(t, rep.Cuts)
	var got []int64
	for _, r := range readAllRecords(t, l, 0) {
		got = append(got, r.Offset)
		require.Equal(t, string(numbered(int(r.Offset)).Value), string(r.Value))
	}
	require.EqualValues(t, 60, l.LogEndOffset())
	for name := range folderFiles(t, tree, g.folder()) {
		require.False(t, strings.HasSuffix(name, swapSuffix) || strings.HasSuffix(name, cleanedSuffix), name)
	}
	switch fmt.Sprint(got) {
	case fmt.Sprint(before):
		return "old"
	case fmt.Sprint(after):
		return "new"
	}
	return fmt.Sprint(got)
}

// testSwap opens the rig's tree, cutting the power at every step and once more
// while the result is opened, and wants one of the states.
func testSwap(t *testing.T, g *rig, before, after []int64, want ...string) {
	mem := g.fs.(*vfs.Mem)
	states := 0
	seen := map[string]bool{}
	var cutting func(tree *vfs.Mem, depth int) vfs.Hook
	cutting = func(tree *vfs.Mem, depth int) vfs.Hook {
		return func(op vfs.Op, _ string, _ bool) error {
			if !op.Mutates() {
				return nil
			}
			for c, cut := range tree.Dirty().States(2, uint64(states)) {
				states++
				var next vfs.Hook
				if depth > 0 && states%50 == 0 {
					next = cutting(cut, depth-1)
				}
				s := swapState(t, g, cut, next, before, after)
				seen[s] = true
				require.Contains(t, want, s, c)
			}
			return nil
		}
	}
	s := swapState(t, g, mem, cutting(mem, 1), before, after)
	require.Contains(t, want, s)
	for _, w := range want {
		require.True(t, seen[w] || s == w, "never %s", w)
	}
	require.Greater(t, states, 10)
	t.Logf("%d states", states)
}

func TestSwapIsFinished(t *testing.T) {
	g, cleaned, before, after := swapRig(t)
	for name, b := range cleaned {
		g.putFile(name+swapSuffix, b)
	}
	testSwap(t, g, before, after, "new")
}

// TestSwapUnderWay: killed in the middle of the renames from .cleaned to .swap,
// which are not durable: a power cut in the open may undo them.
func TestSwapUnderWay(t *testing.T) {
	g, cleaned, before, after := swapRig(t)
	for name, b := range cleaned {
		g.putFile(name+cleanedSuffix, b)
	}
	for name := range cleaned {
		require.NoError(t, g.fs.Rename(g.folder()+"/"+name+cleanedSuffix, g.folder()+"/"+name+swapSuffix))
	}
	testSwap(t, g, before, after, "old", "new")
}

func TestSwapIsRolledBack(t *testing.T) {
	g, cleaned, before, after := swapRig(t)
	for name, b := range cleaned {
		suffix := swapSuffix
		if strings.HasSuffix(name, segment.TxnSuffix) {
			suffix = cleanedSuffix // not all of them had been renamed
		}
		g.putFile(name+suffix, b)
	}
	testSwap(t, g, before, after, "old")
}

// TestSwapPartlyInPlace: the log file has its name, the rest not yet.
func TestSwapPartlyInPlace(t *testing.T) {
	g, cleaned, before, after := swapRig(t)
	for name, b := range cleaned {
		if strings.HasSuffix(name, segment.LogSuffix) {
			base, _, _ := segment.ParseName(name)
			g.putFile(name, b)
			for _, s := range g.log.Segments() {
				if s.BaseOffset > base {
					for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.SnapshotSuffix} {
						g.remove(segment.FileName(s.BaseOffset, suffix))
					}
					break
				}
			}
			continue
		}
		g.putFile(name+swapSuffix, b)
	}
	require.NoError(t, g.fs.SyncDir(g.folder())) // as it is before the renames
	testSwap(t, g, before, after, "new")
}

// TestDamagedSwap: a swap was synced before it got its name, so a damaged one is
// damage, and nothing is removed for its sake.
func TestDamagedSwap(t *testing.T) {
	g, cleaned, _, _ := swapRig(t)
	for name, b := range cleaned {
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		g.putFile(name+swapSuffix, b)
	}
	files := g.files()
	_, _, err := g.tryOpen()
	require.ErrorIs(t, err, ErrCorrupt)
	require.Equal(t, files, g.files())
}
