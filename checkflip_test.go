package leat

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Every single bit of what a store keeps, flipped in turn, is found by a check, or
// changes nothing that anybody reads. Which bits those are stands in the tests.

// flipStore is a small store that was closed in order: several segments, leader
// epochs, producers, transactions that were committed and aborted. With gaps it is
// a follower's copy of a log that was compacted.
func flipStore(t testing.TB, gaps bool) *vfs.Mem {
	m := vfs.NewMem()
	m.SetMapped(false) // mapped, every check of it would copy the room for a million partitions
	st, err := openFS(m, nil)
	require.NoError(t, err)
	l := part(t, st, "orders", TopicConfig{SegmentBytes: 2 << 10, IndexInterval: 300, External: ExternalEpochs}).log.Load()
	next := int64(0)
	put := func(pid int64, seq int32, n int, txn bool) {
		raw := rawBatch(t, n, func(h *codec.Header) {
			h.LeaderEpoch = int32(next / 40)
			h.BaseTimestamp += next * 10
			h.MaxTimestamp += next * 10
			if pid >= 0 {
				h.ProducerID, h.ProducerEpoch, h.BaseSequence = pid, 0, seq
			}
			if txn {
				h.Attributes |= codec.TransactionalBit
			}
			h.BaseOffset = next
		})
		_, err := l.AppendRaw(raw, log.RawOptions{Follower: true, Transactional: true, Durability: log.Written})
		require.NoError(t, err)
		next = l.LogEndOffset()
		if gaps {
			next += 5
		}
	}
	for i := range int32(21) {
		put(-1, -1, 3, false)
		put(7, i*2, 2, true)
		put(8, i, 1, false)
		if i%3 == 2 {
			_, err := l.AppendMarker(log.Marker{ProducerID: 7, CoordinatorEpoch: i, Commit: i == 5, Time: time.UnixMilli(1_700_000_000_000 + next*10)}, log.Written)
			require.NoError(t, err)
			next = l.LogEndOffset()
		}
	}
	require.Greater(t, len(l.Segments()), 2)
	require.NoError(t, st.Close())
	list, errs := checkAll(t, m, "")
	require.Empty(t, errs)
	require.Empty(t, list)
	return m
}

// flips flips bits of one file, and tells which nobody has noticed.
type flips struct {
	t      testing.TB
	fs     *vfs.Mem
	folder string // to be checked; "": all
	name   string
	was    []byte
	usual  int // what is found without any flip
	asked  int
}

func newFlips(t testing.TB, m *vfs.Mem, folder, name string) *flips {
	f := &flips{t: t, fs: m, folder: folder, name: name}
	var err error
	f.was, err = readSmall(m, name)
	require.NoError(t, err)
	require.NotEmpty(t, f.was, name)
	list, errs := checkAll(t, m, folder)
	require.Empty(t, errs)
	require.Empty(t, damageOf(list))
	f.usual = len(list)
	return f
}

func (f *flips) write(b []byte, at int64) {
	h, err := f.fs.Open(f.name, vfs.ReadWrite)
	require.NoError(f.t, err)
	_, err = h.WriteAt(b, at)
	require.NoError(f.t, err)
	require.NoError(f.t, h.Close())
}

// check tells what is found, once a bit is flipped, and undoes that.
func (f *flips) check(bit int) (found, damage bool) {
	if f.asked++; debugSlices && !allBits && f.asked%8 != 0 {
		return true, true // under the race detector each takes ten times as long
	}
	f.write([]byte{f.was[bit/8] ^ 1<<(bit%8)}, int64(bit/8))
	list, errs := checkAll(f.t, f.fs, f.folder)
	f.write(f.was[bit/8:bit/8+1], int64(bit/8))
	require.Empty(f.t, errs, "%s, bit %d", f.name, bit)
	return len(list) > f.usual, len(damageOf(list)) > 0
}

// missed are the bits, of those that pick wants, that are not found.
func (f *flips) missed(pick func(bit int) bool) (missed []int) {
	for bit := range 8 * len(f.was) {
		if pick(bit) {
			if found, _ := f.check(bit); !found {
				missed = append(missed, bit)
			}
		}
	}
	return missed
}

// allBits is for all bits, where CI takes a sample.
var allBits = os.Getenv("LEAT_LONG") != ""

func every(n int) func(int) bool {
	return func(bit int) bool { return allBits || bit%n == 0 }
}

func removeSums(t testing.TB, m *vfs.Mem) {
	require.NoError(t, m.Remove("orders-0/"+sumsName))
	require.NoError(t, m.SyncDir("orders-0"))
}

// batchesOf are the positions of the batches in a log file, and its size.
func batchesOf(t testing.TB, b []byte) (at []int) {
	for pos := 0; pos < len(b); {
		n, err := codec.BatchSize(b[pos:])
		require.NoError(t, err)
		at = append(at, pos)
		pos += int(n)
	}
	return append(at, len(b))
}

// TestCheckEachBitOfASegment: damage, wherever it is, with segments.sum and
// without.
func TestCheckEachBitOfASegment(t *testing.T) {
	for name, sums := range map[string]bool{"sums": true, "no-sums": false} {
		t.Run(name, func(t *testing.T) {
			m := flipStore(t, false)
			if !sums {
				removeSums(t, m)
			}
			f := newFlips(t, m, "orders-0", "orders-0/"+segment.FileName(0, segment.LogSuffix))
			batches := batchesOf(t, f.was)
			for bit := range 8 * len(f.was) {
				i, _ := slices.BinarySearch(batches, bit/8+1)
				pos := bit/8 - batches[i-1]
				header := pos < codec.HeaderSize && (i < 4 || i > len(batches)-3)
				if !allBits && !(header && (pos < 17 || bit%3 == 0)) && bit%61 != 0 {
					continue
				}
				_, damage := f.check(bit)
				require.True(t, damage, "bit %d of byte %d of batch %d", bit%8, pos, i-1)
			}
		})
	}
}

// TestCheckBlamesTheBatch: a base offset that became larger contradicts the next
// batch, and is the one that is wrong.
func TestCheckBlamesTheBatch(t *testing.T) {
	m := flipStore(t, false)
	removeSums(t, m)
	name := "orders-0/" + segment.FileName(0, segment.LogSuffix)
	b, err := readSmall(m, name)
	require.NoError(t, err)
	at := batchesOf(t, b)[3]
	b[at+4] ^= 1
	putRoot(t, m, name, b)
	list, errs := checkAll(t, m, "orders-0")
	require.Empty(t, errs)
	require.NotEmpty(t, list)
	for _, f := range damageOf(list) {
		if f.Kind == log.FindingBatch {
			require.Equal(t, int64(at), f.Position)
			require.Equal(t, int64(batchesOf(t, b)[4]), f.End)
			return
		}
	}
	require.Fail(t, "no batch is blamed", "%v", list)
}

// TestCheckEachBitOfAGap: where offsets may be missing, and nothing sums up the
// file, a base offset that stays between those of its neighbours is as good as
// another. Everything else is found.
func TestCheckEachBitOfAGap(t *testing.T) {
	m := flipStore(t, true)
	name := "orders-0/" + segment.FileName(0, segment.LogSuffix)
	f := newFlips(t, m, "orders-0", name)
	some := func(bit int) bool { return allBits || bit%7 == 0 }
	batches := batchesOf(t, f.was)
	for bit := range 64 {
		bit += 8 * batches[2]
		_, damage := f.check(bit)
		require.True(t, damage, "with segments.sum all are found: bit %d", bit)
	}
	removeSums(t, m)
	f = newFlips(t, m, "orders-0", name)
	segs, err := m.ReadDir("orders-0")
	require.NoError(t, err)
	bound := int64(0)
	for _, e := range segs {
		if base, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix && base > 0 && bound == 0 {
			bound = base
		}
	}
	told := 0
	for i, pos := range batches[:len(batches)-1] {
		for bit := range codec.HeaderSize * 8 {
			if bit >= 128 && !some(bit) {
				continue
			}
			_, damage := f.check(8*pos + bit)
			if bit < 64 {
				b := codec.Batch(slices.Clone(f.was[pos:batches[i+1]]))
				b[bit/8] ^= 1 << (bit % 8)
				from, to := int64(0), bound
				if i > 0 {
					from = codec.Batch(f.was[batches[i-1]:]).NextOffset()
				}
				if i+2 < len(batches) {
					to = codec.Batch(f.was[batches[i+1]:]).BaseOffset()
				}
				if fits := b.BaseOffset() >= from && b.NextOffset() <= to; fits {
					if damage {
						told++ // an index, a snapshot or an epoch knows better
					}
					continue
				}
			}
			require.True(t, damage, "bit %d of batch %d", bit, i)
		}
	}
	require.True(t, told > 0 || debugSlices)
}

// TestCheckEachBitBeside: indexes, snapshots, epochs, topic id.
func TestCheckEachBitBeside(t *testing.T) {
	for _, sums := range []bool{true, false} {
		m := flipStore(t, false)
		if !sums {
			removeSums(t, m)
		}
		list, err := m.ReadDir("orders-0")
		require.NoError(t, err)
		n := map[string]int{}
		for _, e := range list {
			_, suffix, ok := segment.ParseName(e.Name)
			if ok && suffix == segment.LogSuffix || e.Size == 0 {
				continue
			}
			kind := e.Name
			if ok {
				kind = suffix
			}
			if n[kind]++; n[kind] > 2 {
				continue
			}
			f := newFlips(t, m, "orders-0", "orders-0/"+e.Name)
			missed := f.missed(every(5))
			if e.Name == sumsName { // hexadecimal digits may be large, too
				missed = slices.DeleteFunc(missed, func(bit int) bool { return bit%8 == 5 && f.was[bit/8]|0x20 >= 'a' })
			}
			if sums && suffix != segment.SnapshotSuffix {
				require.Empty(t, missed, e.Name)
				continue
			}
			for _, bit := range missed {
				base, suffix, _ := segment.ParseName(e.Name)
				require.True(t, harmless(t, m, "orders-0/", base, suffix, bit), "bit %d of %s", bit, e.Name)
			}
		}
		for _, kind := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix, segment.SnapshotSuffix, "leader-epoch-checkpoint", partitionMetadata} {
			require.NotZero(t, n[kind], kind)
		}
	}
}

// harmless tells whether a flipped bit leaves the answers of an index as they are:
// an entry of the offset index may be for a later batch than the one at its
// position, one of the time index for another offset in the same batch.
func harmless(t testing.TB, m *vfs.Mem, folder string, base int64, suffix string, bit int) bool {
	b, err := readSmall(m, folder+segment.FileName(base, suffix))
	require.NoError(t, err)
	logs, err := readSmall(m, folder+segment.FileName(base, segment.LogSuffix))
	require.NoError(t, err)
	was := slices.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	switch suffix {
	case segment.IndexSuffix:
		i := bit / 8 / index.OffsetEntrySize
		o, p := index.OpenOffsets(base, was).Entry(i)
		o2, p2 := index.OpenOffsets(base, b).Entry(i)
		return p == p2 && o2 > o && slices.ContainsFunc(batchesOf(t, logs), func(at int) bool {
			return at < len(logs) && codec.Batch(logs[at:]).LastOffset() == o2
		})
	case segment.TimeSuffix:
		i := bit / 8 / index.TimeEntrySize
		ts, o := index.OpenTimes(base, was).Entry(i)
		ts2, o2 := index.OpenTimes(base, b).Entry(i)
		return ts == ts2 && slices.ContainsFunc(batchesOf(t, logs), func(at int) bool {
			return at < len(logs) && codec.Batch(logs[at:]).LastOffset() == o && codec.Batch(logs[at:]).BaseOffset() <= o2 && o2 < o
		})
	}
	return false
}

// TestCheckEachBitOfTheRoot: the files in the store's root.
func TestCheckEachBitOfTheRoot(t *testing.T) {
	m := flipStore(t, false)
	for _, name := range []string{recoveryName, watermarkName} {
		f := newFlips(t, m, "", name)
		require.Empty(t, f.missed(every(1)), name)
	}
	f := newFlips(t, m, "", stateName)
	lines := 0
	for at := 0; at < len(f.was); at += lineSize {
		if binary.LittleEndian.Uint64(f.was[at:]) == 0 {
			continue
		}
		lines++
		for _, bit := range f.missed(func(bit int) bool { return bit/8 >= at && bit/8 < at+lineSize && every(3)(bit) }) {
			word := bit / 64 % 8
			if at == 0 {
				// One hash of two is enough; and who reads a closed store does not ask
				// whether the lines are live.
				require.Contains(t, []int{wordCurrent, wordNext, wordLive, 5, 6, 7}, word)
				continue
			}
			// The high watermark is the checkpoint's as well, and the larger of the two
			// counts, up to the end; a generation is only compared with itself.
			require.Contains(t, []int{4, 5, 6, 7}, word, "bit %d of a line", bit%512)
		}
	}
	require.Equal(t, 3, lines)
}

// TestCheckEachBitOfKafka: in the folder of a broker nothing sums up files, and
// nothing but partition.metadata says which topic it is of.
func TestCheckEachBitOfKafka(t *testing.T) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set, "clean") {
			continue
		}
		m := memCopy(t, golden.Path(t, "partition", set, "clean"))
		list, err := m.ReadDir("orders-3")
		require.NoError(t, err)
		n := 3 * 61
		for _, e := range list {
			if e.Size == 0 || e.Name == partitionMetadata {
				continue
			}
			f := newFlips(t, m, "", "orders-3/"+e.Name)
			base, suffix, ok := segment.ParseName(e.Name)
			missed := f.missed(func(bit int) bool { return bit%n == 0 || !ok && (allBits || bit%5 == 0) })
			for _, bit := range missed {
				switch suffix {
				case segment.LogSuffix:
					// What lies below the first epoch has been deleted, but for its file.
					at := 0
					for at+int(codec.Batch(f.was[at:]).BatchLength())+codec.LogOverhead <= bit/8 {
						at += int(codec.Batch(f.was[at:]).BatchLength()) + codec.LogOverhead
					}
					require.True(t, codec.Batch(f.was[at:]).LastOffset() < 207 && bit/8-at >= 12 && bit/8-at < 16, "bit %d of %s", bit, e.Name)
				case segment.IndexSuffix, segment.TimeSuffix:
					require.True(t, harmless(t, m, "orders-3/", base, suffix, bit), "bit %d of %s", bit, e.Name)
				default:
					// The first epoch is cut to the log start: below it nothing is asked.
					b := slices.Clone(f.was)
					b[bit/8] ^= 1 << (bit % 8)
					was, err1 := log.ParseEpochs(f.was)
					now, err2 := log.ParseEpochs(b)
					require.NoError(t, errors.Join(err1, err2), "bit %d of %s", bit, e.Name)
					a, c := was.Entries(), now.Entries()
					require.Less(t, c[0].StartOffset, a[0].StartOffset, "bit %d of %s", bit, e.Name)
					require.Equal(t, a[1:], c[1:])
				}
			}
		}
	}
}

// memCopy is a directory tree in memory.
func memCopy(t testing.TB, dir string) *vfs.Mem {
	m := vfs.NewMem()
	m.SetMapped(false)
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, name)
		require.NoError(t, err)
		rel = filepath.ToSlash(rel)
		switch {
		case rel == ".":
			return nil
		case d.IsDir():
			return m.Mkdir(rel)
		}
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		putRoot(t, m, strings.TrimSuffix(rel, ".gz"), b)
		return nil
	}))
	return m
}

// putRoot writes a file, made if it is not there.
func putRoot(t testing.TB, m vfs.FS, name string, b []byte) {
	t.Helper()
	_ = m.Remove(name)
	f, err := m.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
