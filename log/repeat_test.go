package log

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// A recovery that is cut short by another power cut, and the one after it cut
// short as well, come to what an undisturbed one comes to.

var repeatCases = []struct {
	name string
	do   func(g *rig, bases []int64) // what the first crash left
}{
	{"torn tail", func(g *rig, bases []int64) {
		g.damage(bases[len(bases)-1], func(b []byte) []byte { return b[:len(b)-20] })
	}},
	{"garbage behind the end", func(g *rig, bases []int64) {
		g.damage(bases[len(bases)-1], func(b []byte) []byte { return append(b, noise(9000)...) })
	}},
	{"damage in the middle", func(g *rig, bases []int64) {
		g.damage(bases[2], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	}},
	{"zeros in the middle", func(g *rig, bases []int64) {
		g.damage(bases[2], func(b []byte) []byte { clear(b[len(b)/2:]); return b })
	}},
	{"garbage behind a segment that is whole", func(g *rig, bases []int64) {
		g.damage(bases[2], func(b []byte) []byte { return append(b, noise(100)...) })
	}},
	{"segment missing", func(g *rig, bases []int64) { g.remove(g.logFile(bases[2])) }},
	{"last segments empty", func(g *rig, bases []int64) {
		for _, b := range bases[3:] {
			g.damage(b, func(b []byte) []byte { return make([]byte, len(b)) })
		}
	}},
}

// damage changes a log file, durably.
func (g *rig) damage(base int64, change func([]byte) []byte) {
	g.putFile(g.logFile(base), change(g.getFile(g.logFile(base))))
}

func TestRecoveryIsRepeatable(t *testing.T) {
	most := 400
	if os.Getenv("LEAT_LONG") != "" {
		most = 20_000
	}
	for _, tc := range repeatCases {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, WriterPwrite, true, smallSegments)
			bases := g.fill(36)
			require.NoError(t, g.fs.SyncDir("."))
			g.putFile(sumsName, (&Sums{}).format())
			g.st = OpenState{RecoveryPoint: bases[1], StartOffset: -1, HighWatermark: -1}
			tc.do(g, bases)
			require.NoError(t, g.fs.SyncDir(g.folder()))
			mem := g.fs.(*vfs.Mem)

			undisturbed := mem.CrashClone(vfs.None)
			want := recoverTree(t, g, undisturbed, nil)
			states := 0
			var cutting func(tree *vfs.Mem, depth int) vfs.Hook
			cutting = func(tree *vfs.Mem, depth int) vfs.Hook {
				return func(op vfs.Op, name string, before bool) error {
					if !op.Mutates() || !before {
						return nil
					}
					choices := vfs.Choices(tree.Dirty(), 1, uint64(states))
					for i := range min(len(choices), 2*depth+2) {
						if states >= most {
							return nil
						}
						states++
						cut := tree.CrashClone(choices[(i*len(choices)/4+states)%len(choices)])
						var next vfs.Hook
						if depth > 0 && states%31 == 0 {
							next = cutting(cut, depth-1)
						}
						require.Equal(t, want, recoverTree(t, g, cut, next), "cut at %v %s", op, name)
					}
					return nil
				}
			}
			require.Equal(t, want, recoverTree(t, g, mem.CrashClone(vfs.None), nil))
			tree := mem.CrashClone(vfs.None)
			require.Equal(t, want, recoverTree(t, g, tree, cutting(tree, 1)))
			require.Greater(t, states, 50)
			t.Logf("%d states: %s", states, want)
		})
	}
}

// recoverTree opens a tree and tells what became of it.
func recoverTree(t *testing.T, g *rig, tree *vfs.Mem, hook vfs.Hook) string {
	t.Helper()
	tree.SetHook(hook)
	env := NewEnv(EnvOptions{FS: tree, Writer: WriterPwrite})
	defer env.Close()
	l, rep, err := Open(env, g.folder(), g.cfg, g.st)
	require.NoError(t, err)
	defer l.Abandon()
	require.Nil(t, rep.Damage)
	rs := readAllRecords(t, l, 0)
	for i, r := range rs {
		require.Equal(t, string(numbered(i).Value), string(r.Value))
	}
	require.EqualValues(t, len(rs), l.LogEndOffset())
	epoch, start := l.epochs.Latest()
	var kept int
	for name := range folderFiles(t, tree, g.folder()) {
		if _, suffix, ok := segment.ParseName(name); ok && suffix == segment.LogSuffix {
			kept++
		}
	}
	return fmt.Sprintf("%d records in %d segments, new epoch %v", len(rs), kept, start && epoch.Epoch > 0)
}
