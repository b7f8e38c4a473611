package segment

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt marks stored data that is not what was written.
	ErrCorrupt = errors.New("leat: corrupt")
	// ErrClosed is returned by a segment that was closed or removed.
	ErrClosed = errors.New("leat: closed")
	// ErrUnsupported marks a format that this version does not read.
	ErrUnsupported = errors.New("leat: format not supported")
	// ErrInvalidOffset marks a batch whose offsets do not follow those before it
	// (Kafka: InvalidOffsetException).
	ErrInvalidOffset = errors.New("offset does not follow")
	// ErrOffsetOverflow marks a batch that a segment's 31-bit relative offsets
	// cannot hold (Kafka: LogSegmentOffsetOverflowException).
	ErrOffsetOverflow = errors.New("leat: offsets are used up")
	// ErrFull is returned when a batch does not fit what the segment has left.
	ErrFull = errors.New("segment full")
)

// CorruptError says where stored data is damaged. errors.Is(err, ErrCorrupt)
// holds, and Err says what is wrong with it.
type CorruptError struct {
	Path     string // of the file
	Position int64  // of the damaged batch or entry in it, in bytes
	Offset   int64  // the first offset that cannot be read; -1 when unknown
	Err      error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("leat: corrupt: %s at position %d (offset %d): %v", e.Path, e.Position, e.Offset, e.Err)
}

// Unwrap gives the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// Is makes every CorruptError match ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
