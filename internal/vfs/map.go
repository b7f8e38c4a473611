package vfs

import (
	"math"
	"sync/atomic"
)

// canMap: 32-bit address spaces are too small for maps that never move.
const canMap = math.MaxInt > math.MaxInt32

// mapCount counts the maps of all trees, since the limit is the process's.
var mapCount atomic.Int64

// Maps is the number of OS maps the process holds through this package.
func Maps() int { return int(mapCount.Load()) }
