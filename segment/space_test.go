package segment

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// Blocks are asked for in steps that double from 64 KiB to 64 MiB, never beyond
// what the segment can grow to, and before a byte is written.
func TestAllocationSteps(t *testing.T) {
	c := Config{Bytes: 1 << 20, IndexBytes: 4096, IndexInterval: 4096}
	forEachWriter(t, c, func(t *testing.T, g *rig) {
		s := g.create(0)
		m := &model{}
		var sizes []int64
		for s.Room() > 10_000 {
			require.NoError(t, put(s, m.note(spec{base: m.next(), records: 1, size: 9_000, time: 1})))
			n := s.mu.writer.allocated.Load()
			require.LessOrEqual(t, s.Size(), n)
			f, err := g.fs.Stat(g.name(0, LogSuffix))
			require.NoError(t, err)
			require.Equal(t, n, f.Size)
			if len(sizes) == 0 || sizes[len(sizes)-1] != n {
				sizes = append(sizes, n)
			}
		}
		require.Equal(t, []int64{64 << 10, 192 << 10, 448 << 10, 960 << 10, 1 << 20}, sizes)
		m.check(t, s)
		g.seal(s)
		require.Len(t, g.read(0, LogSuffix), int(m.size))
		require.NoError(t, s.Close())
	})
}

// A batch larger than the next step gets what it needs.
func TestAllocateLargeBatch(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		require.NoError(t, put(s, m.note(spec{base: 0, records: 1, size: 300_000, time: 1})))
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

// A full disk is an error that leaves everything as it was, wherever it is met:
// reads go on, and appends when there is room again. At the edge the last blocks
// are used.
func TestNoSpace(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for limit := int64(1_000); limit < 300_000; limit = limit*3/2 + 77 {
			t.Run(fmt.Sprintf("mapped=%v/limit=%d", mapped, limit), func(t *testing.T) {
				c := small
				c.Mapped = mapped
				g := newRig(t, c, true)
				g.mem.SetLimit(limit)
				s, m := g.create(0), &model{}
				var err error
				for {
					b := spec{base: m.next(), records: 1, size: 700, time: m.next()}
					if err = put(s, b.encode()); err != nil {
						break
					}
					m.note(b)
				}
				require.ErrorIs(t, err, vfs.ErrNoSpace)
				require.Contains(t, err.Error(), FileName(0, LogSuffix))
				require.LessOrEqual(t, limit-m.size, int64(900), "there is room for another")
				m.check(t, s)
				before := g.read(0, LogSuffix)
				require.Empty(t, trimZeros(before[m.size:]), "half a batch behind the tail")

				if m.size > 0 && limit > 2000 {
					small := spec{base: m.next(), records: 1, size: 8, time: m.next()}
					if err := put(s, small.encode()); err == nil {
						m.note(small)
					}
				}
				m.check(t, s)
				g.mem.SetLimit(0)
				m.fill(t, s, 20)
				m.check(t, s)
				g.seal(s)
				m.check(t, s)
				require.NoError(t, s.Close())
				require.Zero(t, g.maps.Count())
			})
		}
	}
}

// The same where it is the nth request that fails, of blocks or, on a filesystem
// that cannot give any beforehand, of a write.
func TestNoSpaceAtEveryGrowth(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for _, sparse := range []bool{false, true} {
			for n := range 8 {
				t.Run(fmt.Sprintf("mapped=%v/sparse=%v/n=%d", mapped, sparse, n), func(t *testing.T) {
					c := small
					c.Mapped = mapped
					g := newRig(t, c, true)
					s, m := g.create(0), &model{}
					op := vfs.OpAllocate
					if sparse {
						op = vfs.OpWriteAt
					}
					f := &failing{op: op, n: n, err: fmt.Errorf("nothing left: %w", vfs.ErrNoSpace)}
					if sparse {
						f.err = &vfs.ShortWrite{N: 70, Err: f.err}
					}
					g.mem.SetHook(func(op vfs.Op, name string, before bool) error {
						if sparse && op == vfs.OpAllocate {
							return vfs.ErrNotSupported
						}
						return f.hook(op, name, before)
					})
					var err error
					for s.Room() > 20_000 {
						b := spec{base: m.next(), records: 1, size: 15_000, time: m.next()}
						if err = put(s, b.encode()); err != nil {
							break
						}
						m.note(b)
					}
					if n < 5 {
						require.ErrorIs(t, err, vfs.ErrNoSpace)
					}
					m.check(t, s)
					require.Empty(t, trimZeros(g.read(0, LogSuffix)[m.size:]), "half a batch behind the tail")
					f.n = 1 << 30
					m.fill(t, s, 5)
					m.check(t, s)
					g.seal(s)
					require.NoError(t, s.Close())
					r, err := g.open(0).Scan(ScanOptions{})
					require.NoError(t, err)
					require.Equal(t, m.size, r.Valid)
					require.Equal(t, StopEnd, r.Stop)
				})
			}
		}
	}
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// Where no blocks can be had beforehand nothing is written through a map, and
// the filesystem is asked once.
func TestNotSupported(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpAllocate, vfs.OpMap} {
		t.Run(op.String(), func(t *testing.T) {
			c := small
			c.Mapped = true
			g := newRig(t, c, true)
			f := &failing{op: op, err: vfs.ErrNotSupported}
			g.mem.SetHook(f.hook)
			s, m := g.create(0), &model{}
			m.fill(t, s, 50)
			require.Nil(t, s.mu.writer.m)
			require.LessOrEqual(t, f.count, 2)
			m.check(t, s)
			g.seal(s)
			m.check(t, s)
			require.NoError(t, s.Close())
			require.Zero(t, g.maps.Count())
		})
	}
}

// A write that fails for another reason is the end of the writer, not of what
// was there.
func TestShortWrite(t *testing.T) {
	for _, n := range []int{0, 1, 61, 100} {
		g := newRig(t, small, true)
		s, m := g.create(0), &model{}
		m.fill(t, s, 10)
		f := &failing{op: vfs.OpWriteAt, err: &vfs.ShortWrite{N: n, Err: errDisk}}
		g.mem.SetHook(f.hook)
		err := put(s, spec{base: m.next(), records: 1, size: 200, time: 9}.encode())
		require.ErrorIs(t, err, errDisk)
		require.NotErrorIs(t, err, vfs.ErrNoSpace)
		m.check(t, s)
		require.NoError(t, s.Close())
		g.mem.SetHook(nil)

		s = g.open(0)
		r, err := s.Scan(ScanOptions{})
		require.NoError(t, err)
		require.Equal(t, m.size, r.Valid)
		require.Equal(t, n < 8, r.Stop == StopZeros, "the base offset begins with zeros")
		require.NoError(t, s.Cut(r.Valid))
		require.NoError(t, s.Activate(r))
		m.fill(t, s, 10)
		m.check(t, s)
		require.NoError(t, s.Close())
	}
}

// A sync that has failed is believed for good: a later one would succeed, and
// prove nothing.
func TestFailedSync(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		if g.mem == nil {
			t.Skip("needs a hook")
		}
		s, m := g.create(0), &model{}
		m.fill(t, s, 10)
		require.NoError(t, s.Sync())
		f := &failing{op: vfs.OpSync, err: errDisk}
		g.mem.SetHook(f.hook)
		var e *SyncError
		err := s.Sync()
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, errDisk)
		require.Contains(t, err.Error(), s.Path())
		g.mem.SetHook(nil)

		require.ErrorAs(t, s.Sync(), &e)
		require.NoError(t, s.Inactivate())
		_, err = s.Seal(true)
		require.ErrorAs(t, err, &e)
		require.True(t, s.Active())
		m.check(t, s)
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Sync(), ErrClosed)
	})
}

// Two syncs at once: the kernel tells one of them, so the other must hear it too.
func TestFailedSyncIsSharedWithSeal(t *testing.T) {
	g := newRig(t, small, true)
	s, m := g.create(0), &model{}
	m.fill(t, s, 10)
	require.NoError(t, s.Inactivate())

	inside, near, on := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var syncs atomic.Int32
	g.mem.SetHook(func(op vfs.Op, name string, before bool) error {
		switch {
		case op == vfs.OpSync && !before && name == g.name(0, TimeSuffix):
			close(near) // sealing comes to the log file next
		case op == vfs.OpSync && before && name == g.name(0, LogSuffix) && syncs.Add(1) == 1:
			close(inside)
			<-on
			return errDisk
		}
		return nil
	})
	var got error
	done := make(chan struct{})
	go func() { got = s.Sync(); close(done) }()
	<-inside
	sealed := make(chan error)
	go func() { _, err := s.Seal(false); sealed <- err }()
	<-near
	for range 1000 {
		runtime.Gosched()
	}
	require.EqualValues(t, 1, syncs.Load(), "two at once")
	close(on)
	<-done
	var e *SyncError
	require.ErrorAs(t, got, &e, "sealing must not hide it")
	require.ErrorAs(t, <-sealed, &e)
	require.NoError(t, s.Close())
}

// Sealing fails at any of its steps and is called again.
func TestSealAgain(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for op := range vfs.NumOps {
			for n := range 6 {
				t.Run(fmt.Sprintf("mapped=%v/%v/%d", mapped, op, n), func(t *testing.T) {
					c := small
					c.Mapped = mapped
					g := newRig(t, c, true)
					s, m := g.create(0), &model{}
					m.fill(t, s, 40)
					require.NoError(t, s.Inactivate())
					f := &failing{op: op, n: n, err: errDisk}
					g.mem.SetHook(f.hook)
					_, err := s.Seal(true)
					g.mem.SetHook(nil)
					m.check(t, s)
					if err != nil {
						require.ErrorIs(t, err, errDisk)
						var e *SyncError
						if errors.As(err, &e) {
							require.NoError(t, s.Close())
							return
						}
						_, err = s.Seal(true)
						require.NoError(t, err)
					}
					m.check(t, s)
					m.checkFiles(t, g)
					require.NoError(t, s.Close())
					require.Zero(t, g.maps.Count())
				})
			}
		}
	}
}
