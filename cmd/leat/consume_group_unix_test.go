//go:build unix

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// padded is a store with a topic t whose records are the numbers from 0 on, each
// of 200 bytes, so that there are several commits on the way through them.
func padded(t testing.TB, n int) (dir string) {
	t.Helper()
	dir = withTopic(t, leat.TopicConfig{SegmentBytes: 1 << 20})
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "%0200d\n", i)
	}
	require.Equal(t, exitOK, feed(t, in.String(), "produce", "t", "--dir", dir, "--durability", "written").status)
	return dir
}

// counted checks that lines are the numbers from one on, and tells up to which.
func counted(t testing.TB, out string, from int) int {
	t.Helper()
	for line := range strings.Lines(out) {
		n, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		require.NoError(t, err)
		require.Equal(t, from, n)
		from++
	}
	return from
}

// recovered is what group g has committed in t-0, when a process that was killed has
// left the store: a commit of which it is not known whether it is on the disk counts
// when the store was opened.
func recovered(t testing.TB, dir string) int {
	t.Helper()
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	at, err := st.Groups().Fetch(t.Context(), "g", true, leat.Position{Topic: "t"})
	require.NoError(t, err)
	return int(max(at[0].Offset, 0))
}

// TestConsumeGroupKilled kills a group's consumer -9 again and again: it goes on at
// what was committed, which was printed before, so that some come again and none is
// left out.
func TestConsumeGroupKilled(t *testing.T) {
	const n = 40000
	rounds := 8
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 200
	}
	r := rand.New(rand.NewPCG(11, 12))
	dir := padded(t, n)
	seen, repeated, committed := 0, 0, 0
	for range rounds {
		c := following(t, "consume", "t", "--group", "g", "--no-follow", "--dir", dir, "--commit-every", "0")
		var out strings.Builder
		for range 1 + r.IntN(2*n/rounds) {
			out.WriteString(c.line() + "\n")
		}
		require.NoError(t, c.cmd.Process.Kill())
		rest, err := io.ReadAll(c.lines)
		require.NoError(t, err)
		require.Error(t, c.cmd.Wait())
		out.Write(rest[:strings.LastIndexByte(string(rest), '\n')+1]) // it was killed while it wrote
		end := counted(t, out.String(), committed)
		repeated += seen - committed
		seen = max(seen, end)
		was := committed
		committed = recovered(t, dir)
		require.GreaterOrEqual(t, committed, was)
		require.LessOrEqual(t, committed, end)
		if committed > n*3/4 {
			good(t, "groups", "reset", "g", "--to", "earliest", "--execute", "--dir", dir)
			seen, committed = 0, 0
		}
	}
	require.Equal(t, n, counted(t, inGroup(t, dir, "t"), committed))
	require.Positive(t, repeated)
}

// Who reads slowly has what he was given committed all the same, and not only when
// all of a Poll is printed, which are some 5000 of these records.
func TestConsumeGroupSlowReader(t *testing.T) {
	dir := padded(t, 20000)
	c := following(t, "consume", "t", "--group", "g", "--dir", dir, "--commit-every", "0")
	for range 2500 {
		c.line()
	}
	require.NoError(t, c.cmd.Process.Kill())
	rest, err := io.ReadAll(c.lines)
	require.NoError(t, err)
	require.Error(t, c.cmd.Wait())
	at := recovered(t, dir)
	require.Positive(t, at)
	require.LessOrEqual(t, at, 2500+strings.Count(string(rest), "\n"))
}

// Ctrl-C and SIGTERM: what was printed is committed, no more and no less.
func TestConsumeGroupSignalled(t *testing.T) {
	dir := padded(t, 20000)
	next := 0
	for _, test := range []struct {
		signal os.Signal
		status int
	}{{os.Interrupt, exitInterrupted}, {syscall.SIGTERM, 143}, {os.Interrupt, exitInterrupted}} {
		c := following(t, "consume", "t", "--group", "g", "--dir", dir, "--commit-every", "1h")
		first := c.line() + "\n"
		require.NoError(t, c.cmd.Process.Signal(test.signal))
		rest, s := c.end()
		require.Equal(t, test.status, s, &c.stderr)
		next = counted(t, first+rest, next)
		require.Equal(t, int64(next), committedIn(t, dir, "g")["t-0"])
	}
	require.Less(t, next, 20000)
	require.Equal(t, 20000, counted(t, inGroup(t, dir, "t"), next))

	// While it waits there is nothing to commit.
	c := following(t, "consume", "t", "--group", "h", "--dir", dir, "--format", "%o")
	for i := range 20000 {
		require.Equal(t, strconv.Itoa(i), c.line())
	}
	require.NoError(t, c.cmd.Process.Signal(os.Interrupt))
	_, s := c.end()
	require.Equal(t, exitInterrupted, s)
	require.Equal(t, int64(20000), committedIn(t, dir, "h")["t-0"])
}

// When who reads the output goes away, what he may not have read is not committed.
func TestConsumeGroupOutputGoesAway(t *testing.T) {
	dir := padded(t, 20000)
	c := following(t, "consume", "t", "--group", "g", "--dir", dir, "--commit-every", "1h")
	c.line()
	require.NoError(t, c.out.Close())
	require.EqualError(t, c.cmd.Wait(), "signal: broken pipe")
	require.Empty(t, c.stderr.String())
	require.Empty(t, committedIn(t, dir, "g"))

	// And when he goes while there is nothing to print.
	c = following(t, "consume", "t", "--group", "g", "--dir", dir)
	for range 20000 {
		c.line()
	}
	require.NoError(t, c.out.Close())
	require.EqualError(t, c.cmd.Wait(), "signal: broken pipe")
}
