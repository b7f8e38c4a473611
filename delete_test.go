package leat

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestDeleteUnderLoad deletes a topic while others append to it at every
// durability, read it, keep batches of it, describe and configure it, and makes
// one of the same name at once.
func TestDeleteUnderLoad(t *testing.T) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		t.Run(name, func(t *testing.T) {
			st := openStore(t, fsys(t), nil)
			over := func(err error) bool {
				if err != nil {
					require.ErrorIs(t, err, ErrUnknownTopic)
				}
				return err != nil
			}
			for round := range 2 {
				p := part(t, st, "doomed", TopicConfig{Partitions: 2, SegmentBytes: 16 << 10, FlushInterval: time.Millisecond, FlushBytes: 8 << 10})
				tp := p.Topic()
				fill(t, p, 3)
				var wg sync.WaitGroup
				var busy atomic.Int32
				var kept []*Batch
				for i := range 3 {
					wg.Go(func() {
						for {
							_, err := p.AppendWith(ctx, AppendOptions{Durability: Durability(i)}, Record{Value: make([]byte, 300)})
							if over(err) {
								return
							}
							busy.Add(1)
						}
					})
				}
				wg.Go(func() {
					r, err := p.Reader(ReaderOptions{})
					if over(err) {
						return
					}
					defer r.Close()
					for {
						b, err := r.Next(ctx)
						if over(err) {
							return
						}
						if len(kept) < 50 {
							kept = append(kept, b.Retain())
						}
					}
				})
				wg.Go(func() {
					for {
						_ = tp.Describe().String()
						if over(tp.SetConfig(ctx, TopicConfig{SegmentBytes: 8 << 10, Durability: Durability(1 + round%2)})) {
							return
						}
						other, err := tp.Partition(1)
						if over(err) {
							return
						}
						_, err = other.Append(ctx, Record{})
						if over(err) {
							return
						}
					}
				})
				for busy.Load() < 30 {
					_, err := p.Append(ctx, Record{})
					require.NoError(t, err)
				}
				require.NoError(t, st.DeleteTopic(ctx, "doomed"))
				again := part(t, st, "doomed", TopicConfig{})
				fill(t, again, 3)
				wg.Wait()
				require.Equal(t, count(0, 3), offsetsOf(t, again, ReaderOptions{}))
				next := int64(0)
				for _, b := range kept { // of files that are gone
					for rec, err := range b.Records() {
						require.NoError(t, err)
						require.Equal(t, next, rec.Offset)
						next++
					}
					b.Release()
				}
				require.NoError(t, st.DeleteTopic(ctx, "doomed"))
			}
		})
	}
}

// TestDeleteThatCannotRemove: the topic is gone at once, and its files with the
// next attempt: a delete, a create, an open.
func TestDeleteThatCannotRemove(t *testing.T) {
	for what, again := range map[string]func(m *vfs.Mem, st *Store) *Store{
		"delete": func(_ *vfs.Mem, st *Store) *Store {
			require.NoError(t, st.DeleteTopic(ctx, "doomed"))
			require.ErrorIs(t, st.DeleteTopic(ctx, "doomed"), ErrUnknownTopic)
			return st
		},
		"create": func(_ *vfs.Mem, st *Store) *Store {
			require.Empty(t, offsetsOf(t, part(t, st, "doomed", TopicConfig{}), ReaderOptions{}))
			require.NoError(t, st.DeleteTopic(ctx, "doomed"))
			return st
		},
		"open": func(m *vfs.Mem, st *Store) *Store {
			require.NoError(t, st.Close())
			st, err := openFS(m, nil)
			require.NoError(t, err)
			return st
		},
	} {
		for _, file := range []string{"doomed-1/", "doomed-0/00000000000000000000.log", "doomed-0/partition.metadata"} {
			m := vfs.NewCrashMem()
			st, err := openFS(m, nil)
			require.NoError(t, err)
			p := part(t, st, "doomed", TopicConfig{Partitions: 3, SegmentBytes: 16 << 10})
			fill(t, p, 20)
			kept := part(t, st, "kept", TopicConfig{SegmentBytes: 16 << 10})
			fill(t, kept, 3)
			f := &fault{op: vfs.OpRemove, name: file, err: syscall.EIO}
			m.SetHook(f.hook)
			f.on.Store(true)
			err = st.DeleteTopic(ctx, "doomed")
			require.ErrorIs(t, err, syscall.EIO, "%s %s", what, file)
			require.ErrorContains(t, err, `topic "doomed" is deleted, its files are not`)
			_, err = st.Topic("doomed")
			require.ErrorIs(t, err, ErrUnknownTopic)
			_, err = st.CreateTopic(ctx, "doomed", TopicConfig{})
			require.True(t, errors.Is(err, syscall.EIO), "%v", err)
			_, err = p.Append(ctx, Record{})
			require.ErrorIs(t, err, ErrUnknownTopic)
			fill(t, kept, 3)
			f.on.Store(false)
			st = again(m, st)
			list, err := m.ReadDir(".")
			require.NoError(t, err)
			for _, e := range list {
				require.NotContains(t, e.Name, "doomed", "%s %s", what, file)
			}
			require.Equal(t, count(0, 6), offsetsOf(t, reopened(t, st, "kept"), ReaderOptions{}))
			require.NoError(t, st.Close())
		}
	}
}
