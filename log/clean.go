package log

import (
	"time"
)

// The cleaner: of each key it keeps the newest record (KAFKA_RULES 4.7). Two
// passes over the log make one round.
//
//  1. the dirty segments, from the first offset that was never cleaned on, are
//     read for their keys: a map of bounded size says where the newest record of
//     each lies. When it is full the round ends there, and the next goes on
//  2. all segments up to there are copied, without the records that the map knows
//     a newer one of, several small ones into one, and each copy is put in place
//     of what it was made from, oldest first: whatever ends a round between two of
//     them leaves a log in which a tombstone still stands behind what it deletes
//
// Offsets never change: what is left of a batch keeps its first and last offset.

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
	// cleaning that could have removed it [delete.retention.ms]; negative: for good.
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
