package log

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// tcpPair are the two ends of a connection.
func tcpPair(t *testing.T) (to, from *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// sendRig is a log of three segments of some 1 MiB, over files that are counted.
func sendRig(t *testing.T, g *rig) (*Log, *leakFS) {
	leak := &leakFS{FS: g.fs}
	env := envLike(g, leak)
	l, _, err := Open(env, "t-0", g.cfg, g.st)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		env.Close()
		require.Zero(t, leak.files.Load(), "files")
		require.Zero(t, leak.maps.Load(), "maps")
	})
	for len(l.Segments()) < 3 {
		appendNoise(t, l)
	}
	appendNoise(t, l)
	require.NoError(t, l.Sync(context.Background()))
	return l, leak
}

func appendNoise(t *testing.T, l *Log) {
	_, err := l.Append(context.Background(), []Record{{Value: noise(50_000 + int(l.LogEndOffset()))}}, Written)
	require.NoError(t, err)
}

var sendConfig = Config{SegmentBytes: 1 << 20, Durability: Written}

// TestFetchSend: what arrives at the other end of a connection is the run, from
// sealed segments and the active one, twice, and after the segment was removed.
func TestFetchSend(t *testing.T) {
	forEachView(t, sendConfig, func(t *testing.T, g *rig) {
		l, leak := sendRig(t, g)
		files := leak.files.Load()
		for i, s := range l.Segments() {
			var f Fetched
			require.NoError(t, l.Fetch(FetchOptions{Offset: s.BaseOffset, MaxBytes: -1}, &f))
			require.Equal(t, s.Size, f.Len())
			for range 2 {
				requireSent(t, &f)
			}
			if i < 2 {
				require.NoError(t, l.Sync(context.Background()))
				dropSegment(t, l)
				requireSent(t, &f)
				// Whatever gets its name is not it.
				g.putFile(g.logFile(s.BaseOffset), noise(int(f.Len())))
				requireSent(t, &f)
			}
			f.Release()
		}
		require.LessOrEqual(t, leak.files.Load(), files)
	})
}

// requireSent sends a run over a connection.
func requireSent(t *testing.T, f *Fetched) {
	t.Helper()
	to, from := tcpPair(t)
	done := make(chan error, 1)
	go func() {
		n, err := f.WriteTo(to)
		if err == nil && n != f.Len() {
			err = io.ErrShortWrite
		}
		to.Close()
		done <- err
	}()
	got, err := io.ReadAll(from)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.True(t, bytes.Equal(f.Bytes(), got), "%d bytes of %d", len(got), f.Len())
}

// dropSegment removes the oldest segment.
func dropSegment(t *testing.T, l *Log) {
	sealAll(l)
	dropOldestN(t, l, 1)
}

// sealAll does not wait for the flush timer.
func sealAll(l *Log) {
	l.seals.start(l)
	l.work.Wait()
}

// TestFetchSendBesides: a segment is sealed and its log closed while it is being
// sent, whose descriptor is the writer's at first; and it is sent before it could
// be opened again.
func TestFetchSendBesides(t *testing.T) {
	for _, close := range []bool{false, true} {
		forEachView(t, sendConfig, func(t *testing.T, g *rig) {
			l, _ := sendRig(t, g)
			last := l.Segments()[2]
			for l.Segments()[2].Size < 900_000 {
				appendNoise(t, l)
			}
			var f Fetched
			require.NoError(t, l.Fetch(FetchOptions{Offset: last.BaseOffset, MaxBytes: -1}, &f))
			defer f.Release()
			to, from := tcpPair(t)
			require.NoError(t, to.SetWriteBuffer(32<<10)) // less than the run
			require.NoError(t, from.SetReadBuffer(32<<10))
			done := make(chan error, 1)
			go func() {
				_, err := f.WriteTo(to)
				to.Close()
				done <- err
			}()
			got := make([]byte, f.Len())
			_, err := io.ReadFull(from, got[:1000]) // it has begun
			require.NoError(t, err)
			if close {
				require.NoError(t, l.Close())
			} else {
				for len(l.Segments()) < 4 {
					appendNoise(t, l)
				}
				sealAll(l)
				require.False(t, l.segments.Load().segs[2].Active())
			}
			_, err = io.ReadFull(from, got[1000:])
			require.NoError(t, err)
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(f.Bytes(), got))
		})
	}
}

// TestFetchReleaseBesides: a Release while the run is being sent leaves the bytes
// to whoever sends them.
func TestFetchReleaseBesides(t *testing.T) {
	forEachView(t, sendConfig, func(t *testing.T, g *rig) {
		l, _ := sendRig(t, g)
		var f Fetched
		require.NoError(t, l.Fetch(FetchOptions{MaxBytes: -1}, &f))
		want := bytes.Clone(f.Bytes())
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := f.WriteTo(w)
			w.Close()
			done <- err
		}()
		got := make([]byte, len(want))
		_, err := io.ReadFull(r, got[:1])
		require.NoError(t, err)
		f.Release()
		dropSegment(t, l)
		_, err = io.ReadFull(r, got[1:])
		require.NoError(t, err)
		require.NoError(t, <-done)
		require.True(t, bytes.Equal(want, got))
	})
}
