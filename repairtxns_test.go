package leat

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// TestRepairTransactions: when a batch of a transaction is taken out, its marker
// too, what was known of producers behind it is made anew: one repair is enough,
// and a follower sees what the writer does.
func TestRepairTransactions(t *testing.T) {
	for _, set := range goldenSets(t) {
		if !golden.Has("partition", set, "clean") {
			continue
		}
		sound := golden.CopyDir(t, "partition", set, "clean")
		st, err := Open(sound, nil)
		require.NoError(t, err)
		for r, err := range st.Recover(ctx) {
			require.NoError(t, err)
			require.NoError(t, r.Err)
		}
		require.NoError(t, st.Close())
		logs, err := filepath.Glob(filepath.Join(sound, "*", "*.log"))
		require.NoError(t, err)
		for _, name := range logs {
			if strings.Contains(name, metadataTopic) {
				continue
			}
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			batches := soundBatches(t, string(text))
			at := slices.Sorted(maps.Keys(batches))
			for i, pos := range at {
				b := batches[pos]
				if b.ProducerID() < 0 || os.Getenv("LEAT_LONG") == "" && i < len(at)-5 && (i%8 > 0 || !b.IsControl()) {
					continue
				}
				file, err := filepath.Rel(sound, name)
				require.NoError(t, err)
				t.Run(fmt.Sprint(set, "/", file, "/", b.BaseOffset()), func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "d")
					require.NoError(t, os.CopyFS(dir, os.DirFS(sound)))
					flip(t, filepath.Join(dir, file), int64(pos+len(b)-1))
					require.NotEmpty(t, repaired(t, dir, true))
					require.Empty(t, unsound(t, dir))
					require.Empty(t, repaired(t, dir, false))
					topic, id, _ := strings.Cut(filepath.Dir(file), "-")
					n, err := strconv.Atoi(id)
					require.NoError(t, err)
					seen := func(st *Store) string {
						tp, err := st.Topic(topic)
						require.NoError(t, err)
						p, err := tp.Partition(int32(n))
						require.NoError(t, err)
						return fmt.Sprint(p.LogStartOffset(), p.LastStableOffset(), p.LogEndOffset(), offsetsOf(t, p, ReaderOptions{UntilEnd: true}))
					}
					f, err := OpenReadOnly(dir, nil)
					require.NoError(t, err)
					followed := seen(f)
					require.NoError(t, f.Close())
					st, err := Open(dir, nil)
					require.NoError(t, err)
					require.Equal(t, followed, seen(st))
					require.NoError(t, st.Close())
				})
			}
		}
	}
}
