package leat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestGroupsReset: to each start, shifted, in what is named, clamped to what there
// is, with what a dry run says first.
func TestGroupsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st := openStore(t, m, nil)
		tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 2})
		require.NoError(t, err)
		part(t, st, "mail", TopicConfig{})
		p, err := tp.Partition(0)
		require.NoError(t, err)
		var noon time.Time
		for i := range 10 {
			if i == 7 {
				noon = time.Now()
			}
			fill(t, p, 1)
			time.Sleep(time.Minute)
		}
		require.NoError(t, p.DeleteRecords(ctx, 2))
		g := st.Groups()
		f := followStore(t, m)
		change := func(from, to int64, clamped bool) []OffsetChange {
			return []OffsetChange{{"g", "orders", 0, from, to, clamped}}
		}
		one := []Position{spot("orders", 0, 77)}
		for _, c := range []struct {
			name    string
			o       ResetOptions
			from    int64
			want    int64
			clamped bool
		}{
			{"earliest, of all that is committed", ResetOptions{}, 5, 2, false},
			{"latest", ResetOptions{To: Latest}, 5, 10, false},
			{"an offset", ResetOptions{To: At(4)}, 5, 4, false},
			{"the end", ResetOptions{To: At(10)}, 5, 10, false},
			{"below the start", ResetOptions{To: At(1)}, 5, 2, true},
			{"a negative one", ResetOptions{To: At(math.MinInt64)}, 5, 2, true},
			{"beyond the end", ResetOptions{To: At(11)}, 5, 10, true},
			{"a time", ResetOptions{To: AtTime(noon)}, 5, 7, false},
			{"a time to come", ResetOptions{To: AtTime(noon.Add(time.Hour))}, 5, 10, false},
			{"a time before all", ResetOptions{To: AtTime(noon.Add(-time.Hour))}, 5, 2, false},
			{"the last ones", ResetOptions{To: LastN(3)}, 5, 7, false},
			{"more than there are", ResetOptions{To: LastN(30)}, 5, 2, false},
			{"forward", ResetOptions{Shift: 2}, 5, 7, false},
			{"back", ResetOptions{Shift: -2}, 5, 3, false},
			{"forward, too far", ResetOptions{Shift: math.MaxInt64}, 5, 10, true},
			{"back, too far", ResetOptions{Shift: math.MinInt64}, 5, 2, true},
			{"back from below the start", ResetOptions{Shift: -1}, 1, 2, true},
			{"to where it is", ResetOptions{To: At(5)}, 5, 5, false},
			{"one partition", ResetOptions{To: At(6), Partitions: one}, 5, 6, false},
			{"one partition, twice", ResetOptions{To: At(6), Partitions: append(one, one...)}, 5, 6, false},
		} {
			_ = g.Delete(ctx, "g")
			commitAs(t, st, "g", spot("orders", 0, c.from))
			dry := c.o
			dry.DryRun = true
			for _, st := range []*Store{st, f} {
				got, err := st.Groups().Reset(ctx, "g", dry)
				require.NoError(t, err, c.name)
				require.Equal(t, change(c.from, c.want, c.clamped), got, c.name)
			}
			at, err := g.Fetch(ctx, "g", true)
			require.NoError(t, err)
			require.Equal(t, []Position{spot("orders", 0, c.from)}, at, c.name)
			got, err := g.Reset(ctx, "g", c.o)
			require.NoError(t, err, c.name)
			require.Equal(t, change(c.from, c.want, c.clamped), got, c.name)
			at, err = g.Fetch(ctx, "g", true)
			require.NoError(t, err)
			require.Equal(t, []Position{spot("orders", 0, c.want)}, at, c.name)
		}

		// Named topics, with all their partitions, whether committed or not; a group is
		// made so.
		got, err := g.Reset(ctx, "new", ResetOptions{To: Latest, Topics: []string{"orders"}, Partitions: []Position{spot("mail", 0, 0), spot("orders", 1, 0)}})
		require.NoError(t, err)
		require.Equal(t, []OffsetChange{
			{"new", "mail", 0, -1, 0, false}, {"new", "orders", 0, -1, 10, false}, {"new", "orders", 1, -1, 0, false}}, got)
		require.Equal(t, "new mail-0: to 0", got[0].String())
		require.Equal(t, "g orders-0: 5 to 2, the nearest there is", change(5, 2, true)[0].String())

		for _, o := range []ResetOptions{
			{Shift: 1, To: Latest},
			{Shift: 1, Topics: []string{"orders"}}, // orders-1 is not committed
			{To: LastN(-1)},
		} {
			_, err = g.Reset(ctx, "g", o)
			require.ErrorIs(t, err, ErrInvalidConfig, "%+v", o)
		}
		_, err = g.Reset(ctx, "g", ResetOptions{Topics: []string{"orders", "nothing"}})
		require.ErrorIs(t, err, ErrUnknownTopic)
		_, err = g.Reset(ctx, "g", ResetOptions{Partitions: []Position{spot("orders", 0, 0), spot("orders", 2, 0)}})
		require.ErrorIs(t, err, ErrUnknownPartition)
		at, err := g.Fetch(ctx, "g", true)
		require.NoError(t, err)
		require.Equal(t, []Position{spot("orders", 0, 6)}, at, "an error changes nothing")
		over, cancel := context.WithCancel(ctx)
		cancel()
		_, err = g.Reset(over, "g", ResetOptions{})
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, st.Close())
	})
}

// TestGroupsExport: of one group, of several, of all; the text is Kafka's.
func TestGroupsExport(t *testing.T) {
	st := memStore(t)
	twoTopics(t, st)
	g := st.Groups()
	commitAs(t, st, "b,1", spot("orders", 2, 3))
	commitAs(t, st, "a", spot("orders", 0, 10), spot("mail", 0, 0))
	text := func(groups ...string) string {
		var b strings.Builder
		require.NoError(t, g.Export(ctx, &b, groups...))
		return b.String()
	}
	require.Equal(t, "mail,0,0\norders,0,10\n", text("a"))
	require.Equal(t, "orders,2,3\n", text("b,1"))
	require.Equal(t, "a,mail,0,0\na,orders,0,10\n\"b,1\",orders,2,3\n", text())
	require.Equal(t, "\"b,1\",orders,2,3\na,mail,0,0\na,orders,0,10\n", text("b,1", "a"))
	require.ErrorIs(t, g.Export(ctx, io.Discard, "a", "c"), ErrUnknownGroup)
	require.ErrorIs(t, g.Export(ctx, failingWriter{}, "a"), io.ErrShortWrite)
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestGroupsImport: what was exported comes back, with a dry run first; other
// partitions stay as they are.
func TestGroupsImport(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	orders, _ := twoTopics(t, st)
	g := st.Groups()
	commitAs(t, st, "a", spot("orders", 0, 1), spot("orders", 1, 2))
	p, err := orders.Partition(2)
	require.NoError(t, err)
	require.NoError(t, p.DeleteRecords(ctx, 5))
	want := []OffsetChange{{"a", "orders", 0, 1, 4, false}, {"b", "mail", 0, -1, 0, false}, {"a", "orders", 2, -1, 3, false}}
	for _, text := range []string{
		"a,orders,0,4\nb,mail,0,0\na,orders,2,3\n",
		"a,orders,0,4\r\n\r\nb,mail,0,0\r\n\n\"a\",orders,2,3",
		"\"a\",\"orders\",\"0\",\"4\"\nb,mail,0,0\n\na,orders,2,3\n\n",
	} {
		_ = g.Delete(ctx, "b")
		require.NoError(t, g.Delete(ctx, "a"))
		commitAs(t, st, "a", spot("orders", 0, 1), spot("orders", 1, 2))
		for _, st := range []*Store{st, followStore(t, m)} {
			got, err := st.Groups().Import(ctx, strings.NewReader(text), ImportOptions{DryRun: true})
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		at, err := g.Fetch(ctx, "b", true)
		require.NoError(t, err)
		require.Empty(t, at)
		got, err := g.Import(ctx, strings.NewReader(text), ImportOptions{})
		require.NoError(t, err)
		require.Equal(t, want, got)
		at, err = g.Fetch(ctx, "a", true)
		require.NoError(t, err)
		require.Equal(t, []Position{spot("orders", 0, 4), spot("orders", 1, 2), spot("orders", 2, 3)}, at)
	}
	got, err := g.Import(ctx, strings.NewReader("orders,0,9\n"), ImportOptions{Group: "c"})
	require.NoError(t, err)
	require.Equal(t, []OffsetChange{{"c", "orders", 0, -1, 9, false}}, got)
	got, err = g.Import(ctx, strings.NewReader("\n"), ImportOptions{})
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = g.Import(ctx, iotest.ErrReader(io.ErrClosedPipe), ImportOptions{})
	require.Equal(t, io.ErrClosedPipe, err)
}

// TestGroupsImportRefuses names the line, and commits nothing of any group.
func TestGroupsImportRefuses(t *testing.T) {
	st := memStore(t)
	twoTopics(t, st)
	for _, c := range []struct {
		group, text, says string
		is                error
	}{
		{"", "a,orders,0,1\norders,0,1\n", "line 2: topic, partition and offset are there, and no group", nil},
		{"g", "orders,0,1\na,orders,1,1\n", `line 2: a group is there, "a", and one was named for all lines`, nil},
		{"", "a,orders,0,1\n\n\na,orders\n", "line 4: 2 fields", nil},
		{"", "a,orders,0,1,2\n", `line 1: ",2" is not expected`, nil},
		{"", "\"x\ny\",orders,0,1\na,orders,0,x\n", `line 3: "x" is no offset`, nil},
		{"", "a,orders,0,-1\n", `line 1: "-1" is no offset`, nil},
		{"", "a,orders,0,+1\n", `line 1: "+1" is no offset`, nil},
		{"", "a,orders,0, 1\n", `line 1: " 1" is no offset`, nil},
		{"", "a,orders,0,9223372036854775808\n", `is no offset`, nil},
		{"", "a,orders,0,\n", `line 1: "" is no offset`, nil},
		{"", "a,orders,-1,1\n", `line 1: "-1" is no number of a partition`, nil},
		{"", "a,orders,2147483648,1\n", `line 1: "2147483648" is no number of a partition`, nil},
		{"", "a,orders,00,1\n", `line 1: "00" is no number of a partition`, nil},
		{"", "a,or/ders,0,1\n", `line 1: `, ErrInvalidTopic},
		{"", ",orders,0,1\n", "line 1: ", ErrNoGroup},
		{"", "a,orders,0,1\na,orders,0,1\n", "line 2: the offset of orders-0 is on line 1 already", nil},
		{"", "a,orders,0,1\n\"a\"x,orders,0,1\n", `line 2: "x,orders,0,1" is not expected behind "a"`, nil},
		{"", "a,orders,0,1\n\"a,orders,0,1\n", "line 2: a quote is not closed", nil},
		{"", "a\",orders,0,1\n", "line 1: ", nil},
		{"", "a\rb,orders,0,1\n", "line 1: ", nil},
		{"", "group,topic,partition,offset\n", `line 1: "partition" is no number`, nil},
		{"", "a,orders,0,1\na,orders,7,1\n", "line 2: ", ErrUnknownPartition},
		{"", "a,orders,0,1\nb,nothing,0,1\n", "line 2: ", ErrUnknownTopic},
		{"", "a,orders,0,1\nb,orders,0,11\n", "line 2: ", ErrOffsetOutOfRange},
		{"", strings.Repeat("x", 70_000) + "\n", "line 1: it has more than", nil},
		{"", "a,orders,0,1\n\"" + strings.Repeat("x\n", 50_000), "line 2: it has more than", nil},
		{"", "\"" + strings.Repeat("x", 32768) + "\",orders,0,1\n", "line 1: ", ErrInvalidConfig},
		{"", "\x00\xff\n", "line 1: 1 fields", nil},
	} {
		for _, dry := range []bool{true, false} {
			_, err := st.Groups().Import(ctx, strings.NewReader(c.text), ImportOptions{Group: c.group, DryRun: dry})
			require.ErrorContains(t, err, c.says, "%.80q", c.text)
			require.Less(t, len(err.Error()), 500)
			if c.is != nil {
				require.ErrorIs(t, err, c.is, "%.80q", c.text)
			}
		}
	}
	names, err := st.Groups().List(ctx)
	require.NoError(t, err)
	require.Empty(t, names)
}

// TestGroupsImportFails: a disk that fails in the middle leaves whole groups, and the
// caller is told which.
func TestGroupsImportFails(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	defer st.Close()
	twoTopics(t, st)
	commitAs(t, st, "x", spot("orders", 0, 1))
	cause := errors.New("sync refused")
	syncs := 0
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpSync && strings.HasPrefix(name, offsetsTopic) {
			if syncs++; syncs > 1 {
				return cause
			}
		}
		return nil
	})
	done, err := st.Groups().Import(ctx, strings.NewReader("b,orders,0,4\na,orders,0,5\nc,orders,0,6\nb,orders,1,3\n"), ImportOptions{})
	m.SetHook(nil)
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, `group "a", number 2 of 3`)
	require.Equal(t, []OffsetChange{{"b", "orders", 0, -1, 4, false}, {"b", "orders", 1, -1, 3, false}}, done)
}

// FuzzGroupLines: no text makes the parser fail but by an error, and what it takes
// is written again as something that it takes for the same.
func FuzzGroupLines(f *testing.F) {
	for _, s := range []string{"", "a,orders,0,1\n", "orders,0,1", "\"a\"\"b\n,\",orders,3,9\r\n\n", "\"", "a,,,\n", "\"\r\n\",o,1,2"} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "g")
	}
	f.Fuzz(func(t *testing.T, b []byte, group string) {
		list, err := readGroupLines(bytes.NewReader(b), group)
		if err != nil {
			return
		}
		var text []byte
		for _, x := range list {
			text = appendOffsetLine(text, x.group, x.position)
		}
		again, err := readGroupLines(bytes.NewReader(text), "")
		if group != "" && checkGroup(group) != nil {
			return // whoever reads has looked at it
		}
		require.NoError(t, err, "%q", text)
		require.Len(t, again, len(list))
		for i := range list {
			require.Equal(t, list[i].group, again[i].group)
			require.Equal(t, list[i].position, again[i].position)
		}
	})
}
