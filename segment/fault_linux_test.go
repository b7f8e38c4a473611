package segment

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// Somebody else cuts the file under a map: an error that says where, and the
// process lives.
func TestFileCutUnderMap(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		c := small
		c.Mapped = true
		g := newRig(t, c, false)
		if !g.canWrite {
			t.Skip("nothing is mapped here")
		}
		s, m := g.create(0), &model{}
		m.fill(t, s, 200)
		if sealed {
			g.seal(s)
			require.NoError(t, s.Close())
			s = g.open(0)
		}
		require.NoError(t, s.Pin())
		require.True(t, s.Mapped())
		m.checkLookups(t, s)
		require.NoError(t, os.Truncate(s.Path(), 8192))

		var buf Buffer
		var f *vfs.FaultError
		last := m.specs[199]
		_, err := s.Find(last.base, &buf)
		require.ErrorAs(t, err, &f)
		require.Equal(t, s.Path(), f.Path)
		require.GreaterOrEqual(t, f.Position, int64(8192))
		_, err = s.FindTime(last.time, 0, &buf)
		require.ErrorAs(t, err, &f)
		_, _, err = s.MaxTimestamp(&buf)
		require.ErrorAs(t, err, &f)
		pos, err := s.Find(m.specs[1].base, &buf)
		require.NoError(t, err, "what is left can be read")
		require.Equal(t, m.at[1], pos)
		if !sealed {
			_, _ = s.Seal(true) // whether it meets the fault is the writer's affair
			require.NoError(t, os.Truncate(s.Path(), 8192))
			w := s.mu.writer
			if w != nil {
				_, err = w.sum(w.file, m.size)
				require.ErrorAs(t, err, &f)
			}
		}
		s.Unpin()
		require.NoError(t, s.Close())
		require.Zero(t, g.maps.Count())
	}
}

// The same while a scan or a clean open looks at it.
func TestFileCutUnderScan(t *testing.T) {
	g := newRig(t, small, false)
	if !g.canMap {
		t.Skip("nothing is mapped here")
	}
	s, m := g.create(0), &model{}
	m.fill(t, s, 200)
	g.seal(s)
	require.NoError(t, s.Close())
	s = g.open(0)
	var f *vfs.FaultError
	_, err := s.Scan(ScanOptions{Each: func(*Scan, int64, codec.Batch) error {
		return os.Truncate(s.Path(), 4096)
	}})
	require.ErrorAs(t, err, &f)
	require.Zero(t, g.maps.Count())

	g.write(0, LogSuffix, make([]byte, m.size))
	require.NoError(t, s.Pin())
	require.NoError(t, os.Truncate(s.Path(), 0))
	_, err = s.Resume()
	require.ErrorAs(t, err, &f)
	s.Unpin()
	require.NoError(t, s.Close())
	require.Zero(t, g.maps.Count())
}

// Neither files nor maps are left behind by any of the ways a segment goes.
func TestNoLeaks(t *testing.T) {
	fds := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	dirMaps := func(dir string) int {
		b, err := os.ReadFile("/proc/self/maps")
		require.NoError(t, err)
		return strings.Count(string(b), dir)
	}
	for _, mapped := range []bool{true, false} {
		for _, budget := range []int{0, 1, 100} {
			c := small
			c.Mapped = mapped
			g := newRig(t, c, false)
			g.maps = NewMaps(budget)
			before, maps := fds(), vfs.Maps()
			for round := range 20 {
				base := int64(round) * 1000
				m := &model{base: base}
				s := g.create(base)
				m.fill(t, s, 30)
				m.check(t, s)
				require.NoError(t, s.Pin())
				if round%2 == 0 {
					g.seal(s)
					m.check(t, s)
				}
				if round%3 == 0 {
					require.NoError(t, s.Remove())
				} else {
					require.NoError(t, s.Close())
				}
				m.checkLookups(t, s)
				s.Unpin()
				if round%3 != 0 {
					s = g.open(base)
					r, err := s.Scan(ScanOptions{})
					require.NoError(t, err)
					require.NoError(t, s.Activate(r))
					m.check(t, s)
					require.NoError(t, s.Close())
				}
				if p, err := Prepare(g.fs, g.maps, testDir, c, 1); err == nil {
					p.Discard()
				}
				require.Equal(t, before, fds())
				require.Equal(t, maps, vfs.Maps())
				require.Zero(t, g.maps.Count())
				require.Zero(t, dirMaps(g.fs.Path(testDir)))
			}
		}
	}
}
