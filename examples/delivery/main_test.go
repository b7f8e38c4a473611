package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

var ctx = context.Background()

// mainEnv makes the test binary the program; a worker it is by its arguments.
const mainEnv = "DELIVERY_TEST_MAIN"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg || os.Getenv(mainEnv) != "" {
		main()
	}
	// Under -race, every process that ends would take a second to.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	os.Exit(m.Run())
}

func try(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = command(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// killings is how many workers of a form are killed.
func killings() int {
	if os.Getenv("LEAT_LONG") != "" {
		return 200
	}
	return 8
}

// outsider counts what is in a form's files, knowing nothing but what their lines
// are. times is how often each id was applied that was produced.
func outsider(t *testing.T, dir, form string) (times map[string]int, pids map[string]bool) {
	t.Helper()
	times, pids = map[string]int{}, map[string]bool{}
	text, err := os.ReadFile(filepath.Join(dir, form+".in"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		require.Regexp(t, `^\d+ \d+\n$`, line)
		times[strings.Fields(line)[0]] = 0
	}
	text, err = os.ReadFile(filepath.Join(dir, form+".out"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		require.Regexp(t, `^\d+ \d+\n$`, line)
		fields := strings.Fields(line)
		require.Contains(t, times, fields[0])
		times[fields[0]]++
		pids[fields[1]] = true
	}
	return times, pids
}

// TestDelivery: each form keeps its promise, and the kills were where it costs the
// first something to keep it, and the second.
func TestDelivery(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600))
	for _, kills := range []int{killings(), 1} { // the second run begins anew
		status, stdout, stderr := try(ctx, "-dir", dir, "-kills", fmt.Sprint(kills))
		require.Equal(t, 0, status, stderr)
		require.Equal(t, 3, strings.Count(stdout, ": kept"))
		for _, form := range forms {
			times, pids := outsider(t, dir, string(form))
			applied, lost, repeated := 0, 0, 0
			for _, n := range times {
				applied += n
				if n == 0 {
					lost++
				} else {
					repeated += n - 1
				}
			}
			require.Len(t, times, (kills+spare+1)*maxRounds*batch)
			require.GreaterOrEqual(t, len(pids), kills+1)
			switch form {
			case mostOnce:
				require.Zero(t, repeated)
				require.Positive(t, lost)
			case leastOnce:
				require.Zero(t, lost)
				require.Positive(t, repeated)
			case exactOnce:
				require.Zero(t, lost)
				require.Zero(t, repeated)
			}
			require.Regexp(t, fmt.Sprintf(`(?m)^%s +%d +%d +%d +%d +%d +%d  `,
				form, len(times), applied, lost, repeated, kills, len(pids)), stdout)
		}
	}
	mine, err := os.ReadFile(filepath.Join(dir, "mine"))
	require.NoError(t, err)
	require.Equal(t, "x", string(mine), "what is not the program's stays")
}

// TestBroken: with its steps swapped, a form breaks its promise even when one worker
// is killed, and the others keep theirs.
func TestBroken(t *testing.T) {
	for _, form := range forms {
		status, stdout, stderr := try(ctx, "-kills", "1", "-break", string(form))
		require.Equal(t, 1, status, form)
		require.Contains(t, stderr, string(form)+" promises none")
		require.Regexp(t, `(?m)^`+string(form)+` .*: BROKEN \(-break\)`, stdout)
		require.Equal(t, 2, strings.Count(stdout, ": kept"))
		for _, kills := range []int{0, 2} {
			test := &trial{form: form, dir: t.TempDir(), kills: kills, broken: true}
			n, err := test.run(ctx)
			require.NoError(t, err)
			_, err = test.judge(n)
			require.Equal(t, kills > 0, err != nil, "%s, %d kills: %+v", form, kills, n)
		}
	}
}

// TestJudge: whatever is not as it must be is told.
func TestJudge(t *testing.T) {
	fine := tally{produced: 9, applied: 9, pids: 3}
	for want, n := range map[string]tally{
		"":                           fine,
		"promises none lost":         {produced: 9, applied: 8, lost: 1, pids: 3},
		"lost were 0, repeated 1":    {produced: 9, applied: 10, repeated: 1, pids: 3},
		"that were not produced":     {produced: 9, applied: 10, strange: 1, pids: 3},
		"2 processes have applied s": {produced: 9, applied: 9, pids: 2},
	} {
		_, err := (&trial{form: exactOnce, kills: 2}).judge(n)
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
	lost, repeated := tally{produced: 9, applied: 8, lost: 1, pids: 3}, tally{produced: 9, applied: 10, repeated: 1, pids: 3}
	_, err := (&trial{form: mostOnce}).judge(lost)
	require.NoError(t, err)
	_, err = (&trial{form: mostOnce}).judge(repeated)
	require.Error(t, err)
	_, err = (&trial{form: leastOnce}).judge(lost)
	require.Error(t, err)
	_, err = (&trial{form: leastOnce, dir: t.TempDir()}).judge(repeated)
	require.ErrorContains(t, err, "at-least-once.table")
}

// TestWorkerFails: one that fails is not taken for one that was killed.
func TestWorkerFails(t *testing.T) {
	test := &trial{form: mostOnce, dir: t.TempDir()}
	_, err := test.worker(ctx, &aim{at: before})
	require.ErrorContains(t, err, "exit status 3")
	require.NoError(t, test.produce(ctx, 3))
	require.NoError(t, os.Mkdir(test.form.out(test.dir), 0o700)) // nothing can be written there
	_, err = test.worker(ctx, nil)
	require.ErrorContains(t, err, "exit status 3")
	_, err = test.worker(ctx, &aim{at: before})
	require.ErrorContains(t, err, "exit status 3")
	require.NoError(t, os.Remove(test.form.out(test.dir)))
	_, err = test.worker(ctx, &aim{at: before, passes: 100})
	require.ErrorContains(t, err, "has finished that was to be killed")
}

// TestInterrupted: Ctrl-C ends the program and its worker.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	some, cancel := context.WithCancel(ctx)
	go func() {
		untilApplied(dir)
		cancel()
	}()
	status, _, stderr := try(some, "-dir", dir, "-kills", "200")
	require.Equal(t, 1, status)
	require.Equal(t, "delivery: stopped before the end\n", stderr)
	requireFree(t, dir, 0)
}

// TestOrphan: a worker does not outlive a program that is killed itself.
func TestOrphan(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	cmd := exec.Command(self, "-dir", dir, "-kills", "20")
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	require.NoError(t, cmd.Start())
	untilApplied(dir)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	requireFree(t, dir, time.Minute)
}

// TestOrphanStands: nor does one that waits for leave to go on.
func TestOrphanStands(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	test := &trial{form: exactOnce, dir: t.TempDir()}
	require.NoError(t, test.produce(ctx, 1))
	cmd := exec.Command(self, workerArg, test.dir, string(test.form))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "before 0\n", said)
	require.NoError(t, in.Close())
	require.Error(t, cmd.Wait())
	require.Equal(t, exitOrphan, cmd.ProcessState.ExitCode())
}

// untilApplied waits for the first worker to have applied something.
func untilApplied(dir string) {
	out := mostOnce.out(dir)
	for info, err := os.Stat(out); err != nil || info.Size() == 0; info, err = os.Stat(out) {
		runtime.Gosched()
	}
}

// requireFree opens the stores, which a worker would hold.
func requireFree(t *testing.T, dir string, wait time.Duration) {
	t.Helper()
	st, err := leat.Open(mostOnce.store(dir), &leat.Options{LockWait: wait})
	require.NoError(t, err)
	require.NoError(t, st.Close())
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"more"}, {"-kills", "-1"}, {"-kills", "10001"}, {"-break", "twice"}, {"-kills", "0", "-break", "exactly-once"}} {
		status, _, stderr := try(ctx, args...)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, "-break")
	}
	status, _, _ := try(ctx, "-h")
	require.Equal(t, 0, status)

	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TMP", os.Getenv("TMPDIR")) // Windows
	status, stdout, stderr := try(ctx, "-kills", "0")
	require.Equal(t, 0, status, stderr)
	require.Len(t, regexp.MustCompile(`0 +1 +none `).FindAllString(stdout, -1), 3)
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays in the temporary directory")
}

// TestGate: what the worker says, and that it waits for an answer.
func TestGate(t *testing.T) {
	in, let := io.Pipe()
	var out bytes.Buffer
	g := newGate(in, &out)
	g.applied = 7
	go func() { _, _ = let.Write([]byte("\n")) }()
	require.NoError(t, g.stand(before))
	require.Equal(t, "before 7\n", out.String())
}
