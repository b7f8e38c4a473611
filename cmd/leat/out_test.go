package main

import (
	"bufio"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A table is aligned and whole where it fits or nobody has a screen; on a narrow
// one text is cut, numbers never are.
func TestTable(t *testing.T) {
	table := newTable("topic", ">partitions", ">bytes", "properties")
	table.row("orders", digits(4), digits(int64(123456)), "retention.ms=60000 segment.bytes=4096")
	table.row("a-topic-with-a-long-name", digits(int32(12)), digits(-1), "")
	table.row("evil\x1b[2Jname", digits(1), digits(0), "é")
	print := func(width int) string {
		var b strings.Builder
		w := bufio.NewWriter(&b)
		table.print(w, width)
		require.NoError(t, w.Flush())
		return b.String()
	}
	whole := "topic                     partitions   bytes  properties\n" +
		"orders                             4  123456  retention.ms=60000 segment.bytes=4096\n" +
		"a-topic-with-a-long-name          12       -\n" +
		"\"evil\\x1b[2Jname\"                  1       0  é\n"
	require.Equal(t, whole, print(0))
	require.Equal(t, whole, print(200))
	require.Equal(t, whole, print(83))
	for width := 1; width < 200; width++ {
		out := print(width)
		for line := range strings.Lines(out) {
			require.NotRegexp(t, ` \n`, line)
			if width >= 46 {
				require.LessOrEqual(t, len([]rune(line))-1, width)
			}
		}
		require.Contains(t, out, "123456")
	}
	require.Equal(t, "topic          partitions   bytes  properties\n"+
		"orders                  4  123456  retention....\n"+
		"a-topic-wi...          12       -\n"+
		"\"evil\\x1b[...           1       0  é\n", print(48))
	require.Equal(t, "topic: orders\n  partitions: 4\n  bytes: 123456\n  properties: retention.ms=60000 segment.bytes=4096\n"+
		"topic: a-topic-with-a-long-name\n  partitions: 12\n  bytes: -\n"+
		"topic: \"evil\\x1b[2Jname\"\n  partitions: 1\n  bytes: 0\n  properties: é\n", print(20))
}

// Where only numbers are wide there is nothing to cut.
func TestTableOfNumbers(t *testing.T) {
	table := newTable("name", ">offset")
	table.row("orders", digits(int64(1234567890123456789)))
	var b strings.Builder
	w := bufio.NewWriter(&b)
	table.print(w, 20)
	require.NoError(t, w.Flush())
	require.Equal(t, "name: orders\n  offset: 1234567890123456789\n", b.String())
}
