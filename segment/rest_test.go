package segment

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// rest puts a segment to rest.
func (g *rig) rest(s *Segment) {
	g.t.Helper()
	rested, err := s.Rest()
	require.NoError(g.t, err)
	require.True(g.t, rested)
	require.True(g.t, s.Resting())
	require.True(g.t, s.Active())
}

// counted counts the files of a tree that are open.
type counted struct {
	vfs.FS
	files atomic.Int64
}

func (c *counted) Create(name string) (vfs.File, error) { return c.file(c.FS.Create(name)) }

func (c *counted) Open(name string, m vfs.Mode) (vfs.File, error) {
	return c.file(c.FS.Open(name, m))
}

func (c *counted) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	c.files.Add(1)
	return &countedFile{File: f, c: c}, nil
}

type countedFile struct {
	vfs.File
	c      *counted
	closed atomic.Bool
}

func (f *countedFile) Close() error {
	if !f.closed.Swap(true) {
		f.c.files.Add(-1)
	}
	return f.File.Close()
}

// A segment rests and wakes at any time, and nobody can tell: appends, reads,
// searches and the sealed files are as if it had never rested.
func TestRest(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		c := &counted{FS: g.fs}
		g.fs = c
		s, m := g.create(7), &model{base: 7}
		g.rest(s)
		require.Zero(t, c.files.Load(), "an empty one rests too")
		m.check(t, s)
		for i := range 12 {
			m.fill(t, s, 1+i*7)
			if i%3 == 0 {
				m.check(t, s) // it has a view now
			}
			if i%2 == 0 {
				s.Prepare(100 << 10)
			}
			g.rest(s)
			require.Zero(t, c.files.Load())
			require.Zero(t, g.maps.Count())
			require.Equal(t, m.specs[0].time, s.FirstTimestamp())
			require.False(t, s.IndexFull())
			g.rest(s) // again
			if i%4 != 1 {
				m.check(t, s)
			}
		}
		g.seal(s) // which wakes it
		require.False(t, s.Active())
		m.check(t, s)
		require.NoError(t, s.Close())
		require.Zero(t, c.files.Load())
		m.checkFiles(t, g)
	})
}

// The transaction index is never read from its file, which nothing would prove.
func TestRestKeepsTxns(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(7), &model{base: 7}
		m.fill(t, s, 100)
		for i := range int64(3) {
			g.rest(s)
			require.NoError(t, s.AbortedTxn(index.AbortedTxn{ProducerID: 1, FirstOffset: 7 + 4*i, LastOffset: 9 + 4*i, LastStableOffset: 7}))
			g.rest(s)
			x, err := s.Txns()
			require.NoError(t, err)
			require.EqualValues(t, i+1, x.Len())
			require.EqualValues(t, 9+4*i, x.Entry(int(i)).LastOffset)
		}
		m.check(t, s)
		g.seal(s)
		require.Len(t, g.read(7, TxnSuffix), 3*index.TxnEntrySize)
		require.NoError(t, s.Close())
	})
}

// After a clean open the segment rests from the start, with its indexes in memory
// when they are small and in their files when they are not.
func TestRestAfterOpen(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		for _, n := range []int{0, 3, 400} {
			base := int64(n) * 1_000_000
			s, m := g.create(base), &model{base: base}
			m.fill(t, s, n)
			g.seal(s)
			require.NoError(t, s.Close())

			c := &counted{FS: g.fs}
			s = Open(c, g.maps, testDir, base, m.size, g.cfg)
			r, err := s.Resume()
			require.NoError(t, err)
			require.NoError(t, s.Activate(r))
			require.True(t, s.Resting())
			require.Zero(t, c.files.Load())
			require.Zero(t, g.maps.Count())
			require.Equal(t, n == 400, s.mu.rest.inFiles)
			m.check(t, s)
			m.fill(t, s, 100)
			require.False(t, s.Resting())
			m.check(t, s)
			g.rest(s)
			require.False(t, s.mu.rest.inFiles, "those in the files are old")
			m.check(t, s)
			g.seal(s)
			m.check(t, s)
			require.NoError(t, s.Close())
			require.Zero(t, c.files.Load())
		}
	})
}

// Readers who are in the segment when it wakes go on in what is appended.
func TestWakeUnderReaders(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		m.fill(t, s, 10)
		g.rest(s)
		require.NoError(t, s.Pin())
		var buf Buffer
		last, _, err := s.MaxTimestamp(&buf)
		require.NoError(t, err)
		m.fill(t, s, 200)
		m.checkLookups(t, s)
		now, _, err := s.MaxTimestamp(&buf)
		require.NoError(t, err)
		require.Greater(t, now, last)
		m.check(t, s)
		g.rest(s) // under them, too
		m.check(t, s)
		m.fill(t, s, 50)
		m.check(t, s)
		s.Unpin()
		g.rest(s)
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

// The same with indexes that readers had taken from the files.
func TestWakeUnderReadersOfIndexFiles(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		m.fill(t, s, 400)
		g.seal(s)
		require.NoError(t, s.Close())
		s = g.open(0)
		r, err := s.Resume()
		require.NoError(t, err)
		require.NoError(t, s.Activate(r))
		require.True(t, s.mu.rest.inFiles)
		require.NoError(t, s.Pin())
		m.checkLookups(t, s)
		require.NotNil(t, s.mu.view.indexes.Load())
		m.fill(t, s, 100)
		require.Nil(t, s.mu.view.indexes.Load(), "they do not grow")
		m.check(t, s)
		s.Unpin()
		require.NoError(t, s.Close())
	})
}

// Index files that were changed since a clean open are made anew at the first
// append, and by a reader before, who leaves the files to the writer.
func TestWakeWithWrongIndexFiles(t *testing.T) {
	for _, suffix := range []string{IndexSuffix, TimeSuffix} {
		for name, spoil := range map[string]func(b []byte) []byte{
			"gone":    func([]byte) []byte { return nil },
			"short":   func(b []byte) []byte { return b[:len(b)-12] },
			"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"empty":   func([]byte) []byte { return []byte{} },
		} {
			for _, read := range []bool{false, true} {
				g, m := sealedRig(t, 400)
				s := g.open(0)
				r, err := s.Resume()
				require.NoError(t, err)
				require.NoError(t, s.Activate(r))
				b := spoil(g.read(0, suffix))
				if b == nil {
					require.NoError(t, g.fs.Remove(g.name(0, suffix)))
				} else {
					g.write(0, suffix, b)
				}
				f := &counting{}
				g.mem.SetHook(f.hook)
				if read {
					m.check(t, s)
				}
				m.fill(t, s, 60)
				m.check(t, s)
				require.Zero(t, f.creates, name)
				g.mem.SetHook(nil)
				offsets, _ := m.entries(int64(g.cfg.IndexInterval))
				require.InDelta(t, len(offsets), s.mu.writer.offsets.Len(), 1, name)
				require.NoError(t, s.Close())
			}
		}
	}
}

// The file of a resting segment that is not what it was is an error that says so,
// for the writer and for readers.
func TestWakeOfAnotherFile(t *testing.T) {
	for name, change := range map[string]func(g *rig) error{
		"replaced": func(g *rig) error {
			b := g.read(0, LogSuffix)
			f, err := g.fs.Create(g.name(0, ".other"))
			require.NoError(t, err)
			_, err = f.WriteAt(b, 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			return g.fs.Rename(g.name(0, ".other"), g.name(0, LogSuffix))
		},
		"gone": func(g *rig) error { return g.fs.Remove(g.name(0, LogSuffix)) },
		"short": func(g *rig) error {
			f, err := g.fs.Open(g.name(0, LogSuffix), vfs.ReadWrite)
			require.NoError(t, err)
			defer f.Close()
			return f.Truncate(100)
		},
	} {
		t.Run(name, func(t *testing.T) {
			forEachWriter(t, small, func(t *testing.T, g *rig) {
				s, m := g.create(0), &model{}
				m.fill(t, s, 10)
				g.rest(s)
				require.NoError(t, change(g))
				_, err := s.Reserve(100)
				var damage *CorruptError
				require.ErrorAs(t, err, &damage)
				require.Contains(t, err.Error(), s.Path())
				require.ErrorAs(t, s.Pin(), &damage)
				require.True(t, s.Resting())
				require.NoError(t, s.Close())
			})
		})
	}
}

// Without a descriptor nothing changes, and later it works.
func TestWakeWithoutDescriptors(t *testing.T) {
	g, m := sealedRig(t, 400)
	s := g.open(0)
	r, err := s.Resume()
	require.NoError(t, err)
	require.NoError(t, s.Activate(r))
	for n := range 3 { // the log file, the index, the time index
		f := &failing{op: vfs.OpOpen, n: n, err: syscall.EMFILE}
		g.mem.SetHook(f.hook)
		_, err = s.Reserve(100)
		require.ErrorIs(t, err, vfs.ErrTooManyFiles)
		require.False(t, errors.Is(err, ErrCorrupt), err)
		require.True(t, s.Resting())
		g.mem.SetHook(nil)
		if n < 2 {
			require.NoError(t, s.Pin())
			f.count = 0
			g.mem.SetHook(f.hook)
			var buf Buffer
			_, err = s.Find(3, &buf)
			require.ErrorIs(t, err, vfs.ErrTooManyFiles, "not a reason to read the whole log")
			g.mem.SetHook(nil)
			s.Unpin()
		}
	}
	m.fill(t, s, 10)
	m.check(t, s)
	require.NoError(t, s.Close())
}

// Nothing that was not synced is let go of: not the tail, and not the pages that
// the helper has made dirty ahead of it. A sync that fails so has failed for good.
func TestRestSyncs(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		c := small
		c.Mapped = mapped
		g := newRig(t, c, true)
		s, m := g.create(0), &model{}
		syncs := &failing{op: vfs.OpSync, n: 1 << 30}
		g.mem.SetHook(syncs.hook)
		m.fill(t, s, 10)
		g.rest(s)
		require.Equal(t, 1, syncs.count)
		m.fill(t, s, 1)
		require.NoError(t, s.Sync())
		g.rest(s)
		require.Equal(t, 2, syncs.count, "it was synced")
		m.fill(t, s, 1)
		require.NoError(t, s.Sync())
		s.Prepare(50 << 10)
		g.rest(s)
		if g.canWrite {
			require.Equal(t, 4, syncs.count, "pages were made dirty since")
		}
		m.fill(t, s, 1)
		syncs.n, syncs.err = 0, errDisk
		rested, err := s.Rest()
		var e *SyncError
		require.ErrorAs(t, err, &e)
		require.False(t, rested)
		require.False(t, s.Resting())
		syncs.n = 1 << 30
		_, err = s.Rest()
		require.ErrorIs(t, err, errDisk, "the second sync would succeed, and prove nothing")
		require.ErrorIs(t, s.Sync(), errDisk)
		g.mem.SetHook(nil)
		require.NoError(t, s.Close())
	}
}

// While somebody syncs or makes the road it stays awake.
func TestRestIsTriedOnly(t *testing.T) {
	g := newRig(t, Config{Bytes: 1 << 20, IndexBytes: 4096, IndexInterval: 300, Mapped: true}, true)
	s, m := g.create(0), &model{}
	m.fill(t, s, 3)
	w := s.mu.writer
	w.syncing <- struct{}{}
	rested, err := s.Rest()
	require.NoError(t, err)
	require.False(t, rested)
	<-w.syncing
	w.preparing.Lock()
	rested, err = s.Rest()
	require.NoError(t, err)
	require.False(t, rested)
	w.preparing.Unlock()
	m.check(t, s)
	require.NoError(t, s.Close())
	s = g.create(1000)
	g.rest(s)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Wake(), ErrClosed)
	_, err = s.Reserve(10)
	require.ErrorIs(t, err, ErrClosed)
}

// A map budget of nothing, or of less than is wanted, is no reason not to work.
func TestRestWithoutMaps(t *testing.T) {
	for budget := range 4 {
		c := small
		c.Mapped = true
		g := newRig(t, c, true)
		g.maps = NewMaps(budget)
		a, b := g.create(0), g.create(10_000)
		ma, mb := &model{base: 0}, &model{base: 10_000}
		for range 5 {
			ma.fill(t, a, 10)
			mb.fill(t, b, 10)
			ma.check(t, a)
			g.rest(a)
			mb.check(t, b)
			ma.check(t, a)
			g.rest(b)
			require.LessOrEqual(t, g.maps.Count(), budget)
		}
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
		require.Zero(t, g.maps.Count())
	}
}

// A writer that rests now and then, beside the helper, syncs, readers and
// searches. Meant for the race detector.
func TestConcurrentRest(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for _, budget := range []int{0, 1, 100} {
			c := small
			c.Mapped = mapped
			g := newRig(t, c, true)
			g.maps = NewMaps(budget)
			concurrentRest(t, g)
			require.Zero(t, g.maps.Count())
		}
	}
}

func concurrentRest(t *testing.T, g *rig) {
	const batches = 200
	s, m := g.create(0), &model{}
	for k := range int64(batches) {
		m.note(spec{base: m.next(), records: 1 + int(k)%3, size: 60, time: 1000 + k})
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	each := func(f func(i int) error) {
		wg.Go(func() {
			for i := 0; !done.Load(); i++ {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for r := range 3 {
		each(func(i int) error {
			if err := s.Pin(); err != nil {
				return err
			}
			defer s.Unpin()
			return follow(s, m, &done, 2*(r+i))
		})
	}
	each(func(i int) error {
		runtime.Gosched()
		switch i % 16 { // the writer wants a turn, too
		case 0:
			s.Prepare(20_000)
		case 8:
			return s.Sync()
		}
		return nil
	})
	var buf Buffer
	each(func(int) error { _, err := s.LargestTimestamp(&buf); return err })
	each(func(int) error { _, err := s.Txns(); return err })
	rng := rand.New(rand.NewPCG(3, 4))
	for i, b := range m.specs {
		require.NoError(t, put(s, b.encode()))
		if rng.IntN(3) > 0 {
			continue
		}
		for rested := false; !rested; runtime.Gosched() {
			var err error
			rested, err = s.Rest()
			require.NoError(t, err)
			if i%20 > 0 {
				break // it was tried
			}
		}
	}
	done.Store(true)
	wg.Wait()
	m.check(t, s)
	g.seal(s)
	m.check(t, s)
	require.NoError(t, s.Close())
}

// What a reader was handed while the segment rested stays as it was.
func TestRestKeepsWhatIsPinned(t *testing.T) {
	forEachWriter(t, small, func(t *testing.T, g *rig) {
		s, m := g.create(0), &model{}
		m.fill(t, s, 10)
		require.NoError(t, s.Pin())
		var buf Buffer
		first, err := s.BatchAt(0, 0, &buf)
		require.NoError(t, err)
		if !s.Mapped() {
			first = append(codec.Batch(nil), first...)
		}
		g.rest(s)
		require.Equal(t, m.specs[0].encode(), first)
		m.fill(t, s, 10)
		require.NoError(t, s.Close())
		require.Equal(t, m.specs[0].encode(), first)
		pos := m.at[15]
		if s.Size() > pos {
			b, err := s.BatchAt(pos, 0, &buf)
			require.False(t, errors.Is(err, fs.ErrClosed), err)
			if err != io.EOF {
				require.NoError(t, err)
				require.Equal(t, m.specs[15].encode(), b)
			}
		}
		s.Unpin()
	})
}

// A descriptor that is kept for a next reader is given up when another needs one.
func TestParkedFileIsGivenUp(t *testing.T) {
	g, m := sealedRig(t, 20)
	c := &counted{FS: g.fs}
	maps := NewMaps(0)
	var segs []*Segment
	for range 4 {
		s := Open(c, maps, testDir, 0, m.size, g.cfg)
		require.NoError(t, s.Pin())
		s.Unpin()
		segs = append(segs, s)
	}
	require.EqualValues(t, 4, c.files.Load())
	g.mem.SetHook(func(op vfs.Op, _ string, before bool) error {
		if op == vfs.OpOpen && before && c.files.Load() > 1 {
			return syscall.EMFILE
		}
		return nil
	})
	m.check(t, segs[0])
	last := Open(c, maps, testDir, 0, m.size, g.cfg)
	require.NoError(t, last.Pin())
	require.EqualValues(t, 2, c.files.Load())
	require.ErrorIs(t, segs[1].Pin(), nil, "the one that is parked")
	g.mem.SetHook(nil)
	last.Unpin()
	segs[1].Unpin()
	for _, s := range append(segs, last) {
		require.NoError(t, s.Close())
	}
	require.Zero(t, c.files.Load())
}
