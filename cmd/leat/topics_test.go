package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// good runs the tool, which must have nothing to complain of.
func good(t testing.TB, args ...string) string {
	t.Helper()
	r := tool(t, args...)
	require.Equal(t, exitOK, r.status, "%s\n%s", args, r.stderr)
	require.Empty(t, r.stderr, "%s", args)
	return r.stdout
}

// newStore is the directory of a store with a topic orders of two partitions and
// ten records in the first.
func newStore(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(t.Context(), "orders", leat.TopicConfig{Partitions: 2})
	require.NoError(t, err)
	p, err := tp.Partition(0)
	require.NoError(t, err)
	for range 10 {
		_, err := p.Append(t.Context(), leat.Record{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	return dir
}

// TestTopics is the life of a topic.
func TestTopics(t *testing.T) {
	dir := newStore(t)
	at := func(args ...string) []string { return append(args, "--dir", dir) }
	require.Equal(t, "created topic users: 4 partitions cleanup.policy=compact,delete retention.ms=60000\n",
		good(t, at("topics", "create", "users", "--partitions", "4", "--config", "retention.ms=60000", "--config", "cleanup.policy=compact,delete")...))
	require.Equal(t, "orders\nusers\n", good(t, at("topics", "list")...))
	require.Equal(t, "topic users exists, and is left as it is\n",
		good(t, at("topics", "create", "users", "--if-not-exists", "--partitions", "9")...))
	r := tool(t, at("topics", "create", "users")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, `leat: topic exists: "users"`)
	require.Contains(t, r.stderr, "--if-not-exists")

	require.Equal(t, "altered topic users: 6 partitions cleanup.policy=compact,delete segment.bytes=4096\n",
		good(t, at("topics", "alter", "users", "--config", "segment.bytes=4096", "--delete-config", "retention.ms", "--partitions", "6")...))
	out := good(t, at("topics", "describe", "users", "orders")...)
	require.Regexp(t, `^topic users, 6 partitions, id \S{22}\n  cleanup.policy=compact,delete\n  segment.bytes=4096\n`+
		`partition  start  stable  watermark  end  epoch  segments  bytes\n        0      0       0          0    0      -         1      0\n`, out)
	require.Regexp(t, `\n\ntopic orders, 2 partitions, id \S{22}\npartition .*\n        0      0      10         10   10      0         1    \d+\n`, out)
	require.Equal(t, good(t, at("topics", "describe")...), good(t, at("topics", "describe", "orders", "users", "orders")...))
	require.Contains(t, good(t, at("topics", "describe", "--all", "orders")...), "\n  retention.ms=604800000\n")

	list := lines(t, good(t, at("topics", "list", "--json")...))
	require.Len(t, list, 2)
	require.Equal(t, "users", list[1]["topic"])
	require.Equal(t, int64(6), number(t, list[1], "partitionCount"))
	list = lines(t, good(t, at("topics", "describe", "--json", "orders")...))
	require.Len(t, list, 1)
	require.Equal(t, "604800000", list[0]["config"].(object)["retention.ms"])
	first := list[0]["partitions"].([]any)[0].(object)
	require.Equal(t, int64(10), number(t, first, "logEndOffset"))
	require.Equal(t, int64(0), number(t, first, "latestEpoch"))

	// Nothing is deleted when a name is wrong, or nobody can be asked.
	r = tool(t, at("topics", "delete", "users", "nope", "--yes")...)
	require.Equal(t, exitFailed, r.status)
	require.Equal(t, "leat: unknown topic: \"nope\"\nleat: 'leat topics list' shows which there are\n", r.stderr)
	r = tool(t, at("topics", "delete", "users")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "without --yes")
	require.Equal(t, "orders\nusers\n", good(t, at("topics", "list")...))
	require.Equal(t, "there is no topic nope\ndeleted topic users\n", good(t, at("topics", "delete", "users", "nope", "users", "--yes", "--if-exists")...))
	require.Equal(t, "there is no topic users\n", good(t, at("topics", "alter", "users", "--if-exists", "--partitions", "9")...))
	require.Equal(t, "orders\n", good(t, at("topics", "list")...))
	good(t, at("topics", "delete", "orders", "--yes")...)
	r = tool(t, at("topics", "list")...)
	require.Equal(t, exitOK, r.status)
	require.Empty(t, r.stdout)
	require.Equal(t, "leat: no topics in "+dir+"\n", r.stderr)
}

// TestWrongAdministration: what is wrong in the command line is told with status
// 2, and changes nothing; not even a store comes of it.
func TestWrongAdministration(t *testing.T) {
	dir, none := newStore(t), filepath.Join(t.TempDir(), "none")
	before := good(t, "topics", "describe", "--dir", dir, "--json")
	for _, test := range []struct {
		args   string
		stderr string
	}{
		{"topics create", "which topic?"},
		{"topics create a b", "one topic at a time, not 2"},
		{"topics create a/b", "topic name not allowed"},
		{"topics create a --partitions 0", "--partitions is 0: allowed are 1 to 100000"},
		{"topics create a --partitions 100001", "--partitions is 100001"},
		{"topics create a --partitions many", "invalid argument"},
		{"topics create a --replication-factor 3", "--replication-factor is 3: there is one copy of each partition"},
		{"topics create a --config retention.ms", "wanted is name=value"},
		{"topics create a --config =5", "wanted is name=value"},
		{"topics create a --config retention.ms=1 --config retention.ms=2", "retention.ms is there twice"},
		{"topics create a --config retenton.ms=1", "retention.ms is one"},
		{"topics create a --config min.insync.replicas=2", "there are no replicas"},
		{"topics create a --config retention.ms=soon", "allowed are whole milliseconds"},
		{"topics alter orders", "nothing to alter"},
		{"topics alter orders --partitions 2", "has 2 already"},
		{"topics alter orders --partitions 1", "has 2 already"},
		{"topics alter orders --partitions -1", "--partitions is -1"},
		{"topics alter orders --partitions 100001", "allowed are 1 to 100000"},
		{"topics alter orders --config retention.ms=1 --delete-config retention.ms", "to be set and to be reset"},
		{"topics alter orders --config segment.bytes=1", "allowed are 1024"},
		{"topics alter orders --delete-config nothing", "there is no property"},
		{"topics delete", "which topic?"},
		{"topics lits", "Did you mean this?\n\tlist"},
		{"topics frobnicate", `unknown command "frobnicate" for "leat topics"`},
		{"topics list orders", `unknown command "orders"`},
		{"topics create --topic a", "unknown flag: --topic; a topic is named without a flag"},
		{"topics list --bootstrap-server localhost:9092", "there is no server, --dir says where the store is"},
		{"consume orders --max-messages 1", "unknown flag: --max-messages; --max does that"},
		{"produce orders --property parse.key=true", "'leat produce --help' shows flags for it"},
		{"consume orders --offset earliest", "--offset must be a number; --from-beginning begins with the first record"},
		{"compact orders --partition -1", "--partition must not be negative"},
		{"topics --list", "'leat topics list' does that"},
		{"stat a b", "one topic at a time"},
		{"stat --partition 0", "--partition needs a topic"},
		{"stat orders --partition -1", "--partition must not be negative"},
	} {
		for _, d := range []string{dir, none} {
			if d == none && strings.Contains(test.args, "alter") {
				continue // what is there is looked at first
			}
			args := strings.Fields(test.args)
			if len(args) != 2 || args[0] != "topics" || args[1] == "create" || args[1] == "delete" { // who knows --dir
				args = append(args, "--dir", d)
			}
			r := tool(t, args...)
			require.Equal(t, exitUsage, r.status, "%s\n%s", args, r.stderr)
			require.Contains(t, r.stderr, test.stderr, "%s", args)
			require.Regexp(t, `(?s)^leat: .*\n\nUsage:\n  leat .*\n\nSee 'leat .*--help'.\n$`, r.stderr)
			require.Empty(t, r.stdout)
		}
	}
	require.Equal(t, before, good(t, "topics", "describe", "--dir", dir, "--json"))
	require.NoDirExists(t, none)
}

// TestNoStore: only create makes a store, and says so.
func TestNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop", "data")
	for _, args := range [][]string{
		{"topics", "list"}, {"topics", "describe"}, {"topics", "alter", "a", "--partitions", "2"}, {"topics", "delete", "a", "--yes"}, {"stat"},
	} {
		r := tool(t, append(args, "--dir", dir)...)
		require.Equal(t, exitFailed, r.status)
		require.Contains(t, r.stderr, dir)
		require.Contains(t, r.stderr, "--dir, or $LEAT_DIR, says where the store is")
		require.NoDirExists(t, dir)
	}
	r := tool(t, "topics", "create", "a", "--dir", dir)
	require.Equal(t, exitOK, r.status)
	require.Equal(t, "leat: made a new store in "+dir+"\n", r.stderr)
	good(t, "topics", "create", "b", "--dir", dir)
	require.Equal(t, "a\nb\n", good(t, "topics", "list", "--dir", dir))
}

// TestWhichStore: --dir comes before LEAT_DIR, and that before the working
// directory, of which no store is made when there is something else in it.
func TestWhichStore(t *testing.T) {
	flag, env := newStore(t), newStore(t)
	good(t, "topics", "create", "by-flag", "--dir", flag)
	t.Setenv(dirEnv, env)
	good(t, "topics", "create", "by-env")
	require.Equal(t, "by-flag\norders\n", good(t, "topics", "list", "--dir", flag))
	require.Equal(t, "by-env\norders\n", good(t, "topics", "list"))

	require.NoError(t, os.Unsetenv(dirEnv))
	t.Chdir(flag)
	require.Equal(t, "by-flag\norders\n", good(t, "topics", "list"))
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, "notes.txt"), nil, 0o600))
	t.Chdir(home)
	r := tool(t, "topics", "create", "a")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "--dir . makes one of it")
	list, err := os.ReadDir(home)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, exitOK, tool(t, "topics", "create", "a", "--dir", ".").status)
	require.Equal(t, "a\n", good(t, "topics", "list"))
	t.Chdir(t.TempDir())
	require.Equal(t, exitOK, tool(t, "topics", "create", "a").status)
}
