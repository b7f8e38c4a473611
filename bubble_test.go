package leat

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestBubble: a store works inside a testing/synctest bubble, as users' tests
// have it, and leaves nothing running: the bubble fails if it does.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		for name, c := range map[string]TopicConfig{
			"synced": {}, "written": {Durability: Written}, "packed": {Compression: Zstd, Durability: Written}, "deleted": {},
		} {
			p := part(t, st, name, c)
			got, over := make(chan int64), make(chan error)
			go func() {
				r, err := p.Reader(ReaderOptions{})
				require.NoError(t, err)
				defer r.Close()
				for rec, err := range r.Records(ctx) {
					if err != nil {
						over <- err
						return
					}
					got <- rec.Offset
				}
			}()
			for i := range int64(20) {
				time.Sleep(time.Minute / 3) // checkpoints come between
				_, err := p.Append(ctx, Record{Value: []byte("v")})
				require.NoError(t, err)
				require.Equal(t, i, <-got)
			}
			if name == "deleted" {
				go func() { require.NoError(t, st.DeleteTopic(ctx, name)) }()
				require.ErrorIs(t, <-over, ErrUnknownTopic)
				continue
			}
			defer func() { require.ErrorIs(t, <-over, ErrClosed) }()
		}
		soon, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		begun := time.Now()
		tp, err := st.Topic("packed")
		require.NoError(t, err)
		p, err := tp.Partition(0)
		require.NoError(t, err)
		r, err := p.Reader(ReaderOptions{From: Latest})
		require.NoError(t, err)
		_, err = r.Next(soon)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(begun))
		require.NoError(t, st.Close())
	})
}

// TestCheckpointTimer: checkpoints follow an append by a minute, and come again
// until what was written to has come to rest, which takes two.
func TestCheckpointTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{})
		fill(t, p, 3)
		text := func() string {
			b, err := readSmall(m, recoveryName)
			require.NoError(t, err)
			return string(b)
		}
		time.Sleep(59 * time.Second)
		require.NotContains(t, text(), "orders")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Contains(t, text(), "orders 0 3\n")
		fill(t, p, 2)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		require.Contains(t, text(), "orders 0 5\n")
		require.Equal(t, 1, st.env.Awake())
		require.True(t, st.dirty.Load())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, st.env.Awake())
		require.False(t, st.dirty.Load(), "nothing is armed any more")
		time.Sleep(time.Hour)
		require.Zero(t, st.env.Awake())
		fill(t, p, 1)
		require.Equal(t, 1, st.env.Awake())
		time.Sleep(121 * time.Second)
		synctest.Wait()
		require.Zero(t, st.env.Awake())
		require.NoError(t, st.Close())
	})
}

// TestNoTimerOfFailedOpen: an open that fails after it wrote to __metadata leaves
// no checkpoint behind, which would come a minute later to what is unmapped by
// then, and maybe somebody else's.
func TestNoTimerOfFailedOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewCrashMem()
		f := &fault{op: vfs.OpSync, name: "__metadata-0/00000000000000000000.log", err: syscall.EIO}
		f.on.Store(true)
		m.SetHook(f.hook)
		_, err := openFS(m, nil)
		require.ErrorIs(t, err, syscall.EIO)
		begun := time.Now()
		time.Sleep(time.Hour)
		list, err := m.ReadDir(".")
		require.NoError(t, err)
		for _, e := range list {
			require.False(t, e.ModTime.After(begun), "%s was written", e.Name)
		}
	})
}

// TestLockWait is about time only: the lock is let go after a second.
func TestLockWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		begun := time.Now()
		_, err = openFS(m, &Options{LockWait: time.Minute})
		require.ErrorIs(t, err, ErrLocked)
		require.Equal(t, time.Minute, time.Since(begun))
		go func() {
			time.Sleep(time.Second)
			st.Close()
		}()
		begun = time.Now()
		again, err := openFS(m, &Options{LockWait: time.Minute})
		require.NoError(t, err)
		require.Less(t, time.Since(begun), 1200*time.Millisecond)
		require.NoError(t, again.Close())
	})
}

// TestNothingIsLeft: no goroutine outlives Close, over real files too.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		st, err := Open(t.TempDir(), nil)
		require.NoError(t, err)
		p := part(t, st, "orders", TopicConfig{Durability: Written, SegmentBytes: 16 << 10})
		fill(t, p, 500)
		r, err := p.Reader(ReaderOptions{})
		require.NoError(t, err)
		_, err = r.Next(ctx)
		require.NoError(t, err)
		require.NoError(t, st.Close())
	}
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched() // one that has just returned may still be counted
	}
	stacks := make([]byte, 1<<20)
	require.LessOrEqual(t, runtime.NumGoroutine(), before, "%s", stacks[:runtime.Stack(stacks, true)])
}
