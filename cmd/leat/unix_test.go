//go:build unix

package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

// long is a segment whose dump is more than any pipe holds.
func long(t testing.TB) string {
	t.Helper()
	b := makeBatch(t, 0, make([]byte, 1000), 0)
	var data []byte
	for i := range int64(20000) {
		codec.SetBaseOffset(b, i)
		data = append(data, b...)
	}
	return write(t, firstLog, data)
}

// A named pipe is refused at once; opening it would wait for a writer.
func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "00000000000000000005.log")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	r := tool(t, "dump", fifo)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, fifo+": not a regular file")

	// In a folder the other files are dumped all the same; links are not followed.
	batch := makeBatch(t, 0, nil, 0)
	require.NoError(t, os.WriteFile(filepath.Join(dir, firstLog), batch, 0o600))
	link := filepath.Join(dir, "00000000000000000009.log")
	require.NoError(t, os.Symlink(filepath.Join(dir, firstLog), link))
	r = tool(t, "dump", "--json", dir)
	require.Equal(t, exitFailed, r.status)
	require.Len(t, lines(t, r.stdout), 1)
	require.Contains(t, r.stderr, fifo+": not a regular file")
	require.Contains(t, r.stderr, link+": not a regular file")

	// One that the user names is.
	require.Len(t, lines(t, sound(t, "--json", link)), 1)
}

func TestNotPermitted(t *testing.T) {
	path := write(t, firstLog, makeBatch(t, 0, nil, 0))
	require.NoError(t, os.Chmod(path, 0))
	if f, err := os.Open(path); err == nil {
		f.Close()
		t.Skip("this user may read everything")
	}
	r := tool(t, "dump", path)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, path+": permission denied")
}

// start runs a dump and reads one line of what it prints.
func start(t *testing.T, path string) (cmd *exec.Cmd, out io.ReadCloser, rest *bufio.Reader, stderr *bytes.Buffer) {
	t.Helper()
	cmd, stderr = exec.CommandContext(t.Context(), built, "dump", "--json", path), &bytes.Buffer{}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	rest = bufio.NewReader(out)
	line, err := rest.ReadBytes('\n')
	require.NoError(t, err)
	parse(t, line)
	return cmd, out, rest, stderr
}

// Who pipes into head sees no complaint.
func TestClosedPipe(t *testing.T) {
	cmd, out, _, stderr := start(t, long(t))
	require.NoError(t, out.Close())
	err := cmd.Wait()
	require.Error(t, err)
	state := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, state.Signaled() && state.Signal() == syscall.SIGPIPE, "%v", err)
	require.Empty(t, stderr.String())
}

func TestInterruptSignal(t *testing.T) {
	path := long(t)
	cmd, _, rest, stderr := start(t, path)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	b, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.Equal(t, exitInterrupted, status(t, cmd.Wait()))
	require.Equal(t, "leat: interrupted\n", stderr.String())
	require.Less(t, len(lines(t, string(b))), 19999) // each whole, and not all of them
}
