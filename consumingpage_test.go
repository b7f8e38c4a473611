package leat_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConsumingPage: the programs in docs/consuming.md are those of the examples,
// which are run, and what the page links to is there.
func TestConsumingPage(t *testing.T) {
	source, err := os.ReadFile("example_consumer_test.go")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join("docs", "consuming.md"))
	require.NoError(t, err)
	page := string(text)

	programs := regexp.MustCompile(`(?s)// Page begins\n(.*?)\n\n// Page ends\n`).FindAllStringSubmatch(string(source), -1)
	require.Len(t, programs, 3)
	for _, p := range programs {
		require.True(t, strings.Contains(page, "```go\n"+p[1]+"\n```\n"), "the page has another program than\n%s", p[1])
	}
	links := regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(page, -1)
	require.NotEmpty(t, links)
	for _, l := range links {
		_, err := os.Stat(filepath.Join("docs", l[1]))
		require.NoError(t, err)
	}
}
