//go:build race || leatdebug

package leat

// debugSlices makes readers hand out copies, and overwrite them as soon as their
// life is over: a caller who kept a slice without cloning it sees it in its own
// tests, under -race or -tags leatdebug.
const debugSlices = true
