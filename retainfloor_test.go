package leat

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// forGroups is a topic of segments of a record each, which keeps nothing but what
// groups have not committed.
func forGroups(limit int64, groups ...string) TopicConfig {
	return withRetention(kilobyteSegments, Retention{Age: Unlimited, Bytes: 1, Groups: groups, GroupsBytes: limit})
}

// TestRetentionFloor: what the slowest of the groups has not committed stays, in each
// partition for itself, also one that comes late, and one that never commits.
func TestRetentionFloor(t *testing.T) {
	st := memStore(t)
	c := forGroups(0, "fast", "slow")
	c.Partitions = 2
	tp, err := st.CreateTopic(ctx, "orders", c)
	require.NoError(t, err)
	other := part(t, st, "other", forGroups(0))
	ps := []*Partition{tp.handle(0), tp.handle(1)}
	for _, p := range append(ps, other) {
		kilobytes(t, p, 10)
	}
	starts := func(a, b int64) {
		t.Helper()
		_, err := st.Retain(ctx)
		require.NoError(t, err)
		require.Equal(t, []int64{a, b}, []int64{ps[0].LogStartOffset(), ps[1].LogStartOffset()})
	}
	starts(0, 0)
	require.EqualValues(t, 9, other.LogStartOffset(), "it names no groups")
	commitAs(t, st, "fast", spot("orders", 0, 10), spot("orders", 1, 10))
	starts(0, 0)
	commitAs(t, st, "nobody", spot("orders", 0, 10), spot("orders", 1, 10))
	commitAs(t, st, "slow", spot("orders", 0, 3))
	starts(3, 0)
	commitAs(t, st, "slow", spot("orders", 1, 7), spot("orders", 0, 1)) // it goes back, to what is gone
	starts(3, 7)
	commitAs(t, st, "slow", spot("orders", 0, 10), spot("orders", 1, 10))
	starts(9, 9) // by size, of one

	kilobytes(t, ps[0], 5)
	starts(10, 9)
	c.Retention.Groups = append(c.Retention.Groups, "late")
	require.NoError(t, tp.SetConfig(ctx, c))
	commitAs(t, st, "fast", spot("orders", 0, 15))
	commitAs(t, st, "slow", spot("orders", 0, 15))
	starts(10, 9)
	commitAs(t, st, "late", spot("orders", 0, 12))
	starts(12, 9)
	require.NoError(t, st.Groups().Delete(ctx, "late"))
	kilobytes(t, ps[0], 2)
	commitAs(t, st, "fast", spot("orders", 0, 17))
	commitAs(t, st, "slow", spot("orders", 0, 17))
	starts(12, 9)
	c.Retention.Groups = nil
	c.Retention.Groups = []string{}
	require.NoError(t, tp.SetConfig(ctx, c))
	starts(16, 9)
}

// TestRetentionFloorInside: a segment stays as long as one of its records is not
// committed.
func TestRetentionFloorInside(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", withRetention(TopicConfig{SegmentBytes: 4 << 10}, Retention{Age: Unlimited, Bytes: 1, Groups: []string{"g"}}))
	kilobytes(t, p, 12) // four a segment
	for _, c := range [][2]int64{{1, 0}, {3, 0}, {4, 4}, {7, 4}, {8, 8}, {12, 8}} {
		commitAs(t, st, "g", spot("orders", 0, c[0]))
		_, err := p.Topic().Retain(ctx)
		require.NoError(t, err)
		require.Equal(t, c[1], p.LogStartOffset(), "committed %d", c[0])
	}
}

// TestRetentionFloorLimit: a group that is dead holds back so much and no more, and
// what goes beyond it is said, to the Observer as well.
func TestRetentionFloorLimit(t *testing.T) {
	var said bytes.Buffer
	var told []string
	st := openStore(t, vfs.NewMem(), &Options{
		Logger: slog.New(slog.NewTextHandler(&said, nil)),
		Observer: &Observer{Delete: func(e Event) {
			told = append(told, fmt.Sprintf("%s-%d", e.Topic, e.Partition))
		}},
	})
	p := part(t, st, "orders", forGroups(5*970, "dead", "alive"))
	retain := func() Deleted {
		t.Helper()
		d, err := st.Retain(ctx)
		require.NoError(t, err)
		return d
	}
	kilobytes(t, p, 6)
	require.Zero(t, retain(), "of six, five would go")
	kilobytes(t, p, 1)
	require.Equal(t, 1, retain().Segments)
	require.EqualValues(t, 1, p.LogStartOffset())
	require.Contains(t, said.String(), "level=WARN")
	require.Contains(t, said.String(), `partition=orders-0 group=dead from=0 to=1 limit=4850`)
	require.Equal(t, []string{"orders-0"}, told)
	require.Zero(t, retain())

	commitAs(t, st, "alive", spot("orders", 0, 7))
	commitAs(t, st, "dead", spot("orders", 0, 3))
	said.Reset()
	require.Equal(t, 2, retain().Segments, "it has committed those")
	require.NotContains(t, said.String(), "WARN")
	kilobytes(t, p, 8)
	require.Equal(t, 6, retain().Segments)
	require.EqualValues(t, 9, p.LogStartOffset())
	require.Contains(t, said.String(), `group=dead from=3 to=9`)
	commitAs(t, st, "dead", spot("orders", 0, 15))
	said.Reset()
	commitAs(t, st, "alive", spot("orders", 0, 12))
	require.Equal(t, 3, retain().Segments)
	require.NotContains(t, said.String(), "WARN")
}

// TestRetentionFloorAge: in the background, of partitions that are open and of those
// that nobody has opened, which are opened only when something can go.
func TestRetentionFloorAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		hour := func(limit int64) TopicConfig {
			return withRetention(kilobyteSegments, Retention{Age: time.Hour, Groups: []string{"g"}, GroupsBytes: limit})
		}
		names := []string{"held", "limited", "committed"}
		for i, limit := range []int64{0, 4 * 970, 0} {
			p := part(t, st, names[i], hour(limit))
			for range 10 {
				kilobytes(t, p, 1)
				time.Sleep(time.Minute)
			}
		}
		commitAs(t, st, "g", spot("held", 0, 0), spot("committed", 0, 8))
		require.NoError(t, st.Close())

		st, err = openFS(m, nil)
		require.NoError(t, err)
		ps := map[string]*Partition{}
		for _, name := range names {
			tp, err := st.Topic(name)
			require.NoError(t, err)
			ps[name] = tp.handle(0)
		}
		state := func() (s string) {
			synctest.Wait()
			for _, name := range names {
				if l := ps[name].log.Load(); l != nil {
					s += fmt.Sprintf(" %s=%d", name, l.LogStartOffset())
				}
			}
			return s
		}
		// "held" was written in minutes 0 to 9, "limited" to 19, "committed" to 29; now
		// is 30.
		time.Sleep(40 * time.Minute)
		require.Empty(t, state(), "70: nothing is to go")
		time.Sleep(4 * time.Minute)
		require.Empty(t, state(), "74: four of limited may be held")
		time.Sleep(2 * time.Minute)
		require.Equal(t, " limited=1", state(), "76: a fifth is old")
		time.Sleep(time.Hour)
		require.Equal(t, " limited=6 committed=8", state())
		require.NoError(t, st.Groups().Commit(ctx, Fence{Group: "g"}, spot("held", 0, 10)))
		time.Sleep(6 * time.Minute)
		require.Equal(t, " held=10 limited=6 committed=8", state())
		require.NoError(t, st.Close())
	})
}

// TestRetentionFloorUnknown: as long as nobody can tell what is committed, all is
// kept, and it is said; other topics are none the worse.
func TestRetentionFloorUnknown(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	c := forGroups(1, "g")
	c.Partitions = 2
	tp, err := st.CreateTopic(ctx, "orders", c)
	require.NoError(t, err)
	other := part(t, st, "other", forGroups(0))
	for _, p := range []*Partition{tp.handle(0), tp.handle(1), other} {
		kilobytes(t, p, 5)
	}
	commitAs(t, st, "g", spot("orders", 0, 5), spot("orders", 1, 5))
	commitAs(t, st, "h", spot("orders", 0, 5))
	require.NoError(t, st.Close())
	damageOffsets(t, m)

	st = openStore(t, m, nil)
	_, err = st.Retain(ctx)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, `what group "g" has committed`)
	require.Equal(t, 1, strings.Count(err.Error(), "has committed"), "once is enough")
	require.EqualValues(t, 0, reopened(t, st, "orders").LogStartOffset())
	require.EqualValues(t, 4, reopened(t, st, "other").LogStartOffset())
	require.NoError(t, reopened(t, st, "orders").DeleteRecords(ctx, 3), "it is not bound")
	_, err = st.Retain(ctx)
	require.Error(t, err)
	require.EqualValues(t, 3, reopened(t, st, "orders").LogStartOffset())
}

// TestRetentionFloorFollower: it sees what goes, and what stays, and deletes nothing.
func TestRetentionFloorFollower(t *testing.T) {
	m := vfs.NewMem()
	w := openStore(t, m, nil)
	p := part(t, w, "orders", forGroups(3*970, "g"))
	kilobytes(t, p, 3)
	r := followStore(t, m)
	q := reopened(t, r, "orders")
	require.Equal(t, forGroups(3*970, "g").Retention, q.Topic().Config().Retention)
	commitAs(t, w, "g", spot("orders", 0, 2))
	kilobytes(t, p, 1)
	_, err := r.Retain(ctx)
	require.ErrorIs(t, err, ErrReadOnly)
	_, err = w.Retain(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, p.LogStartOffset())
	require.EqualValues(t, 2, q.LogStartOffset())
	lag, err := r.Groups().Lag(ctx, "g")
	require.NoError(t, err)
	require.EqualValues(t, 2, lag.Records)
}

// TestRetentionFloorDiskLimit: a store that is full takes what groups have committed,
// and of a group that is dead what it may not hold, from partitions that are open and
// not.
func TestRetentionFloorDiskLimit(t *testing.T) {
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMem()
			var said bytes.Buffer
			o := &Options{DiskLimit: 2 << 20, Cleaner: Cleaner{Off: true}, Logger: slog.New(slog.NewTextHandler(&said, nil))}
			if again {
				o.DiskLimit = 8 << 20
			}
			st, err := openFS(m, o)
			require.NoError(t, err)
			c := func(limit int64) TopicConfig {
				return TopicConfig{SegmentBytes: 16 << 10, Retention: Retention{Groups: []string{"g"}, GroupsBytes: limit}}
			}
			held, dead, done := part(t, st, "held", c(0)), part(t, st, "dead", c(100<<10)), part(t, st, "done", c(0))
			for _, p := range []*Partition{held, dead, done} {
				for range 200 {
					_, err := p.Append(ctx, Record{Value: make([]byte, 1000)})
					require.NoError(t, err)
				}
			}
			commitAs(t, st, "g", spot("done", 0, 150))
			time.Sleep(time.Minute)
			if again { // they are not opened
				require.NoError(t, st.Close())
				o.DiskLimit = 2 << 20
				st, err = openFS(m, o)
				require.NoError(t, err)
			}
			free := part(t, st, "free", TopicConfig{SegmentBytes: 16 << 10, Durability: Written})
			for i := range 3000 {
				_, err := free.Append(ctx, Record{Value: make([]byte, 1000)})
				require.NoError(t, err)
				if i%20 == 0 {
					time.Sleep(2 * time.Second)
					synctest.Wait()
				}
			}
			require.NotZero(t, free.LogStartOffset())
			require.Zero(t, reopened(t, st, "held").LogStartOffset())
			dead = reopened(t, st, "dead")
			l, err := dead.use()
			require.NoError(t, err)
			require.LessOrEqual(t, l.Size(), int64(100<<10))
			require.Greater(t, l.Size(), int64(80<<10), "no more than it must")
			start := reopened(t, st, "done").LogStartOffset()
			require.LessOrEqual(t, start, int64(150))
			require.Greater(t, start, int64(130))
			require.NoError(t, st.Close())
			require.Contains(t, said.String(), "partition=dead-0 group=g from=0 to=")
			require.NotContains(t, said.String(), "partition=done-0 group=g")
		})
	}
}

// TestRetentionFloorBesideCommits: commits come while retention looks; nothing goes
// that is not committed.
func TestRetentionFloorBesideCommits(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", forGroups(0, "g"))
	done := make(chan error, 1)
	go func() {
		for !st.isClosed() {
			if _, err := st.Retain(ctx); err != nil && !errors.Is(err, ErrClosed) {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range int64(300) {
		kilobytes(t, p, 2)
		require.LessOrEqual(t, p.LogStartOffset(), i)
		commitAs(t, st, "g", spot("orders", 0, i+1))
	}
	require.NoError(t, st.Close())
	require.NoError(t, <-done)
}

// TestRetentionFloorConsumer: a consumer that commits frees what it is done with; one
// that stays away is kept its records up to the limit, and is told what it has missed.
func TestRetentionFloorConsumer(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", forGroups(4*970, "mailer"))
	kilobytes(t, p, 4)
	c, err := st.Consumer(ConsumerConfig{Group: "mailer", Topics: []string{"orders"}, MaxBytes: 1})
	require.NoError(t, err)
	defer c.Close()
	next := func() int64 {
		t.Helper()
		batches, err := c.Poll(ctx)
		require.NoError(t, err)
		require.Len(t, batches, 1)
		return batches[0].BaseOffset()
	}
	for i := range int64(3) {
		require.Equal(t, i, next())
		require.NoError(t, c.Commit(ctx))
		_, err := st.Retain(ctx)
		require.NoError(t, err)
		require.Equal(t, i+1, p.LogStartOffset())
	}
	kilobytes(t, p, 4) // 3 to 7 are there: the last may stay, four are held
	_, err = st.Retain(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 3, p.LogStartOffset())
	kilobytes(t, p, 3)
	_, err = st.Retain(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 6, p.LogStartOffset())
	_, err = c.Poll(ctx)
	var gone *OffsetError
	require.ErrorAs(t, err, &gone)
	require.Equal(t, [3]int64{3, 6, 11}, [3]int64{gone.Offset, gone.Start, gone.End})
	require.NoError(t, c.Seek(spot("orders", 0, gone.Start)))
	require.EqualValues(t, 6, next())
}
