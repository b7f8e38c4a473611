package main

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/internal/golden"
)

// grouped is the store of timed, in which group a has committed t-0@4 and t-1@5, the
// end, and group b t-0@10, with metadata.
func grouped(t testing.TB) (dir string, from time.Time) {
	dir, from = timed(t)
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	g := st.Groups()
	require.NoError(t, g.Commit(t.Context(), leat.Fence{Group: "a", Generation: -1}, leat.Position{Topic: "t", Offset: 4}, leat.Position{Topic: "t", Partition: 1, Offset: 5}))
	require.NoError(t, g.Commit(t.Context(), leat.Fence{Group: "b", Generation: -1}, leat.Position{Topic: "t", Offset: 10, Metadata: "host h\n"}))
	require.NoError(t, st.Close())
	return dir, from
}

// TestGroups shows what there is of groups, to people and to programs.
func TestGroups(t *testing.T) {
	dir, from := grouped(t)
	at := func(args ...string) []string { return append(append([]string{"groups"}, args...), "--dir", dir) }
	require.Regexp(t, `^group  state  members  partitions  lag  bytes  behind\n`+
		`a      Empty        0           2    6    \d+  2h5\dm\d+s\n`+
		`b      Empty        0           1    0      0\n$`, good(t, at("list")...))
	out := good(t, at("describe", "a")...)
	require.Regexp(t, `^group a, Empty, 6 records behind\n`+
		`topic  partition  committed  start  end  lag  bytes  behind +commit time\n`+
		`t              0          4      0   10    6    \d+  2h5\dm\d+s +\d{4}-\d\d-\d\dT\S+Z\n`+
		`t              1          5      0    5    0      0 +\d{4}-\d\d-\d\dT\S+Z\n$`, out)
	both := good(t, at("describe")...)
	require.Contains(t, both, "\n\ngroup b, Empty, 0 records behind\n")
	require.Contains(t, both, `  "host h\n"`, "metadata cannot act on a terminal")

	list := lines(t, good(t, at("list", "--json")...))
	require.Len(t, list, 2)
	require.Equal(t, "a", list[0]["group"])
	require.Equal(t, "Empty", list[0]["state"])
	require.Equal(t, int64(6), number(t, list[0], "lag"))
	require.Equal(t, int64(2), number(t, list[0], "partitions"))
	behind := time.Since(from.Add(4 * time.Minute)).Milliseconds()
	require.InDelta(t, behind, number(t, list[0], "lagMs"), 60000)

	o := lines(t, good(t, at("describe", "--json", "b")...))[0]
	require.Empty(t, o["members"])
	p := o["partitions"].([]any)[0].(object)
	require.Equal(t, "t", p["topic"])
	require.Equal(t, "host h\n", p["metadata"])
	require.Equal(t, int64(10), number(t, p, "committedOffset"))
	require.Equal(t, int64(10), number(t, p, "logEndOffset"))
	require.Equal(t, int64(0), number(t, p, "committedLeaderEpoch"))
	require.Equal(t, int64(0), number(t, p, "lag"))
	require.Nil(t, p["expireTimestamp"])
	require.Nil(t, p["memberId"])
	require.InDelta(t, time.Now().UnixMilli(), number(t, p, "commitTimestamp"), 600000)

	r := tool(t, at("describe", "a", "c")...)
	require.Equal(t, exitFailed, r.status)
	require.Empty(t, r.stdout)
	require.Equal(t, "leat: unknown group: \"c\"\nleat: 'leat groups list' shows which there are\n", r.stderr)

	none := newStore(t)
	for _, args := range [][]string{{"list"}, {"describe"}, {"list", "--json"}} {
		r := tool(t, append(append([]string{"groups"}, args...), "--dir", none)...)
		require.Equal(t, exitOK, r.status)
		require.Empty(t, r.stdout)
		require.Equal(t, "leat: no groups in "+none+"\n", r.stderr)
	}
	require.NoDirExists(t, filepath.Join(none, "__consumer_offsets-0"), "to look makes nothing")

	// A topic that is gone is no trouble.
	good(t, "topics", "create", "gone", "--dir", dir)
	good(t, at("reset", "a", "--to", "latest", "--topic", "gone", "--execute")...)
	good(t, "topics", "delete", "gone", "--yes", "--dir", dir)
	good(t, at("list")...)
	good(t, at("describe")...)
}

// TestGroupsReset: first it is shown, then it is done.
func TestGroupsReset(t *testing.T) {
	dir, from := grouped(t)
	time8 := from.Add(8 * time.Minute).Format(time.RFC3339Nano)
	for _, test := range []struct {
		args string
		want string // topic-partition@from>to; ~: the nearest
	}{
		{"a --to earliest", "t-0@4>0 t-1@5>0"},
		{"a --to latest", "t-0@4>10 t-1@5>5"},
		{"a --to 3", "t-0@4>3 t-1@5>3"},
		{"a --to 7", "t-0@4>7 t-1@5>5~"},
		{"a --to " + time8, "t-0@4>8 t-1@5>0"},
		{fmt.Sprintf("a --to @%d", from.Add(8*time.Minute).UnixMilli()), "t-0@4>8 t-1@5>0"},
		{"a --to 2h30m", "t-0@4>10 t-1@5>0"},
		{"a --to 0s", "t-0@4>10 t-1@5>5"},
		{"a --shift -2", "t-0@4>2 t-1@5>3"},
		{"a --shift=-5", "t-0@4>0~ t-1@5>0"},
		{"a --shift 3", "t-0@4>7 t-1@5>5~"},
		{"a --to earliest --topic t:1", "t-1@5>0"},
		{"a --to earliest --topic t:1,0-1", "t-0@4>0 t-1@5>0"},
		{"b --to earliest", "t-0@10>0"},
		{"b --to earliest --topic t", "t-0@10>0 t-1@->0"},
		{"c --to latest --topic t:1", "t-1@->5"},
	} {
		args := append([]string{"groups", "reset", "--dir", dir}, strings.Fields(test.args)...)
		before := good(t, "groups", "export", "--dir", dir)
		r := tool(t, append(args, "--json")...)
		require.Equal(t, exitOK, r.status, r.stderr)
		require.Equal(t, "leat: nothing is changed yet; --execute does it\n", r.stderr)
		require.Equal(t, test.want, changesIn(t, r.stdout), test.args)
		require.Equal(t, r, tool(t, append(args, "--json", "--dry-run")...))
		require.Equal(t, before, good(t, "groups", "export", "--dir", dir), "nothing has changed")

		done := good(t, append(args, "--json", "--execute")...)
		require.Equal(t, r.stdout, done)
		for _, o := range lines(t, done) {
			at := committedIn(t, dir, o["group"].(string))
			require.Equal(t, number(t, o, "to"), at[fmt.Sprintf("%s-%d", o["topic"], number(t, o, "partition"))], test.args)
		}
		// As it was.
		good(t, "groups", "delete", "a", "b", "c", "--if-exists", "--yes", "--dir", dir)
		r = feed(t, before, "groups", "import", "-", "--execute", "--dir", dir)
		require.Equal(t, exitOK, r.status, r.stderr)
		require.Equal(t, before, good(t, "groups", "export", "--dir", dir))
	}
	require.Equal(t, "group  topic  partition  from  to  note\na      t              0     4   7\na      t              1     5   5  the nearest there is\n",
		tool(t, "groups", "reset", "a", "--shift", "3", "--dir", dir).stdout)

	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"", exitUsage, "which group?"},
		{"a b --to 1", exitUsage, "one group at a time, not 2"},
		{"a", exitUsage, "where to? --to or --shift says it"},
		{"a --to 1 --shift 1", exitUsage, "[shift to]"},
		{"a --shift 0", exitUsage, "--shift 0 is nothing to do"},
		{"a --to=-1", exitUsage, "--to -1: an offset is not negative"},
		{"a --to soon", exitUsage, `--to "soon" is neither earliest, nor latest`},
		{"a --to @soon", exitUsage, `--to "@soon" is neither`},
		{"a --to 1 --execute --dry-run", exitUsage, "[dry-run execute]"},
		{"a --to 1 --topic t:", exitUsage, "behind the colon belong partitions"},
		{"a --to 1 --topic t:1-0", exitUsage, "behind the colon belong partitions"},
		{"a --to 1 --topic t:0-9999999999", exitUsage, "behind the colon belong partitions"},
		{"a --to 1 --topic t:0-2147483647", exitUsage, "behind the colon belong partitions"},
		{"a --to 1 --topic :1", exitUsage, "there is no topic in it"},
		{"a --to 1 --topic t --topic t:1", exitUsage, "t is there twice"},
		{"b --shift 1 --topic t", exitUsage, "t-1 cannot be shifted"},
		{"a --to-earliest", exitUsage, "unknown flag: --to-earliest; --to takes earliest"},
		{"a --shift-by 1", exitUsage, "--shift does that"},
		{"a --to 1 --topic u", exitFailed, `leat: unknown topic: "u"`},
		{"a --to 1 --topic t:2", exitFailed, "leat: unknown partition: t-2"},
		{"c --to 1", exitFailed, "leat: unknown group: \"c\"\nleat: 'leat groups list'"},
	} {
		r := tool(t, append([]string{"groups", "reset", "--dir", dir}, strings.Fields(test.args)...)...)
		require.Equal(t, test.status, r.status, "%s\n%s", test.args, r.stderr)
		require.Contains(t, r.stderr, test.want)
		require.Empty(t, r.stdout)
	}
}

func changesIn(t testing.TB, out string) string {
	var list []string
	for _, o := range lines(t, out) {
		from, note := "-", ""
		if o["from"] != nil {
			from = fmt.Sprint(number(t, o, "from"))
		}
		if o["clamped"] == true {
			note = "~"
		}
		list = append(list, fmt.Sprintf("%s-%d@%s>%d%s", o["topic"], number(t, o, "partition"), from, number(t, o, "to"), note))
	}
	return strings.Join(list, " ")
}

func TestGroupsDelete(t *testing.T) {
	dir, _ := grouped(t)
	at := func(args ...string) []string { return append(append([]string{"groups"}, args...), "--dir", dir) }
	before := good(t, at("export")...)
	r := tool(t, at("delete", "a")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "nothing is deleted without --yes")
	r = tool(t, at("delete", "a", "c", "--yes")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, `leat: unknown group: "c"`)
	r = tool(t, at("delete", "a", "--topic", "u", "--yes")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, `unknown topic: "u"`)
	require.Equal(t, before, good(t, at("export")...))
	require.Equal(t, exitUsage, tool(t, at("delete")...).status)

	good(t, "topics", "create", "u", "--dir", dir)
	good(t, at("reset", "a", "--to", "0", "--topic", "u", "--execute")...)
	require.Equal(t, "deleted offsets of group a in t\n", good(t, at("delete", "a", "--topic", "t", "--yes")...))
	require.Equal(t, map[string]int64{"u-0": 0}, committedIn(t, dir, "a"))
	require.Equal(t, "there is no group c\ndeleted group a\n", good(t, at("delete", "a", "c", "a", "--yes", "--if-exists")...))
	require.Equal(t, "b,t,0,10\n", good(t, at("export")...))
	good(t, at("delete", "b", "--yes")...)
	require.Equal(t, "leat: no groups in "+dir+"\n", tool(t, at("list")...).stderr)
}

// TestGroupsTransfer: what export writes, import reads.
func TestGroupsTransfer(t *testing.T) {
	dir, _ := grouped(t)
	at := func(args ...string) []string { return append(append([]string{"groups"}, args...), "--dir", dir) }
	all := "a,t,0,4\na,t,1,5\nb,t,0,10\n"
	require.Equal(t, all, good(t, at("export")...))
	require.Equal(t, all, good(t, at("export", "a", "b")...))
	file := filepath.Join(t.TempDir(), "offsets.csv")
	require.Empty(t, good(t, at("export", "a", "--output", file)...))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "t,0,4\nt,1,5\n", string(b))
	r := tool(t, at("export", "a", "c", "--output", file)...)
	require.Equal(t, exitFailed, r.status)
	same, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, b, same, "a file that cannot be whole stays what it was")

	r = tool(t, at("import", file, "--group", "c")...)
	require.Equal(t, "group  topic  partition  from  to  note\nc      t              0     -   4\nc      t              1     -   5\n", r.stdout)
	require.Equal(t, "leat: nothing is changed yet; --execute does it\n", r.stderr)
	require.Equal(t, all, good(t, at("export")...))
	require.Equal(t, r.stdout, good(t, at("import", file, "--group", "c", "--execute")...))
	require.Equal(t, all+"c,t,0,4\nc,t,1,5\n", good(t, at("export")...))

	for _, test := range []struct{ text, args, want string }{
		{"t,0,4\n", "", "leat: standard input: line 1: "},
		{all, "--group c", "line 1: "},
		{"a,t,0,3\na,t,2,0\n", "", "standard input: line 2: unknown partition: t-2"},
		{"a,t,0,3\na,t,1,6\n", "", "standard input: line 2: "},
		{"a,t,0,3\nnonsense\n", "", "line 2: "},
		{"a,t,0,3\na,t,0,3\n", "", "line 2: "},
	} {
		for _, how := range []string{"--dry-run", "--execute"} {
			r := feed(t, test.text, at(append([]string{"import", "-", how}, strings.Fields(test.args)...)...)...)
			require.NotEqual(t, exitOK, r.status)
			require.Contains(t, r.stderr, test.want)
			require.NotContains(t, r.stderr, ": leat: ")
			require.Empty(t, r.stdout)
		}
	}
	require.Equal(t, exitUsage, tool(t, at("import")...).status)
	require.Equal(t, exitUsage, tool(t, at("import", file, "--group=")...).status)
	r = tool(t, at("import", file+"-not")...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, file+"-not")
	require.Equal(t, all+"c,t,0,4\nc,t,1,5\n", good(t, at("export")...))
}

// TestGroupsBesideWriter: what looks works while another process has the store, and
// sees its members; what changes says who has it.
func TestGroupsBesideWriter(t *testing.T) {
	dir, _ := grouped(t)
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	c, err := st.Consumer(leat.ConsumerConfig{Group: "b", Member: "worker-1", Topics: []string{"t"}})
	require.NoError(t, err)
	defer c.Close()
	for range 2 { // b has t-0 behind it
		batches, err := c.Poll(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, batches)
		if err := c.Commit(t.Context()); err != nil {
			require.NoError(t, err)
		}
		if committedIn(t, dir, "b")["t-1"] == 5 {
			break
		}
	}
	o := lines(t, good(t, "groups", "describe", "b", "--json", "--dir", dir))[0]
	require.Equal(t, "Stable", o["state"])
	member := o["members"].([]any)[0].(object)
	require.Contains(t, member["memberId"], "worker-1")
	require.Len(t, member["partitions"], 2)
	require.Equal(t, []any{"t"}, member["topics"])
	for _, p := range o["partitions"].([]any) {
		require.Equal(t, member["memberId"], p.(object)["memberId"])
	}
	require.Contains(t, good(t, "groups", "describe", "b", "--dir", dir), "  member worker-1")
	require.Regexp(t, `\nb +Stable +1 +2 +0 +0\n`, good(t, "groups", "list", "--dir", dir))
	require.Equal(t, "a,t,0,4\na,t,1,5\nb,t,0,10\nb,t,1,5\n", good(t, "groups", "export", "--dir", dir))
	r := tool(t, "groups", "reset", "a", "--to", "latest", "--dir", dir)
	require.Equal(t, exitOK, r.status, r.stderr)
	r = tool(t, "groups", "reset", "b", "--to", "earliest", "--dir", dir)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.stderr, "leat: group has members: \"b\"\nleat: its members, ")

	for _, args := range [][]string{
		{"reset", "a", "--to", "latest", "--execute"}, {"delete", "a", "--yes"}, {"delete", "a", "--topic", "t", "--yes"}, {"import", os.DevNull, "--execute"},
	} {
		r := tool(t, append(append([]string{"groups"}, args...), "--dir", dir)...)
		require.Equal(t, exitFailed, r.status)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, fmt.Sprintf("is locked by process %d\nleat: end that process first; what only reads works beside it\n", os.Getpid()))
	}
}

// TestGroupsGolden: the groups of a directory of Kafka's are shown as they are, and
// can be changed, which leaves the others what they were.
func TestGroupsGolden(t *testing.T) {
	dir := golden.CopyDir(t, "offsets")
	var names []string
	for _, o := range lines(t, good(t, "groups", "list", "--json", "--dir", dir)) {
		names = append(names, o["group"].(string))
	}
	require.Equal(t, []string{"analytics", "my-group.1", "x", "日本"}, names)
	x := lines(t, good(t, "groups", "describe", "x", "--json", "--dir", dir))[0]
	require.Equal(t, "range", x["protocol"])
	require.Equal(t, "Stable", x["state"])
	require.Equal(t, int64(9), number(t, x, "generation"))
	require.Equal(t, []any{"a", "orders"}, x["members"].([]any)[0].(object)["topics"])
	require.Equal(t, int64(481473), committedIn(t, dir, "x")["a-9"])
	require.Equal(t, int64(15307), committedIn(t, dir, "x")["t.with-dots_1-17"])
	require.NotContains(t, committedIn(t, dir, "x"), "a-0", "which a tombstone has taken away")
	text := good(t, "groups", "describe", "x", "--dir", dir)
	require.Regexp(t, `\na +9 +481473 +- +- +- +- +2023-11-14T22:13:20.014Z +meta +unknown topic: "a"\n`, text)
	require.Regexp(t, `\n  member client-0-\S+, 2 partitions of a, orders\n`, text)
	export := good(t, "groups", "export", "--dir", dir)
	require.Contains(t, export, "x,a,9,481473\n")
	require.Contains(t, export, "日本,t.with-dots_1,5,728468\n")

	good(t, "groups", "delete", "analytics", "--yes", "--dir", dir)
	left := good(t, "groups", "export", "--dir", dir)
	require.NotContains(t, left, "analytics")
	require.Equal(t, strings.Count(export, "\n")-strings.Count(export, "analytics,"), strings.Count(left, "\n"))
	r := tool(t, "groups", "reset", "x", "--to", "earliest", "--execute", "--dir", dir)
	require.Equal(t, exitOK, r.status, "its members were those of another process, which has ended: %s", r.stderr)
	require.Equal(t, "leat: there is nothing to change\n", r.stderr, "its topics are not there")
}

// TestGroupsDamaged: of a partition that cannot be read the group is shown all the
// same, with what is wrong; damage in the offsets is told where it is.
func TestGroupsDamaged(t *testing.T) {
	if bits.UintSize != 64 {
		t.Skip("what is damaged looks like the end of the log to who has no lock")
	}
	t.Parallel()
	dir, _ := grouped(t)
	flip := func(folder string) string {
		name := filepath.Join(dir, folder, segmentFile(0))
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		b[len(b)-1] ^= 1
		require.NoError(t, os.WriteFile(name, b, 0o600))
		return name
	}
	name := flip("t-0")
	for _, args := range [][]string{{"list"}, {"describe", "a", "--json"}, {"describe"}} {
		r := tool(t, append(append([]string{"groups"}, args...), "--dir", dir)...)
		if r.status == exitOK {
			continue // the lag is known without what is damaged
		}
		require.Contains(t, r.stderr, name)
		require.Contains(t, r.stdout, "t")
	}
	name = flip("__consumer_offsets-0")
	for _, args := range [][]string{{"list"}, {"describe", "a"}, {"export"}} {
		r := tool(t, append(append([]string{"groups"}, args...), "--dir", dir)...)
		require.Equal(t, exitFailed, r.status, args)
		require.Contains(t, r.stderr, name)
		require.Contains(t, r.stderr, "leat check DIR")
	}
}
