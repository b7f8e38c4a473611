package log

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// rig is one log over a memory or a real directory, opened and closed at will.
type rig struct {
	t   testing.TB
	fs  vfs.FS
	env *Env
	cfg Config
	st  OpenState
	log *Log
	rep *Report
	dir string // of the partition; "" is t-0

	pinned *Cursor // closed with the log
}

func (g *rig) open() *Log {
	g.t.Helper()
	l, rep, err := g.tryOpen()
	require.NoError(g.t, err)
	g.log, g.rep = l, rep
	return l
}

func (g *rig) tryOpen() (*Log, *Report, error) {
	if g.dir == "" {
		g.dir = "t-0"
	}
	return Open(g.env, g.dir, g.cfg, g.st)
}

// reopen closes in order and opens again as a store would.
func (g *rig) reopen() *Log {
	g.t.Helper()
	require.NoError(g.t, g.log.Close())
	require.True(g.t, g.log.Clean())
	g.st = OpenState{Clean: true, RecoveryPoint: g.log.RecoveryPoint(), StartOffset: g.log.LogStartOffset(), HighWatermark: -1,
		Marks: g.st.Marks, MarksValid: g.st.Marks != nil, Adopted: g.st.Adopted}
	return g.open()
}

// forEachWriter runs a test over memory and real files, with both writers.
func forEachWriter(t *testing.T, c Config, f func(t *testing.T, g *rig)) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for _, mem := range []bool{true, false} {
			t.Run(fmt.Sprintf("mapped=%v/mem=%v", w == WriterMapped, mem), func(t *testing.T) {
				g := newRig(t, w, mem, c)
				f(t, g)
			})
		}
	}
}

func newRig(t testing.TB, w Writer, mem bool, c Config) *rig {
	var fsys vfs.FS
	if mem {
		fsys = vfs.NewCrashMem()
	} else {
		var err error
		fsys, err = vfs.OS(t.TempDir(), vfs.Options{Create: true})
		require.NoError(t, err)
	}
	require.NoError(t, fsys.Mkdir("t-0"))
	if c.Topic == "" {
		c.Topic = "t"
	}
	g := &rig{t: t, fs: fsys, cfg: c, st: OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}}
	g.env = NewEnv(EnvOptions{FS: fsys, MaxMaps: 1000, Writer: w})
	t.Cleanup(func() {
		if g.log != nil {
			g.log.Abandon()
		}
		g.env.Close()
		_ = fsys.Close()
	})
	return g
}

func readAllRecords(t testing.TB, l *Log, from int64) (out []codec.Record) {
	t.Helper()
	out, err := tryRecords(l, from)
	require.NoError(t, err)
	return out
}

func tryRecords(l *Log, from int64) (out []codec.Record, err error) {
	c := l.NewCursor(from)
	defer c.Close()
	for {
		b, err := c.Next(l.LogEndOffset())
		if err == ErrWait {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		payload, err := codec.Unpack(b, nil, l.env.coders, MaxUnpacked)
		if err != nil {
			return out, err
		}
		rs, err := codec.DecodeAll(b, payload, nil)
		if err != nil {
			return out, err
		}
		for _, r := range rs {
			out = append(out, r.Clone())
		}
	}
}

func TestAppendReadReopen(t *testing.T) {
	ctx := context.Background()
	forEachWriter(t, Config{SegmentBytes: 4096, IndexInterval: 200, IndexBytes: 4096}, func(t *testing.T, g *rig) {
		l := g.open()
		n := 0
		add := func(count int) {
			rs := make([]Record, count)
			for i := range rs {
				rs[i] = Record{Key: fmt.Appendf(nil, "k%d", n+i), Value: fmt.Appendf(nil, "value %d", n+i), Timestamp: time.UnixMilli(int64(1_000_000 + n + i))}
			}
			base, err := g.log.Append(ctx, rs, Synced)
			require.NoError(t, err)
			require.EqualValues(t, n, base)
			n += count
		}
		check := func() {
			rs := readAllRecords(t, g.log, 0)
			require.Len(t, rs, n)
			for i, r := range rs {
				require.EqualValues(t, i, r.Offset)
				require.Equal(t, fmt.Sprintf("value %d", i), string(r.Value))
				require.EqualValues(t, 1_000_000+i, r.Timestamp)
			}
			for i := 0; i < n; i += 7 {
				rs := readAllRecords(t, g.log, int64(i))
				require.LessOrEqual(t, rs[0].Offset, int64(i))
				off, ts, ok, err := g.log.OffsetForTimestamp(int64(1_000_000 + i))
				require.NoError(t, err)
				require.True(t, ok)
				require.EqualValues(t, i, off)
				require.EqualValues(t, 1_000_000+i, ts)
			}
		}
		for i := range 60 {
			add(1 + i%5)
		}
		check()
		require.Greater(t, len(l.Segments()), 1)
		for range 3 {
			g.reopen()
			require.True(t, g.rep.Clean)
			check()
			add(3)
			check()
		}
		// Not closed: recovered from what is there.
		g.log.Abandon()
		g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
		g.open()
		require.False(t, g.rep.Clean)
		check()
		add(2)
		check()
	})
}
