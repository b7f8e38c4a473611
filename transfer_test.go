package leat

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
)

// TestImportBrokerFolders: one folder of a broker, closed or copied while open,
// becomes a partition with all that a consumer sees, and goes out again as it
// was.
func TestImportBrokerFolders(t *testing.T) {
	for _, set := range goldenSets(t) {
		for _, form := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, form) {
				continue
			}
			bubble := func(t *testing.T) {
				var want golden.Partition
				golden.JSON(t, &want, "partition", set, "expected.json")
				folder := folderName(want.Topic, want.Partition)
				source := filepath.Join(golden.CopyDir(t, "partition", set, form), folder)
				if lso := want.State.LogStartOffset; set == "p2-deleted-head" {
					// What Kafka has beside the folder.
					require.NoError(t, os.WriteFile(filepath.Join(source, "log-start-offset-checkpoint"),
						[]byte("0\n1\n"+want.Topic+" 3 "+itoa(lso)+"\n"), 0o600))
				}
				before := tree(t, source)
				dir := t.TempDir()
				st, err := Open(dir, nil)
				require.NoError(t, err)
				p, err := st.Import(ctx, want.Topic, want.Partition, source)
				require.NoError(t, err)
				require.Equal(t, before, tree(t, source), "it is only read")
				requireGolden(t, p, &want)
				tp := p.Topic()
				require.Equal(t, want.TopicID, tp.ID().String())
				require.Equal(t, Retention{Age: Unlimited, Bytes: Unlimited, GroupsBytes: Unlimited}, tp.Config().Retention)
				require.True(t, tp.Describe().Adopted)
				require.Len(t, tp.Describe().Partitions, 1)
				_, err = tp.Partition(0)
				require.ErrorIs(t, err, ErrUnknownPartition)
				_, err = st.Import(ctx, want.Topic, want.Partition, source)
				require.ErrorIs(t, err, ErrTopicExists)

				out := filepath.Join(t.TempDir(), "out")
				require.NoError(t, p.Export(ctx, out))
				require.NoError(t, st.Close())
				requireKafkaLoads(t, dir)
				exported := tree(t, out)
				for name, f := range want.CrashAfterRecovery.Files { // the logs, and what does not depend on settings
					if ext := filepath.Ext(name); ext != ".index" && ext != ".timeindex" && ext != ".snapshot" {
						require.Equal(t, f.SHA256, golden.Hash([]byte(exported[name])), name)
					}
				}
				require.NoError(t, os.WriteFile(filepath.Join(out, "segments.sum"), nil, 0o600))
				k := kafkaPartition{t: t, dir: out, start: want.State.LogStartOffset}
				delete(exported, "log-start-offset-checkpoint")
				_ = os.Remove(filepath.Join(out, "log-start-offset-checkpoint"))
				k.load()
				require.Equal(t, want.State.LogEndOffset, k.end)

				st, err = Open(dir, nil)
				require.NoError(t, err)
				tp, err = st.Topic(want.Topic)
				require.NoError(t, err)
				p, err = tp.Partition(want.Partition)
				require.NoError(t, err)
				requireGolden(t, p, &want)
				require.NoError(t, st.Close())
			}
			t.Run(set+"/"+form, func(t *testing.T) { synctest.Test(t, bubble) })
		}
	}
}

func itoa(n int64) string { return At(n).String()[len("offset "):] }

// TestExportImport: out of one store, into another, to a topic that has other
// partitions, and into a broker's directory.
func TestExportImport(t *testing.T) {
	a, err := Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	p := part(t, a, "orders", TopicConfig{SegmentBytes: 4 << 10, Durability: Written, Compression: Snappy})
	out := filepath.Join(t.TempDir(), "a", "b")
	require.NoError(t, p.Export(ctx, out), "of nothing")
	fillMore(t, p, 50)
	err = p.Export(ctx, out)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, out)
	require.NoError(t, os.RemoveAll(out))
	require.NoError(t, p.Export(ctx, out))
	fillMore(t, p, 3)

	dir := t.TempDir()
	b, err := Open(dir, nil)
	require.NoError(t, err)
	other := part(t, b, "orders", TopicConfig{Partitions: 2})
	q, err := b.Import(ctx, "orders", 4, out)
	require.NoError(t, err)
	require.Equal(t, int64(50), q.LogEndOffset())
	require.Equal(t, valuesOf(t, p)[:50], valuesOf(t, q))
	fillMore(t, q, 1)
	tp := other.Topic()
	require.Same(t, tp, q.Topic())
	require.Equal(t, int32(5), tp.Config().Partitions)
	_, err = tp.Partition(3)
	require.ErrorIs(t, err, ErrUnknownPartition)
	_, err = b.Import(ctx, "orders", 2, out)
	require.NoError(t, err)
	_, err = b.Import(ctx, "orders", 3, out)
	require.NoError(t, err)
	require.Nil(t, tp.settings.Load().present, "no hole is left")
	require.NoError(t, b.Close())
	requireKafkaLoads(t, dir)

	b, err = Open(dir, nil)
	require.NoError(t, err)
	tp, err = b.Topic("orders")
	require.NoError(t, err)
	for p := range tp.Partitions() {
		require.Equal(t, []int64{0, 0, 50, 50, 51}[p.ID()], p.LogEndOffset())
	}
	require.NoError(t, b.Close())
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		require.NotContains(t, e.Name(), "-delete")
	}
}

// TestExportUnderLoad: while others append, a copy is a prefix of the log, whole.
func TestExportUnderLoad(t *testing.T) {
	st, err := Open(t.TempDir(), nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 64 << 10, Durability: Written})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for n := 0; n < 2000 && !stop.Load(); n++ {
				_, err := p.Append(ctx, Record{Value: noise(300)}, Record{Value: []byte("2")})
				require.NoError(t, err)
			}
		})
	}
	var ends []int64
	for i := range 3 {
		least := p.LogEndOffset()
		out := filepath.Join(t.TempDir(), "out")
		require.NoError(t, p.Export(ctx, out))
		q, err := st.Import(ctx, "copy", int32(i), out)
		require.NoError(t, err)
		require.GreaterOrEqual(t, q.LogEndOffset(), least)
		require.LessOrEqual(t, q.LogEndOffset(), p.LogEndOffset())
		require.Zero(t, q.LogEndOffset()%2, "batches are not cut")
		require.Equal(t, count(0, q.LogEndOffset()), offsetsOf(t, q, ReaderOptions{}))
		ends = append(ends, q.LogEndOffset())
	}
	stop.Store(true)
	wg.Wait()
	require.IsNonDecreasing(t, ends)
	require.NoError(t, st.Close())
}

// TestImportRefuses: each error names what and where, and nothing is left.
func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 4 << 10})
	fillMore(t, p, 40)
	good := func() string {
		out := filepath.Join(t.TempDir(), "good")
		require.NoError(t, p.Export(ctx, out))
		return out
	}
	logs := func(out string) []string {
		list, err := filepath.Glob(filepath.Join(out, "*.log"))
		require.NoError(t, err)
		return list
	}
	cases := map[string]func(out string) (says string, is error){
		"not there": func(out string) (string, error) { require.NoError(t, os.RemoveAll(out)); return out, fs.ErrNotExist },
		"no segment": func(out string) (string, error) {
			remove(t, logs(out)...)
			return "there is no segment in it", ErrCorrupt
		},
		"link": func(out string) (string, error) { relink(t, out, ".log"); return out, vfs.ErrType },
		"folder": func(out string) (string, error) {
			mkdir(t, out, "leader-epoch-checkpoint")
			return "leader-epoch-checkpoint", vfs.ErrType
		},
		"index is a link": func(out string) (string, error) { relink(t, out, ".index"); return ".index", vfs.ErrType },
		"damage":          func(out string) (string, error) { flip(t, logs(out)[1], 100); return logs(out)[1], ErrCorrupt },
		"cut in the middle": func(out string) (string, error) {
			require.NoError(t, os.Truncate(logs(out)[1], 700))
			return logs(out)[1], ErrCorrupt
		},
		"old format": func(out string) (string, error) {
			remove(t, logs(out)...)
			b, err := os.ReadFile(golden.Path(t, "batches", "old", oldBatch(t)))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(out, "00000000000000000000.log"), b, 0o600))
			return ".log at position 0", ErrUnsupported
		},
		"two starts": func(out string) (string, error) {
			require.NoError(t, os.WriteFile(filepath.Join(out, startName), []byte("0\n2\na 0 1\nb 0 2\n"), 0o600))
			return startName, ErrCorrupt
		},
	}
	own := filepath.Join(dir, "orders-0", partitionMetadata)
	before, err := os.ReadFile(own)
	require.NoError(t, err)
	for name, damage := range cases {
		out := good()
		says, is := damage(out)
		_, err := st.Import(ctx, "new", 1, out)
		require.ErrorIs(t, err, is, name)
		require.ErrorContains(t, err, says, name)
		_, err = st.Topic("new")
		require.ErrorIs(t, err, ErrUnknownTopic, name)
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range list {
			require.False(t, strings.HasPrefix(e.Name(), "new") || strings.HasPrefix(e.Name(), "import"), "%s: %s is left", name, e.Name())
		}
	}
	after, err := os.ReadFile(own)
	require.NoError(t, err)
	require.Equal(t, before, after)
	out := good()
	for topic, is := range map[string]error{"../x": ErrInvalidTopic, metadataTopic: ErrInvalidTopic, "": ErrInvalidTopic} {
		_, err := st.Import(ctx, topic, 0, out)
		require.ErrorIs(t, err, is)
	}
	_, err = st.Import(ctx, "new", -1, out)
	require.ErrorIs(t, err, ErrInvalidConfig)
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err = st.Import(over, "new", 0, out)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, p.Export(over, filepath.Join(t.TempDir(), "x")), context.Canceled)
	mkdir(t, dir, "new-0")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new-0", "thesis.txt"), nil, 0o600))
	_, err = st.Import(ctx, "new", 0, out)
	require.ErrorIs(t, err, ErrTopicExists)
	require.FileExists(t, filepath.Join(dir, "new-0", "thesis.txt"))

	// A torn tail is what a crash leaves: cut, kept, said.
	torn := logs(out)
	info, err := os.Stat(torn[len(torn)-1])
	require.NoError(t, err)
	require.NoError(t, os.Truncate(torn[len(torn)-1], info.Size()-5))
	q, err := st.Import(ctx, "new", 1, out)
	require.NoError(t, err)
	require.Equal(t, int64(39), q.LogEndOffset())
	require.NoError(t, st.Close())
}

// oldBatch is a segment of before Kafka 0.11.
func oldBatch(t *testing.T) string {
	list, err := filepath.Glob(golden.Path(t, "batches", "old", "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, list)
	return filepath.Base(list[0])
}

func remove(t *testing.T, names ...string) {
	for _, n := range names {
		require.NoError(t, os.Remove(n))
	}
}

func relink(t *testing.T, out, suffix string) {
	name := filepath.Join(out, "00000000000000000000"+suffix)
	require.NoError(t, os.Rename(name, name+".real"))
	require.NoError(t, os.Symlink(name+".real", name))
}

func mkdir(t *testing.T, dir, name string) {
	_ = os.Remove(filepath.Join(dir, name))
	require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
}

func flip(t *testing.T, name string, at int64) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	flipTo(t, name, at, b[at]^1)
}

func flipTo(t *testing.T, name string, at int64, v byte) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[at] = v
	require.NoError(t, os.WriteFile(name, b, 0o600))
}

// TestExportDamage: damage is named and not copied.
func TestExportDamage(t *testing.T) {
	dir := t.TempDir()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 4 << 10})
	fillMore(t, p, 40)
	require.NoError(t, st.Close())
	flip(t, filepath.Join(dir, "orders-0", "00000000000000000000.log"), 100)
	st, err = Open(dir, nil)
	require.NoError(t, err)
	p = reopened(t, st, "orders")
	out := filepath.Join(t.TempDir(), "out")
	err = p.Export(ctx, out)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, filepath.Join(dir, "orders-0", "00000000000000000000.log"))
	require.Empty(t, tree(t, out))
	require.NoError(t, st.DeleteTopic(ctx, "orders"))
	require.ErrorIs(t, p.Export(ctx, out), ErrUnknownTopic)
	require.NoError(t, st.Close())
	require.ErrorIs(t, p.Export(ctx, out), ErrClosed)
}

// TestCrashOfImport cuts the power before and after every call of an import, and
// makes every call fail once: the partition is there whole or not at all, and
// then it can be imported again.
func TestCrashOfImport(t *testing.T) {
	a := memStore(t)
	p := part(t, a, "orders", TopicConfig{SegmentBytes: 4 << 10})
	fillMore(t, p, 12)
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, p.Export(ctx, source))
	require.NoError(t, os.WriteFile(filepath.Join(source, startName), []byte("0\n1\norders 0 3\n"), 0o600))
	want := count(3, 12)
	broken := errors.New("broken")
	check := func(left *vfs.Mem, done bool) {
		st, err := openFS(left, nil)
		require.NoError(t, err)
		tp, err := st.Topic("new")
		if err == nil {
			p, err := tp.Partition(2)
			require.NoError(t, err)
			require.Equal(t, want, offsetsOf(t, p, ReaderOptions{}))
		} else {
			require.False(t, done)
			list, err := left.ReadDir(".")
			require.NoError(t, err)
			for _, e := range list {
				require.False(t, strings.HasPrefix(e.Name, "new-") || strings.HasPrefix(e.Name, "import-"), "%s is left", e.Name)
			}
			p, err := st.Import(ctx, "new", 2, source)
			require.NoError(t, err)
			require.Equal(t, want, offsetsOf(t, p, ReaderOptions{}))
		}
		require.NoError(t, st.Close())
	}
	step := int32(4)
	if os.Getenv("LEAT_LONG") != "" {
		step = 1
	}
	for _, fail := range []bool{false, true} {
		for nth := int32(1); ; nth += step {
			m := vfs.NewCrashMem()
			st, err := openFS(m, nil)
			require.NoError(t, err)
			var calls atomic.Int32
			var clones []*vfs.Mem
			m.SetHook(func(_ vfs.Op, _ string, before bool) error {
				if !before || calls.Add(1) != nth {
					return nil
				}
				if fail {
					return broken
				}
				clones = append(clones, m.CrashClone(vfs.None), m.CrashClone(vfs.All))
				return nil
			})
			_, err = st.Import(ctx, "new", 2, source)
			m.SetHook(nil)
			last := calls.Load() < nth
			if !fail || last {
				require.NoError(t, err)
			}
			clones = append(clones, m.CrashClone(vfs.None))
			st.abandonAll()
			for i, left := range clones {
				check(left, err == nil && i == len(clones)-1)
			}
			if last {
				break
			}
		}
	}
}
