package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// sendFixture is a file of n bytes that differ.
func sendFixture(t *testing.T, n int) (vfs.File, []byte, string) {
	dir := t.TempDir()
	fsys, err := vfs.OS(dir, vfs.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { fsys.Close() })
	f, err := fsys.Create("f")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	return f, b, filepath.Join(dir, "f")
}

// sockets are the two ends of a connection.
func sockets(t *testing.T, network string) (a, b net.Conn) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	defer l.Close()
	a, err = net.Dial(network, l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestSendFile: stretches of a file arrive whole at a socket, larger ones than it
// takes at once too, and the file's own offset does not move.
func TestSendFile(t *testing.T) {
	f, b, _ := sendFixture(t, 9<<20)
	for _, network := range []string{"tcp", "unix"} {
		to, from := sockets(t, network)
		require.True(t, vfs.CanSend(to))
		for _, s := range [][2]int64{{0, 1}, {5, 100}, {1<<20 - 1, 5 << 20}, {0, int64(len(b))}, {77, 0}} {
			got := make([]byte, s[1])
			done := make(chan error, 1)
			go func() {
				_, err := io.ReadFull(from, got)
				done <- err
			}()
			n, err := vfs.SendFile(to, f, s[0], s[1])
			require.NoError(t, err)
			require.Equal(t, s[1], n)
			require.NoError(t, <-done)
			require.True(t, bytes.Equal(b[s[0]:s[0]+s[1]], got), "%s %v", network, s)
			at, err := f.OS().Seek(0, io.SeekCurrent)
			require.NoError(t, err)
			require.Zero(t, at)
		}
	}
}

// TestSendFileElsewhere: what is no socket, or no file of the system, is left to
// the caller.
func TestSendFileElsewhere(t *testing.T) {
	f, _, _ := sendFixture(t, 100)
	var buf bytes.Buffer
	require.False(t, vfs.CanSend(&buf))
	_, err := vfs.SendFile(&buf, f, 0, 100)
	require.ErrorIs(t, err, vfs.ErrNotSupported)
	require.Zero(t, buf.Len())

	to, _ := sockets(t, "tcp")
	m, err := vfs.NewMem().Create("f")
	require.NoError(t, err)
	_, err = vfs.SendFile(to, m, 0, 100)
	require.ErrorIs(t, err, vfs.ErrNotSupported)

	packets, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "d"), Net: "unixgram"})
	require.NoError(t, err)
	defer packets.Close()
	_, err = vfs.SendFile(packets, f, 0, 100)
	require.ErrorIs(t, err, vfs.ErrNotSupported)
}

// TestSendFileErrors: each of the ways in which it ends early, with how much was
// sent.
func TestSendFileErrors(t *testing.T) {
	const size = 64 << 20 // more than two sockets hold
	f, b, path := sendFixture(t, size)

	to, from := sockets(t, "tcp")
	require.NoError(t, to.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := vfs.SendFile(to, f, 0, size)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Positive(t, n)
	require.Less(t, n, int64(size))
	// What was counted has been sent: the rest can follow.
	require.NoError(t, to.SetWriteDeadline(time.Time{}))
	got := make(chan []byte, 1)
	go func(from net.Conn) {
		b, _ := io.ReadAll(from)
		got <- b
	}(from)
	m, err := vfs.SendFile(to, f, n, size-n)
	require.NoError(t, err)
	require.EqualValues(t, size, n+m)
	require.NoError(t, to.Close())
	require.True(t, bytes.Equal(b, <-got))
	_, err = vfs.SendFile(to, f, 0, 1)
	require.ErrorIs(t, err, net.ErrClosed)
	require.NotErrorIs(t, err, fs.ErrClosed)

	to, from = sockets(t, "tcp")
	go func(from *net.TCPConn) {
		io.ReadFull(from, make([]byte, 1<<20))
		from.SetLinger(0) // a reset
		from.Close()
	}(from.(*net.TCPConn))
	n, err = vfs.SendFile(to, f, 0, size)
	require.Error(t, err)
	require.True(t, errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET), "%v", err)
	require.Less(t, n, int64(size))

	to, from = sockets(t, "tcp")
	require.NoError(t, os.Truncate(path, 1000))
	go io.Copy(io.Discard, from)
	n, err = vfs.SendFile(to, f, 300, 2000)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.EqualValues(t, 700, n)
	require.NoError(t, f.Close())
	n, err = vfs.SendFile(to, f, 0, 100)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.Zero(t, n)
	_, err = to.Write([]byte("still there"))
	require.NoError(t, err)
}
