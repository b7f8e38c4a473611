package leat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// twoClosed is a store that was closed in order, each partition of some
// segments, and the names of their log files.
func twoClosed(t testing.TB) (m *vfs.Mem, logs [2][]string) {
	m = vfs.NewMem()
	m.SetMapped(false)
	st, err := openFS(m, nil)
	require.NoError(t, err)
	tp, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 2, SegmentBytes: 8 << 10, Durability: Written})
	require.NoError(t, err)
	for id := range int32(2) {
		p, err := tp.Partition(id)
		require.NoError(t, err)
		for i := range 12 {
			_, err := p.Append(ctx, Record{Value: bytes.Repeat([]byte{byte(i), byte(id)}, 1500)}, Record{Key: []byte("k")})
			require.NoError(t, err)
		}
	}
	require.NoError(t, st.Close())
	for id := range logs {
		list, err := m.ReadDir(fmt.Sprintf("orders-%d", id))
		require.NoError(t, err)
		for _, e := range list {
			if isLogFile(e) {
				logs[id] = append(logs[id], fmt.Sprintf("orders-%d/%s", id, e.Name))
			}
		}
		require.Len(t, logs[id], 6)
	}
	return m, logs
}

// TestCheckDamage: what goes wrong with whole files, with segments.sum and without.
func TestCheckDamage(t *testing.T) {
	get := func(m *vfs.Mem, name string) []byte {
		b, err := readSmall(m, name)
		require.NoError(t, err)
		return b
	}
	for name, test := range map[string]struct {
		kind FindingKind
		do   func(m *vfs.Mem, a, b []string)
		// unsure: without segments.sum there is a notice only.
		unsure bool
	}{
		"sealed file cut inside a batch": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, a[2], get(m, a[2])[:1000])
		}, false},
		"sealed file cut behind a batch": {log.FindingMissing, func(m *vfs.Mem, a, _ []string) {
			b := get(m, a[2])
			putRoot(t, m, a[2], b[:batchesOf(t, b)[1]])
		}, true},
		"last file cut": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, a[5], get(m, a[5])[:1000])
		}, false},
		"last file cut behind a batch": {log.FindingEnd, func(m *vfs.Mem, a, _ []string) {
			b := get(m, a[5])
			putRoot(t, m, a[5], b[:batchesOf(t, b)[1]])
		}, false},
		"empty sealed file":  {log.FindingMissing, func(m *vfs.Mem, a, _ []string) { putRoot(t, m, a[2], nil) }, true},
		"missing first file": {log.FindingMissing, func(m *vfs.Mem, a, _ []string) { require.NoError(t, m.Remove(a[0])) }, false},
		"missing middle file": {log.FindingMissing, func(m *vfs.Mem, a, _ []string) {
			require.NoError(t, m.Remove(a[2]))
		}, false},
		"missing middle segment": {log.FindingMissing, func(m *vfs.Mem, a, _ []string) {
			for _, s := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.SnapshotSuffix} {
				require.NoError(t, m.Remove(strings.TrimSuffix(a[2], segment.LogSuffix)+s))
			}
		}, true},
		"missing last file": {log.FindingEnd, func(m *vfs.Mem, a, _ []string) { require.NoError(t, m.Remove(a[5])) }, false},
		"no file left": {log.FindingMissing, func(m *vfs.Mem, a, _ []string) {
			for _, n := range a {
				require.NoError(t, m.Remove(n))
			}
		}, false},
		"zeroed page": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			b := get(m, a[1])
			clear(b[:4096])
			putRoot(t, m, a[1], b)
		}, false},
		"zeroed page at the end": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			b := get(m, a[1])
			clear(b[len(b)-2000:])
			putRoot(t, m, a[1], b)
		}, false},
		"zeroed page at the very end": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			b := get(m, a[5])
			clear(b[len(b)-1000:])
			putRoot(t, m, a[5], b)
		}, false},
		"segments swapped": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			b, c := get(m, a[1]), get(m, a[3])
			putRoot(t, m, a[1], c)
			putRoot(t, m, a[3], b)
		}, false},
		"segment twice": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) { putRoot(t, m, a[2], get(m, a[1])) }, false},
		"segment once more": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "orders-0/"+segment.FileName(5, segment.LogSuffix), get(m, a[1]))
		}, false},
		"segment of the other partition": {log.FindingSum, func(m *vfs.Mem, a, b []string) {
			require.Equal(t, a[1][9:], b[1][9:])
			putRoot(t, m, a[1], get(m, b[1]))
		}, true},
		"garbage behind a sealed file": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, a[1], append(get(m, a[1]), "garbage that is no batch, and longer than any header of one could be........"...))
		}, false},
		"garbage behind the last file": {log.FindingTail, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, a[5], append(get(m, a[5]), "garbage"...))
		}, false},
		"batch twice": {log.FindingBatch, func(m *vfs.Mem, a, _ []string) {
			b := get(m, a[1])
			putRoot(t, m, a[1], append(b, b[batchesOf(t, b)[1]:]...))
		}, false},
		"folder gone": {log.FindingFolder, func(m *vfs.Mem, a, _ []string) {
			list, err := m.ReadDir("orders-0")
			require.NoError(t, err)
			for _, e := range list {
				require.NoError(t, m.Remove("orders-0/"+e.Name))
			}
			require.NoError(t, m.Remove("orders-0"))
		}, false},
		"folder of another topic": {log.FindingID, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "orders-0/"+partitionMetadata, formatPartitionMetadata(newTopicID()))
		}, false},
		"index of another segment": {log.FindingIndex, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "orders-0/"+segment.FileName(4, segment.IndexSuffix), []byte{0, 0, 0, 1, 0, 0, 0, 9})
		}, false},
		"snapshot of another time": {log.FindingSnapshot, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "orders-0/"+segment.FileName(4, segment.SnapshotSuffix), log.AppendSnapshot(nil, []log.ProducerSnapshot{{ProducerID: 3, LastOffset: 1, CurrentTxnFirstOffset: -1}}))
		}, false},
		"snapshot behind the end": {log.FindingSnapshot, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "orders-0/"+segment.FileName(400, segment.SnapshotSuffix), log.AppendSnapshot(nil, nil))
		}, false},
		"recovery point above the end": {log.FindingEnd, func(m *vfs.Mem, a, _ []string) {
			b := get(m, recoveryName)
			putRoot(t, m, recoveryName, bytes.Replace(b, []byte("orders 0 24"), []byte("orders 0 25"), 1))
		}, false},
		"start above the end": {log.FindingCheckpoint, func(m *vfs.Mem, a, _ []string) { putRoot(t, m, startName, []byte("0\n1\norders 0 99\n")) }, false},
		"cleaner above the end": {log.FindingCheckpoint, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, cleanerName, []byte("0\n1\norders 0 99\n"))
		}, false},
		"unreadable checkpoint": {log.FindingCheckpoint, func(m *vfs.Mem, a, _ []string) { putRoot(t, m, watermarkName, []byte("0\n7\n")) }, false},
		"unreadable epochs": {log.FindingEpochs, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "orders-0/leader-epoch-checkpoint", []byte("0\n2\n1 0\n0 5\n"))
		}, false},
		"metadata that is none": {log.FindingTopics, func(m *vfs.Mem, a, _ []string) {
			putRoot(t, m, "__metadata-0/"+segment.FileName(0, segment.LogSuffix), rawBatch(t, 4, nil))
		}, false},
		"metadata gone": {log.FindingFolder, func(m *vfs.Mem, a, _ []string) {
			list, err := m.ReadDir("__metadata-0")
			require.NoError(t, err)
			for _, e := range list {
				require.NoError(t, m.Remove("__metadata-0/"+e.Name))
			}
			require.NoError(t, m.Remove("__metadata-0"))
		}, false},
	} {
		for _, sums := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/sums=%v", name, sums), func(t *testing.T) {
				m, logs := twoClosed(t)
				if !sums {
					removeSums(t, m)
				}
				test.do(m, logs[0], logs[1])
				list, errs := checkAll(t, m, "")
				require.Empty(t, errs)
				kinds := []FindingKind{}
				for _, f := range list {
					if f.Severity == SeverityDamage {
						kinds = append(kinds, f.Kind)
						require.NotEmpty(t, f.What)
						require.Contains(t, f.Path, "mem:")
					}
				}
				if test.unsure && !sums {
					require.NotContains(t, kinds, FindingKind(""))
					return
				}
				if name == "metadata gone" && !sums {
					return // orders-1 has them
				}
				require.Contains(t, kinds, test.kind, "%v", list)
			})
		}
	}
}

// TestCheckUnreadable: what cannot be read is told, the rest is looked at.
func TestCheckUnreadable(t *testing.T) {
	broken := errors.New("input/output error")
	m, logs := twoClosed(t)
	for _, part := range []string{logs[0][1], "orders-0/" + segment.FileName(4, segment.TimeSuffix), "orders-0/" + sumsName,
		"orders-0/" + partitionMetadata, "orders-0/leader-epoch-checkpoint", "orders-0/" + segment.FileName(4, segment.SnapshotSuffix),
		recoveryName, stateName, logs[1][5], "__metadata-0/" + segment.FileName(0, segment.LogSuffix)} {
		for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpReadAt} {
			if op == vfs.OpReadAt && (part == logs[1][5] || strings.HasPrefix(part, "__")) {
				continue // mapped, and nothing sums them up
			}
			t.Run(fmt.Sprintf("%s of %s", op, part), func(t *testing.T) {
				m.SetHook(func(o vfs.Op, name string, before bool) error {
					if o == op && name == part && before {
						return broken
					}
					return nil
				})
				defer m.SetHook(nil)
				list, errs := checkAll(t, m, "")
				require.NotEmpty(t, errs)
				for _, err := range errs {
					require.ErrorIs(t, err, broken)
					require.ErrorContains(t, err, part[strings.LastIndexByte(part, '/')+1:])
				}
				require.Empty(t, damageOf(list))
			})
		}
	}
	for _, name := range []string{"orders-0/" + segment.FileName(4, segment.IndexSuffix), "orders-0/leader-epoch-checkpoint", watermarkName, logs[1][3]} {
		t.Run("folder in place of "+name, func(t *testing.T) {
			m, _ := twoClosed(t)
			require.NoError(t, m.Remove(name))
			require.NoError(t, m.Mkdir(name))
			_, errs := checkAll(t, m, "")
			require.NotEmpty(t, errs)
			require.ErrorIs(t, errs[0], vfs.ErrType)
		})
	}
}

// TestCheckChangesNothing: not a byte, and no lock.
func TestCheckChangesNothing(t *testing.T) {
	m, logs := twoClosed(t)
	putRoot(t, m, "orders-0/"+segment.FileName(4, ".log.cleaned"), []byte("x"))
	putRoot(t, m, "orders-0/"+segment.FileName(0, ".log.deleted"), []byte("x"))
	putRoot(t, m, "orders-0/notes.txt", []byte("x"))
	b, err := readSmall(m, logs[0][0])
	require.NoError(t, err)
	putRoot(t, m, "orders-0/"+segment.FileName(0, ".log.swap"), b)
	require.NoError(t, m.Remove(".lock"))
	before := m.Snapshot().Hash()
	m.SetHook(func(op vfs.Op, name string, before bool) error {
		if before {
			require.False(t, op.Mutates(), "%s of %s", op, name)
		}
		return nil
	})
	list, errs := checkAll(t, m, "")
	m.SetHook(nil)
	requireSound(t, list, errs)
	kinds := map[FindingKind]int{}
	for _, f := range list {
		kinds[f.Kind]++
	}
	// The segment in the swap file has no indexes: those that were there go with the
	// one that it replaces.
	require.Equal(t, map[FindingKind]int{log.FindingLeftover: 3, log.FindingUnknown: 1, log.FindingIndex: 2}, kinds)
	require.Equal(t, before, m.Snapshot().Hash())
	require.Zero(t, m.OpenFiles())
}

// TestCheckBesideAWriter: a store that somebody writes proves nothing.
func TestCheckBesideAWriter(t *testing.T) {
	m, _ := twoClosed(t)
	st, err := openFS(m, nil)
	require.NoError(t, err)
	for _, folder := range []string{"", "orders-0"} {
		list, errs := checkAll(t, m, folder)
		require.Empty(t, list)
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], ErrLocked)
	}
	require.NoError(t, st.Close())
	list, errs := checkAll(t, m, "")
	requireSound(t, list, errs)

	// One that comes while the check runs.
	putRoot(t, m, "orders-0/notes.txt", []byte("x"))
	errs = nil
	checkFS(ctx, m, "", nil, func(_ Finding, err error) bool {
		if err != nil {
			errs = append(errs, err)
		} else if st == nil || st.isClosed() {
			st, err = openFS(m, nil)
			require.NoError(t, err)
		}
		return true
	})
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], ErrLocked)
	require.NoError(t, st.Close())
}

// TestCheckEnds: a caller who has enough, and one who gives up, leave nothing
// behind.
func TestCheckEnds(t *testing.T) {
	m, logs := twoClosed(t)
	for _, n := range slices.Concat(logs[0], logs[1]) {
		b, err := readSmall(m, n)
		require.NoError(t, err)
		b[100] ^= 1
		putRoot(t, m, n, b)
	}
	all, _ := checkAll(t, m, "")
	require.GreaterOrEqual(t, len(all), 12)
	for n := range 5 {
		got := 0
		checkFS(ctx, m, "", nil, func(_ Finding, err error) bool {
			require.NoError(t, err)
			got++
			return got <= n
		})
		require.Equal(t, n+1, got)
	}
	for n := range 4 {
		within, cancel := context.WithCancel(ctx)
		var last error
		calls := 0
		o := &CheckOptions{Progress: func(done, total int64) {
			if calls++; calls > n {
				cancel()
			}
			require.LessOrEqual(t, done, total)
		}}
		checkFS(within, m, "", o, func(_ Finding, err error) bool {
			last = err
			return true
		})
		cancel()
		require.ErrorIs(t, last, context.Canceled)
	}
	require.Zero(t, m.OpenFiles())
}

// TestCheckNoStore: a directory that is none.
func TestCheckNoStore(t *testing.T) {
	list, errs := checkAll(t, vfs.NewMem(), "")
	require.Empty(t, list)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], fs.ErrNotExist)
	_, errs = checkDir(t, t.TempDir()+"/missing")
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], fs.ErrNotExist)
}

// TestCheckProgress counts every byte of every log file.
func TestCheckProgress(t *testing.T) {
	m, logs := twoClosed(t)
	var size int64
	for _, n := range append(slices.Concat(logs[0], logs[1]), "__metadata-0/"+segment.FileName(0, segment.LogSuffix)) {
		info, err := m.Stat(n)
		require.NoError(t, err)
		size += info.Size
	}
	was := int64(-1)
	o := &CheckOptions{Progress: func(done, total int64) {
		require.Equal(t, size, total)
		require.GreaterOrEqual(t, done, was)
		was = done
	}}
	checkFS(ctx, m, "", o, func(f Finding, err error) bool {
		require.NoError(t, err)
		require.Fail(t, "found", f.String())
		return true
	})
	require.Equal(t, size, was)
}

// TestCheckEmptyPartition: the folder of a partition is one without any segment, too.
func TestCheckEmptyPartition(t *testing.T) {
	dir := t.TempDir()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{Partitions: 2}), 3)
	require.NoError(t, st.Close())
	list, errs := checkDir(t, dir+"/orders-1")
	require.Empty(t, errs)
	require.Empty(t, list)

	require.NoError(t, os.Remove(dir+"/orders-0/"+segment.FileName(0, segment.LogSuffix)))
	list, errs = checkDir(t, dir+"/orders-0")
	require.Empty(t, errs)
	require.Len(t, damageOf(list), 1)
	require.Equal(t, log.FindingMissing, damageOf(list)[0].Kind)
}
