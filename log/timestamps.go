package log

import (
	"fmt"
	"time"
)

// Timestamps are milliseconds since 1970. What lies outside of these cannot be
// told from 'none' (-1), or does not come back from a time.Time.
var maxTimestamp = time.UnixMilli(1 << 62) // in 146 million years

// checkTimes refuses records whose timestamps are impossible or outside the
// topic's window (Kafka: INVALID_TIMESTAMP, message.timestamp.before.max.ms and
// message.timestamp.after.max.ms).
//
// Asking the time costs more than the rest of a small append, so a timestamp is
// first compared with a time that was read before, which is at most too old.
func (l *Log) checkTimes(records []Record) error {
	seen := l.seen.Load()
	after := l.cfg.TimestampAfter.Milliseconds()
	before := l.cfg.TimestampBefore.Milliseconds()
	fresh := false
	for i := range records {
		t := records[i].Timestamp
		if t.IsZero() {
			continue
		}
		ms := t.UnixMilli()
		if t.Unix() < 0 || t.After(maxTimestamp) {
			return fmt.Errorf("%w: record %d has %s, outside of 1970 to %d", ErrInvalidTimestamp, i, t, maxTimestamp.Year())
		}
		late := l.cfg.TimestampAfter >= 0 && ms-seen > after
		early := l.cfg.TimestampBefore >= 0
		if (late || early) && !fresh {
			seen, fresh = time.Now().UnixMilli(), true
			l.seen.Store(seen)
		}
		if l.cfg.TimestampAfter >= 0 && ms-seen > after {
			return fmt.Errorf("%w: record %d has %s, more than %s ahead of the clock (message.timestamp.after.max.ms)",
				ErrInvalidTimestamp, i, t, l.cfg.TimestampAfter)
		}
		if early && seen-ms > before {
			return fmt.Errorf("%w: record %d has %s, more than %s behind the clock (message.timestamp.before.max.ms)",
				ErrInvalidTimestamp, i, t, l.cfg.TimestampBefore)
		}
	}
	return nil
}
