package leat_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// The lines between the two marks are README.md's, which TestReadme compares.
func Example_readme() {
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "leat-example-"))
	defer os.RemoveAll(dir)

	// README begins
	st := must(leat.Open(dir, nil))
	defer st.Close()
	orders := must(st.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 4}))

	part := must(orders.Partition(orders.PartitionFor([]byte("42"))))
	must(part.Append(ctx, leat.Record{Key: []byte("42"), Value: []byte("paid")}))
	// When Append returns, the record is on stable storage.

	rd := must(part.Reader(leat.ReaderOptions{UntilEnd: true}))
	defer rd.Close()
	for rec, err := range rd.Records(ctx) {
		fmt.Printf("%s-%d, offset %d: %s is %s (%v)\n", rec.Topic, rec.Partition, rec.Offset, rec.Key, rec.Value, err)
	}
	// README ends

	// Output:
	// orders-0, offset 0: 42 is paid (<nil>)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestReadme: the program in README.md is the one above, and what it links to is
// there.
func TestReadme(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	between := func(s, from, to string) string {
		_, s, ok := strings.Cut(s, from)
		require.True(t, ok, "%q", from)
		s, _, ok = strings.Cut(s, to)
		require.True(t, ok, "%q", to)
		return s
	}
	want := between(string(source), "\t// README begins\n", "\t// README ends\n")
	want = strings.ReplaceAll("\n"+want, "\n\t", "\n")[1:]
	require.Equal(t, want, between(string(readme), "```go\n", "```\n"))

	for rest := string(readme); ; {
		_, after, ok := strings.Cut(rest, "](")
		if !ok {
			break
		}
		link, after, _ := strings.Cut(after, ")")
		rest = after
		if !strings.Contains(link, "://") {
			_, err := os.Stat(link)
			require.NoError(t, err, "README.md links to it")
		}
	}
}
