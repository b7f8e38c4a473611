package leat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestConcurrentOpen: a partition that many ask for at once is opened once, and
// all get the same.
func TestConcurrentOpen(t *testing.T) {
	fsys := vfs.NewMem()
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	_, err = st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 4})
	require.NoError(t, err)
	require.NoError(t, st.Close())
	st = openStore(t, fsys, nil)
	tp, err := st.Topic("orders")
	require.NoError(t, err)
	var wg sync.WaitGroup
	got := make([]*Partition, 64)
	for i := range got {
		wg.Go(func() { got[i], _ = tp.Partition(int32(i % 4)) })
	}
	wg.Wait()
	for i, p := range got {
		require.NotNil(t, p)
		require.Same(t, got[i%4], p)
	}
}

// TestEverythingAtOnce: topics come and go, are written and read, and the store
// is closed in the middle. Nothing hangs, and every error is one of those that
// are promised.
func TestEverythingAtOnce(t *testing.T) {
	allowed := []error{ErrClosed, ErrUnknownTopic, ErrTopicExists, context.Canceled}
	for round := range 4 {
		m := vfs.NewCrashMem()
		m.SetMapped(round%2 == 0)
		st, err := openFS(m, nil)
		require.NoError(t, err)
		_, err = st.CreateTopic(ctx, "steady", TopicConfig{Partitions: 2, SegmentBytes: 16 << 10, Durability: Written})
		require.NoError(t, err)
		running, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		try := func(what string, f func(i int) error) {
			wg.Go(func() {
				for i := 0; running.Err() == nil; i++ {
					err := f(i)
					ok := err == nil
					for _, a := range allowed {
						ok = ok || errors.Is(err, a)
					}
					if !ok {
						t.Errorf("%s: %v", what, err)
					}
					if errors.Is(err, ErrClosed) {
						return
					}
				}
			})
		}
		appends := make(chan struct{}, 1000)
		for _, name := range []string{"steady", "comes", "goes"} {
			try("append", func(i int) error {
				tp, err := st.Topic(name)
				if err != nil {
					return err
				}
				p, err := tp.Partition(int32(i % 2))
				if err != nil {
					return err
				}
				_, err = p.Append(running, Record{Value: fmt.Appendf(nil, "%s %d", name, i)})
				select {
				case appends <- struct{}{}:
				default:
				}
				return err
			})
			try("read", func(i int) error {
				tp, err := st.Topic(name)
				if err != nil {
					return err
				}
				for p := range tp.Partitions() {
					r, err := p.Reader(ReaderOptions{UntilEnd: true, From: LastN(50)})
					if err != nil {
						return err
					}
					for rec, err := range r.Records(running) {
						if err != nil {
							return errors.Join(err, r.Close())
						}
						if len(rec.Value) == 0 {
							t.Error("an empty record")
						}
					}
					if err := r.Close(); err != nil {
						return err
					}
				}
				return nil
			})
			if name == "steady" {
				try("follow", func(int) error {
					tp, err := st.Topic(name)
					if err != nil {
						return err
					}
					p, err := tp.Partition(0)
					if err != nil {
						return err
					}
					r, err := p.Reader(ReaderOptions{From: Latest})
					if err != nil {
						return err
					}
					defer r.Close()
					for _, err := range r.Records(running) {
						if err != nil {
							return err
						}
					}
					return nil
				})
				continue
			}
			try("create", func(int) error {
				_, err := st.CreateTopic(running, name, TopicConfig{Partitions: 2, SegmentBytes: 16 << 10})
				return err
			})
			try("delete", func(int) error { return st.DeleteTopic(running, name) })
		}
		for range 1000 {
			<-appends
		}
		require.NoError(t, st.Close())
		stop()
		wg.Wait()

		st, err = openFS(m, nil)
		require.NoError(t, err)
		require.True(t, st.clean)
		for tp := range st.Topics() {
			for p := range tp.Partitions() {
				require.Equal(t, count(0, p.LogEndOffset()), offsetsOf(t, p, ReaderOptions{}))
			}
		}
		require.NoError(t, st.Close())
	}
}
