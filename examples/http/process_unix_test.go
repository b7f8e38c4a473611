//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// build builds the server as a user does.
func build(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "http")
	out, err := exec.Command("go", "build", "-o", name, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return name
}

// run runs it, and returns it with its address.
func runBuilt(t *testing.T, name, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(name, "-dir", dir, "-addr", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, to, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { out.Close() })
	cmd.Stdout = to
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	require.NoError(t, to.Close())
	return cmd, serving(t, out)
}

// TestProcess ends the built server under load, by the signal that asks and by the
// one that does not: what was acknowledged is there.
func TestProcess(t *testing.T) {
	name := build(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			cmd, url := runBuilt(t, name, dir)
			createOrders(t, url)
			var k acknowledged
			some, wait := k.load(url, 8, 200)
			<-some
			require.NoError(t, cmd.Process.Signal(signal))
			err := cmd.Wait()
			wait()
			if signal == syscall.SIGKILL {
				require.Error(t, err)
			} else {
				require.NoError(t, err, "the exit status is 0")
			}
			k.check(t, dir, signal != syscall.SIGKILL)
		})
	}
}
