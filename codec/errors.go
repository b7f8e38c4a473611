package codec

import (
	"errors"
	"fmt"
	"io"
)

var (
	// ErrCorrupt is matched by every error that means: these bytes are not a
	// well-formed record batch. The error itself is an *Error.
	ErrCorrupt = errors.New("codec: corrupt batch")

	// ErrUnsupported is matched by errors about batches that are well formed as
	// far as can be told, but in a form this package does not read: another
	// magic byte, or a compression codec that Kafka never defined.
	ErrUnsupported = errors.New("codec: unsupported batch")

	// ErrUnsupportedMagic is matched by *MagicError, and matches ErrUnsupported.
	ErrUnsupportedMagic = fmt.Errorf("%w: magic byte is not 2", ErrUnsupported)

	// ErrInvalid is matched by errors about well-formed batches that break one
	// of the rules for what a client may append (Kafka's INVALID_RECORD).
	ErrInvalid = errors.New("codec: invalid batch")

	// ErrTooLarge means that a record or a batch does not fit into the 31 bits
	// that the format has for its size.
	ErrTooLarge = errors.New("codec: batch too large")

	// ErrShort means that the bytes end before the batch does: a torn tail, or
	// a buffer that holds only the beginning of a batch.
	ErrShort = fmt.Errorf("codec: batch is cut: %w", io.ErrUnexpectedEOF)

	// ErrZero means that there are zero bytes where a batch could begin: space
	// that was allocated and never written.
	ErrZero = errors.New("codec: no batch, only zero bytes")
)

// Error says what is wrong in a batch, and where.
type Error struct {
	What string
	// Pos counts bytes from the beginning of the batch. In a compressed batch
	// the records are counted as if they lay uncompressed behind the header.
	Pos      int
	Unpacked bool  // Pos lies in the decompressed form
	Err      error // the cause below, if there is one
}

func (e *Error) Error() string {
	where := "of the batch"
	if e.Unpacked {
		where = "of the decompressed batch"
	}
	if e.Err != nil {
		return fmt.Sprintf("codec: corrupt batch: %s at byte %d %s: %v", e.What, e.Pos, where, e.Err)
	}
	return fmt.Sprintf("codec: corrupt batch: %s at byte %d %s", e.What, e.Pos, where)
}

// Is makes every Error match ErrCorrupt.
func (e *Error) Is(target error) bool { return target == ErrCorrupt }

func (e *Error) Unwrap() error { return e.Err }

// MagicError says that a batch has another format than version 2.
type MagicError struct {
	Magic int8
}

func (e *MagicError) Error() string {
	s := fmt.Sprintf("codec: unsupported batch: magic byte %d at byte %d of the batch", e.Magic, magicPos)
	if e.Magic == 0 || e.Magic == 1 {
		return s + ": written by a Kafka older than 0.11"
	}
	return s
}

func (e *MagicError) Is(target error) bool {
	return target == ErrUnsupportedMagic || target == ErrUnsupported
}

func corrupt(pos int, format string, args ...any) *Error {
	return &Error{What: fmt.Sprintf(format, args...), Pos: pos}
}
