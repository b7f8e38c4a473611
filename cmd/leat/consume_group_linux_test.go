package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConsumeGroupKilledAtCall kills a group's consumer as it enters a system call
// that writes: the output, which is a file here, never lacks what is committed.
func TestConsumeGroupKilledAtCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot run: %v: %s", err, out)
	}
	tries := 5
	if os.Getenv("LEAT_LONG") != "" {
		tries = 60
	}
	const n = 15000
	dir := padded(t, n)
	killed := 0
	for _, call := range []string{"write", "fsync", "fdatasync"} {
		for i := range tries {
			name := filepath.Join(t.TempDir(), "out")
			out, err := os.Create(name)
			require.NoError(t, err)
			before := recovered(t, dir)
			cmd := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call,
				"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, 1+i*3),
				built, "consume", "t", "--group", "g", "--no-follow", "--dir", dir, "--commit-every", "0", "--max", "9000")
			cmd.Stdout = out
			if cmd.Run() != nil {
				killed++
			}
			require.NoError(t, out.Close())
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			end := counted(t, string(text[:strings.LastIndexByte(string(text), '\n')+1]), before)
			after := recovered(t, dir)
			require.GreaterOrEqual(t, after, before)
			require.LessOrEqual(t, after, end, "%s %d", call, i)
			if after > n/2 {
				good(t, "groups", "reset", "g", "--to", "earliest", "--execute", "--dir", dir)
			}
		}
	}
	t.Logf("%d killed", killed)
	require.Positive(t, killed)

	// As a commit survives a power cut, the output has to.
	name, trace := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "trace")
	for _, printed := range []bool{true, false} {
		out, err := os.Create(name)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-o", trace, "-e", "trace=fsync",
			built, "consume", "t", "--group", "g", "--no-follow", "--dir", dir)
		cmd.Stdout = out
		require.NoError(t, cmd.Run())
		require.NoError(t, out.Close())
		b, err := os.ReadFile(trace)
		require.NoError(t, err)
		require.Equal(t, printed, regexp.MustCompile(`(?m) fsync\(1[) ]`).Match(b), "%s", b) // or "1 <unfinished"
	}
}
