package index

import (
	"encoding/binary"
	"iter"
	"math"
)

// TxnEntrySize is the size of an entry of the transaction index in bytes.
const TxnEntrySize = 34

// AbortedTxn is one aborted transaction, as the transaction index lists it.
type AbortedTxn struct {
	Version     int16 // 0
	ProducerID  int64
	FirstOffset int64 // of the transaction's first batch; may lie in an earlier segment
	LastOffset  int64 // of the ABORT marker
	// LastStableOffset is where read-committed readers could read up to once
	// the marker was written: the first offset of the earliest transaction then
	// still open, else the offset after the marker. A reader that stops below it
	// needs no later entry.
	LastStableOffset int64
}

// Append appends the entry in its encoded form.
//
//	 0         2              10             18             26             34
//	┌─────────┬──────────────┬──────────────┬──────────────┬──────────────┐
//	│ version │ producer id  │ first offset │ last offset  │ last stable  │
//	│  (i16)  │    (i64)     │    (i64)     │    (i64)     │ offset (i64) │
//	└─────────┴──────────────┴──────────────┴──────────────┴──────────────┘
func (a AbortedTxn) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(a.Version))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.ProducerID))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.FirstOffset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.LastOffset))
	return binary.BigEndian.AppendUint64(dst, uint64(a.LastStableOffset))
}

// ParseAbortedTxn reads the entry at the beginning of b, which must have at
// least TxnEntrySize bytes. It accepts any version, as Kafka's check does.
func ParseAbortedTxn(b []byte) AbortedTxn {
	b = b[:TxnEntrySize]
	return AbortedTxn{
		Version:          int16(binary.BigEndian.Uint16(b)),
		ProducerID:       int64(binary.BigEndian.Uint64(b[2:])),
		FirstOffset:      int64(binary.BigEndian.Uint64(b[10:])),
		LastOffset:       int64(binary.BigEndian.Uint64(b[18:])),
		LastStableOffset: int64(binary.BigEndian.Uint64(b[26:])),
	}
}

// Txns is a view of a transaction index: a value, safe for many goroutines as
// long as nobody writes the bytes. Offsets in it are absolute. A partial entry
// at the end is ignored, as in Kafka.
type Txns struct{ b []byte }

// OpenTxns views b as a transaction index. It keeps b and never writes it.
func OpenTxns(b []byte) Txns { return Txns{b} }

// Len is the number of whole entries.
func (t Txns) Len() int { return len(t.b) / TxnEntrySize }

// Bytes are the whole entries as they lie in the file. They are read-only and
// live as long as the bytes that were opened.
func (t Txns) Bytes() []byte {
	n := t.Len() * TxnEntrySize
	return t.b[:n:n]
}

// Entry is entry i.
func (t Txns) Entry(i int) AbortedTxn { return ParseAbortedTxn(t.b[i*TxnEntrySize:]) }

// All yields the entries in order, which is that of their markers.
func (t Txns) All() iter.Seq[AbortedTxn] {
	return func(yield func(AbortedTxn) bool) {
		for i := range t.Len() {
			if !yield(t.Entry(i)) {
				return
			}
		}
	}
}

// Collect appends to dst the transactions that a read-committed reader of
// [fetchOffset, upper) must know. done says that later segments hold no more
// of them; until then go on with the next segment's index. The list may hold
// more than is needed, as in Kafka.
func (t Txns) Collect(fetchOffset, upper int64, dst []AbortedTxn) (list []AbortedTxn, done bool) {
	// Entries are in the order of their markers. One whose marker lies below
	// the fetch offset neither counts nor ends the search: its last stable
	// offset is at most one above the marker.
	i := 0
	if fetchOffset > math.MinInt64 {
		i = floor64(t.b, t.Len(), TxnEntrySize, 18, fetchOffset-1) + 1
	}
	for ; i < t.Len(); i++ {
		a := t.Entry(i)
		if a.LastOffset >= fetchOffset && a.FirstOffset < upper {
			dst = append(dst, a)
		}
		if a.LastStableOffset >= upper {
			return dst, true
		}
	}
	return dst, false
}

// Check says whether the index can belong to a segment of [base, nextOffset):
// whole entries of version 0, markers strictly rising and in range, each
// transaction beginning before its marker and leaving a last stable offset not
// beyond it. The error is a *CorruptError.
func (t Txns) Check(base, nextOffset int64) error {
	if len(t.b)%TxnEntrySize != 0 {
		return corrupt("transaction", -1, "%d bytes are not a multiple of %d", len(t.b), TxnEntrySize)
	}
	var last int64
	for i := range t.Len() {
		a := t.Entry(i)
		switch {
		case a.Version != 0:
			return corrupt("transaction", i, "unknown version %d", a.Version)
		case a.ProducerID < 0:
			return corrupt("transaction", i, "producer id %d is negative", a.ProducerID)
		case a.LastOffset < base || a.LastOffset >= nextOffset:
			return corrupt("transaction", i, "marker offset %d is outside of the segment [%d, %d)", a.LastOffset, base, nextOffset)
		case i > 0 && a.LastOffset <= last:
			return corrupt("transaction", i, "marker offset %d is not above %d", a.LastOffset, last)
		case a.FirstOffset < 0 || a.FirstOffset >= a.LastOffset:
			return corrupt("transaction", i, "first offset %d is not below the marker's, %d", a.FirstOffset, a.LastOffset)
		case a.LastStableOffset < 0 || a.LastStableOffset-1 > a.LastOffset:
			return corrupt("transaction", i, "last stable offset %d is above the marker's, %d", a.LastStableOffset, a.LastOffset)
		}
		last = a.LastOffset
	}
	return nil
}

// CheckKafka is Kafka's TransactionIndex.sanityCheck: no marker below the base
// offset. Order and versions are not looked at.
func (t Txns) CheckKafka(base int64) error {
	for i := range t.Len() {
		if a := t.Entry(i); a.LastOffset < base {
			return corrupt("transaction", i, "marker offset %d is below the base offset %d", a.LastOffset, base)
		}
	}
	return nil
}
