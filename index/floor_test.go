package index

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFloor compares both floors with a walk.
func TestFloor(t *testing.T) {
	b := NewOffsetBuilder(1000, 100)
	for n := range int64(40) {
		o := b.View()
		for _, target := range []int64{math.MinInt64, -1, 0, 999, 1000, 1003, 1004, 1100, 1277, 1278, 5000, math.MaxInt64} {
			floor, position := -1, -1
			for i := range o.Len() {
				offset, pos := o.Entry(i)
				if offset <= target {
					floor = i
				}
				if pos <= target {
					position = i
				}
			}
			require.Equal(t, floor, o.Floor(target), "%d of %d", target, n)
			require.Equal(t, position, o.FloorPosition(target), "%d of %d", target, n)
		}
		require.NoError(t, b.Append(1004+7*n, 300+31*n))
	}
}
