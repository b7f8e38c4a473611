package leat

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestCompactKeepsTombstones: with TombstoneRetain Unlimited tombstones stay for
// good.
func TestCompactKeepsTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := openFS(vfs.NewMem(), &Options{Cleaner: Cleaner{Off: true}})
		require.NoError(t, err)
		c := compacted
		c.Compaction.TombstoneRetain = Unlimited
		p := part(t, st, "orders", c)
		puts(t, p, 40, 4)
		put(t, p, "k2", "")
		want := latestOf(rowsOf(t, p))
		for range 3 {
			require.NoError(t, p.Compact(ctx, nil))
			require.Equal(t, want, rowsOf(t, p))
			time.Sleep(1000 * time.Hour)
		}
		require.NoError(t, st.Close())
	})
}

// TestBackupNotCleaner: a copy is not said to be cleaner than it is by a cleaning
// that comes by behind it: later ones would take the tombstones, and leave what
// they delete.
func TestBackupNotCleaner(t *testing.T) {
	st := diskStore(t, t.TempDir(), &Options{Cleaner: Cleaner{Off: true}})
	c := compacted
	c.Compaction.TombstoneRetain = time.Millisecond
	p := part(t, st, "orders", c)
	puts(t, p, 40, 4)
	require.NoError(t, p.Compact(ctx, nil))
	puts(t, p, 40, 4)
	put(t, p, "k2", "")
	dir := t.TempDir()
	_, err := st.Backup(ctx, dir, BackupOptions{Progress: func(b BackupProgress) {
		if b.Done == b.Total {
			require.NoError(t, p.Compact(ctx, nil))
		}
	}})
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, cleanerName))
	require.NoError(t, err)
	require.Contains(t, string(b), "\norders 0 40\n")
	b, err = os.ReadFile(filepath.Join(st.fsys.Path("."), cleanerName))
	require.NoError(t, err)
	require.Contains(t, string(b), "\norders 0 81\n")
	require.NoError(t, st.Close())
}
