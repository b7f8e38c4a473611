package compress

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// Frames without their content size, as streaming writers such as Kafka's make
// them, skippable frames, several frames.
func TestZstdFrames(t *testing.T) {
	c := New()
	defer c.Close()
	for name, in := range inputs() {
		var stream bytes.Buffer
		w, err := zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true))
		require.NoError(t, err)
		for b := in; len(b) > 0; { // in pieces, so that the size is not known
			n, err := w.Write(b[:min(len(b), 10_000)])
			require.NoError(t, err)
			b = b[n:]
		}
		require.NoError(t, w.Close())
		got, err := c.AppendDecoded(nil, stream.Bytes(), Zstd, len(in))
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(in, got), name)

		many := append([]byte("\x53\x2a\x4d\x18\x02\x00\x00\x00hi"), stream.Bytes()...)
		many, err = c.Append(many, in, Zstd)
		require.NoError(t, err)
		many = append(many, stream.Bytes()...)
		got, err = c.AppendDecoded(nil, many, Zstd, 3*len(in))
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(bytes.Repeat(in, 3), got), name)
		if len(in) > 0 {
			_, err = c.AppendDecoded(nil, many, Zstd, 3*len(in)-1)
			require.ErrorIs(t, err, ErrTooLarge, name)
			bad := bytes.Clone(stream.Bytes())
			bad[len(bad)-1] ^= 1
			_, err = c.AppendDecoded(nil, bad, Zstd, len(in))
			require.ErrorIs(t, err, ErrCorrupt, name)
		}
	}
	for name, bad := range map[string]string{
		"no frame":        "\x28\xb5\x2f\xfd",
		"three bytes":     "\x28\xb5\x2f",
		"cut skippable":   "\x53\x2a\x4d\x18\x09\x00\x00\x00hi",
		"dictionary":      "\x28\xb5\x2f\xfd\x01\x58\x07\x09\x00\x00a",
		"reserved block":  "\x28\xb5\x2f\xfd\x00\x58\x07\x00\x00",
		"cut checksum":    "\x28\xb5\x2f\xfd\x04\x58\x09\x00\x00a\x00",
		"declares less":   "\x28\xb5\x2f\xfd\x20\x01\x11\x00\x00ab",
		"block too large": "\x28\xb5\x2f\xfd\x00\x58\xff\xff\xff",
	} {
		_, err := c.AppendDecoded(nil, []byte(bad), Zstd, 100)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}
