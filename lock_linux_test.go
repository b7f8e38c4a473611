package leat

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// child is what this test binary does when it is started by a test.
const childEnv = "LEAT_TEST_CHILD"

// TestChild is the child's main: it does one thing to a directory, says how that
// went in one line, and ends when its input does.
func TestChild(t *testing.T) {
	what, dir, ok := strings.Cut(os.Getenv(childEnv), " ")
	if !ok {
		t.Skip("started by other tests")
	}
	var err error
	switch what {
	case "open":
		var st *Store
		if st, err = Open(dir, nil); err == nil {
			defer st.Close()
		}
	case "wait":
		var st *Store
		if st, err = Open(dir, &Options{LockWait: time.Minute}); err == nil {
			defer st.Close()
		}
	case "read", "mount":
		err = readChild(dir, what == "mount")
	case "posix": // as a Java broker locks
		var f *os.File
		if f, err = os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600); err == nil {
			err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}
	}
	fmt.Printf("child: %v\n", err)
	io.Copy(io.Discard, os.Stdin)
}

// start starts a child and returns what it said; stop ends it.
func start(t *testing.T, uid uint32, what, dir string) (said string, pid int, stop func()) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+what+" "+dir)
	if uid != 0 {
		// The test binary lies where only its owner may go.
		copied := filepath.Join(t.TempDir(), "child")
		b, err := os.ReadFile(self)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(copied, b, 0o755))
		for up := filepath.Dir(copied); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			require.NoError(t, os.Chmod(up, 0o755))
		}
		cmd.Path, cmd.Dir = copied, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	stop = func() {
		in.Close()
		require.NoError(t, cmd.Wait())
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if line, ok := strings.CutPrefix(lines.Text(), "child: "); ok {
			go io.Copy(io.Discard, out)
			return line, cmd.Process.Pid, stop
		}
	}
	t.Fatal("the child said nothing")
	return "", 0, nil
}

func TestLocked(t *testing.T) {
	dir := seeded(t)
	for _, what := range []string{"open", "posix"} {
		said, pid, stop := start(t, 0, what, dir)
		require.Equal(t, "<nil>", said)
		_, err := Open(dir, nil)
		require.ErrorIs(t, err, ErrLocked, what)
		require.ErrorContains(t, err, fmt.Sprintf("process %d", pid), what)
		require.ErrorContains(t, err, filepath.Join(dir, lockName))

		begun := time.Now()
		_, err = Open(dir, &Options{LockWait: 30 * time.Millisecond})
		require.ErrorIs(t, err, ErrLocked)
		require.GreaterOrEqual(t, time.Since(begun), 30*time.Millisecond)

		opened := make(chan error)
		go func() {
			st, err := Open(dir, &Options{LockWait: time.Minute})
			if err == nil {
				err = st.Close()
			}
			opened <- err
		}()
		stop()
		require.NoError(t, <-opened, "the lock goes with its process")
	}
	requireSeeded(t, dir)

	// The other way round, and twice in one process.
	st, err := Open(dir, nil)
	require.NoError(t, err)
	said, _, stop := start(t, 0, "open", dir)
	require.Contains(t, said, ErrLocked.Error())
	require.Contains(t, said, fmt.Sprintf("process %d", os.Getpid()))
	stop()
	_, err = Open(dir, nil)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, st.Close())
	requireSeeded(t, dir)
}

// TestReadOnlyDirectory: an error that says so, and where; nothing is changed.
func TestReadOnlyDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir := seeded(t)
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		require.NoError(t, os.Chmod(up, 0o755))
	}
	said, _, stop := start(t, 65534, "open", dir)
	require.Contains(t, said, ErrReadOnly.Error())
	require.Contains(t, said, "permission denied")
	require.Contains(t, said, dir)
	stop()
	said, _, stop = start(t, 65534, "open", filepath.Join(dir, "new"))
	require.Contains(t, said, ErrReadOnly.Error())
	stop()
	requireSeeded(t, dir)
}
