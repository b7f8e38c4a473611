package segment

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// sealedRig is a sealed, closed segment whose index files a test spoils.
func sealedRig(t *testing.T, n int) (*rig, *model) {
	g := newRig(t, small, true)
	s, m := g.create(0), &model{}
	m.fill(t, s, n)
	g.seal(s)
	require.NoError(t, s.Close())
	m.checkFiles(t, g)
	return g, m
}

// spoiled opens the segment with other index files: every answer must be that of
// a full scan, and the files be right again whenever they had to be rebuilt.
func spoiled(g *rig, m *model, suffix string, b []byte) error {
	g.write(0, suffix, b)
	s := g.open(0)
	if err := s.Pin(); err != nil {
		return err
	}
	err := m.lookups(s)
	s.Unpin()
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return fmt.Errorf("%s of %x: %w", suffix, b, err)
	}
	return nil
}

// A log that is closed in order has its index believed only if nothing is amiss.
func resumed(g *rig, m *model) error {
	r, err := g.open(0).Resume()
	if err != nil {
		return nil // scanned instead
	}
	if want, _ := m.maxTime(); r.w.maxTime != want || r.Next != m.next() || r.Valid != m.size {
		return fmt.Errorf("resumed at %d (%d) with time %d", r.Next, r.Valid, r.w.maxTime)
	}
	return nil
}

func TestIndexMissing(t *testing.T) {
	for mask := range 4 {
		g, m := sealedRig(t, 60)
		for i, suffix := range []string{IndexSuffix, TimeSuffix} {
			if mask>>i&1 != 0 {
				require.NoError(t, g.fs.Remove(g.name(0, suffix)))
			}
		}
		s := g.open(0)
		m.check(t, s)
		require.NoError(t, s.Close())
		m.checkFiles(t, g)
	}
}

func TestIndexTruncated(t *testing.T) {
	for _, suffix := range []string{IndexSuffix, TimeSuffix} {
		g, m := sealedRig(t, 60)
		whole := g.read(0, suffix)
		for n := range whole {
			require.NoError(t, spoiled(g, m, suffix, whole[:n]))
			require.NoError(t, resumed(g, m))
			if suffix == TimeSuffix {
				require.Equal(t, whole, g.read(0, suffix), "rebuilt")
			}
			g.write(0, suffix, whole[:n])
			require.NoError(t, resumed(g, m))
		}
		// Preallocated, as Kafka leaves it after a crash.
		require.NoError(t, spoiled(g, m, suffix, append(whole, make([]byte, 480)...)))
	}
}

func TestIndexBitFlips(t *testing.T) {
	for _, suffix := range []string{IndexSuffix, TimeSuffix} {
		g, m := sealedRig(t, 24)
		whole := g.read(0, suffix)
		for i := range len(whole) * 8 {
			b := append([]byte(nil), whole...)
			b[i/8] ^= 1 << (i % 8)
			g.write(0, suffix, b)
			require.NoError(t, resumed(g, m), "%s bit %d", suffix, i)
			require.NoError(t, spoiled(g, m, suffix, b), "%s bit %d", suffix, i)
		}
	}
}

func TestIndexGarbage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	g, m := sealedRig(t, 45)
	for _, suffix := range []string{IndexSuffix, TimeSuffix} {
		whole := g.read(0, suffix)
		for range 300 {
			b := make([]byte, rng.IntN(2*len(whole)))
			for i := range b {
				b[i] = byte(rng.Uint32() >> (rng.IntN(4) * 8))
			}
			if rng.IntN(2) == 0 { // small numbers look more like an index
				for i := range b {
					if i%4 < 3 {
						b[i] = 0
					}
				}
			}
			require.NoError(t, spoiled(g, m, suffix, b))
		}
		g.write(0, suffix, whole)
	}
}

// The indexes of another segment, sound in themselves.
func TestIndexOfAnother(t *testing.T) {
	g, m := sealedRig(t, 60)
	other, om := newRig(t, small, true), &model{}
	s := other.create(0)
	for i := range 60 {
		require.NoError(t, put(s, om.note(spec{base: om.next(), records: 2, size: 150, time: int64(i) * 77})))
	}
	other.seal(s)
	require.NoError(t, s.Close())
	for _, suffix := range []string{IndexSuffix, TimeSuffix} {
		require.NoError(t, spoiled(g, m, suffix, other.read(0, suffix)))
		m.checkFiles(t, g)
	}
}

// An index that cannot be read or written back is no obstacle.
func TestIndexUnreadable(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpReadAt, vfs.OpSize, vfs.OpCreate, vfs.OpRemove, vfs.OpSync} {
		g, m := sealedRig(t, 60)
		g.write(0, IndexSuffix, []byte("no index"))
		s := g.open(0)
		require.NoError(t, s.Pin())
		g.mem.SetHook(func(o vfs.Op, name string, before bool) error {
			if o == op && before && name != g.name(0, LogSuffix) {
				return errDisk
			}
			return nil
		})
		m.checkLookups(t, s)
		g.mem.SetHook(nil)
		s.Unpin()
		require.NoError(t, s.Close())
	}
}

// A wrong index is made anew once, however many readers find out, and an index
// of a damaged log reaches as far as the log is sound.
func TestRebuildWithDamage(t *testing.T) {
	g, m := sealedRig(t, 60)
	require.NoError(t, g.fs.Remove(g.name(0, IndexSuffix)))
	log := g.read(0, LogSuffix)
	const bad = 40
	log[m.at[bad]+70] ^= 1
	g.write(0, LogSuffix, log)
	s := g.open(0)
	require.NoError(t, s.Pin())
	var buf Buffer
	for i, b := range m.specs {
		pos, err := s.Find(b.base, &buf)
		require.NoError(t, err)
		require.Equal(t, m.at[i], pos)
	}
	require.False(t, g.has(0, IndexSuffix), "what is made of damage is not kept")
	for range 2 {
		ms, _, err := s.MaxTimestamp(&buf)
		require.NoError(t, err)
		want, _ := m.maxTime()
		require.Equal(t, want, ms, "of the batches behind the damage")
	}

	// A length that is damaged ends what can be found.
	log[m.at[bad]+8] ^= 0x40
	g.write(0, LogSuffix, log)
	s2 := g.open(0)
	require.NoError(t, s2.Pin())
	for i, b := range m.specs {
		pos, err := s2.Find(b.base, &buf)
		if i <= bad-1 {
			require.NoError(t, err)
			require.Equal(t, m.at[i], pos)
			continue
		}
		var c *CorruptError
		require.ErrorAs(t, err, &c)
		require.Equal(t, m.at[bad], c.Position)
		require.Equal(t, s2.Path(), c.Path)
	}
	s.Unpin()
	s2.Unpin()
	require.NoError(t, s.Close())
	require.NoError(t, s2.Close())
}

func TestTxns(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		m.fill(t, s, 20)
		list := []index.AbortedTxn{
			{ProducerID: 1, FirstOffset: 0, LastOffset: 5, LastStableOffset: 3},
			{ProducerID: 2, FirstOffset: 3, LastOffset: 9, LastStableOffset: 10},
		}
		for _, a := range list {
			require.NoError(t, s.AbortedTxn(a))
		}
		see := func(s *Segment) (got []index.AbortedTxn) {
			x, err := s.Txns()
			require.NoError(t, err)
			for a := range x.All() {
				got = append(got, a)
			}
			return got
		}
		require.Equal(t, list, see(s))
		g.seal(s)
		require.Equal(t, list, see(s))
		require.NoError(t, s.Close())
		s = g.open(0)
		require.Equal(t, list, see(s))
		r, err := s.Resume()
		require.NoError(t, err)
		require.NoError(t, s.Activate(r))
		require.Equal(t, list, see(s))
		require.NoError(t, s.Close())

		// A recovery without them: a file of before must not come back.
		s = g.open(0)
		r, err = s.Scan(ScanOptions{})
		require.NoError(t, err)
		require.NoError(t, s.Activate(r))
		m.fill(t, s, 1)
		g.seal(s)
		require.Empty(t, see(s))
		require.False(t, g.has(0, TxnSuffix))

		whole := index.AbortedTxn.Append(list[0], nil)
		for _, b := range [][]byte{whole[:33], append(whole, whole...), append([]byte{0, 9}, whole[2:]...)} {
			g.write(0, TxnSuffix, b)
			_, err := s.Txns()
			require.ErrorIs(t, err, ErrCorrupt)
			_, err = s.Resume()
			require.ErrorIs(t, err, ErrCorrupt)
		}
		require.NoError(t, s.Remove())
		_, err = s.Txns()
		require.ErrorIs(t, err, ErrClosed, "nothing is not the same as none")
	})
}

// FuzzIndexFiles: whatever lies in the offset index, answers are those of a scan.
// (A time index could be made up that names real batches, and not the latest ones
// before them: that lie only the checksum of the file, in segments.sum, tells.)
func FuzzIndexFiles(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte("index"), uint16(3))
	f.Fuzz(func(t *testing.T, patch []byte, at uint16) {
		g := newRig(t, small, true)
		s, m := g.create(0), &model{}
		m.fill(t, s, 30)
		g.seal(s)
		require.NoError(t, s.Close())
		whole := g.read(0, IndexSuffix)
		i := int(at) % (len(whole) + 1)
		b := append(whole[:i:i], patch...)
		if i+len(patch) < len(whole) {
			b = append(b, whole[i+len(patch):]...)
		}
		require.NoError(t, spoiled(g, m, IndexSuffix, b))
	})
}
