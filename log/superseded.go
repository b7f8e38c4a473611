package log

import "errors"

// ErrSuperseded is a cleaning's answer when the log was truncated or reset
// meanwhile: it can be tried again.
var ErrSuperseded = errors.New("leat: records were taken back while they were cleaned")
