package segment

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
)

// goldenDir is a partition folder written by Kafka.
type goldenDir struct {
	path  []string
	files map[string]golden.File
	cfg   golden.Config
	state *golden.PartitionState // of partition/ sets
}

func goldenDirs(t *testing.T) (list []goldenDir) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set, "clean") {
			continue
		}
		var e golden.Partition
		golden.JSON(t, &e, "partition", set, "expected.json")
		list = append(list, goldenDir{[]string{"partition", set, "clean", "orders-3"}, e.Clean, e.Config, &e.State})
	}
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set) {
			continue
		}
		var e golden.Compacted
		golden.JSON(t, &e, "compacted", set, "expected.json")
		for _, step := range e.Steps {
			list = append(list, goldenDir{[]string{"compacted", set, step.Dir, "kv-0"}, step.Files, e.Config, nil})
		}
	}
	require.NotEmpty(t, list)
	return list
}

// forEachGolden opens each segment that Kafka closed in order, in a copy.
func forEachGolden(t *testing.T, f func(t *testing.T, d goldenDir, g *rig, s *Segment, batches []golden.Batch)) {
	for _, d := range goldenDirs(t) {
		t.Run(d.path[1]+"/"+d.path[2], func(t *testing.T) {
			for name, file := range d.files {
				base, suffix, ok := ParseName(name)
				if !ok || suffix != LogSuffix || file.SizeInBytes == 0 {
					continue
				}
				for _, maps := range []int{0, 10} {
					t.Run(fmt.Sprintf("%d/maps=%d", base, maps), func(t *testing.T) {
						g := newRig(t, Config{
							Bytes:         d.cfg.SegmentBytes,
							IndexBytes:    int(d.cfg.SegmentIndexBytes),
							IndexInterval: int(d.cfg.IndexIntervalBytes),
							Mapped:        true,
						}, true)
						g.maps = NewMaps(maps)
						for _, suffix := range []string{LogSuffix, IndexSuffix, TimeSuffix, TxnSuffix} {
							name := FileName(base, suffix)
							if _, ok := d.files[name]; ok {
								g.write(base, suffix, golden.Bytes(t, append(d.path, name)...))
							}
						}
						s := g.open(base)
						f(t, d, g, s, file.Batches)
						require.NoError(t, s.Close())
						require.Zero(t, g.maps.Count())
					})
				}
			}
		})
	}
}

// The indexes made from Kafka's batches are Kafka's files, byte for byte.
func TestGoldenIndexes(t *testing.T) {
	forEachGolden(t, func(t *testing.T, d goldenDir, g *rig, s *Segment, batches []golden.Batch) {
		n := 0
		r, err := s.Scan(ScanOptions{Each: func(r *Scan, pos int64, b codec.Batch) error {
			require.Equal(t, batches[n].Position, pos)
			require.EqualValues(t, batches[n].SizeInBytes, len(b))
			n++
			return nil
		}})
		require.NoError(t, err)
		require.Equal(t, StopEnd, r.Stop)
		require.Len(t, batches, n)
		require.Equal(t, batches[n-1].LastOffset+1, r.Next)
		require.NoError(t, r.Finish())
		offsets, times, _ := r.Indexes()
		d.equal(t, FileName(s.Base(), IndexSuffix), offsets.Bytes())
		d.equal(t, FileName(s.Base(), TimeSuffix), times.Bytes())
	})
}

// equal compares a file of the folder with what was made. Those of a segment that
// was active when the folder was copied are compared up to the zeros that follow,
// and have no final entry in the time index.
func (d goldenDir) equal(t *testing.T, name string, made []byte) {
	t.Helper()
	want := golden.Bytes(t, append(d.path, name)...)
	if d.files[name].Preallocated {
		n := len(want) - len(bytes.TrimRight(want, "\x00"))
		require.Greater(t, n, 0)
		want = bytes.TrimRight(want, "\x00")
		require.LessOrEqual(t, len(want), len(made))
		made = made[:len(want)]
	}
	require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(made), name)
}

// A segment that Kafka closed is resumed from its index files, and then is what a
// scan would have made of it.
func TestGoldenResume(t *testing.T) {
	forEachGolden(t, func(t *testing.T, d goldenDir, g *rig, s *Segment, batches []golden.Batch) {
		if d.files[FileName(s.Base(), IndexSuffix)].Preallocated {
			t.Skip("was active when the folder was copied")
		}
		r, err := s.Resume()
		require.NoError(t, err)
		scan, err := s.Scan(ScanOptions{})
		require.NoError(t, err)
		require.NoError(t, scan.Finish())
		require.Equal(t, scan.Next, r.Next)
		require.Equal(t, scan.Valid, r.Valid)
		require.Equal(t, scan.w.maxTime, r.w.maxTime)
		require.Equal(t, scan.w.firstTime, r.w.firstTime)
		o1, t1, _ := scan.Indexes()
		o2, t2, _ := r.Indexes()
		require.Equal(t, o1.Bytes(), o2.Bytes())
		require.Equal(t, t1.Bytes(), t2.Bytes())

		// Appended to, and closed again: what is new lies behind what was there.
		before := g.read(s.Base(), LogSuffix)
		require.NoError(t, s.Activate(r))
		more := spec{base: r.Next, records: 2, size: 100, time: r.w.maxTime + 5}.encode()
		require.NoError(t, s.Wake())
		s.mu.writer.limit += 1000 // some are full
		require.NoError(t, put(s, more))
		require.NoError(t, s.Inactivate())
		_, err = s.Seal(false)
		require.NoError(t, err)
		require.True(t, bytes.Equal(append(before, more...), g.read(s.Base(), LogSuffix)))
		again, err := s.Resume()
		require.NoError(t, err)
		require.Equal(t, r.Next, again.Next-2, "the scan says where the log was")
	})
}

func TestGoldenLookups(t *testing.T) {
	forEachGolden(t, func(t *testing.T, d goldenDir, g *rig, s *Segment, batches []golden.Batch) {
		require.NoError(t, s.Pin())
		defer s.Unpin()
		var buf Buffer
		end := batches[len(batches)-1].LastOffset + 1

		// Every offset, by looking at all batches.
		for target := s.Base(); target <= end; target++ {
			want := s.Size()
			for _, b := range batches {
				if b.LastOffset >= target {
					want = b.Position
					break
				}
			}
			pos, err := s.Find(target, &buf)
			require.NoError(t, err)
			require.Equal(t, want, pos, "offset %d", target)
		}
		// Every time.
		largest := int64(-1)
		for i := range batches {
			for ms := batches[i].MaxTimestamp - 1; ms <= batches[i].MaxTimestamp+1; ms++ {
				want := s.Size()
				for _, b := range batches {
					if b.MaxTimestamp >= ms && b.LastOffset >= batches[0].BaseOffset {
						want = b.Position
						break
					}
				}
				pos, err := s.FindTime(ms, s.Base(), &buf)
				require.NoError(t, err)
				require.Equal(t, want, pos, "time %d", ms)
			}
			largest = max(largest, batches[i].MaxTimestamp)
		}
		ms, _, err := s.MaxTimestamp(&buf)
		require.NoError(t, err)
		require.Equal(t, largest, ms)

		if d.state == nil {
			return
		}
		for _, q := range d.state.OffsetLookups {
			if q.Segment != s.Base() {
				continue
			}
			pos, err := s.Find(q.Target, &buf)
			require.NoError(t, err)
			if q.Batch == nil {
				require.Equal(t, s.Size(), pos)
				_, err = s.BatchAt(pos, q.Target, &buf)
				require.Equal(t, io.EOF, err)
				continue
			}
			require.Equal(t, q.Batch.Position, pos)
			b, err := s.BatchAt(pos, q.Target, &buf)
			require.NoError(t, err)
			require.Equal(t, q.Batch.BaseOffset, b.BaseOffset())
			require.EqualValues(t, q.Batch.SizeInBytes, len(b))
			x, err := s.loaded()
			require.NoError(t, err)
			offset, at := x.offsets.Lookup(q.Target)
			require.Equal(t, q.IndexEntry, golden.Pair{offset, at})
		}
		for _, q := range d.state.TimeIndexLookups {
			if q.Segment == s.Base() {
				x, err := s.loaded()
				require.NoError(t, err)
				ms, offset := x.times.Lookup(q.Timestamp)
				require.Equal(t, q.Entry, golden.Pair{ms, offset})
			}
		}
	})
}

// The transaction index is read as it is.
func TestGoldenTxns(t *testing.T) {
	forEachGolden(t, func(t *testing.T, d goldenDir, g *rig, s *Segment, batches []golden.Batch) {
		x, err := s.Txns()
		require.NoError(t, err)
		name := FileName(s.Base(), TxnSuffix)
		want, ok := d.files[name]
		require.Equal(t, ok, x.Len() > 0)
		if ok {
			require.Len(t, want.Entries.Aborted, x.Len())
			require.Equal(t, golden.Bytes(t, append(d.path, name)...), x.Bytes())
		}
	})
}
