package vfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// crashes are scripts, and every state that a power cut after them may leave.
// A state is the files with their lengths and the beginnings of their pages.
var crashes = []struct {
	name, script string
	states       []string
}{
	{"nothing synced", `
		create a as f = ok
		write f 0 hello = ok
	`, []string{"", "a:0", "a:5 .....", "a:5 hello"}},

	{"content synced, name not", `
		create a as f = ok
		write f 0 hello = ok
		sync f = ok
	`, []string{"", "a:5 hello"}},

	{"name synced, content not", `
		create a as f = ok
		write f 0 hello = ok
		syncdir . = ok
	`, []string{"a:0", "a:5 .....", "a:5 hello"}},

	{"both synced", `
		create a as f = ok
		write f 0 hello = ok
		sync f = ok
		syncdir . = ok
	`, []string{"a:5 hello"}},

	{"overwritten", `
		create a as f = ok
		write f 0 hello = ok
		sync f = ok
		syncdir . = ok
		write f 0 HELLO = ok
	`, []string{"a:5 HELLO", "a:5 hello"}},

	{"pages in any combination, an append in one with its length or without", `
		create a as f = ok
		write f 0 one = ok
		write f 4096 two = ok
		sync f = ok
		syncdir . = ok
		write f 0 ONE = ok
		write f 4096 TWOTWO = ok
	`, []string{
		"a:4099 ONE TWO", "a:4099 ONE two", "a:4099 one TWO", "a:4099 one two",
		"a:4102 ONE TWOTWO", "a:4102 ONE two...", "a:4102 one TWOTWO", "a:4102 one two...",
	}},

	{"stored through a map", `
		create a as f = ok
		map f 8192 rw as m = ok
		allocate f 0 8192 = ok
		sync f = ok
		syncdir . = ok
		store m 0 one = ok
		store m 4096 two = ok
	`, []string{"a:8192 ", "a:8192 . two", "a:8192 one", "a:8192 one two"}},

	{"stored through a map and synced", `
		create a as f = ok
		map f 8192 rw as m = ok
		allocate f 0 8192 = ok
		store m 0 one = ok
		sync f = ok
		syncdir . = ok
		store m 0 ONE = ok
	`, []string{"a:8192 ONE", "a:8192 one"}},

	{"a file replaced by rename", `
		create a as f = ok
		write f 0 old = ok
		sync f = ok
		syncdir . = ok
		create a.tmp as g = ok
		write g 0 new = ok
		sync g = ok
		rename a.tmp a = ok
	`, []string{"a:3 new", "a:3 old", "a:3 old, a.tmp:3 new"}},

	{"the same, content not synced first", `
		create a as f = ok
		write f 0 old = ok
		sync f = ok
		syncdir . = ok
		create a.tmp as g = ok
		write g 0 new = ok
		rename a.tmp a = ok
		syncdir . = ok
	`, []string{"a:0", "a:3 ...", "a:3 new"}},

	{"removed, and back again", `
		create a as f = ok
		create b as g = ok
		syncdir . = ok
		remove a = ok
		remove b = ok
	`, []string{"", "a:0", "a:0, b:0", "b:0"}},

	{"removed for good", `
		create a as f = ok
		syncdir . = ok
		remove a = ok
		syncdir . = ok
	`, []string{""}},

	{"removed before it was ever there", `
		create a as f = ok
		remove a = ok
	`, []string{"", "a:0"}},

	{"removed, still written to, and back again", `
		create a as f = ok
		write f 0 old = ok
		sync f = ok
		syncdir . = ok
		remove a = ok
		write f 0 new = ok
	`, []string{"", "a:3 new", "a:3 old"}},

	{"cut, and grown again without a sync", `
		create a as f = ok
		write f 0 aaaa = ok
		write f 4096 bbbb = ok
		sync f = ok
		syncdir . = ok
		truncate f 2 = ok
		allocate f 0 4100 = ok
	`, []string{"a:4100 aa ....", "a:4100 aa bbbb", "a:4100 aaaa ....", "a:4100 aaaa bbbb"}},

	{"cut", `
		create a as f = ok
		write f 0 aaaa = ok
		sync f = ok
		syncdir . = ok
		truncate f 2 = ok
	`, []string{"a:2 aa", "a:4 aa..", "a:4 aaaa"}},

	{"cut, synced and grown again", `
		create a as f = ok
		write f 0 aaaa = ok
		write f 4096 bbbb = ok
		syncdir . = ok
		truncate f 2 = ok
		sync f = ok
		truncate f 4100 = ok
	`, []string{"a:2 aa", "a:4100 aa ...."}},

	{"synced, cut, synced and grown again", `
		create a as f = ok
		write f 0 aaaa = ok
		write f 4096 bbbb = ok
		sync f = ok
		syncdir . = ok
		truncate f 2 = ok
		sync f = ok
		truncate f 4100 = ok
	`, []string{"a:2 aa", "a:4100 aa ...."}},

	{"made zero", `
		create a as f = ok
		write f 0 aaaa = ok
		write f 4096 bbbb = ok
		sync f = ok
		syncdir . = ok
		zero f 2 5000 = ok
	`, []string{"a:4100 aa ....", "a:4100 aa bbbb", "a:4100 aaaa ....", "a:4100 aaaa bbbb"}},

	{"allocated", `
		create a as f = ok
		syncdir . = ok
		allocate f 0 8192 = ok
	`, []string{"a:0", "a:8192 "}},

	{"names in any order", `
		create a as f = ok
		create b as g = ok
		syncdir . = ok
		rename a c = ok
		rename b d = ok
	`, []string{"a:0, b:0", "a:0, d:0", "b:0, c:0", "c:0, d:0"}},

	{"renamed twice has one name", `
		create a as f = ok
		syncdir . = ok
		rename a b = ok
		rename b c = ok
	`, []string{"a:0", "b:0", "c:0"}},

	{"moved to another directory has one name", `
		mkdir d = ok
		create a as f = ok
		syncdir . = ok
		rename a d/a = ok
	`, []string{"a:0, d", "d, d/a:0"}},

	{"moved, one directory synced", `
		mkdir d = ok
		create a as f = ok
		syncdir . = ok
		rename a d/a = ok
		syncdir d = ok
	`, []string{"d, d/a:0"}},

	{"created and moved, the second directory synced", `
		mkdir d = ok
		syncdir . = ok
		create a as f = ok
		rename a d/a = ok
		syncdir d = ok
	`, []string{"d, d/a:0"}},

	{"a file synced in a directory that is not", `
		mkdir d = ok
		create d/a as f = ok
		sync f = ok
		syncdir d = ok
	`, []string{"", "d, d/a:0"}},

	{"a directory synced, what is in it not", `
		mkdir d = ok
		create d/a as f = ok
		syncdir . = ok
	`, []string{"d", "d, d/a:0"}},

	{"a directory renamed", `
		mkdir d = ok
		create d/a as f = ok
		syncdir d = ok
		syncdir . = ok
		rename d e = ok
		create e/b as g = ok
	`, []string{"d, d/a:0", "d, d/a:0, d/b:0", "e, e/a:0", "e, e/a:0, e/b:0"}},

	{"a directory removed", `
		mkdir d = ok
		create d/a as f = ok
		syncdir d = ok
		syncdir . = ok
		remove d/a = ok
		remove d = ok
	`, []string{"", "d", "d, d/a:0"}},

	{"a name used again", `
		create a as f = ok
		write f 0 one = ok
		sync f = ok
		syncdir . = ok
		remove a = ok
		create a as g = ok
		write g 0 two = ok
		sync g = ok
	`, []string{"", "a:3 one", "a:3 two"}},

	{"a lock file", `
		lock .lock as l = ok
		syncdir . = ok
	`, []string{".lock:0"}},
}

func TestCrashStates(t *testing.T) {
	for _, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			m := NewCrashMem()
			run(t, m, c.script)
			require.Equal(t, c.states, states(m))
			// A kill first does not change what a power cut then may do.
			require.Equal(t, c.states, states(m.Snapshot()))
			require.Equal(t, m.Hash(), m.Snapshot().Hash())
			require.Equal(t, m.Hash(), m.CrashClone(All).Hash())
		})
	}
}

// states lists what m may be after a power cut, and checks each clone.
func states(m *Mem) (list []string) {
	for c, after := range m.Dirty().States(0, 0) {
		list = append(list, show(after))
		d := after.Dirty()
		if len(d.Pages)+len(d.Names)+len(d.Sizes) > 0 {
			panic(fmt.Sprintf("dirty after a crash: %v: %+v", c, d))
		}
		if l, err := after.Lock(".lock"); err != nil {
			panic(err)
		} else {
			l.Close()
		}
	}
	slices.Sort(list)
	return list
}

// show is a tree as in "a:5 hello, d, d/b:0": of each page its beginning,
// without the zeros beyond the first that follow it.
func show(tree FS) string {
	var list []string
	var walk func(dir string)
	walk = func(dir string) {
		infos, err := tree.ReadDir(dir)
		if err != nil {
			panic(err)
		}
		for _, i := range infos {
			name := strings.TrimPrefix(dir+"/"+i.Name, "./")
			if i.IsDir() {
				list = append(list, name)
				walk(name)
				continue
			}
			list = append(list, strings.TrimRight(fmt.Sprintf("%s:%d", name, i.Size), " ")+showFile(tree, name, i.Size))
		}
	}
	walk(".")
	return strings.Join(list, ", ")
}

func showFile(tree FS, name string, size int64) string {
	f, err := tree.Open(name, ReadOnly)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		panic(err)
	}
	s := ""
	for len(b) > 0 {
		p := b[:min(len(b), pageSize)]
		b = b[len(p):]
		text := dots(p)
		if len(p) > 16 {
			text = strings.TrimRight(text, ".")
		}
		if text == "" && strings.Trim(dots(b), ".") != "" {
			text = "."
		}
		s += " " + text
	}
	if strings.Trim(s, " ") == "" && s != "" {
		return " "
	}
	return strings.TrimRight(s, " ")
}

// Bytes stored while a sync runs are not durable by it.
func TestSyncTakesTheEntry(t *testing.T) {
	m := NewCrashMem()
	f, err := m.Create("a")
	require.NoError(t, err)
	require.NoError(t, f.Allocate(0, 4096))
	mm, err := f.Map(4096, true)
	require.NoError(t, err)
	require.NoError(t, m.SyncDir("."))
	copy(mm.Bytes(), "before")
	m.SetHook(func(op Op, _ string, before bool) error {
		if op == OpSync && !before {
			copy(mm.Bytes(), "during")
		}
		return nil
	})
	require.NoError(t, f.Sync())
	require.Equal(t, "a:4096 before", show(m.CrashClone(None)))
	require.Equal(t, "a:4096 during", show(m.CrashClone(All)))
}

// After a failed sync the cache shows what the disk may not have, and a later
// sync that succeeds does not change that; writing again does.
func TestFailedSync(t *testing.T) {
	outcomes := make(map[string]bool)
	for seed := range uint64(40) {
		m := NewCrashMem()
		m.SetSeed(seed)
		f, err := m.Create("a")
		require.NoError(t, err)
		require.NoError(t, f.Allocate(0, 8192))
		require.NoError(t, f.Sync())
		require.NoError(t, m.SyncDir("."))
		_, err = f.WriteAt([]byte("one"), 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("two"), 4096)
		require.NoError(t, err)

		eio := errors.New("input/output error")
		m.SetHook(func(op Op, _ string, before bool) error {
			if op == OpSync && before {
				return eio
			}
			return nil
		})
		require.ErrorIs(t, f.Sync(), eio)
		m.SetHook(nil)
		require.Equal(t, "a:8192 one two", show(m))
		require.NoError(t, f.Sync(), "the second one lies")
		require.Empty(t, m.Dirty().Pages)

		after := show(m.CrashClone(All))
		require.Equal(t, after, show(m.CrashClone(None)))
		require.Equal(t, after, show(m.Snapshot().CrashClone(All)), "survives a reopening")
		outcomes[after] = true

		// Writing the same bytes again and syncing is what helps.
		_, err = f.WriteAt([]byte("one"), 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("two"), 4096)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.Equal(t, "a:8192 one two", show(m.CrashClone(None)))
	}
	require.Len(t, outcomes, 4, "each page lost or kept: %v", outcomes)
}

// A page written back in the background is durable as it was then, though
// neither synced nor live any more.
func TestWriteback(t *testing.T) {
	m := NewCrashMem()
	f, err := m.Create("a")
	require.NoError(t, err)
	require.NoError(t, m.SyncDir("."))
	_, err = f.WriteAt([]byte("one"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	seen := make(map[string]bool)
	for range 50 {
		_, err = f.WriteAt([]byte("mid"), 0)
		require.NoError(t, err)
		m.Writeback()
		_, err = f.WriteAt([]byte("new"), 0)
		require.NoError(t, err)
		for _, s := range states(m) {
			seen[s] = true
		}
		_, err = f.WriteAt([]byte("one"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	}
	require.Equal(t, map[string]bool{"a:3 one": true, "a:3 mid": true, "a:3 new": true}, seen)
}

// Random operations, against what must hold whatever they are: keeping all is
// the live tree, what is kept is page by page old or new, a tree that is synced
// all over has nothing to lose, and neither clone nor original feels the other.
func TestCrashModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := NewCrashMem()
		files := make(map[string]File)
		names := []string{"a", "b", "d/a", "d/b", "e/c"}
		require.NoError(t, m.Mkdir("d"))
		require.NoError(t, m.Mkdir("e"))
		for range 300 {
			name := names[rng.IntN(len(names))]
			f := files[name]
			switch op := rng.IntN(12); {
			case f == nil:
				f, err := m.Create(name)
				require.NoError(t, err)
				files[name] = f
			case op == 0:
				require.NoError(t, m.Remove(name))
				delete(files, name)
			case op == 1:
				to := names[rng.IntN(len(names))]
				require.NoError(t, m.Rename(name, to))
				delete(files, name)
				files[to] = f
			case op == 2:
				require.NoError(t, f.Truncate(rng.Int64N(20000)))
			case op == 3:
				require.NoError(t, f.Allocate(rng.Int64N(20000), rng.Int64N(5000)))
			case op == 4:
				require.NoError(t, f.Zero(rng.Int64N(20000), rng.Int64N(5000)))
			case op == 5:
				require.NoError(t, f.Sync())
			case op == 6:
				require.NoError(t, m.SyncDir([]string{".", "d", "e"}[rng.IntN(3)]))
			case op == 7:
				m.Writeback()
			case op == 8:
				size, err := f.Size()
				require.NoError(t, err)
				mm, err := f.Map(size, true)
				require.NoError(t, err)
				if size > 0 {
					mm.Bytes()[rng.Int64N(size)] = byte(rng.Uint32())
				}
				require.NoError(t, mm.Unmap())
			default:
				p := make([]byte, rng.IntN(9000))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				_, err := f.WriteAt(p, rng.Int64N(20000))
				require.NoError(t, err)
			}
			if rng.IntN(10) == 0 {
				checkCrash(t, m, rng.Uint64())
			}
			if rng.IntN(60) == 0 {
				m = m.CrashClone(Choice{randomPick(99, rng), randomPick(99, rng), randomPick(9, rng)})
				clear(files)
				for _, d := range []string{"d", "e"} {
					if _, err := m.Stat(d); err != nil {
						require.NoError(t, m.Mkdir(d))
					}
				}
				for _, name := range names {
					if f, err := m.Open(name, ReadWrite); err == nil {
						files[name] = f
					}
				}
			}
		}
		for _, f := range files {
			require.NoError(t, f.Sync())
		}
		for _, d := range []string{".", "d", "e"} {
			require.NoError(t, m.SyncDir(d))
		}
		d := m.Dirty()
		require.Empty(t, d.Pages)
		require.Empty(t, d.Names)
		require.Empty(t, d.Sizes)
		require.Equal(t, m.Hash(), d.Clone(None).Hash())
	}
}

func checkCrash(t *testing.T, m *Mem, seed uint64) {
	live := m.Hash()
	d := m.Dirty()
	require.Equal(t, live, d.Clone(All).Hash(), "%v\n%v\n%v", d.Names, d.Pages, d.Sizes)
	require.Equal(t, live, m.Snapshot().Hash())
	some := Choice{From(1), PickAll(), Below(1)}
	h := d.Clone(some).Hash()
	c := d.Clone(some)
	for _, name := range []string{"a", "d/a"} {
		if f, err := c.Open(name, ReadWrite); err == nil {
			_, err = f.WriteAt([]byte("clone"), 3)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(4))
			require.NoError(t, f.Sync())
			require.NoError(t, c.Remove(name))
		}
	}
	require.Equal(t, live, m.Hash(), "the original felt its clone")
	require.Equal(t, h, d.Clone(some).Hash(), "so did another clone")
}

func TestStrayStore(t *testing.T) {
	m := NewCrashMem()
	f, err := m.Create("a")
	require.NoError(t, err)
	mm, err := f.Map(8192, true)
	require.NoError(t, err)
	require.NoError(t, f.Allocate(0, 100))
	mm.Bytes()[100] = 1
	require.Panics(t, func() { f.Allocate(100, 100) })
}

// Clones and syncs are cut while an appender stores: no race is reported, and
// what was published before is in them whole.
func TestCloneBesideAppends(t *testing.T) {
	m := NewCrashMem()
	f, err := m.Create("a")
	require.NoError(t, err)
	const size = 256 << 10
	mm, err := f.Map(size, true)
	require.NoError(t, err)
	require.NoError(t, f.Allocate(0, size))
	require.NoError(t, m.SyncDir("."))
	var end atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		b := mm.Bytes()
		for i := range int64(size / 64) {
			for k := range b[i*64 : (i+1)*64] {
				b[i*64+int64(k)] = byte(i) | 1
			}
			end.Store((i + 1) * 64)
		}
	})
	check := func(c *Mem, end int64) {
		g, err := c.Open("a", ReadOnly)
		require.NoError(t, err)
		b := make([]byte, end)
		_, err = g.ReadAt(b, 0)
		require.NoError(t, err)
		for i := range b {
			if b[i] != byte(i/64)|1 {
				t.Fatalf("lost at %d of %d", i, end)
			}
		}
	}
	for done := int64(0); done < size; {
		done = end.Load()
		check(m.CrashClone(All), done)
		check(m.Snapshot(), done)
		require.NoError(t, f.Sync())
		check(m.CrashClone(None), done)
		m.Hash()
	}
	wg.Wait()
}

func TestChoices(t *testing.T) {
	d := &DirtyState{Pages: make([]DirtyPage, 3), Names: make([]DirtyName, 2), Sizes: make([]DirtySize, 1)}
	seen := make(map[string]bool)
	for _, c := range Choices(d, 5, 1) {
		seen[c.String()] = true
	}
	require.Len(t, seen, 64)

	d = &DirtyState{Pages: make([]DirtyPage, 100), Names: make([]DirtyName, 6), Sizes: make([]DirtySize, 5)}
	clear(seen)
	for _, c := range Choices(d, 20, 1) {
		key := ""
		for i := range 100 {
			key += map[bool]string{true: "1", false: "0"}[c.Pages.Has(i)]
		}
		seen[key] = true
	}
	for i := range 100 {
		rest := strings.Repeat("0", 99-i)
		require.True(t, seen[strings.Repeat("0", i)+"1"+rest], "only %d", i)
		require.True(t, seen[strings.Repeat("1", i+1)+rest], "up to %d", i)
		rest = strings.Repeat("1", 99-i)
		require.True(t, seen[strings.Repeat("1", i)+"0"+rest], "all but %d", i)
		require.True(t, seen[strings.Repeat("0", i+1)+rest], "beyond %d", i)
	}
	require.Len(t, seen, 1+1+100+100+97+97+20)
	require.Equal(t, Choices(d, 20, 7), Choices(d, 20, 7), "the same for the same seed")

	require.Equal(t, "pages {0 65}, names all, sizes all but {1}",
		Choice{Only(65, 0), PickAll(), Except(1)}.String())
}

// BenchmarkStates is the simulator's own cost: a state made, told from others
// and read whole through maps, of a tree of a few hundred KiB.
func BenchmarkStates(b *testing.B) {
	m := NewCrashMem()
	data := make([]byte, 64<<10)
	for i := range data {
		data[i] = byte(i*7) | 1
	}
	for i := range 6 {
		f, err := m.Create(fmt.Sprint(i))
		require.NoError(b, err)
		_, err = f.WriteAt(data, 0)
		require.NoError(b, err)
		require.NoError(b, f.Sync())
		if i < 2 {
			_, err = f.WriteAt(make([]byte, 20<<10), 40<<10)
			require.NoError(b, err)
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, c := range m.Dirty().States(32, 1) {
			n++
			infos, err := c.ReadDir(".")
			require.NoError(b, err)
			for _, i := range infos {
				f, err := c.Open(i.Name, ReadOnly)
				require.NoError(b, err)
				mm, err := f.Map(i.Size, false)
				require.NoError(b, err)
				if isZero(mm.Bytes()) {
					b.Fatal("empty")
				}
			}
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "states/s")
}

// BenchmarkDirty is a crash point: six segments of 256 KiB mapped for writing,
// each with three dirty pages, compared with what is durable.
func BenchmarkDirty(b *testing.B) {
	m := NewCrashMem()
	for i := range 6 {
		f, err := m.Create(fmt.Sprint(i))
		require.NoError(b, err)
		mm, err := f.Map(256<<10, true)
		require.NoError(b, err)
		require.NoError(b, f.Allocate(0, 256<<10))
		for k := range mm.Bytes() {
			mm.Bytes()[k] = byte(k*7) | 1
		}
		require.NoError(b, f.Sync())
		clear(mm.Bytes()[100<<10 : 110<<10])
	}
	for b.Loop() {
		if len(m.Dirty().Pages) != 18 {
			b.Fatal("dirty pages")
		}
	}
}
