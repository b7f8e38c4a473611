package log

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
)

// Everything beside the log files follows from them. A sidecar that is missing
// or wrong changes no answer.

var sidecarDamages = []struct {
	name string
	do   func(b []byte) []byte // nil removes the file
}{
	{"missing", func([]byte) []byte { return nil }},
	{"empty", func([]byte) []byte { return []byte{} }},
	{"short", func(b []byte) []byte { return b[:len(b)*2/3] }},
	{"garbage", func(b []byte) []byte {
		for i := range b {
			b[i] = byte(i*i + 7)
		}
		return b
	}},
	{"flip-middle", func(b []byte) []byte { return flip(b, len(b)/2) }},
	{"flip-first", func(b []byte) []byte { return flip(b, 0) }},
	{"flip-last", func(b []byte) []byte { return flip(b, len(b)-1) }},
	{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"longer", func(b []byte) []byte { return append(b, b...) }},
}

func flip(b []byte, i int) []byte {
	if i >= 0 && i < len(b) {
		b[i] ^= 4
	}
	return b
}

// TestSidecars damages each file beside the logs of the golden partitions: as
// Kafka left them, and once Leat has noted their checksums.
func TestSidecars(t *testing.T) {
	for _, set := range partitionSets(t) {
		var want golden.Partition
		golden.JSON(t, &want, "partition", set, "expected.json")
		names := slices.Sorted(maps.Keys(want.Clean))
		names = append(names, sumsName)
		for _, name := range names {
			if strings.HasSuffix(name, ".log") || name == "partition.metadata" {
				continue
			}
			for i, d := range sidecarDamages {
				if i >= 5 && os.Getenv("LEAT_LONG") == "" && !strings.HasSuffix(name, ".txnindex") {
					break
				}
				for _, kind := range []string{"kafka-clean", "kafka-unclean", "own-clean", "own-unclean"} {
					if name == sumsName && strings.HasPrefix(kind, "kafka") {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%s", set, name, d.name, kind), func(t *testing.T) {
						testSidecar(t, set, &want, name, d.do, kind)
					})
				}
			}
		}
	}
}

func testSidecar(t *testing.T, set string, want *golden.Partition, name string, damage func([]byte) []byte, kind string) {
	g := goldenMem(t, want, "partition", set, "clean")
	if strings.HasPrefix(kind, "own") {
		g.st.RecoveryPoint = -1 // all is scanned, and checksums noted
		g.open()
		require.NoError(t, g.log.Close())
		g.st.RecoveryPoint = g.log.RecoveryPoint()
	}
	b, ok := g.files()[name]
	if !ok {
		return // recovery found it to be of no use
	}
	require.NoError(t, g.fs.Remove(g.dir+"/"+name))
	if d := damage([]byte(b)); d != nil {
		g.putFile(name, d)
	}
	g.st.Clean = strings.HasSuffix(kind, "-clean")
	g.open()
	require.Nil(t, g.rep.Damage)
	require.Empty(t, g.rep.Cuts)
	checkAnswers(t, g.log, want)
	g.reopen()
	require.True(t, g.rep.Clean)
	checkAnswers(t, g.log, want)
}

// checkAnswers asks a log of a golden partition what its readers ask.
func checkAnswers(t *testing.T, l *Log, want *golden.Partition) {
	s := want.State
	require.Equal(t, s.LogEndOffset, l.LogEndOffset())
	require.Equal(t, s.LogStartOffset, l.LogStartOffset())
	for _, e := range s.EndOffsetForEpoch {
		if e.EndOffset == nil {
			continue
		}
		epoch, end := l.EndOffsetForEpoch(e.Epoch)
		require.Equal(t, *e.EndOffset, golden.Pair{int64(epoch), end}, "epoch %d", e.Epoch)
	}
	for _, w := range s.OffsetLookups {
		if w.Target < l.LogStartOffset() || w.Batch == nil {
			continue
		}
		c := l.NewCursor(w.Target)
		b, err := c.Next(l.LogEndOffset())
		require.NoError(t, err)
		require.Equal(t, w.Batch.BaseOffset, b.BaseOffset())
		c.Close()
	}
	for _, w := range s.TimestampLookups {
		checkGoldenTime(t, l, w)
	}
	checkCommitted(t, l, &s)
}

// checkCommitted compares what readers of each isolation see.
func checkCommitted(t *testing.T, l *Log, s *golden.PartitionState) {
	require.Equal(t, s.LastStableOffset, l.LastStableOffset())
	all, err := l.AbortedTxns(l.LogStartOffset(), noOffset, nil)
	require.NoError(t, err)
	plain, committed := readOffsets(t, l, all)
	require.Equal(t, s.ReadUncommittedOffsets, plain)
	require.Equal(t, s.ReadCommittedOffsets, committed)
	// The same when asked in small steps, as a reader does.
	for from := l.LogStartOffset(); from < l.LastStableOffset(); from += 37 {
		upto := min(from+37, l.LastStableOffset())
		some, err := l.AbortedTxns(from, upto, nil)
		require.NoError(t, err)
		for _, a := range all {
			if a.FirstOffset < upto && a.LastOffset >= from {
				require.Contains(t, some, a, "from %d", from)
			}
		}
		for _, a := range some {
			require.Contains(t, all, a)
		}
	}
}

// TestSidecarsOfAbortedTxns flips every bit of a transaction index: what a
// committed reader sees never changes.
func TestSidecarsOfAbortedTxns(t *testing.T) {
	if !golden.Has("partition", "p1", "clean") {
		t.Skip("not in the small copy")
	}
	var want golden.Partition
	golden.JSON(t, &want, "partition", "p1", "expected.json")
	g := goldenMem(t, &want, "partition", "p1", "clean")
	g.st.Clean = true
	g.open()
	require.True(t, g.rep.Clean)
	require.NoError(t, g.log.Close())
	const name = "00000000000000000274.txnindex"
	good := []byte(g.getFile(name))
	require.NotEmpty(t, good)
	for i := range len(good) * 8 {
		b := slices.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		g.putFile(name, b)
		l := g.open()
		all, err := l.AbortedTxns(0, noOffset, nil)
		require.NoError(t, err)
		plain, committed := readOffsets(t, l, all)
		require.Equal(t, want.State.ReadUncommittedOffsets, plain)
		require.Equal(t, want.State.ReadCommittedOffsets, committed, "bit %d: %+v", i, index.ParseAbortedTxn(b[i/8/34*34:]))
		require.NoError(t, l.Close())
	}
}
