package leat

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// stateForms are a mapped file and one that is written.
func stateForms(t *testing.T, f func(t *testing.T, m *vfs.Mem)) {
	for _, mapped := range []bool{true, false} {
		t.Run(fmt.Sprintf("mapped=%v", mapped), func(t *testing.T) {
			m := vfs.NewCrashMem()
			m.SetMapped(mapped)
			f(t, m)
		})
	}
}

func openedState(t *testing.T, fsys vfs.FS, checkpoint uint64) *stateFile {
	t.Helper()
	s, err := openState(fsys, checkpoint)
	require.NoError(t, err)
	return s
}

// mark sets and reads a word that is package log's.
func mark(t *testing.T, s *stateFile, key uint64, set uint64) (was uint64, believed bool) {
	t.Helper()
	words, believed, err := s.claim(key)
	require.NoError(t, err)
	was = words[3]
	if set != 0 {
		words[3] = set
	}
	return was, believed
}

func TestStateLines(t *testing.T) {
	stateForms(t, func(t *testing.T, m *vfs.Mem) {
		s := openedState(t, m, 1)
		const many = 300 // the file has to grow twice
		for key := range uint64(many) {
			was, believed := mark(t, s, key+1, key+1000)
			require.Zero(t, was)
			require.False(t, believed, "a new line says nothing")
		}
		words, _, err := s.claim(1)
		require.NoError(t, err)
		require.Equal(t, uint64(1000), words[3], "lines never move")
		require.NoError(t, s.close())

		s = openedState(t, m, 1)
		for key := range uint64(many) {
			was, believed := mark(t, s, key+1, 0)
			require.Equal(t, key+1000, was)
			require.True(t, believed)
		}
		// Lines of partitions that are gone are free, and say nothing any more.
		s.release(5)
		s.keep(map[uint64]bool{7: true, 8: true})
		require.Len(t, s.mu.byKey, 2)
		was, believed := mark(t, s, 9999, 0)
		require.Zero(t, was)
		require.False(t, believed)
		require.NoError(t, s.close())
		s = openedState(t, m, 1)
		require.Len(t, s.mu.byKey, 3)
		was, _ = mark(t, s, 7, 0)
		require.Equal(t, uint64(1006), was)
		require.NoError(t, s.close())
	})
}

// TestStateAfterABroker: the lines are believed while the recovery point
// checkpoint is the one that Leat wrote last, or was about to write.
func TestStateAfterABroker(t *testing.T) {
	stateForms(t, func(t *testing.T, m *vfs.Mem) {
		s := openedState(t, m, 1)
		mark(t, s, 42, 10)
		require.NoError(t, s.expect(2))
		for checkpoint, believed := range map[uint64]bool{1: true, 2: true, 3: false} {
			after := m.CrashClone(vfs.None)
			s := openedState(t, after, checkpoint)
			was, got := mark(t, s, 42, 0)
			require.Equal(t, believed, got, "%d", checkpoint)
			require.Equal(t, believed, was == 10, "%d", checkpoint)
			require.NoError(t, s.close())
			// Discarded for good, also when the old checkpoint comes back.
			s = openedState(t, after, checkpoint)
			_, again := mark(t, s, 42, 0)
			require.True(t, again)
			require.NoError(t, s.close())
		}
		s.replaced(2)
		require.NoError(t, s.expect(3))
		s = openedState(t, m.CrashClone(vfs.None), 1)
		_, believed := mark(t, s, 42, 0)
		require.False(t, believed)
		require.NoError(t, s.close())
	})
}

// TestStateUnusable: what is no such file is replaced, and what is cut or long is
// used as far as it goes.
func TestStateUnusable(t *testing.T) {
	stateForms(t, func(t *testing.T, m *vfs.Mem) {
		s := openedState(t, m, 1)
		for key := range uint64(200) {
			mark(t, s, key+1, 7)
		}
		require.NoError(t, s.close())
		for _, c := range []struct {
			name string
			do   func(f vfs.File) error
			left int
		}{
			{"empty", func(f vfs.File) error { return f.Truncate(0) }, 0},
			{"short", func(f vfs.File) error { return f.Truncate(40) }, 0},
			{"magic", func(f vfs.File) error { _, err := f.WriteAt([]byte("X"), 3); return err }, 0},
			{"version", func(f vfs.File) error { _, err := f.WriteAt([]byte{9}, 8); return err }, 0},
			{"cut to a line", func(f vfs.File) error { return f.Truncate(5000) }, 63},
			{"cut to a page", func(f vfs.File) error { return f.Truncate(8192) }, 127},
			{"huge", func(f vfs.File) error { return f.Truncate(1 << 24) }, 200},
			{"as it is", func(f vfs.File) error { return nil }, 200},
		} {
			m := m.Snapshot()
			f, err := m.Open(stateName, vfs.ReadWrite)
			require.NoError(t, err)
			require.NoError(t, c.do(f), c.name)
			require.NoError(t, f.Close())
			s := openedState(t, m, 1)
			require.Len(t, s.mu.byKey, c.left, c.name)
			for key := range uint64(300) { // all of it can be used
				mark(t, s, key+1, 8)
			}
			require.NoError(t, s.close())
		}
		require.NoError(t, m.Remove(stateName))
		require.NoError(t, m.Mkdir(stateName))
		s = openedState(t, m, 1)
		require.NoError(t, s.close())
		require.NoError(t, m.Remove(stateName))
		require.NoError(t, m.Mkdir(stateName))
		require.NoError(t, m.Mkdir(stateName+"/full"))
		_, err := openState(m, 1)
		require.Error(t, err)
	})
}

// TestStateFull: a partition for which there is no room does without.
func TestStateFull(t *testing.T) {
	m := vfs.NewCrashMem()
	s := openedState(t, m, 1)
	if s.m != nil { // without a map the disk is asked for space later
		m.SetLimit(m.Used() + 1)
		given := 0
		for key := uint64(1); ; key++ {
			if _, _, err := s.claim(key); err != nil {
				require.ErrorIs(t, err, vfs.ErrNoSpace)
				break
			}
			given++
		}
		require.Equal(t, 63, given)
	}
	m.SetLimit(0)
	_, _, err := s.claim(1000)
	require.NoError(t, err, "again, when there is space")
	require.NoError(t, s.close())

	s = openedState(t, m, 1)
	for key := uint64(1); ; key++ { // to the end of what was reserved
		if _, _, err := s.claim(key); err != nil {
			require.Equal(t, uint64(stateMaxMem/lineSize), key, "one is the header")
			break
		}
	}
	require.NoError(t, s.close())
}

func TestLineKey(t *testing.T) {
	seen := map[uint64]bool{0: true}
	for range 100 {
		id := newTopicID()
		for p := range int32(100) {
			key := lineKey(id, p)
			require.False(t, seen[key])
			seen[key] = true
			require.Equal(t, key, lineKey(id, p))
		}
	}
	require.Equal(t, uint64(0xde47c9b27eb8d300), lineKey(TopicID{}, 0), "it is on disks")
}
