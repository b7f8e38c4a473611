package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/internal/golden"
)

// closedStore is a store of one topic with a few segments, closed in order.
func closedStore(t testing.TB) (dir string, logs []string) {
	dir = t.TempDir()
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(t.Context(), "orders", leat.TopicConfig{SegmentBytes: 8 << 10, Durability: leat.Written})
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	for i := range 40 {
		_, err := p.Append(t.Context(), leat.Record{Value: fmt.Appendf(nil, "%01000d", i)})
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	logs, err = filepath.Glob(filepath.Join(dir, "orders-0", "*.log"))
	require.NoError(t, err)
	require.Greater(t, len(logs), 2)
	return dir, logs
}

func flip(t testing.TB, name string, at int) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[at] ^= 4
	require.NoError(t, os.WriteFile(name, b, 0o600))
}

func TestCheckSound(t *testing.T) {
	dir, _ := closedStore(t)
	for _, at := range []string{dir, filepath.Join(dir, "orders-0")} {
		r := tool(t, "check", at)
		require.Equal(t, exitOK, r.status, r.stdout)
		require.Empty(t, r.stderr)
		require.Regexp(t, `^`+at+`: sound; 0 notices, \d+ bytes of log files\n$`, r.stdout)
	}
	require.Equal(t, tool(t, "check", dir).stdout, tool(t, "check", "--dir", dir).stdout)

	out := lines(t, tool(t, "check", "--json", dir).stdout)
	require.Len(t, out, 1)
	require.Equal(t, true, out[0]["sound"])
	require.Positive(t, number(t, out[0], "bytes"))
}

func TestCheckGoldenCrash(t *testing.T) {
	r := tool(t, "check", golden.Path(t, "partition", "p1", "crash"))
	require.Equal(t, exitOK, r.status, r.stdout)
	require.Contains(t, r.stdout, "notice: ")
	require.Contains(t, r.stdout, "sound; 1 notice,")
}

func TestCheckDamaged(t *testing.T) {
	dir, logs := closedStore(t)
	flip(t, logs[1], 200)
	flip(t, strings.TrimSuffix(logs[0], ".log")+".timeindex", 3)
	r := tool(t, "check", dir)
	require.Equal(t, exitFailed, r.status)
	require.Empty(t, r.stderr)
	out := strings.Split(strings.TrimSpace(r.stdout), "\n")
	require.Len(t, out, 4, r.stdout)
	require.Regexp(t, `^damage: .*\.timeindex: .* when it was sealed`, out[0])
	require.Regexp(t, `^damage: .*\.timeindex at position 0: `, out[1])
	require.Regexp(t, `^damage: .*`+filepath.Base(logs[1])+` at position 0 \(offset \d+\): .*CRC`, out[2])
	require.Regexp(t, `: damaged in 3 places; 0 notices, \d+ bytes`, out[3])

	found := lines(t, tool(t, "check", "--json", dir).stdout)
	require.Len(t, found, 4)
	batch := found[2]
	require.Equal(t, "damage", batch["severity"])
	require.Equal(t, "batch", batch["kind"])
	require.Equal(t, "orders", batch["topic"])
	require.Equal(t, int64(0), number(t, batch, "partition"))
	require.Equal(t, logs[1], batch["path"])
	require.Positive(t, number(t, batch, "end"))
	require.NotEmpty(t, batch["repair"])
	require.Equal(t, json.Number("3"), found[3]["damage"])
}

// TestCheckEachBit flips some bits of each kind through the tool itself.
func TestCheckEachBit(t *testing.T) {
	dir, logs := closedStore(t)
	b, err := os.ReadFile(logs[1])
	require.NoError(t, err)
	for _, bit := range []int{0, 62, 64 + 31, 96, 130, 160, 400, 61*8 + 3, 8*len(b) - 1} {
		was := b[bit/8]
		b[bit/8] ^= 1 << (bit % 8)
		require.NoError(t, os.WriteFile(logs[1], b, 0o600))
		require.Equal(t, exitFailed, tool(t, "check", dir).status, "bit %d", bit)
		b[bit/8] = was
	}
	require.NoError(t, os.WriteFile(logs[1], b, 0o600))
	require.Equal(t, exitOK, tool(t, "check", dir).status)
}

func TestCheckCannot(t *testing.T) {
	dir, logs := closedStore(t)
	for name, test := range map[string]struct {
		do     func(t *testing.T) string
		stderr string
	}{
		"nothing there": {func(t *testing.T) string { return filepath.Join(dir, "nothing") }, "no such file"},
		"no store":      {func(t *testing.T) string { return t.TempDir() }, "is no store"},
		"a file":        {func(t *testing.T) string { return logs[0] }, "not a directory"},
		"open": {func(t *testing.T) string {
			st, err := leat.Open(dir, nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, st.Close()) })
			return dir
		}, fmt.Sprintf("process %d", os.Getpid())},
		"a folder in place of a file": {func(t *testing.T) string {
			at, logs := closedStore(t)
			require.NoError(t, os.Remove(logs[1]))
			require.NoError(t, os.Mkdir(logs[1], 0o700))
			return at
		}, "wrong type of file"},
	} {
		t.Run(name, func(t *testing.T) {
			r := tool(t, "check", test.do(t))
			require.Equal(t, exitUnchecked, r.status, r.stdout)
			require.Contains(t, r.stderr, test.stderr)
		})
	}
	require.Equal(t, exitUsage, tool(t, "check", "a", "b").status)
}
