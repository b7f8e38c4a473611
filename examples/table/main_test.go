package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

var ctx = context.Background()

func try(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = command(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// TestTable: the log stays flat, the table is what it must be, and a second run
// goes on where the first one has stopped, one that was interrupted included.
func TestTable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	status, stdout, stderr := try(t, ctx, "-dir", dir, "-updates", "120000", "-keys", "100")
	require.Equal(t, 0, status, stderr)
	require.Contains(t, stdout, "opened           0  keys      0")
	require.Regexp(t, `(?m)^opened      120000  keys +[89]\d .* all as they must be$`, stdout)
	sizes := regexp.MustCompile(`log +([0-9.]+) MB  after +([0-9.]+) MB`).FindAllStringSubmatch(stdout, -1)
	require.Len(t, sizes, 10)
	for _, s := range sizes {
		size, err := strconv.ParseFloat(s[1], 64)
		require.NoError(t, err)
		require.Less(t, size, float64(waitFactor*minLog)/1e6+0.1)
	}
	require.Greater(t, sizes[9][2], "8", "more than what makes a compaction worth it")
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	topic, err := st.Topic("table")
	require.NoError(t, err)
	p, err := topic.Partition(0)
	require.NoError(t, err)
	require.Greater(t, p.LogEndOffset(), int64(120000))
	var first int64 = -1
	rd, err := p.Reader(leat.ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	for rec, err := range rd.Records(ctx) {
		require.NoError(t, err)
		first = rec.Offset
		break
	}
	require.NoError(t, rd.Close())
	require.Greater(t, first, int64(0), "it was compacted")
	require.NoError(t, st.Close())

	some, cancel := context.WithCancel(ctx)
	out := writer(func(b []byte) {
		if bytes.HasPrefix(b, []byte("changes")) {
			cancel()
		}
	})
	var errs bytes.Buffer
	require.Equal(t, 1, command(some, []string{"-dir", dir, "-updates", "125000", "-keys", "100"}, out, &errs))
	require.Contains(t, errs.String(), "context canceled")
	status, stdout, stderr = try(t, ctx, "-dir", dir, "-updates", "125000", "-keys", "100")
	require.Equal(t, 0, status, stderr)
	require.Regexp(t, `(?m)^opened      12[0-4][1-9]00 .* all as they must be$`, stdout)
	require.Regexp(t, `(?m)^opened      125000 .* all as they must be$`, stdout)

	status, _, stderr = try(t, ctx, "-dir", dir, "-keys", "7")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "the table has 100 keys")
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestBreach: whatever is not as it must be makes the program fail.
func TestBreach(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	args := []string{"-dir", dir, "-updates", "1000", "-keys", "10"}
	status, _, stderr := try(t, ctx, args...)
	require.Equal(t, 0, status, stderr)
	tamper := func(changes ...Change) {
		require.NoError(t, open(ctx, dir, func(t *Table) error { return t.Update(ctx, changes...) }))
	}
	var key, value string
	require.NoError(t, open(ctx, dir, func(t *Table) error {
		for key, value = range t.Range() {
			if key != counter {
				break
			}
		}
		return nil
	}))
	for want, c := range map[string]Change{
		"it must be":      {Key: key, Value: "something else"},
		"there must be":   {Key: key, Delete: true},
		"was deleted":     {Key: "stranger", Value: "x"},
		"invalid syntax":  {Key: counter, Value: "many of 10"},
		"the table has 5": {Key: counter, Value: "1000 of 5"},
	} {
		tamper(c)
		status, _, stderr := try(t, ctx, args...)
		require.Equal(t, 1, status, want)
		require.Contains(t, stderr, want)
		tamper(Change{Key: key, Value: value}, Change{Key: "stranger", Delete: true}, Change{Key: counter, Value: "1000 of 10"})
	}
	status, _, stderr = try(t, ctx, args...)
	require.Equal(t, 0, status, stderr)
}

// TestOperations of a table, and of one that is read again.
func TestOperations(t *testing.T) {
	st, err := leat.OpenMem(nil)
	require.NoError(t, err)
	table, err := OpenTable(ctx, st, "t")
	require.NoError(t, err)
	require.NoError(t, table.Put(ctx, "b", "1"))
	require.NoError(t, table.Put(ctx, "a", ""))
	require.NoError(t, table.Update(ctx, Change{Key: "c", Value: "3"}, Change{Key: "b", Value: "2"}, Change{Key: "c", Delete: true}))
	require.NoError(t, table.Put(ctx, "d", "4"))
	require.NoError(t, table.Delete(ctx, "d"))
	want := map[string]string{"a": "", "b": "2"}
	require.Equal(t, want, maps.Collect(table.Range()))
	require.Equal(t, 2, table.Len())
	v, ok := table.Get("a")
	require.True(t, ok)
	require.Empty(t, v)
	_, ok = table.Get("c")
	require.False(t, ok)
	rows := table.Range()
	require.NoError(t, table.Put(ctx, "e", "5"))
	require.Equal(t, want, maps.Collect(rows), "as they were when Range was called")
	require.NoError(t, table.Delete(ctx, "e"))

	var wg sync.WaitGroup // of one key the log and the map have the same order
	for i := range 20 {
		wg.Go(func() {
			if err := table.Put(ctx, "f", fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want = maps.Collect(table.Range())
	topic, err := st.Topic("t")
	require.NoError(t, err)
	require.NoError(t, topic.Compact(ctx, nil))
	require.NoError(t, table.Close())
	table, err = OpenTable(ctx, st, "t")
	require.NoError(t, err)
	require.Equal(t, want, maps.Collect(table.Range()))

	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, table.Put(over, "g", "7"), context.Canceled)
	require.NoError(t, table.Put(ctx, "g", "7"), "nothing was stored, for certain")
	require.NoError(t, st.Close())
	require.Error(t, table.Put(ctx, "g", "8"))
	require.ErrorContains(t, table.Put(ctx, "g", "8"), "open the table again")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"more"}, {"-keys", "0"}, {"-updates", "-1"}} {
		status, _, stderr := try(t, ctx, args...)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, "-updates")
	}
	status, _, _ := try(t, ctx, "-h")
	require.Equal(t, 0, status)
	t.Setenv("TMPDIR", t.TempDir())
	status, _, stderr := try(t, ctx, "-updates", "500", "-keys", "5")
	require.Equal(t, 0, status, stderr)
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays in the temporary directory")
}

// TestKilled: a run that is killed, wherever it is, leaves what the next one finds
// to be as it must be.
func TestKilled(t *testing.T) {
	program := filepath.Join(t.TempDir(), "table.exe")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	args := []string{"-dir", filepath.Join(t.TempDir(), "store"), "-updates", "10000000", "-keys", "50"}
	for lines := range 4 {
		cmd := exec.Command(program, args...)
		r, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		in := bufio.NewScanner(r)
		require.True(t, in.Scan())
		require.Contains(t, in.Text(), "all as they must be")
		if lines == 0 {
			args[3] = "100000" // shorter steps from now on
		} else {
			for range lines {
				require.True(t, in.Scan())
			}
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}
	status, stdout, stderr := try(t, ctx, args...)
	require.Equal(t, 0, status, stderr)
	require.Contains(t, stdout, "opened      100000")
}
