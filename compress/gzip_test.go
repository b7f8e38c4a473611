package compress

import (
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGzipMembers(t *testing.T) {
	c := New()
	defer c.Close()
	in := inputs()["text"][:5000]
	var one bytes.Buffer
	w := gzip.NewWriter(&one)
	w.Name, w.Comment, w.Extra = "name", "comment", make([]byte, 1000)
	_, err := w.Write(in)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	got, err := c.AppendDecoded(nil, one.Bytes(), Gzip, len(in))
	require.NoError(t, err)
	require.True(t, bytes.Equal(in, got))

	three := bytes.Repeat(one.Bytes(), 3)
	got, err = c.AppendDecoded(nil, three, Gzip, 3*len(in))
	require.NoError(t, err)
	require.True(t, bytes.Equal(bytes.Repeat(in, 3), got))
	_, err = c.AppendDecoded(nil, three, Gzip, 3*len(in)-1)
	require.ErrorIs(t, err, ErrTooLarge)

	// A great many empty members must not be a great many stack frames.
	empty, err := c.Append(nil, nil, Gzip)
	require.NoError(t, err)
	got, err = c.AppendDecoded(nil, bytes.Repeat(empty, 10_000), Gzip, 0)
	require.NoError(t, err)
	require.Empty(t, got)

	bad := bytes.Clone(one.Bytes())
	bad[len(bad)-5] ^= 1 // of the CRC
	_, err = c.AppendDecoded(nil, bad, Gzip, len(in))
	require.ErrorIs(t, err, ErrCorrupt)
}
