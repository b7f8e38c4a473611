package golden

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The examples in docs/format.md are blocks that begin with "```hex <file>";
// each line in one is an offset, bytes, a bar and what they mean. They must be
// what the file has, without a byte left out between two lines.
func TestFormatExamples(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root(), "docs", "format.md"))
	require.NoError(t, err)
	blocks := strings.Split(string(doc), "```hex ")[1:]
	require.Greater(t, len(blocks), 8)
	for _, block := range blocks {
		name, block, _ := strings.Cut(block, "\n")
		block, _, _ = strings.Cut(block, "```")
		file := Bytes(t, filepath.FromSlash(name))
		next := int64(-1)
		for line := range strings.Lines(block) {
			text, _, found := strings.Cut(line, "|")
			require.True(t, found, "%s: %s", name, line)
			fields := strings.Fields(text)
			at, err := strconv.ParseInt(fields[0], 16, 64)
			require.NoError(t, err, "%s: %s", name, line)
			b, err := hex.DecodeString(strings.Join(fields[1:], ""))
			require.NoError(t, err, "%s: %s", name, line)
			if next >= 0 {
				require.Equal(t, next, at, "%s: %s", name, line)
			}
			next = at + int64(len(b))
			require.LessOrEqual(t, next, int64(len(file)), "%s: %s", name, line)
			require.Equal(t, file[at:next], b, "%s: %s", name, line)
		}
	}
}
