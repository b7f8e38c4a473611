package leat

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkRebalance is what a group takes for a member that joins, from then until
// each of the members has been brought to what is his now, each in his own Poll;
// and what Sticky alone takes of it.
func BenchmarkRebalance(b *testing.B) {
	for _, size := range []struct{ partitions, members int }{{1000, 16}, {10000, 100}} {
		st, err := OpenMem(nil)
		require.NoError(b, err)
		topics(b, st, map[string]int32{"orders": int32(size.partitions)})
		c := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
		var actors []*actor
		for range size.members - 1 {
			actors = append(actors, joinAs(b, st, c))
		}
		settle(b, actors...)
		name := fmt.Sprintf("partitions=%d/members=%d", size.partitions, size.members)
		b.Run("group/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				last := joinAs(b, st, c)
				reconcile(b, append(actors, last))
				if len(last.has) != size.partitions/size.members {
					b.Fatal("he has not got his share")
				}
				b.StopTimer()
				last.close()
				reconcile(b, actors)
				b.StartTimer()
			}
		})
		b.Run("balancer/"+name, func(b *testing.B) {
			var members []Member
			parts := make([]Position, size.partitions)
			for i := range parts {
				parts[i] = Position{Topic: "orders", Partition: int32(i)}
			}
			for i, a := range actors {
				m := Member{ID: fmt.Sprintf("m%03d", i), Topics: c.Topics}
				for _, p := range a.parts() {
					m.Owned = append(m.Owned, Position{Topic: p.Topic, Partition: p.Partition})
				}
				members = append(members, m)
			}
			members = append(members, Member{ID: "x", Topics: c.Topics})
			b.ReportAllocs()
			for b.Loop() {
				Sticky.Assign(members, parts)
			}
		})
		require.NoError(b, st.Close())
	}
}

// reconcile has everybody who has something to do do it, until nobody has.
func reconcile(b *testing.B, actors []*actor) {
	for again := true; again; {
		again = false
		for _, a := range actors {
			if !a.news.Load() {
				continue
			}
			again = true
			a.said = nil
			if errs := a.poll(); errs != nil {
				b.Fatal(errs)
			}
		}
	}
}
