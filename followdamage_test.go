package leat

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// TestFollowClosedDamage: what a writer that has closed its store made durable is
// not taken for a torn tail, by who waits for it and by who asks; on systems
// without maps neither, where the writer's words are not alive.
func TestFollowClosedDamage(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(log []byte) []byte
		left int64
	}{
		{"flipped", func(b []byte) []byte { b[bytes.Index(b, []byte("value-1"))] ^= 1; return b }, 1},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, 2},
		{"zeros", func(b []byte) []byte { clear(b[len(b)/3:]); return b }, 1},
		{"cut at a batch", func(b []byte) []byte { return b[:2*len(b)/3] }, 2},
	} {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel() // each waits until nobody can be writing there any more
			dir := t.TempDir()
			st, err := Open(dir, nil)
			require.NoError(t, err)
			p := part(t, st, "t", TopicConfig{})
			for _, v := range []string{"value-0", "value-1", "value-2"} {
				_, err := p.Append(ctx, Record{Value: []byte(v)})
				require.NoError(t, err)
			}
			require.NoError(t, st.Close())
			path := filepath.Join(dir, "t-0", segment.FileName(0, segment.LogSuffix))
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, damage.do(b), 0o600))

			r, err := OpenReadOnly(dir, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, r.Close()) }()
			p = reopened(t, r, "t")
			rd := reader(t, p, ReaderOptions{})
			for range damage.left {
				_, err := rd.Next(ctx)
				require.NoError(t, err)
			}
			var corrupt *CorruptError
			_, err = rd.Next(ctx)
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, path, corrupt.Path)
			require.Equal(t, damage.left, corrupt.Offset)
			require.ErrorIs(t, p.Describe().Err, ErrCorrupt)
		})
	}
}
