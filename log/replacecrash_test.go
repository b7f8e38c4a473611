package log

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// A power cut at every step of a round of replacements leaves the old segments or
// the new one of the one under way, and the new ones of those before it; and so
// does one in the recovery from that.

// crashRound is the steps of a round: which segments, by index, become one, and
// what is kept of them.
var crashRound = []struct {
	i, n int
	keep func(offset int64) bool
}{
	{0, 1, even},
	{1, 3, even},
	{2, 2, all},
	{1, 1, func(o int64) bool { return o%4 == 0 }},
	{0, 2, func(o int64) bool { return o%8 == 0 }},
	{1, 2, func(o int64) bool { return false }},
}

type replaceCrash struct {
	t *testing.T
	g *rig
	w Writer
	// sample: one of so many states is looked at.
	sample int

	states []string        // the log before the round and after each of its steps
	hashes map[uint64]bool // of the trees looked at since the last step was done
	done   int             // steps that have returned
	tried  int
	seen   map[int]int // by steps done beyond those that must be
	deep   int
	failed string
}

func TestReplaceCrashes(t *testing.T) {
	per, sample := 1, 4
	if os.Getenv("LEAT_LONG") != "" {
		per, sample = 40, 1
	}
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		t.Run(fmt.Sprintf("mapped=%v", w == WriterMapped), func(t *testing.T) {
			g := newRig(t, w, true, smallSegments)
			require.NoError(t, g.fs.SyncDir("."))
			g.fill(40)
			l := g.open()
			x := &replaceCrash{t: t, g: g, w: w, sample: sample, seen: make(map[int]int), hashes: make(map[uint64]bool)}
			offsets, bases := offsetsOf(t, l), g.bases()
			x.states = append(x.states, fmt.Sprint(bases, offsets))
			mem := g.fs.(*vfs.Mem)
			rng := rand.New(rand.NewPCG(1, 7))
			for _, step := range crashRound {
				from, end := bases[step.i], bases[step.i+step.n]
				offsets = slices.DeleteFunc(offsets, func(o int64) bool { return from <= o && o < end && !step.keep(o) })
				bases = slices.Delete(bases, step.i+1, step.i+step.n)
				x.states = append(x.states, fmt.Sprint(bases, offsets))
				mem.SetHook(x.hook(mem, rng, per, 1))
				require.NoError(t, sift(l, step.i, step.n, step.keep))
				x.done++
				x.cut(mem, rng, per, 1)
				mem.SetHook(nil)
				clear(x.hashes)
				require.Equal(t, x.states[x.done], fmt.Sprint(g.bases(), offsetsOf(t, l)))
				require.Empty(t, x.failed)
			}
			checkSums(t, g.fs, l)
			require.NotZero(t, x.seen[0])
			require.NotZero(t, x.seen[1])
			require.NotZero(t, x.deep)
			t.Logf("%d states, %d of them in recovery: %v", x.tried, x.deep, x.seen)
		})
	}
}

func (x *replaceCrash) hook(tree *vfs.Mem, rng *rand.Rand, per, depth int) vfs.Hook {
	return func(op vfs.Op, _ string, _ bool) error {
		if op.Mutates() {
			x.cut(tree, rng, per, depth)
		}
		return nil
	}
}

// cut opens what a power cut now, or a kill, may leave.
func (x *replaceCrash) cut(tree *vfs.Mem, rng *rand.Rand, per, depth int) {
	if depth == 0 && rng.IntN(40) > 0 {
		return
	}
	d := tree.Dirty()
	for c, cut := range d.States(per, rng.Uint64()) {
		x.check(cut, rng, fmt.Sprint(c), depth)
	}
	x.check(tree.Snapshot(), rng, "killed", depth)
}

func (x *replaceCrash) check(tree *vfs.Mem, rng *rand.Rand, name string, depth int) {
	if h := tree.Hash(); x.failed != "" || x.hashes[h] && depth > 0 {
		return
	} else if x.hashes[h] = true; x.sample > 1 && rng.IntN(x.sample) > 0 {
		return
	}
	x.tried++
	if depth == 0 {
		x.deep++
	}
	env := NewEnv(EnvOptions{FS: tree, Writer: x.w, MaxMaps: 100})
	defer env.Close()
	if depth > 0 && rng.IntN(20) == 0 {
		tree.SetHook(x.hook(tree, rng, 1, depth-1))
	}
	st := OpenState{RecoveryPoint: []int64{0, 20, 40}[rng.IntN(3)], StartOffset: -1, HighWatermark: -1, Clean: rng.IntN(2) == 0}
	l, rep, err := Open(env, x.g.folder(), x.g.cfg, st)
	fail := func(format string, args ...any) {
		if x.failed == "" {
			x.failed = fmt.Sprintf("step %d, depth %d, %+v, %s: ", x.done, depth, st, name) + fmt.Sprintf(format, args...)
		}
	}
	if err != nil {
		fail("%v", err)
		return
	}
	defer l.Abandon()
	if rep.Damage != nil || len(rep.Cuts) > 0 || l.LogEndOffset() != 40 {
		fail("%+v", rep)
		return
	}
	rs, err := tryRecords(l, 0)
	var bases, offsets []int64
	for _, r := range rs {
		offsets = append(offsets, r.Offset)
	}
	for _, s := range l.Segments() {
		bases = append(bases, s.BaseOffset)
	}
	if err != nil {
		fail("%v", err)
		return
	}
	got := fmt.Sprint(bases, offsets)
	i := slices.Index(x.states, got)
	if i < x.done || i > x.done+1 {
		fail("%v is step %d of %v", got, i, x.states)
		return
	}
	x.seen[i-x.done]++
	// The first recovery may have been at work on other indexes.
	if err := sumsFit(tree, l, x.done > 0); err != nil && (depth > 0 || !strings.Contains(err.Error(), "index is")) {
		fail("%v", err)
	}
}

// sumsFit is checkSums for a hook. Before all are known, which is when the file was
// written last and synced, some may be missing.
func sumsFit(fsys vfs.FS, l *Log, all bool) error {
	infos, err := fsys.ReadDir(l.dir)
	if err != nil {
		return err
	}
	b, err := readAll(fsys, segment.Join(l.dir, sumsName), maxSumsFile)
	if err != nil {
		return err
	}
	sums := ParseSums(b)
	if sums.Swap != nil {
		return fmt.Errorf("swap is not done: %+v", sums.Swap)
	}
	segs := l.segments.Load()
	for _, info := range infos {
		if strings.HasSuffix(info.Name, swapSuffix) || strings.HasSuffix(info.Name, cleanedSuffix) {
			return fmt.Errorf("%s is left", info.Name)
		}
		base, suffix, ok := segment.ParseName(info.Name)
		if !ok || !isSegmentFile(suffix) || base >= segs.bases[len(segs.bases)-1] {
			continue
		}
		want, ok := sums.Files[info.Name]
		if !ok && !all {
			continue
		}
		if !ok || !slices.Contains(segs.bases, base) {
			return fmt.Errorf("%s is nobody's", info.Name)
		}
		if sum, err := l.sumFile(info.Name); err != nil || sum != want {
			return fmt.Errorf("%s is %+v and not %+v: %w", info.Name, sum, want, err)
		}
	}
	for name := range sums.Files {
		if base, _, _ := segment.ParseName(name); !slices.Contains(segs.bases, base) {
			return fmt.Errorf("%s is noted, and gone", name)
		}
	}
	return nil
}
