package leat

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// balanceCase is a group for a balancer: "a: t0 t1" is a member and what it has
// subscribed to, "t0: 3" a topic and its partitions.
func balanceCase(members []string, topics ...string) ([]Member, []Position) {
	var list []Member
	for _, text := range members {
		id, names, _ := strings.Cut(text, ": ")
		list = append(list, Member{ID: id, Topics: strings.Fields(names)})
	}
	var parts []Position
	for _, text := range topics {
		name, count, _ := strings.Cut(text, ": ")
		var n int32
		fmt.Sscan(count, &n)
		for id := range n {
			parts = append(parts, Position{Topic: name, Partition: id})
		}
	}
	return list, parts
}

// assignmentText is "a: t0-0 t0-1 | b: ..".
func assignmentText(given map[string][]Position) string {
	var list []string
	for _, id := range slices.Sorted(maps.Keys(given)) {
		var names []string
		for _, p := range given[id] {
			names = append(names, folderName(p.Topic, p.Partition))
		}
		list = append(list, id+": "+strings.Join(names, " "))
	}
	return strings.Join(list, " | ")
}

// TestKafkasBalancers: the examples in the documentation and the tests of Kafka's
// RangeAssignor and RoundRobinAssignor.
func TestKafkasBalancers(t *testing.T) {
	two := []string{"C0: t0 t1", "C1: t0 t1"}
	mixed := []string{"C0: t0", "C1: t0 t1", "C2: t0 t1 t2"}
	for _, c := range []struct {
		members            []string
		topics             []string
		range_, roundRobin string
	}{
		{two, []string{"t0: 3", "t1: 3"}, "C0: t0-0 t0-1 t1-0 t1-1 | C1: t0-2 t1-2", "C0: t0-0 t0-2 t1-1 | C1: t0-1 t1-0 t1-2"},
		{mixed, []string{"t0: 1", "t1: 2", "t2: 3"}, "C0: t0-0 | C1: t1-0 | C2: t1-1 t2-0 t2-1 t2-2", "C0: t0-0 | C1: t1-0 | C2: t1-1 t2-0 t2-1 t2-2"},
		{[]string{"C0: t0"}, []string{"t0: 3"}, "C0: t0-0 t0-1 t0-2", "C0: t0-0 t0-1 t0-2"},
		{[]string{"C0: t0", "C1: t0"}, []string{"t0: 1"}, "C0: t0-0 | C1: ", "C0: t0-0 | C1: "},
		{[]string{"C0: t0", "C1: t0 t1", "C2: t0"}, []string{"t0: 3", "t1: 2"}, "C0: t0-0 | C1: t0-1 t1-0 t1-1 | C2: t0-2", "C0: t0-0 | C1: t0-1 t1-0 t1-1 | C2: t0-2"},
		{[]string{"C0: t0", "C1: t0", "C2: t0"}, []string{"t0: 5"}, "C0: t0-0 t0-1 | C1: t0-2 t0-3 | C2: t0-4", "C0: t0-0 t0-3 | C1: t0-1 t0-4 | C2: t0-2"},
		{[]string{"C0: t0"}, []string{"t0: 1", "t1: 4"}, "C0: t0-0", "C0: t0-0"},
	} {
		members, parts := balanceCase(c.members, c.topics...)
		require.Equal(t, c.range_, assignmentText(Range.Assign(members, parts)), "Range of %v, %v", c.members, c.topics)
		require.Equal(t, c.roundRobin, assignmentText(RoundRobin.Assign(members, parts)), "RoundRobin of %v, %v", c.members, c.topics)
	}
}

// TestStickyChains: a share is evened out by way of one who can have both topics.
func TestStickyChains(t *testing.T) {
	members, parts := balanceCase([]string{"a: t0", "b: t0 t1", "c: t1"}, "t0: 4", "t1: 2")
	members[0].Owned = parts[:4]
	members[1].Owned = parts[4:]
	given := Sticky.Assign(members, parts)
	for id, list := range given {
		require.Len(t, list, 2, "%s of %v", id, assignmentText(given))
	}
}

// TestBalancers: whatever the group, what a balancer gives is allowed and as even
// as can be, and Sticky moves no more than that takes.
func TestBalancers(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		checkBalancers(t, func(n int) int { return r.IntN(n) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzBalancers(f *testing.F) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := make([]byte, 60)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkBalancers(t, func(n int) int {
			if len(b) == 0 {
				return 0
			}
			v := int(b[0]) % n
			b = b[1:]
			return v
		})
	})
}

// checkBalancers makes up a group, with draw for a number below n, and looks at
// what the balancers make of it.
func checkBalancers(t *testing.T, draw func(n int) int) {
	var members []Member
	var parts []Position
	even := draw(2) == 0
	topics := 1 + draw(4)
	for i := range topics {
		for id := range draw(7) {
			parts = append(parts, Position{Topic: fmt.Sprintf("t%d", i), Partition: int32(id)})
		}
	}
	for i := range 1 + draw(6) {
		m := Member{ID: fmt.Sprintf("m%d", i)}
		for n := range topics {
			if even || draw(2) == 0 {
				m.Topics = append(m.Topics, fmt.Sprintf("t%d", n))
			}
		}
		members = append(members, m)
	}
	for _, p := range parts { // also those of topics that the member no longer wants
		if m := draw(len(members) + 1); m < len(members) {
			members[m].Owned = append(members[m].Owned, p)
		}
	}
	for _, b := range []Balancer{Sticky, RoundRobin, Range} {
		given := b.Assign(members, parts)
		checkGiven(t, members, parts, given)
		require.Equal(t, given, b.Assign(members, parts), "it is not always the same")
		if even && b != Range {
			low, high := len(parts), 0
			for _, list := range given {
				low, high = min(low, len(list)), max(high, len(list))
			}
			require.LessOrEqual(t, high-low, 1, "%v: %s", b, assignmentText(given))
		}
	}
	given := Sticky.Assign(members, parts)
	checkEven(t, members, given)
	if even {
		require.Equal(t, mostKept(members, len(parts)), kept(members, given), "%s", assignmentText(given))
	}
	again := slices.Clone(members)
	for i := range again {
		again[i].Owned = slices.SortedFunc(slices.Values(given[again[i].ID]), comparePositions)
	}
	second := Sticky.Assign(again, parts)
	all := 0
	for _, list := range given {
		all += len(list)
	}
	require.Equal(t, all, kept(again, second), "what is even moves: %s, then %s", assignmentText(given), assignmentText(second))
}

// checkGiven: each partition that anybody wants is given to one who wants it, and
// nothing else.
func checkGiven(t *testing.T, members []Member, parts []Position, given map[string][]Position) {
	wanted := map[Position]bool{}
	for _, p := range parts {
		for _, m := range members {
			if slices.Contains(m.Topics, p.Topic) {
				wanted[p] = true
			}
		}
	}
	for id, list := range given {
		i := slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
		require.GreaterOrEqual(t, i, 0)
		for _, p := range list {
			require.True(t, wanted[p], "%v is given twice, or to anybody: %s", p, assignmentText(given))
			require.Contains(t, members[i].Topics, p.Topic)
			delete(wanted, p)
		}
	}
	require.Empty(t, wanted, "nobody gets these")
}

// checkEven: there is no chain of members, each of which could have a partition of
// the one before, from one to another that has two less.
func checkEven(t *testing.T, members []Member, given map[string][]Position) {
	n := len(members)
	can := make([][]bool, n)
	for i := range members {
		can[i] = make([]bool, n)
		for _, p := range given[members[i].ID] {
			for j := range members {
				can[i][j] = can[i][j] || slices.Contains(members[j].Topics, p.Topic)
			}
		}
	}
	for k := range n {
		for i := range n {
			for j := range n {
				can[i][j] = can[i][j] || can[i][k] && can[k][j]
			}
		}
	}
	for i := range n {
		for j := range n {
			if can[i][j] {
				a, b := len(given[members[i].ID]), len(given[members[j].ID])
				require.LessOrEqual(t, a-b, 1, "%s could give to %s: %s", members[i].ID, members[j].ID, assignmentText(given))
			}
		}
	}
}

// kept is how many partitions stay where they are.
func kept(members []Member, given map[string][]Position) int {
	n := 0
	for _, m := range members {
		for _, p := range m.Owned {
			if slices.Contains(given[m.ID], p) {
				n++
			}
		}
	}
	return n
}

// mostKept is how many of n partitions can stay, if all members have subscribed to
// all of them: the larger shares are for those who have the most.
func mostKept(members []Member, n int) int {
	var has []int
	for _, m := range members {
		has = append(has, len(m.Owned))
	}
	slices.Sort(has)
	slices.Reverse(has)
	most := 0
	for i, h := range has {
		share := n / len(members)
		if i < n%len(members) {
			share++
		}
		most += min(h, share)
	}
	return most
}

// TestStickyMix: of members that want different things, what Sticky gives is as
// even as any assignment, found by trying all of them, and what stays is close to the most
// that can.
func TestStickyMix(t *testing.T) {
	missed, all := 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		members, parts := balanceCase([]string{"a: ", "b: ", "c: "}, "t0: 2", "t1: 3", "t2: 2")
		for i := range members {
			for _, name := range []string{"t0", "t1", "t2"} {
				if r.IntN(3) > 0 {
					members[i].Topics = append(members[i].Topics, name)
				}
			}
		}
		for _, p := range parts {
			if m := r.IntN(4); m < 3 && slices.Contains(members[m].Topics, p.Topic) {
				members[m].Owned = append(members[m].Owned, p)
			}
		}
		given := Sticky.Assign(members, parts)
		cost := func(given map[string][]Position) (sum int) {
			for _, list := range given {
				sum += len(list) * len(list)
			}
			return sum
		}
		best, most := 1<<30, 0
		tried := map[string][]Position{}
		var try func(i int)
		try = func(i int) {
			if i == len(parts) {
				c, k := cost(tried), kept(members, tried)
				if c < best || c == best && k > most {
					best, most = c, k
				}
				return
			}
			nobody := true
			for _, m := range members {
				if slices.Contains(m.Topics, parts[i].Topic) {
					nobody = false
					tried[m.ID] = append(tried[m.ID], parts[i])
					try(i + 1)
					tried[m.ID] = tried[m.ID][:len(tried[m.ID])-1]
				}
			}
			if nobody {
				try(i + 1)
			}
		}
		try(0)
		require.Equal(t, best, cost(given), "seed %d: %s", seed, assignmentText(given))
		all += most
		missed += most - kept(members, given)
	}
	t.Logf("%d of %d more could have stayed", missed, all)
	require.LessOrEqual(t, missed*50, all)
}

// TestStickyScale: ten thousand partitions and a hundred members, of which each
// wants others, are no trouble. It hangs if they are.
func TestStickyScale(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	var members []Member
	var parts []Position
	for i := range 1000 {
		for id := range int32(10) {
			parts = append(parts, Position{Topic: fmt.Sprintf("t%03d", i), Partition: id})
		}
	}
	for i := range 100 {
		m := Member{ID: fmt.Sprintf("m%02d", i)}
		for n := range 1000 {
			if r.IntN(2) == 0 {
				m.Topics = append(m.Topics, fmt.Sprintf("t%03d", n))
			}
		}
		members = append(members, m)
	}
	given := Sticky.Assign(members, parts)
	for i := range members {
		members[i].Owned = slices.SortedFunc(slices.Values(given[members[i].ID]), comparePositions)
		require.Len(t, members[i].Owned, 100)
	}
	members[7].Owned = nil // as one who has just joined
	given = Sticky.Assign(members, parts)
	require.Equal(t, 9900, kept(members, given))
}
