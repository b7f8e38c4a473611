package leat

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKillAtCall kills the process of TestKill as it enters a system call that
// changes files, where the moments between two such calls are: the Nth one of a
// kind on one of its threads. Its work is short and ends with Close, so that
// creating, rolling, sealing, closing and recovering get their share.
//
// With LEAT_LONG, N goes up until the child ends before it is reached.
func TestKillAtCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot run: %v: %s", err, out)
	}
	long := os.Getenv("LEAT_LONG") != ""
	r := killRand(t, 0)
	var sum killSum
	k := newKiller(t, memoryDir(), &sum) // each of them is slow enough
	at := map[string]int{}
	for _, calls := range []string{
		"fdatasync", "fsync", "fallocate", "ftruncate", "pwrite64", "openat", "mkdirat", "renameat,renameat2", "unlinkat",
	} {
		names := "?" + strings.ReplaceAll(calls, ",", ",?") // one that the architecture does not have is no error
		run := func(n int) bool {
			killed := k.run(t, r.Uint64(), 300, func(*exec.Cmd, int) {},
				strace, "-f", "-qq", "-o", "/dev/null",
				"-e", "trace="+names, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", names, n))
			k.verify(t, r.IntN(3) == 0)
			if killed {
				at[calls]++
			}
			return killed
		}
		if !long {
			run(1)
			for i := 0; i < 5 && !testing.Short(); i++ {
				run(int(math.Pow(100, r.Float64())))
			}
			continue
		}
		for n := 1; n < 1000 && run(n); n++ {
			if k.model.records > 5000 {
				k.remove(t)
				k = newKiller(t, memoryDir(), &sum)
			}
		}
	}
	k.remove(t)
	t.Log(sum.String(), at)
	require.Positive(t, sum.killed.Load())
}
