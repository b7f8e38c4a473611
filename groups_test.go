package leat

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// spot is a position.
func spot(topic string, partition int32, offset int64) Position {
	return Position{Topic: topic, Partition: partition, Offset: offset}
}

// commitAs commits for a group that has no members here.
func commitAs(t testing.TB, st *Store, group string, list ...Position) {
	t.Helper()
	require.NoError(t, st.Groups().Commit(ctx, Fence{Group: group, Generation: -1}, list...))
}

// twoTopics has orders with 3 partitions of 10 records, and mail with one of 5.
func twoTopics(t testing.TB, st *Store) (orders, mail *Topic) {
	t.Helper()
	orders, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 3})
	require.NoError(t, err)
	for p := range orders.Partitions() {
		fill(t, p, 10)
	}
	return orders, part(t, st, "mail", TopicConfig{}).Topic()
}

// TestGroupsCommitAndFetch: what is committed is what is fetched, also after the
// store was opened again, and by a follower.
func TestGroupsCommitAndFetch(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	g := st.Groups()
	twoTopics(t, st)
	names, err := g.List(ctx)
	require.NoError(t, err)
	require.Empty(t, names)
	got, err := g.Fetch(ctx, "nobody", true, spot("orders", 1, 77), spot("gone", 0, 0))
	require.NoError(t, err)
	require.Equal(t, []Position{spot("orders", 1, -1), spot("gone", 0, -1)}, got)

	withText := spot("orders", 2, 10)
	withText.Metadata = "host a"
	commitAs(t, st, "mailer", spot("orders", 0, 4), withText)
	commitAs(t, st, "mailer", spot("orders", 0, 5))
	commitAs(t, st, "audit", spot("mail", 0, 0))
	check := func(st *Store) {
		t.Helper()
		g := st.Groups()
		names, err := g.List(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"audit", "mailer"}, names)
		got, err := g.Fetch(ctx, "mailer", true)
		require.NoError(t, err)
		require.Equal(t, []Position{spot("orders", 0, 5), withText}, got)
		got, err = g.Fetch(ctx, "mailer", false, spot("orders", 2, 0), spot("orders", 1, 0))
		require.NoError(t, err)
		require.Equal(t, []Position{withText, spot("orders", 1, -1)}, got)
	}
	check(st)
	check(followStore(t, m))
	require.NoError(t, st.Close())
	_, err = g.List(ctx)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, g.Commit(ctx, Fence{Group: "mailer"}, spot("orders", 0, 4)), ErrClosed)
	require.ErrorIs(t, g.Delete(ctx, "mailer"), ErrClosed)
	_, err = g.Describe(ctx, "mailer")
	require.ErrorIs(t, err, ErrClosed)
	check(openStore(t, m, nil))
}

// TestGroupsBadInput: each is a clear error, and nothing is committed.
func TestGroupsBadInput(t *testing.T) {
	st := memStore(t)
	orders, _ := twoTopics(t, st)
	p, err := orders.Partition(1)
	require.NoError(t, err)
	require.NoError(t, p.DeleteRecords(ctx, 6))
	g := st.Groups()
	large := spot("orders", 0, 1)
	large.Metadata = strings.Repeat("x", 4097)
	for _, c := range []struct {
		group string
		at    Position
		want  error
	}{
		{"", spot("orders", 0, 1), ErrNoGroup},
		{strings.Repeat("g", 32768), spot("orders", 0, 1), ErrInvalidConfig},
		{"g", spot("orders", 0, 11), ErrOffsetOutOfRange},
		{"g", spot("orders", 0, -1), ErrOffsetOutOfRange},
		{"g", spot("orders", 3, 0), ErrUnknownPartition},
		{"g", spot("orders", -1, 0), ErrUnknownPartition},
		{"g", spot("nothing", 0, 0), ErrUnknownTopic},
		{"g", spot("", 0, 0), ErrUnknownTopic},
		{"g", large, ErrMetadataTooLarge},
	} {
		err := g.Commit(ctx, Fence{Group: c.group}, spot("orders", 2, 3), c.at)
		require.ErrorIs(t, err, c.want)
		require.Less(t, len(err.Error()), 500)
	}
	names, err := g.List(ctx)
	require.NoError(t, err)
	require.Empty(t, names, "a commit is all or nothing")
	for _, f := range []func() error{
		func() error { _, err := g.Describe(ctx, ""); return err },
		func() error { _, err := g.Fetch(ctx, "", false); return err },
		func() error { _, err := g.Reset(ctx, "", ResetOptions{}); return err },
		func() error { _, err := g.Reset(ctx, "", ResetOptions{DryRun: true}); return err },
		func() error { return g.Delete(ctx, "") },
		func() error { return g.Export(ctx, &strings.Builder{}, "") },
	} {
		require.ErrorIs(t, f(), ErrNoGroup)
	}
	for _, f := range []func() error{
		func() error { _, err := g.Describe(ctx, "nobody"); return err },
		func() error { _, err := g.Lag(ctx, "nobody"); return err },
		func() error { _, err := g.Reset(ctx, "nobody", ResetOptions{}); return err },
		func() error { return g.Delete(ctx, "nobody") },
		func() error { return g.DeleteOffsets(ctx, "nobody", "orders") },
		func() error { return g.Export(ctx, &strings.Builder{}, "nobody") },
	} {
		require.ErrorIs(t, f(), ErrUnknownGroup)
	}

	// Below the log start: what was done was done.
	commitAs(t, st, "g", spot("orders", 1, 2))
	got, err := g.Fetch(ctx, "g", true, spot("orders", 1, 0))
	require.NoError(t, err)
	require.Equal(t, []Position{spot("orders", 1, 2)}, got)
	lag, err := g.Lag(ctx, "g")
	require.NoError(t, err)
	require.EqualValues(t, 4, lag.Records, "what is gone is not to be read")
}

// strangeGroups are names that Kafka allows: all that is not empty.
var strangeGroups = []string{"ä", "a b", " ", ",", `"`, `a"",b`, "x\ny", "x\r\ny\r\n", "\x00\xff\xfe", "a/../b", "#", "=cmd", "\u2028", "a,orders,0,1", strings.Repeat("\n", 32767)}

// TestGroupsStrangeNames: they are kept, listed, described, exported and imported as
// they are.
func TestGroupsStrangeNames(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	twoTopics(t, st)
	for i, name := range strangeGroups {
		commitAs(t, st, name, spot("orders", 0, int64(i%10)), spot("orders", 1, 1))
	}
	r := followStore(t, m)
	for _, st := range []*Store{st, r} {
		names, err := st.Groups().List(ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, strangeGroups, names)
	}
	var all strings.Builder
	require.NoError(t, r.Groups().Export(ctx, &all))
	for i, name := range strangeGroups {
		info, err := st.Groups().Describe(ctx, name)
		require.NoError(t, err)
		require.Equal(t, name, info.Group)
		require.EqualValues(t, 10-i%10+9, info.Lag.Records)
		require.NoError(t, st.Groups().Delete(ctx, name))
	}
	changes, err := st.Groups().Import(ctx, strings.NewReader(all.String()), ImportOptions{})
	require.NoError(t, err)
	require.Len(t, changes, 2*len(strangeGroups))
	for i, name := range strangeGroups {
		got, err := st.Groups().Fetch(ctx, name, true)
		require.NoError(t, err)
		require.Equal(t, []Position{spot("orders", 0, int64(i%10)), spot("orders", 1, 1)}, got, "%.40q", name)
	}
}

// TestGroupsFence: a commit of a generation lower than the last seen is refused, also
// after a restart.
func TestGroupsFence(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	twoTopics(t, st)
	commit := func(generation int32, offset int64) error {
		return st.Groups().Commit(ctx, Fence{"g", "m1", generation}, spot("orders", 0, offset))
	}
	require.NoError(t, commit(0, 1))
	require.NoError(t, commit(3, 2))
	require.NoError(t, commit(3, 3))
	err = commit(2, 4)
	require.ErrorIs(t, err, ErrRebalanced)
	require.ErrorContains(t, err, `"m1" of group "g" is of generation 2, and 3 has been seen`)
	require.ErrorIs(t, commit(0, 4), ErrRebalanced)
	require.NoError(t, commit(-1, 4), "it is of no generation")
	require.ErrorIs(t, commit(2, 4), ErrRebalanced)
	require.Empty(t, st.generations.byGroup, "nothing is left of commits that are over")
	info, err := st.Groups().Describe(ctx, "g")
	require.NoError(t, err)
	require.EqualValues(t, 3, info.Generation)
	require.Equal(t, GroupEmpty, info.State)
	require.NoError(t, st.Close())

	st = openStore(t, m, nil)
	require.ErrorIs(t, commit(2, 4), ErrRebalanced)
	require.NoError(t, commit(3, 5))
	require.NoError(t, commit(1<<31-1, 6))
	require.ErrorIs(t, commit(1<<31-2, 5), ErrRebalanced)
	got, err := st.Groups().Fetch(ctx, "g", true)
	require.NoError(t, err)
	require.Equal(t, []Position{spot("orders", 0, 6)}, got)

	// A commit of a later generation that fails was seen all the same.
	other := func(generation int32, offset int64) error {
		return st.Groups().Commit(ctx, Fence{Group: "h", Generation: generation}, spot("orders", 0, offset))
	}
	require.ErrorIs(t, other(9, 99), ErrOffsetOutOfRange)
	require.ErrorIs(t, other(8, 1), ErrRebalanced)
	require.NoError(t, st.Groups().Delete(ctx, "h"))
	require.NoError(t, other(1, 1), "a group that was deleted begins anew")
}

// TestGroupsFenceCrash: the generation is durable with the commit, whatever a power
// cut takes.
func TestGroupsFenceCrash(t *testing.T) {
	m := vfs.NewCrashMem()
	st := openStore(t, m, nil)
	twoTopics(t, st)
	require.NoError(t, st.Groups().Commit(ctx, Fence{Group: "g", Generation: 7}, spot("orders", 0, 2)))
	cut := m.CrashClone(vfs.Choice{}) // nothing that was not synced
	st2 := openStore(t, cut, nil)
	require.ErrorIs(t, st2.Groups().Commit(ctx, Fence{Group: "g", Generation: 6}, spot("orders", 0, 1)), ErrRebalanced)
	got, err := st2.Groups().Fetch(ctx, "g", true)
	require.NoError(t, err)
	require.Equal(t, []Position{spot("orders", 0, 2)}, got)
}

// TestGroupsFenceConcurrent: whatever comes at the same time, what is committed in
// the end is of the last generation that was committed.
func TestGroupsFenceConcurrent(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{Durability: Written})
	_, err := p.Append(ctx, make([]Record, 64)...)
	require.NoError(t, err)
	const generations = 60
	var (
		work    sync.WaitGroup
		mu      sync.Mutex
		highest = int32(-1)
	)
	for i := range 8 {
		work.Go(func() {
			for n := int32(1); n <= generations; n++ {
				generation := n
				if i%2 == 1 && n > 3 {
					generation = n - 3 // late
				}
				err := st.Groups().Commit(ctx, Fence{Group: "g", Generation: generation}, spot("orders", 0, int64(generation)))
				switch {
				case err == nil:
					mu.Lock()
					highest = max(highest, generation)
					mu.Unlock()
					// From here on nothing older may be seen.
					got, err := st.Groups().Fetch(ctx, "g", false, spot("orders", 0, 0))
					if err != nil || got[0].Offset < int64(generation) {
						t.Errorf("generation %d was committed, and then there is %v, %v", generation, got, err)
					}
				case !errors.Is(err, ErrRebalanced):
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	require.EqualValues(t, generations, highest)
	require.Empty(t, st.generations.byGroup)
}

// TestGroupsDescribe: what is committed, when and of which epoch, what there is in
// the log, and how far behind each partition and the group is.
func TestGroupsDescribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st := openStore(t, m, nil)
		orders, _ := twoTopics(t, st)
		p, err := orders.Partition(1)
		require.NoError(t, err)
		require.NoError(t, p.DeleteRecords(ctx, 2))
		time.Sleep(90 * time.Second)
		begun := time.Now()
		commitAs(t, st, "mailer", spot("orders", 0, 10), spot("orders", 1, 4), spot("mail", 0, 0))
		require.NoError(t, st.DeleteTopic(ctx, "mail"))
		time.Sleep(10 * time.Second)
		for _, st := range []*Store{st, followStore(t, m)} {
			info, err := st.Groups().Describe(ctx, "mailer")
			require.NoError(t, err)
			require.Equal(t, GroupEmpty, info.State)
			require.Empty(t, info.Members)
			require.Len(t, info.Partitions, 2, "the deleted topic's are gone")
			a, b := info.Partitions[0], info.Partitions[1]
			require.Equal(t, spot("orders", 0, 10), a.Position)
			require.Equal(t, begun.UnixMilli(), a.CommitTime.UnixMilli())
			require.True(t, a.Expires.IsZero())
			require.Zero(t, a.Lag)
			require.NoError(t, a.Err)
			require.Equal(t, spot("orders", 1, 4), b.Position)
			require.Equal(t, int64(2), b.LogStartOffset)
			require.Equal(t, int64(10), b.LogEndOffset)
			require.EqualValues(t, 6, b.Lag.Records)
			require.Equal(t, 100*time.Second, b.Lag.Time)
			require.Equal(t, int64(0), int64(b.LeaderEpoch))
			require.Equal(t, b.Lag, info.Lag)
			lag, err := st.Groups().Lag(ctx, "mailer")
			require.NoError(t, err)
			require.Equal(t, info.Lag, lag)
			require.Equal(t, fmt.Sprintf("mailer: Empty, generation 0, 0 members, 2 partitions, behind by %v", lag), info.String())
		}
		require.NoError(t, st.Close())
	})
}

// TestGroupsDescribeMembers: who they are, what they have, and how far they are
// behind where they have not committed; and what a follower is told of them. Members
// alone commit, and keep the group from being reset, deleted and imported.
func TestGroupsDescribeMembers(t *testing.T) {
	m := vfs.NewMem()
	st := openStore(t, m, nil)
	twoTopics(t, st)
	g := st.Groups()
	member, err := st.join(ctx, &ConsumerConfig{Group: "mailer", Member: "m1", Topics: []string{"orders"}}, func() {})
	require.NoError(t, err)
	member.enter()
	for {
		c, ok := member.change()
		if !ok {
			break
		}
		require.NoError(t, c.err)
	}
	commitAs(t, st, "audit", spot("orders", 0, 1))
	names, err := g.List(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"audit", "mailer"}, names)
	info, err := g.Describe(ctx, "mailer")
	require.NoError(t, err)
	require.Equal(t, GroupStable, info.State)
	require.Equal(t, member.generation(), info.Generation)
	require.NotEmpty(t, info.Protocol)
	require.Len(t, info.Members, 1)
	require.Equal(t, "m1", info.Members[0].ID)
	require.Equal(t, []string{"orders"}, info.Members[0].Topics)
	require.True(t, info.Members[0].Away.IsZero())
	require.Equal(t, []Position{spot("orders", 0, 0), spot("orders", 1, 0), spot("orders", 2, 0)}, info.Members[0].Owned)
	require.Len(t, info.Partitions, 3)
	for _, p := range info.Partitions {
		require.Equal(t, "m1", p.Member)
		require.EqualValues(t, -1, p.Offset)
		require.EqualValues(t, 10, p.Lag.Records)
		require.True(t, p.CommitTime.IsZero())
	}
	require.EqualValues(t, 30, info.Lag.Records)

	awaitSaved(st, "mailer")
	f := followStore(t, m)
	told, err := f.Groups().Describe(ctx, "mailer")
	require.NoError(t, err)
	require.Equal(t, info.Members[0].Owned, told.Members[0].Owned)
	require.Equal(t, info.Members[0].Topics, told.Members[0].Topics)
	require.Equal(t, GroupStable, told.State)
	require.Equal(t, info.Lag.Records, told.Lag.Records)
	_, err = f.Groups().Reset(ctx, "mailer", ResetOptions{DryRun: true, Topics: []string{"orders"}})
	require.ErrorIs(t, err, ErrGroupNotEmpty)

	err = g.Commit(ctx, Fence{Group: "mailer", Generation: 1000}, spot("orders", 0, 1))
	require.ErrorIs(t, err, ErrRebalanced)
	require.ErrorIs(t, err, ErrGroupNotEmpty)
	for _, dry := range []bool{false, true} {
		_, err = g.Reset(ctx, "mailer", ResetOptions{Topics: []string{"orders"}, DryRun: dry})
		require.ErrorIs(t, err, ErrGroupNotEmpty)
		_, err = g.Import(ctx, strings.NewReader("audit,orders,0,2\nmailer,orders,0,1\n"), ImportOptions{DryRun: dry})
		require.ErrorIs(t, err, ErrGroupNotEmpty)
	}
	require.ErrorIs(t, g.Delete(ctx, "mailer"), ErrGroupNotEmpty)
	require.ErrorIs(t, g.DeleteOffsets(ctx, "mailer", "orders"), ErrGroupNotEmpty)
	got, err := g.Fetch(ctx, "audit", true)
	require.NoError(t, err)
	require.Equal(t, []Position{spot("orders", 0, 1)}, got, "an import is all or nothing")

	member.close()
	commitAs(t, st, "mailer", spot("orders", 0, 3))
	info, err = g.Describe(ctx, "mailer")
	require.NoError(t, err)
	require.Equal(t, GroupEmpty, info.State)
	require.NoError(t, g.Delete(ctx, "mailer"))
	_, err = g.Describe(ctx, "mailer")
	require.ErrorIs(t, err, ErrUnknownGroup)
}

// TestGroupsUnstable: an offset that a transaction is about to replace is refused to
// those who ask for a stable one.
func TestGroupsUnstable(t *testing.T) {
	c := committed{offset: 4, epoch: 1, metadata: "x", unstable: true}
	_, err := position(tpOf("orders", 2), &c, true)
	require.ErrorIs(t, err, ErrUnstableOffset)
	require.ErrorContains(t, err, "orders-2")
	got, err := position(tpOf("orders", 2), &c, false)
	require.NoError(t, err)
	require.Equal(t, Position{"orders", 2, 4, "x"}, got)
}

// TestGroupsDelete: a group goes whole, or what it has committed in some topics; it is
// gone after a restart, too.
func TestGroupsDelete(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	twoTopics(t, st)
	g := st.Groups()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, g.Commit(ctx, Fence{Group: name, Generation: 5}, spot("orders", 0, 1), spot("orders", 2, 1), spot("mail", 0, 0)))
	}
	require.ErrorIs(t, g.DeleteOffsets(ctx, "a", "mail", "nothing"), ErrUnknownTopic)
	require.NoError(t, g.DeleteOffsets(ctx, "a"))
	got, err := g.Fetch(ctx, "a", true)
	require.NoError(t, err)
	require.Len(t, got, 3, "nothing was deleted")
	require.NoError(t, g.DeleteOffsets(ctx, "a", "orders"))
	require.NoError(t, g.Delete(ctx, "b"))
	for range 2 {
		got, err := st.Groups().Fetch(ctx, "a", true)
		require.NoError(t, err)
		require.Equal(t, []Position{spot("mail", 0, 0)}, got)
		names, err := st.Groups().List(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, names)
		require.NoError(t, st.Close())
		st, err = openFS(m, nil)
		require.NoError(t, err)
	}
	require.ErrorIs(t, st.Groups().Commit(ctx, Fence{Group: "a", Generation: 4}, spot("mail", 0, 0)), ErrRebalanced, "the group itself is there")
	require.NoError(t, st.Groups().Delete(ctx, "a"))
	require.ErrorIs(t, st.Groups().Delete(ctx, "a"), ErrUnknownGroup)
	require.NoError(t, st.Close())
}

// TestGroupsDamaged: a group whose part of __consumer_offsets is damaged cannot be
// described or changed, and the error says where.
func TestGroupsDamaged(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	twoTopics(t, st)
	commitAs(t, st, "g", spot("orders", 0, 1))
	commitAs(t, st, "g", spot("orders", 0, 2))
	require.NoError(t, st.Close())
	damageOffsets(t, m)
	st = openStore(t, m, nil)
	g := st.Groups()
	_, err = g.Describe(ctx, "g")
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = g.Fetch(ctx, "g", false)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = g.Reset(ctx, "g", ResetOptions{Topics: []string{"orders"}})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, g.Export(ctx, &strings.Builder{}, "g"), ErrCorrupt)
	require.ErrorIs(t, g.Delete(ctx, "g"), ErrCorrupt)
	require.Error(t, g.Commit(ctx, Fence{Group: "g"}, spot("orders", 0, 3)))
}

// damageOffsets writes over the first batch of __consumer_offsets, in a store that
// was closed, so that the next open finds it.
func damageOffsets(t *testing.T, m *vfs.Mem) {
	t.Helper()
	f, err := m.Open(offsetsTopic+"-0/00000000000000000000.log", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 70)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
