package index

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/leatlog/leat/internal/golden"
	"github.com/stretchr/testify/require"
)

// What Kafka's sanity checks say of damaged files, and what the strict checks
// find that Kafka lets pass.
func TestCorruptIndexes(t *testing.T) {
	strict := map[string]string{ // "" passes
		"good.index":                       "",
		"empty.index":                      "",
		"ragged.index":                     "offset index: 77 bytes are not a multiple of 8",
		"preallocated-zeros.index":         "offset index: entry 10: offset 500 is not above 570",
		"only-zeros.index":                 "offset index: entry 0: offset 500 is not above 500",
		"last-below-base.index":            "offset index: entry 9: offset 484 is not above 563",
		"last-zero.index":                  "offset index: entry 9: offset 500 is not above 563",
		"middle-out-of-order.index":        "offset index: entry 5: offset 501 is not above 535",
		"position-decreases.index":         "offset index: entry 9: position 1 is not above 2700",
		"good.timeindex":                   "",
		"empty.timeindex":                  "",
		"ragged.timeindex":                 "time index: 115 bytes are not a multiple of 12",
		"last-time-smaller.timeindex":      "time index: entry 9: timestamp 1 is not above",
		"last-offset-below-base.timeindex": "time index: entry 9: offset 484 is below 563",
		"only-zeros.timeindex":             "time index: entry 1: timestamp 0 is not above 0",
		"middle-out-of-order.timeindex":    "time index: entry 5: timestamp 9 is not above",
		"good.txnindex":                    "",
		"empty.txnindex":                   "",
		"ragged.txnindex":                  "transaction index: 90 bytes are not a multiple of 34",
		"first-below-base.txnindex":        "", // begun in an earlier segment
		"last-below-base.txnindex":         "transaction index: entry 1: marker offset 3 is outside of the segment [500, 900)",
		"out-of-order.txnindex":            "transaction index: entry 1: marker offset 515 is not above 768",
		"bad-version.txnindex":             "transaction index: entry 1: unknown version 9",
		"version-2.txnindex":               "transaction index: entry 0: unknown version 2",
	}
	var cases []golden.CorruptIndex
	golden.JSON(t, &cases, "corrupt", "indexes.json")
	for _, c := range cases {
		kind := path.Ext(c.File)
		if kind != ".index" && kind != ".timeindex" && kind != ".txnindex" {
			continue
		}
		t.Run(c.File, func(t *testing.T) {
			b := golden.Bytes(t, "corrupt", "indexes", c.File)
			require.Len(t, b, int(c.SizeInBytes))
			var n int
			var kafka, ours error
			switch kind {
			case ".index":
				o := OpenOffsets(c.BaseOffset, b)
				last, _ := o.Last()
				require.Equal(t, *c.LastOffset, last)
				n, kafka, ours = o.Len(), o.CheckKafka(), o.Check(1<<20, 900)
			case ".timeindex":
				v := OpenTimes(c.BaseOffset, b)
				timestamp, offset := v.Last()
				require.Equal(t, *c.LastTime, golden.Pair{timestamp, offset})
				n, kafka, ours = v.Len(), v.CheckKafka(), v.Check(900)
			default:
				v := OpenTxns(b)
				n, kafka, ours = v.Len(), v.CheckKafka(c.BaseOffset), v.Check(c.BaseOffset, 900)
			}
			if c.Entries != nil {
				require.Equal(t, c.Entries.Count, n)
			}
			if c.SanityCheck == "ok" {
				require.NoError(t, kafka)
			} else {
				require.Equal(t, "CorruptIndexException", c.SanityCheck)
				require.ErrorIs(t, kafka, ErrCorrupt)
			}
			want, known := strict[c.File]
			require.True(t, known, "a new case: say what the strict check makes of it")
			if want == "" {
				require.NoError(t, ours)
				return
			}
			require.ErrorIs(t, ours, ErrCorrupt)
			require.ErrorContains(t, ours, want)
		})
	}
}

// folder is a folder of golden segments: what its files are said to hold.
type folder struct {
	path  []string
	files map[string]golden.File
	end   int64 // log end offset, 0 if it is not told
}

func folders(t *testing.T) []folder {
	var list []folder
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set) {
			continue
		}
		var e golden.Partition
		golden.JSON(t, &e, "partition", set, "expected.json")
		list = append(list, folder{[]string{"partition", set, "clean", "orders-3"}, e.Clean, e.State.LogEndOffset})
		list = append(list, folder{[]string{"partition", set, "crash", "orders-3"}, e.Crash, e.State.LogEndOffset})
	}
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set) {
			continue
		}
		var e golden.Compacted
		golden.JSON(t, &e, "compacted", set, "expected.json")
		for _, step := range e.Steps {
			list = append(list, folder{[]string{"compacted", set, step.Dir, "kv-0"}, step.Files, 0})
		}
	}
	return list
}

// bounds are the base offset, the size and the next offset of the segment that
// a file belongs to.
func (f folder) bounds(t *testing.T, name string) (base, size, next int64) {
	stem, _, _ := strings.Cut(name, ".")
	base, err := strconv.ParseInt(stem, 10, 64)
	require.NoError(t, err)
	next = f.end
	log := f.files[stem+".log"]
	for other := range f.files {
		if b, err := strconv.ParseInt(strings.TrimSuffix(other, ".log"), 10, 64); err == nil && b > base && (next == 0 || b < next) {
			next = b
		}
	}
	if n := len(log.Batches); n > 0 {
		next = log.Batches[n-1].LastOffset + 1
	}
	return base, log.SizeInBytes, next
}

// Every index that Kafka wrote: entries as told, accepted by the strict check,
// and the same bytes again from a builder.
func TestKafkaIndexes(t *testing.T) {
	seen := map[string]int{}
	for _, f := range folders(t) {
		for name, want := range f.files {
			kind := path.Ext(name)
			if kind != ".index" && kind != ".timeindex" && kind != ".txnindex" {
				continue
			}
			seen[kind]++
			t.Run(path.Join(append(slices.Clone(f.path), name)...), func(t *testing.T) {
				b := golden.Bytes(t, append(slices.Clone(f.path), name)...)
				base, size, next := f.bounds(t, name)
				switch kind {
				case ".index":
					o := OpenOffsets(base, b)
					if want.Preallocated {
						require.Error(t, o.Check(size, next))
						o = o.Written()
					}
					require.NoError(t, o.CheckKafka())
					require.NoError(t, o.Check(size, next))
					builder := NewOffsetBuilder(base, o.Len())
					got := []golden.Pair{}
					for i := range o.Len() {
						offset, position := o.Entry(i)
						got = append(got, golden.Pair{offset, position})
						require.NoError(t, builder.Append(offset, position))
					}
					require.Equal(t, want.Offsets, got)
					require.Equal(t, o.Bytes(), builder.Bytes())
				case ".timeindex":
					v := OpenTimes(base, b)
					if want.Preallocated {
						require.Error(t, v.Check(next))
						v = v.Written()
					}
					require.NoError(t, v.CheckKafka())
					require.NoError(t, v.Check(next))
					builder := NewTimeBuilder(base, v.Len()+1)
					got := []golden.Pair{}
					for i := range v.Len() {
						timestamp, offset := v.Entry(i)
						got = append(got, golden.Pair{timestamp, offset})
						require.NoError(t, builder.MaybeAppend(timestamp, offset, false))
					}
					require.Equal(t, want.Times, got)
					require.Equal(t, v.Bytes(), builder.Bytes())
				default:
					v := OpenTxns(b)
					require.NoError(t, v.CheckKafka(base))
					require.NoError(t, v.Check(base, next))
					builder := NewTxnBuilder()
					var got []golden.AbortedTxn
					for a := range v.All() {
						got = append(got, golden.AbortedTxn(a))
						require.NoError(t, builder.Append(a))
					}
					require.Equal(t, want.Entries.Count, len(got))
					if len(got) > 0 {
						require.Equal(t, want.Entries.Aborted, got)
					}
					require.Equal(t, b, builder.Bytes())
				}
			})
		}
	}
	require.NotZero(t, seen[".index"])
	require.NotZero(t, seen[".timeindex"])
	require.NotZero(t, seen[".txnindex"])
}

func segmentFile(base int64, kind string) string { return fmt.Sprintf("%020d%s", base, kind) }

// What a running broker answered from the same indexes.
func TestKafkaLookups(t *testing.T) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set) {
			continue
		}
		t.Run(set, func(t *testing.T) {
			var e golden.Partition
			golden.JSON(t, &e, "partition", set, "expected.json")
			load := func(base int64, kind string) []byte {
				name := segmentFile(base, kind)
				if _, ok := e.Clean[name]; !ok {
					return nil
				}
				return golden.Bytes(t, "partition", set, "clean", "orders-3", name)
			}
			require.NotEmpty(t, e.State.OffsetLookups)
			for _, l := range e.State.OffsetLookups {
				offset, position := OpenOffsets(l.Segment, load(l.Segment, ".index")).Lookup(l.Target)
				require.Equal(t, l.IndexEntry, golden.Pair{offset, position}, "target %d", l.Target)
			}
			require.NotEmpty(t, e.State.TimeIndexLookups)
			for _, l := range e.State.TimeIndexLookups {
				timestamp, offset := OpenTimes(l.Segment, load(l.Segment, ".timeindex")).Lookup(l.Timestamp)
				require.Equal(t, l.Entry, golden.Pair{timestamp, offset}, "timestamp %d", l.Timestamp)
			}

			var all []golden.AbortedTxn
			for _, base := range e.State.SegmentBaseOffsets {
				for a := range OpenTxns(load(base, ".txnindex")).All() {
					all = append(all, golden.AbortedTxn(a))
				}
			}
			require.Equal(t, e.State.AbortedTransactions, all)

			fetches := 0
			for _, f := range e.State.Fetches {
				if f.AbortedTransactions == nil {
					continue
				}
				fetches++
				require.Equal(t, f.AbortedTransactions, abortedIn(f, e.State, load), "fetch at %d of %d bytes", f.StartOffset, f.MaxBytes)
			}
			require.NotZero(t, fetches)
		})
	}
}

// abortedIn is the list for one read, by the rules of a broker: the upper bound
// comes from the offset index, and the search ends at the first segment that
// is known to be enough.
func abortedIn(f golden.Fetch, s golden.PartitionState, load func(int64, string) []byte) []golden.AbortedTxn {
	list := []golden.AbortedTxn{}
	if f.SizeInBytes == 0 {
		return list
	}
	at := slices.Index(s.SegmentBaseOffsets, f.Segment)
	upper, ok := OpenOffsets(f.Segment, load(f.Segment, ".index")).FirstAtOrAfterPosition(f.Position + f.SizeInBytes)
	if !ok && at+1 < len(s.SegmentBaseOffsets) {
		upper = s.SegmentBaseOffsets[at+1]
	} else if !ok {
		upper = s.LogEndOffset
	}
	for _, base := range s.SegmentBaseOffsets[at:] {
		found, done := OpenTxns(load(base, ".txnindex")).Collect(f.StartOffset, upper, nil)
		for _, a := range found {
			list = append(list, golden.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
		}
		if done {
			break
		}
	}
	return list
}
