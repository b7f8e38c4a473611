package log

import (
	"context"
	"errors"
	"time"
)

// CleanOptions is what a cleaning is told. Times and bytes that are not positive
// are as said at each.
type CleanOptions struct {
	Now time.Time
	// From is the first offset that was never cleaned, as the cleaner's checkpoint
	// has it; -1 when that is not known.
	From int64
	// MinLag is how long a record stays uncleaned at least
	// [min.compaction.lag.ms], MaxLag how long at most [max.compaction.lag.ms];
	// negative: no limit.
	MinLag, MaxLag time.Duration
	// TombstoneRetain is how long a tombstone or a marker stays after the first
	// cleaning that could have removed it [delete.retention.ms].
	TombstoneRetain time.Duration
	// MapBytes bounds the memory for keys [log.cleaner.dedupe.buffer.size].
	MapBytes int64
	// Rate is how many bytes are read and written in a second
	// [log.cleaner.io.max.bytes.per.second]; 0: no limit.
	Rate int64
	// Progress is called now and then, from the goroutine that cleans; may be nil.
	Progress func(CleanProgress)
}

// CleanProgress is how far a cleaning is, in bytes of both passes.
type CleanProgress struct{ Done, Total int64 }

// Dirty is what a cleaning would find.
type Dirty struct {
	// From..To is what a cleaning would take. To is the first uncleanable offset.
	From, To int64
	// CleanBytes are below From, DirtyBytes from there to To.
	CleanBytes, DirtyBytes int64
	Overdue                bool // a record has waited longer than MaxLag
}

// Ratio is the dirty part of what can be cleaned [the cleanable ratio].
func (d Dirty) Ratio() float64 {
	if d.CleanBytes+d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// Cleaned is what a cleaning did.
type Cleaned struct {
	From, To                 int64 // dirty offsets that were cleaned: To is the first dirty offset now
	Segments, Into           int   // segments that were replaced, and what by
	BytesBefore, BytesAfter  int64 // of those segments
	RecordsRead, RecordsKept int64
	Keys                     int64 // in the map
	MapBytes                 int64 // of memory for them
	Duration                 time.Duration
}

var errNoCleaner = errors.New("leat: cleaning is not built yet")

// Dirty tells what a cleaning would take.
func (l *Log) Dirty(o CleanOptions) (Dirty, error) { return Dirty{}, errNoCleaner }

// Compact is one round of compaction: as many dirty segments as the map holds.
// (Not Clean: that tells whether the log was closed in order.)
func (l *Log) Compact(ctx context.Context, o CleanOptions) (Cleaned, error) {
	return Cleaned{}, errNoCleaner
}
