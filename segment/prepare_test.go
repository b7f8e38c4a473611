package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// A segment that was made ahead of its time is one like any other once it has its
// name.
func TestPrepare(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		p, err := Prepare(g.fs, g.maps, testDir, g.cfg, 100<<10)
		if !g.canWrite {
			require.ErrorIs(t, err, vfs.ErrNotSupported, "there is nothing to prepare")
			_, err = g.fs.Stat(Join(testDir, PreparedName))
			require.ErrorIs(t, err, fs.ErrNotExist)
			return
		}
		require.NoError(t, err)
		info, err := g.fs.Stat(Join(testDir, PreparedName))
		require.NoError(t, err)
		require.GreaterOrEqual(t, info.Size, int64(100<<10))
		require.Equal(t, 1, g.maps.Count())

		s, err := p.Become(7000)
		require.NoError(t, err)
		require.Equal(t, g.fs.Path(g.name(7000, LogSuffix)), s.WriterPath())
		require.EqualValues(t, 100<<10, s.Prepared())
		m := &model{base: 7000}
		m.check(t, s)
		m.fill(t, s, 60)
		m.check(t, s)
		g.seal(s)
		m.check(t, s)
		m.checkFiles(t, g)
		require.NoError(t, s.Close())
		_, err = g.fs.Stat(Join(testDir, PreparedName))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestPrepareDiscard(t *testing.T) {
	c := small
	c.Mapped = true
	g := newRig(t, c, true)
	p, err := Prepare(g.fs, g.maps, testDir, c, 1<<30)
	require.NoError(t, err)
	require.EqualValues(t, c.Bytes, p.w.populated.Load(), "no further than the segment goes")
	p.Discard()
	list, err := g.fs.ReadDir(testDir)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Zero(t, g.maps.Count())

	// The name is taken: nothing is replaced.
	p, err = Prepare(g.fs, g.maps, testDir, c, 1)
	require.NoError(t, err)
	g.write(5, LogSuffix, []byte("somebody else's"))
	_, err = p.Become(5)
	require.ErrorIs(t, err, fs.ErrExist)
	p.Discard()
	require.Equal(t, "somebody else's", string(g.read(5, LogSuffix)))
	require.Zero(t, g.maps.Count())
}

// Whatever fails leaves neither file nor map.
func TestPrepareFails(t *testing.T) {
	c := small
	c.Mapped = true
	for op := range vfs.NumOps {
		g := newRig(t, c, true)
		f := &failing{op: op, err: errDisk}
		g.mem.SetHook(f.hook)
		p, err := Prepare(g.fs, g.maps, testDir, c, 100<<10)
		if err == nil {
			var s *Segment
			if s, err = p.Become(3); err == nil {
				g.mem.SetHook(nil)
				require.NoError(t, s.Close())
				continue
			}
			require.ErrorIs(t, err, errDisk, "%v", op)
			require.NotErrorIs(t, err, fs.ErrExist)
			p.Discard()
		} else if op != vfs.OpMap { // that is only a reason not to prepare
			require.ErrorIs(t, err, errDisk, "%v", op)
		}
		g.mem.SetHook(nil)
		list, err := g.fs.ReadDir(testDir)
		require.NoError(t, err)
		require.Empty(t, list, "%v", op)
		require.Zero(t, g.maps.Count())
	}
}

// The helper makes the road while the writer goes on, also past a seal.
func TestPrepareRoad(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		s.Prepare(1 << 20) // before the first append there is no road to make
		m.fill(t, s, 5)
		s.Prepare(200 << 10)
		if g.canWrite {
			require.EqualValues(t, 200<<10, s.Prepared())
			require.GreaterOrEqual(t, s.mu.writer.allocated.Load(), m.size+200<<10)
		}
		m.fill(t, s, 100)
		s.Prepare(1 << 30)
		if g.canWrite {
			require.Equal(t, g.cfg.Bytes-m.size, s.Prepared(), "no further than the segment goes")
		}
		m.check(t, s)
		if g.mem != nil {
			g.mem.SetLimit(1)
			s.Prepare(1 << 30) // a hint: the writer meets the error
			g.mem.SetLimit(0)
		}
		g.seal(s)
		s.Prepare(1 << 20)
		m.checkFiles(t, g)
		m.check(t, s)
		require.NoError(t, s.Close())
		s.Prepare(1 << 20)
	})
}

// No call of the seam that fails on the way of a segment's life leaves a map, a
// panic, or a lie.
func TestNthCallFails(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for op := range vfs.NumOps {
			for n := 0; ; n++ {
				c := small
				c.Mapped = mapped
				g := newRig(t, c, true)
				f := &failing{op: op, n: n, err: errDisk}
				g.mem.SetHook(f.hook)
				m := &model{}
				err := lifeOf(g, m)
				g.mem.SetHook(nil)
				require.Zero(t, g.maps.Count(), "%v %d", op, n)
				if err != nil {
					require.ErrorIs(t, err, errDisk, "%v %d", op, n)
				}
				if f.count <= n {
					require.NoError(t, err)
					break
				}
				if g.has(0, LogSuffix) {
					r, err := g.open(0).Scan(ScanOptions{})
					require.NoError(t, err)
					require.GreaterOrEqual(t, r.Valid, m.size, "%v %d: committed and not there", op, n)
				}
				require.Less(t, n, 200)
			}
		}
	}
}

// lifeOf is a life of one segment that ends at the first error.
func lifeOf(g *rig, m *model) (err error) {
	s, err := Create(g.fs, g.maps, testDir, 0, g.cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for i := range 40 {
		b := spec{base: m.next(), records: 2, size: 4000, time: int64(i)}
		if err := put(s, b.encode()); err != nil {
			return err
		}
		m.note(b)
		if i%10 == 0 {
			if err := s.Sync(); err != nil {
				return err
			}
		}
	}
	look := func(s *Segment) error {
		if err := s.Pin(); err != nil {
			return err
		}
		defer s.Unpin()
		return m.lookups(s)
	}
	if err := look(s); err != nil {
		return err
	}
	if err := s.Inactivate(); err != nil {
		return err
	}
	if _, err := s.Seal(true); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	again := Open(g.fs, g.maps, testDir, 0, m.size, g.cfg)
	defer func() { err = errors.Join(err, again.Close()) }()
	if err := look(again); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	return nil
}
