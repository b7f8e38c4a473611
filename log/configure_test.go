package log

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
)

// TestConfigureSizes: the next append goes by the new sizes, whether the active
// segment is empty, has begun or is larger already.
func TestConfigureSizes(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		g := newRig(t, w, true, Config{SegmentBytes: 64 << 10, Durability: Written})
		l := g.open()
		put := func(n int) {
			t.Helper()
			_, err := l.Append(context.Background(), []Record{{Value: make([]byte, n), Timestamp: time.UnixMilli(1)}}, 0)
			require.NoError(t, err)
		}
		c := g.cfg
		c.SegmentBytes = 8 << 10
		require.NoError(t, l.Configure(c)) // empty: smaller
		for range 4 {
			put(3000)
		}
		require.Len(t, l.Segments(), 2, "two to a segment")
		c.SegmentBytes = 256 << 10
		require.NoError(t, l.Configure(c))
		put(100_000) // in a new segment if the active one has its map already
		put(100_000)
		n := len(l.Segments())
		require.LessOrEqual(t, n, 3)
		c.SegmentBytes = 10_000
		require.NoError(t, l.Configure(c))
		put(100) // the active one is larger already
		require.Len(t, l.Segments(), n+1)
		_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 20_000)}}, 0)
		require.ErrorIs(t, err, ErrRecordTooLarge)

		c.SegmentBytes, c.IndexBytes, c.IndexInterval = 1<<20, 48, 1
		require.NoError(t, l.Configure(c))
		put(600_000)
		put(600_000) // a segment of the new settings
		n = len(l.Segments())
		for range 12 {
			put(100)
		}
		require.Greater(t, len(l.Segments()), n, "its index was full")
		g.cfg = c
		end := l.LogEndOffset()
		g.reopen()
		require.Equal(t, end, g.log.LogEndOffset())
	}
}

// TestConfigureEmptyLarger: a segment that nothing was appended to grows.
func TestConfigureEmptyLarger(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		g := newRig(t, w, true, Config{SegmentBytes: 1 << 10})
		l := g.open()
		c := g.cfg
		c.SegmentBytes = 1 << 20
		require.NoError(t, l.Configure(c))
		_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 100_000)}}, Written)
		require.NoError(t, err)
		require.Len(t, l.Segments(), 1)
	}
}

// TestConfigureWatermark: whatever it is made of, it does not go back, and what
// lies below it holds what the configuration demands.
func TestConfigureWatermark(t *testing.T) {
	kinds := []Config{{Durability: Written}, {Durability: Synced}, {ExternalWatermark: true}, {Durability: Written, ExternalWatermark: true}}
	for _, from := range kinds {
		for _, to := range kinds {
			from.SegmentBytes, from.FlushInterval = 64<<10, -1
			g := newRig(t, WriterMapped, true, from)
			l := g.open()
			for range 5 {
				_, err := l.Append(context.Background(), []Record{{Value: []byte("x")}}, Written)
				require.NoError(t, err)
			}
			if from.ExternalWatermark {
				require.NoError(t, l.SetHighWatermark(3))
			}
			was := l.HighWatermark()
			to.SegmentBytes, to.FlushInterval = 64<<10, -1
			require.NoError(t, l.Configure(to))
			now := l.HighWatermark()
			require.GreaterOrEqual(t, now, was, "%+v to %+v", from, to)
			switch {
			case to.ExternalWatermark:
				require.Equal(t, was, now, "until the wrapper moves it")
				require.NoError(t, l.SetHighWatermark(4))
				require.Equal(t, max(was, 4), l.HighWatermark())
			case to.Durability == Written:
				require.Equal(t, int64(5), now)
			default:
				require.LessOrEqual(t, now, l.DurableEnd())
				if !from.watermarkIsDurable() {
					require.Equal(t, int64(5), l.DurableEnd(), "synced first")
				}
			}
		}
	}
}

// TestConfigureSyncFails: what cannot be synced fails the log, and the watermark
// stays.
func TestConfigureSyncFails(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 64 << 10, Durability: Written, FlushInterval: -1})
	l := g.open()
	_, err := l.Append(context.Background(), []Record{{Value: []byte("x")}}, 0)
	require.NoError(t, err)
	l.folder.failed = context.DeadlineExceeded // any error
	l.seals.names = true
	c := g.cfg
	c.Durability = Synced
	require.ErrorIs(t, l.Configure(c), ErrFailed)
	require.Equal(t, int64(1), l.HighWatermark())
	require.NoError(t, l.Configure(c), "a failed log is left alone")
	require.Equal(t, int64(1), l.HighWatermark())
}

// TestConfigureUnderLoad changes everything while others append, sync and look:
// the watermark each sees never goes back.
func TestConfigureUnderLoad(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{SegmentBytes: 16 << 10, Durability: Written, FlushInterval: time.Millisecond, FlushBytes: 4 << 10})
	l := g.open()
	stop := make(chan struct{})
	running := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for running() {
				_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 200)}}, Durability(i%3))
				require.NoError(t, err)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			last := int64(0)
			for running() {
				now := l.HighWatermark()
				require.GreaterOrEqual(t, now, last)
				last = now
			}
		})
	}
	for i := range 200 {
		c := g.cfg
		c.SegmentBytes = int64(8+8*(i%3)) << 10
		c.Durability = Durability(1 + i%2)
		c.FlushInterval = []time.Duration{time.Millisecond, -1, time.Hour}[i%3]
		c.FlushBytes = []int64{4 << 10, -1}[i%2]
		c.Compression = []compress.Codec{compress.None, compress.LZ4}[i/2%2]
		c.LogAppendTime = i%5 == 0
		require.NoError(t, l.Configure(c))
	}
	close(stop)
	wg.Wait()
	require.NoError(t, l.Close())
}

// TestConfigureEpochs: a log takes its epochs back.
func TestConfigureEpochs(t *testing.T) {
	g := newRig(t, WriterMapped, true, Config{ExternalEpochs: true})
	l := g.open()
	require.Equal(t, int32(-1), l.LatestEpoch())
	c := g.cfg
	c.ExternalEpochs = false
	require.NoError(t, l.Configure(c))
	require.Equal(t, int32(0), l.LatestEpoch())
	_, err := l.Append(context.Background(), []Record{{Value: []byte("x")}}, 0)
	require.NoError(t, err)
	g.cfg = c
	g.reopen()
	require.Equal(t, int32(0), g.log.LatestEpoch())
}

// TestConfigureSyncsTwice: what was appended while the first sync ran is synced
// before the watermark becomes the durable end.
func TestConfigureSyncsTwice(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 64 << 10, Durability: Written, FlushInterval: -1})
	l := g.open()
	put := func() {
		_, err := l.Append(context.Background(), []Record{{Value: []byte("x")}}, Written)
		require.NoError(t, err)
	}
	put()
	m := g.fs.(*vfs.Mem)
	var once sync.Once
	m.SetHook(func(op vfs.Op, _ string, before bool) error {
		if op == vfs.OpSync && !before {
			once.Do(put)
		}
		return nil
	})
	defer m.SetHook(nil)
	c := g.cfg
	c.Durability = Synced
	require.NoError(t, l.Configure(c))
	require.Equal(t, int64(2), l.LogEndOffset())
	require.Equal(t, int64(2), l.HighWatermark())
}

// TestConfigureWhileFlushing: a flush under way ends when there is no limit of
// bytes any more.
func TestConfigureWhileFlushing(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 64 << 10, Durability: Written, FlushInterval: -1, FlushBytes: 1})
	l := g.open()
	m := g.fs.(*vfs.Mem)
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.SetHook(func(op vfs.Op, _ string, before bool) error {
		if op == vfs.OpSync && before {
			once.Do(func() {
				close(reached)
				<-release
			})
		}
		return nil
	})
	defer m.SetHook(nil)
	_, err := l.Append(context.Background(), []Record{{Value: []byte("x")}}, Written)
	require.NoError(t, err)
	<-reached
	c := g.cfg
	c.FlushBytes = -1
	require.NoError(t, l.Configure(c))
	close(release)
	flushing := true
	for i := 0; i < 100_000 && flushing; i++ {
		l.writing.Lock()
		flushing = l.w.flushing
		l.unlock()
		runtime.Gosched()
	}
	require.NoError(t, l.Configure(g.cfg)) // ends it in any case
	require.False(t, flushing)
}
