package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKilledAtCall kills create, alter and delete as they enter a system call that
// changes files: between any two of those is a moment at which a kill may come.
// With LEAT_LONG it is each one.
func TestKilledAtCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot run: %v: %s", err, out)
	}
	long := os.Getenv("LEAT_LONG") != ""
	m := newAdminModel(t)
	for _, calls := range []string{"fdatasync", "fsync", "fallocate", "ftruncate", "pwrite64", "mkdirat", "renameat,renameat2", "unlinkat"} {
		names := "?" + strings.ReplaceAll(calls, ",", ",?") // one that the architecture does not have is no error
		tries := 3
		if long {
			tries = 200
		}
		for i := range tries {
			n := 1 + m.r.IntN(8)
			if long {
				n = 1 + i/4
			}
			m.step(func(args ...string) bool {
				cmd := exec.CommandContext(t.Context(), strace, append([]string{"-f", "-qq", "-o", "/dev/null",
					"-e", "trace=" + names, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", names, n), built}, args...)...)
				return cmd.Run() == nil
			})
		}
	}
	t.Logf("%d killed", m.killed)
	require.Positive(t, m.killed)
}
