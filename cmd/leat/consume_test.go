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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// timed is a store with a topic t of two partitions: values 0 to 9 in the first,
// one every minute from a time on, 10 to 14 in the second, an hour later.
func timed(t testing.TB) (dir string, from time.Time) {
	dir = withTopic(t, leat.TopicConfig{Partitions: 2})
	from = time.Now().Add(-3 * time.Hour).Truncate(time.Millisecond)
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	topic, err := st.Topic("t")
	require.NoError(t, err)
	for i := range 15 {
		p, err := topic.Partition(int32(i / 10))
		require.NoError(t, err)
		at := from.Add(time.Duration(i%10)*time.Minute + time.Duration(i/10)*time.Hour)
		_, err = p.Append(t.Context(), leat.Record{Value: []byte(strconv.Itoa(i)), Timestamp: at})
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	return dir, from
}

// sorted are lines in the order of the numbers that they begin with.
func sorted(t testing.TB, out string) string {
	list := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	slices.SortStableFunc(list, func(a, b string) int {
		n, err := strconv.Atoi(a)
		require.NoError(t, err)
		m, err := strconv.Atoi(b)
		require.NoError(t, err)
		return n - m
	})
	return strings.Join(list, " ")
}

func TestConsumeFrom(t *testing.T) {
	dir, from := timed(t)
	at := func(minutes int) string {
		return from.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339Nano)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14"},
		{[]string{"--from-beginning"}, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14"},
		{[]string{"--partition", "1"}, "10 11 12 13 14"},
		{[]string{"--partition", "1", "--partition", "0", "--partition", "1"}, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14"},
		{[]string{"--offset", "3"}, "3 4 5 6 7 8 9 13 14"},
		{[]string{"--offset", "5"}, "5 6 7 8 9"},
		{[]string{"--offset=-2"}, "8 9 13 14"},
		{[]string{"--offset", "-7"}, "3 4 5 6 7 8 9 10 11 12 13 14"},
		{[]string{"--last", "1"}, "9 14"},
		{[]string{"--last", "7"}, "3 4 5 6 7 8 9 10 11 12 13 14"},
		{[]string{"--time", at(-1)}, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14"},
		{[]string{"--time", at(8)}, "8 9 10 11 12 13 14"},
		{[]string{"--time", at(62)}, "12 13 14"},
		{[]string{"--time", at(65)}, ""},
		{[]string{"--time", strconv.FormatInt(from.Add(9*time.Minute).UnixMilli(), 10)}, "9 10 11 12 13 14"},
		{[]string{"--time", "2h30m"}, "10 11 12 13 14"},
		{[]string{"--time", "10m"}, ""},
		{[]string{"--partition", "0", "--max", "3"}, "0 1 2"},
		{[]string{"--partition", "0", "--max", "100"}, "0 1 2 3 4 5 6 7 8 9"},
		{[]string{"--partition", "0", "--last", "4", "--max", "2"}, "6 7"},
	} {
		out := consumed(t, dir, test.args...)
		if test.want == "" {
			require.Empty(t, out)
			continue
		}
		require.Equal(t, test.want, sorted(t, out), "%s", test.args)
	}
	require.Equal(t, "3\n4\n", consumed(t, dir, "--partition", "1", "--offset", "3", "--offsets-only"))
	require.ElementsMatch(t, []string{"0 9", "1 4"}, strings.Split(strings.TrimSpace(consumed(t, dir, "--last", "1", "--offsets-only")), "\n"))
	require.Equal(t, "<6>,<7>,", consumed(t, dir, "--partition", "0", "--offset", "6", "--max", "2", "--format", "<%s>", "--delimiter", ","))
	require.Equal(t, "67", consumed(t, dir, "--partition", "0", "--offset", "6", "--max", "2", "--delimiter", ""))
}

func TestConsumeWrong(t *testing.T) {
	dir, _ := timed(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{}, "which topic?"},
		{[]string{"t", "u"}, "one topic at a time"},
		{[]string{"t", "--max", "0"}, "--max must be at least 1"},
		{[]string{"t", "--last", "0"}, "--last must be at least 1"},
		{[]string{"t", "--last", "1", "--offset", "1"}, "[last offset]"},
		{[]string{"t", "--partition", "-1"}, "--partition must not be negative"},
		{[]string{"t", "--isolation", "none"}, "--isolation must be read_committed or read_uncommitted"},
		{[]string{"t", "--time", "noon"}, `--time "noon" is neither a time`},
		{[]string{"t", "--format", "%z"}, `--format "%z": %z is none of`},
		{[]string{"t", "--json", "--format", "%s"}, "[format json]"},
		{[]string{"t", "--json", "--null-marker", "x"}, "[json null-marker]"},
	} {
		r := tool(t, append(append([]string{"consume"}, test.args...), "--dir", dir)...)
		require.Equal(t, exitUsage, r.status, r.stderr)
		require.Contains(t, r.stderr, test.want)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"u"}, `leat: unknown topic: "u"`},
		{[]string{"t", "--partition", "2"}, "leat: unknown partition: t-2"},
		{[]string{"t", "--offset", "6"}, "leat: t-1: offset 6 is not there: the partition ends at 5\n"},
	} {
		r := tool(t, append(append([]string{"consume"}, test.args...), "--dir", dir)...)
		require.Equal(t, exitFailed, r.status, r.stderr)
		require.Contains(t, r.stderr, test.want)
		require.Empty(t, r.stdout)
	}

	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	topic, err := st.Topic("t")
	require.NoError(t, err)
	p, err := topic.Partition(0)
	require.NoError(t, err)
	require.NoError(t, p.DeleteRecords(t.Context(), 4))
	require.NoError(t, st.Close())
	r := tool(t, "consume", "t", "--offset", "3", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Equal(t, "leat: t-0: offset 3 is no longer there: the first is 4 now (--offset 4 goes on there)\n", r.stderr)
	require.Equal(t, "4\n5\n6\n7\n8\n9\n", consumed(t, dir, "--partition", "0", "--last", "10"))
}

// running is a tool at work, whose output comes line by line.
type running struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    io.ReadCloser
	lines  *bufio.Reader
	stderr bytes.Buffer
}

func following(t testing.TB, args ...string) *running {
	r := &running{t: t, cmd: exec.CommandContext(t.Context(), built, args...)}
	r.cmd.Stderr = &r.stderr
	var err error
	r.out, err = r.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	r.lines = bufio.NewReader(r.out)
	return r
}

// line is the next line, which is waited for.
func (r *running) line() string {
	r.t.Helper()
	s, err := r.lines.ReadString('\n')
	require.NoError(r.t, err, "%s", &r.stderr)
	return strings.TrimSuffix(s, "\n")
}

// end is the exit status, once all output was read, which is returned.
func (r *running) end() (rest string, s int) {
	r.t.Helper()
	b, err := io.ReadAll(r.lines)
	require.NoError(r.t, err)
	return string(b), status(r.t, r.cmd.Wait())
}

// Records are printed as another process appends them, over segments that are
// rolled, in partitions that are added; until the topic is deleted.
func TestConsumeBesideWriter(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{Partitions: 2, SegmentBytes: 1024})
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	topic, err := st.Topic("t")
	require.NoError(t, err)
	c := following(t, "consume", "t", "--dir", dir, "--from-beginning", "--format", "%p %o %s")
	put := func(id int32, offset int64) {
		p, err := topic.Partition(id)
		require.NoError(t, err)
		value := fmt.Sprintf("v%d", offset)
		_, err = p.Append(t.Context(), leat.Record{Value: []byte(value)})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d %d %s", id, offset, value), c.line())
	}
	for i := range int64(50) {
		put(int32(i%2), i/2)
	}
	p, err := topic.Partition(0)
	require.NoError(t, err)
	require.Greater(t, p.Describe().Segments, 1)
	require.NoError(t, topic.AddPartitions(t.Context(), 1))
	put(2, 0)
	put(0, 25)
	require.NoError(t, st.DeleteTopic(t.Context(), "t"))
	rest, s := c.end()
	require.Empty(t, rest)
	require.Equal(t, exitFailed, s)
	require.Contains(t, c.stderr.String(), `leat: unknown topic: "t"`)
	require.Contains(t, c.stderr.String(), "deleted")
}

// What comes is printed by a consumer that began at the end; --max ends it.
func TestConsumeLatest(t *testing.T) {
	dir, _ := timed(t)
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	topic, err := st.Topic("t")
	require.NoError(t, err)
	p, err := topic.Partition(0)
	require.NoError(t, err)
	// Until the consumer has begun nobody knows where its end is.
	c := following(t, "consume", "t", "--dir", dir, "--max", "3", "--partition", "0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 100; ; i++ {
			if _, err := p.Append(context.Background(), leat.Record{Value: []byte(strconv.Itoa(i))}); err != nil {
				return // closed
			}
		}
	}()
	first, err := strconv.Atoi(c.line())
	require.NoError(t, err)
	require.GreaterOrEqual(t, first, 100)
	rest, s := c.end()
	require.Equal(t, fmt.Sprintf("%d\n%d\n", first+1, first+2), rest)
	require.Equal(t, exitOK, s, &c.stderr)
	require.NoError(t, st.Close())
	<-done
}

// Records that retention takes away from under a reader.
func TestConsumeOvertaken(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{SegmentBytes: 64 << 10})
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	topic, err := st.Topic("t")
	require.NoError(t, err)
	p, err := topic.Partition(0)
	require.NoError(t, err)
	value := bytes.Repeat([]byte("x"), 1000)
	for range 20 { // more than a pipe and the consumer's buffer hold
		var list []leat.Record
		for range 50 {
			list = append(list, leat.Record{Value: value})
		}
		_, err := p.AppendWith(t.Context(), leat.AppendOptions{Durability: leat.Written}, list...)
		require.NoError(t, err)
	}
	require.NoError(t, p.Sync(t.Context()))
	c := following(t, "consume", "t", "--dir", dir, "--from-beginning", "--format", "%o %s")
	require.True(t, strings.HasPrefix(c.line(), "0 "))
	require.NoError(t, p.DeleteRecords(t.Context(), 999))
	rest, s := c.end()
	require.Equal(t, exitFailed, s)
	require.True(t, strings.HasSuffix(rest, string(value)+"\n"), "whole lines")
	n := strings.Count(rest, "\n") + 1
	require.Less(t, n, 999)
	require.Equal(t, fmt.Sprintf("leat: t-0: offset %d is no longer there: the first is 999 now (--offset 999 goes on there)\n", n), c.stderr.String())
}

// Records before damage are printed, then it is said where it is.
func TestConsumeDamaged(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{})
	for i := range 3 {
		require.Equal(t, exitOK, feed(t, fmt.Sprintf("value-%d\n", i), "produce", "t", "--dir", dir).status)
	}
	path := filepath.Join(dir, "t-0", "00000000000000000000.log")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.Index(b, []byte("value-1"))
	b[at] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	for _, args := range [][]string{
		{"consume", "--no-follow"}, {"consume", "--from-beginning"}, {"consume", "--last", "2", "--no-follow"},
		{"consume", "--offset", "2"}, {"consume", "--offset", "2", "--no-follow"}, {"fetch", "--offset", "1"}, {"fetch", "--offset", "2"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel() // each waits until nobody can be writing there any more
			r := tool(t, append([]string{args[0], "t", "--dir", dir}, args[1:]...)...)
			require.Equal(t, exitFailed, r.status)
			if slices.Contains(args, "--offset") {
				require.Empty(t, r.stdout)
			} else {
				require.Equal(t, "value-0\n", r.stdout)
			}
			require.Contains(t, r.stderr, path)
			require.Contains(t, r.stderr, "offset 1")
			require.Contains(t, r.stderr, "leat check DIR")
		})
	}
}

func TestFetch(t *testing.T) {
	dir, _ := timed(t)
	r := tool(t, "fetch", "t", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "leat: which partition? --partition says it; t has 0, 1\n")
	segment, err := os.ReadFile(filepath.Join(dir, "t-1", "00000000000000000000.log"))
	require.NoError(t, err)
	one := len(segment) / 5
	fetch := func(args ...string) string {
		return good(t, append([]string{"fetch", "t", "--dir", dir, "--partition", "1"}, args...)...)
	}
	require.Equal(t, string(segment), fetch("--raw"))
	require.Equal(t, string(segment[3*one:]), fetch("--raw", "--offset", "3"))
	require.Equal(t, string(segment[3*one:4*one]), fetch("--raw", "--offset", "3", "--max-bytes", "0"))
	require.Equal(t, string(segment[:2*one]), fetch("--raw", "--max-bytes", strconv.Itoa(3*one-1)))
	require.Empty(t, fetch("--raw", "--offset", "5"))
	require.Equal(t, `{"topic":"t","partition":1,"offset":5,"baseOffset":5,"nextOffset":5,"sizeInBytes":0,"logStartOffset":0,"lastStableOffset":5,"highWatermark":5,"abortedTransactions":[]}`+"\n", fetch("--offset", "5"))
	require.Equal(t, `{"topic":"t","partition":1,"offset":0,"baseOffset":0,"nextOffset":5,"sizeInBytes":`+strconv.Itoa(len(segment))+`,"logStartOffset":0,"lastStableOffset":5,"highWatermark":5,"abortedTransactions":[]}`+"\n", fetch())

	for args, want := range map[string]string{
		"--max-bytes -1": "--max-bytes must be from 0 to 2147483647", "--isolation x": "--isolation must be read_committed, read_uncommitted or log_end", "--partition -1": "must not be negative",
	} {
		r := tool(t, append([]string{"fetch", "t", "--dir", dir}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, r.status)
		require.Contains(t, r.stderr, want)
	}
	r = tool(t, "fetch", "t", "--dir", dir, "--partition", "1", "--offset", "6")
	require.Equal(t, exitFailed, r.status)
	require.Equal(t, "leat: t-1: offset 6 is not there: the partition ends at 5\n", r.stderr)
}
