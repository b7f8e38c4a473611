package log

import "time"

// clock gives the wall clock's time for one goroutine at a time. time.Now asks
// the system for two clocks, which is half of what a small append costs; the
// difference to a time read before needs one of them (BenchmarkClock: half the time).
// A step of the wall clock is noticed within clockTrust.
type clock struct{ base time.Time }

const clockTrust = time.Second

// milli is the time in milliseconds since 1970.
func (c *clock) milli() int64 {
	since := time.Since(c.base)
	if since > clockTrust || since < 0 { // also the first time: the zero time is long ago
		c.base, since = time.Now(), 0
	}
	return c.base.UnixMilli() + (int64(c.base.Nanosecond()%1e6)+int64(since))/1e6
}
