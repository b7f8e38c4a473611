package leat

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// watchedNames tells of each change of a name before it is made; nil: nobody.
type watchedNames struct {
	vfs.FS
	mu   sync.Mutex // the sealer comes by as well
	tell func(name string)
}

func (w *watchedNames) watch(tell func(name string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell = tell
}

func (w *watchedNames) told(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tell != nil {
		w.tell(name)
	}
}

func (w *watchedNames) Rename(from, to string) error {
	w.told(from)
	return w.FS.Rename(from, to)
}

func (w *watchedNames) Remove(name string) error {
	w.told(name)
	return w.FS.Remove(name)
}

// newestOf is the last value of each key of a topic, and where it lies.
func newestOf(t testing.TB, dir, topic string) map[string]string {
	t.Helper()
	st, err := OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer st.Close()
	newest := map[string]string{}
	r, err := reopened(t, st, topic).Reader(ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		newest[string(rec.Key)] = fmt.Sprintf("%s at %d", rec.Value, rec.Offset)
	}
	require.NoError(t, r.Close())
	return newest
}

// TestRepairBesideHalfACleaning: what a kill in the middle of a cleaning leaves is no
// damage, and a repair that has other things to do says nothing of it, and loses
// none of it.
func TestRepairBesideHalfACleaning(t *testing.T) {
	dir := t.TempDir()
	tree, err := vfs.OS(dir, vfs.Options{})
	require.NoError(t, err)
	w := &watchedNames{FS: tree}
	st := newStore(w, &Options{})
	require.NoError(t, st.open())
	fill(t, part(t, st, "other", TopicConfig{SegmentBytes: 2 << 10}), 60)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 1 << 10, IndexInterval: 128, Durability: Written, Cleanup: CleanupCompact})
	more := func(n, keys int) {
		for i := range n {
			_, err := p.Append(ctx, Record{Key: fmt.Appendf(nil, "k%d", i%keys), Value: fmt.Appendf(nil, "value %d", i)})
			require.NoError(t, err)
		}
	}
	var images []string
	events, swapped := 0, false
	for round, keys := range []int{37, 30} {
		more(90, keys)
		w.watch(func(name string) {
			// A sample of the moments, and one at which a log file is about to get its name.
			swap := !swapped && strings.HasSuffix(name, ".log.swap") && exists(filepath.Join(dir, name))
			if events++; round > 0 && strings.HasPrefix(name, "orders-0/") && (swap || events%9 == 0 || os.Getenv("LEAT_LONG") != "") {
				swapped = swapped || swap
				to := filepath.Join(t.TempDir(), fmt.Sprint(len(images), "-", filepath.Base(name)))
				require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
				images = append(images, to)
			}
		})
		require.NoError(t, p.Topic().Compact(ctx, nil))
		w.watch(nil)
	}
	require.NoError(t, st.Close())
	want := newestOf(t, dir, "orders")
	require.Greater(t, len(images), 5)
	require.True(t, swapped)
	for _, image := range images {
		t.Run(filepath.Base(image), func(t *testing.T) {
			require.Empty(t, unsound(t, image))
			if half, _ := filepath.Glob(filepath.Join(image, "orders-0", "*.log.swap")); len(half) > 0 {
				f, err := OpenReadOnly(image, nil)
				require.NoError(t, err)
				_, err = f.Backup(ctx, filepath.Join(t.TempDir(), "b"), BackupOptions{})
				require.ErrorContains(t, err, "leat recover")
				require.NoError(t, f.Close())
			}
			others := bases(t, filepath.Join(image, "other-0"))
			flipBit(t, filepath.Join(image, "other-0"), others[1], 100)
			for _, apply := range []bool{false, true} {
				for _, s := range repaired(t, image, apply) {
					require.Equal(t, "other", s.Topic, "%v", s)
				}
			}
			require.Empty(t, unsound(t, image))
			require.Equal(t, want, newestOf(t, image, "orders"))
			kept, err := filepath.Glob(filepath.Join(image, "orders-0", "*.quarantine"))
			require.NoError(t, err)
			require.Empty(t, kept)
		})
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
