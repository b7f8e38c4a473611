package log

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNudge: a nudge ends a WaitFor, the present one or the next, until Calm.
func TestNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWaiter()
		over := make(chan error)
		wait := func() { over <- w.WaitFor(context.Background(), nil, WaitOptions{}) }
		go wait()
		synctest.Wait()
		w.Nudge()
		require.NoError(t, <-over)
		require.True(t, w.Nudged())
		go wait()
		require.NoError(t, <-over, "it was not heard yet")
		w.Calm()
		require.False(t, w.Nudged())
		w.Nudge() // before the wait, whose channel is emptied by another
		w.drain()
		go wait()
		require.NoError(t, <-over)
		w.Calm()
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, w.WaitFor(soon, nil, WaitOptions{}), context.DeadlineExceeded)
	})
}

// TestWaitForInSeveralCalls: what interrupts a wait does not make it longer.
func TestWaitForInSeveralCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterMapped, true, smallSegments)
		g.open()
		g.add(1, Synced)
		defer g.log.Close()
		w := NewWaiter()
		var since time.Time
		begun := time.Now()
		for n := 0; ; n++ {
			late := time.AfterFunc(4*time.Second, w.Nudge)
			err := w.WaitFor(context.Background(), []Watch{{Log: g.log}}, WaitOptions{MinBytes: 1 << 20, MaxWait: 10 * time.Second, Since: &since})
			late.Stop()
			require.NoError(t, err)
			if !w.Nudged() {
				require.Equal(t, 2, n)
				break
			}
			w.Calm()
		}
		require.Equal(t, 10*time.Second, time.Since(begun))
	})
}

// TestWaitForAnything: without MinBytes an end beyond the offset will do.
func TestWaitForAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterMapped, true, smallSegments)
		g.open()
		defer g.log.Close()
		w := NewWaiter()
		over := make(chan error)
		for i := range int64(3) {
			go func() {
				over <- w.WaitFor(context.Background(), []Watch{{Log: g.log, Offset: i}}, WaitOptions{})
			}()
			synctest.Wait()
			select {
			case <-over:
				t.Fatal("there is nothing")
			default:
			}
			g.add(1, Synced)
			require.NoError(t, <-over)
		}
	})
}
