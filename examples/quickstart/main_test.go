package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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

// TestKeptStore: the store that -dir names is one that others can open, and a
// second run appends to it and counts its own.
func TestKeptStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	path, want := logFile(t, 500)
	for _, n := range []int64{500, 1000} {
		status, stdout, stderr := run(t, context.Background(), nil, "-dir", dir, path)
		require.Equal(t, 0, status, stderr)
		requireStatus(t, want, stdout)
		require.Contains(t, stdout, dir+", which is kept")
		require.Equal(t, n == 1000, strings.Contains(stdout, "access is there with 500 records"), stdout)

		st, err := leat.Open(dir, nil)
		require.NoError(t, err)
		access, err := st.Topic("access")
		require.NoError(t, err)
		require.Equal(t, int32(4), access.Config().Partitions)
		require.Equal(t, leat.Zstd, access.Config().Compression)
		sum := int64(0)
		for p := range access.Partitions() {
			sum += p.LogEndOffset()
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

// TestInterrupted: an interrupt in the middle of the input ends the run, and
// leaves a store that opens with what was appended before.
func TestInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for _, args := range [][]string{{"-"}, {"-dir", dir, "-"}} {
		ctx, cancel := context.WithCancel(context.Background())
		in, feed := io.Pipe()
		go func() {
			line := []byte("10.0.0.1 " + strings.Repeat("x", 1000) + "\n")
			for range 1000 { // four batches, more or less
				_, _ = feed.Write(line)
			}
			cancel() // and nothing more comes
		}()
		status, _, stderr := run(t, ctx, in, args...)
		require.Equal(t, 1, status)
		require.Equal(t, "quickstart: stopped before the end\n", stderr)
	}
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	access, err := st.Topic("access")
	require.NoError(t, err)
	p, err := access.Partition(access.PartitionFor([]byte("10.0.0.1")))
	require.NoError(t, err)
	require.Positive(t, p.LogEndOffset())
	require.NoError(t, st.Close())
}
