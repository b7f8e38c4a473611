package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// requireSound: a check finds no damage.
func requireSound(t testing.TB, dir string) {
	t.Helper()
	for f, err := range leat.Check(t.Context(), dir, nil) {
		require.NoError(t, err)
		require.NotEqual(t, leat.SeverityDamage, f.Severity, "%v", f)
	}
}

// sayings are the values of a topic's first partition by their offsets.
func sayings(t testing.TB, tp *leat.Topic) map[int64]string {
	t.Helper()
	p, err := tp.Partition(0)
	require.NoError(t, err)
	r, err := p.Reader(leat.ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	values := map[int64]string{}
	for rec, err := range r.Records(t.Context()) {
		require.NoError(t, err)
		values[rec.Offset] = string(rec.Value)
	}
	return values
}

// busy is a store that is written all the time: records that say where they are.
type busy struct {
	st    *leat.Store
	acked sync.Map // topic id: *atomic.Int64
	stop  context.CancelFunc
	work  sync.WaitGroup
}

func startBusy(t *testing.T, dir string) *busy {
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	b := &busy{st: st, stop: stop}
	small := leat.TopicConfig{SegmentBytes: 4 << 10, IndexInterval: 256}
	written := small
	written.Durability = leat.Written
	short := small
	short.Retention.Bytes = 20 << 10
	for name, c := range map[string]leat.TopicConfig{"synced": small, "written": written, "short": short} {
		tp, err := st.CreateTopic(ctx, name, c)
		require.NoError(t, err)
		b.write(ctx, t, tp)
	}
	b.work.Go(func() { // topics that come and go
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("brief%d", i%3)
			tp, err := st.CreateTopic(ctx, name, small)
			if err == nil {
				part, stopOne := context.WithCancel(ctx)
				var one sync.WaitGroup
				one.Go(func() { b.append(part, t, tp, 30) })
				one.Wait()
				stopOne()
				if i%2 == 0 {
					_, err = st.Retain(ctx)
				}
			}
			if err == nil {
				err = st.DeleteTopic(ctx, name)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	t.Cleanup(b.end)
	return b
}

func (b *busy) end() {
	if b.stop != nil {
		b.stop()
		b.work.Wait()
		_ = b.st.Close()
		b.stop = nil
	}
}

func (b *busy) write(ctx context.Context, t *testing.T, tp *leat.Topic) {
	b.work.Go(func() { b.append(ctx, t, tp, 1<<40) })
}

// append appends records that say where they are.
func (b *busy) append(ctx context.Context, t *testing.T, tp *leat.Topic, n int64) {
	acked := new(atomic.Int64)
	b.acked.Store(tp.ID(), acked)
	p, err := tp.Partition(0)
	if err != nil {
		t.Error(err)
		return
	}
	for i := int64(0); i < n && ctx.Err() == nil; i++ {
		offset, err := p.Append(context.Background(), leat.Record{Value: []byte(saying(tp, i))})
		if err != nil || offset != i {
			t.Errorf("offset %d, not %d: %v", offset, i, err)
			return
		}
		acked.Store(i + 1)
		if tp.Name() == "short" && i%40 == 0 {
			if _, err := tp.Retain(context.Background()); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

func saying(tp *leat.Topic, offset int64) string {
	return fmt.Sprintf("%v-%d-%s", tp.ID(), offset, strings.Repeat("x", int(offset%97)))
}

// TestBackupBusy: a store that another process is writing to is copied again and
// again. Each copy is sound, and of each topic in it what was acknowledged before,
// and nothing else.
func TestBackupBusy(t *testing.T) {
	dir := t.TempDir()
	b := startBusy(t, dir)
	rounds := 3
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 100
	}
	for i := range rounds {
		before := map[string]int64{}
		for _, name := range []string{"synced", "short"} {
			tp, err := b.st.Topic(name)
			require.NoError(t, err)
			before[name] = 0
			if n, ok := b.acked.Load(tp.ID()); ok {
				before[name] = n.(*atomic.Int64).Load()
			}
		}
		to := filepath.Join(t.TempDir(), "to")
		args := []string{"backup", dir, to}
		if i%3 == 2 {
			args = append(args, "--copy")
		}
		r := tool(t, args...)
		require.Equal(t, exitOK, r.status, r.stderr)
		require.Contains(t, r.stdout, "bytes shared")
		requireSound(t, to)
		c, err := leat.OpenReadOnly(to, nil)
		require.NoError(t, err)
		for tp := range c.Topics() {
			values := sayings(t, tp)
			p, err := tp.Partition(0)
			require.NoError(t, err)
			start, end := p.LogStartOffset(), p.LogEndOffset()
			require.Len(t, values, int(end-start), tp.Name())
			for offset, v := range values {
				require.Equal(t, saying(tp, offset), v)
			}
			require.GreaterOrEqual(t, end, before[tp.Name()], tp.Name())
			delete(before, tp.Name())
		}
		require.Empty(t, before)
		require.NoError(t, c.Close())
	}
	b.end()
	requireSound(t, dir)
}

// TestBackupKilled: a backup that is killed is no store, or a whole one, and the
// store that was copied does not notice.
func TestBackupKilled(t *testing.T) {
	dir := t.TempDir()
	makeDamageable(t, dir)
	rounds := 6
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 300
	}
	calls := []string{"linkat", "fsync", "fdatasync", "renameat,renameat2", "unlinkat", "pwrite64", "mkdirat"}
	killed := 0
	for i := range rounds {
		to := filepath.Join(t.TempDir(), "to")
		if killAt(t, calls[i%len(calls)], 1+i/len(calls)*3%40, "backup", dir, to) {
			continue
		}
		killed++
		c, err := leat.OpenReadOnly(to, nil)
		switch {
		case err == nil:
			require.NoError(t, c.Close())
			requireSound(t, to)
		case errors.Is(err, leat.ErrUnfinished):
			_, err := leat.Open(to, nil)
			require.ErrorIs(t, err, leat.ErrUnfinished)
			r := tool(t, "backup", dir, to)
			require.Equal(t, exitFailed, r.status)
			require.Contains(t, r.stderr, "never finished")
		default:
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		requireSound(t, dir)
	}
	require.Positive(t, killed)
}

// killAt runs the tool and kills it as it enters a system call for the nth time.
func killAt(t *testing.T, calls string, n int, args ...string) (ended bool) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot run: %v: %s", err, out)
	}
	names := "?" + strings.ReplaceAll(calls, ",", ",?") // one that the architecture does not have is no error
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, strace, append([]string{"-f", "-qq", "-o", "/dev/null",
		"-e", "trace=" + names, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", names, n), built}, args...)...)
	return cmd.Run() == nil
}

// makeDamageable makes a store that was closed in order, of two topics in several
// segments.
func makeDamageable(t testing.TB, dir string) {
	t.Helper()
	st, err := leat.Open(dir, nil)
	require.NoError(t, err)
	for _, name := range []string{"orders", "other"} {
		tp, err := st.CreateTopic(t.Context(), name, leat.TopicConfig{SegmentBytes: 4 << 10, IndexInterval: 256})
		require.NoError(t, err)
		p, err := tp.Partition(0)
		require.NoError(t, err)
		for i := range int64(150) {
			_, err := p.Append(t.Context(), leat.Record{Value: []byte(saying(tp, i))})
			require.NoError(t, err)
		}
	}
	require.NoError(t, st.Close())
}
