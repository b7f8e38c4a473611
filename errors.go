package leat

import (
	"errors"
	"fmt"
	"strings"

	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// What a caller branches on, for errors.Is. In brackets, the Kafka error that
// says the same, for those who answer a Kafka client.
var (
	ErrClosed           = log.ErrClosed                                          // use after Close
	ErrLocked           = errors.New("leat: store is open in another process")   // or a second time in this one
	ErrReadOnly         = log.ErrReadOnly                                        // a write to a store that is open for reading
	ErrTopicExists      = errors.New("leat: topic exists")                       // TOPIC_ALREADY_EXISTS
	ErrUnknownTopic     = errors.New("leat: unknown topic")                      // UNKNOWN_TOPIC_OR_PARTITION
	ErrUnknownPartition = errors.New("leat: unknown partition")                  // UNKNOWN_TOPIC_OR_PARTITION
	ErrInvalidTopic     = errors.New("leat: topic name not allowed")             // INVALID_TOPIC_EXCEPTION
	ErrInvalidConfig    = errors.New("leat: value not allowed in configuration") // INVALID_CONFIG, INVALID_PARTITIONS
	ErrInvalidRecord    = log.ErrInvalidRecord                                   // INVALID_RECORD
	ErrInvalidTimestamp = log.ErrInvalidTimestamp                                // INVALID_TIMESTAMP
	ErrOffsetOutOfRange = log.ErrOffsetOutOfRange                                // OFFSET_OUT_OF_RANGE; see OffsetError
	ErrCorrupt          = log.ErrCorrupt                                         // CORRUPT_MESSAGE; of what is stored, see CorruptError
	ErrNoSpace          = log.ErrNoSpace                                         // KAFKA_STORAGE_ERROR; nothing was written, and it can be tried again
	ErrRecordTooLarge   = log.ErrRecordTooLarge                                  // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE
	ErrUnsupported      = log.ErrUnsupported                                     // UNSUPPORTED_FOR_MESSAGE_FORMAT, UNSUPPORTED_COMPRESSION_TYPE: from an older or newer Kafka or Leat
	ErrOffsetOverflow   = log.ErrOffsetOverflow                                  // the partition has no offset left
	ErrFailed           = log.ErrFailed                                          // KAFKA_STORAGE_ERROR; see Partition.Reopen
)

// What fences a producer or a leader off. In brackets, again, Kafka's names.
var (
	ErrOutOfOrderSequence = log.ErrOutOfOrderSequence // OUT_OF_ORDER_SEQUENCE_NUMBER
	ErrFenced             = log.ErrFenced             // INVALID_PRODUCER_EPOCH, PRODUCER_FENCED: a newer epoch of the producer has been seen
	ErrTxnState           = log.ErrTxnState           // INVALID_TXN_STATE
	ErrStaleEpoch         = log.ErrStaleEpoch         // FENCED_LEADER_EPOCH
)

// What a producer says.
var (
	ErrFull           = errors.New("leat: producer buffer full")                         // BufferExhaustedException; TryProduce, when MaxBuffered is reached
	ErrUnknownOutcome = errors.New("leat: it is not known whether the record is stored") // see Producer
)

// What consumers and groups say.
var (
	ErrRebalanced        = errors.New("leat: partition is no longer assigned")             // ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS; Poll tells what is
	ErrNotAssigned       = errors.New("leat: partition is not assigned to the consumer")   // IllegalStateException; see Consumer.Assign
	ErrNoGroup           = errors.New("leat: consumer is of no group")                     // INVALID_GROUP_ID
	ErrUnknownGroup      = errors.New("leat: unknown group")                               // GROUP_ID_NOT_FOUND
	ErrGroupNotEmpty     = errors.New("leat: group has members")                           // NON_EMPTY_GROUP
	ErrMemberExists      = errors.New("leat: group has a member of that name")             // UNRELEASED_INSTANCE_ID
	ErrInvalidAssignment = errors.New("leat: balancer has made an assignment not allowed") // INCONSISTENT_GROUP_PROTOCOL
	ErrConcurrentUse     = errors.New("leat: consumer is used by two goroutines at once")  // ConcurrentModificationException
	ErrMetadataTooLarge  = errors.New("leat: metadata of a commit too large")              // OFFSET_METADATA_TOO_LARGE
	ErrUnstableOffset    = errors.New("leat: a transaction has yet to decide on a commit") // UNSTABLE_OFFSET_COMMIT
)

// OffsetError is ErrOffsetOutOfRange with the range that there was: Start is
// the log start offset, End the log end offset.
type OffsetError = log.OffsetError

// CorruptError says where damage was found; errors.Is(err, ErrCorrupt) holds.
type CorruptError = segment.CorruptError

// within says what was being done when err came up. The message has the prefix
// once, in front.
func within(err error, format string, args ...any) error {
	return &contextError{fmt.Sprintf(format, args...), err}
}

type contextError struct {
	doing string
	err   error
}

func (e *contextError) Error() string {
	return "leat: " + e.doing + ": " + strings.TrimPrefix(e.err.Error(), "leat: ")
}

func (e *contextError) Unwrap() error { return e.err }

func unknownTopic(name string) error { return fmt.Errorf("%w: %q", ErrUnknownTopic, name) }

func unknownPartition(topic string, id int32) error {
	return fmt.Errorf("%w: %s-%d", ErrUnknownPartition, topic, id)
}

func invalidConfig(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidConfig, fmt.Sprintf(format, args...))
}
