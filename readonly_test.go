package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// followStore opens a store for reading that another has open.
func followStore(t testing.TB, fsys vfs.FS) *Store {
	t.Helper()
	st, err := openFollower(fsys, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// TestFollow: a follower sees what the writer does, as it does it.
func TestFollow(t *testing.T) {
	for name, c := range map[string]TopicConfig{
		"synced":  {SegmentBytes: 16 << 10},
		"written": {SegmentBytes: 16 << 10, Durability: Written},
		"packed":  {SegmentBytes: 16 << 10, Compression: Zstd},
	} {
		for _, mapped := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/mapped=%v", name, mapped), func(t *testing.T) {
				m := vfs.NewMem()
				m.SetMapped(mapped)
				w := openStore(t, m, nil)
				r := followStore(t, m)
				_, err := r.Topic("orders")
				require.ErrorIs(t, err, ErrUnknownTopic)
				p := part(t, w, "orders", c)
				q := reopened(t, r, "orders")
				require.Equal(t, int64(0), q.LogEndOffset())
				rd := reader(t, q, ReaderOptions{})
				for i := range int64(500) {
					fill(t, p, 1)
					b, err := rd.Next(ctx)
					require.NoError(t, err)
					require.Equal(t, i, b.BaseOffset())
					require.Equal(t, i+1, q.HighWatermark())
				}
				require.Equal(t, count(0, 500), offsetsOf(t, q, ReaderOptions{}))
				require.Equal(t, valuesOf(t, p), valuesOf(t, q))
				require.Equal(t, p.LogEndOffset(), q.LogEndOffset())

				// A second one, which begins in the middle.
				again := followStore(t, m)
				require.Equal(t, valuesOf(t, p), valuesOf(t, reopened(t, again, "orders")))
				at, err := p.OffsetForTime(time.Now().Add(-time.Hour))
				require.NoError(t, err)
				at2, err := q.OffsetForTime(time.Now().Add(-time.Hour))
				require.NoError(t, err)
				require.Equal(t, at, at2)
				o1, ms1, err := p.OffsetForMaxTimestamp()
				require.NoError(t, err)
				o2, ms2, err := q.OffsetForMaxTimestamp()
				require.NoError(t, err)
				require.Equal(t, o1, o2)
				require.Equal(t, ms1, ms2)
			})
		}
	}
}

// TestFollowWaits: a reader that waits sees an append within 100 ms, a deletion
// too, and a close at once.
func TestFollowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		m.SetMapped(true)
		w, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, w, "orders", TopicConfig{})
		part(t, w, "other", TopicConfig{})
		r, err := openFollower(m, nil)
		require.NoError(t, err)
		got, over := make(chan time.Time), make(chan error)
		follow := func(topic string) {
			rd, err := reopened(t, r, topic).Reader(ReaderOptions{})
			require.NoError(t, err)
			defer rd.Close()
			for _, err := range rd.Records(ctx) {
				if err != nil {
					over <- err
					return
				}
				got <- time.Now()
			}
		}
		go follow("orders")
		for range 10 {
			time.Sleep(10 * time.Second)
			fill(t, p, 1)
			at := time.Now()
			require.LessOrEqual(t, (<-got).Sub(at), 100*time.Millisecond)
		}
		at := time.Now()
		require.NoError(t, w.DeleteTopic(ctx, "orders"))
		require.ErrorIs(t, <-over, ErrUnknownTopic)
		require.LessOrEqual(t, time.Since(at), 200*time.Millisecond)

		rd, err := reopened(t, r, "other").Reader(ReaderOptions{})
		require.NoError(t, err)
		soon, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err = rd.Next(soon)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		go follow("other")
		synctest.Wait()
		at = time.Now()
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-over, ErrClosed)
		require.Equal(t, at, time.Now())
		require.NoError(t, w.Close())
	})
}

// TestFollowTopics: topics come and go, and come again under the same name.
func TestFollowTopics(t *testing.T) {
	m := vfs.NewMem()
	m.SetMapped(true)
	w := openStore(t, m, nil)
	r := followStore(t, m)
	for round := range 5 {
		fill(t, part(t, w, "orders", TopicConfig{}), round)
		q := reopened(t, r, "orders")
		require.Equal(t, count(0, int64(round)), offsetsOf(t, q, ReaderOptions{}))
		require.NoError(t, w.DeleteTopic(ctx, "orders"))
		_, err := r.Topic("orders")
		require.ErrorIs(t, err, ErrUnknownTopic)
		_, err = q.Reader(ReaderOptions{})
		require.ErrorIs(t, err, ErrUnknownTopic)
	}
	names := []string{}
	for tp := range r.Topics() {
		names = append(names, tp.Name())
	}
	require.Empty(t, names)
}

// TestReadOnlyRefuses classifies every method: what writes is ErrReadOnly, and a
// new method must be put into one list or the other.
func TestReadOnlyRefuses(t *testing.T) {
	m := vfs.NewMem()
	w := openStore(t, m, nil)
	fill(t, part(t, w, "orders", TopicConfig{}), 3)
	r := followStore(t, m)
	before := m.Hash()
	q := reopened(t, r, "orders")
	reads := map[string]bool{
		"Store.Topic": true, "Store.Topics": true, "Store.Close": true, "Store.Stats": true, "Store.Wait": true, "Store.Backup": true,
		"Topic.Describe": true, "Partition.Describe": true, "Partition.State": true, "Partition.Fetch": true,
		"Partition.EndOffsetForEpoch": true, "Partition.LeaderEpoch": true,
		"Topic.Name": true, "Topic.ID": true, "Topic.Config": true, "Topic.String": true, "Topic.PartitionFor": true,
		"Topic.Partition": true, "Topic.Partitions": true,
		"Partition.Topic": true, "Partition.ID": true, "Partition.String": true, "Partition.LogStartOffset": true,
		"Partition.LastStableOffset": true, "Partition.HighWatermark": true, "Partition.LogEndOffset": true,
		"Partition.OffsetForTime": true, "Partition.OffsetForMaxTimestamp": true, "Partition.Reader": true, "Partition.Lag": true,
		"Store.Groups": true, "Groups.List": true, "Groups.Describe": true, "Groups.Lag": true, "Groups.Fetch": true, "Groups.Export": true,
	}
	writes := map[string]func() error{
		"Store.CreateTopic": func() error { _, err := r.CreateTopic(ctx, "more", TopicConfig{}); return err },
		"Store.DeleteTopic": func() error { return r.DeleteTopic(ctx, "orders") },
		"Partition.Append":  func() error { _, err := q.Append(ctx, Record{Value: []byte("v")}); return err },
		"Partition.AppendWith": func() error {
			_, err := q.AppendWith(ctx, AppendOptions{Durability: Written})
			return err
		},
		"Store.Recover": func() (err error) {
			for _, err = range r.Recover(ctx) {
			}
			return err
		},
		"Store.Import":               func() error { _, err := r.Import(ctx, "more", 0, t.TempDir()); return err },
		"Store.Consumer":             func() error { _, err := r.Consumer(ConsumerConfig{Group: "g"}); return err },
		"Store.Producer":             func() error { _, err := r.Producer(ProducerConfig{}); return err },
		"Store.Retain":               func() error { _, err := r.Retain(ctx); return err },
		"Topic.SetConfig":            func() error { return q.Topic().SetConfig(ctx, TopicConfig{}) },
		"Topic.SetProperties":        func() error { return q.Topic().SetProperties(ctx, map[string]string{"retention.ms": "1"}) },
		"Topic.AddPartitions":        func() error { return q.Topic().AddPartitions(ctx, 1) },
		"Topic.Compact":              func() error { return q.Topic().Compact(ctx, nil) },
		"Partition.Compact":          func() error { return q.Compact(ctx, nil) },
		"Topic.Retain":               func() error { _, err := q.Topic().Retain(ctx); return err },
		"Partition.Export":           func() error { return q.Export(ctx, filepath.Join(t.TempDir(), "out")) },
		"Partition.TruncateTo":       func() error { return q.TruncateTo(1) },
		"Partition.ResetTo":          func() error { return q.ResetTo(1) },
		"Partition.SetHighWatermark": func() error { return q.SetHighWatermark(1) },
		"Partition.DeleteRecords":    func() error { return q.DeleteRecords(ctx, 1) },
		"Partition.AppendBatches":    func() error { _, err := q.AppendBatches([]byte("x"), AppendOptions{}); return err },
		"Partition.Sync":             func() error { return q.Sync(ctx) },
		"Partition.Reopen":           func() error { return q.Reopen(ctx) },
		"Groups.Commit":              func() error { return r.Groups().Commit(ctx, Fence{Group: "g"}, Position{Topic: "orders"}) },
		"Groups.Delete":              func() error { return r.Groups().Delete(ctx, "g") },
		"Groups.DeleteOffsets":       func() error { return r.Groups().DeleteOffsets(ctx, "g", "orders") },
		"Groups.Reset": func() error {
			_, err := r.Groups().Reset(ctx, "g", ResetOptions{Topics: []string{"orders"}})
			return err
		},
		"Groups.Import": func() error {
			_, err := r.Groups().Import(ctx, strings.NewReader("g,orders,0,1\n"), ImportOptions{})
			return err
		},
	}
	for _, v := range []any{&Store{}, &Topic{}, &Partition{}, &Groups{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumMethod() {
			name := typ.Elem().Name() + "." + typ.Method(i).Name
			write := writes[name]
			if write == nil {
				assert.True(t, reads[name], "%s: does it read or write?", name)
				continue
			}
			assert.ErrorIs(t, write(), ErrReadOnly, name)
		}
	}
	require.Equal(t, before, m.Hash())
}

// TestReadOnlyNoStore: what is no store is an error that says so, and nothing is
// made of it.
func TestReadOnlyNoStore(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenReadOnly(filepath.Join(dir, "missing"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = OpenReadOnly(dir, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = OpenReadOnly(filepath.Join(dir, "file"), nil)
	require.Error(t, err)
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestReadOnlyTouchesNothing: no call that could change anything is made, by
// opening, reading and closing, whatever state the store is in.
func TestReadOnlyTouchesNothing(t *testing.T) {
	m := vfs.NewMem()
	w := openStore(t, m, nil)
	p := part(t, w, "orders", TopicConfig{SegmentBytes: 4096})
	fill(t, p, 200)
	states := map[string]*vfs.Mem{"killed": m.Snapshot()}
	require.NoError(t, w.Close())
	states["closed"] = m.Snapshot()
	bare := m.Snapshot()
	list, err := bare.ReadDir("orders-0")
	require.NoError(t, err)
	for _, e := range list {
		if filepath.Ext(e.Name) != ".log" {
			require.NoError(t, bare.Remove("orders-0/"+e.Name))
		}
	}
	for _, name := range []string{stateName, recoveryName, cleanName} {
		require.NoError(t, bare.Remove(name))
	}
	states["bare"] = bare
	for name, m := range states {
		t.Run(name, func(t *testing.T) {
			before := m.Hash()
			m.SetHook(func(op vfs.Op, name string, _ bool) error {
				if op.Mutates() {
					return errors.New("a follower writes: " + op.String() + " " + name)
				}
				return nil
			})
			r, err := openFollower(m, nil)
			require.NoError(t, err)
			q := reopened(t, r, "orders")
			require.Equal(t, count(0, 200), offsetsOf(t, q, ReaderOptions{}))
			require.Equal(t, count(150, 200), offsetsOf(t, q, ReaderOptions{From: At(150)}))
			_, _, err = q.OffsetForMaxTimestamp()
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.Equal(t, before, m.Hash())
		})
	}
}

// TestFollowNewState: leat.state is made anew between two lives of the writer, or
// loses its worth because a broker was there: the follower takes to what counts.
func TestFollowNewState(t *testing.T) {
	for _, how := range []string{"removed", "broker"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := vfs.NewMem()
				m.SetMapped(true)
				w, err := openFS(m, nil)
				require.NoError(t, err)
				fill(t, part(t, w, "orders", TopicConfig{}), 5)
				r, err := openFollower(m, nil)
				require.NoError(t, err)
				q := reopened(t, r, "orders")
				require.Equal(t, count(0, 5), offsetsOf(t, q, ReaderOptions{}))
				require.NoError(t, w.Close())
				if how == "removed" {
					require.NoError(t, m.Remove(stateName))
				} else {
					f, err := m.Open(recoveryName, vfs.ReadWrite)
					require.NoError(t, err)
					_, err = f.WriteAt([]byte("\n"), 0)
					require.NoError(t, err)
					require.NoError(t, f.Close())
				}
				time.Sleep(time.Second)
				require.Equal(t, count(0, 5), offsetsOf(t, q, ReaderOptions{}), "by the files alone")
				require.False(t, r.follow.state.teller(lineKey(q.topic.id, 0))().Known)
				w, err = openFS(m, nil)
				require.NoError(t, err)
				p := reopened(t, w, "orders")
				fill(t, p, 5)
				time.Sleep(time.Second)
				require.Equal(t, count(0, 10), offsetsOf(t, q, ReaderOptions{}))
				require.Equal(t, bits.UintSize == 64, r.follow.state.teller(lineKey(q.topic.id, 0))().Live)
				require.NoError(t, r.Close())
				require.NoError(t, w.Close())
			})
		})
	}
}
