package segment

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// One writer, a helper that makes its road, a syncer, and readers that follow the
// tail, search, and come and go, across sealing, closing and removing. Meant for
// the race detector, which sees the memory files.
func TestConcurrent(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for _, budget := range []int{0, 1, 2, 100} {
			t.Run(fmt.Sprintf("mapped=%v/maps=%d", mapped, budget), func(t *testing.T) {
				c := small
				c.Mapped = mapped
				g := newRig(t, c, true)
				g.maps = NewMaps(budget)
				for round := range 6 {
					concurrent(t, g, int64(round)*100_000)
				}
				require.Zero(t, g.maps.Count())
				require.Zero(t, g.maps.mu.parked)
			})
		}
	}
}

const batchesEach = 300

func concurrent(t *testing.T, g *rig, base int64) {
	s := g.create(base)
	m := &model{base: base}
	for range batchesEach {
		k := int64(len(m.specs))
		m.note(spec{base: m.next(), records: 1 + int(k)%3, size: 60, time: 1000 + k})
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	// Errors come here: only the test's own goroutine may end it.
	errs := make(chan error, 100)
	report := func(err error) {
		select {
		case errs <- err:
		default:
		}
	}
	for r := range 4 {
		wg.Go(func() {
			for round := 0; !done.Load() || round == 0; round++ {
				if err := s.Pin(); err != nil {
					report(err)
					return
				}
				if err := follow(s, m, &done, r+round); err != nil {
					report(err)
				}
				s.Unpin()
			}
		})
	}
	wg.Go(func() {
		for !done.Load() {
			s.Prepare(20_000)
			if err := s.Sync(); err != nil {
				report(err)
				return
			}
		}
	})
	wg.Go(func() {
		var buf Buffer
		for !done.Load() {
			if _, err := s.LargestTimestamp(&buf); err != nil {
				report(err)
			}
			if _, err := s.Txns(); err != nil {
				report(err)
			}
			_ = g.maps.Count()
		}
	})
	for _, b := range m.specs {
		require.NoError(t, put(s, b.encode()))
	}
	require.NoError(t, s.Inactivate())
	_, err := s.Seal(true)
	require.NoError(t, err)
	done.Store(true)
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	m.check(t, s)

	// Ended while readers are in it: theirs goes on.
	var end sync.WaitGroup
	for range 4 {
		require.NoError(t, s.Pin())
		end.Go(func() {
			defer s.Unpin()
			if err := follow(s, m, &done, 0); err != nil {
				t.Error(err)
			}
		})
	}
	if base%200_000 == 0 {
		require.NoError(t, s.Remove())
	} else {
		require.NoError(t, s.Close())
	}
	end.Wait()
	require.ErrorIs(t, s.Pin(), ErrClosed)
}

// follow reads a pinned segment up to wherever it ends now, and searches it.
func follow(s *Segment, m *model, done *atomic.Bool, seed int) error {
	var buf Buffer
	pos := int64(0)
	for i := 0; i < len(m.specs); i++ {
		b, err := s.BatchAt(pos, 0, &buf)
		if err == io.EOF {
			if seed%2 == 0 || done.Load() {
				break
			}
			i--
			continue
		}
		if err != nil {
			return err
		}
		if b.BaseOffset() != m.specs[i].base || !b.CRCValid() {
			return fmt.Errorf("batch %d at %d begins at %d", i, pos, b.BaseOffset())
		}
		pos += int64(len(b))
		if (i+seed)%16 != 0 {
			continue
		}
		want := m.specs[i/2]
		if at, err := s.Find(want.base, &buf); err != nil || at != m.at[i/2] {
			return fmt.Errorf("find %d: %d, %w", want.base, at, err)
		}
		if at, err := s.FindTime(want.time, m.base, &buf); err != nil || at != m.at[i/2] {
			return fmt.Errorf("find time %d: %d, %w", want.time, at, err)
		}
		if ms, _, err := s.MaxTimestamp(&buf); err != nil || ms < m.specs[i].time {
			return fmt.Errorf("max timestamp %d, %w", ms, err)
		}
	}
	return nil
}

// Readers that find a wrong index at the same time make it anew once.
func TestConcurrentRebuild(t *testing.T) {
	g, m := sealedRig(t, 60)
	g.write(0, IndexSuffix, []byte("garbage!"))
	f := &counting{}
	s := g.open(0)
	g.mem.SetHook(f.hook)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Pin(); err != nil {
				t.Error(err)
				return
			}
			defer s.Unpin()
			if err := m.lookups(s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	g.mem.SetHook(nil)
	require.LessOrEqual(t, f.creates, 2)
	require.NoError(t, s.Close())
	m.checkFiles(t, g)
}
