package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/internal/accesslog"
)

// run is the command with a temporary directory of its own, which must be empty
// when it is done.
func run(t *testing.T, ctx context.Context, stdin io.Reader, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp) // Windows
	var out, errs bytes.Buffer
	status = command(ctx, args, stdin, &out, &errs)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays in the temporary directory")
	return status, out.String(), errs.String()
}

// logFile is a file of n generated lines, and what the status line must say.
func logFile(t *testing.T, n int) (path, status string) {
	t.Helper()
	g, text, counts := accesslog.New(7), []byte(nil), map[string]int{}
	for range n {
		_, line := g.Line()
		text = append(append(text, line...), '\n')
		counts[regexp.MustCompile(`" (\d{3}) `).FindStringSubmatch(string(line))[1]]++
	}
	path = filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	for code, n := range counts {
		status += fmt.Sprintf("%s: %d|", code, n)
	}
	return path, strings.TrimSuffix(status, "|")
}

// requireStatus compares the counts, in whatever order.
func requireStatus(t *testing.T, want, stdout string) {
	t.Helper()
	got := regexp.MustCompile(`(?m)^status +(.*)$`).FindStringSubmatch(stdout)
	require.NotNil(t, got, stdout)
	require.ElementsMatch(t, strings.Split(want, "|"), strings.Split(got[1], ", "))
}

func TestQuickstart(t *testing.T) {
	path, want := logFile(t, 3000)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	packedPath := filepath.Join(t.TempDir(), "access.log.gz")
	require.NoError(t, os.WriteFile(packedPath, packed.Bytes(), 0o600))

	for name, c := range map[string]struct {
		stdin io.Reader
		file  string
	}{
		"file":          {nil, path},
		"packed":        {nil, packedPath},
		"stdin":         {bytes.NewReader(text), "-"},
		"stdin, packed": {&packed, "-"},
		"no newline":    {bytes.NewReader(bytes.TrimSuffix(text, []byte("\n"))), "-"},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := run(t, context.Background(), c.stdin, c.file)
			require.Equal(t, 0, status, stderr)
			require.Empty(t, stderr)
			requireStatus(t, want, stdout)
			for _, line := range []string{
				`(?m)^store .* removed at the end$`,
				`(?m)^write +3000 records, .* records/s, .* MB/s, synced$`,
				`(?m)^read +3000 records, .* records/s, .* MB/s, after opening again$`,
				`(?m)^stored .* compressed [2-9].* to 1$`,
				`(?m)^tail +a reader that had waited .* was woken .* after the append began$`,
			} {
				require.Regexp(t, line, stdout)
			}
		})
	}
}

func TestGeneratedLines(t *testing.T) {
	status, stdout, stderr := run(t, context.Background(), nil)
	require.Equal(t, 0, status, stderr)
	require.Regexp(t, fmt.Sprintf(`(?m)^read +%d records`, generated), stdout)
	require.Regexp(t, `(?m)^status +200: \d+, `, stdout)
}

// TestSharedLog is the log that the counts are known of, where it is at hand.
func TestSharedLog(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "data", "apache_access.log.gz")
	if _, err := os.Stat(path); err != nil {
		t.Skip("it lies beside the project, and is not here:", err)
	}
	status, stdout, stderr := run(t, context.Background(), nil, path)
	require.Equal(t, 0, status, stderr)
	require.Contains(t, stdout, "status   200: 9126, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3, 416: 2, 403: 2\n")
}

// TestMain: the process that TestKilled kills is this program.
func TestMain(m *testing.M) {
	if os.Getenv("QUICKSTART_CHILD") != "" {
		batchBytes, pollBytes = 600, 1 // one batch, of many, at a time
		main()
	}
	os.Exit(m.Run())
}

// TestKeptStore: the store that -dir names is one that others can open, and a
// second run appends to it, goes on where the group has stopped, and says so.
func TestKeptStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	path, want := logFile(t, 500)
	var ends [4]int64
	for _, n := range []int64{500, 1000} {
		status, stdout, stderr := run(t, context.Background(), nil, "-dir", dir, path)
		require.Equal(t, 0, status, stderr)
		requireStatus(t, want, stdout)
		require.Contains(t, stdout, dir+", which is kept")
		require.Equal(t, n == 1000, strings.Contains(stdout, "access is there with 500 records"), stdout)
		require.Regexp(t, `(?m)^read +500 records`, stdout)
		var goesOn, total []string // in the second run only
		if n == 1000 {
			for id := range 4 {
				goesOn = append(goesOn, fmt.Sprintf("access-%d@%d", id, ends[id]))
			}
			for _, s := range strings.Split(want, "|") {
				code, n, _ := strings.Cut(s, ": ")
				one, err := strconv.Atoi(n)
				require.NoError(t, err)
				total = append(total, fmt.Sprintf("%s: %d", code, 2*one))
			}
			require.Contains(t, stdout, "group    counter goes on at "+strings.Join(goesOn, ", ")+"\n")
			got := regexp.MustCompile(`(?m)^total    (.*), of all runs$`).FindStringSubmatch(stdout)
			require.NotNil(t, got, stdout)
			require.ElementsMatch(t, total, strings.Split(got[1], ", "))
		} else {
			require.NotRegexp(t, `(?m)^(group|total) `, stdout)
		}

		st, err := leat.Open(dir, nil)
		require.NoError(t, err)
		access, err := st.Topic("access")
		require.NoError(t, err)
		require.Equal(t, int32(4), access.Config().Partitions)
		require.Equal(t, leat.Zstd, access.Config().Compression)
		sum := int64(0)
		for p := range access.Partitions() {
			sum += p.LogEndOffset()
			ends[p.ID()] = p.LogEndOffset()
			rd, err := p.Reader(leat.ReaderOptions{UntilEnd: true})
			require.NoError(t, err)
			for rec, err := range rd.Records(context.Background()) {
				require.NoError(t, err)
				require.Equal(t, p.ID(), access.PartitionFor(rec.Key))
				require.True(t, bytes.HasPrefix(rec.Value, append(rec.Key, ' ')))
			}
			require.NoError(t, rd.Close())
		}
		require.Equal(t, n, sum)
		require.NoError(t, st.Close())
	}
}

func TestErrors(t *testing.T) {
	held := t.TempDir()
	st, err := leat.Open(held, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	for name, c := range map[string]struct {
		args   []string
		stdin  string
		status int
		stderr string
	}{
		"help":         {[]string{"-h"}, "", 0, "usage: quickstart"},
		"flag":         {[]string{"-x"}, "", 2, "-x"},
		"two files":    {[]string{"a", "b"}, "", 2, "usage: quickstart"},
		"no such file": {[]string{filepath.Join(held, "nope")}, "", 1, "nope"},
		"a directory":  {[]string{held}, "", 1, held},
		"locked":       {[]string{"-dir", held, "-"}, "x\n", 1, "open in another process"},
		"long line":    {[]string{"-"}, "x\n" + strings.Repeat("y", 1<<20) + "\n", 1, "after 1 lines"},
		"torn gzip":    {[]string{"-"}, "\x1f\x8b\x08", 1, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, stderr := run(t, context.Background(), strings.NewReader(c.stdin), c.args...)
			require.Equal(t, c.status, status, stderr)
			require.Contains(t, stderr, c.stderr)
		})
	}
}

// TestInputWithoutSense: every line is a record, whatever is in it.
func TestInputWithoutSense(t *testing.T) {
	text := "\n\n \nx\n\"\na \"b\na \"b\" c\na \"\\\" 200 \" 404 1\n" + strings.Repeat("\n", 100_000)
	status, stdout, stderr := run(t, context.Background(), strings.NewReader(text), "-")
	require.Equal(t, 0, status, stderr)
	requireStatus(t, "none: 100007|404: 1", stdout)

	status, stdout, stderr = run(t, context.Background(), strings.NewReader(""), "-")
	require.Equal(t, 0, status, stderr)
	require.Regexp(t, `(?m)^read +0 records`, stdout)
}

// TestInterrupted: an interrupt in the middle of the input ends the run. What was
// read of it until then is stored, and counted by the next run.
func TestInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	const n = 1000
	for _, args := range [][]string{{"-"}, {"-dir", dir, "-"}} {
		ctx, cancel := context.WithCancel(context.Background())
		in, feed := io.Pipe()
		go func() {
			line := []byte("10.0.0.1 " + strings.Repeat("x", 1000) + "\n")
			for range n {
				_, _ = feed.Write(line)
			}
			cancel() // and nothing more comes
		}()
		status, stdout, stderr := run(t, ctx, in, args...)
		require.Equal(t, 1, status)
		require.Equal(t, "quickstart: stopped before the end\n", stderr)
		require.NotRegexp(t, `(?m)^(write|read|status) `, stdout)
	}
	status, stdout, stderr := run(t, context.Background(), strings.NewReader(""), "-dir", dir, "-")
	require.Equal(t, 0, status, stderr)
	there := regexp.MustCompile(`access is there with (\d+) records`).FindStringSubmatch(stdout)
	require.NotNil(t, there, stdout)
	stored, err := strconv.Atoi(there[1])
	require.NoError(t, err)
	require.InDelta(t, n, stored, 20, "but for what the scanner had not taken from the pipe")
	requireStatus(t, "none: "+there[1], stdout)
	require.Regexp(t, "(?m)^read +"+there[1]+" records", stdout)
}

// cancelAt ends a run when it prints something.
type cancelAt struct {
	bytes.Buffer
	what   string
	cancel func()
}

func (c *cancelAt) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte(c.what)) {
		c.cancel()
	}
	return c.Buffer.Write(b)
}

// TestStoppedBeforeCounting: what was stored and not counted is counted by the next
// run, with its own.
func TestStoppedBeforeCounting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	path, _ := logFile(t, 400)
	ctx, cancel := context.WithCancel(context.Background())
	out := cancelAt{what: "write ", cancel: cancel}
	var errs bytes.Buffer
	require.Equal(t, 1, command(ctx, []string{"-dir", dir, path}, nil, &out, &errs))
	require.Equal(t, "quickstart: stopped before the end\n", errs.String())
	require.NotContains(t, out.String(), "read ")

	status, stdout, stderr := run(t, context.Background(), nil, "-dir", dir, path)
	require.Equal(t, 0, status, stderr)
	require.Regexp(t, `(?m)^read +800 records`, stdout)
	require.NotRegexp(t, `(?m)^(group|total) `, stdout)
}

// TestKilled kills the program while it writes, and while it counts. What the group
// has committed always says what was counted below it, and the last run, which is
// left alone, has counted all that is stored, once.
func TestKilled(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "store")
	path, _ := logFile(t, 300)
	// child runs the program, and calls seen with each line that it prints.
	child := func(seen func(line string, p *os.Process)) error {
		cmd := exec.Command(self, "-dir", dir, path)
		cmd.Env = append(os.Environ(), "QUICKSTART_CHILD=1")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		for in := bufio.NewScanner(stdout); in.Scan(); {
			seen(in.Text(), cmd.Process)
		}
		return cmd.Wait()
	}
	phases := []string{"store ", "write ", "read "}
	var began [3]time.Time
	require.NoError(t, child(func(line string, _ *os.Process) {
		for i, phase := range phases {
			if strings.HasPrefix(line, phase) {
				began[i] = time.Now()
			}
		}
	}))
	before, _ := requireCounts(t, dir)
	killed, partly := 0, 0
	for n := range 6 {
		phase := n % 2
		var timer *time.Timer
		err := child(func(line string, p *os.Process) {
			if strings.HasPrefix(line, phases[phase]) {
				after := rand.N(began[phase+1].Sub(began[phase]))
				timer = time.AfterFunc(after, func() { _ = p.Kill() })
			}
		})
		timer.Stop()
		if err != nil {
			killed++
		}
		done, left := requireCounts(t, dir)
		require.GreaterOrEqual(t, done, before)
		if done > before && left > 0 {
			partly++
		}
		before = done
	}
	t.Logf("killed %d times, %d of them in the middle of counting", killed, partly)
	require.Positive(t, killed)
	require.NoError(t, child(func(string, *os.Process) {}))
	_, left := requireCounts(t, dir)
	require.Zero(t, left)
}

// requireCounts compares what the group has committed with what is stored below it,
// and returns how many records are there, and how many above.
func requireCounts(t *testing.T, dir string) (done, left int64) {
	t.Helper()
	ctx := context.Background()
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	access, err := st.Topic("access")
	require.NoError(t, err)
	for p := range access.Partitions() {
		at, err := st.Groups().Fetch(ctx, "counter", true, leat.Position{Topic: "access", Partition: p.ID()})
		require.NoError(t, err)
		want := counts{}
		if at[0].Offset > 0 {
			rd, err := p.Reader(leat.ReaderOptions{Until: at[0].Offset})
			require.NoError(t, err)
			for rec, err := range rd.Records(ctx) {
				require.NoError(t, err)
				want.add(statusOf(rec.Value))
			}
			require.NoError(t, rd.Close())
		}
		got, err := parseCounts(at[0].Metadata)
		require.NoError(t, err)
		require.Equal(t, want, got)
		done += max(at[0].Offset, 0)
		left += p.HighWatermark() - max(at[0].Offset, 0)
	}
	return done, left
}

// TestCounts: counts and text are each other's inverse, and the text has a bound.
func TestCounts(t *testing.T) {
	c := counts{}
	for n := range 1000 {
		for range n%7 + 1 {
			c.add(strconv.Itoa(n))
		}
	}
	text := c.String()
	require.Regexp(t, `^other: \d{4}, 97: 7, `, text)
	require.Less(t, len(text), 4096)
	back, err := parseCounts(text)
	require.NoError(t, err)
	require.Equal(t, c, back)
	back, err = parseCounts("")
	require.NoError(t, err)
	require.Empty(t, back)
	for _, bad := range []string{"x", "200: x", "200: 0", "200: 1, ", ", 200: 1"} {
		_, err := parseCounts(bad)
		require.ErrorContains(t, err, "no counts", bad)
	}
}
