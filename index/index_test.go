package index

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOffsetLookup(t *testing.T) {
	b := NewOffsetBuilder(100, 10)
	for _, e := range [][2]int64{{109, 400}, {110, 900}, {150, 1000}} {
		require.NoError(t, b.Append(e[0], e[1]))
	}
	for _, c := range []struct{ target, offset, position int64 }{
		{math.MinInt64, 100, 0}, {-1, 100, 0}, {0, 100, 0}, {100, 100, 0}, {108, 100, 0},
		{109, 109, 400}, {110, 110, 900}, {111, 110, 900}, {149, 110, 900},
		{150, 150, 1000}, {151, 150, 1000}, {math.MaxInt64, 150, 1000},
	} {
		offset, position := b.View().Lookup(c.target)
		require.Equal(t, [2]int64{c.offset, c.position}, [2]int64{offset, position}, "target %d", c.target)
	}
	for _, c := range []struct {
		position, offset int64
		ok               bool
	}{
		{math.MinInt64, 109, true}, {0, 109, true}, {400, 109, true}, {401, 110, true}, {900, 110, true},
		{1000, 150, true}, {1001, 0, false}, {math.MaxInt64, 0, false},
	} {
		offset, ok := b.View().FirstAtOrAfterPosition(c.position)
		require.Equal(t, c.ok, ok, "position %d", c.position)
		require.Equal(t, c.offset, offset, "position %d", c.position)
	}
	offset, position := OpenOffsets(7, nil).Lookup(9)
	require.Equal(t, [2]int64{7, 0}, [2]int64{offset, position})
	_, ok := OpenOffsets(7, nil).FirstAtOrAfterPosition(0)
	require.False(t, ok)
}

// The search finds what a walk finds, for every length of the list up to some
// rounds of quartering, and every place of the target.
func TestSearch(t *testing.T) {
	for n := range 300 {
		b32, b64 := []byte{}, []byte{}
		for i := range n {
			b32 = binary.BigEndian.AppendUint32(append(b32, 0xff, 0xff), uint32(int32(3*i-150)))
			b64 = binary.BigEndian.AppendUint64(append(b64, 0xff), uint64(int64(3*i-150)))
		}
		for target := int64(-152); target < int64(3*n-148); target++ {
			want := -1
			if target >= -150 {
				want = min(int(target+150)/3, n-1)
			}
			require.Equal(t, want, floor32(b32, n, 6, 2, target), "n %d, target %d", n, target)
			require.Equal(t, want, floor64(b64, n, 9, 1, target), "n %d, target %d", n, target)
		}
	}
}

func TestOffsetBuilderRefuses(t *testing.T) {
	b := NewOffsetBuilder(1000, 2)
	require.ErrorIs(t, b.Append(999, 1), ErrRange, "below the base")
	require.ErrorIs(t, b.Append(1000+math.MaxInt32+1, 1), ErrRange)
	require.ErrorIs(t, b.Append(1001, math.MaxInt32+1), ErrRange)
	require.ErrorIs(t, b.Append(1001, -1), ErrRange)
	require.ErrorIs(t, b.Append(math.MaxInt64, 1), ErrRange)
	require.Zero(t, b.Len())

	require.NoError(t, b.Append(1005, 1))
	require.ErrorIs(t, b.Append(1005, 2), ErrOffset)
	require.ErrorIs(t, b.Append(1004, 2), ErrOffset)
	require.False(t, b.Full())
	require.NoError(t, b.Append(1000+math.MaxInt32, math.MaxInt32))
	require.True(t, b.Full())
	require.Equal(t, 2, b.Len())
	require.NoError(t, b.View().Check(math.MaxInt64, math.MaxInt64))

	full := NewOffsetBuilder(0, 1)
	require.NoError(t, full.Append(1, 1))
	require.ErrorIs(t, full.Append(2, 2), ErrFull)
}

func TestTimeBuilder(t *testing.T) {
	b := NewTimeBuilder(50, 3)
	timestamp, offset := b.Last()
	require.Equal(t, [2]int64{-1, 50}, [2]int64{timestamp, offset})
	require.NoError(t, b.MaybeAppend(-1, 60, false), "a batch without timestamps")
	require.Zero(t, b.Len())
	require.ErrorIs(t, b.MaybeAppend(5, 49, false), ErrRange)
	require.ErrorIs(t, b.MaybeAppend(5, 50+math.MaxInt32+1, false), ErrRange)

	require.NoError(t, b.MaybeAppend(10, 60, false))
	require.NoError(t, b.MaybeAppend(10, 60, false), "the same again")
	require.Equal(t, 1, b.Len())
	require.ErrorIs(t, b.MaybeAppend(11, 59, false), ErrOffset)
	require.ErrorIs(t, b.MaybeAppend(9, 61, false), ErrTimestamp)
	require.False(t, b.Full())
	require.NoError(t, b.MaybeAppend(20, 70, false))
	require.True(t, b.Full(), "one entry is kept for the roll")
	require.ErrorIs(t, b.MaybeAppend(30, 80, false), ErrFull)
	require.NoError(t, b.MaybeAppend(20, 80, false), "nothing to add")
	require.NoError(t, b.MaybeAppend(30, 80, true), "the roll")
	require.Equal(t, 3, b.Len())
	require.NoError(t, b.View().Check(81))

	for _, c := range [][3]int64{{math.MinInt64, -1, 50}, {9, -1, 50}, {10, 10, 60}, {19, 10, 60}, {20, 20, 70}, {30, 30, 80}, {math.MaxInt64, 30, 80}} {
		timestamp, offset := b.View().Lookup(c[0])
		require.Equal(t, [2]int64{c[1], c[2]}, [2]int64{timestamp, offset}, "timestamp %d", c[0])
	}
}

// What stays after a truncation, and that readers from before see what they saw.
func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		to   int64
		keep int
	}{{math.MinInt64, 0}, {0, 0}, {100, 0}, {109, 0}, {110, 1}, {119, 1}, {120, 2}, {121, 3}, {math.MaxInt64, 3}} {
		o, m, x := NewOffsetBuilder(100, 10), NewTimeBuilder(100, 10), NewTxnBuilder()
		for i := range int64(3) {
			at := 109 + 10*i - i/2*9 // 109, 119, 120
			require.NoError(t, o.Append(at, i+1))
			require.NoError(t, m.MaybeAppend(i, at, false))
			require.NoError(t, x.Append(AbortedTxn{LastOffset: at}))
		}
		before, was := o.View(), slices.Clone(o.Bytes())
		o.TruncateTo(c.to)
		m.TruncateTo(c.to)
		x.TruncateTo(c.to)
		require.Equal(t, []int{c.keep, c.keep, c.keep}, []int{o.Len(), m.Len(), x.Len()}, "to %d", c.to)
		if c.keep < 3 {
			require.NoError(t, o.Append(200, 77))
			require.NoError(t, m.MaybeAppend(200, 200, false))
			require.NoError(t, x.Append(AbortedTxn{LastOffset: 200}))
			offset, _ := o.View().Last()
			require.Equal(t, int64(200), offset)
		}
		require.Equal(t, was, before.Bytes(), "a view changed")
	}
}

func TestLoad(t *testing.T) {
	b := NewOffsetBuilder(0, 100)
	for i := range int64(40) {
		require.NoError(t, b.Append(i+1, i+1))
	}
	file := slices.Clone(b.Bytes())
	again := NewOffsetBuilder(0, 100)
	again.Load(OpenOffsets(0, file))
	require.NoError(t, again.Append(41, 41))
	clear(file)
	offset, position := again.View().Lookup(40)
	require.Equal(t, [2]int64{40, 40}, [2]int64{offset, position}, "Load copies")
	require.Equal(t, 41, again.Len())
}

func TestWritten(t *testing.T) {
	zeros := make([]byte, 36)
	require.Zero(t, OpenOffsets(5, zeros).Written().Len())
	require.Zero(t, OpenTimes(5, zeros).Written().Len())
	b := NewOffsetBuilder(5, 10)
	require.NoError(t, b.Append(6, 1))
	require.Equal(t, b.Bytes(), OpenOffsets(5, append(b.Bytes(), zeros[:19]...)).Written().Bytes())
}

func TestCollect(t *testing.T) {
	b := NewTxnBuilder()
	for _, a := range []AbortedTxn{
		{ProducerID: 1, FirstOffset: 5, LastOffset: 20, LastStableOffset: 7},
		{ProducerID: 2, FirstOffset: 7, LastOffset: 30, LastStableOffset: 31},
		{ProducerID: 3, FirstOffset: 40, LastOffset: 50, LastStableOffset: 45},
		{ProducerID: 4, FirstOffset: 45, LastOffset: 60, LastStableOffset: 61},
	} {
		require.NoError(t, b.Append(a))
	}
	require.ErrorIs(t, b.Append(AbortedTxn{LastOffset: 60}), ErrOffset)
	require.NoError(t, b.View().Check(10, 61))
	for _, c := range []struct {
		fetch, upper int64
		ids          []int64
		done         bool
	}{
		{0, 5, nil, true},                         // ends before the first transaction
		{0, 6, []int64{1}, true},                  // the first left the log stable up to 7
		{0, 8, []int64{1, 2}, true},               //
		{21, 31, []int64{2}, true},                // the first's marker lies below
		{20, 46, []int64{1, 2, 3, 4}, true},       //
		{20, 100, []int64{1, 2, 3, 4}, false},     // a later segment may hold more
		{20, 61, []int64{1, 2, 3, 4}, true},       // stable up to there
		{61, 100, nil, false},                     //
		{math.MinInt64, math.MinInt64, nil, true}, //
		{math.MaxInt64, math.MaxInt64, nil, false},
	} {
		list, done := b.View().Collect(c.fetch, c.upper, nil)
		var ids []int64
		for _, a := range list {
			ids = append(ids, a.ProducerID)
		}
		require.Equal(t, c.ids, ids, "[%d, %d)", c.fetch, c.upper)
		require.Equal(t, c.done, done, "[%d, %d)", c.fetch, c.upper)
	}
	for range b.View().All() {
		break // an iterator may be left early
	}
}

func TestTxnCheck(t *testing.T) {
	good := AbortedTxn{ProducerID: 1, FirstOffset: 5, LastOffset: 20, LastStableOffset: 21}
	for what, change := range map[string]func(*AbortedTxn){
		"version":            func(a *AbortedTxn) { a.Version = 1 },
		"producer id":        func(a *AbortedTxn) { a.ProducerID = -1 },
		"marker offset 9":    func(a *AbortedTxn) { a.LastOffset = 9 },
		"marker offset 90":   func(a *AbortedTxn) { a.LastOffset = 90 },
		"first offset -1":    func(a *AbortedTxn) { a.FirstOffset = -1 },
		"first offset 20":    func(a *AbortedTxn) { a.FirstOffset = 20 },
		"stable offset -1":   func(a *AbortedTxn) { a.LastStableOffset = -1 },
		"stable offset 22":   func(a *AbortedTxn) { a.LastStableOffset = 22 },
		"stable offset -922": func(a *AbortedTxn) { a.LastStableOffset = math.MinInt64 },
	} {
		a := good
		require.NoError(t, OpenTxns(a.Append(nil)).Check(10, 90))
		change(&a)
		require.ErrorContains(t, OpenTxns(a.Append(nil)).Check(10, 90), what)
	}
}

// One writer, several readers: whatever a reader sees is a prefix of what the
// writer wrote since the last truncation. Run with -race.
func TestBuilderReaders(t *testing.T) {
	o, m, x := NewOffsetBuilder(0, 1<<20), NewTimeBuilder(0, 1<<20), NewTxnBuilder()
	stop, readers := make(chan struct{}), make(chan int, 3)
	for range 3 {
		go func() {
			looked := 0
			for {
				select {
				case <-stop:
					readers <- looked
					return
				default:
				}
				looked++
				v := o.View()
				if n := v.Len(); n > 0 {
					at := rand.Int64N(int64(n)) + 1
					if offset, position := v.Lookup(at); offset != at || position != at {
						panic("a reader found another entry")
					}
				}
				if timestamp, offset := m.Last(); offset != max(timestamp, 0) {
					panic("a reader saw half an entry")
				}
				if v := x.View(); v.Len() > 0 && v.Entry(v.Len()-1).LastOffset != int64(v.Len()) {
					panic("a reader saw half a transaction")
				}
			}
		}()
	}
	next := int64(0)
	for round := range int64(40) {
		for range 500 {
			next++
			require.NoError(t, o.Append(next, next))
			require.NoError(t, m.MaybeAppend(next, next, false))
			require.NoError(t, x.Append(AbortedTxn{LastOffset: next}))
		}
		next -= round * 12
		o.TruncateTo(next + 1)
		m.TruncateTo(next + 1)
		x.TruncateTo(next + 1)
	}
	close(stop)
	for range 3 {
		<-readers
	}
	require.EqualValues(t, next, o.Len())
	require.NoError(t, o.View().Check(next+1, next+1))
}

func TestAllocations(t *testing.T) {
	b := NewOffsetBuilder(0, 1000)
	for i := range int64(1000) {
		require.NoError(t, b.Append(i+1, i+1))
	}
	sum := int64(0)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		offset, position := b.View().Lookup(500)
		upper, _ := b.View().FirstAtOrAfterPosition(700)
		sum += offset + position + upper
	}))
}
