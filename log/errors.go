package log

import (
	"errors"
	"fmt"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// The errors that callers branch on. Package leat exports them under the same
// names, and says when each is returned.
var (
	ErrClosed           = segment.ErrClosed
	ErrCorrupt          = segment.ErrCorrupt
	ErrUnsupported      = segment.ErrUnsupported
	ErrOffsetOverflow   = segment.ErrOffsetOverflow
	ErrOffsetOutOfRange = errors.New("leat: offset out of range")
	ErrNoSpace          = errors.New("leat: no space")
	ErrRecordTooLarge   = errors.New("leat: record too large")
	ErrInvalidTimestamp = errors.New("leat: invalid timestamp")
	ErrInvalidRecord    = errors.New("leat: invalid record")
	ErrFailed           = errors.New("leat: partition failed; reopen it")
	ErrReadOnly         = errors.New("leat: store is read-only")

	// What keeps a producer or a leader from appending. In brackets Kafka's names.
	ErrOutOfOrderSequence = errors.New("leat: sequence out of order")       // [OUT_OF_ORDER_SEQUENCE_NUMBER]
	ErrFenced             = errors.New("leat: producer epoch is fenced")    // [INVALID_PRODUCER_EPOCH]
	ErrStaleEpoch         = errors.New("leat: leader epoch is stale")       // [FENCED_LEADER_EPOCH]
	ErrCoordinatorFenced  = errors.New("leat: coordinator epoch is fenced") // [TRANSACTION_COORDINATOR_FENCED]

	// ErrWait is a cursor's answer when there is nothing to read yet.
	ErrWait = errors.New("leat: nothing to read yet")

	// ErrRestarted is a cursor's answer when the log is followed, and its writer
	// may have taken back what was read, at the cursor or elsewhere: see
	// Cursor.Restart.
	ErrRestarted = errors.New("leat: the log was read anew")
)

// OffsetError is ErrOffsetOutOfRange with the range there was.
type OffsetError struct {
	Topic      string
	Partition  int32
	Offset     int64
	Start, End int64 // readable: Start <= offset < End, and End to wait for more
}

func (e *OffsetError) Error() string {
	return fmt.Sprintf("leat: offset out of range: %s-%d has offsets %d to %d, asked for %d",
		e.Topic, e.Partition, e.Start, e.End, e.Offset)
}

// Is makes every OffsetError match ErrOffsetOutOfRange.
func (e *OffsetError) Is(target error) bool { return target == ErrOffsetOutOfRange }

// spaceError gives a full disk its public name.
func spaceError(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
