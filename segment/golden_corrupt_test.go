package segment

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
)

// Every damaged segment of golden/corrupt, recovered as Kafka recovers it. The
// transaction index needs producer state, which is a layer up: it is compared in
// package log.
func TestGoldenCorruptAsKafka(t *testing.T) {
	forEachCorrupt(t, func(t *testing.T, c golden.CorruptCase, b []byte, r *Scan) {
		if c.RecoverThrows != "" {
			require.Equal(t, map[string]Stop{
				"InvalidOffsetException":            StopOrder,
				"LogSegmentOffsetOverflowException": StopOverflow,
			}[c.RecoverThrows], r.Stop, "%v", r.Err)
			return
		}
		require.NotContains(t, []Stop{StopOrder, StopOverflow}, r.Stop, "%v", r.Err)
		require.Equal(t, c.ValidBytes, r.Valid)
		require.Equal(t, c.TruncatedBytes, int64(len(b))-r.Valid)
		require.Equal(t, c.NextOffset, r.Next)
		require.Equal(t, c.SHA256After, golden.Hash(b[:r.Valid]))
		require.Equal(t, len(c.Batches), r.Batches)

		require.NoError(t, r.Finish())
		offsets, times, _ := r.Indexes()
		require.Equal(t, c.OffsetIndex, offsetPairs(offsets))
		require.Equal(t, c.TimeIndex, timePairs(times))
	}, ScanOptions{Kafka: true})
}

// The strict form, which is what Leat's recovery uses, keeps what the plain one
// keeps, but where that takes in batches that no reader would give back. Each
// difference has a reason.
func TestGoldenCorruptStrict(t *testing.T) {
	type end struct {
		valid int64
		stop  Stop
	}
	const third, fourth, last = 762, 1260, 2610 // where the damaged batch lies
	differs := map[string]end{
		// A changed base offset is outside of the CRC. One that goes back is
		// seen; one that goes up looks like a gap, which the log judges by
		// whether gaps are legal there.
		"flip-third-baseOffset": {third, StopOrder},
		"offset-goes-back":      {2896, StopOrder},
		"duplicate-last":        {2896, StopOrder},
		"offset-below-base":     {0, StopOrder},    // Kafka: an overflow
		"offset-negative":       {last, StopOrder}, // Kafka: an overflow
		"offset-overflow":       {last, StopOverflow},
		// Kafka's recovery takes any magic byte from 2 to 127.
		"magic-3":          {third, StopFormat},
		"magic-4":          {third, StopFormat},
		"magic-127":        {third, StopFormat},
		"flip-third-magic": {third, StopFormat},
		// Headers that cannot be, whatever their CRC.
		"count-negative-crc-ok":     {third, StopCorrupt},
		"lastdelta-negative-crc-ok": {third, StopCorrupt},
		"lastdelta-plus-crc-ok":     {fourth, StopOrder}, // the batch behind it then lies below
	}
	forEachCorrupt(t, func(t *testing.T, c golden.CorruptCase, b []byte, r *Scan) {
		want, ok := differs[c.Name]
		if !ok {
			require.Empty(t, c.RecoverThrows)
			want = end{c.ValidBytes, r.Stop}
			require.Equal(t, c.NextOffset, r.Next)
		}
		require.Equal(t, want, end{r.Valid, r.Stop}, "%v", r.Err)
		require.Equal(t, r.Stop == StopEnd || r.Stop == StopZeros, r.Err == nil)
		require.Equal(t, r.Stop == StopEnd, r.Valid == int64(len(b)))
	}, ScanOptions{})
}

func forEachCorrupt(t *testing.T, f func(*testing.T, golden.CorruptCase, []byte, *Scan), o ScanOptions) {
	var all golden.CorruptSegments
	golden.JSON(t, &all, "corrupt", "segments.json")
	seen := 0
	for _, c := range all.Cases {
		if !golden.Has("corrupt", "segments", c.Name+".log") {
			continue
		}
		seen++
		t.Run(c.Name, func(t *testing.T) {
			b := golden.Bytes(t, "corrupt", "segments", c.Name+".log")
			for _, maps := range []int{0, 1} { // read, and mapped
				g := newRig(t, Config{Bytes: 1 << 20, IndexBytes: 1 << 20, IndexInterval: int(all.IndexIntervalBytes)}, true)
				g.maps = NewMaps(maps)
				g.write(all.SegmentBaseOffset, LogSuffix, b)
				r, err := g.open(all.SegmentBaseOffset).Scan(o)
				require.NoError(t, err)
				require.Zero(t, g.maps.Count())
				f(t, c, b, r)
			}
		})
	}
	require.GreaterOrEqual(t, seen, 20)
}

func offsetPairs(x index.Offsets) []golden.Pair {
	list := []golden.Pair{}
	for i := range x.Len() {
		offset, pos := x.Entry(i)
		list = append(list, golden.Pair{offset, pos})
	}
	return list
}

func timePairs(x index.Times) []golden.Pair {
	list := []golden.Pair{}
	for i := range x.Len() {
		ms, offset := x.Entry(i)
		list = append(list, golden.Pair{ms, offset})
	}
	return list
}

// Whatever precedes the damage is found by a scan that goes around it, and
// whatever is sound behind it.
func TestGoldenCorruptAround(t *testing.T) {
	var all golden.CorruptSegments
	golden.JSON(t, &all, "corrupt", "segments.json")
	forEachCorrupt(t, func(t *testing.T, c golden.CorruptCase, b []byte, r *Scan) {
		covered := int64(0)
		for _, h := range r.Holes {
			require.Less(t, h.Pos, h.End)
			require.GreaterOrEqual(t, h.Pos, covered)
			require.Error(t, h.Err)
			covered = h.End
		}
		require.LessOrEqual(t, r.Valid, int64(len(b)))
		if c.Name == "flip-third-crc" || c.Name == "hole-third" {
			third := all.GoodLayout[2]
			require.Equal(t, []Hole{{Pos: third[0], End: third[0] + third[1], Offset: 109, Stop: StopCorrupt, Err: r.Holes[0].Err}}, r.Holes)
			require.Equal(t, len(all.GoodBatches)-1, r.Batches)
			require.Equal(t, StopEnd, r.Stop)
		}
	}, ScanOptions{Around: true})
}
