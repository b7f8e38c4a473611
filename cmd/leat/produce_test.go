package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// feed runs the tool with something on its standard input.
func feed(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), built, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	return result{status: status(t, cmd.Run()), stdout: stdout.String(), stderr: stderr.String()}
}

// withTopic is the directory of a store with a topic t.
func withTopic(t testing.TB, c leat.TopicConfig) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	_, err = st.CreateTopic(t.Context(), "t", c)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	return dir
}

// consumed is all of topic t in a form.
func consumed(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return good(t, append([]string{"consume", "t", "--dir", dir, "--no-follow"}, args...)...)
}

const allOf = `%p %o %k(%K) %s(%S) %h`

func TestProduce(t *testing.T) {
	for _, test := range []struct {
		name   string
		stdin  string
		args   []string
		want   string
		stderr string
	}{
		{"lines", "a\nb\n", nil, "0 0 (-1) a(1) \n0 1 (-1) b(1) \n", "leat: t-0: 2 records appended, offsets 0 to 1\n"},
		{"one", "a", nil, "0 0 (-1) a(1) \n", "leat: t-0: 1 record appended, offset 0\n"},
		{"nothing", "", nil, "", "leat: nothing appended\n"},
		{"empty lines", "\n\na\n\n", nil, "0 0 (-1) (0) \n0 1 (-1) (0) \n0 2 (-1) a(1) \n0 3 (-1) (0) \n", ""},
		{"a carriage return stays", "a\r\n", []string{}, "0 0 (-1) a\r(2) \n", ""},
		{"unless it is said to go", "a\r\nb", []string{"--delimiter", `\r\n`}, "0 0 (-1) a(1) \n0 1 (-1) b(1) \n", ""},
		{"zero bytes", "a\nb\x00c", []string{"--delimiter", `\0`}, "0 0 (-1) a\nb(3) \n0 1 (-1) c(1) \n", ""},
		{"keys", "k:v\n:v\nk:\nk:v:w\n", []string{"--key-separator", ":"}, "0 0 k(1) v(1) \n0 1 (0) v(1) \n0 2 k(1) (0) \n0 3 k(1) v:w(3) \n", ""},
		{"a long separator", "k\t-v\n", []string{"--key-separator", `\t-`}, "0 0 k(1) v(1) \n", ""},
		{"null", "k:NULL\nNULL:v\nk:NULLs\n", []string{"--key-separator", ":", "--null-marker", "NULL"}, "0 0 k(1) (-1) \n0 1 (-1) v(1) \n0 2 k(1) NULLs(5) \n", ""},
		{"null value", "NULL\n", []string{"--null-marker", "NULL"}, "0 0 (-1) (-1) \n", ""},
		{"empty is null", "k:\n:v\n", []string{"--key-separator", ":", "--null-marker", ""}, "0 0 k(1) (-1) \n0 1 (-1) v(1) \n", ""},
		{"headers", "a\n", []string{"--header", "h=1,2=3", "--header", "i=", "--header", "n"}, "0 0 (-1) a(1) h=1,2=3,i=,n=\n", ""},
		{"json", `{"value":"v","key":"k","headers":[{"key":"h","value":"w"}],"topic":"other","offset":7}` + "\n \n" + `{"value":null}`, []string{"--json", "--header", "g=x"},
			"0 0 k(1) v(1) g=x,h=w\n0 1 (-1) (-1) g=x\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := withTopic(t, leat.TopicConfig{})
			r := feed(t, test.stdin, append([]string{"produce", "t", "--dir", dir}, test.args...)...)
			require.Equal(t, exitOK, r.status, r.stderr)
			require.Empty(t, r.stdout)
			if test.stderr != "" {
				require.Equal(t, test.stderr, r.stderr)
			}
			require.Equal(t, test.want, consumed(t, dir, "--format", allOf))

			// From files it is the same.
			dir = withTopic(t, leat.TopicConfig{})
			file := filepath.Join(t.TempDir(), "lines")
			require.NoError(t, os.WriteFile(file, []byte(test.stdin), 0o600))
			again := tool(t, append([]string{"produce", "t", file, "--dir", dir}, test.args...)...)
			require.Equal(t, r, again)
			require.Equal(t, test.want, consumed(t, dir, "--format", allOf))
		})
	}
}

// Several files are one after the other, each with a last line of its own.
func TestProduceFiles(t *testing.T) {
	dir, files := withTopic(t, leat.TopicConfig{}), t.TempDir()
	a, b := filepath.Join(files, "a"), filepath.Join(files, "b")
	require.NoError(t, os.WriteFile(a, []byte("1\n2"), 0o600))
	require.NoError(t, os.WriteFile(b, []byte("3\n"), 0o600))
	r := feed(t, "in\n", "produce", "t", a, "-", b, "--dir", dir, "--positions")
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Equal(t, "t-0@0\nt-0@1\nt-0@2\nt-0@3\n", r.stdout)
	require.Equal(t, "1\n2\nin\n3\n", consumed(t, dir))

	// What was read before one that cannot be is appended.
	r = tool(t, "produce", "t", b, filepath.Join(files, "no"), "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "leat: t-0: 1 record appended, offset 4\n")
	require.Contains(t, r.stderr, filepath.Join(files, "no"))
	r = tool(t, "produce", "t", files, "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, files+": is a directory")
}

func TestProduceWrong(t *testing.T) {
	usage := func(want string, args ...string) {
		t.Helper()
		r := feed(t, "a\n", append([]string{"produce"}, args...)...)
		require.Equal(t, exitUsage, r.status, r.stderr)
		require.Contains(t, r.stderr, want)
		require.Empty(t, r.stdout)
	}
	usage("which topic?")
	usage("--codec must be none, gzip, snappy, lz4 or zstd", "t", "--codec", "lzma")
	usage("--durability must be synced or written", "t", "--durability", "maybe")
	usage("--partition must not be negative", "t", "--partition", "-1")
	usage("--delimiter must not be empty", "t", "--delimiter", "")
	usage("--delimiter:", "t", "--delimiter", `\q`)
	usage("--key-separator must not be empty", "t", "--key-separator", "")
	usage("--header must be like name=value", "t", "--header", "=v")
	usage("[json key-separator]", "t", "--json", "--key-separator", ":")

	small := leat.TopicConfig{MaxBatchBytes: 1000, Partitions: 2}
	for _, test := range []struct {
		stdin string
		args  []string
		want  string
		left  string // of what was read
	}{
		{"a:1\nb\nc:1\n", []string{"--key-separator", ":", "--partition", "0"}, `leat: line 2: there is no key separator ":" in it`, "1\n"},
		{"a\n" + strings.Repeat("x", 2000) + "\nb\n", []string{"--partition", "0"}, "leat: line 2: record too large: it is longer than 1000 bytes (max.message.bytes)", "a\n"},
		{"a\n" + strings.Repeat("x", 1000) + "\nb\n", []string{"--partition", "0"}, "leat: line 2: record too large: with 1009 bytes it does not fit a batch of 1000", "a\n"},
		{"a\n", []string{"--partition", "2"}, "unknown partition", ""},
		{`{"value":"a","partition":1}` + "\n" + `{"value":"a","partition":2}`, []string{"--json"}, "leat: line 2: unknown partition", "a\n"},
		{"{\"value\":\"a\"}\n\n{", []string{"--json"}, "leat: line 3: the object does not end", "a\n"},
		{`{"value":"a","timestamp":99999999999999}`, []string{"--json"}, "leat: line 1: ", ""},
	} {
		dir := withTopic(t, small)
		r := feed(t, test.stdin, append([]string{"produce", "t", "--dir", dir}, test.args...)...)
		require.Equal(t, exitFailed, r.status, r.stderr)
		require.Contains(t, r.stderr, test.want)
		require.NotContains(t, r.stderr, "leat: leat: ")
		require.Equal(t, test.left, consumed(t, dir), test.want)
	}

	// A compacted topic wants keys.
	dir := withTopic(t, leat.TopicConfig{Cleanup: leat.CleanupCompact})
	r := feed(t, "a\nb\n", "produce", "t", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "leat: nothing appended\nleat: lines 1 to 2: ")
	require.Contains(t, r.stderr, "key")

	r = feed(t, "a\n", "produce", "u", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, `leat: unknown topic: "u" (--create makes it)`)
	r = feed(t, "a\n", "produce", "t", "--dir", filepath.Join(dir, "no"))
	require.Equal(t, exitFailed, r.status)
	require.NoDirExists(t, filepath.Join(dir, "no"))

	// With --create, both are made.
	r = feed(t, "a\n", "produce", "u", "--create", "--dir", filepath.Join(t.TempDir(), "new"))
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Contains(t, r.stderr, "u-0: 1 record")
	r = feed(t, "a\n", "produce", "u", "--create", "--dir", dir)
	require.Equal(t, exitOK, r.status, r.stderr)
	r = feed(t, "a\n", "produce", "u", "--create", "--dir", dir)
	require.Contains(t, r.stderr, "u-0: 1 record appended, offset 1")
}

// Another process has the store.
func TestProduceLocked(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{})
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	r := feed(t, "a\n", "produce", "t", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, fmt.Sprintf("is locked by process %d\n", os.Getpid()))
	require.Contains(t, r.stderr, "leat: end that process first")
	require.Empty(t, consumed(t, dir))
}

// Keys choose the partitions that Kafka's clients choose, and each batch of
// records without one goes to another.
func TestProducePartitions(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{Partitions: 5})
	var in, want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&in, "key-%d:%d\n", i%50, i)
	}
	r := feed(t, in.String(), "produce", "t", "--dir", dir, "--key-separator", ":", "--positions")
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Contains(t, r.stderr, "leat: 200 records appended to 5 partitions\n")
	require.Equal(t, 200, strings.Count(r.stdout, "\n"))
	st, err := leat.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	topic, err := st.Topic("t")
	require.NoError(t, err)
	for p := range int32(5) {
		for i := range 200 {
			if key := fmt.Sprintf("key-%d", i%50); topic.PartitionFor([]byte(key)) == p {
				fmt.Fprintf(&want, "%d %s %d\n", p, key, i)
			}
		}
	}
	require.NoError(t, st.Close())
	var got strings.Builder
	for p := range 5 {
		got.WriteString(consumed(t, dir, "--format", "%p %k %s", "--partition", fmt.Sprint(p)))
	}
	require.Equal(t, want.String(), got.String())

	// One batch, one partition; the next batch, the next.
	dir = withTopic(t, leat.TopicConfig{Partitions: 3, MaxBatchBytes: 1000})
	r = feed(t, strings.Repeat(strings.Repeat("x", 400)+"\n", 18), "produce", "t", "--dir", dir)
	require.Equal(t, exitOK, r.status, r.stderr)
	for p := range 3 {
		require.Equal(t, "0\n1\n2\n3\n4\n5\n", consumed(t, dir, "--partition", fmt.Sprint(p), "--offsets-only"), "two in a batch")
	}
	r = feed(t, "a\nb\n", "produce", "t", "--dir", dir, "--partition", "1")
	require.Equal(t, "leat: t-1: 2 records appended, offsets 6 to 7\n", r.stderr)
}

// Batches are as large as they are meant to be, in the codec that is named.
func TestProduceBatches(t *testing.T) {
	text := strings.Repeat(strings.Repeat("compressible ", 10)+"\n", 6000)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		dir := withTopic(t, leat.TopicConfig{Durability: leat.Written})
		r := feed(t, text, "produce", "t", "--dir", dir, "--codec", codec)
		require.Equal(t, exitOK, r.status, r.stderr)
		require.Equal(t, text, consumed(t, dir))
		batches := lines(t, sound(t, "--json", filepath.Join(dir, "t-0")))
		// Those after the first came as fast as they were taken.
		require.Less(t, len(batches), 100)
		for _, b := range batches {
			require.Equal(t, codec, b["compression"])
			require.LessOrEqual(t, number(t, b, "sizeInBytes"), int64(batchBytes))
		}
	}

	// The topic's own codec wins.
	dir := withTopic(t, leat.TopicConfig{Compression: leat.Zstd})
	require.Equal(t, exitOK, feed(t, text, "produce", "t", "--dir", dir, "--codec", "gzip", "--durability", "written").status)
	require.Equal(t, text, consumed(t, dir))
	for _, b := range lines(t, sound(t, "--json", filepath.Join(dir, "t-0"))) {
		require.Equal(t, "zstd", b["compression"])
	}
}

// A record as large as the topic takes, and many partitions at once.
func TestProduceLarge(t *testing.T) {
	dir := withTopic(t, leat.TopicConfig{Partitions: 50})
	large := strings.Repeat("x", 1<<20-200)
	r := feed(t, large+"\n"+large+"\nsmall\n", "produce", "t", "--dir", dir, "--partition", "0")
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Equal(t, large+"\n"+large+"\nsmall\n", consumed(t, dir))

	var in strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&in, "%d:%s\n", i, large[:4000])
	}
	r = feed(t, in.String(), "produce", "t", "--dir", dir, "--key-separator", ":", "--durability", "written")
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Contains(t, r.stderr, "leat: 2000 records appended to 50 partitions\n")
	require.Equal(t, 2003, strings.Count(consumed(t, dir, "--offsets-only"), "\n"))
}

// A topic is copied through a pipe, whatever its records are: partitions,
// timestamps and nulls too.
func TestCopyByPipe(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	dir := withTopic(t, leat.TopicConfig{Partitions: 4, TimestampAfter: leat.Unlimited})
	var in []byte
	var want []leat.Record
	for range 2000 {
		rec := randomRecord(r)
		want = append(want, rec)
		in = asJSON{}.append(in, &rec)
	}
	require.Equal(t, exitOK, feed(t, string(in), "produce", "t", "--json", "--dir", dir, "--durability", "written").status)
	out := consumed(t, dir, "--json")
	next := map[int32]int64{}
	for line := range strings.Lines(out) {
		var got incoming
		require.NoError(t, parseJSON([]byte(line), &got))
		p := *got.partition
		var at struct{ Offset int64 }
		require.NoError(t, json.Unmarshal([]byte(line), &at))
		require.Equal(t, next[p], at.Offset)
		next[p]++
		i := slices.IndexFunc(want, func(rec leat.Record) bool { return rec.Partition == p })
		require.GreaterOrEqual(t, i, 0)
		requireSame(t, &want[i], &got)
		want = slices.Delete(want, i, i+1)
	}
	require.Empty(t, want)

	copied := withTopic(t, leat.TopicConfig{Partitions: 4})
	require.Equal(t, exitOK, feed(t, out, "produce", "t", "--json", "--dir", copied, "--codec", "zstd").status)
	for p := range 4 {
		require.Equal(t, consumed(t, dir, "--json", "--partition", fmt.Sprint(p)), consumed(t, copied, "--json", "--partition", fmt.Sprint(p)))
	}
}
