package leat

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
)

// TestCorruptMetadata: without the record of topics nothing is opened, and
// nothing is changed.
func TestCorruptMetadata(t *testing.T) {
	const name = "__metadata-0/00000000000000000000.log"
	for what, damage := range map[string]func([]byte) []byte{
		"bit":    func(b []byte) []byte { b[len(b)-20] ^= 4; return b },
		"zeros":  func(b []byte) []byte { clear(b[len(b)/2:]); return b },
		"cut":    func(b []byte) []byte { return b[:len(b)-3] },
		"nobody": func(b []byte) []byte { return nil },
	} {
		for _, clean := range []bool{true, false} {
			dir := seeded(t)
			if !clean {
				require.NoError(t, os.Remove(filepath.Join(dir, cleanName)))
			}
			path := filepath.Join(dir, filepath.FromSlash(name))
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, damage(b), 0o600))
			for range 2 {
				_, err = Open(dir, nil)
				require.ErrorIs(t, err, ErrCorrupt, "%s, clean: %v", what, clean)
				var e *CorruptError
				require.ErrorAs(t, err, &e)
				require.Contains(t, e.Path, "__metadata-0")
			}
			require.FileExists(t, filepath.Join(dir, "orders-0", "00000000000000000000.log"))
		}
	}
}

// TestStrangeMetadata: records that are whole and mean nothing here. The error
// says where.
func TestStrangeMetadata(t *testing.T) {
	good, err := someTopic.value()
	require.NoError(t, err)
	newer := bytes.Clone(good)
	newer[1] = 1
	brotli := topicRecord{name: "x", partitions: 1, pairs: []pair{{"compression.type", "brotli"}}}
	unknown, err := brotli.value()
	require.NoError(t, err)
	for says, record := range map[string]codec.Record{
		"topic \"orders\": record is damaged: property does not fit": {Key: topicKey("orders"), Value: good[:30]},
		"version not known: 1,":             {Key: topicKey("orders"), Value: newer},
		"key: version not known: 9":         {Key: []byte{0, 9}, Value: good},
		"key: record is damaged":            {Key: nil, Value: good},
		"topic name not allowed: \"../up\"": {Key: topicKey("../up"), Value: good},
		"compression.type is \"brotli\"":    {Key: topicKey("x"), Value: unknown},
	} {
		fsys := vfs.NewMem()
		st, err := openFS(fsys, nil)
		require.NoError(t, err)
		coders := compress.New()
		record.Offset = st.meta.LogEndOffset()
		b, err := codec.AppendBatch(nil, codec.NewHeader(record.Offset, []codec.Record{record}), []codec.Record{record}, coders)
		require.NoError(t, err)
		st.abandonAll()
		f, err := fsys.Open("__metadata-0/00000000000000000000.log", vfs.ReadWrite)
		require.NoError(t, err)
		end := int64(0)
		head := make([]byte, codec.HeaderSize)
		for at := int64(0); ; at = end { // behind the last batch
			n, err := f.ReadAt(head, at)
			if n < len(head) || err != nil {
				break
			}
			size, err := codec.BatchSize(head)
			if err != nil {
				break
			}
			end = at + size
		}
		_, err = f.WriteAt(b, end)
		require.NoError(t, err)
		require.NoError(t, f.Close())

		_, err = openFS(fsys, nil)
		var e *CorruptError
		require.ErrorAs(t, err, &e, says)
		require.ErrorContains(t, err, says)
		require.Contains(t, e.Path, "__metadata-0")
		if !strings.Contains(says, "brotli") {
			require.Equal(t, end, e.Position)
			require.Equal(t, record.Offset, e.Offset)
		}
		require.Equal(t, strings.Contains(says, "version not known"), errors.Is(err, ErrUnsupported), says)
	}
}
