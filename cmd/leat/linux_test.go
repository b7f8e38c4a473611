package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	cmd := exec.CommandContext(t.Context(), built, "dump", write(t, firstLog, makeBatch(t, 0, nil, 0)))
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	require.Equal(t, exitFailed, status(t, cmd.Run()))
	require.Contains(t, stderr.String(), "no space left on device")
}

// allocated runs a dump here, and returns all the memory that it ever asked for.
func allocated(t *testing.T, path string) (status int, bytes uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status = run(t.Context(), []string{"dump", "--json", path}, io.Discard, io.Discard)
	runtime.ReadMemStats(&after)
	return status, after.TotalAlloc - before.TotalAlloc
}

// Memory does not grow with the file, nor with what a length says.
func TestFlatMemory(t *testing.T) {
	const limit = 4 << 20
	f, err := os.Create(write(t, firstLog))
	require.NoError(t, err)
	defer f.Close()
	b := makeBatch(t, 0, make([]byte, 900<<10), 0)
	for i := range int64(200) {
		codec.SetBaseOffset(b, i)
		_, err := f.Write(b)
		require.NoError(t, err)
	}
	s, n := allocated(t, f.Name())
	require.Equal(t, exitOK, s)
	require.Less(t, n, uint64(limit))
	t.Logf("%d KiB for a file of %d MiB", n>>10, 200*len(b)>>20)

	// 600 MiB, none of it on the disk, in a batch whose CRC is wrong.
	require.NoError(t, f.Truncate(0))
	binary.BigEndian.PutUint32(b[lengthPos:], 600<<20-codec.LogOverhead)
	_, err = f.WriteAt(b[:codec.HeaderSize], 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(600<<20))
	s, n = allocated(t, f.Name())
	require.Equal(t, exitFailed, s)
	require.Less(t, n, uint64(limit))
	t.Logf("%d KiB for a batch of %d MiB", n>>10, 600)
}
