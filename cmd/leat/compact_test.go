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

// updates appends n records of so many keys to a partition, and returns the latest
// value of each.
func updates(t testing.TB, dir, topic string, n, keys int) map[string]string {
	t.Helper()
	st, err := leat.Open(dir, &leat.Options{Cleaner: leat.Cleaner{Off: true}})
	require.NoError(t, err)
	tp, err := st.Topic(topic)
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	latest := map[string]string{}
	for i := range n {
		key, value := fmt.Sprintf("k%d", i%keys), fmt.Sprintf("%d%s", i, strings.Repeat(".", 50))
		_, err := p.AppendWith(t.Context(), leat.AppendOptions{Durability: leat.Written}, leat.Record{Key: []byte(key), Value: []byte(value)})
		require.NoError(t, err)
		latest[key] = value
	}
	require.NoError(t, st.Close())
	return latest
}

// readAll is how many records there are, and what each key has last.
func readAll(t testing.TB, dir, topic string) (n int, latest map[string]string) {
	t.Helper()
	st, err := leat.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	tp, err := st.Topic(topic)
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	rd, err := p.Reader(leat.ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	defer rd.Close()
	latest = map[string]string{}
	for rec, err := range rd.Records(t.Context()) {
		require.NoError(t, err)
		latest[string(rec.Key)] = string(rec.Value)
		n++
	}
	return n, latest
}

// TestCompact makes a topic one that is compacted, and compacts it.
func TestCompact(t *testing.T) {
	dir := newStore(t)
	at := func(args ...string) []string { return append(args, "--dir", dir) }
	r := tool(t, at("compact", "orders")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "cleanup.policy")
	r = tool(t, at("compact", "--all")...)
	require.Equal(t, exitOK, r.status)
	require.Contains(t, r.stderr, "no topic is compacted")

	good(t, at("topics", "alter", "orders", "--config", "cleanup.policy=compact", "--config", "segment.bytes=4096")...)
	good(t, at("topics", "create", "other", "--config", "cleanup.policy=compact,delete")...)
	good(t, at("topics", "create", "plain")...)
	latest := updates(t, dir, "orders", 500, 10)
	latest["k"] = "v"
	out := good(t, at("compact", "orders")...)
	require.Regexp(t, `^orders-0  \d\d\.\d KiB -> \d\.\d KiB  499 records removed  \S+\norders-1  0 B -> 0 B  0 records removed  \S+\n$`, out)
	n, got := readAll(t, dir, "orders")
	require.Equal(t, 11, n)
	require.Equal(t, latest, got)
	require.Contains(t, good(t, "dump", filepath.Join(dir, "orders-0")), "k9")

	latest = updates(t, dir, "orders", 100, 10)
	latest["k"] = "v"
	require.Regexp(t, `^orders-1  0 B -> 0 B`, good(t, at("compact", "orders", "--partition", "1")...))
	n, _ = readAll(t, dir, "orders")
	require.Equal(t, 111, n)
	out = good(t, at("compact", "--all", "--memory", "65536", "--rate", "100000000")...)
	require.Regexp(t, `^orders-0 .*  100 records removed  \S+\norders-1 .*\nother-0 .*\n$`, out)
	n, got = readAll(t, dir, "orders")
	require.Equal(t, 11, n)
	require.Equal(t, latest, got)
}

// TestCompactUsage: what is wrong with a command line, and what cannot be done.
func TestCompactUsage(t *testing.T) {
	dir := newStore(t)
	good(t, "topics", "alter", "orders", "--config", "cleanup.policy=compact", "--dir", dir)
	for _, test := range []struct {
		status int
		says   string
		args   []string
	}{
		{exitUsage, "which topic? --all", nil},
		{exitUsage, "one topic at a time", []string{"a", "b"}},
		{exitUsage, "--all and a topic", []string{"a", "--all"}},
		{exitUsage, "--partition is of one topic", []string{"--all", "--partition", "1"}},
		{exitUsage, "numbers of bytes", []string{"a", "--rate", "-1"}},
		{exitFailed, "leat topics list", []string{"stranger"}},
		{exitFailed, "unknown partition: orders-7", []string{"orders", "--partition", "7"}},
		{exitFailed, "Cleaner.Memory is 5", []string{"orders", "--memory", "5"}},
	} {
		r := tool(t, append(append([]string{"compact"}, test.args...), "--dir", dir)...)
		require.Equal(t, test.status, r.status, "%v: %s", test.args, r.stderr)
		require.Contains(t, r.stderr, test.says)
		require.Empty(t, r.stdout)
	}
	r := tool(t, "compact", "orders", "--dir", filepath.Join(dir, "not"))
	require.Equal(t, exitFailed, r.status)
	require.NoDirExists(t, filepath.Join(dir, "not"))
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	r = tool(t, "compact", "orders", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "open in another process")
	require.NoError(t, st.Close())
}

// TestCompactDamaged: a partition that cannot be cleaned is told of, and the others
// are cleaned.
func TestCompactDamaged(t *testing.T) {
	dir := newStore(t)
	for _, name := range []string{"bad", "good"} {
		good(t, "topics", "create", name, "--config", "cleanup.policy=compact", "--config", "segment.bytes=4096", "--dir", dir)
		updates(t, dir, name, 300, 5)
	}
	file := filepath.Join(dir, "bad-0", "00000000000000000000.log")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b[1000] ^= 1
	require.NoError(t, os.WriteFile(file, b, 0o600))
	r := tool(t, "compact", "--all", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "bad-0")
	require.Contains(t, r.stderr, "position")
	require.Contains(t, r.stderr, "leat check")
	require.Regexp(t, `^good-0 .* 295 records removed`, r.stdout)
	require.Equal(t, 1, strings.Count(r.stderr, "position"), "once: %s", r.stderr)
}
