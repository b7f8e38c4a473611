package leat

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// fetchAll fetches from the log start on until nothing comes, and returns the
// base offsets of the batches and their bytes.
func fetchAll(t testing.TB, p *Partition) (offsets []int64, raw []byte) {
	t.Helper()
	next := p.LogStartOffset()
	for {
		f, err := p.Fetch(FetchOptions{Offset: next, MaxBytes: 1000})
		require.NoError(t, err)
		if f.Len() == 0 {
			f.Release()
			return offsets, raw
		}
		for b := f.Bytes(); len(b) > 0; {
			batch := codec.Batch(b)
			n := int(batch.Size())
			offsets = append(offsets, batch.BaseOffset())
			raw, b = append(raw, b[:n]...), b[n:]
		}
		next = f.NextOffset()
		f.Release()
	}
}

// TestFollowChanges: whatever the writer does to a partition, a follower's Fetch
// and readers find what is there then, and its Wait returns.
func TestFollowChanges(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		bubble := func(t *testing.T) {
			m := vfs.NewMem()
			m.SetMapped(mapped)
			w, err := openFS(m, nil)
			require.NoError(t, err)
			r, err := openFollower(m, nil)
			require.NoError(t, err)
			p := part(t, w, "orders", TopicConfig{SegmentBytes: 4 << 10, Partitions: 2})
			q := reopened(t, r, "orders")
			rnd := rand.New(rand.NewPCG(1, 2))
			for step := range 300 {
				what := "append"
				switch start, end := p.LogStartOffset(), p.LogEndOffset(); rnd.IntN(10) {
				case 0:
					what = "truncate"
					require.NoError(t, p.TruncateTo(start+rnd.Int64N(end-start+1)))
				case 1:
					what = "delete records"
					require.NoError(t, p.DeleteRecords(ctx, start+rnd.Int64N(end-start+1)))
				case 2:
					if what = "reset"; rnd.IntN(3) == 0 {
						require.NoError(t, p.ResetTo(rnd.Int64N(end+100)))
					}
				case 3:
					what = "raw"
					if b, raw := fetchAll(t, p); len(b) > 0 {
						n := int(codec.Batch(raw).Size())
						res, err := p.AppendBatches(raw[:n], AppendOptions{})
						if err == nil {
							err = res.Wait(ctx)
						} else if errors.Is(err, ErrInvalidRecord) {
							err = nil // its base offset is not 0
						}
						require.NoError(t, err)
					}
				case 4:
					what = "configuration"
					c := p.Topic().Config()
					c.SegmentBytes = int64(2+rnd.IntN(8)) << 10
					c.Durability = Durability(1 + rnd.IntN(2))
					require.NoError(t, p.Topic().SetConfig(ctx, c))
				}
				fill(t, p, rnd.IntN(30))
				require.NoError(t, p.Sync(ctx))
				if what == "configuration" || !mapped || bits.UintSize == 32 { // the words of leat.state may be old
					time.Sleep(200 * time.Millisecond)
				}
				require.Equal(t, p.LogEndOffset(), q.LogEndOffset(), "%d %s", step, what)
				require.Equal(t, p.LogStartOffset(), q.LogStartOffset(), "%d %s", step, what)
				o1, raw1 := fetchAll(t, p)
				o2, raw2 := fetchAll(t, q)
				require.Equal(t, o1, o2, "%d %s", step, what)
				require.Equal(t, raw1, raw2, "%d %s", step, what)
				require.Equal(t, valuesOf(t, p), valuesOf(t, q), "%d %s", step, what)
				_, err := q.Fetch(FetchOptions{Offset: q.LogEndOffset() + 1})
				var oe *OffsetError
				require.ErrorAs(t, err, &oe)
				require.Equal(t, OffsetError{Topic: "orders", Offset: p.LogEndOffset() + 1, Start: p.LogStartOffset(), End: p.LogEndOffset()}, *oe)
			}
			require.NoError(t, p.Topic().AddPartitions(ctx, 2))
			tp, err := r.Topic("orders")
			require.NoError(t, err)
			more, err := tp.Partition(3)
			require.NoError(t, err)
			o, _ := fetchAll(t, more)
			require.Empty(t, o)
			require.NoError(t, r.Close())
			require.NoError(t, w.Close())
		}
		t.Run(fmt.Sprintf("mapped=%v", mapped), func(t *testing.T) { synctest.Test(t, bubble) })
	}
}

// TestFollowWaitEnds: Store.Wait of a follower returns within 100 ms of what there
// is to be told, and at once when the follower is closed.
func TestFollowWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		m.SetMapped(true)
		w, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, w, "orders", TopicConfig{})
		part(t, w, "other", TopicConfig{})
		r, err := openFollower(m, nil)
		require.NoError(t, err)
		for what, do := range map[string]func(){
			"append":         func() { fill(t, p, 1) },
			"truncate":       func() { require.NoError(t, p.TruncateTo(p.LogEndOffset()-1)) },
			"reset":          func() { require.NoError(t, p.ResetTo(p.LogEndOffset()+5)) },
			"reset back":     func() { require.NoError(t, p.ResetTo(p.LogEndOffset()-1)) },
			"reset and fill": func() { require.NoError(t, p.ResetTo(0)); fill(t, p, 40) },
			"delete records": func() { fill(t, p, 1); require.NoError(t, p.DeleteRecords(ctx, -1)) },
		} {
			fill(t, p, 3)
			at := []Position{{Topic: "orders", Offset: p.LogEndOffset()}, {Topic: "other"}}
			over := startWait(r, at, 0, ReadCommitted)
			time.Sleep(10 * time.Second)
			ended, _ := over()
			require.False(t, ended, what)
			do()
			time.Sleep(200 * time.Millisecond)
			ended, err := over()
			require.True(t, ended, what)
			require.NoError(t, err, what)
		}
		gone := startWait(r, []Position{{Topic: "other"}}, 0, ReadCommitted)
		time.Sleep(time.Second)
		require.NoError(t, w.DeleteTopic(ctx, "other"))
		time.Sleep(200 * time.Millisecond)
		ended, err := gone()
		require.True(t, ended)
		require.NoError(t, err)
		soon, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		at := []Position{{Topic: "orders", Offset: p.LogEndOffset()}}
		require.ErrorIs(t, r.Wait(soon, at, 0, ReadCommitted), context.DeadlineExceeded)
		closed := startWait(r, at, 0, ReadCommitted)
		ended, _ = closed()
		require.False(t, ended)
		require.NoError(t, r.Close())
		ended, err = closed()
		require.True(t, ended)
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, w.Close())
	})
}

// TestFollowerCloseBesideAll: calls that are under way while a follower, and then
// its writer, is closed end, with ErrClosed.
func TestFollowerCloseBesideAll(t *testing.T) {
	for range 5 {
		m := vfs.NewMem()
		w, err := openFS(m, &Options{DiskLimit: 2 << 20})
		require.NoError(t, err)
		p := part(t, w, "orders", TopicConfig{SegmentBytes: 8 << 10, Durability: Written})
		fill(t, p, 100)
		r, err := openFollower(m, nil)
		require.NoError(t, err)
		q := reopened(t, r, "orders")
		var wg sync.WaitGroup
		loop := func(name string, call func() error) {
			wg.Go(func() {
				for {
					err := call()
					if err == nil || errors.Is(err, ErrOffsetOutOfRange) || errors.Is(err, ErrNoSpace) {
						continue
					}
					if !errors.Is(err, ErrClosed) || strings.Count(err.Error(), "leat:") != 1 {
						t.Errorf("%s: %v", name, err)
					}
					return
				}
			})
		}
		fetch := func(p *Partition) func() error {
			return func() error {
				f, err := p.Fetch(FetchOptions{Offset: max(p.LogStartOffset(), 0)})
				if err == nil {
					_ = f.Bytes()
					f.Release()
				}
				return err
			}
		}
		wait := func(s *Store) func() error {
			return func() error {
				return s.Wait(ctx, []Position{{Topic: "orders", Offset: p.LogEndOffset()}}, 1, ReadCommitted)
			}
		}
		read := func(p *Partition) func() error {
			return func() error {
				rd, err := p.Reader(ReaderOptions{})
				if err != nil {
					return err
				}
				defer rd.Close()
				for range 20 {
					if _, err := rd.Next(ctx); err != nil {
						return err
					}
				}
				return nil
			}
		}
		out := t.TempDir()
		n := 0
		loop("append", func() error { _, err := p.Append(ctx, Record{Value: make([]byte, 500)}); return err })
		loop("truncate", func() error { return p.TruncateTo(p.LogEndOffset() - 1) })
		loop("delete", func() error { return p.DeleteRecords(ctx, p.LogEndOffset()-50) })
		loop("retain", func() error { _, err := w.Retain(ctx); return err })
		loop("export", func() error { n++; return p.Export(ctx, fmt.Sprintf("%s/%d", out, n)) })
		loop("configure", func() error {
			return p.Topic().SetConfig(ctx, TopicConfig{SegmentBytes: 16 << 10, Durability: Written})
		})
		loop("reopen", func() error { return p.Reopen(ctx) })
		loop("writer's fetch", fetch(p))
		loop("writer's wait", wait(w))
		loop("writer's reader", read(p))
		loop("fetch", fetch(q))
		loop("wait", wait(r))
		loop("reader", read(q))
		loop("topic", func() error { _, err := r.Topic("orders"); return err })
		<-time.After(20 * time.Millisecond)
		require.NoError(t, r.Close())
		require.NoError(t, w.Close())
		wg.Wait()
	}
}
