package log

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// TestPlaces: batches of 10 records that follow each other in a file, whatever one
// of them says.
func TestPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		says []int64
		run  run
		want []int64
	}{
		"sound":                       {[]int64{100, 110, 120}, run{at: 100, back: 130, sure: true}, []int64{100, 110, 120}},
		"first is wrong":              {[]int64{7, 110, 120}, run{at: 100, back: 130, sure: true}, []int64{100, 110, 120}},
		"middle is wrong":             {[]int64{100, 1 << 40, 120}, run{at: 100, back: 130, sure: true}, []int64{100, 110, 120}},
		"middle is too low":           {[]int64{100, 3, 120}, run{at: 100, back: -1}, []int64{100, 110, 120}},
		"last, told by what follows":  {[]int64{100, 110, 999}, run{at: 100, back: 130, sure: true}, []int64{100, 110, 120}},
		"last, of one bit":            {[]int64{100, 110, 120 ^ 64}, run{at: 100, back: -1}, []int64{100, 110, 120}},
		"last, of nothing that tells": {[]int64{100, 110, 177}, run{at: 100, back: -1}, []int64{100, 110, 177}},
		"a gap":                       {[]int64{100, 150, 160}, run{at: 100, back: 170, sure: true}, []int64{100, 150, 160}},
		"behind a loss":               {[]int64{150, 160, 170}, run{at: 100, lost: true, back: 180, sure: true}, []int64{150, 160, 170}},
		"behind a loss, first wrong":  {[]int64{0, 160, 170}, run{at: 100, lost: true, back: 180, sure: true}, []int64{150, 160, 170}},
		"zeroed, at the beginning":    {[]int64{0, 50, 60}, run{at: 0, lost: true, back: -1}, []int64{40, 50, 60}},
		"alone behind a loss":         {[]int64{150}, run{at: 100, lost: true, back: 200, sure: true}, []int64{150}},
		"alone and too low":           {[]int64{3}, run{at: 100, lost: true, back: 200, sure: true}, []int64{190}},
		"alone and too low, no end":   {[]int64{3}, run{at: 100, lost: true, back: -1}, []int64{-1}},
		"alone before the mark":       {[]int64{100 ^ 8}, run{at: 100, back: 110}, []int64{100}},
		"more appended than the mark": {[]int64{100, 110}, run{at: 100, back: 110}, []int64{100, 110}},
		"two in doubt, in order":      {[]int64{150, 170}, run{at: 100, lost: true, back: -1}, []int64{150, 170}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, base := range c.says {
				c.run.pieces = append(c.run.pieces, segment.Piece{Base: base, Next: base + 10})
			}
			require.Equal(t, c.want, c.run.places())
		})
	}
}
