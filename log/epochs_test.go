package log

import (
	"path"
	"strings"
	"testing"

	"github.com/leatlog/leat/internal/golden"
	"github.com/stretchr/testify/require"
)

func epochsOf(pairs ...int64) *Epochs {
	e := &Epochs{}
	for i := 0; i < len(pairs); i += 2 {
		e.list = append(e.list, EpochEntry{int32(pairs[i]), pairs[i+1]})
	}
	return e
}

func TestCorruptEpochCheckpoints(t *testing.T) {
	var cases []golden.CorruptIndex
	golden.JSON(t, &cases, "corrupt", "indexes.json")
	seen := 0
	for _, c := range cases {
		if !strings.HasPrefix(c.File, "leader-epoch-checkpoint.") {
			continue
		}
		seen++
		t.Run(c.File, func(t *testing.T) {
			b := golden.Bytes(t, "corrupt", "indexes", c.File)
			list, err := ParseEpochEntries(b)
			e, strict := ParseEpochs(b)
			if c.Read != "ok" {
				require.ErrorIs(t, err, ErrCheckpoint)
				require.ErrorIs(t, strict, ErrCheckpoint)
				return
			}
			require.NoError(t, err)
			got := []golden.Pair{}
			for _, entry := range list {
				got = append(got, golden.Pair{int64(entry.Epoch), entry.StartOffset})
			}
			require.ElementsMatch(t, c.LeaderEpochs, got)
			if c.File == "leader-epoch-checkpoint.epochs-out-of-order" { // Kafka notices nothing
				require.ErrorIs(t, strict, ErrCheckpoint)
				require.ErrorContains(t, strict, "line 4: epoch 1 from 50 on does not come after epoch 3 from 120 on")
				return
			}
			require.NoError(t, strict)
			require.ElementsMatch(t, list, e.Entries())
		})
	}
	require.Equal(t, 10, seen)
}

func TestEpochsFile(t *testing.T) {
	require.Equal(t, "0\n0\n", string(epochsOf().Append(nil)))
	for _, set := range []string{"p1", "p2-deleted-head"} {
		name := []string{"partition", set, "clean", "orders-3", "leader-epoch-checkpoint"}
		if !golden.Has(name...) {
			continue
		}
		b := golden.Bytes(t, name...)
		e, err := ParseEpochs(b)
		require.NoError(t, err, path.Join(name...))
		require.Equal(t, string(b), string(e.Append(nil)))
	}
	for text, want := range map[string]string{
		"0\n1\n-1 0\n":                    `line 3: epoch "-1"`,
		"0\n1\n1 -1\n":                    `line 3: start offset "-1"`,
		"0\n1\n2147483648 0\n":            "line 3: epoch",
		"0\n2\n1 5\n1 6\n":                "line 4: epoch 1 from 6 on does not come after",
		"0\n2\n1 5\n2 5\n":                "line 4: epoch 2 from 5 on does not come after",
		"0\n1000000000\n1 5\n2 5\n3 5\n3": "line 6: 1 fields",
	} {
		_, err := ParseEpochs([]byte(text))
		require.ErrorIs(t, err, ErrCheckpoint)
		require.ErrorContains(t, err, want)
	}
}

func TestEpochsAssign(t *testing.T) {
	for _, c := range []struct {
		name    string
		have    *Epochs
		epoch   int32
		start   int64
		changed bool
		want    *Epochs
	}{
		{"first", epochsOf(), 3, 10, true, epochsOf(3, 10)},
		{"next", epochsOf(3, 10), 4, 20, true, epochsOf(3, 10, 4, 20)},
		{"the same", epochsOf(3, 10), 3, 10, false, epochsOf(3, 10)},
		{"the same later", epochsOf(3, 10), 3, 30, false, epochsOf(3, 10)},
		{"the same earlier", epochsOf(1, 2, 3, 10), 3, 5, true, epochsOf(1, 2, 3, 5)},
		{"older epoch", epochsOf(1, 2, 3, 10, 5, 20), 2, 30, true, epochsOf(1, 2, 2, 30)},
		{"older offset", epochsOf(1, 2, 3, 10, 5, 20), 6, 10, true, epochsOf(1, 2, 6, 10)},
		{"below everything", epochsOf(1, 2, 3, 10), 0, 0, true, epochsOf(0, 0)},
		{"none", epochsOf(3, 10), -1, 20, false, epochsOf(3, 10)},
		{"no offset", epochsOf(3, 10), 4, -1, false, epochsOf(3, 10)},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.changed, c.have.Assign(c.epoch, c.start))
			require.Equal(t, c.want.Entries(), c.have.Entries())
		})
	}
}

func TestEpochsTruncate(t *testing.T) {
	for _, c := range []struct {
		end, start int64 // one of them, the other is -1
		changed    bool
		want       *Epochs
	}{
		{end: 40, start: -1, want: epochsOf(1, 10, 3, 20, 5, 30)},
		{end: 31, start: -1, want: epochsOf(1, 10, 3, 20, 5, 30)},
		{end: 30, start: -1, changed: true, want: epochsOf(1, 10, 3, 20)},
		{end: 20, start: -1, changed: true, want: epochsOf(1, 10)},
		{end: 0, start: -1, changed: true, want: epochsOf()},
		{end: -1, start: 5, want: epochsOf(1, 10, 3, 20, 5, 30)},
		{end: -1, start: 10, want: epochsOf(1, 10, 3, 20, 5, 30)},
		{end: -1, start: 11, changed: true, want: epochsOf(1, 11, 3, 20, 5, 30)},
		{end: -1, start: 20, changed: true, want: epochsOf(3, 20, 5, 30)},
		{end: -1, start: 25, changed: true, want: epochsOf(3, 25, 5, 30)},
		{end: -1, start: 100, changed: true, want: epochsOf(5, 100)},
	} {
		e := epochsOf(1, 10, 3, 20, 5, 30)
		if c.start >= 0 {
			require.Equal(t, c.changed, e.TruncateFromStart(c.start), "start %d", c.start)
		} else {
			require.Equal(t, c.changed, e.TruncateFromEnd(c.end), "end %d", c.end)
		}
		require.ElementsMatch(t, c.want.Entries(), e.Entries(), "start %d, end %d", c.start, c.end)
	}
	require.False(t, epochsOf().TruncateFromStart(5))
	require.False(t, epochsOf().TruncateFromEnd(5))
}

func TestEpochsQueries(t *testing.T) {
	e := epochsOf(1, 10, 3, 20)
	for _, c := range []struct {
		offset int64
		epoch  int32
		ok     bool
	}{{9, -1, false}, {10, 1, true}, {19, 1, true}, {20, 3, true}, {1000, 3, true}} {
		epoch, ok := e.At(c.offset)
		require.Equal(t, c.ok, ok)
		require.Equal(t, c.epoch, epoch)
	}
	epoch, end := epochsOf().EndOffset(0, 50)
	require.Equal(t, [2]int64{-1, -1}, [2]int64{int64(epoch), end})
	epoch, end = e.EndOffset(-1, 50)
	require.Equal(t, [2]int64{-1, -1}, [2]int64{int64(epoch), end})
}

// What a broker answered, from the file and from the batches.
func TestEpochsAreKafkas(t *testing.T) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set) {
			continue
		}
		var want golden.Partition
		golden.JSON(t, &want, "partition", set, "expected.json")
		fromFile, err := ParseEpochs(golden.Bytes(t, "partition", set, "clean", "orders-3", "leader-epoch-checkpoint"))
		require.NoError(t, err)
		fromLog := &Epochs{}
		for _, base := range want.State.SegmentBaseOffsets {
			for _, b := range producerLog(t, "partition", set, "clean", "orders-3", producerFile(base, ".log")) {
				fromLog.Assign(b.LeaderEpoch(), b.BaseOffset())
			}
		}
		fromLog.TruncateFromEnd(want.State.LogEndOffset)
		fromLog.TruncateFromStart(want.State.LogStartOffset)
		for _, e := range []*Epochs{fromFile, fromLog} {
			got := []golden.LeaderEpoch{}
			for _, entry := range e.Entries() {
				got = append(got, golden.LeaderEpoch(entry))
			}
			require.Equal(t, want.State.LeaderEpochs, got)
			last, ok := e.Latest()
			require.True(t, ok)
			require.Equal(t, want.State.LatestEpoch, last.Epoch)
			for _, q := range want.State.EndOffsetForEpoch {
				epoch, end := e.EndOffset(q.Epoch, want.State.LogEndOffset)
				if q.EndOffset == nil {
					require.Equal(t, golden.Pair{-1, -1}, golden.Pair{int64(epoch), end}, "epoch %d", q.Epoch)
				} else {
					require.Equal(t, *q.EndOffset, golden.Pair{int64(epoch), end}, "epoch %d", q.Epoch)
				}
			}
			for _, l := range want.State.TimestampLookups {
				if l.Result != nil && l.Result.LeaderEpoch != nil && l.Timestamp >= -2 {
					epoch, _ := e.At(l.Result.Offset)
					require.Equal(t, *l.Result.LeaderEpoch, epoch, "offset %d", l.Result.Offset)
				}
			}
		}
	}
}
