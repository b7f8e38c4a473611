package leat

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/log"
)

// Directories of stopped Kafka brokers, opened and closed as a user would.

// tree is the content of every file below dir. Of an open store, what is written
// under a temporary name in the background may be gone before it is read.
func tree(t testing.TB, dir string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(path, ".tmp") {
			return nil
		}
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		files[filepath.ToSlash(rel)] = string(b)
		return nil
	}))
	return files
}

// configured gives an adopted topic the sizes that Kafka had, before any of its
// partitions is opened, so that indexes are rebuilt as Kafka does.
func configured(t *testing.T, tp *Topic, g golden.Config) {
	c := tp.Config()
	require.Equal(t, Retention{Age: Unlimited, Bytes: Unlimited, GroupsBytes: Unlimited}, c.Retention)
	require.Equal(t, CleanupDelete, c.Cleanup, "nothing is compacted until somebody says")
	c.SegmentBytes, c.IndexBytes, c.IndexInterval = g.SegmentBytes, g.SegmentIndexBytes, g.IndexIntervalBytes
	require.NoError(t, tp.SetConfig(ctx, c))
}

// requireKept: what was there before is there still. Of a log file that was open,
// the space behind the batches may be gone; indexes and snapshots may be made
// again, and the sign of a clean close is.
func requireKept(t *testing.T, before, after map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		switch filepath.Ext(name) {
		case ".log":
			is, ok := after[name]
			require.True(t, ok, "%s is gone", name)
			require.True(t, strings.HasPrefix(is, strings.TrimRight(before[name], "\x00")), "%s was changed", name)
		case ".txnindex", ".snapshot": // made anew, or gone as Kafka has it
		default:
			require.Contains(t, after, name)
		}
	}
}

// requireGoldenFiles: every file of a partition folder is what Kafka has after
// loading it and stopping, byte for byte; snapshots have their entries in any
// order.
func requireGoldenFiles(t *testing.T, dir string, want map[string]golden.File) {
	is := tree(t, dir)
	delete(is, "segments.sum")
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(is)))
	for name, w := range want {
		if !strings.HasSuffix(name, ".snapshot") {
			require.Equal(t, w.SizeInBytes, int64(len(is[name])), name)
			require.Equal(t, w.SHA256, golden.Hash([]byte(is[name])), name)
			continue
		}
		list, err := log.ParseSnapshot([]byte(is[name]))
		require.NoError(t, err)
		var got []golden.ProducerSnapshot
		for _, p := range list {
			got = append(got, golden.ProducerSnapshot(p))
		}
		require.ElementsMatch(t, w.Entries.Producers, got, name)
	}
}

// TestBrokerDirectories: all of a directory is kept, an open transaction stays
// open, and what a close leaves is what Kafka leaves, file by file. Then it is
// appended to, and again what is left would be loaded.
func TestBrokerDirectories(t *testing.T) {
	for _, set := range goldenSets(t) {
		for _, form := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, form) {
				continue
			}
			// In a bubble, where it is the year 2000 and no producer has expired.
			bubble := func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				dir := golden.CopyDir(t, "partition", set, form)
				before := tree(t, dir)
				delete(before, cleanName)
				open := func() (*Store, *Partition) {
					st, err := Open(dir, nil)
					require.NoError(t, err)
					tp, err := st.Topic(want.Topic)
					require.NoError(t, err)
					if tp.Config().SegmentBytes != want.Config.SegmentBytes {
						configured(t, tp, want.Config)
					}
					p, err := tp.Partition(want.Partition)
					require.NoError(t, err)
					return st, p
				}
				st, p := open()
				s := &want.State
				end, stable := s.LogEndOffset, s.LastStableOffset
				files := want.Clean
				if form == "crash" {
					end, stable, files = want.CrashAfterRecovery.LogEndOffset, want.CrashAfterRecovery.LastStableOffset, want.CrashAfterRecovery.Files
				}
				require.Equal(t, s.LogStartOffset, p.LogStartOffset())
				require.Equal(t, end, p.LogEndOffset())
				require.Equal(t, stable, p.LastStableOffset())
				require.Less(t, stable, end, "a transaction is open")
				require.Equal(t, s.ReadCommittedOffsets, offsetsOf(t, p, ReaderOptions{}))
				require.NoError(t, st.Close())
				requireKept(t, before, tree(t, dir))
				folder := filepath.Join(dir, folderName(want.Topic, want.Partition))
				requireGoldenFiles(t, folder, files)
				requireKafkaLoads(t, dir)

				st, p = open()
				require.Equal(t, stable, p.LastStableOffset())
				for range 300 {
					_, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Key: []byte("k"), Value: make([]byte, 100)})
					require.NoError(t, err)
				}
				require.Equal(t, stable, p.LastStableOffset(), "and stays open")
				require.NoError(t, st.Close())
				requireKept(t, before, tree(t, dir))
				requireKafkaLoads(t, dir)
			}
			t.Run(set+"/"+form, func(t *testing.T) { synctest.Test(t, bubble) })
		}
	}
}

// TestBrokerCompacted is the same for what Kafka's cleaner left, without any
// checkpoint beside it.
func TestBrokerCompacted(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", set, "expected.json")
		for _, step := range want.Steps {
			if !golden.Has("compacted", set, step.Dir) {
				continue
			}
			bubble := func(t *testing.T) {
				dir := golden.CopyDir(t, "compacted", set, step.Dir)
				before := tree(t, dir)
				delete(before, cleanName)
				st, err := Open(dir, nil)
				require.NoError(t, err)
				tp, err := st.Topic(want.Topic)
				require.NoError(t, err)
				configured(t, tp, want.Config)
				p, err := tp.Partition(want.Partition)
				require.NoError(t, err)
				requireShort(t, p, &step, ReadUncommitted, p.HighWatermark())
				requireShort(t, p, &step, ReadCommitted, p.LastStableOffset())
				stable, end := p.LastStableOffset(), p.LogEndOffset()
				require.NoError(t, st.Close())
				requireKept(t, before, tree(t, dir))
				requireKafkaLoads(t, dir)

				st, err = Open(dir, nil)
				require.NoError(t, err)
				p = reopened(t, st, want.Topic)
				require.Equal(t, stable, p.LastStableOffset())
				require.Equal(t, end, p.LogEndOffset())
				require.NoError(t, st.Close())
				requireKept(t, before, tree(t, dir))
			}
			t.Run(set+"/"+step.Dir, func(t *testing.T) { synctest.Test(t, bubble) })
		}
	}
}

// TestOwnDirectories: what Leat makes itself, of every kind, would be loaded by
// Kafka after a close, also one that follows a crash.
func TestOwnDirectories(t *testing.T) {
	dir := t.TempDir()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	for i, c := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		tp, err := st.CreateTopic(ctx, "topic-"+c.String(), TopicConfig{Partitions: 2, Compression: c, SegmentBytes: 8 << 10,
			IndexInterval: 512, Durability: Durability(1 + i%2), Timestamps: TimestampType(1 + i%2)})
		require.NoError(t, err)
		p, err := tp.Partition(0)
		require.NoError(t, err)
		for k := range 60 {
			// Timestamps go up and down.
			ms := time.Now().Add(time.Duration(k*7%11) * time.Second)
			_, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Value: noise(400), Timestamp: ms}, Record{Key: []byte("k")})
			require.NoError(t, err)
		}
		require.Greater(t, p.Describe().Segments, 2)
	}
	require.NoError(t, st.Close())
	requireKafkaLoads(t, dir)

	st, err = Open(dir, nil)
	require.NoError(t, err)
	for tp := range st.Topics() {
		p, err := tp.Partition(0)
		require.NoError(t, err)
		fillMore(t, p, 20)
		require.NoError(t, p.Sync(ctx))
	}
	st.abandonAll()
	st, err = Open(dir, nil)
	require.NoError(t, err)
	for tp := range st.Topics() {
		require.NoError(t, tp.SetConfig(ctx, TopicConfig{SegmentBytes: 4 << 10}))
		for p := range tp.Partitions() {
			fillMore(t, p, 3)
		}
		require.NoError(t, tp.AddPartitions(ctx, 1))
	}
	require.NoError(t, st.Close())
	requireKafkaLoads(t, dir)
}

func fillMore(t *testing.T, p *Partition, n int) {
	for range n {
		_, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Key: []byte("k"), Value: noise(300)})
		require.NoError(t, err)
	}
}
