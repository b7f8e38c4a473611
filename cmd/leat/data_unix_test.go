//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// fed is a produce whose standard input is written to while it runs.
type fed struct {
	*running
	in io.WriteCloser
}

func producing(t testing.TB, args ...string) *fed {
	f := &fed{running: &running{t: t, cmd: exec.CommandContext(t.Context(), built, append([]string{"produce", "t"}, args...)...)}}
	f.cmd.Stderr = &f.stderr
	var err error
	f.in, err = f.cmd.StdinPipe()
	require.NoError(t, err)
	f.out, err = f.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, f.cmd.Start())
	f.lines = bufio.NewReader(f.out)
	return f
}

// A line is appended when it is there, and seen by who follows; half a line is
// not.
func TestProduceAtOnce(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{})
	p := producing(t, "--positions", "--dir", dir)
	c := following(t, "consume", "t", "--dir", dir, "--from-beginning")
	for i := range 20 {
		_, err := fmt.Fprintf(p.in, "line %d\nli", i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("t-0@%d", i), p.line())
		if i == 0 {
			require.Equal(t, "line 0", c.line())
		} else {
			require.Equal(t, fmt.Sprintf("liline %d", i), c.line())
		}
	}
	require.NoError(t, p.in.Close())
	rest, s := p.end()
	require.Equal(t, "t-0@20\n", rest, "the last line needs no end")
	require.Equal(t, exitOK, s, &p.stderr)
	require.Equal(t, "li", c.line())
	require.NoError(t, c.cmd.Process.Signal(os.Interrupt))
	rest, s = c.end()
	require.Empty(t, rest)
	require.Equal(t, exitInterrupted, s)
	require.Equal(t, "leat: interrupted\n", c.stderr.String())
}

// Who types at a terminal sees that each line is stored.
func TestProduceTyped(t *testing.T) {
	for end, want := range map[string]struct {
		status int
		says   string
	}{
		"\x04": {exitOK, "leat: t-0: 2 records appended, offsets 0 to 1\r\n"},
		"\x03": {exitInterrupted, "leat: t-0: 2 records appended, offsets 0 to 1\r\nleat: interrupted\r\n"},
	} {
		dir := withTopic(t, leat.TopicConfig{})
		cmd := exec.CommandContext(t.Context(), built, "produce", "t", "--dir", dir)
		f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		require.NoError(t, err)
		defer f.Close()
		screen := bufio.NewReader(f)
		until := func(want string) {
			t.Helper()
			for {
				line, err := screen.ReadString('\n')
				require.NoError(t, err)
				if strings.Contains(line, want) {
					return
				}
			}
		}
		until("leat: each line becomes a record of t; Ctrl-D ends")
		for i := range 2 {
			_, err := fmt.Fprintf(f, "hello %d\n", i)
			require.NoError(t, err)
			until(fmt.Sprintf("t-0@%d\r\n", i))
		}
		_, err = io.WriteString(f, end)
		require.NoError(t, err)
		rest, _ := io.ReadAll(screen) // on Linux the end is EIO
		require.Equal(t, want.status, status(t, cmd.Wait()))
		require.True(t, strings.HasSuffix(string(rest), want.says), "%q", rest)
		require.Equal(t, "hello 0\nhello 1\n", consumed(t, dir))
	}
}

func TestFetchAtTerminal(t *testing.T) {
	dir := newStore(t)
	out, status := screen(t, 80, "", "fetch", "orders", "--partition", "0", "--raw", "--dir", dir)
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, "leat: --raw prints bytes that are not for a terminal: redirect them, or say --force\n")
	_, status = screen(t, 80, "", "fetch", "orders", "--partition", "0", "--raw", "--force", "--dir", dir)
	require.Equal(t, exitOK, status)
}

// From one pipe through the log into another, while both ends run. With LEAT_LONG
// it is 100 MB.
func TestPipeThrough(t *testing.T) {
	size := 3 << 20
	if os.Getenv("LEAT_LONG") != "" {
		size = 100 << 20
	}
	for _, args := range [][]string{{"--codec", "none"}, {"--codec", "lz4", "--durability", "written"}} {
		dir := withTopic(t, leat.TopicConfig{SegmentBytes: 1 << 20})
		p := producing(t, append(args, "--dir", dir)...)
		c := following(t, "consume", "t", "--dir", dir, "--from-beginning", "--max", strconv.Itoa(size/64))
		sums := make(chan [sha256.Size]byte, 1)
		go func() {
			defer p.in.Close()
			h := sha256.New()
			w := bufio.NewWriter(io.MultiWriter(h, p.in))
			for i := range size / 64 {
				fmt.Fprintf(w, "%063d\n", i)
			}
			w.Flush()
			sums <- [sha256.Size]byte(h.Sum(nil))
		}()
		h := sha256.New()
		n, err := io.Copy(h, c.lines)
		require.NoError(t, err)
		require.Equal(t, int64(size), n)
		require.Equal(t, <-sums, [sha256.Size]byte(h.Sum(nil)))
		_, s := c.end()
		require.Equal(t, exitOK, s, &c.stderr)
		_, s = p.end()
		require.Equal(t, exitOK, s, &p.stderr)
		require.Contains(t, p.stderr.String(), fmt.Sprintf("leat: t-0: %d records appended, offsets 0 to %d\n", size/64, size/64-1))
	}
}

// pour writes numbered lines until nobody reads them.
func pour(w io.WriteCloser, prefix string) {
	defer w.Close()
	b := bufio.NewWriterSize(w, 1000)
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(b, "%s:%d %s\n", prefix, i, strings.Repeat("x", i%100)); err != nil {
			return
		}
	}
}

// TestProduceKilled kills produce -9 in its work, again and again on one store:
// what it has reported is there, at the place that it has reported, and what is
// there are the first lines of what it was given, each once and whole.
func TestProduceKilled(t *testing.T) {
	rounds := 12
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 200
	}
	r := rand.New(rand.NewPCG(9, 10))
	dir := withTopic(t, leat.TopicConfig{SegmentBytes: 256 << 10})
	next := int64(0)
	for round := range rounds {
		args := []string{"--positions", "--dir", dir, "--codec", []string{"none", "none", "zstd", "snappy"}[round%4]}
		if round%3 == 2 {
			args = append(args, "--durability", "written")
		}
		p := producing(t, args...)
		go pour(p.in, strconv.Itoa(round))
		var reported int64
		for range r.IntN(3000) {
			require.Equal(t, fmt.Sprintf("t-0@%d", next+reported), p.line())
			reported++
		}
		require.NoError(t, p.cmd.Process.Kill())
		rest, err := io.ReadAll(p.lines) // what it had said already
		require.NoError(t, err)
		reported += int64(bytes.Count(rest, []byte("\n")))
		require.Error(t, p.cmd.Wait())
		_ = p.in.Close()

		// As it was left, and as it is when it was opened.
		var text string
		for try := range 2 {
			out := consumed(t, dir, "--offset", fmt.Sprint(next), "--format", "%o %s")
			count := int64(0)
			for line := range strings.Lines(out) {
				want := fmt.Sprintf("%d %d:%d %s\n", next+count, round, count, strings.Repeat("x", int(count%100)))
				require.Equal(t, want, line)
				count++
			}
			if try == 1 || round%3 != 2 { // what is only written nobody sees before it is synced
				require.GreaterOrEqual(t, count, reported)
			}
			if try == 0 {
				text = out
				// More may be there then: what had not been on the disk yet.
				st, err := leat.Open(dir, nil)
				require.NoError(t, err)
				topic, err := st.Topic("t")
				require.NoError(t, err)
				_, err = topic.Partition(0)
				require.NoError(t, err)
				require.NoError(t, st.Close())
				continue
			}
			require.True(t, strings.HasPrefix(out, text))
			next += count
		}
	}
	require.Greater(t, next, int64(0))
	require.Equal(t, int(next), strings.Count(consumed(t, dir, "--offsets-only"), "\n"))
}

// Ctrl-C and SIGTERM end produce at a whole line, and it says what is appended.
func TestProduceSignalled(t *testing.T) {
	for signal, want := range map[os.Signal]int{os.Interrupt: exitInterrupted, syscall.SIGTERM: 143} {
		dir := withTopic(t, leat.TopicConfig{Durability: leat.Written})
		p := producing(t, "--positions", "--dir", dir)
		go pour(p.in, "p")
		for range 1000 {
			p.line()
		}
		require.NoError(t, p.cmd.Process.Signal(signal))
		rest, s := p.end()
		require.Equal(t, want, s)
		reported := 1000 + strings.Count(rest, "\n")
		out := consumed(t, dir)
		require.Equal(t, reported, strings.Count(out, "\n"), "all that is appended was reported")
		require.Contains(t, p.stderr.String(), fmt.Sprintf("leat: t-0: %d records appended, offsets 0 to %d\n", reported, reported-1))
		require.FileExists(t, filepath.Join(dir, ".kafka_cleanshutdown"))
		i := 0
		for line := range strings.Lines(out) {
			require.True(t, strings.HasPrefix(line, fmt.Sprintf("p:%d ", i)))
			i++
		}
	}
}

// Nobody reads the positions any more: produce ends, and closes the store.
func TestProducePositionsGoAway(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{})
	p := producing(t, "--positions", "--dir", dir)
	go pour(p.in, "p")
	p.line()
	require.NoError(t, p.out.Close())
	require.EqualError(t, p.cmd.Wait(), "signal: broken pipe")
	require.FileExists(t, filepath.Join(dir, ".kafka_cleanshutdown"))
	var n int
	_, err := fmt.Sscanf(p.stderr.String(), "leat: t-0: %d records appended", &n)
	require.NoError(t, err, &p.stderr)
	require.LessOrEqual(t, n, strings.Count(consumed(t, dir), "\n"))
}

// A consumer ends quietly when nobody reads it, as in "| head -1": when it has
// more to print, and when it waits.
func TestConsumeOutputGoesAway(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{})
	require.Equal(t, exitOK, feed(t, "a\nb\n", "produce", "t", "--dir", dir).status)
	waits := following(t, "consume", "t", "--dir", dir, "--from-beginning")
	require.Equal(t, "a", waits.line())
	require.NoError(t, waits.out.Close())
	require.EqualError(t, waits.cmd.Wait(), "signal: broken pipe")
	require.Empty(t, waits.stderr.String())

	var many strings.Builder
	for i := range 200000 {
		fmt.Fprintln(&many, i)
	}
	require.Equal(t, exitOK, feed(t, many.String(), "produce", "t", "--dir", dir, "--durability", "written").status)
	for _, args := range [][]string{{"--from-beginning"}, {"--no-follow"}} {
		prints := following(t, append([]string{"consume", "t", "--dir", dir}, args...)...)
		require.Equal(t, "a", prints.line())
		require.NoError(t, prints.out.Close())
		require.EqualError(t, prints.cmd.Wait(), "signal: broken pipe")
		require.Empty(t, prints.stderr.String())

		// Ctrl-C ends it at a whole line.
		prints = following(t, append([]string{"consume", "t", "--dir", dir}, args...)...)
		require.Equal(t, "a", prints.line())
		require.NoError(t, prints.cmd.Process.Signal(os.Interrupt))
		rest, s := prints.end()
		require.Equal(t, exitInterrupted, s)
		require.Equal(t, "leat: interrupted\n", prints.stderr.String())
		i := -1
		for line := range strings.Lines(rest) {
			if want := strconv.Itoa(i); i >= 0 {
				require.Equal(t, want+"\n", line)
			}
			i++
		}
	}
}
