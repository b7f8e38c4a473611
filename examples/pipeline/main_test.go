package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestMain: the process that TestKilled kills is this program.
func TestMain(m *testing.M) {
	if os.Getenv("PIPELINE_CHILD") != "" {
		main()
	}
	os.Exit(m.Run())
}

// printed is what a run prints, which may be looked at while it does.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen func(text string) // called after each write
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	if p.seen != nil {
		p.seen(p.text.String())
	}
	return len(b), nil
}

// run is the program in a bubble, where time passes only while all wait.
func run(t *testing.T, status int, seen func(text string, stop func()), args ...string) (stdout, stderr string) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp) // Windows
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var out, errs printed
		if seen != nil {
			out.seen = func(text string) { seen(text, stop) }
		}
		require.Equal(t, status, command(ctx, args, &out, &errs), "%s%s", &out.text, &errs.text)
		stdout, stderr = out.text.String(), errs.text.String()
	})
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays in the temporary directory")
	return stdout, stderr
}

// numbers are those that a pattern's group finds in a text.
func numbers(t *testing.T, text, pattern string) (list []int) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		list = append(list, n)
	}
	require.NotEmpty(t, list, text)
	return list
}

const backlogColumn = `^ +[0-9.]+s +\d+ +\d+ +(\d+) `

// TestPeaks: bursts are handed over at once, worked off at the members' rate, and
// done before the next one.
func TestPeaks(t *testing.T) {
	stdout, _ := run(t, 0, nil, "-bursts", "2", "-burst", "20000", "-every", "4s", "-rate", "8000", "-size", "100")
	require.Contains(t, stdout, "produced 40000 records, all on stable storage\n")
	require.Contains(t, stdout, "processed 40000 records in order, 0 of them a second time\n")
	require.Regexp(t, `(?m)^memory   .* while up to (1\d{4}|20000) records, `, stdout)
	require.Len(t, regexp.MustCompile(`(?m)^burst `).FindAllString(stdout, -1), 2)

	backlog := numbers(t, stdout, backlogColumn)
	require.GreaterOrEqual(t, len(backlog), 12, "two bursts take 6.5 s, at a line each half second")
	peaks := 0
	for i := range backlog[1:] {
		if backlog[i] < backlog[i+1] {
			peaks++
		}
	}
	require.LessOrEqual(t, peaks, 2, "it rises by bursts only: %v", backlog)
	require.Zero(t, backlog[len(backlog)-1])
}

// TestStopped: Ctrl-C ends the run in order, at any moment, and the next one goes on.
func TestStopped(t *testing.T) {
	for name, at := range map[string]string{
		"while produced":  "store ",
		"while processed": "burst ",
		"later":           "  1.5s ",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			args := []string{"-dir", dir, "-burst", "20000", "-rate", "8000", "-size", "100", "-members", "3"}
			stdout, _ := run(t, 0, func(text string, stop func()) {
				if strings.Contains(text, at) {
					stop()
				}
			}, append(args, "-bursts", "1")...)
			produced := numbers(t, stdout, `^produced (\d+) `)[0]
			processed := numbers(t, stdout, `^processed (\d+) `)[0]
			left := numbers(t, stdout, `^stopped  (\d+) `)[0]
			require.Equal(t, produced, processed+left, stdout)
			if at != "store " {
				require.Positive(t, left)
				require.Equal(t, 20000, produced)
			}

			stdout, _ = run(t, 0, nil, append(args, "-bursts", "0")...)
			if left > 0 {
				require.Equal(t, []int{left}, numbers(t, stdout, `^resume .* left (\d+) records`))
			}
			require.Equal(t, []int{left}, numbers(t, stdout, `^processed (\d+) records in order, 0 `))
			require.Equal(t, []int{0}, numbers(t, stdout, `^produced (\d+) `))
		})
	}
}

// TestKilled: a run that is killed loses nothing either. What was processed and not
// yet committed is processed again.
func TestKilled(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "store")
	args := []string{"-dir", dir, "-bursts", "1", "-burst", "5000", "-rate", "20000", "-watch", "5ms"}
	for kill := range 4 {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), "PIPELINE_CHILD=1")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		// At the beginning, when a burst is stored, and when some of it was committed.
		highest := 0
		for in := bufio.NewScanner(stdout); in.Scan(); {
			if kill == 0 || kill == 1 && strings.HasPrefix(in.Text(), "burst ") {
				break
			}
			if m := regexp.MustCompile(backlogColumn).FindStringSubmatch(in.Text()); m != nil {
				n, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				if n < highest {
					break
				}
				highest = n
			}
		}
		require.NoError(t, cmd.Process.Kill())
		_, _ = io.Copy(io.Discard, stdout)
		require.Error(t, cmd.Wait(), "it was killed before its end")
	}
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	jobs, err := st.Topic("jobs")
	require.NoError(t, err)
	sum := int64(0)
	for p := range jobs.Partitions() {
		sum += p.LogEndOffset()
	}
	require.NoError(t, st.Close())
	require.Positive(t, sum)
	stdout, _ := run(t, 0, nil, append(args, "-bursts", "0", "-watch", "1s")...)
	require.Less(t, numbers(t, stdout, `^processed (\d+) `)[0], int(sum), "some was committed before")
}

// TestLedger: what must not be is found.
func TestLedger(t *testing.T) {
	record := func(offset int64, number string) *leat.Record {
		return &leat.Record{Topic: "jobs", Offset: offset, Value: []byte(number + " x")}
	}
	l := &ledger{parts: make([]account, 1)}
	l.parts[0].next = 5
	require.NoError(t, l.enter(record(5, "5")))
	require.NoError(t, l.enter(record(6, "6")))
	require.EqualError(t, l.enter(record(8, "8")), "jobs-0: records from offset 7 to 7 were never processed")
	require.EqualError(t, l.enter(record(7, "6")), `jobs-0: at offset 7 is record "6"`)
	require.EqualError(t, l.enter(record(7, "")), `jobs-0: at offset 7 is record ""`)
	require.Zero(t, l.again.Load())
	require.NoError(t, l.enter(record(5, "5")))
	require.Equal(t, int64(1), l.again.Load())
	require.Equal(t, int64(3), l.processed.Load())
	require.Equal(t, int64(7), l.parts[0].position())
	require.NoError(t, l.enter(record(7, "9")), "7 and 8 could not be stored")
	require.EqualError(t, l.enter(record(8, "7")), `jobs-0: at offset 8 is record "7"`)
}

// TestProducerFails: a record that is not stored ends the run, unless it is one that
// was not taken because the run has ended.
func TestProducerFails(t *testing.T) {
	ends := 0
	p := &producer{failed: func() { ends++ }}
	p.done(nil, nil)
	p.done(nil, context.Canceled)
	require.NoError(t, p.err)
	require.Zero(t, ends)
	p.done(nil, errors.Join(leat.ErrUnknownOutcome, context.Canceled))
	require.ErrorIs(t, p.err, leat.ErrUnknownOutcome)
	p.done(nil, leat.ErrNoSpace)
	require.NotErrorIs(t, p.err, leat.ErrNoSpace, "the first one counts")
	require.Equal(t, 1, ends)
	require.Equal(t, int64(1), p.stored.Load())
}

// TestMemoryVerified: memory that grows with the backlog is told.
func TestMemoryVerified(t *testing.T) {
	s := &settings{buffer: 1 << 20, members: 1}
	w := &watch{}
	w.most.heap = 40 << 20
	require.NoError(t, w.verify(s, io.Discard))
	w.most.heap = 80 << 20
	require.ErrorContains(t, w.verify(s, io.Discard), "the memory was not flat: 83.9 MB")
	w.most.heap, w.most.resident = 0, 80<<20
	require.ErrorContains(t, w.verify(s, io.Discard), "the memory was not flat: 83.9 MB")
}

func TestArguments(t *testing.T) {
	held := t.TempDir()
	st, err := leat.Open(held, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	for name, c := range map[string]struct {
		args   []string
		status int
		stderr string
	}{
		"help":     {[]string{"-h"}, 0, "-members"},
		"flag":     {[]string{"-x"}, 2, "-x"},
		"argument": {[]string{"x"}, 2, "no sense"},
		"members":  {[]string{"-members", "0"}, 2, "no sense"},
		"rate":     {[]string{"-rate", "0"}, 2, "no sense"},
		"size":     {[]string{"-size", "1"}, 2, "no sense"},
		"locked":   {[]string{"-dir", held}, 1, "open in another process"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr := run(t, c.status, nil, c.args...)
			require.Contains(t, stderr, c.stderr)
		})
	}
}

// TestPace: the rate is held, and nobody is the faster for having waited before.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		over := make(chan struct{})
		p := pace{each: time.Millisecond, over: over}
		for range 1000 {
			p.wait()
		}
		require.InDelta(t, 1000, time.Since(began).Milliseconds(), 25)
		time.Sleep(time.Hour)
		began = time.Now()
		for range 1000 {
			p.wait()
		}
		require.InDelta(t, 1000, time.Since(began).Milliseconds(), 25)

		p.each = time.Hour
		time.AfterFunc(time.Minute, func() { close(over) })
		began = time.Now()
		for range 1000 {
			p.wait()
		}
		require.Equal(t, time.Minute, time.Since(began), "what was begun is not waited for when the run ends")
	})
}
