package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

var sink byte

// cutMap is a map of two pages of a file that another process cut to one.
func cutMap(t testing.TB) Map {
	dir := t.TempDir()
	f, err := osTree(t, dir).Create("a")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	page := int64(os.Getpagesize())
	require.NoError(t, f.Truncate(2*page))
	m, err := f.Map(2*page, true)
	if errors.Is(err, ErrNotSupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { m.Unmap() })
	require.NoError(t, os.Truncate(filepath.Join(dir, "a"), page))
	return m
}

func TestGuard(t *testing.T) {
	b := cutMap(t).Bytes()
	at := len(b)/2 + 100
	touches := map[string]func(){
		"load":  func() { sink = b[at] },
		"store": func() { b[at] = 1 },
		"copy":  func() { copy(make([]byte, 1000), b[at:]) },
		"clear": func() { clear(b[at:]) },
	}
	for name, touch := range touches {
		t.Run(name, func(t *testing.T) {
			recovered := func() (err error) {
				defer Recover("p", b, &err, SetFault())
				touch()
				return nil
			}
			var fault *FaultError
			require.ErrorAs(t, recovered(), &fault)
			require.Equal(t, "p", fault.Path)
			require.GreaterOrEqual(t, fault.Position, int64(at))
			require.Less(t, fault.Position, int64(len(b)))

			err := Guard("q", 7, func() error { touch(); return nil })
			require.ErrorAs(t, err, &fault)
			require.Equal(t, "q", fault.Path)
			require.EqualValues(t, 7, fault.Position)
			require.ErrorContains(t, err, "q: memory fault at position 7: ")
			var re runtime.Error
			require.ErrorAs(t, err, &re)
		})
	}

	// What is not a fault of the memory is not made one.
	require.PanicsWithValue(t, "ours", func() { Guard("q", 0, func() error { panic("ours") }) })
	require.Panics(t, func() {
		var nothing *FaultError
		Guard("q", 0, func() error { nothing.Path = "x"; return nil })
	})
	require.Panics(t, func() { Guard("q", 0, func() error { _ = b[len(b):][at]; return nil }) })
	require.Equal(t, os.ErrClosed, Guard("q", 0, func() error { return os.ErrClosed }))

	// Nesting keeps the guard of the outer one, and none is left behind.
	err := Guard("outer", 1, func() error {
		require.NoError(t, Guard("inner", 2, func() error { return nil }))
		return Guard("outer", 1, func() error { b[at] = 1; return nil })
	})
	require.Error(t, err)
	require.False(t, debug.SetPanicOnFault(false))
}

func TestPopulateOfACutFile(t *testing.T) {
	m := cutMap(t)
	require.NoError(t, m.Populate(0, len(m.Bytes())/2, false))
	require.Error(t, m.Populate(0, len(m.Bytes()), false))
}

//go:noinline
func guarded(b []byte) (err error) {
	defer Recover("p", b, &err, SetFault())
	b[0]++
	return nil
}

//go:noinline
func unguarded(b []byte) error {
	b[0]++
	return nil
}

func BenchmarkGuard(b *testing.B) {
	m := make([]byte, 8)
	b.Run("recover", func(b *testing.B) {
		for b.Loop() {
			guarded(m)
		}
	})
	b.Run("none", func(b *testing.B) {
		for b.Loop() {
			unguarded(m)
		}
	})
}
