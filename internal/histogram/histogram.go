// Package histogram counts durations in buckets, from many goroutines at once.
package histogram

import (
	"iter"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets are log-linear, as in HDR histograms: each power of two of
// nanoseconds is cut into 8 of equal width, so that a bucket is at most an eighth
// as wide as what it holds is long, whatever the scale. Two more hold what is
// shorter and what is longer.
//
//	bucket 0      up to 64 ns
//	       1..8   up to 72, 80, .. 128 ns
//	       9..16  up to 144, 160, .. 256 ns
//	       ..
//	       240    up to 68.7 s
//	       241    all above
//
// A bucket's upper bound belongs to it, as in Prometheus.
const (
	subBits  = 3 // 8 to a power of two
	sub      = 1 << subBits
	minShift = 6  // 64 ns: reading the clock takes as long
	maxShift = 36 // 68.7 s: beyond it only that it was long is of interest
	buckets  = (maxShift-minShift)*sub + 2
)

// Histogram counts durations. The zero value is empty and ready. All methods may
// be called from many goroutines.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// Observe counts d once. One below zero, of a clock that was set back, counts as
// zero.
func (h *Histogram) Observe(d time.Duration) { h.ObserveN(d, 1) }

// ObserveN counts d n times: for one measurement that stands for n.
func (h *Histogram) ObserveN(d time.Duration, n int) {
	d = max(d, 0)
	h.counts[bucketOf(d)].Add(uint64(n))
	h.sum.Add(int64(d) * int64(n))
}

// bucketOf is the bucket that d, not below zero, belongs to.
func bucketOf(d time.Duration) int {
	if d <= 1<<minShift {
		return 0
	}
	v := uint64(d - 1) // the upper bound belongs to the bucket
	shift := bits.Len64(v) - 1
	if shift >= maxShift {
		return buckets - 1
	}
	return 1 + (shift-minShift)<<subBits + int(v>>(shift-subBits))&(sub-1)
}

// upperBound is the longest that belongs to bucket i.
func upperBound(i int) time.Duration {
	switch {
	case i == 0:
		return 1 << minShift
	case i == buckets-1:
		return math.MaxInt64
	}
	i--
	shift := minShift + i>>subBits
	return time.Duration(sub+i&(sub-1)+1) << (shift - subBits)
}

// Snapshot is a copy of what was counted. Counts that come while it is made are
// in it or not, each for itself.
func (h *Histogram) Snapshot() Snapshot {
	var s Snapshot
	first, last := buckets, -1
	var all [buckets]uint64
	for i := range h.counts {
		if n := h.counts[i].Load(); n != 0 {
			all[i] = n
			s.count += n
			first, last = min(first, i), i
		}
	}
	s.sum = time.Duration(h.sum.Load())
	if last >= 0 {
		s.first = first
		s.counts = append(make([]uint64, 0, last+1-first), all[first:last+1]...)
	}
	return s
}

// Snapshot is a histogram at one moment. The zero value is that of an empty one.
// It does not change and may be copied.
type Snapshot struct {
	counts []uint64 // from bucket first on; what is not here is zero
	first  int
	count  uint64
	sum    time.Duration
}

// Count is how many durations there are.
func (s Snapshot) Count() uint64 { return s.count }

// Sum is all of them together.
func (s Snapshot) Sum() time.Duration { return s.sum }

// Mean is the sum by the count; 0 of none.
func (s Snapshot) Mean() time.Duration {
	if s.count == 0 {
		return 0
	}
	return s.sum / time.Duration(s.count)
}

// Quantile is a duration that the share q of all are not longer than: the upper
// bound of the bucket that the one of that rank is in, which is at most an eighth
// longer, or 64 ns. 0 of none; q is taken for 0 below it and for 1 above. What is
// longer than 68.7 s is given as that.
func (s Snapshot) Quantile(q float64) time.Duration {
	if s.count == 0 {
		return 0
	}
	rank := uint64(1)
	if q >= 1 {
		rank = s.count
	} else if q > 0 { // also not when it is no number
		rank = min(max(uint64(math.Ceil(q*float64(s.count))), 1), s.count)
	}
	seen := uint64(0)
	for i, n := range s.counts {
		if seen += n; seen >= rank {
			return min(upperBound(s.first+i), 1<<maxShift)
		}
	}
	return 1 << maxShift // not reached: count is the sum of counts
}

// Buckets yields those that are not empty, in order: the longest duration that
// belongs to each, and how many there are of that and shorter ones. The bound of
// the last is the largest there is, math.MaxInt64, when there are durations above
// 68.7 s.
func (s Snapshot) Buckets() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		seen := uint64(0)
		for i, n := range s.counts {
			if n == 0 {
				continue
			}
			seen += n
			if !yield(upperBound(s.first+i), seen) {
				return
			}
		}
	}
}

// CountUpTo is how many are not longer than bound, as far as the buckets tell: one
// that holds longer ones too is left out.
func (s Snapshot) CountUpTo(bound time.Duration) uint64 {
	seen := uint64(0)
	for i, n := range s.counts {
		if upperBound(s.first+i) > bound {
			break
		}
		seen += n
	}
	return seen
}
