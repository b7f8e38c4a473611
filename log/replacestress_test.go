package log

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplaceBeside: appends, rolls, readers, fetches, searches by time and
// retention beside replacements. Offsets that are multiples of 8 stay.
func TestReplaceBeside(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		g.add(40, Written)
		var wg sync.WaitGroup
		var done atomic.Bool
		var reads atomic.Int64
		var failed atomic.Pointer[error]
		beside := func(f func() error) {
			wg.Go(func() {
				for !done.Load() && failed.Load() == nil {
					var outside *OffsetError
					if err := f(); err != nil && !errors.As(err, &outside) {
						failed.Store(&err)
					}
					reads.Add(1)
					runtime.Gosched()
				}
			})
		}
		inOrder := func(offsets []int64) error {
			for i := 1; i < len(offsets); i++ {
				if offsets[i] <= offsets[i-1] || offsets[i]/8 > offsets[i-1]/8+1 {
					return fmt.Errorf("offset %d after %d", offsets[i], offsets[i-1])
				}
			}
			return nil
		}
		beside(func() error {
			c := l.NewCursor(l.LogStartOffset())
			defer c.Close()
			var offsets []int64
			for {
				b, err := c.Next(l.LogEndOffset())
				if err == ErrWait {
					return inOrder(offsets)
				}
				if err != nil {
					return err
				}
				offsets = append(offsets, b.BaseOffset())
			}
		})
		beside(func() error {
			var offsets []int64
			for at := l.LogStartOffset(); ; {
				var f Fetched
				if err := l.Fetch(FetchOptions{Offset: at, MaxBytes: 300, Committed: at%2 == 0, Verify: true}, &f); err != nil {
					return err
				}
				defer f.Release()
				if f.Len() == 0 {
					return inOrder(offsets)
				}
				if err := checkRun(f.mu.seg, f.Bytes(), f.pos, f.First); err != nil {
					return err
				}
				offsets = append(offsets, f.First)
				at = f.Next
			}
		})
		beside(func() error {
			start := l.LogStartOffset()
			off, _, found, err := l.OffsetForTimestamp(1000 + start + 3)
			if err == nil && (!found || off < start || off > l.LogStartOffset()+16) {
				err = fmt.Errorf("offset %d for the time of %d: %v", off, start+3, found)
			}
			return err
		})
		rounds := int64(40)
		if strings.HasSuffix(t.Name(), "false") {
			rounds = 8 // on a disk
		}
		for i := range rounds {
			g.add(5, []Durability{Written, Synced}[i%2])
			n := len(g.bases())
			first := min([]int{0, 1, n / 2, n - 3}[i%4], n-2)
			require.NoError(t, sift(l, max(first, 0), min(3, n-1-max(first, 0)), func(o int64) bool { return o%8 == 0 || (o+i)%3 > 0 }))
			if i%10 == 9 {
				_, err := l.DeleteOldest(context.Background(), Floor{})
				require.NoError(t, err)
			}
			for was := reads.Load(); reads.Load() < was+3 && failed.Load() == nil; {
				runtime.Gosched()
			}
		}
		done.Store(true)
		wg.Wait()
		if err := failed.Load(); err != nil {
			require.NoError(t, *err)
		}
		require.NoError(t, inOrder(offsetsOf(t, l)))
		l = g.reopen()
		require.True(t, g.rep.Clean)
		require.NoError(t, inOrder(offsetsOf(t, l)))
	})
}
