package leat

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// groupModel does at random what members of a group and administrators do, and
// looks after every step whether what must hold holds.
type groupModel struct {
	t          *testing.T
	r          *rand.Rand
	m          *vfs.Mem
	st         *Store
	actors     []*modelActor
	topics     map[string]int32
	commits    []modelCommit
	generation int32
	made       int
	trace      []string
}

const modelTimeout = time.Minute

type modelActor struct {
	*actor
	config  ConsumerConfig
	inside  bool      // in Poll, waiting
	since   time.Time // when it left, or was told something; zero: inside and at nothing
	at      change    // it is at this, in a callback
	evicted bool      // it must be by now
	gained  map[log.TopicPartition]bool
	gaveUp  map[log.TopicPartition]bool
}

type modelCommit struct {
	by      *modelActor
	parts   []log.TopicPartition
	release func()
}

// TestGroupModel: whatever members and administrators do, a partition never has
// two owners, nobody loses one without being told, and in the end each has one.
func TestGroupModel(t *testing.T) {
	seeds := uint64(60)
	if os.Getenv("LEAT_LONG") != "" {
		seeds = 5000
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			g := &groupModel{t: t, r: rand.New(rand.NewPCG(seed, 5)), m: vfs.NewMem(), topics: map[string]int32{}}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d: %s", seed, strings.Join(g.trace[max(0, len(g.trace)-25):], "; "))
				}
			}()
			g.open()
			defer func() { require.NoError(t, g.st.Close()) }()
			g.create("a")
			for range 25 {
				g.round()
			}
		})
		if t.Failed() {
			return
		}
	}
}

func (g *groupModel) note(format string, args ...any) {
	g.trace = append(g.trace, fmt.Sprintf(format, args...))
}

func (g *groupModel) open() {
	st, err := openFS(g.m, nil)
	require.NoError(g.t, err)
	g.st = st
}

// round does one thing or several in a group where nothing is on its way, and
// waits until nothing is again.
func (g *groupModel) round() {
	n := 1
	if g.r.IntN(2) == 0 {
		n += g.r.IntN(12)
	}
	before := map[*modelActor][]log.TopicPartition{}
	for _, a := range g.actors {
		before[a] = a.parts()
		clear(a.gained)
		clear(a.gaveUp)
	}
	generation := g.generation
	for range n {
		g.step()
		g.look()
	}
	g.settle()
	g.look()
	g.settled()
	if n > 1 {
		return
	}
	// After one thing, everybody has what Sticky makes of what they had.
	var members []Member
	var parts []Position
	moved := len(before) != len(g.actors) && len(g.actors) > 0
	for name, n := range g.topics {
		for id := range n {
			parts = append(parts, Position{Topic: name, Partition: id})
		}
	}
	slices.SortFunc(parts, comparePositions)
	for _, a := range g.sorted() {
		m := Member{ID: a.id, Topics: g.wanted(a)}
		for _, p := range before[a] {
			if p.Partition < g.topics[p.Topic] {
				m.Owned = append(m.Owned, Position{Topic: p.Topic, Partition: p.Partition})
			}
		}
		members = append(members, m)
		for p := range a.gaveUp {
			require.False(g.t, a.gained[p], "%s has given up %v for nothing", a.id, p)
		}
		moved = moved || len(a.gaveUp)+len(a.gained) > 0
	}
	given := Sticky.Assign(members, wantedParts(members, parts))
	lostOut := false
	for _, a := range g.sorted() {
		lostOut = lostOut || a.evicted || len(a.said) > 0 && strings.HasPrefix(a.said[0], "lost")
	}
	if !lostOut {
		for _, a := range g.sorted() {
			var want []log.TopicPartition
			for _, p := range given[a.id] {
				want = append(want, tp(p.Topic, p.Partition))
			}
			slices.SortFunc(want, comparePartitions)
			require.Equal(g.t, len(want), len(a.has), "%s", a.id)
			require.ElementsMatch(g.t, want, a.parts(), "%s moves more than Sticky would", a.id)
		}
	}
	if moved {
		require.Greater(g.t, g.generation, generation)
	}
	for _, a := range g.actors {
		a.takes()
	}
}

func wantedParts(members []Member, parts []Position) (wanted []Position) {
	for _, p := range parts {
		if slices.ContainsFunc(members, func(m Member) bool { return slices.Contains(m.Topics, p.Topic) }) {
			wanted = append(wanted, p)
		}
	}
	return wanted
}

func (g *groupModel) sorted() []*modelActor {
	return slices.SortedFunc(slices.Values(g.actors), func(a, b *modelActor) int { return strings.Compare(a.id, b.id) })
}

// wanted are the topics that an actor has subscribed to, of those there are.
func (g *groupModel) wanted(a *modelActor) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(g.topics)) {
		if slices.Contains(a.config.Topics, name) ||
			a.config.Pattern != "" && regexp.MustCompile("^(?:"+a.config.Pattern+")$").MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

func (g *groupModel) pick() *modelActor {
	if len(g.actors) == 0 {
		return nil
	}
	return g.actors[g.r.IntN(len(g.actors))]
}

func (g *groupModel) step() {
	a := g.pick()
	switch n := g.r.IntN(24); {
	case n < 5 && len(g.actors) < 6:
		g.join()
	case n < 7 && a != nil:
		g.close(a)
	case n < 12 && a != nil:
		g.go_(a)
	case n < 15:
		g.pass()
	case n < 16:
		name := []string{"a", "ab", "abc", "b"}[g.r.IntN(4)]
		if _, found := g.topics[name]; found {
			g.note("delete %s", name)
			require.NoError(g.t, g.st.DeleteTopic(ctx, name))
			delete(g.topics, name)
		} else {
			g.create(name)
		}
	case n < 17 && len(g.topics) > 0:
		name := slices.Sorted(maps.Keys(g.topics))[g.r.IntN(len(g.topics))]
		if g.topics[name] < 8 {
			t, err := g.st.Topic(name)
			require.NoError(g.t, err)
			n := int32(1 + g.r.IntN(2))
			g.note("%d more of %s", n, name)
			require.NoError(g.t, t.AddPartitions(ctx, n))
			g.topics[name] += n
		}
	case n < 20 && a != nil && len(a.has) > 0:
		parts := a.parts()
		g.commit(a, parts[g.r.IntN(len(parts)):])
	case n < 22 && len(g.commits) > 0:
		g.committed(g.r.IntN(len(g.commits)))
	case n < 23 && g.r.IntN(4) == 0:
		g.restart()
	case a != nil:
		// A name that is taken, unless he who had it has timed out.
		if !a.evicted {
			c := a.config
			c.Member = a.id
			if len(g.wanted(a)) >= len(c.Topics) {
				_, err := tryJoin(g.t, g.st, c)
				require.ErrorIs(g.t, err, ErrMemberExists)
			}
		}
	}
}

func (g *groupModel) create(name string) {
	n := int32(1 + g.r.IntN(5))
	g.note("create %s of %d", name, n)
	_, err := g.st.CreateTopic(ctx, name, TopicConfig{Partitions: n, Durability: Written})
	require.NoError(g.t, err)
	g.topics[name] = n
}

func (g *groupModel) join() {
	c := ConsumerConfig{Group: "g", PollTimeout: modelTimeout}
	if g.r.IntN(3) == 0 {
		c.Pattern = []string{"a.*", "b|ab", ".*"}[g.r.IntN(3)]
	} else {
		for _, name := range slices.Sorted(maps.Keys(g.topics)) {
			if g.r.IntN(3) > 0 {
				c.Topics = append(c.Topics, name)
			}
		}
		if len(c.Topics) == 0 {
			c.Pattern = "a"
		}
	}
	if g.r.IntN(2) == 0 {
		g.made++
		c.Member = fmt.Sprintf("m%d", g.made)
	}
	a := &modelActor{
		actor: joinAs(g.t, g.st, c), config: c, since: time.Now(),
		gained: map[log.TopicPartition]bool{}, gaveUp: map[log.TopicPartition]bool{},
	}
	g.note("%s joins for %v%s", a.id, c.Topics, c.Pattern)
	g.actors = append(g.actors, a)
}

func (g *groupModel) close(a *modelActor) {
	g.note("%s leaves", a.id)
	a.close()
	clear(a.has)
	g.actors = slices.DeleteFunc(g.actors, func(o *modelActor) bool { return o == a })
}

// go_ has an actor do the next thing that it has to do.
func (g *groupModel) go_(a *modelActor) {
	switch {
	case a.at.revoke != nil && !a.at.lost: // it comes back from OnRevoke, or panics there
		g.note("%s has given up %v", a.id, a.at.revoke)
		for _, p := range a.at.revoke {
			delete(a.has, p)
			a.gaveUp[p] = true
		}
		a.revoked(a.at.revoke)
		a.at = change{}
	case !a.inside:
		g.note("%s enters", a.id)
		a.enter()
		a.inside, a.since = true, time.Time{}
	case g.r.IntN(4) == 0:
		g.note("%s returns", a.id)
		a.leave()
		a.inside, a.since = false, time.Now()
	default:
		g.change(a)
	}
}

// change asks what is new, and begins with it.
func (g *groupModel) change(a *modelActor) (any bool) {
	c, ok := a.change()
	a.at = change{}
	if !ok {
		a.since = time.Time{}
		return false
	}
	a.since = time.Now()
	if c.err != nil {
		g.note("%s is told %v", a.id, c.err)
		require.ErrorIs(g.t, c.err, ErrUnknownTopic)
		require.Empty(g.t, c.revoke)
		return true
	}
	g.note("%s revoke %v lost %v assign %d", a.id, c.revoke, c.lost, len(c.assign))
	if c.lost || len(c.revoke) == 0 {
		if c.lost {
			for _, p := range c.revoke {
				a.gaveUp[p] = true
			}
			a.evicted = false // it is on its way back
		}
		for _, p := range c.assign {
			at := tp(p.part.topic.name, p.part.id)
			a.gained[at] = true
			require.Contains(g.t, g.wanted(a), at.Topic)
			for _, commit := range g.commits {
				require.NotContains(g.t, commit.parts, at, "a commit of %s of it is under way", commit.by.id)
			}
		}
		a.evicted = false
		a.apply(c)
		return true
	}
	for _, p := range c.revoke {
		require.True(g.t, a.has[p], "%s does not have %v", a.id, p)
	}
	a.at = c
	return true
}

// pass lets time pass.
func (g *groupModel) pass() {
	d := time.Duration(g.r.Int64N(int64(40 * time.Second)))
	g.note("%v later", d)
	time.Sleep(d)
	synctest.Wait()
	for _, a := range g.actors {
		if !a.since.IsZero() && time.Since(a.since) >= modelTimeout {
			a.evicted = true
		}
	}
}

// commit begins a commit, which may only its owner.
func (g *groupModel) commit(a *modelActor, parts []log.TopicPartition) {
	release, err := a.fence(parts)
	for _, p := range parts {
		if a.evicted || p.Partition >= g.topics[p.Topic] {
			g.note("%s commits %v late", a.id, parts)
			if a.evicted {
				require.ErrorIs(g.t, err, ErrRebalanced)
			}
		}
	}
	if err == nil {
		g.note("%s commits %v", a.id, parts)
		g.commits = append(g.commits, modelCommit{a, parts, release})
	}
}

func (g *groupModel) committed(i int) {
	g.note("%s has committed %v", g.commits[i].by.id, g.commits[i].parts)
	g.commits[i].release()
	g.commits = slices.Delete(g.commits, i, i+1)
}

// restart closes the store and opens it again.
func (g *groupModel) restart() {
	g.note("restart")
	require.NoError(g.t, g.st.Close())
	for _, a := range g.actors {
		c, ok := a.change()
		require.True(g.t, ok)
		require.ErrorIs(g.t, c.err, ErrClosed)
		a.close()
		a.close()
	}
	for len(g.commits) > 0 {
		g.committed(0)
	}
	g.actors = nil
	g.open()
}

// look checks what holds at any time.
func (g *groupModel) look() {
	owners := map[log.TopicPartition]string{}
	for _, a := range g.actors {
		require.GreaterOrEqual(g.t, a.generation(), g.generation, "a generation falls")
		g.generation = a.generation()
		for name, n := range g.topics {
			for id := range n {
				p := tp(name, id)
				release, err := a.fence([]log.TopicPartition{p})
				if err != nil {
					require.ErrorIs(g.t, err, ErrRebalanced)
					if a.has[p] && !a.evicted {
						// Only of a topic that was deleted meanwhile, and made again.
						a.group.mu.Lock()
						lost := slices.Clone(a.lost)
						a.group.mu.Unlock()
						require.Contains(g.t, append(lost, a.at.revoke...), p, "%s has lost %v without being told", a.id, p)
					}
					continue
				}
				release()
				require.True(g.t, a.has[p], "%s may commit %v, which it was not given", a.id, p)
				require.False(g.t, a.evicted, "%s may commit %v, and has timed out", a.id, p)
				require.Empty(g.t, owners[p], "%v has two owners: %s too", p, a.id)
				owners[p] = a.id
			}
		}
	}
}

// settle has everybody do what there is to do. Who is in Poll and has done all
// waits to be woken.
func (g *groupModel) settle() {
	for len(g.commits) > 0 {
		g.committed(0)
	}
	for _, a := range g.actors {
		if a.at.revoke != nil && !a.at.lost {
			g.go_(a)
		}
		if !a.inside {
			a.enter()
			a.inside, a.since = true, time.Time{}
		}
		g.drain(a)
	}
	for again := true; again; {
		again = false
		for _, a := range g.actors {
			select {
			case <-a.wakes:
				g.drain(a)
				again = true
			default:
			}
		}
	}
}

func (g *groupModel) drain(a *modelActor) {
	for g.change(a) {
		if a.at.revoke != nil {
			g.go_(a)
		}
	}
	a.evicted = false
}

// settled checks what holds when nothing is on its way.
func (g *groupModel) settled() {
	owners := map[log.TopicPartition]string{}
	var members []Member
	given := map[string][]Position{}
	for _, a := range g.sorted() {
		members = append(members, Member{ID: a.id, Topics: g.wanted(a)})
		for p := range a.has {
			require.Empty(g.t, owners[p])
			owners[p] = a.id
			given[a.id] = append(given[a.id], Position{Topic: p.Topic, Partition: p.Partition})
		}
	}
	for name, n := range g.topics {
		for id := range n {
			wanted := false
			for _, m := range members {
				wanted = wanted || slices.Contains(m.Topics, name)
			}
			require.Equal(g.t, wanted, owners[tp(name, id)] != "", "%s-%d", name, id)
			delete(owners, tp(name, id))
		}
	}
	require.Empty(g.t, owners, "partitions that there are not")
	checkEven(g.t, members, given)
	live, found := g.st.liveGroup("g")
	require.Equal(g.t, len(members) > 0, found)
	if found {
		require.Equal(g.t, "Stable", live.state)
		require.Len(g.t, live.members, len(members))
		for i, m := range live.members {
			require.Equal(g.t, members[i].ID, m.id)
			require.Len(g.t, m.owned, len(given[m.id]))
			require.Zero(g.t, m.away)
		}
	}
}
