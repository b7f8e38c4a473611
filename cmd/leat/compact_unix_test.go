//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// TestCompactScreen: a terminal gets a bar, which is gone when the line of the
// partition comes.
func TestCompactScreen(t *testing.T) {
	dir := newStore(t)
	good(t, "topics", "alter", "orders", "--config", "cleanup.policy=compact", "--config", "segment.bytes=4096", "--dir", dir)
	updates(t, dir, "orders", 500, 10)
	out, status := screen(t, 100, "", "compact", "orders", "--partition", "0", "--rate", "150000", "--dir", dir)
	require.Equal(t, exitOK, status, out)
	require.Regexp(t, `orders-0 +\d+% `, out)
	require.Regexp(t, `(\r|\x1b\[2?K)orders-0  \d\d\.\d KiB -> \d\.\d KiB  499 records removed  \S+\n$`, out)
}

// TestCompactInterrupted: the user may change their mind.
func TestCompactInterrupted(t *testing.T) {
	dir := newStore(t)
	good(t, "topics", "alter", "orders", "--config", "cleanup.policy=compact", "--config", "segment.bytes=4096", "--dir", dir)
	latest := updates(t, dir, "orders", 500, 10)
	latest["k"] = "v"
	cmd := exec.CommandContext(t.Context(), built, "compact", "orders", "--rate", "1000", "--dir", dir)
	f, err := pty.Start(cmd)
	require.NoError(t, err)
	defer f.Close()
	var out bytes.Buffer
	b := make([]byte, 4096)
	for interrupted := false; ; {
		n, err := f.Read(b)
		out.Write(b[:n])
		if !interrupted && bytes.Contains(out.Bytes(), []byte("%")) {
			interrupted = true
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
		}
		if err != nil {
			break // the end, on Linux EIO
		}
	}
	require.Equal(t, exitInterrupted, status(t, cmd.Wait()), out.String())
	require.Contains(t, out.String(), "leat: interrupted")
	_, got := readAll(t, dir, "orders")
	require.Equal(t, latest, got)
	good(t, "compact", "orders", "--dir", dir)
	n, got := readAll(t, dir, "orders")
	require.Equal(t, 11, n)
	require.Equal(t, latest, got)
}
