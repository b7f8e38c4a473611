package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKilled kills workers at random times, and looks after each at what it left:
// whatever the position has passed was applied once, and nothing else.
func TestKilled(t *testing.T) {
	p := &play{dir: t.TempDir(), last: first + 99, failAt: never, seek: noSeek}
	kills, midway := 15, 0
	if os.Getenv("LEAT_LONG") != "" {
		p.last, kills = first+4999, 500
	}
	require.NoError(t, feed(ctx, p.dir, p.last))
	began, err := p.look(ctx, nil)
	require.NoError(t, err)
	for range kills {
		killed := runKilled(t, func(out io.Writer) *exec.Cmd {
			p.out = out
			cmd, err := p.start(ctx, never)
			require.NoError(t, err)
			return cmd
		})
		s, err := p.look(ctx, nil)
		require.NoError(t, err)
		require.NoError(t, s.verify())
		if killed && first < s.next && s.next <= p.last {
			midway++
		}
	}
	t.Logf("%d of %d were killed midway", midway, kills)
	require.Positive(t, midway)
	p.out = io.Discard
	require.NoError(t, p.worker(ctx, never))
	require.NoError(t, p.check(ctx, began, p.last+1))
}

// TestKilledAll kills the program itself, and with it its worker: the next run goes
// on where it was.
func TestKilledAll(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	runs := 3
	if os.Getenv("LEAT_LONG") != "" {
		runs = 100
	}
	for range runs {
		dir := t.TempDir()
		for range 3 {
			runKilled(t, func(out io.Writer) *exec.Cmd {
				cmd := exec.Command(self, "-dir", dir)
				cmd.Env = append(os.Environ(), mainEnv+"=1")
				cmd.Stdout = out
				require.NoError(t, cmd.Start())
				return cmd
			})
		}
		status, _, stderr := try("-dir", dir)
		require.Equal(t, 0, status, stderr)
		times, next := applications(t, outsider(t, dir))
		require.Equal(t, []int{1, 1, 1, 1, 1}, times)
		require.Equal(t, 10100, next)
	}
}

// runKilled starts a process and kills it, some time after the first worker has
// begun: each order of magnitude of time has its share.
func runKilled(t *testing.T, start func(out io.Writer) *exec.Cmd) (killed bool) {
	t.Helper()
	begun := make(chan struct{}, 1)
	cmd := start(writer(func(b []byte) {
		if bytes.Contains(b, []byte("begins with")) {
			select {
			case begun <- struct{}{}:
			default:
			}
		}
	}))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-begun:
	case err := <-ended:
		require.NoError(t, err)
		return false
	}
	delay := time.Millisecond << rand.N(6)
	timer := time.AfterFunc(delay+rand.N(delay), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := <-ended
	return err != nil
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
