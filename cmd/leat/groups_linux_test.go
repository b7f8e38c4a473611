package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestGroupsKilledAtCall kills reset, import and delete as they enter a system call
// that changes files: a group is what it was, or what it was to become, in all
// partitions.
func TestGroupsKilledAtCall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot run: %v: %s", err, out)
	}
	tries := 2
	if os.Getenv("LEAT_LONG") != "" {
		tries = 40
	}
	dir, _ := grouped(t)
	offsets := func() string {
		st, err := leat.Open(dir, nil)
		require.NoError(t, err)
		defer st.Close()
		var b strings.Builder
		require.NoError(t, st.Groups().Export(t.Context(), &b))
		return b.String()
	}
	const other = "b,t,0,10\n"
	was := offsets()
	require.Equal(t, "a,t,0,4\na,t,1,5\n"+other, was)
	killed := 0
	for _, step := range []struct {
		args, stdin string
		becomes     string
	}{
		{"reset a --to earliest --execute", "", "a,t,0,0\na,t,1,0\n" + other},
		{"import - --execute", "a,t,0,7\na,t,1,2\n", "a,t,0,7\na,t,1,2\n" + other},
		{"delete a --yes", "", other},
		{"reset a --to 3 --topic t --execute", "", "a,t,0,3\na,t,1,3\n" + other},
	} {
		for _, call := range []string{"fdatasync", "fsync", "pwrite64", "ftruncate", "unlinkat"} {
			for i := range tries {
				args := append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call,
					"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, 1+i), built, "groups"}, strings.Fields(step.args)...)
				cmd := exec.CommandContext(t.Context(), strace, append(args, "--dir", dir)...)
				cmd.Stdin = strings.NewReader(step.stdin)
				done := cmd.Run() == nil
				if !done {
					killed++
				}
				is := offsets()
				if is != was || done {
					require.Equal(t, step.becomes, is, "%s, %s %d", step.args, call, i)
				}
				if is != was { // again
					good(t, "groups", "delete", "a", "--if-exists", "--yes", "--dir", dir)
					r := feed(t, was, "groups", "import", "-", "--execute", "--dir", dir)
					require.Equal(t, exitOK, r.status, r.stderr)
					require.Equal(t, was, offsets())
				}
			}
		}
		// On to the next.
		cmd := exec.CommandContext(t.Context(), built, append([]string{"groups"}, append(strings.Fields(step.args), "--dir", dir)...)...)
		cmd.Stdin = strings.NewReader(step.stdin)
		require.NoError(t, cmd.Run())
		was = offsets()
		require.Equal(t, step.becomes, was)
	}
	t.Logf("%d killed", killed)
	require.Positive(t, killed)
}
