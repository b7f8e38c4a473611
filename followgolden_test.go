package leat

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// TestFollowGolden reads what Kafka wrote without adopting it: read-committed
// and uncommitted, by offset and by time, as a Kafka consumer sees it. Then a
// writer adopts the directory, and the follower goes on.
func TestFollowGolden(t *testing.T) {
	for _, set := range goldenSets(t) {
		for _, form := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, form) {
				continue
			}
			t.Run(set+"/"+form, func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				dir := golden.CopyDir(t, "partition", set, form)
				before := filesOf(t, dir)
				r, err := OpenReadOnly(dir, nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, r.Close()) }()
				q := follower(t, r, &want)
				requireGolden(t, q, &want)
				require.Equal(t, before, filesOf(t, dir))

				w, err := Open(dir, nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, w.Close()) }()
				p := follower(t, w, &want)
				rd := reader(t, q, ReaderOptions{From: Latest, Isolation: ReadUncommitted})
				end := p.LogEndOffset()
				require.Equal(t, end, rd.Offset())
				for range 3 {
					fill(t, p, 1)
					b, err := rd.Next(ctx)
					require.NoError(t, err)
					require.Equal(t, end, b.BaseOffset())
					end++
				}
				q = follower(t, r, &want)
				for _, o := range []ReaderOptions{{}, {Isolation: ReadUncommitted}} {
					require.Equal(t, offsetsOf(t, p, o), offsetsOf(t, q, o))
				}
				require.Equal(t, p.LastStableOffset(), q.LastStableOffset())
			})
		}
	}
}

func follower(t *testing.T, st *Store, want *golden.Partition) *Partition {
	tp, err := st.Topic(want.Topic)
	require.NoError(t, err)
	p, err := tp.Partition(want.Partition)
	require.NoError(t, err)
	return p
}

// filesOf is what is in a directory: names, sizes and times.
func filesOf(t *testing.T, dir string) []string {
	var list []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		list = append(list, path+" "+info.Mode().String()+" "+info.ModTime().Format(time.RFC3339Nano))
		return err
	}))
	slices.Sort(list)
	return list
}
