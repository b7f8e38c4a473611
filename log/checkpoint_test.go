package log

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/stretchr/testify/require"
)

func TestOffsetCheckpoint(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       map[TopicPartition]int64
		err        string
	}{
		{"never written", "", map[TopicPartition]int64{}, ""},
		{"no partitions", "0\n0\n", map[TopicPartition]int64{}, ""},
		{"two", "0\n2\nb 1 5\na 0 9223372036854775807\n", map[TopicPartition]int64{{"a", 0}: 1<<63 - 1, {"b", 1}: 5}, ""},
		{"no final newline", "0\n1\na 0 5", map[TopicPartition]int64{{"a", 0}: 5}, ""},
		{"written on Windows", "0\r\n1\r\na 0 5\r\n", map[TopicPartition]int64{{"a", 0}: 5}, ""},
		{"version", "1\n0\n", nil, `line 1: version "1"`},
		{"no version", "\n0\n", nil, `line 1: version ""`},
		{"no count", "0\n", nil, `line 2: count ""`},
		{"negative count", "0\n-1\n", nil, `line 2: count "-1"`},
		{"huge count", "0\n2147483647\na 0 5\n", nil, "1 lines, 2147483647 announced"},
		{"count beyond int", "0\n2147483648\na 0 5\n", nil, "line 2: count"},
		{"too few", "0\n2\na 0 5\n", nil, "1 lines, 2 announced"},
		{"too many", "0\n1\na 0 5\nb 0 5\n", nil, "more than the 1 lines announced"},
		{"empty line", "0\n1\na 0 5\n\n", nil, "more than the 1 lines announced"},
		{"fields", "0\n1\na 5\n", nil, "line 3: 2 fields, not 3"},
		{"more fields", "0\n1\na b 0 5\n", nil, "line 3: 4 fields, not 3"},
		{"partition", "0\n1\na x 5\n", nil, `line 3: partition "x"`},
		{"negative partition", "0\n1\na -1 5\n", nil, `line 3: partition "-1"`},
		{"partition beyond int", "0\n1\na 2147483648 5\n", nil, "line 3: partition"},
		{"offset", "0\n1\na 0 5x\n", nil, `line 3: offset "5x"`},
		{"negative offset", "0\n1\na 0 -5\n", nil, `line 3: offset "-5"`},
		{"offset beyond int", "0\n1\na 0 9223372036854775808\n", nil, "line 3: offset"},
		{"twice", "0\n2\na 0 5\na 0 6\n", nil, `line 4: "a-0" is listed twice`},
		{"binary", "\x00\x01\x02", nil, "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseOffsetCheckpoint([]byte(c.text))
			if c.err != "" {
				require.ErrorIs(t, err, ErrCheckpoint)
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestOffsetCheckpointIsKafkas(t *testing.T) {
	const text = "0\n4\na 2 7\na 10 8\na.b 0 1\nb 0 0\n"
	offsets := map[TopicPartition]int64{{"b", 0}: 0, {"a", 10}: 8, {"a", 2}: 7, {"a.b", 0}: 1}
	require.Equal(t, "kept"+text, string(AppendOffsetCheckpoint([]byte("kept"), offsets)))

	for _, set := range []string{"p1", "p2-deleted-head"} {
		for _, name := range []string{"recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"} {
			if !golden.Has("partition", set, "clean", name) {
				continue
			}
			b := golden.Bytes(t, "partition", set, "clean", name)
			offsets, err := ParseOffsetCheckpoint(b)
			require.NoError(t, err)
			require.Equal(t, string(b), string(AppendOffsetCheckpoint(nil, offsets)), "%s %s", set, name)
		}
	}
	var e golden.Partition
	golden.JSON(t, &e, "partition", "p1", "expected.json")
	offsets, err := ParseOffsetCheckpoint(golden.Bytes(t, "partition", "p1", "clean", "replication-offset-checkpoint"))
	require.NoError(t, err)
	require.Equal(t, map[TopicPartition]int64{{e.Topic, e.Partition}: e.State.HighWatermark}, offsets)
}

func checkpointText(t *testing.T, fsys vfs.FS, name string) string {
	f, err := fsys.Open(name, vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	if size > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return string(b)
}

func TestWriteFile(t *testing.T) {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.Mkdir("orders-3"))
	const name = "orders-3/leader-epoch-checkpoint"
	require.NoError(t, WriteFile(fsys, name, []byte("one")))
	require.Equal(t, "one", checkpointText(t, fsys, name))
	require.NoError(t, WriteFile(fsys, name, nil))
	require.Equal(t, "", checkpointText(t, fsys, name))

	// A temporary file of a process that died is in the way.
	f, err := fsys.Create(name + ".tmp")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("x", 100)), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, WriteFile(fsys, name, []byte("two")))
	require.Equal(t, "two", checkpointText(t, fsys, name))
	require.Equal(t, "absent", checkpointText(t, fsys, name+".tmp"))

	require.ErrorIs(t, WriteFile(fsys, "absent-0/x", nil), fs.ErrNotExist)
}

// A power cut before, after or in any call of WriteFile leaves the old content
// or the new one, and the new one when it had returned; an error of any call
// comes back, and leaves one of both, too.
func TestWriteFileSurvives(t *testing.T) {
	const name = "orders-3/x"
	build := func() *vfs.Mem {
		m := vfs.NewCrashMem()
		require.NoError(t, m.Mkdir("orders-3"))
		require.NoError(t, m.SyncDir("."))
		require.NoError(t, WriteFile(m, name, []byte("old")))
		return m
	}
	crashes := 0
	for fail := 0; ; fail++ {
		m, calls, failed := build(), 0, false
		m.SetHook(func(op vfs.Op, path string, before bool) error {
			for _, choice := range vfs.Choices(m.Dirty(), 4, 1) {
				crashes++
				got := checkpointText(t, m.CrashClone(choice), name)
				require.Contains(t, []string{"old", "new"}, got, "cut at %v %s", op, path)
			}
			if before {
				if calls++; calls == fail {
					failed = true
					return fmt.Errorf("call %d", fail)
				}
			}
			return nil
		})
		err := WriteFile(m, name, []byte("new"))
		m.SetHook(nil)
		for _, choice := range vfs.Choices(m.Dirty(), 4, 1) {
			got := checkpointText(t, m.CrashClone(choice), name)
			if err == nil {
				require.Equal(t, "new", got)
			} else {
				require.Contains(t, []string{"old", "new"}, got)
			}
		}
		if fail > 0 && !failed {
			require.NoError(t, err)
			require.Greater(t, fail, 5, "create, write, sync, close, rename and the directory's sync should be seen")
			break
		}
		if failed {
			require.Error(t, err, "call %d failed and nobody said so", fail)
		}
	}
	require.NotZero(t, crashes)
}
