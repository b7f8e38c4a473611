package leat

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// floorModel is a topic with a segment a record, and what is to be left of it.
type floorModel struct {
	t      *testing.T
	random *rand.Rand
	mem    *vfs.Mem
	st     *Store
	c      TopicConfig
	parts  []floorPart
	forced int // records that went though they were not committed
	held   int // that stayed because they were not
}

type floorPart struct {
	start, end int64
	committed  map[string]int64
}

var floorGroups = []string{"a", "b", "c"}

// TestRetentionFloorModel: whatever is appended, committed, reset, deleted and
// configured, a pass of retention takes what the rules say and nothing else.
func TestRetentionFloorModel(t *testing.T) {
	rounds, ops := 4, 250
	if os.Getenv("LEAT_LONG") != "" {
		rounds, ops = 100, 2000
	}
	forced, held := 0, 0
	for seed := range uint64(rounds) {
		g := &floorModel{t: t, random: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem(), c: forGroups(Unlimited, "a")}
		g.c.Partitions = 2
		g.open()
		_, err := g.st.CreateTopic(ctx, "orders", g.c)
		require.NoError(t, err)
		for range g.c.Partitions {
			g.parts = append(g.parts, floorPart{committed: map[string]int64{}})
		}
		for i := range ops {
			what := g.step()
			for id := range g.parts {
				p := g.partition(id)
				require.Equal(t, [2]int64{g.parts[id].start, g.parts[id].end}, [2]int64{p.LogStartOffset(), p.LogEndOffset()},
					"seed %d, step %d: %s, partition %d, %v, %+v", seed, i, what, id, g.c.Retention, g.parts[id])
			}
		}
		require.NoError(t, g.st.Close())
		forced, held = forced+g.forced, held+g.held
	}
	require.Greater(t, forced, 10)
	require.Greater(t, held, 10)
}

func (g *floorModel) open() {
	st, err := openFS(g.mem, nil)
	require.NoError(g.t, err)
	g.st = st
}

func (g *floorModel) partition(id int) *Partition {
	tp, err := g.st.Topic("orders")
	require.NoError(g.t, err)
	p, err := tp.Partition(int32(id))
	require.NoError(g.t, err)
	return p
}

// step does something, and says what.
func (g *floorModel) step() string {
	id := g.random.IntN(len(g.parts))
	p := &g.parts[id]
	group := floorGroups[g.random.IntN(len(floorGroups))]
	switch n := g.random.IntN(100); {
	case n < 35:
		more := 1 + g.random.IntN(4)
		kilobytes(g.t, g.partition(id), more)
		p.end += int64(more)
		return fmt.Sprint("append ", more)
	case n < 60:
		was, ok := p.committed[group]
		if !ok || g.random.IntN(5) == 0 {
			was = g.random.Int64N(p.end + 1)
		}
		p.committed[group] = min(was+g.random.Int64N(6), p.end)
		commitAs(g.t, g.st, group, spot("orders", int32(id), p.committed[group]))
		return "commit of " + group
	case n < 64:
		changes, err := g.st.Groups().Reset(ctx, group, ResetOptions{Shift: g.random.Int64N(9) - 4, Partitions: []Position{spot("orders", int32(id), 0)}})
		if err == nil { // else there is nothing to shift
			p.committed[group] = changes[0].To
		}
		return "reset of " + group
	case n < 66:
		if g.st.Groups().Delete(ctx, group) == nil {
			for i := range g.parts {
				delete(g.parts[i].committed, group)
			}
		}
		return "deletion of " + group
	case n < 72:
		r := &g.c.Retention
		r.Bytes = 970 * int64(1+g.random.IntN(4))
		r.GroupsBytes = Unlimited
		if g.random.IntN(2) == 0 {
			r.GroupsBytes = 970*int64(g.random.IntN(6)) + g.random.Int64N(2) + 1
		}
		r.Groups = slices.Clone(floorGroups[:g.random.IntN(len(floorGroups)+1)])
		require.NoError(g.t, g.partition(id).Topic().SetConfig(ctx, g.c))
		return "configuration"
	case n < 76:
		require.NoError(g.t, g.st.Close())
		g.open()
		return "reopened"
	}
	_, err := g.st.Retain(ctx)
	require.NoError(g.t, err)
	for i := range g.parts {
		g.retain(&g.parts[i])
	}
	return "retention"
}

// retain is what a pass does to a partition.
func (g *floorModel) retain(p *floorPart) {
	r := g.c.Retention
	may := max(p.end-p.start-(r.Bytes+969)/970, 0)
	if len(r.Groups) > 0 {
		floor := p.end
		for _, group := range r.Groups {
			floor = min(floor, p.committed[group]) // 0 when there is none
		}
		free := min(max(floor-p.start, 0), may)
		kept := may - free
		if r.GroupsBytes >= 0 {
			kept = min(kept, r.GroupsBytes/970)
		}
		g.held += int(kept)
		g.forced += int(may - free - kept)
		may -= kept
	}
	p.start += may
}
