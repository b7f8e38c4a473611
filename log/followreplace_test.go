package log

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// followAll reads all that is visible from an offset on, as a Reader does: after
// ErrRestarted it goes on at its offset.
func followAll(l *Log, from int64) (list []int64, err error) {
	c := l.NewCursor(from)
	defer c.Close()
	return followOn(l, c)
}

func followOn(l *Log, c *Cursor) (list []int64, err error) {
	for {
		b, err := c.Next(l.Visible(false))
		switch {
		case err == nil:
			list = append(list, b.BaseOffset())
		case err == ErrWait:
			return list, nil
		case err == ErrRestarted:
			if err := l.Settle(context.Background()); err != nil {
				return list, err
			}
			c.Restart()
		default:
			return list, err
		}
	}
}

// between tells whether offsets rise, are all of those that must be there, and
// none but those that may.
func between(t *testing.T, must, got, may []int64) {
	t.Helper()
	require.True(t, slices.IsSorted(got), got)
	require.Equal(t, slices.Compact(slices.Clone(got)), got)
	for _, o := range must {
		require.Contains(t, got, o)
	}
	for _, o := range got {
		require.Contains(t, may, o)
	}
}

// TestFollowReplaceSteps: before and after every call of a replacement, those who
// follow from elsewhere, one that was there before, one that stands in the middle,
// and one that has just come, see every record that stays, none twice, and none
// that never was.
func TestFollowReplaceSteps(t *testing.T) {
	g := newFollowRig(t, Config{SegmentBytes: 512})
	g.append(60)
	waitSealed(t, g.log)
	l := g.openFollower()
	var c *Cursor
	bases := g.bases()
	require.Greater(t, len(bases), 7)
	must := upTo(60, all)
	looks := 0
	for _, step := range crashRound {
		may := must
		list := g.log.segments.Load()
		from, end := list.bases[step.i], list.bases[step.i+step.n]
		must = slices.DeleteFunc(slices.Clone(must), func(o int64) bool { return from <= o && o < end && !step.keep(o) })
		look := func() {
			looks++
			got, err := followAll(l, 0)
			require.NoError(t, err)
			between(t, must, got, may)
			if c == nil {
				c = l.NewCursor(0)
			}
			b, err := c.Next(l.Visible(false))
			for err == ErrRestarted {
				c.Restart()
				b, err = c.Next(l.Visible(false))
			}
			if err == ErrWait {
				c.SeekTo(0)
			} else {
				require.NoError(t, err)
				require.Contains(t, may, b.BaseOffset())
			}
			env := NewEnv(EnvOptions{FS: vfs.NewReadOnly(g.fs)})
			defer env.Close()
			l, err := OpenFollower(env, g.dir, g.cfg, FollowState{Told: g.told, StartOffset: -1, Sound: true})
			require.NoError(t, err)
			defer l.Close()
			got, err = followAll(l, 0)
			require.NoError(t, err)
			require.Contains(t, [][]int64{must, may}, got) // the one log or the other
		}
		busy := false
		g.mem.SetHook(func(op vfs.Op, _ string, _ bool) error {
			if !busy && op.Mutates() {
				busy = true
				look()
				busy = false
			}
			return nil
		})
		require.NoError(t, sift(g.log, step.i, step.n, step.keep))
		g.mem.SetHook(nil)
		may = must
		got, err := followAll(l, 0)
		require.NoError(t, err)
		between(t, must, got, upTo(60, all))
		// Whoever comes now sees what is there.
		l.Close()
		l = g.openFollower()
		got, err = followAll(l, 0)
		require.NoError(t, err)
		require.Equal(t, must, got)
		c.Close()
		c = nil
	}
	require.Greater(t, looks, 100)
}

// TestFollowReplaceUnderHands: a replacement comes between any two calls of a
// follower that begins, or reads.
func TestFollowReplaceUnderHands(t *testing.T) {
	for _, early := range []bool{true, false} { // it is open before
		hit := true
		for at := 0; hit; at++ {
			g := newFollowRig(t, Config{SegmentBytes: 512})
			g.append(40)
			waitSealed(t, g.log)
			require.NoError(t, sift(g.log, 2, 1, all)) // some may be missing
			n, busy := 0, false
			hit = false
			hook := func(op vfs.Op, _ string, before bool) error {
				if before || busy || n < 0 {
					return nil
				}
				if n++; n == at+1 {
					hit, busy = true, true
					require.NoError(t, sift(g.log, 1, 3, even))
					require.NoError(t, sift(g.log, 0, 2, all))
					busy = false
				}
				return nil
			}
			bases := g.bases()
			if early {
				g.openFollower()
				c := g.follow.NewCursor(bases[2])
				_, err := c.Next(g.follow.Visible(false))
				require.NoError(t, err)
				c.Close()
			}
			g.mem.SetHook(hook)
			if !early {
				g.openFollower()
			}
			got, err := followAll(g.follow, 0)
			g.mem.SetHook(nil)
			require.NoError(t, err, at)
			must := upTo(40, func(o int64) bool { return o < bases[1] || o >= bases[4] || even(o) })
			between(t, must, got, upTo(40, all))
			require.Less(t, at, 2000)
		}
	}
}

// TestFollowReplaceBeside: a writer replaces, rolls, deletes and appends, and
// followers read beside it. A key's worth of rules: offsets that are multiples of
// 8 stay, and none is seen twice.
func TestFollowReplaceBeside(t *testing.T) {
	for _, mem := range []bool{true, false} {
		t.Run(fmt.Sprintf("mem=%v", mem), func(t *testing.T) { testFollowReplaceBeside(t, mem) })
	}
}

func testFollowReplaceBeside(t *testing.T, mem bool) {
	w, rounds := WriterMapped, int64(20)
	if mem { // where the race detector sees the maps
		w, rounds = WriterPwrite, 60
	}
	g := &followRig{rig: newRig(t, w, mem, Config{SegmentBytes: 512})}
	g.st.Marks = NewMarks(&g.words, nil)
	g.open()
	g.append(40)
	done := make(chan struct{})
	var reads atomic.Int64
	failed := make(chan error, 4)
	for range 2 {
		env := NewEnv(EnvOptions{FS: vfs.NewReadOnly(g.fs)})
		t.Cleanup(env.Close)
		l, err := OpenFollower(env, g.dir, g.cfg, FollowState{Told: g.told, StartOffset: -1, Sound: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		go func() { failed <- followBeside(l, done, &reads) }()
	}
	for i := range rounds {
		g.append(6)
		n := len(g.bases())
		step := []int{0, 1, n / 2, n - 3}[i%4]
		if n > 5 {
			err := sift(g.log, max(step, 0), min(3, n-1-max(step, 0)), func(o int64) bool { return o%8 == 0 || (o+i)%3 > 0 })
			require.NoError(t, err)
		}
		if i%10 == 9 {
			_, err := g.log.DeleteOldest(context.Background(), Floor{})
			require.NoError(t, err)
		}
		for was := reads.Load(); i%5 == 0 && reads.Load() < was+2; {
			select {
			case err := <-failed:
				require.NoError(t, err)
			default:
				runtime.Gosched()
			}
		}
	}
	close(done)
	require.NoError(t, <-failed)
	require.NoError(t, <-failed)
}

func followBeside(l *Log, done chan struct{}, reads *atomic.Int64) error {
	for {
		start := l.LogStartOffset()
		got, err := followAll(l, start)
		var outside *OffsetError
		if errors.As(err, &outside) {
			continue // retention was quicker
		}
		if err != nil {
			return err
		}
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] || got[i]/8 > got[i-1]/8+1 {
				return errors.New("offsets were left out or came twice")
			}
		}
		reads.Add(1)
		select {
		case <-done:
			return nil
		default:
		}
	}
}
