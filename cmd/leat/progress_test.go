//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// TestProgress: a bar fits the terminal that it is on, and is gone at the end.
// Elsewhere there is none.
func TestProgress(t *testing.T) {
	for _, width := range []uint16{20, 80, 200} {
		master, tty, err := pty.Open()
		require.NoError(t, err)
		require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: width}))
		all := make(chan string)
		go func() {
			var out bytes.Buffer
			_, _ = io.Copy(&out, master)
			all <- out.String()
		}()
		p := newProgress(tty, "orders-0", -1) // nobody knows yet
		p.set(1<<20, -1)
		p.set(1<<29, 1<<30)
		p.set(3<<29, 2<<30)
		p.set(3<<30, 2<<30) // more than was expected
		p.end()
		require.NoError(t, tty.Close())
		out := <-all
		require.NoError(t, master.Close())
		require.Contains(t, out, "orders-0")
		require.NotContains(t, out, "\n", "%q", out)
		shown := strings.Split(regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAllString(out, ""), "\r")
		for _, line := range shown {
			require.LessOrEqual(t, utf8.RuneCountInString(line), int(width), "%q", line)
		}
		require.Empty(t, strings.TrimSpace(shown[len(shown)-1]))
	}
	require.Nil(t, newProgress(&bytes.Buffer{}, "", 1))
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	p := newProgress(f, "", 1)
	p.set(1, 2)
	p.end()
	info, err := f.Stat()
	require.NoError(t, err)
	require.Zero(t, info.Size())
}
