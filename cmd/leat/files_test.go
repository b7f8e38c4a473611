package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

func TestText(t *testing.T) {
	out := sound(t, golden.Path(t, "partition", "p1", "crash", "orders-3"))
	for _, line := range []string{
		"partition.metadata: 43 bytes\n  version: 0\n  topic_id: ",
		"\n  13 456\n", // of leader-epoch-checkpoint
		"\nbatch 0..2 at 0: 187 bytes, records 3, zstd, CreateTime, from 2023-11-15T01:16:40.712Z, max 2023-11-15T01:16:40.714Z, " +
			"leader epoch 0, producer 1001 epoch 0 sequence 0..2, crc 74815112 valid\n" +
			"  0 2023-11-15T01:16:40.712Z key \"key-17\" value \"xngcqz",
		"\n  1 2023-11-15T01:16:40.683Z key \"key-12\" value null\n",
		", transactional, control ABORT coordinator epoch ",
		"\n00000000000000000000.index: 112 bytes\n  offset 14 at 1052\n",
		"\n00000000000000000000.timeindex: 180 bytes\n  2023-11-15T01:16:42.840Z offset 14\n",
		"\n  producer 2002 aborted 15..62, last stable offset 20\n",
		"\n00000000000000000508.index: 1000 bytes\n",
		"\n  then unused space\n",
		"\n  producer 2001 epoch 0: last sequence 13, last offset 142, offset delta 1, 2023-11-15T01:17:11.099Z, coordinator epoch 7, in a transaction since 141\n",
	} {
		require.Contains(t, out, line)
	}
	out = sound(t, golden.Path(t, "batches", "misc", "extremes.log"))
	require.Contains(t, out, "ms ") // timestamps that are no times
	long := sound(t, write(t, firstLog, makeBatch(t, 0, []byte("\x1b[2J\u202e"+string(make([]byte, 1000))), 0)))
	require.Contains(t, long, `value "\x1b[2J\u202e\x00`)
	require.Contains(t, long, `"... (1007 bytes)`)
	require.NotContains(t, long, "\x1b")
}

func TestNotToBeRead(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "orders-0"), 0o700))
	for _, test := range []struct{ path, stderr string }{
		{filepath.Join(dir, "missing.log"), "missing.log: no such file or directory"},
		{filepath.Join(dir, "orders-0"), "no segments in it"},
		{dir, "is one of its folders meant, like " + filepath.Join(dir, "orders-0")},
		{write(t, "notes.txt"), "not the name of a file that dump knows"},
		{write(t, "00000000000000000000.snapshot"), "corrupt producer snapshot"},
		{write(t, "recovery-point-offset-checkpoint", []byte("0\n2\norders 0 5\n")), "recovery-point-offset-checkpoint"},
	} {
		if runtime.GOOS == "windows" && test.stderr[:7] == "missing" {
			continue // says it in other words
		}
		for _, form := range [][]string{{test.path}, {"--json", test.path}} {
			r := tool(t, append([]string{"dump"}, form...)...)
			require.Equal(t, exitFailed, r.status, test.path)
			require.Contains(t, r.stderr, test.stderr)
			require.Contains(t, r.stderr, test.path)
		}
	}
}

func TestOtherNames(t *testing.T) {
	data := golden.Bytes(t, "corrupt", "segments", "good.log")
	for _, name := range []string{
		"copy.log", "00000000000000000100.log.deleted", "00000000000000000100.log.swap", "00000000000000000100.log.cleaned",
		"00000000000000000100.762.quarantine",
	} {
		require.Len(t, lines(t, sound(t, "--json", write(t, name, data))), 8, name)
	}
	out := sound(t, "--json", write(t, "recovery-point-offset-checkpoint", []byte("0\n1\norders 0 5\n")))
	require.Equal(t, "0\n1\norders 0 5\n", parse(t, []byte(out))["text"])
	require.Contains(t, sound(t, golden.Path(t, "corrupt", "indexes", "good.index")), "offsets are relative")
}

// Nothing is written, be it possible or not: not a byte, name, mode or time of a
// partition's folder changes, in a folder without any right to write.
func TestReadOnly(t *testing.T) {
	dir := golden.CopyDir(t, "partition", "p1", "crash")
	folder := filepath.Join(dir, "orders-3")
	old := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, e := range entries {
		name := filepath.Join(folder, e.Name())
		require.NoError(t, os.Chtimes(name, old, old))
		require.NoError(t, os.Chmod(name, 0o400))
	}
	require.NoError(t, os.Chtimes(folder, old, old))
	require.NoError(t, os.Chmod(folder, 0o500))
	defer os.Chmod(folder, 0o700)

	state := func() (list []string) {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			line := fmt.Sprint(name, info.Mode(), info.ModTime())
			if err == nil && info.Mode().IsRegular() {
				var b []byte
				b, err = os.ReadFile(name)
				line += golden.Hash(b)
			}
			list = append(list, line)
			return err
		})
		require.NoError(t, err)
		return list
	}
	before := state()
	require.NotEmpty(t, sound(t, folder))
	require.NotEmpty(t, sound(t, "--json", folder))
	for _, e := range entries {
		sound(t, filepath.Join(folder, e.Name()))
	}
	require.Equal(t, before, state())
}
