//go:build unix

package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

// TestCheckLinks: what is no file is not opened, or the check would hang, or look
// elsewhere.
func TestCheckLinks(t *testing.T) {
	dir, logs := closedStore(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "orders-0", "pipe"), 0o600))
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "elsewhere-0")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "two\nlines"), nil, 0o600))
	r := tool(t, "check", dir)
	require.Equal(t, exitOK, r.status, r.stdout)
	require.Equal(t, 2, strings.Count(r.stdout, "was not opened"), r.stdout)
	require.Contains(t, r.stdout, `two\nlines": it is nothing of a store`)

	elsewhere := filepath.Join(t.TempDir(), "copy.log")
	require.NoError(t, os.Rename(logs[1], elsewhere))
	require.NoError(t, os.Symlink(elsewhere, logs[1]))
	r = tool(t, "check", dir)
	require.Equal(t, exitUnchecked, r.status, r.stdout)
	require.Contains(t, r.stderr, filepath.Base(logs[1])+": wrong type of file")
}

func TestCheckNotPermitted(t *testing.T) {
	dir, logs := closedStore(t)
	require.NoError(t, os.Chmod(logs[1], 0))
	if f, err := os.Open(logs[1]); err == nil {
		f.Close()
		t.Skip("this user may read everything")
	}
	r := tool(t, "check", dir)
	require.Equal(t, exitUnchecked, r.status, r.stdout)
	require.Contains(t, r.stderr, logs[1]+": permission denied")
}

// TestCheckProgressBar: on a terminal there is one, and it is gone at the end.
func TestCheckProgressBar(t *testing.T) {
	dir, _ := closedStore(t)
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), built, "check", dir)
	cmd.Stdout = &out
	screen, tty, err := pty.Open()
	require.NoError(t, err)
	defer screen.Close()
	cmd.Stderr = tty
	require.NoError(t, cmd.Start())
	require.NoError(t, tty.Close())
	shown, _ := io.ReadAll(screen) // ends with EIO, on Linux
	require.NoError(t, cmd.Wait())
	require.Contains(t, string(shown), "check")
	require.Contains(t, out.String(), ": sound;")
	require.NotContains(t, out.String(), "\x1b")
}

// TestCheckInterrupted: a check that has much to say ends at a whole line.
func TestCheckInterrupted(t *testing.T) {
	dir := t.TempDir()
	b := makeBatch(t, 0, nil, 0)
	var data []byte
	for i := range int64(20000) {
		codec.SetBaseOffset(b, i)
		data = append(data, b...)
		if i%2 == 1 {
			data[len(data)-1] ^= 1
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, firstLog), data, 0o600))
	cmd := exec.CommandContext(t.Context(), built, "check", "--json", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	rest := bufio.NewReader(out)
	_, err = rest.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	more, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.Equal(t, exitInterrupted, status(t, cmd.Wait()))
	require.Equal(t, "leat: interrupted\n", stderr.String())
	require.Less(t, len(lines(t, string(more))), 9999)
}
