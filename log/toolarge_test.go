package log

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
)

// Zeros compress to nothing, so such a batch would be small enough to store, and
// then too large for any reader to unpack.
func TestCompressedBeyondWhatReadersUnpack(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{Compression: compress.Zstd})
	l := g.open()
	zeros := make([]byte, MaxUnpacked/4)
	four := []Record{{Value: zeros}, {Value: zeros}, {Value: zeros}, {Value: zeros}}
	_, err := l.Append(context.Background(), four, 0)
	require.ErrorIs(t, err, ErrRecordTooLarge)
	require.Zero(t, l.LogEndOffset())
	_, err = l.Append(context.Background(), four[:3], 0)
	require.NoError(t, err)
	require.Len(t, readAllRecords(t, l, 0), 3)
}
