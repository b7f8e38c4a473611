//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// screen runs the tool at a terminal of that width, whose user types something
// when asked. It returns all that is on the screen then.
func screen(t testing.TB, width uint16, types string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built, args...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: width})
	require.NoError(t, err)
	defer f.Close()
	var out bytes.Buffer
	b := make([]byte, 4096)
	for typed := false; ; {
		n, err := f.Read(b)
		out.Write(b[:n])
		if !typed && types != "" && bytes.HasSuffix(out.Bytes(), []byte("[y/N] ")) {
			typed = true
			_, err := io.WriteString(f, types)
			require.NoError(t, err)
		}
		if err != nil {
			break // the end, on Linux EIO
		}
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n"), status(t, cmd.Wait())
}

// TestScreens: what is shown is made for the width of the terminal, and what
// there is no room for is shown another way.
func TestScreens(t *testing.T) {
	dir := newStore(t)
	const long = "a-topic-whose-name-is-much-longer-than-anybody-would-like-to-read-in-a-table-of-many-columns"
	good(t, "topics", "create", long, "--dir", dir)
	for _, test := range []struct {
		args   []string
		widths map[uint16]string
	}{
		{[]string{"stat"}, map[uint16]string{
			20:  "topic: " + long + "\n  partition: 0\n  start: 0\n  stable: 0\n  unstable: -\n  watermark: 0\n  end: 0\n  epoch: -\n  segments: 1\n  bytes: 0\n  producers: 0\n  aborted: 0\ntopic: orders\n",
			80:  "topic: " + long + "\n  partition: 0\n",
			110: "topic           partition  start  stable  unstable  watermark  end  epoch  segments  bytes  producers  aborted\na-topic-who...",
			200: "topic" + strings.Repeat(" ", len(long)-3) + "partition  start ",
		}},
		{[]string{"topics", "describe"}, map[uint16]string{
			20:  "\npartition: 0\n  start: 0\n",
			80:  "\npartition  start  stable  watermark  end  epoch  segments  bytes\n",
			200: "\npartition  start  stable  watermark  end  epoch  segments  bytes\n",
		}},
		{[]string{"topics", "list"}, map[uint16]string{20: long + "\norders\n", 80: long + "\norders\n"}},
		{[]string{"stat", "orders", "--partition", "0"}, map[uint16]string{
			20: "\nepoch  start offset\n    0             0\n",
			80: "\nepoch  start offset\n    0             0\n",
		}},
	} {
		whole := good(t, append(test.args, "--dir", dir)...)
		for width, want := range test.widths {
			out, status := screen(t, width, "", append(test.args, "--dir", dir)...)
			require.Equal(t, exitOK, status, out)
			require.Contains(t, out, want, "%s at %d", test.args, width)
			if width == 200 {
				require.Equal(t, whole, out, "where there is room all is shown, as in a pipe")
			}
		}
	}
}

// TestAsks: a deletion is asked for at a terminal, and only a yes is one.
func TestAsks(t *testing.T) {
	dir := newStore(t)
	for _, test := range []struct {
		types  string
		status int
		says   string
	}{
		{"\n", exitFailed, "leat: topic orders is not deleted\n"},
		{"n\n", exitFailed, "leat: topic orders is not deleted\n"},
		{"yeah\n", exitFailed, "leat: topic orders is not deleted\n"},
		{"\x04", exitFailed, "leat: topic orders is not deleted\n"},
		{"y\x03", exitInterrupted, "leat: interrupted\n"},
		{"yes\n", exitOK, "deleted topic orders\n"},
	} {
		require.Equal(t, "orders\n", good(t, "topics", "list", "--dir", dir))
		out, status := screen(t, 80, test.types, "topics", "delete", "orders", "--dir", dir)
		require.Equal(t, test.status, status, out)
		require.Contains(t, out, "Delete topic orders for good, with 2 partitions, 10 offsets and ")
		require.True(t, strings.HasSuffix(out, test.says), "%q", out)
		// Whatever the answer, the store was closed.
		require.FileExists(t, dir+"/.kafka_cleanshutdown")
	}
	out, status := screen(t, 80, "", "topics", "delete", "orders", "--yes", "--if-exists", "--dir", dir)
	require.Equal(t, exitOK, status)
	require.Equal(t, "there is no topic orders\n", out)
}

// TestAsksForGroups: so it is of a group.
func TestAsksForGroups(t *testing.T) {
	dir, _ := grouped(t)
	for _, test := range []struct {
		types  string
		status int
		says   string
	}{
		{"\n", exitFailed, "leat: group a: not deleted\n"},
		{"y\x03", exitInterrupted, "leat: interrupted\n"},
		{"y\n", exitOK, "deleted group a\n"},
	} {
		require.Contains(t, good(t, "groups", "export", "--dir", dir), "a,t,0,4\n")
		out, status := screen(t, 80, test.types, "groups", "delete", "a", "--dir", dir)
		require.Equal(t, test.status, status, out)
		require.Contains(t, out, "Delete group a for good, with offsets in 2 partitions, 6 records behind? [y/N] ")
		require.True(t, strings.HasSuffix(out, test.says), "%q", out)
		require.FileExists(t, dir+"/.kafka_cleanshutdown")
	}
	require.Equal(t, "b,t,0,10\n", good(t, "groups", "export", "--dir", dir))
}

// many is a store of more topics than any pipe holds the names of.
func many(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	for i := range 400 {
		_, err := st.CreateTopic(t.Context(), strings.Repeat("x", 200)+digits(i), leat.TopicConfig{})
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	return dir
}

// TestOutputGoesAway: all commands end quietly when nobody reads on, and say 130
// when they are interrupted, at a whole line.
func TestOutputGoesAway(t *testing.T) {
	dir := many(t)
	for _, args := range [][]string{
		{"topics", "list"}, {"topics", "list", "--json"}, {"topics", "describe"}, {"topics", "describe", "--json"}, {"stat"}, {"stat", "--json"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			for _, interrupt := range []bool{true, false} {
				var stderr bytes.Buffer
				cmd := exec.CommandContext(t.Context(), built, append(args, "--dir", dir)...)
				cmd.Stderr = &stderr
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				b := make([]byte, 100)
				_, err = io.ReadFull(out, b)
				require.NoError(t, err)
				if !interrupt {
					require.NoError(t, out.Close())
					require.EqualError(t, cmd.Wait(), "signal: broken pipe")
					require.Empty(t, stderr.String())
					continue
				}
				require.NoError(t, cmd.Process.Signal(os.Interrupt))
				rest, err := io.ReadAll(out)
				require.NoError(t, err)
				if s := status(t, cmd.Wait()); s != exitOK { // it may have been done by then
					require.Equal(t, exitInterrupted, s)
					require.Equal(t, "leat: interrupted\n", stderr.String())
				}
				require.True(t, bytes.HasSuffix(rest, []byte("\n")))
			}
		})
	}
}

// TestTerminated: SIGTERM ends the work like Ctrl-C, with its own status.
func TestTerminated(t *testing.T) {
	cmd, _, rest, stderr := start(t, long(t))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	b, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.Equal(t, 143, status(t, cmd.Wait()))
	require.Equal(t, "leat: terminated\n", stderr.String())
	require.True(t, bytes.HasSuffix(b, []byte("\n")))
}
