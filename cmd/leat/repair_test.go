package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// damageOrders damages a store of makeDamageable in several ways, and tells how
// many bytes its log files have.
func damageOrders(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "orders-0", "*.log"))
	require.NoError(t, err)
	require.Greater(t, len(files), 4)
	change := func(name string, do func(b []byte) []byte) {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, do(b), 0o600))
	}
	change(files[0], func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
	change(files[1], func(b []byte) []byte { clear(b[1000:2000]); return b })
	require.NoError(t, os.Remove(files[2]))
	change(files[len(files)-1], func(b []byte) []byte { return b[:len(b)/2] })
}

// content is what can be read of a store, and the bytes in quarantine files.
func content(t testing.TB, dir string) (values map[int64]string, aside int) {
	t.Helper()
	st, err := leat.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	tp, err := st.Topic("orders")
	require.NoError(t, err)
	values = sayings(t, tp)
	for offset, v := range values {
		require.Equal(t, saying(tp, offset), v)
	}
	require.NoError(t, st.Close())
	files, err := filepath.Glob(filepath.Join(dir, "orders-0", "*.quarantine"))
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		if !seen[string(b)] {
			aside += len(b)
		}
		seen[string(b)] = true
	}
	return values, aside
}

// TestRepairCommand: a dry run tells and changes nothing, --apply does it, and
// then there is nothing to be done.
func TestRepairCommand(t *testing.T) {
	dir := t.TempDir()
	makeDamageable(t, dir)
	r := tool(t, "repair", dir)
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Empty(t, r.stdout)
	damageOrders(t, dir)

	before := files(t, dir)
	dry := tool(t, "repair", dir)
	require.Equal(t, exitFailed, dry.status)
	require.Contains(t, dry.stderr, "--apply")
	require.Contains(t, dry.stdout, "quarantine")
	require.Equal(t, before, files(t, dir))
	for _, o := range lines(t, tool(t, "repair", "--json", dir).stdout) {
		require.Equal(t, false, o["done"])
		require.Equal(t, "orders", o["topic"])
	}

	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	locked := tool(t, "repair", "--apply", dir)
	require.Equal(t, exitFailed, locked.status)
	require.Contains(t, locked.stderr, fmt.Sprint(os.Getpid()))
	require.NoError(t, st.Close())

	done := tool(t, "repair", "--apply", dir)
	require.Equal(t, exitOK, done.status, done.stderr)
	require.Equal(t, strings.Count(dry.stdout, "\n"), strings.Count(done.stdout, "\n"))
	again := tool(t, "repair", "--apply", dir)
	require.Equal(t, exitOK, again.status, again.stderr)
	require.Empty(t, again.stdout)
	requireSound(t, dir)
	require.Equal(t, exitFailed, tool(t, "repair", t.TempDir()).status)
}

// files are those of a directory.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	more, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, f := range append(list, more...) {
		if b, err := os.ReadFile(f); err == nil {
			all[f] = string(b)
		}
	}
	return all
}

// TestRepairKilled: a repair that is killed, at any call that changes files, leaves
// nothing that another one does not finish, and nothing is lost.
func TestRepairKilled(t *testing.T) {
	origin := t.TempDir()
	makeDamageable(t, origin)
	damageOrders(t, origin)
	whole := filepath.Join(t.TempDir(), "whole")
	require.NoError(t, os.CopyFS(whole, os.DirFS(origin)))
	require.Equal(t, exitOK, tool(t, "repair", "--apply", whole).status)
	want, aside := content(t, whole)
	require.Greater(t, len(want), 80)

	calls := []string{"fdatasync", "fsync", "renameat,renameat2", "unlinkat", "pwrite64"}
	tries := 2
	if os.Getenv("LEAT_LONG") != "" {
		tries = 60
	}
	killed := 0
	for _, call := range calls {
		for i := range tries {
			dir := filepath.Join(t.TempDir(), "store")
			require.NoError(t, os.CopyFS(dir, os.DirFS(origin)))
			n := 1 + i
			if tries == 2 {
				n = 2 + 6*i
			}
			if killAt(t, call, n, "repair", "--apply", dir) {
				break
			}
			killed++
			r := tool(t, "repair", "--apply", dir)
			require.Equal(t, exitOK, r.status, "%s %d: %s", call, n, r.stderr)
			requireSound(t, dir)
			got, kept := content(t, dir)
			require.Equal(t, len(want), len(got), "%s %d", call, n)
			require.GreaterOrEqual(t, kept, aside, "%s %d", call, n)
		}
	}
	require.Positive(t, killed)
}

// TestRecoverCommand: what a crash has left is recovered, and told of.
func TestRecoverCommand(t *testing.T) {
	dir, crashed := t.TempDir(), filepath.Join(t.TempDir(), "crashed")
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(t.Context(), "orders", leat.TopicConfig{SegmentBytes: 4 << 10, Durability: leat.Written, FlushInterval: leat.Unlimited})
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	for i := range int64(100) {
		_, err := p.Append(t.Context(), leat.Record{Value: []byte(saying(tp, i))})
		require.NoError(t, err)
	}
	require.NoError(t, os.CopyFS(crashed, os.DirFS(dir)))
	require.NoError(t, st.Close())
	logs, err := filepath.Glob(filepath.Join(crashed, "orders-0", "*.log"))
	require.NoError(t, err)
	last := logs[len(logs)-1]
	b, err := os.ReadFile(last)
	require.NoError(t, err)
	b[100] ^= 1
	require.NoError(t, os.WriteFile(last, b, 0o600))

	killed := 0
	for i, call := range []string{"fdatasync", "fsync", "renameat,renameat2", "pwrite64"} {
		dir := filepath.Join(t.TempDir(), "store")
		require.NoError(t, os.CopyFS(dir, os.DirFS(crashed)))
		if !killAt(t, call, 2+i, "recover", dir) {
			killed++
		}
		require.Equal(t, exitOK, tool(t, "recover", dir).status)
		requireSound(t, dir)
	}
	require.Positive(t, killed)
	r := tool(t, "recover", "--json", crashed)
	require.Equal(t, exitOK, r.status, r.stderr)
	cuts := 0
	for _, o := range lines(t, r.stdout) {
		cuts += len(o["cuts"].([]any))
		if o["topic"] == "orders" {
			require.Equal(t, false, o["clean"])
		}
	}
	require.Equal(t, 1, cuts, r.stdout)
	requireSound(t, crashed)
	r = tool(t, "recover", crashed)
	require.Equal(t, exitOK, r.status, r.stderr)
	require.Equal(t, "2 partitions had been closed in order\n", r.stdout)

	harmed := t.TempDir()
	makeDamageable(t, harmed)
	damageOrders(t, harmed)
	require.NoError(t, os.Remove(filepath.Join(harmed, ".kafka_cleanshutdown")))
	r = tool(t, "recover", harmed)
	require.Equal(t, exitFailed, r.status, r.stdout)
	require.Contains(t, r.stderr, "leat repair")
	require.Equal(t, exitFailed, tool(t, "recover", t.TempDir()).status)
}
