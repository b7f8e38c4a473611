package leat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// cuts runs a script over a filesystem that is cut from power before and after
// every change it makes, and gives check some of the states that each cut may
// leave: the corners and a random few.
type cuts struct {
	sync.Mutex
	m      *vfs.Mem
	rng    *rand.Rand
	check  func(op string, left *vfs.Mem)
	states int
	seen   map[uint64]bool
}

const statesPerCut = 100

func newCuts(check func(op string, left *vfs.Mem)) *cuts {
	c := &cuts{m: vfs.NewCrashMem(), rng: rand.New(rand.NewPCG(7, 7)), check: check, seen: map[uint64]bool{}}
	c.m.SetHook(func(op vfs.Op, name string, before bool) error {
		if op.Mutates() {
			c.cut(fmt.Sprintf("%v %s, before: %v", op, name, before))
		}
		return nil
	})
	return c
}

func (c *cuts) cut(op string) {
	c.Lock()
	defer c.Unlock()
	d := c.m.Dirty()
	list := vfs.Choices(d, statesPerCut, c.rng.Uint64())
	c.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	list = append([]vfs.Choice{vfs.None, vfs.All}, list[:min(len(list), statesPerCut)]...)
	for _, choice := range list {
		left := d.Clone(choice)
		if h := left.Hash(); !c.seen[h] {
			c.seen[h] = true
			c.states++
			c.check(fmt.Sprintf("%s: %v of %+v", op, choice, *d), left)
		}
	}
}

// model is what a script has been told: topics by name, with the values in them,
// and what the call under way may have done already.
type model struct {
	sync.Mutex
	topics  map[string][]string
	pending string // name of the topic that is being created or deleted
	append  string // value that is being appended to "a"
}

func (m *model) set(f func()) {
	m.Lock()
	defer m.Unlock()
	f()
}

// TestCrashOfTopics: whenever the power goes, topics that were created are there
// with what was appended, those that were deleted are not, and those in between
// are one or the other, and can be created.
func TestCrashOfTopics(t *testing.T) {
	m := &model{topics: map[string][]string{}}
	small := TopicConfig{Partitions: 2, SegmentBytes: 16 << 10}
	c := newCuts(func(op string, left *vfs.Mem) {
		m.Lock()
		defer m.Unlock()
		for round := range 2 { // a second crash, in what opening did, changes nothing
			st, err := openFS(left, nil)
			require.NoError(t, err, op)
			m.requireStore(t, op, st)
			if round == 0 {
				st.abandonAll()
				if c := left.CrashClone(vfs.None); m.append == "" && m.pending == "" {
					left = c // the power goes again
				} else {
					left = left.Snapshot() // the process dies
				}
				continue
			}
			for _, name := range []string{"a", "b"} {
				if _, err := st.Topic(name); err != nil {
					_, err := st.CreateTopic(ctx, name, small)
					require.NoError(t, err, op)
				}
			}
			require.NoError(t, st.Close(), op)
		}
		st, err := openFS(left, nil)
		require.NoError(t, err, op)
		require.True(t, st.clean, op)
		for _, name := range []string{"a", "b"} {
			_, err := st.Topic(name)
			require.NoError(t, err, op)
		}
		require.NoError(t, st.Close(), op)
	})

	st, err := openFS(c.m, nil)
	require.NoError(t, err)
	create := func(name string) {
		m.set(func() { m.pending = name })
		_, err := st.CreateTopic(ctx, name, small)
		require.NoError(t, err)
		m.set(func() { m.pending, m.topics[name] = "", []string{} })
	}
	add := func(value string) {
		p := reopened(t, st, "a")
		m.set(func() { m.append = value })
		_, err := p.Append(ctx, Record{Value: []byte(value)})
		require.NoError(t, err)
		m.set(func() { m.append, m.topics["a"] = "", append(m.topics["a"], value) })
	}
	remove := func(name string) {
		m.set(func() { m.pending = name })
		require.NoError(t, st.DeleteTopic(ctx, name))
		m.set(func() { delete(m.topics, name); m.pending = "" })
	}
	create("a")
	add("one")
	create("b")
	add("two")
	remove("a")
	create("a")
	add("three")
	require.NoError(t, st.Close())
	st, err = openFS(c.m, nil)
	require.NoError(t, err)
	add("four")
	remove("b")
	require.NoError(t, st.Close())
	t.Logf("%d states", c.states)
	require.Greater(t, c.states, 1000)
}

func (m *model) requireStore(t *testing.T, op string, st *Store) {
	for _, name := range []string{"a", "b"} {
		values, acked := m.topics[name]
		tp, err := st.Topic(name)
		if name == m.pending {
			if err != nil {
				continue // either is right
			}
		} else {
			require.Equal(t, acked, err == nil, "topic %s, after %s", name, op)
		}
		if err != nil {
			continue
		}
		for id := range int32(2) {
			_, err := tp.Partition(id)
			require.NoError(t, err, op)
		}
		if name != "a" || m.pending == "a" {
			continue
		}
		got := valuesOf(t, reopened(t, st, "a"))
		if m.append != "" && len(got) == len(values)+1 {
			values = append(slices.Clone(values), m.append)
		}
		require.Equal(t, values, got, op)
	}
}

// abandonAll drops a store as the death of the process does.
func (s *Store) abandonAll() {
	for _, l := range s.openLogs() {
		l.Abandon()
	}
	s.end()
	s.meta = nil
	s.abandon()
}

// TestCrashOfAdoption: adoption is whole or is done again.
func TestCrashOfAdoption(t *testing.T) {
	var want []string
	c := newCuts(func(op string, left *vfs.Mem) {
		st, err := openFS(left, nil)
		require.NoError(t, err, op)
		for i, name := range []string{"kafka", "other"} {
			tp, err := st.Topic(name)
			require.NoError(t, err, op)
			require.True(t, tp.adopted, op)
			p, err := tp.Partition(int32(i))
			require.NoError(t, err, op)
			require.Equal(t, want, valuesOf(t, p), op)
		}
		require.NoError(t, st.Close(), op)
	})
	c.m.SetHook(nil)
	st, err := openFS(c.m, nil)
	require.NoError(t, err)
	for i, name := range []string{"kafka", "other"} {
		tp, err := st.CreateTopic(ctx, name, TopicConfig{Partitions: 2, SegmentBytes: 16 << 10})
		require.NoError(t, err)
		p, err := tp.Partition(int32(i))
		require.NoError(t, err)
		fill(t, p, 3)
		want = valuesOf(t, p)
	}
	require.NoError(t, st.Close())
	// As a broker would have left it: no Leat, and not all partitions.
	for _, gone := range []string{folderName(metadataTopic, 0), "other-0"} {
		list, err := c.m.ReadDir(gone)
		require.NoError(t, err)
		for _, e := range list {
			require.NoError(t, c.m.Remove(gone+"/"+e.Name))
		}
		require.NoError(t, c.m.Remove(gone))
	}
	require.NoError(t, c.m.Remove(stateName))
	require.NoError(t, c.m.SyncDir("."))

	c.m.SetHook(func(op vfs.Op, name string, before bool) error {
		if op.Mutates() {
			c.cut(fmt.Sprintf("%v %s, before: %v", op, name, before))
		}
		return nil
	})
	st, err = openFS(c.m, nil)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	t.Logf("%d states", c.states)
	require.Greater(t, c.states, 50)
}

// TestMarksOutliveCrashes: whenever the power goes, the marks of before are still
// believed, so that damage is told from a torn tail.
func TestMarksOutliveCrashes(t *testing.T) {
	c := newCuts(func(op string, left *vfs.Mem) {
		st, err := openFS(left, nil)
		require.NoError(t, err, op)
		require.True(t, st.state.believed, op)
		st.abandonAll()
	})
	hook := c.m.SetHook
	hook(nil)
	st, err := openFS(c.m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 16 << 10})
	hook(func(op vfs.Op, name string, before bool) error {
		if op.Mutates() {
			c.cut(fmt.Sprintf("%v %s, before: %v", op, name, before))
		}
		return nil
	})
	for range 3 {
		fill(t, p, 2)
		require.NoError(t, st.checkpoint())
	}
	require.NoError(t, st.Close())
	require.Greater(t, c.states, 50)
}
