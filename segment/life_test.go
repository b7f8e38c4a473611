package segment

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// What a pinned reader was handed stays readable, and reading goes on, whatever
// happens to the segment meanwhile; and all of it is given back with the last pin.
func TestPinned(t *testing.T) {
	ends := map[string]func(*testing.T, *rig, *Segment){
		"close active":  func(t *testing.T, g *rig, s *Segment) { require.NoError(t, s.Close()) },
		"remove active": func(t *testing.T, g *rig, s *Segment) { require.NoError(t, s.Remove()) },
		"seal":          func(t *testing.T, g *rig, s *Segment) { g.seal(s) },
		"seal, close":   func(t *testing.T, g *rig, s *Segment) { g.seal(s); require.NoError(t, s.Close()) },
		"seal, remove":  func(t *testing.T, g *rig, s *Segment) { g.seal(s); require.NoError(t, s.Remove()) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			forEachWriter(t, small, func(t *testing.T, g *rig) {
				s, m := g.create(0), &model{}
				m.fill(t, s, 40)
				require.NoError(t, s.Pin())
				s.Repin()
				var buf Buffer
				var held []codec.Batch
				for pos := int64(0); ; {
					b, err := s.BatchAt(pos, 0, &buf)
					if err == io.EOF {
						break
					}
					require.NoError(t, err)
					if s.Mapped() {
						held = append(held, b)
					}
					pos += int64(len(b))
				}
				end(t, g, s)
				s.Unpin()
				for i, b := range held {
					require.Equal(t, m.specs[i].encode(), b)
				}
				m.checkLookups(t, s)
				pos, err := s.Find(m.specs[20].base, &buf)
				require.NoError(t, err)
				b, err := s.BatchAt(pos, 0, &buf)
				require.NoError(t, err)
				require.Equal(t, m.specs[20].encode(), b)
				maps := g.maps.Count()
				s.Unpin()
				if name != "seal" {
					require.ErrorIs(t, s.Pin(), ErrClosed)
					require.Zero(t, g.maps.Count())
				} else {
					require.Equal(t, maps, g.maps.Count(), "kept for the next reader")
				}
				require.NoError(t, s.Close())
				require.NoError(t, s.Close())
				require.Zero(t, g.maps.Count())
				if name == "remove active" || name == "seal, remove" {
					left, err := g.fs.ReadDir(testDir)
					require.NoError(t, err)
					require.Empty(t, left, "not even by a reader that rebuilt an index")
				}
			})
		})
	}
}

// An index that a pinned reader has to rebuild is written for nobody once the
// segment is closed or removed.
func TestRebuildAfterEnd(t *testing.T) {
	for _, remove := range []bool{false, true} {
		g, m := sealedRig(t, 40)
		s := g.open(0)
		require.NoError(t, s.Pin())
		require.NoError(t, g.fs.Remove(g.name(0, IndexSuffix)))
		if remove {
			require.NoError(t, s.Remove())
		} else {
			require.NoError(t, s.Close())
		}
		f := &counting{}
		g.mem.SetHook(f.hook)
		m.checkLookups(t, s)
		g.mem.SetHook(nil)
		require.Zero(t, f.creates)
		s.Unpin()
		require.Zero(t, g.maps.Count())
	}

	// Removed while it is being written.
	g, m := sealedRig(t, 40)
	s := g.open(0)
	require.NoError(t, s.Pin())
	require.NoError(t, g.fs.Remove(g.name(0, IndexSuffix)))
	g.mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpCreate && before {
			g.mem.SetHook(nil)
			return s.Remove()
		}
		return nil
	})
	m.checkLookups(t, s)
	left, err := g.fs.ReadDir(testDir)
	require.NoError(t, err)
	require.Empty(t, left)
	s.Unpin()
}

// A removal that was cut short leaves index files, and never a log that would be
// taken for a segment.
func TestRemoveOrder(t *testing.T) {
	for n := range 4 {
		g, _ := sealedRig(t, 40)
		s := g.open(0)
		f := &failing{op: vfs.OpRemove, n: n, err: errDisk}
		g.mem.SetHook(f.hook)
		err := s.Remove()
		g.mem.SetHook(nil)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, n == 0, g.has(0, LogSuffix))
		if n == 0 {
			require.True(t, g.has(0, IndexSuffix))
			require.True(t, g.has(0, TimeSuffix))
		}
		require.ErrorIs(t, s.Pin(), ErrClosed)
	}
}

// The budget is kept whatever is read, parked maps go least recently used first,
// and nothing is left when all is closed.
func TestMapsBudget(t *testing.T) {
	for _, budget := range []int{0, 1, 2, 5} {
		g := newRig(t, small, true)
		const count = 6
		models := make([]*model, count)
		segs := make([]*Segment, count)
		for i := range segs {
			models[i] = &model{base: int64(i) * 1000}
			segs[i] = g.create(int64(i) * 1000)
			models[i].fill(t, segs[i], 20)
			g.seal(segs[i])
			require.NoError(t, segs[i].Close())
			segs[i] = g.open(int64(i) * 1000)
		}
		require.Zero(t, g.maps.Count())
		maps := NewMaps(budget)
		for _, s := range segs {
			s.maps = maps
		}
		for round := range 3 {
			for i, s := range segs {
				models[i].check(t, s)
				require.LessOrEqual(t, maps.Count(), budget)
				require.Equal(t, min(budget, round*count+i+1), maps.Count())
			}
		}
		// The last ones are parked: reading them again makes no map, opens no file.
		opens := 0
		g.mem.SetHook(func(op vfs.Op, _ string, before bool) error {
			if before && (op == vfs.OpMap || op == vfs.OpOpen) {
				opens++
			}
			return nil
		})
		for i := count - budget; i < count; i++ {
			models[i].check(t, segs[i])
		}
		require.Zero(t, opens)
		// Without a map a segment that was just read keeps its file.
		if budget == 0 {
			models[3].check(t, segs[3])
			require.Zero(t, opens)
		}
		g.mem.SetHook(nil)
		// Pinned ones are not taken away.
		for _, s := range segs {
			require.NoError(t, s.Pin())
		}
		mapped := 0
		for i, s := range segs {
			if s.Mapped() {
				mapped++
			}
			models[i].checkLookups(t, s)
		}
		require.Equal(t, budget, mapped)
		for _, s := range segs {
			s.Unpin()
			require.NoError(t, s.Close())
		}
		require.Zero(t, maps.Count())
		require.Zero(t, maps.mu.parked)
		require.Zero(t, maps.mu.heap+int64(maps.mu.mapped+maps.mu.files))
	}
}

// Files that are kept without a map are few, and so are all parked views.
func TestParkedFilesAreBounded(t *testing.T) {
	maps := NewMaps(0)
	g, _ := sealedRig(t, 5)
	var segs []*Segment
	for range maps.maxFiles + 50 {
		s := g.open(0)
		s.maps = maps
		require.NoError(t, s.Pin())
		s.Unpin()
		require.LessOrEqual(t, maps.mu.files, maps.maxFiles)
		segs = append(segs, s)
	}
	require.Equal(t, maps.maxFiles, maps.mu.parked)
	for _, s := range segs {
		require.NoError(t, s.Close())
	}
	require.Zero(t, maps.mu.parked)
}

// A follower that came before the first append gets the map when it is there.
func TestPinBeforeFirstAppend(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		require.NoError(t, s.Pin())
		require.False(t, s.Mapped())
		m.fill(t, s, 10)
		m.check(t, s)
		require.False(t, s.Mapped(), "what a reader has does not change under it")
		s.Unpin()
		require.NoError(t, s.Pin())
		require.Equal(t, g.canWrite, s.Mapped())
		m.check(t, s)
		s.Unpin()
		require.NoError(t, s.Close())
	})
}

func TestUnpinTooOften(t *testing.T) {
	g, _ := sealedRig(t, 5)
	s := g.open(0)
	require.NoError(t, s.Pin())
	s.Unpin()
	require.Panics(t, s.Unpin)
}

// A segment whose file is missing, or shorter than it was, says so.
func TestFileGone(t *testing.T) {
	g, m := sealedRig(t, 20)
	s := g.open(0)
	g.write(0, LogSuffix, g.read(0, LogSuffix)[:m.size-1])
	var c *CorruptError
	require.ErrorAs(t, s.Pin(), &c)
	require.Equal(t, m.size-1, c.Position)
	require.NoError(t, g.fs.Remove(g.name(0, LogSuffix)))
	require.ErrorAs(t, s.Pin(), &c)
	require.Contains(t, c.Error(), "missing")
	require.Zero(t, g.maps.Count())
}
