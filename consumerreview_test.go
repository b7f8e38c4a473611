package leat

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// TestCommitOfCutLog: a position that was read before the log was cut below it is
// not committed, or it would come to mean another record.
func TestCommitOfCutLog(t *testing.T) {
	for name, external := range map[string]External{"own epochs": 0, "epochs of a wrapper": ExternalEpochs} {
		for _, policy := range []OutOfRange{OutOfRangeError, OutOfRangeEarliest} {
			t.Run(name+"/"+policy.String(), func(t *testing.T) {
				st := memStore(t)
				p := called(t, st, "orders", 2, 10, TopicConfig{External: external})[0]
				conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, OutOfRange: policy}
				c := consumer(t, st, conf)
				require.Len(t, polled(t, c), 20)
				require.NoError(t, c.Commit(ctx, pos("orders", 0, 4), pos("orders", 1, 4)))
				require.NoError(t, p.TruncateTo(6))
				require.NoError(t, c.Commit(ctx, pos("orders", 0, 6)), "the cut is behind it")
				add(t, p, 8)
				var gone *OffsetError
				for range 2 {
					require.ErrorAs(t, c.Commit(ctx), &gone)
					require.Equal(t, OffsetError{Topic: "orders", Offset: 10, Start: 0, End: 6}, *gone)
					require.Equal(t, int64(4), committedBy(t, st, "g", "orders", 1), "all or none")
				}
				require.NoError(t, c.Commit(ctx, pos("orders", 1, 10)))
				require.NoError(t, c.Close())
				c = consumer(t, st, conf)
				require.Equal(t, names("orders-0", 6, 14), polled(t, c), "none is left out")
				require.NoError(t, c.Commit(ctx))
				require.Equal(t, int64(14), committedBy(t, st, "g", "orders", 0))
			})
		}
	}
}

// TestAutoCommitOfCutLog: nor by itself; what the cut did not touch is.
func TestAutoCommitOfCutLog(t *testing.T) {
	st := memStore(t)
	p := called(t, st, "orders", 2, 10, TopicConfig{})[0]
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour, OutOfRange: OutOfRangeEarliest}
	c := consumer(t, st, conf)
	require.Len(t, polled(t, c), 20)
	nothing(t, c)
	require.NoError(t, p.TruncateTo(6))
	add(t, p, 8)
	require.ErrorIs(t, c.Close(), ErrOffsetOutOfRange)
	require.Equal(t, int64(-1), committedBy(t, st, "g", "orders", 0))
	require.Equal(t, int64(10), committedBy(t, st, "g", "orders", 1))
}

// TestAutoCommitOfSeek: a Seek forward does not say that what the last Poll gave is
// done with.
func TestAutoCommitOfSeek(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 20, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour, MaxBytes: 1}
	c := consumer(t, st, conf)
	require.Equal(t, names("orders-0", 0, 1), polled(t, c))
	require.Equal(t, names("orders-0", 1, 2), polled(t, c))
	require.NoError(t, c.Seek(pos("orders", 0, 15)))
	require.NoError(t, c.Close())
	require.Equal(t, int64(1), committedBy(t, st, "g", "orders", 0))

	c = consumer(t, st, conf)
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		if rec.Offset == 3 {
			require.NoError(t, c.SeekAll(ctx, Latest))
			break
		}
	}
	require.NoError(t, c.Close())
	require.Equal(t, int64(3), committedBy(t, st, "g", "orders", 0))

	c = consumer(t, st, conf)
	require.Equal(t, names("orders-0", 3, 4), polled(t, c))
	require.NoError(t, c.Seek(pos("orders", 0, 15)))
	require.Equal(t, names("orders-0", 15, 16), polled(t, c))
	require.NoError(t, c.Close())
	require.Equal(t, int64(15), committedBy(t, st, "g", "orders", 0), "now he has come back")

	c = consumer(t, st, conf)
	require.Equal(t, names("orders-0", 15, 16), polled(t, c))
	require.NoError(t, c.Seek(pos("orders", 0, 2)))
	require.NoError(t, c.Close())
	require.Equal(t, int64(2), committedBy(t, st, "g", "orders", 0), "back is back")
}

// TestAutoCommitOfOthers: a partition that has failed does not keep the progress of
// the others from being committed.
func TestAutoCommitOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		parts := called(t, st, "orders", 2, 3, TopicConfig{Durability: Written, FlushInterval: time.Hour})
		c, err := st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Second})
		require.NoError(t, err)
		require.Len(t, polled(t, c), 6)
		f := &fault{op: vfs.OpSync, name: "orders-0/00000000000000000000.log", err: syscall.EIO}
		f.on.Store(true)
		m.SetHook(f.hook)
		time.Sleep(2 * time.Second)
		_, err = c.Poll(ctx)
		require.ErrorIs(t, err, syscall.EIO)
		m.SetHook(nil)
		require.Equal(t, int64(3), committedBy(t, st, "g", "orders", 1))
		require.Equal(t, int64(-1), committedBy(t, st, "g", "orders", 0))
		add(t, parts[1], 1)
		require.Error(t, errors.Join(c.Close(), parts[0].Sync(ctx)))
		_ = st.Close() // of a partition that has failed
	})
}

// TestCommitByHandAgain: what a consumer of Assign has committed may have been
// changed since, by a Reset or by another one.
func TestCommitByHandAgain(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 10, TopicConfig{})
	c := consumer(t, st, ConsumerConfig{Group: "g"})
	require.NoError(t, c.Assign(pos("orders", 0, CommittedOffset)))
	require.Len(t, polled(t, c), 10)
	require.NoError(t, c.Commit(ctx))
	_, err := st.Groups().Reset(ctx, "g", ResetOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(0), committedBy(t, st, "g", "orders", 0))
	require.NoError(t, c.Commit(ctx))
	require.Equal(t, int64(10), committedBy(t, st, "g", "orders", 0))
}

// TestDryRunForgetsNothing: where a partition without a commit was begun is known
// until the group's offsets are deleted: a look, an attempt, and a commit of another
// partition leave it as it is, or records would be delivered to nobody.
func TestDryRunForgetsNothing(t *testing.T) {
	bad := errors.New("bad")
	for name, do := range map[string]func(st *Store) error{
		"dry reset": func(st *Store) error {
			_, err := st.Groups().Reset(ctx, "g", ResetOptions{To: Latest, Topics: []string{"orders"}, DryRun: true})
			return err
		},
		"other partition reset": func(st *Store) error {
			_, err := st.Groups().Reset(ctx, "g", ResetOptions{To: Latest, Partitions: []Position{pos("orders", 1, 0)}})
			return err
		},
		"reset refused": func(st *Store) error {
			_, err := st.Groups().Reset(ctx, "g", ResetOptions{Topics: []string{"nowhere"}})
			if errors.Is(err, ErrUnknownTopic) {
				return nil
			}
			return bad
		},
		"commit of another partition": func(st *Store) error {
			return st.Groups().Commit(ctx, Fence{Group: "g", Generation: -1}, pos("orders", 1, 2))
		},
		"commit by hand": func(st *Store) error {
			c, err := st.Consumer(ConsumerConfig{Group: "g"})
			if err == nil {
				err = errors.Join(c.Assign(pos("orders", 1, 3)), c.Commit(ctx), c.Close())
			}
			return err
		},
		"delete of other offsets": func(st *Store) error {
			if err := st.Groups().Commit(ctx, Fence{Group: "g", Generation: -1}, pos("mail", 0, 0)); err != nil {
				return err
			}
			return st.Groups().DeleteOffsets(ctx, "g", "mail")
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := memStore(t)
			parts := called(t, st, "orders", 2, 5, TopicConfig{})
			called(t, st, "mail", 1, 5, TopicConfig{})
			conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, Start: Latest}
			c := consumer(t, st, conf)
			require.Empty(t, look(t, c))
			require.NoError(t, c.Close())
			add(t, parts[0], 3)
			require.NoError(t, do(st))
			c = consumer(t, st, conf)
			require.Contains(t, look(t, c), "orders-0@5")
		})
	}
}

// TestDeleteForgets: a deleted group begins anew.
func TestDeleteForgets(t *testing.T) {
	for name, do := range map[string]func(st *Store) error{
		"group":   func(st *Store) error { return st.Groups().Delete(ctx, "g") },
		"offsets": func(st *Store) error { return st.Groups().DeleteOffsets(ctx, "g", "orders") },
	} {
		t.Run(name, func(t *testing.T) {
			st := memStore(t)
			parts := called(t, st, "orders", 2, 5, TopicConfig{})
			conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, Start: Latest}
			c := consumer(t, st, conf)
			require.Empty(t, look(t, c))
			require.NoError(t, c.Commit(ctx, pos("orders", 1, 5)))
			require.NoError(t, c.Close())
			add(t, parts[0], 3)
			require.NoError(t, do(st))
			c = consumer(t, st, conf)
			require.Empty(t, look(t, c))
		})
	}
}

// TestGenerationAfterExternal: members that come after commits of a higher
// generation go on from that, so that what was fenced stays so.
func TestGenerationAfterExternal(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 5, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	c := consumer(t, st, conf)
	require.Len(t, look(t, c), 5)
	require.NoError(t, c.Close()) // without a commit: the group is remembered
	require.NoError(t, st.Groups().Commit(ctx, Fence{Group: "g", Generation: 50}, pos("orders", 0, 3)))
	c = consumer(t, st, conf)
	look(t, c)
	require.NoError(t, c.Close())
	err := st.Groups().Commit(ctx, Fence{Group: "g", Generation: 50}, pos("orders", 0, 1))
	require.ErrorIs(t, err, ErrRebalanced)
	info, err := st.Groups().Describe(ctx, "g")
	require.NoError(t, err)
	require.Greater(t, info.Generation, int32(50))
}

// TestResumeOfUnknownEpoch: a commit of a leader epoch that the log does not know is
// of records that are no more.
func TestResumeOfUnknownEpoch(t *testing.T) {
	st := memStore(t)
	p := called(t, st, "orders", 1, 4, TopicConfig{External: ExternalEpochs})[0]
	_, err := p.AppendWith(ctx, AppendOptions{Epoch: 7}, Record{Value: []byte("a")})
	require.NoError(t, err)
	commitAs(t, st, "g", pos("orders", 0, 5))
	require.NoError(t, p.TruncateTo(3))
	add(t, p, 4)
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}})
	_, err = c.Poll(ctx)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
}

// TestLatestStaysWhereItWas: a partition begins at what Latest was when it was
// assigned, also if what the group has committed could not be found out then.
func TestLatestStaysWhereItWas(t *testing.T) {
	m := vfs.NewMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	defer st.Close()
	p := called(t, st, "orders", 1, 5, TopicConfig{})[0]
	called(t, st, "mail", 1, 1, TopicConfig{})
	commitAs(t, st, "other", pos("mail", 0, 1))
	f := &fault{op: vfs.OpSync, name: offsetsTopic + "-0/00000000000000000000.log", err: syscall.EIO}
	f.on.Store(true)
	m.SetHook(f.hook)
	require.Error(t, st.Groups().Commit(ctx, Fence{Group: "other", Generation: -1}, pos("mail", 0, 0)))
	m.SetHook(nil)
	c := consumer(t, st, ConsumerConfig{Group: "g", Start: Latest})
	require.NoError(t, c.Assign(pos("orders", 0, CommittedOffset)))
	_, err = c.Poll(ctx)
	require.Error(t, err)
	add(t, p, 2)
	require.NoError(t, reopened(t, st, offsetsTopic).Reopen(ctx))
	require.Equal(t, names("orders-0", 5, 7), polled(t, c))
}

// TestPollSeesCutAtOnce: a log that was cut and has grown to the same end, between
// a look and the wait.
func TestPollSeesCutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), nil)
		require.NoError(t, err)
		p := called(t, st, "orders", 1, 10, TopicConfig{})[0]
		c, err := st.Consumer(ConsumerConfig{OutOfRange: OutOfRangeEarliest})
		require.NoError(t, err)
		require.NoError(t, c.Assign(pos("orders", 0, 0)))
		require.Len(t, polled(t, c), 10)
		_, _, err = c.collect(ctx, 1)
		require.NoError(t, err)
		require.NoError(t, p.TruncateTo(6))
		add(t, p, 4)
		soon, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		require.NoError(t, c.watchFeeds(soon))
		require.Equal(t, names("orders-0", 6, 10), polled(t, c))
		require.NoError(t, errors.Join(c.Close(), st.Close()))
	})
}

// watchFeeds waits for what comes.
func (c *Consumer) watchFeeds(ctx context.Context) error { return c.await(ctx, log.WaitOptions{}) }

// TestNudgeBeforeFirstRecord: a loop that is called away from a batch before it has
// given a record of it stands where it was, and not at the batch's beginning.
func TestNudgeBeforeFirstRecord(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{})
	_, err := p.Append(ctx, make([]Record, 10)...)
	require.NoError(t, err)
	c := consumer(t, st, ConsumerConfig{})
	require.NoError(t, c.Assign(pos("orders", 0, 5)))
	l, err := c.one(ctx)
	require.NoError(t, err)
	c.wait.Nudge()
	require.True(t, c.each(l, func(rec *Record, err error) bool {
		t.Errorf("%d is given, %v", rec.Offset, err)
		return true
	}))
	require.Equal(t, []Position{pos("orders", 0, 5)}, c.Assignment())
	for rec, err := range c.Records(ctx) {
		require.NoError(t, err)
		require.EqualValues(t, 5, rec.Offset)
		break
	}
}

// TestPollWaitsInsideBatch: a high watermark inside a batch is nothing to read yet,
// and Poll does not go round in circles for it.
func TestPollWaitsInsideBatch(t *testing.T) {
	for _, least := range []int{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			st, err := openFS(vfs.NewMem(), nil)
			require.NoError(t, err)
			p := part(t, st, "orders", TopicConfig{External: ExternalWatermark})
			_, err = p.Append(ctx, make([]Record, 10)...)
			require.NoError(t, err)
			require.NoError(t, p.SetHighWatermark(5))
			c, err := st.Consumer(ConsumerConfig{MinBytes: least, MaxWait: time.Second})
			require.NoError(t, err)
			require.NoError(t, c.Assign(pos("orders", 0, 0)))
			l, blocked, err := c.collect(ctx, 1)
			require.NoError(t, err)
			require.Nil(t, l)
			require.Nil(t, blocked)
			soon, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			require.ErrorIs(t, c.await(soon, log.WaitOptions{MinBytes: int64(least), MaxWait: time.Second}), context.DeadlineExceeded)
			require.NoError(t, p.SetHighWatermark(10))
			batches, err := c.Poll(ctx)
			require.NoError(t, err)
			require.Len(t, batches, 1)
			require.NoError(t, errors.Join(c.Close(), st.Close()))
		})
	}
}

// TestLatestOfAddedPartition: of a partition that comes later nothing is left out,
// whatever Start says.
func TestLatestOfAddedPartition(t *testing.T) {
	for _, group := range []string{"g", ""} {
		st := memStore(t)
		p := called(t, st, "orders", 1, 5, TopicConfig{})[0]
		c := consumer(t, st, ConsumerConfig{Group: group, Topics: []string{"orders"}, Start: Latest})
		require.Empty(t, look(t, c))
		require.NoError(t, p.Topic().AddPartitions(ctx, 2))
		late, err := p.Topic().Partition(1)
		require.NoError(t, err)
		add(t, late, 3)
		require.Equal(t, names("orders-1", 0, 3), look(t, c), "group %q", group)
	}
}

// TestAutoCommitOfDeletedTopic: there is nothing to be committed of it.
func TestAutoCommitOfDeletedTopic(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 5, TopicConfig{})
	mail := called(t, st, "other", 1, 5, TopicConfig{})[0]
	c := consumer(t, st, ConsumerConfig{Group: "g", Pattern: "o.*", AutoCommit: time.Hour})
	require.Len(t, polled(t, c), 10)
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	add(t, mail, 1)
	require.Equal(t, names("other-0", 5, 6), polled(t, c))
	require.NoError(t, c.Close())
	require.Equal(t, int64(5), committedBy(t, st, "g", "other", 0))
}

// TestAutoCommitAfterCommit: what was committed by hand is done with, and not taken
// back by the automatic commit.
func TestAutoCommitAfterCommit(t *testing.T) {
	st := memStore(t)
	called(t, st, "orders", 1, 5, TopicConfig{})
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour, MaxBytes: 1}
	for i, commit := range []func(c *Consumer) error{
		func(c *Consumer) error { return c.Commit(ctx) },
		func(c *Consumer) error { return c.Commit(ctx, c.Assignment()...) },
	} {
		c := consumer(t, st, conf)
		require.Len(t, polled(t, c), 1)
		require.NoError(t, commit(c))
		require.NoError(t, c.Close())
		require.EqualValues(t, i+1, committedBy(t, st, "g", "orders", 0))
	}
}

// TestFailureGoesWithItsPartition: what is wrong with a partition is not told to who
// has given it up.
func TestFailureGoesWithItsPartition(t *testing.T) {
	st := memStore(t)
	parts := called(t, st, "orders", 2, 5, TopicConfig{})
	commitAs(t, st, "g", pos("orders", 0, 2), pos("orders", 1, 2))
	require.NoError(t, parts[1].DeleteRecords(ctx, 4))
	conf := ConsumerConfig{Group: "g", Topics: []string{"orders"}}
	a := consumer(t, st, conf)
	require.Equal(t, names("orders-0", 2, 5), polled(t, a), "the other one's turn to tell comes")
	require.NotNil(t, a.failing)
	b := consumer(t, st, conf)
	look(t, a)
	require.Equal(t, []Position{pos("orders", 0, 5)}, a.Assignment())
	_, err := b.Poll(ctx)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
}

// TestAutoCommitLeavesLastPoll: what the last Poll gave is not done with when the
// consumer is closed, also if it was all that there was.
func TestAutoCommitLeavesLastPoll(t *testing.T) {
	st := memStore(t)
	p := called(t, st, "orders", 1, 5, TopicConfig{})[0]
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, AutoCommit: time.Hour})
	require.Len(t, polled(t, c), 5)
	add(t, p, 2)
	require.Len(t, polled(t, c), 2)
	require.NoError(t, c.Close())
	require.Equal(t, int64(5), committedBy(t, st, "g", "orders", 0))
}

// TestSeekToOvertakenCommit: a Seek to a commit that retention has overtaken leads to
// what OutOfRange says.
func TestSeekToOvertakenCommit(t *testing.T) {
	st := memStore(t)
	p := called(t, st, "orders", 1, 8, TopicConfig{})[0]
	c := consumer(t, st, ConsumerConfig{Group: "g", Topics: []string{"orders"}, OutOfRange: OutOfRangeEarliest})
	require.Len(t, polled(t, c), 8)
	require.NoError(t, c.Commit(ctx, pos("orders", 0, 2)))
	require.NoError(t, p.DeleteRecords(ctx, 4))
	require.NoError(t, c.Seek(pos("orders", 0, CommittedOffset)))
	require.Equal(t, names("orders-0", 4, 8), polled(t, c))
}
