package log

// ErrSuperseded is a cleaning's answer when the log was truncated or reset
// meanwhile: it can be tried again.
var ErrSuperseded = errSuperseded
