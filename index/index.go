// Package index holds the three indexes that lie beside a segment's log file,
// byte for byte as Apache Kafka writes them: offset to position (.index),
// timestamp to offset (.timeindex) and aborted transactions (.txnindex).
//
// The package is pure: it works on bytes and knows neither files nor maps. A
// view (Offsets, Times, Txns) reads bytes that a caller owns; a builder
// (OffsetBuilder, TimeBuilder, TxnBuilder) grows the index of the active
// segment, for one writer and any number of readers that take no lock.
//
// The bytes may come from anywhere. No method panics or loops on bad ones, but
// a lookup in an index that is not sorted finds some entry or other, so call
// Check first, and rebuild the index from the log when it fails. Kafka checks
// far less (see each CheckKafka); both verdicts are available.
package index

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt marks every index that a check refuses: the file does not
	// describe a log. Rebuild it from the log.
	ErrCorrupt = errors.New("index: corrupt")

	// ErrOffset is Kafka's InvalidOffsetException: the offset of an entry is
	// not above that of the entry before it. Nothing was appended.
	ErrOffset = errors.New("index: offset does not rise")

	// ErrTimestamp says that the timestamp of an entry is below that of the
	// entry before it. Nothing was appended.
	ErrTimestamp = errors.New("index: timestamp goes back")

	// ErrRange is Kafka's IndexOffsetOverflowException: the offset lies below
	// the base, or it or the position does not fit the 31 bits of an entry. The
	// segment must be rolled. Nothing was appended.
	ErrRange = errors.New("index: does not fit an entry")

	// ErrFull says that the index has its maximum of entries. The segment must
	// be rolled. Nothing was appended.
	ErrFull = errors.New("index: full")
)

// CorruptError says which entry of which index is wrong, and how. It matches
// ErrCorrupt.
type CorruptError struct {
	Index string // "offset", "time" or "transaction"
	Entry int    // number of the entry, from 0; -1 when the whole file is meant
	What  string
}

func (e *CorruptError) Error() string {
	if e.Entry < 0 {
		return fmt.Sprintf("index: corrupt %s index: %s", e.Index, e.What)
	}
	return fmt.Sprintf("index: corrupt %s index: entry %d: %s", e.Index, e.Entry, e.What)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

func corrupt(index string, entry int, format string, args ...any) error {
	return &CorruptError{Index: index, Entry: entry, What: fmt.Sprintf(format, args...)}
}
