package segment

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
)

// The life of a segment, with both writers, in memory and on the disk: whatever
// was appended is read back, active, sealed, opened again, resumed and scanned.
func TestAppendSealReopen(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		m := &model{base: 1000}
		s := g.create(1000)
		m.check(t, s)
		for range 5 {
			m.fill(t, s, 8)
			m.check(t, s)
		}
		require.True(t, s.Active())
		require.NoError(t, s.Sync())
		require.Equal(t, small.Bytes-m.size, s.Room())
		require.Equal(t, m.specs[0].time, s.FirstTimestamp())

		require.NoError(t, s.Inactivate())
		sums, err := s.Seal(true)
		require.NoError(t, err)
		require.False(t, s.Active())
		m.check(t, s)
		m.checkFiles(t, g)
		for _, f := range sums {
			_, suffix, _ := ParseName(f.Name)
			b := g.read(1000, suffix)
			require.EqualValues(t, len(b), f.Size)
			require.Equal(t, crc(b), f.CRC)
		}
		require.Len(t, sums, 3)
		again, err := s.Seal(true)
		require.NoError(t, err)
		require.Nil(t, again, "it is sealed")
		require.NoError(t, s.Close())

		s = g.open(1000)
		m.check(t, s)
		r, err := s.Resume()
		require.NoError(t, err)
		require.Equal(t, m.size, r.Valid)
		require.Equal(t, m.next(), r.Next)
		require.NoError(t, s.Activate(r))
		m.check(t, s)
		m.fill(t, s, 20)
		m.check(t, s)
		require.NoError(t, s.Close()) // without sealing

		s = g.open(1000)
		r, err = s.Scan(ScanOptions{})
		require.NoError(t, err)
		require.Equal(t, m.size, r.Valid)
		require.Contains(t, []Stop{StopZeros, StopEnd}, r.Stop)
		require.Equal(t, len(m.specs), r.Batches)
		require.NoError(t, s.Activate(r))
		m.fill(t, s, 20)
		m.check(t, s)
		g.seal(s)
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

// checkFiles compares a sealed segment's files with what Kafka's rule gives.
func (m *model) checkFiles(t *testing.T, g *rig) {
	t.Helper()
	var log []byte
	for _, b := range m.specs {
		log = append(log, b.encode()...)
	}
	require.Equal(t, log, g.read(m.base, LogSuffix))
	offsets, times := m.entries(int64(g.cfg.IndexInterval))
	require.NotEmpty(t, offsets)
	require.Equal(t, pairs(offsets), offsetPairs(index.OpenOffsets(m.base, g.read(m.base, IndexSuffix))))
	require.Equal(t, pairs(times), timePairs(index.OpenTimes(m.base, g.read(m.base, TimeSuffix))))
	require.False(t, g.has(m.base, TxnSuffix))
}

func pairs(list [][2]int64) []golden.Pair {
	out := []golden.Pair{}
	for _, p := range list {
		out = append(out, p)
	}
	return out
}

// A reader without a map reads what one with a map does.
func TestReadWithoutMaps(t *testing.T) {
	for _, budget := range []int{0, 1, 2, 3} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			forEachWriter(t, small, func(t *testing.T, g *rig) {
				g.maps = NewMaps(budget)
				m := &model{base: 5}
				s := g.create(5)
				m.fill(t, s, 30)
				m.check(t, s)
				require.LessOrEqual(t, g.maps.Count(), budget)
				require.NoError(t, s.Pin())
				require.Equal(t, g.canWrite && budget >= 2, s.Mapped(), "one map is the writer's")
				require.Equal(t, s.Mapped(), s.Data() != nil)
				s.Unpin()
				g.seal(s)
				m.check(t, s)
				require.NoError(t, s.Close())

				s = g.open(5)
				m.check(t, s)
				require.NoError(t, s.Pin())
				require.Equal(t, g.canMap && budget > 0, s.Mapped())
				s.Unpin()
				require.NoError(t, s.Close())
				require.Zero(t, g.maps.Count())
			})
		})
	}
}

// Index entries are decided batch by batch. A full index takes no more, and the
// log is told to roll; the segment stays whole.
func TestIndexFull(t *testing.T) {
	c := small
	c.IndexBytes = 5 * index.TimeEntrySize // 7 offsets, 4 times and one kept for the roll
	forEachWriter(t, c, func(t *testing.T, g *rig) {
		m := &model{base: 0}
		s := g.create(0)
		for !s.IndexFull() {
			m.fill(t, s, 1)
		}
		require.Equal(t, 4, s.mu.writer.times.Len())
		m.fill(t, s, 30)
		m.check(t, s)
		g.seal(s)
		require.Len(t, g.read(0, TimeSuffix), 5*index.TimeEntrySize)
		m.check(t, s)
		require.NoError(t, s.Close())

		// What was written under other settings is not cut by a scan.
		r, err := g.open(0).Scan(ScanOptions{})
		require.NoError(t, err)
		require.Equal(t, StopEnd, r.Stop, "%v", r.Err)
		require.Equal(t, m.size, r.Valid)
		require.NoError(t, s.Activate(r))
		require.True(t, s.IndexFull())
		require.NoError(t, s.Close())
		require.NoError(t, g.fs.Remove(g.name(0, IndexSuffix)))
		s = g.open(0)
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

// An entry comes when more than the interval has been written since the last one,
// not before, and the count starts at 0 when a segment is opened again.
func TestIndexInterval(t *testing.T) {
	b := spec{records: 1, size: 100, time: 1}
	n := int64(len(b.encode()))
	c := small
	c.IndexInterval = int(3 * n)
	forEachWriter(t, c, func(t *testing.T, g *rig) {
		s := g.create(0)
		next := func(count int) {
			for range count {
				require.NoError(t, put(s, b.encode()))
				b.base++
			}
		}
		b.base = 0
		next(12)
		require.Equal(t, []golden.Pair{{4, 4 * n}, {8, 8 * n}}, offsetPairs(s.mu.writer.offsets.View()))
		require.NoError(t, s.Close())
		s = g.open(0)
		r, err := s.Scan(ScanOptions{})
		require.NoError(t, err)
		require.NoError(t, s.Activate(r))
		next(5)
		require.Equal(t, []golden.Pair{{4, 4 * n}, {8, 8 * n}, {16, 16 * n}}, offsetPairs(s.mu.writer.offsets.View()))
		require.NoError(t, s.Close())
	})
}

// Offsets that do not follow, or that an index entry cannot hold, are refused
// before anything is done.
func TestCommitRefuses(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		m := &model{base: 100}
		s := g.create(100)
		m.fill(t, s, 3)
		for _, tt := range []struct {
			last int64
			err  error
		}{{m.next() - 1, ErrInvalidOffset}, {99, ErrInvalidOffset}, {100 + maxRelative + 1, ErrOffsetOverflow}} {
			b := spec{base: m.next(), records: 1, size: 10}.encode()
			to, err := s.Reserve(len(b))
			require.NoError(t, err)
			copy(to, b)
			require.ErrorIs(t, s.Commit(len(b), Entry{LastOffset: tt.last}), tt.err)
			m.check(t, s)
		}
		last := spec{base: 100 + maxRelative, records: 1, size: 10}
		require.NoError(t, put(s, last.encode()))
		require.NoError(t, s.Close())
	})
}

// What Reserve gives can be appended to its end and no further, and what is not
// committed leaves no trace.
func TestReserve(t *testing.T) {
	c := small
	c.Bytes = 10_000
	forEachWriter(t, c, func(t *testing.T, g *rig) {
		m := &model{}
		s := g.create(0)
		m.fill(t, s, 3)
		for _, n := range []int{61, 500, 9000} {
			to, err := s.Reserve(n)
			require.NoError(t, err)
			require.Len(t, to, n)
			require.Equal(t, n, cap(to))
		}
		_, err := s.Reserve(10_000)
		require.ErrorIs(t, err, ErrFull)
		m.fill(t, s, 3)
		m.check(t, s)
		_, err = s.Reserve(int(s.Room()))
		require.NoError(t, err)
		_, err = s.Reserve(int(s.Room()) + 1)
		require.ErrorIs(t, err, ErrFull)
		g.seal(s)
		m.checkFiles(t, g)
		require.NoError(t, s.Close())
	})
}

// Batches without a timestamp leave an empty time index, which is right, and
// must not be taken for a wrong one again and again.
func TestNoTimestamps(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		m := &model{}
		s := g.create(0)
		for range 20 {
			require.NoError(t, put(s, m.note(spec{base: m.next(), records: 2, size: 100, time: -1})))
		}
		m.check(t, s)
		g.seal(s)
		require.NoError(t, s.Close())
		require.Empty(t, g.read(0, TimeSuffix))

		f := &counting{}
		s = g.open(0)
		if g.mem != nil {
			g.mem.SetHook(f.hook)
			defer g.mem.SetHook(nil)
		}
		m.check(t, s)
		require.Zero(t, f.creates)
		r, err := s.Resume()
		require.NoError(t, err)
		require.Equal(t, m.next(), r.Next)
		require.NoError(t, s.Close())
	})
}

// A seek and a read allocate nothing, sealed or active.
func TestNoAllocation(t *testing.T) {
	g := newRig(t, small, true)
	s, m := g.create(0), &model{}
	m.fill(t, s, 60)
	require.NoError(t, s.Pin())
	var buf Buffer
	for _, sealed := range []bool{false, true} {
		if sealed {
			g.seal(s)
		}
		i := 0
		limit := 0.0
		if !sealed {
			limit = 1 // the indexes as they are now
		}
		require.LessOrEqual(t, testing.AllocsPerRun(200, func() {
			i = (i + 7) % 60
			pos, err := s.Find(m.specs[i].base, &buf)
			if err != nil || pos != m.at[i] {
				panic(err)
			}
			if _, err := s.FindTime(m.specs[i].time, 0, &buf); err != nil {
				panic(err)
			}
			if _, err := s.BatchAt(pos, 0, &buf); err != nil {
				panic(err)
			}
		}), 2*limit)
	}
	s.Unpin()
	require.NoError(t, s.Close())
}
