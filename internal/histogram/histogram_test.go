package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBuckets: bounds rise, each belongs to its own bucket and the next duration
// to the next, and none is wider than an eighth of what it holds.
func TestBuckets(t *testing.T) {
	require.Equal(t, time.Duration(64), upperBound(0))
	require.Equal(t, time.Duration(72), upperBound(1))
	require.Equal(t, time.Duration(128), upperBound(8))
	require.Equal(t, time.Duration(144), upperBound(9))
	require.Equal(t, time.Duration(1<<maxShift), upperBound(buckets-2))
	require.Greater(t, time.Duration(1<<maxShift), time.Minute)
	for i := range buckets - 1 {
		b := upperBound(i)
		require.Equal(t, i, bucketOf(b), "%d", b)
		require.Equal(t, i+1, bucketOf(b+1), "%d", b)
		if i > 0 {
			low := upperBound(i - 1)
			require.Greater(t, b, low)
			require.LessOrEqual(t, (b-low)*sub, low, "%d to %d", low, b)
		}
	}
	require.Zero(t, bucketOf(0))
	require.Equal(t, buckets-1, bucketOf(math.MaxInt64))
	require.Equal(t, time.Duration(math.MaxInt64), upperBound(buckets-1))
}

func TestEmpty(t *testing.T) {
	var h Histogram
	for _, s := range []Snapshot{{}, h.Snapshot()} {
		require.Zero(t, s.Count())
		require.Zero(t, s.Sum())
		require.Zero(t, s.Mean())
		require.Zero(t, s.Quantile(0.5))
		require.Zero(t, s.CountUpTo(time.Hour))
		for range s.Buckets() {
			t.Error("a bucket of none")
		}
	}
}

func TestOddDurations(t *testing.T) {
	var h Histogram
	h.Observe(-time.Hour)
	h.Observe(math.MinInt64)
	s := h.Snapshot()
	require.Equal(t, uint64(2), s.Count())
	require.Zero(t, s.Sum())
	require.Equal(t, time.Duration(64), s.Quantile(1))

	h.Observe(5 * time.Minute)
	s = h.Snapshot()
	require.Equal(t, time.Duration(1<<maxShift), s.Quantile(1))
	require.Equal(t, uint64(2), s.CountUpTo(time.Hour), "it may be longer, for all the bucket tells")
	var bounds []time.Duration
	for b := range s.Buckets() {
		bounds = append(bounds, b)
	}
	require.Equal(t, []time.Duration{64, math.MaxInt64}, bounds)
	for _, q := range []float64{-1, 0, math.NaN(), 0.1} {
		require.Equal(t, time.Duration(64), s.Quantile(q))
	}
	require.Equal(t, time.Duration(1<<maxShift), s.Quantile(7))
}

// check compares a histogram with the durations that it should have.
func check(t *testing.T, h *Histogram, want []time.Duration) {
	t.Helper()
	slices.Sort(want)
	s := h.Snapshot()
	require.Equal(t, uint64(len(want)), s.Count())
	sum := time.Duration(0)
	for _, d := range want {
		sum += max(d, 0)
	}
	require.Equal(t, sum, s.Sum())
	notAbove := func(bound time.Duration) uint64 {
		n, _ := slices.BinarySearchFunc(want, bound, func(d, b time.Duration) int {
			if d <= b {
				return -1
			}
			return 1
		})
		return uint64(n)
	}
	last := uint64(0)
	for bound, n := range s.Buckets() {
		require.Equal(t, notAbove(bound), n, "up to %d", bound)
		if bound < math.MaxInt64 {
			require.Equal(t, n, s.CountUpTo(bound))
			require.Equal(t, last, s.CountUpTo(bound-1))
		}
		require.Greater(t, n, last, "empty buckets are not given")
		last = n
	}
	require.Equal(t, s.Count(), last)
	if len(want) == 0 {
		return
	}
	require.Equal(t, sum/time.Duration(len(want)), s.Mean())
	for _, q := range []float64{0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := max(want[max(int(math.Ceil(q*float64(len(want)))), 1)-1], 0)
		got := s.Quantile(q)
		if exact > 1<<maxShift {
			require.Equal(t, time.Duration(1<<maxShift), got)
			continue
		}
		require.GreaterOrEqual(t, got, exact, "q=%v", q)
		require.LessOrEqual(t, got, max(exact+exact/sub+1, 64), "q=%v", q)
	}
}

// TestAgainstSorted compares with sorted durations of all scales.
func TestAgainstSorted(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var h Histogram
		var want []time.Duration
		for range rng.IntN(2000) {
			d := time.Duration(rng.Uint64() >> (24 + rng.IntN(40)))
			h.Observe(d)
			want = append(want, d)
			if rng.IntN(4) == 0 {
				n := rng.IntN(70)
				h.ObserveN(d, n)
				want = append(want, slices.Repeat([]time.Duration{d}, n)...)
			}
		}
		check(t, &h, want)
	}
}

// TestManyObserve: nothing is lost between goroutines, and a snapshot taken
// meanwhile is one that could have been.
func TestManyObserve(t *testing.T) {
	const goroutines, each = 8, 5000
	var h Histogram
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				h.Observe(time.Duration(i * (g + 1)))
			}
		})
	}
	last := uint64(0)
	for last < goroutines*each {
		s := h.Snapshot()
		require.GreaterOrEqual(t, s.Count(), last)
		last = s.Count()
		require.Equal(t, last, s.CountUpTo(math.MaxInt64))
	}
	wg.Wait()
	var want []time.Duration
	for g := range goroutines {
		for i := range each {
			want = append(want, time.Duration(i*(g+1)))
		}
	}
	check(t, &h, want)
}

func TestNoAllocation(t *testing.T) {
	var h Histogram
	require.Zero(t, testing.AllocsPerRun(100, func() { h.Observe(time.Millisecond) }))
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _ = h.Snapshot() }), 1.0)
}

// FuzzObserve takes the input for durations, eight bytes each.
func FuzzObserve(f *testing.F) {
	f.Add([]byte{64, 0, 0, 0, 0, 0, 0, 0, 65, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 255, 255, 255, 255, 15, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Histogram
		var want []time.Duration
		for ; len(b) >= 8; b = b[8:] {
			d := uint64(0)
			for i := range 8 {
				d |= uint64(b[i]) << (8 * i)
			}
			if d>>60 != 0 && d>>63 == 0 {
				d >>= 8 // or the sum would overflow
			}
			if len(want) > 200 {
				break
			}
			h.Observe(time.Duration(d))
			want = append(want, time.Duration(d))
		}
		var sum float64
		for _, d := range want {
			sum += max(float64(d), 0)
		}
		if sum > 1<<62 {
			return
		}
		check(t, &h, want)
	})
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	for b.Loop() {
		h.Observe(1234 * time.Nanosecond)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	var h Histogram
	for i := range 1000 {
		h.Observe(time.Duration(i * i))
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Snapshot()
	}
}
