package compress

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
)

func TestSnappyForms(t *testing.T) {
	c := New()
	defer c.Close()
	in := inputs()["text"][:100<<10]
	xerial, err := c.Append(nil, in, Snappy)
	require.NoError(t, err)
	raw := s2.EncodeSnappy(nil, in)

	got, err := c.AppendDecoded(nil, raw, Snappy, len(in))
	require.NoError(t, err, "a bare block")
	require.True(t, bytes.Equal(in, got))
	_, err = c.AppendDecoded(nil, raw, Snappy, len(in)-1)
	require.ErrorIs(t, err, ErrTooLarge)

	twice := append(bytes.Clone(xerial), xerial...)
	got, err = c.AppendDecoded(nil, twice, Snappy, 2*len(in))
	require.NoError(t, err, "two streams")
	require.True(t, bytes.Equal(append(in[:len(in):len(in)], in...), got))

	for name, bad := range map[string][]byte{
		"version 0":        append([]byte(snappyMagic), 0, 0, 0, 0, 0, 0, 0, 1),
		"negative version": append([]byte(snappyMagic), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1),
		"cut header":       []byte(snappyHeader[:12]),
		"empty block":      append([]byte(snappyHeader), 0, 0, 0, 0),
		"negative length":  append([]byte(snappyHeader), 0xff, 0xff, 0xff, 0xff, 1, 0, 'a'),
	} {
		_, err = c.AppendDecoded(nil, bad, Snappy, 100)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}
