package codec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

func TestCRCGolden(t *testing.T) {
	var list []golden.CRC32C
	golden.JSON(t, &list, "crc32c.json")
	require.NotEmpty(t, list)
	for _, c := range list {
		require.Equal(t, c.Sum, CRC(c.Bytes), "%x", c.Bytes)
	}
}
