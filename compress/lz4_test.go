package compress

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

func TestXXH32(t *testing.T) {
	for in, want := range map[string]uint32{
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		require.Equal(t, want, xxh32([]byte(in)), in)
	}
	require.Equal(t, byte(lz4Header[6]), byte(xxh32([]byte(lz4Header[4:6]))>>8))
}

// Frames of the library's writer, with every option that a producer in Go could
// set; and the library reads what is written here.
func TestLZ4Options(t *testing.T) {
	c := New()
	defer c.Close()
	in := inputs()["text"]
	for _, size := range []lz4.BlockSize{lz4.Block64Kb, lz4.Block256Kb, lz4.Block1Mb, lz4.Block4Mb} {
		for flags := range 8 {
			var out bytes.Buffer
			w := lz4.NewWriter(&out)
			options := []lz4.Option{lz4.BlockSizeOption(size), lz4.BlockChecksumOption(flags&1 != 0), lz4.ChecksumOption(flags&2 != 0)}
			if flags&4 != 0 {
				options = append(options, lz4.SizeOption(uint64(len(in))))
			}
			require.NoError(t, w.Apply(options...))
			_, err := w.Write(in)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			got, err := c.AppendDecoded(nil, out.Bytes(), LZ4, len(in))
			require.NoError(t, err)
			require.True(t, bytes.Equal(in, got))

			if flags&3 != 0 {
				bad := bytes.Clone(out.Bytes())
				bad[len(bad)-1] ^= 1 // of the content checksum, or of the end mark
				_, err = c.AppendDecoded(nil, bad, LZ4, len(in))
				require.ErrorIs(t, err, ErrCorrupt)
			}
		}
	}
	mine, err := c.Append(nil, in, LZ4)
	require.NoError(t, err)
	got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(mine)))
	require.NoError(t, err)
	require.True(t, bytes.Equal(in, got))
}

func TestLZ4Refused(t *testing.T) {
	frame := func(flg, bd byte, rest string) []byte {
		b := append([]byte(lz4Magic), flg, bd)
		return append(append(b, byte(xxh32(b[4:])>>8)), rest...)
	}
	const end = "\x00\x00\x00\x00"
	for name, tc := range map[string]struct {
		in   []byte
		want string
	}{
		"legacy magic":    {[]byte("\x02\x21\x4c\x18aaaaaaaa"), "magic 02214c18"},
		"short":           {[]byte(lz4Magic), "4 bytes are no frame"},
		"version 0":       {frame(0x20, 0x40, end), "version 0"},
		"linked blocks":   {frame(0x40, 0x40, end), "linked blocks"},
		"dictionary":      {frame(0x61, 0x40, end), "descriptor 61 40"},
		"reserved":        {frame(0x60, 0xc0, end), "descriptor 60 c0"},
		"block size 3":    {frame(0x60, 0x30, end), "descriptor 60 30"},
		"header checksum": {[]byte(lz4Magic + "\x60\x40\x83" + end), "header checksum 83, should be 82"},
		"no end mark":     {frame(0x60, 0x40, "\x01\x00\x00\x80a"), "no end mark"},
		"block too long":  {frame(0x60, 0x40, "\x01\x00\x01\x80"+strings.Repeat("a", 65537)+end), "a block of 65537 bytes"},
		"ends in a match": {frame(0x60, 0x40, "\x05\x01\x00\x00"+"\x1fa\x01\x00"+strings.Repeat("\xff", 257)+end), "a block ends within a sequence"},
		"decodes to more": {frame(0x60, 0x40, "\x08\x01\x00\x00"+"\x1fa\x01\x00"+strings.Repeat("\xff", 257)+"\x00\x10b"+end), "a block decodes to 65556 bytes"},
		"a second frame":  {append(frame(0x60, 0x40, end), frame(0x60, 0x40, end)...), "11 bytes after the frame"},
	} {
		c := New()
		_, err := c.AppendDecoded(nil, tc.in, LZ4, 1<<20)
		require.ErrorIs(t, err, ErrCorrupt, name)
		require.ErrorContains(t, err, tc.want, name)
	}
}

func TestLZ4Size(t *testing.T) {
	var c lz4.Compressor
	for name, in := range inputs() {
		in = in[:min(len(in), 64<<10)]
		out := make([]byte, lz4.CompressBlockBound(len(in)))
		n, err := c.CompressBlock(in, out)
		require.NoError(t, err)
		if n == 0 {
			continue
		}
		size, err := lz4Size(out[:n])
		require.NoError(t, err, name)
		require.Equal(t, len(in), size, name)
	}
}
