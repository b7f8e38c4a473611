//go:build unix

package leat

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestKill kills a process that appends, at random moments and hundreds of
// times, and looks each time at what is left: everything that was acknowledged,
// at either level, under its offset; no record twice, no call by half.
//
// Where it fails it names the seed, which LEAT_SEED repeats: what the children do
// and when they are to be killed, though not how far they have come by then. The
// directory stays.
func TestKill(t *testing.T) {
	began, cycles := time.Now(), atomic.Int64{}
	more := func() bool {
		n := cycles.Add(1)
		switch {
		case testing.Short():
			return n <= 20
		case os.Getenv("LEAT_LONG") != "":
			return n <= 3000
		}
		return time.Since(began) < 9*time.Second
	}
	var sum killSum
	t.Run("workers", func(t *testing.T) {
		// Where files in memory are to be had half of the work is done there: no
		// wait for a disk, and another filesystem.
		for w, temp := range []string{"", memoryDir()} {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				r := killRand(t, uint64(w))
				for cycle := 0; more(); cycle++ {
					k := newKiller(t, temp, &sum)
					for range 25 {
						k.cycle(t, r)
						if k.model.records > 20_000 || !more() {
							break
						}
					}
					k.verify(t, true)
					k.remove(t)
				}
			})
		}
	})
	t.Log(sum.String())
	require.Positive(t, sum.killed.Load())
	require.Positive(t, sum.acks.Load())
}

// killRand is the randomness of one worker.
func killRand(t *testing.T, worker uint64) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LEAT_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("LEAT_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, worker))
}

// memoryDir is a directory in memory, or nothing: the default for temporary ones.
func memoryDir() string {
	const dir = "/dev/shm"
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	return dir
}

// killSum says what happened, so that one can see whether it was enough.
type killSum struct{ killed, ended, opened, acks, torn atomic.Int64 }

func (s *killSum) String() string {
	return fmt.Sprintf("killed %d processes (%d more ended by themselves), %d of them after opening; %d appends were acknowledged; %d torn tails",
		s.killed.Load(), s.ended.Load(), s.opened.Load(), s.acks.Load(), s.torn.Load())
}

// killer is one directory and its model.
type killer struct {
	model   *killModel
	sum     *killSum
	removed bool
}

func newKiller(t *testing.T, temp string, sum *killSum) *killer {
	dir, err := os.MkdirTemp(temp, "leat-kill-")
	require.NoError(t, err)
	k := &killer{model: newKillModel(dir), sum: sum}
	t.Cleanup(func() {
		if !k.removed {
			t.Logf("%s is left as it was", dir)
		}
	})
	return k
}

// remove removes the directory, with which nothing was wrong.
func (k *killer) remove(t *testing.T) {
	require.NoError(t, os.RemoveAll(k.model.dir))
	k.removed = true
}

// cycle runs a child, kills it, and mostly looks at what it left; sometimes the
// next child is the first to open the store again.
func (k *killer) cycle(t *testing.T, r *rand.Rand) {
	// Each order of magnitude of time gets its share.
	delay := time.Duration(math.Pow(100, r.Float64()) * float64(time.Millisecond))
	fromStart := r.IntN(5) == 0 // else from its first line
	k.run(t, r.Uint64(), 40_000, func(cmd *exec.Cmd, lines int) {
		if fromStart == (lines == 0) && lines <= 1 {
			time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
		}
	})
	if r.IntN(4) > 0 {
		k.verify(t, r.IntN(3) == 0)
	}
}

func (k *killer) verify(t *testing.T, closed bool) { k.sum.torn.Add(int64(k.model.verify(t, closed))) }

// run runs a child to its end. each is called when it has started, and with each
// line; command, when given, is what runs the child.
func (k *killer) run(t *testing.T, seed uint64, calls int, each func(cmd *exec.Cmd, lines int), command ...string) (killed bool) {
	self, err := os.Executable()
	require.NoError(t, err)
	args := append(command, self, "-test.run=^TestKillChild$", "-test.timeout=5m")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), killDirEnv+"="+k.model.dir,
		fmt.Sprintf("%s=%d", killSeedEnv, seed), fmt.Sprintf("%s=%d", killCallsEnv, calls))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	pr, pw, err := os.Pipe()
	require.NoError(t, err)
	defer pr.Close()
	cmd.ExtraFiles = []*os.File{pw}
	err = cmd.Start()
	pw.Close()
	require.NoError(t, err)
	each(cmd, 0)
	lines := 0
	for in := bufio.NewScanner(pr); in.Scan(); {
		lines++
		each(cmd, lines)
		k.model.take(t, in.Text())
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		k.sum.ended.Add(1)
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		killed = true
		k.sum.killed.Add(1)
		if lines > 0 {
			k.sum.opened.Add(1)
		}
	default:
		t.Fatalf("the child failed: %v\n%s", err, output.Bytes())
	}
	k.sum.acks.Add(int64(lines))
	return killed
}
