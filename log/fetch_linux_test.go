package log

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// TestFetchedCut: a file that somebody cuts under a run is an error that says
// where, with as much sent as there was; and nothing worse.
func TestFetchedCut(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		g, dir := shrinkRig(t, WriterPwrite)
		if !mapped {
			g.env.maps = segment.NewMaps(0)
			g.reopen()
		}
		l := g.log
		var f Fetched
		require.NoError(t, l.Fetch(FetchOptions{MaxBytes: -1}, &f))
		require.Greater(t, f.Len(), int64(60_000))
		path := filepath.Join(dir, g.logFile(0))
		require.NoError(t, os.Truncate(path, 10_000))

		to, from := tcpPair(t)
		got := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(from)
			got <- b
		}()
		require.False(t, f.Mapped() && !mapped)
		n, err := f.WriteTo(to)
		requireCutAt(t, err, path, 10_000)
		require.EqualValues(t, 10_000, n)
		to.Close()
		require.Len(t, <-got, 10_000)

		var buf bytes.Buffer
		_, err = f.WriteTo(&buf)
		requireCut(t, err, path)
		if !f.Mapped() { // a 32-bit system and the race detector have no maps either
			require.Nil(t, f.Bytes())
			requireCut(t, f.Err(), path)
		}
		f.Release()
		require.Error(t, l.Fetch(FetchOptions{Offset: 2}, new(Fetched)))
		var rest Fetched
		require.NoError(t, l.Fetch(FetchOptions{Offset: l.Segments()[1].BaseOffset}, &rest))
		rest.Release()
	}
}

func requireCut(t *testing.T, err error, path string) *segment.CorruptError {
	t.Helper()
	var e *segment.CorruptError
	require.ErrorAs(t, err, &e)
	require.Equal(t, path, e.Path)
	return e
}

func requireCutAt(t *testing.T, err error, path string, pos int64) {
	t.Helper()
	require.Equal(t, pos, requireCut(t, err, path).Position)
}
