//go:build !race && !leatdebug

package leat

// debugSlices is explained in debug_on.go.
const debugSlices = false
