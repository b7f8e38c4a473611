package segment

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// torn is a segment with a sound part and garbage behind it, and zeros behind
// that.
func torn(t *testing.T, g *rig) (*Segment, *model, []byte) {
	m := &model{}
	s := g.create(0)
	m.fill(t, s, 20)
	require.NoError(t, s.Close())
	garbage := []byte("this is not a batch, and it is long enough to look like one, is it not?")
	b := append(g.read(0, LogSuffix)[:m.size], garbage...)
	g.write(0, LogSuffix, append(b, make([]byte, 5000)...))
	require.NoError(t, g.fs.SyncDir(testDir))
	return g.open(0), m, garbage
}

// The steps of a recovery, as the log takes them: what is cut off is kept aside,
// made zero, and does not come back.
func TestRecover(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m, garbage := torn(t, g)
		r, err := s.Scan(ScanOptions{})
		require.NoError(t, err)
		require.Equal(t, m.size, r.Valid)
		require.NotContains(t, []Stop{StopEnd, StopZeros}, r.Stop)

		name, n, err := s.Quarantine(r.Valid)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%020d.%d.quarantine", 0, m.size), name)
		require.EqualValues(t, len(garbage), n)
		kept, err := readFile(g.fs, Join(testDir, name))
		require.NoError(t, err)
		require.Equal(t, garbage, kept)

		// A crash here, and the next recovery keeps no second copy.
		again, n2, err := s.Quarantine(r.Valid)
		require.NoError(t, err)
		require.Equal(t, name, again)
		require.Equal(t, n, n2)

		size := int64(len(g.read(0, LogSuffix)))
		require.NoError(t, s.Cut(r.Valid))
		durable := func() {
			if g.mem != nil {
				for _, p := range g.mem.Dirty().Pages {
					require.NotEqual(t, g.name(0, LogSuffix), p.File, "not synced")
				}
			}
		}
		durable()
		require.NoError(t, s.Cut(size), "nothing to cut")
		b := g.read(0, LogSuffix)
		require.EqualValues(t, size, len(b), "a follower may have it mapped")
		require.Empty(t, trimZeros(b[m.size:]))
		_, n, err = s.Quarantine(r.Valid)
		require.NoError(t, err)
		require.Zero(t, n)

		require.NoError(t, s.Rewrite(m.at[3], r.Valid))
		durable()
		require.NoError(t, s.Rewrite(5, 5))
		require.Equal(t, b, g.read(0, LogSuffix))

		require.NoError(t, s.Activate(r))
		m.fill(t, s, 10)
		m.check(t, s)
		g.seal(s)
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

// Another tail at the same place is kept under another name.
func TestQuarantineOfAnotherTail(t *testing.T) {
	g := newRig(t, small, true)
	s, m, _ := torn(t, g)
	first, _, err := s.Quarantine(m.size)
	require.NoError(t, err)
	b := g.read(0, LogSuffix)
	b[m.size] = 'T'
	g.write(0, LogSuffix, b)
	second, _, err := s.Quarantine(m.size)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%020d.%d-1.quarantine", 0, m.size), second)
	require.NotEqual(t, first, second)
	third, _, err := s.Quarantine(m.size)
	require.NoError(t, err)
	require.Equal(t, second, third)

	g.mem.SetLimit(g.mem.Used() + 10)
	b[m.size] = 'U'
	_, err = readFile(g.fs, Join(testDir, first))
	require.NoError(t, err)
	f, err := g.fs.Open(g.name(0, LogSuffix), vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{'U'}, m.size)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, _, err = s.Quarantine(m.size)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	left, err := g.fs.ReadDir(testDir)
	require.NoError(t, err)
	require.Len(t, left, 3, "half a copy is worth nothing")
}

// A segment that is not the last gets its exact size and its index files.
func TestSealedFromScan(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m, _ := torn(t, g)
		r, err := s.Scan(ScanOptions{})
		require.NoError(t, err)
		g.write(0, TxnSuffix, []byte("left from before"))
		require.NoError(t, s.Trim(r.Valid))
		require.NoError(t, r.Finish())
		require.NoError(t, s.Sealed(r))
		m.check(t, s)
		m.checkFiles(t, g)
		require.NoError(t, s.Close())
	})
}

// Each of the changes that fails leaves an error, and syncs that fail are told.
func TestChangeFails(t *testing.T) {
	changes := map[string]func(*Segment, int64) error{
		"cut":     func(s *Segment, at int64) error { return s.Cut(at) },
		"trim":    func(s *Segment, at int64) error { return s.Trim(at) },
		"rewrite": func(s *Segment, at int64) error { return s.Rewrite(0, at) },
		"sealed": func(s *Segment, at int64) error {
			r, err := s.Scan(ScanOptions{})
			if err != nil {
				return err
			}
			return s.Sealed(r)
		},
		"quarantine": func(s *Segment, at int64) error { _, _, err := s.Quarantine(at); return err },
		"activate": func(s *Segment, at int64) error {
			r, err := s.Scan(ScanOptions{})
			if err != nil {
				return err
			}
			return s.Activate(r)
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for op := range vfs.NumOps {
				for n := range 4 {
					g := newRig(t, small, true)
					s, m, _ := torn(t, g)
					f := &failing{op: op, n: n, err: errDisk}
					g.mem.SetHook(f.hook)
					err := change(s, m.size)
					g.mem.SetHook(nil)
					switch {
					case err == nil: // it was not called, or does not matter
					case op == vfs.OpSync && name != "sealed" && name != "quarantine":
						var e *SyncError
						require.ErrorAs(t, err, &e)
						fallthrough
					default:
						require.ErrorIs(t, err, errDisk)
						failed++
					}
					harmless := op == vfs.OpMap || op == vfs.OpPopulate || op == vfs.OpUnmap ||
						op == vfs.OpClose && name == "quarantine" && n == 1 // of what was only read
					require.Equal(t, f.count > n && !harmless, err != nil, "%v %d", op, n)
					// Whatever happened: what was sound is still there.
					require.NoError(t, s.Close())
					r, err := g.open(0).Scan(ScanOptions{})
					require.NoError(t, err)
					require.Equal(t, m.size, r.Valid)
					require.Zero(t, g.maps.Count())
				}
			}
			require.Positive(t, failed)
		})
	}
}

// Around damage everything sound is found, what is lost is named, and lookups go
// past the holes.
func TestAround(t *testing.T) {
	for _, budget := range []int{0, 10} {
		g := newRig(t, small, true)
		g.maps = NewMaps(budget)
		s, m := g.create(0), &model{}
		m.fill(t, s, 60)
		require.NoError(t, s.Close())
		log := g.read(0, LogSuffix)
		lost := map[int]bool{0: true, 10: true, 11: true, 12: true, 40: true}
		for i := range lost {
			switch i {
			case 10:
				log[m.at[i]+8] ^= 0x40 // its length
			case 12:
				clear(log[m.at[i] : m.at[i]+100])
			default:
				log[m.at[i]+65] ^= 1
			}
		}
		g.write(0, LogSuffix, log)
		s = g.open(0)
		var got []int64
		r, err := s.Scan(ScanOptions{Around: true, Each: func(_ *Scan, pos int64, b codec.Batch) error {
			got = append(got, pos)
			return nil
		}})
		require.NoError(t, err)
		var want []int64
		for i, pos := range m.at {
			if !lost[i] {
				want = append(want, pos)
			}
		}
		require.Equal(t, want, got)
		require.Len(t, r.Holes, 3)
		require.Equal(t, StopZeros, r.Stop)
		require.Equal(t, m.size, r.Valid)

		s.Damaged(r)
		require.NoError(t, s.Pin())
		var buf Buffer
		for i, b := range m.specs {
			pos, err := s.Find(b.base, &buf)
			if !lost[i] {
				require.NoError(t, err)
				require.Equal(t, m.at[i], pos)
				continue
			}
			var c *CorruptError
			require.ErrorAs(t, err, &c)
			require.LessOrEqual(t, c.Position, m.at[i])
			require.LessOrEqual(t, c.Offset, b.base)
		}
		ms, _, err := s.MaxTimestamp(&buf)
		require.NoError(t, err)
		require.Equal(t, m.specs[59].time, ms)
		pos, err := s.FindTime(m.specs[40].time, 0, &buf)
		require.NoError(t, err)
		require.GreaterOrEqual(t, pos, m.at[41])
		s.Unpin()
		require.NoError(t, s.Close())
		require.Zero(t, g.maps.Count())
	}
}

// A file of nothing but headers that promise long batches costs no more than a
// few times its size.
func TestAroundHostile(t *testing.T) {
	g := newRig(t, small, true)
	const n = 4000
	b := make([]byte, n*codec.HeaderSize)
	for i := range n {
		h := codec.Header{BaseOffset: 1, Magic: codec.Magic, RecordCount: 1}
		h.BatchLength = int32(len(b) - i*codec.HeaderSize - codec.LogOverhead)
		h.Put(b[i*codec.HeaderSize:])
	}
	g.write(0, LogSuffix, b)
	s := g.open(0)
	in := s.openScan(&sized{b: b}, int64(len(b)))
	defer in.close()
	r := &Scan{w: s.newWriter(nil, 0)}
	again, err := s.resume(r, in)
	require.NoError(t, err)
	require.False(t, again)
	require.LessOrEqual(t, in.tried, 10*int64(len(b))+2<<20)
}

// sized is a file of some bytes that cannot be mapped.
type sized struct {
	vfs.File
	b []byte
}

func (f *sized) Map(int64, bool) (vfs.Map, error) { return nil, vfs.ErrNotSupported }
func (f *sized) Path() string                     { return "sized" }
func (f *sized) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, f.b[off:]), nil
}
