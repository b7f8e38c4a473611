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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/internal/golden"
)

// numbered is a store with a topic t of one partition, whose records are the
// numbers from 0 on.
func numbered(t testing.TB, n int) (dir string) {
	dir = withTopic(t, leat.TopicConfig{SegmentBytes: 256 << 10})
	feedNumbers(t, dir, "t", 0, n)
	return dir
}

// feedNumbers appends numbers to a topic.
func feedNumbers(t testing.TB, dir, topic string, from, to int) {
	t.Helper()
	var in strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintln(&in, i)
	}
	r := feed(t, in.String(), "produce", topic, "--dir", dir, "--durability", "written")
	require.Equal(t, exitOK, r.status, r.stderr)
}

// inGroup consumes what is there as group g.
func inGroup(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return good(t, append([]string{"consume", "--dir", dir, "--group", "g", "--no-follow"}, args...)...)
}

// committedIn is what a group has committed, by partition; -1: nothing.
func committedIn(t testing.TB, dir, group string) map[string]int64 {
	t.Helper()
	at := map[string]int64{}
	r := tool(t, "groups", "describe", group, "--json", "--dir", dir)
	if strings.Contains(r.stderr, "unknown group") {
		return at
	}
	for _, p := range lines(t, r.stdout)[0]["partitions"].([]any) {
		p := p.(object)
		if p["committedOffset"] != nil {
			at[fmt.Sprintf("%s-%d", p["topic"], number(t, p, "partition"))] = number(t, p, "committedOffset")
		}
	}
	return at
}

// numbers are the lines that hold the numbers from one to another.
func numbers(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// A group goes on where it stopped, exactly; another has a place of its own.
func TestConsumeGroup(t *testing.T) {
	dir := numbered(t, 10)
	require.Equal(t, "0\n1\n2\n", inGroup(t, dir, "t", "--max", "3"))
	require.Equal(t, map[string]int64{"t-0": 3}, committedIn(t, dir, "g"))
	require.Equal(t, "3\n", inGroup(t, dir, "t", "--max", "1", "--offsets-only"))
	require.Equal(t, numbers(4, 10), inGroup(t, dir, "t", "--from-beginning"), "which is for a group that has nothing yet")
	require.Equal(t, map[string]int64{"t-0": 10}, committedIn(t, dir, "g"))
	require.Empty(t, inGroup(t, dir, "t"))
	feedNumbers(t, dir, "t", 10, 12)
	require.Equal(t, "0 10 10;0 11 11;", inGroup(t, dir, "t", "--format", "%p %o %s", "--delimiter", ";", "--commit-every", "0"))
	require.Equal(t, numbers(0, 12), good(t, "consume", "t", "--dir", dir, "--group", "another one", "--no-follow"))
	require.Equal(t, map[string]int64{"t-0": 12}, committedIn(t, dir, "another one"))
	require.Equal(t, map[string]int64{"t-0": 12}, committedIn(t, dir, "g"))
	require.Equal(t, numbers(0, 12), consumed(t, dir), "who is in no group sees all")

	// Large batches, of which a part was printed.
	feedNumbers(t, dir, "t", 12, 30000)
	for from := 12; from < 30000; from += 9000 {
		require.Equal(t, numbers(from, min(from+9000, 30000)), inGroup(t, dir, "t", "--max", "9000"))
		require.Equal(t, map[string]int64{"t-0": int64(min(from+9000, 30000))}, committedIn(t, dir, "g"))
	}
}

// A group consumes several topics, or all that match a pattern; those that come
// later as well.
func TestConsumeGroupTopics(t *testing.T) {
	dir := numbered(t, 2)
	good(t, "topics", "create", "u", "--partitions", "3", "--dir", dir)
	good(t, "topics", "create", "other", "--dir", dir)
	feedNumbers(t, dir, "u", 2, 5)
	feedNumbers(t, dir, "other", 9, 10)
	require.Equal(t, "0 1 2 3 4", sorted(t, inGroup(t, dir, "t", "u")))
	at := committedIn(t, dir, "g")
	require.Equal(t, int64(2), at["t-0"])
	require.Equal(t, int64(3), max(at["u-0"], at["u-1"], at["u-2"]))
	good(t, "topics", "create", "v", "--dir", dir)
	feedNumbers(t, dir, "v", 5, 7)
	require.Equal(t, "5 v\n6 v\n", inGroup(t, dir, "--pattern", "[tuv]", "--format", "%s %t"))
	require.Empty(t, inGroup(t, dir, "--pattern", "no-such-topic"))
	require.Equal(t, "9\n", inGroup(t, dir, "--pattern", ".*"))
}

func TestConsumeGroupWrong(t *testing.T) {
	dir := numbered(t, 3)
	for _, test := range []struct{ args, want string }{
		{"t --group g --offset 1", "--offset and --group: a group goes on where it stopped; 'leat groups reset' moves it"},
		{"t --group g --last 1", "--last and --group: "},
		{"t --group g --time 5m", "--time and --group: "},
		{"t --group g --partition 0", "--partition and --group: a group has all partitions of its topics"},
		{"--group g", "which topic?"},
		{"t --group=", "--group must not be empty"},
		{"t --group g --pattern t", "--pattern and a topic: which?"},
		{"--group g --pattern=", "--pattern must not be empty"},
		{"t u --group g --offsets-only", "--offsets-only is of one topic"},
		{"--pattern t", "--pattern needs --group"},
		{"t --commit-every 1s", "--commit-every needs --group"},
		{"t --group g --commit-every -1s", "--commit-every must not be negative"},
		{"t --group g --commit-every often", "invalid argument"},
		{"t u", "one topic at a time"},
		{"--group g --pattern (", "--pattern: error parsing regexp: missing closing )"},
	} {
		r := tool(t, append([]string{"consume", "--dir", dir}, strings.Fields(test.args)...)...)
		require.Equal(t, exitUsage, r.status, r.stderr)
		require.Contains(t, r.stderr, test.want)
	}
	for _, test := range []struct{ args, want string }{
		{"u --group g", `leat: unknown topic: "u"`},
		{"t u --group g", `leat: unknown topic: "u"`},
	} {
		r := tool(t, append([]string{"consume", "--dir", dir}, strings.Fields(test.args)...)...)
		require.NotEqual(t, exitOK, r.status)
		require.Contains(t, r.stderr, test.want)
		require.Empty(t, r.stdout)
	}
	require.Empty(t, committedIn(t, dir, "g"))

	// Another process has the store: it alone can commit.
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	r := tool(t, "consume", "t", "--group", "g", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Empty(t, r.stdout)
	require.Contains(t, r.stderr, fmt.Sprintf("is locked by process %d\n", os.Getpid()))

	// What the group wants is not there any more.
	p, err := topicOf(t, st, "t").Partition(0)
	require.NoError(t, err)
	require.NoError(t, st.Groups().Commit(t.Context(), leat.Fence{Group: "g", Generation: -1}, leat.Position{Topic: "t", Offset: 1}))
	require.NoError(t, p.DeleteRecords(t.Context(), 2))
	require.NoError(t, st.Close())
	r = tool(t, "consume", "t", "--group", "g", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "leat: t-0: offset 1 is no longer there: the first is 2 now ('leat groups reset g --topic t:0 --to earliest' goes on there)\n")
	require.Equal(t, map[string]int64{"t-0": 1}, committedIn(t, dir, "g"))
	good(t, "groups", "reset", "g", "--topic", "t:0", "--to", "earliest", "--execute", "--dir", dir)
	require.Equal(t, "2\n", inGroup(t, dir, "t"))
}

func topicOf(t testing.TB, st *leat.Store, name string) *leat.Topic {
	topic, err := st.Topic(name)
	require.NoError(t, err)
	return topic
}

// While a group waits for more, others have the store; what they append is printed
// when they have let it go.
func TestConsumeGroupFollows(t *testing.T) {
	dir := numbered(t, 2)
	c := following(t, "consume", "t", "--group", "g", "--dir", dir, "--max", "7", "--format", "%p %s")
	require.Equal(t, "0 0", c.line())
	require.Equal(t, "0 1", c.line())
	turn := func(do func(st *leat.Store)) {
		st, err := leat.Open(dir, &leat.Options{LockWait: time.Minute})
		require.NoError(t, err)
		do(st)
		require.NoError(t, st.Close())
	}
	put := func(st *leat.Store, id int32, value string) {
		p, err := topicOf(t, st, "t").Partition(id)
		require.NoError(t, err)
		_, err = p.Append(context.Background(), leat.Record{Value: []byte(value)})
		require.NoError(t, err)
	}
	turn(func(st *leat.Store) { put(st, 0, "2") })
	require.Equal(t, "0 2", c.line())
	turn(func(st *leat.Store) { put(st, 0, "3"); put(st, 0, "4") })
	require.Equal(t, "0 3", c.line())
	require.Equal(t, "0 4", c.line())
	turn(func(st *leat.Store) {
		require.NoError(t, topicOf(t, st, "t").AddPartitions(t.Context(), 1))
		put(st, 1, "5")
	})
	require.Equal(t, "1 5", c.line())
	turn(func(st *leat.Store) { put(st, 1, "6"); put(st, 1, "7") })
	rest, s := c.end()
	require.Equal(t, "1 6\n", rest)
	require.Equal(t, exitOK, s, &c.stderr)
	require.Equal(t, map[string]int64{"t-0": 5, "t-1": 2}, committedIn(t, dir, "g"))

	// Who has the store for longer is waited for, which is said; a deleted topic ends it.
	said, says, err := os.Pipe()
	require.NoError(t, err)
	defer said.Close()
	c = &running{t: t, cmd: exec.CommandContext(t.Context(), built, "consume", "t", "--group", "g", "--dir", dir, "--format", "%p %s")}
	c.cmd.Stderr = says
	c.out, err = c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	require.NoError(t, says.Close())
	c.lines = bufio.NewReader(c.out)
	stderr := bufio.NewReader(said)
	require.Equal(t, "1 7", c.line())
	turn(func(st *leat.Store) {
		put(st, 0, "8")
		line, err := stderr.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, fmt.Sprintf("leat: there is more to print; waiting for the store: store is open in another process: %s is locked by process %d\n",
			filepath.Join(dir, ".lock"), os.Getpid()))
	})
	require.Equal(t, "0 8", c.line())
	turn(func(st *leat.Store) { require.NoError(t, st.DeleteTopic(t.Context(), "t")) })
	rest, s = c.end()
	require.Empty(t, rest)
	require.Equal(t, exitFailed, s)
	last, err := io.ReadAll(stderr)
	require.NoError(t, err)
	require.Contains(t, string(last), `leat: unknown topic: "t"`)
}

// The same of a directory of Kafka's, whose batches are of transactions, aborted
// ones as well: a group sees what others see, and gets to the end.
func TestConsumeGroupGolden(t *testing.T) {
	dir := golden.CopyDir(t, "partition", "p1", "clean")
	for group, isolation := range map[string]string{"c": "read_committed", "u": "read_uncommitted"} {
		args := []string{"consume", "orders", "--dir", dir, "--no-follow", "--isolation", isolation, "--json"}
		want := good(t, args...)
		require.NotEmpty(t, want)
		half := strings.Count(want, "\n") / 2
		got := good(t, append(args, "--group", group, "--max", strconv.Itoa(half))...)
		got += good(t, append(args, "--group", group)...)
		require.Equal(t, want, got)
		require.Empty(t, good(t, append(args, "--group", group)...))
	}
}

// What is not written out is not committed.
func TestConsumeGroupFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	dir := numbered(t, 20000) // more than the tool writes at once
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	r := toFile(t, full, "consume", "t", "--group", "g", "--dir", dir, "--no-follow", "--commit-every", "0")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "no space left on device")
	require.Empty(t, committedIn(t, dir, "g"))
	r = tool(t, "consume", "t", "--group", "g", "--dir", dir, "--no-follow", "--max", "5")
	require.Equal(t, "0\n1\n2\n3\n4\n", r.stdout)
	r = toFile(t, full, "consume", "t", "--group", "g", "--dir", dir, "--no-follow")
	require.Equal(t, exitFailed, r.status)
	require.Equal(t, map[string]int64{"t-0": 5}, committedIn(t, dir, "g"))

	// Into a file it is whole.
	name := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(name)
	require.NoError(t, err)
	require.Equal(t, exitOK, toFile(t, out, "consume", "t", "--group", "g", "--dir", dir, "--no-follow").status)
	require.NoError(t, out.Close())
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, numbers(5, 20000), string(b))
}

// toFile runs the tool with a file as its standard output.
func toFile(t testing.TB, out *os.File, args ...string) result {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), built, args...)
	cmd.Stdout, cmd.Stderr = out, &stderr
	return result{status: status(t, cmd.Run()), stderr: stderr.String()}
}
