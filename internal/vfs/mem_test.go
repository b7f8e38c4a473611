package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// What OpenMem uses does not pay for what it does not use.
func TestMemIsFrugal(t *testing.T) {
	m := NewMem()
	require.False(t, m.Mapped())
	f, err := m.Create("a")
	require.NoError(t, err)
	before := heap()
	require.NoError(t, f.Allocate(0, 1<<30))
	_, err = f.WriteAt([]byte("hello"), 0)
	require.NoError(t, err)
	_, err = f.Map(1<<30, true)
	require.ErrorIs(t, err, ErrNotSupported)
	_, err = f.Map(1<<30, false)
	require.ErrorIs(t, err, ErrNotSupported)
	require.Less(t, heap(), before+1<<20)

	old, err := f.Map(5, false)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 1<<20), 5)
	require.NoError(t, err)
	require.Equal(t, "hello", string(old.Bytes()))
	all, err := f.Map(5+1<<20, false)
	require.NoError(t, err)
	require.Equal(t, "hello", string(all.Bytes()[:5]))

	require.NoError(t, old.Unmap())
	require.NoError(t, all.Unmap())
	require.NoError(t, f.Truncate(5))
	require.Less(t, heap(), before+1<<20, "a cut gives memory back")
	b := make([]byte, 5)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
	require.Panics(t, func() { m.Dirty() })
	runtime.KeepAlive(f)
}

func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// Whoever stores through a map must go on reaching the file.
func TestWritableMapIsNotMovedFrom(t *testing.T) {
	for _, m := range []*Mem{NewMem(), NewCrashMem()} {
		f, err := m.Create("a")
		require.NoError(t, err)
		w, err := f.Map(1000, true)
		require.NoError(t, err)
		require.NoError(t, f.Allocate(0, 5000))
		_, err = f.Map(5000, false)
		require.ErrorIs(t, err, ErrNotSupported)
		_, err = f.WriteAt([]byte("x"), 1000)
		require.ErrorIs(t, err, ErrNotSupported)
		w.Bytes()[0] = 'y'
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "y", string(b))

		bigger, err := f.Map(5000, true)
		require.NoError(t, err)
		require.Equal(t, byte('y'), bigger.Bytes()[0])
		require.NoError(t, w.Unmap())
		require.NoError(t, bigger.Unmap())
		_, err = f.WriteAt([]byte("x"), 100_000)
		require.NoError(t, err)
	}
}

func TestMapIsAligned(t *testing.T) {
	for size := int64(1); size < 1<<16; size = size*3 + 1 {
		m := NewCrashMem()
		f, err := m.Create("a")
		require.NoError(t, err)
		mm, err := f.Map(size, true)
		require.NoError(t, err)
		require.Zero(t, uintptr(unsafe.Pointer(&mm.Bytes()[0]))%64)
	}
}

func TestLimit(t *testing.T) {
	m := NewMem()
	m.SetLimit(10000)
	f, err := m.Create("a")
	require.NoError(t, err)
	require.NoError(t, f.Allocate(0, 4096))
	_, err = f.WriteAt(make([]byte, 4096), 0)
	require.NoError(t, err)
	g, err := m.Create("b")
	require.NoError(t, err)
	require.ErrorIs(t, g.Allocate(0, 8192), ErrNoSpace)
	_, err = g.WriteAt(make([]byte, 8192), 0)
	require.ErrorIs(t, err, ErrNoSpace)
	size, err := g.Size()
	require.NoError(t, err)
	require.Zero(t, size)
	require.EqualValues(t, 4096, m.Used())
	require.NoError(t, m.Remove("a"))
	require.NoError(t, g.Allocate(0, 8192))
}

// The hook sees each call twice, may fail it before anything is done, or after.
func TestHook(t *testing.T) {
	calls := func(m *Mem) error {
		f, err := m.Create("a")
		if err != nil {
			return err
		}
		defer f.Close()
		mm, err := f.Map(4096, true)
		if err != nil {
			return err
		}
		defer mm.Unmap()
		l, err := m.Lock(".lock")
		if err != nil {
			return err
		}
		defer l.Close()
		for _, call := range []func() error{
			func() error { return m.Mkdir("d") },
			func() error { _, err := m.ReadDir("."); return err },
			func() error { _, err := m.Stat("."); return err },
			func() error { return f.Allocate(0, 4096) },
			func() error { return mm.Populate(0, 10, true) },
			func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
			func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
			func() error { _, err := f.Size(); return err },
			func() error { return f.Zero(0, 1) },
			func() error { return f.Truncate(1) },
			func() error { return f.Sync() },
			func() error { return m.SetModTime("a", time.Unix(1, 0)) },
			func() error { return m.SyncDir(".") },
			func() error { return m.Rename("a", "b") },
			func() error { _, err := m.Open("b", ReadOnly); return err },
			func() error { return m.Remove("b") },
		} {
			if err := call(); err != nil {
				return err
			}
		}
		return errors.Join(mm.Unmap(), l.Close(), f.Close())
	}

	var seen [NumOps][2]int
	m := NewCrashMem()
	m.SetHook(func(op Op, name string, before bool) error {
		require.NotEmpty(t, name)
		m.Dirty() // it may: no lock is held
		if before {
			seen[op][0]++
		} else {
			seen[op][1]++
		}
		return nil
	})
	require.NoError(t, calls(m))
	for op := range NumOps {
		require.NotZero(t, seen[op][0], op)
		require.Equal(t, seen[op][0], seen[op][1], op)
	}

	// The Nth call fails, for every N, before or after: the error comes out
	// with the name of the call, and before means that nothing was done.
	for _, before := range []bool{true, false} {
		for n, done := 0, false; !done; n++ {
			m := NewCrashMem()
			count, hash, hit := 0, uint64(0), Op(0)
			m.SetHook(func(op Op, _ string, b bool) error {
				if b != before {
					return nil
				}
				if count++; count == n+1 {
					hash, hit = m.Hash(), op
					return syscall.EIO
				}
				return nil
			})
			err := calls(m)
			if count <= n {
				require.NoError(t, err)
				done = true
				continue
			}
			require.ErrorIs(t, err, syscall.EIO)
			var p *fs.PathError
			require.ErrorAs(t, err, &p)
			require.Equal(t, hit.String(), p.Op)
			if before {
				require.Equal(t, hash, m.Hash())
			}
		}
	}
}

func TestShortWrite(t *testing.T) {
	m := NewMem()
	f, err := m.Create("a")
	require.NoError(t, err)
	m.SetHook(func(op Op, _ string, before bool) error {
		if op == OpWriteAt && before {
			return &ShortWrite{N: 3, Err: ErrNoSpace}
		}
		return nil
	})
	n, err := f.WriteAt([]byte("hello"), 0)
	require.ErrorIs(t, err, ErrNoSpace)
	require.Equal(t, 3, n)
	m.SetHook(nil)
	require.Equal(t, "a:3 hel", show(m))
}

func TestMemFromManyGoroutines(t *testing.T) {
	for _, m := range []*Mem{NewMem(), NewCrashMem()} {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				dir := fmt.Sprint(g % 4)
				m.Mkdir(dir)
				for i := range 50 {
					name := fmt.Sprintf("%s/%d-%d", dir, g, i)
					f, err := m.Create(name)
					if err != nil {
						panic(err)
					}
					f.WriteAt([]byte(name), int64(i)*100)
					f.Sync()
					m.SyncDir(dir)
					m.Rename(name, name+"x")
					m.ReadDir(dir)
					if g == 0 && i%10 == 0 {
						m.Snapshot().Hash()
					}
					f.Close()
				}
			})
		}
		wg.Wait()
		for g := range 4 {
			list, err := m.ReadDir(fmt.Sprint(g))
			require.NoError(t, err)
			require.Len(t, list, 100)
		}
	}
}

// BenchmarkMemWrite is an append of 1 KiB by WriteAt.
func BenchmarkMemWrite(b *testing.B) {
	m := NewMem()
	f, err := m.Create("a")
	require.NoError(b, err)
	p := make([]byte, 1024)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for off := int64(0); b.Loop(); off = (off + 1024) & (64<<20 - 1) {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
}
