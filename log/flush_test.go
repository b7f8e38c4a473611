package log

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestFlushBytesOfSlowDisk: a disk that is slower than the appends does not make
// a goroutine of each, and what came while it was busy is synced too.
func TestFlushBytesOfSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, WriterMapped, true, Config{Durability: Written, FlushBytes: 1, FlushInterval: -1, SegmentBytes: 1 << 20})
		l := g.open()
		disk := make(chan struct{})
		g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, _ string, before bool) error {
			if op == vfs.OpSync && before {
				<-disk
			}
			return nil
		})
		before := runtime.NumGoroutine()
		for range 1000 {
			_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 100)}}, 0)
			require.NoError(t, err)
		}
		require.Less(t, runtime.NumGoroutine(), before+10)
		require.Zero(t, l.DurableEnd())
		close(disk)
		synctest.Wait()
		require.EqualValues(t, 1000, l.DurableEnd())
	})
}
