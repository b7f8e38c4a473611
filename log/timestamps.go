package log

import (
	"fmt"
	"time"
)

// Timestamps are milliseconds since 1970. Seconds beyond maxSeconds, the negative
// ones among them, do not come back from a time.Time, or cannot be told from 'no
// timestamp' (-1).
const maxSeconds = 1<<52 - 1 // in 142 million years

// checkTimes refuses records whose timestamps are impossible or outside the
// topic's window (Kafka: INVALID_TIMESTAMP, message.timestamp.before.max.ms and
// message.timestamp.after.max.ms). seconds are all their seconds or'ed together,
// earliest and latest their extremes in milliseconds.
//
// Asking the time costs more than the rest of a small append, so timestamps are
// first compared with a time that was read before, which is at most too old.
func (l *Log) checkTimes(records []Record, seconds uint64, earliest, latest int64) error {
	if seconds > maxSeconds {
		for i := range records {
			if t := records[i].Timestamp; !t.IsZero() && uint64(t.Unix()) > maxSeconds {
				return fmt.Errorf("%w: record %d has a time in the year %d", ErrInvalidTimestamp, i, t.Year())
			}
		}
	}
	after, before := l.cfg().TimestampAfter, l.cfg().TimestampBefore
	if (after < 0 || latest-l.seen.Load() <= after.Milliseconds()) && before < 0 {
		return nil
	}
	now := time.Now().UnixMilli()
	l.seen.Store(now)
	for i := range records {
		t := records[i].Timestamp
		switch ms := t.UnixMilli(); {
		case t.IsZero():
		case after >= 0 && ms-now > after.Milliseconds():
			return fmt.Errorf("%w: record %d has %s, more than %s ahead of the clock (message.timestamp.after.max.ms)",
				ErrInvalidTimestamp, i, t, after)
		case before >= 0 && now-ms > before.Milliseconds():
			return fmt.Errorf("%w: record %d has %s, more than %s behind the clock (message.timestamp.before.max.ms)",
				ErrInvalidTimestamp, i, t, before)
		}
	}
	return nil
}
