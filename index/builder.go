package index

import (
	"math"
	"sync/atomic"
)

// firstEntries is the room a builder starts with: an idle partition should cost
// about a kilobyte in all.
const firstEntries = 16

// entries is a list of fixed-size entries for one writer and many readers.
// Nothing that a reader can see is ever written again: an append fills bytes
// behind the published ones, and a truncation goes on in a new block.
type entries struct {
	cur atomic.Pointer[block] // stored by the writer only
}

type block struct {
	b []byte
	// used is the number of published bytes of b. The writer stores it after it
	// has filled them, so a reader that loads it sees them whole.
	used atomic.Int64
}

// start replaces the content by a copy of b.
func (e *entries) start(b []byte, room int) {
	next := &block{b: make([]byte, max(room, len(b)))}
	copy(next.b, b)
	next.used.Store(int64(len(b)))
	e.cur.Store(next)
}

// view is what is published now, with its capacity cut to its length.
func (e *entries) view() []byte {
	cur := e.cur.Load()
	n := cur.used.Load()
	return cur.b[:n:n]
}

// next is room for one more entry, which publish makes visible.
func (e *entries) next(size int) []byte {
	cur := e.cur.Load()
	n := int(cur.used.Load())
	if n+size > len(cur.b) {
		e.start(cur.b[:n], 2*len(cur.b)+firstEntries*size)
		cur = e.cur.Load()
	}
	return cur.b[n : n+size]
}

func (e *entries) publish(size int) { e.cur.Load().used.Add(int64(size)) }

// truncate keeps the first n bytes. Readers may still look at the others, so
// they stay as they are in the old block.
func (e *entries) truncate(n int) {
	if kept := e.view(); n < len(kept) {
		e.start(kept[:n], n)
	}
}

// OffsetBuilder grows the offset index of the active segment. One goroutine at
// a time may call the methods that change it; the others, View above all, are
// safe for any number of goroutines meanwhile and take no lock.
type OffsetBuilder struct {
	base int64
	max  int
	e    entries
}

// NewOffsetBuilder starts an empty index for the segment with the given base
// offset, which is full when it has max entries (segment.index.bytes / 8).
func NewOffsetBuilder(base int64, max int) *OffsetBuilder {
	b := &OffsetBuilder{base: base, max: max}
	b.Reset()
	return b
}

// Load replaces the content by a copy of o, which the caller has checked and
// which must have the same base: the index of a segment that is opened to be
// appended to.
func (b *OffsetBuilder) Load(o Offsets) { b.e.start(o.Bytes(), 0) }

// Reset drops all entries.
func (b *OffsetBuilder) Reset() { b.e.start(nil, 0) }

// Append adds an entry. The offset must be above the last one's (ErrOffset),
// and both must fit an entry (ErrRange). A full index refuses (ErrFull).
func (b *OffsetBuilder) Append(offset, position int64) error {
	o := b.View()
	rel, err := relative31(offset, b.base)
	if err != nil || position < 0 || position > math.MaxInt32 {
		return ErrRange
	}
	if n := o.Len(); n > 0 {
		if last, _ := o.Entry(n - 1); offset <= last {
			return ErrOffset
		}
	}
	if o.Len() >= b.max {
		return ErrFull
	}
	putOffset(b.e.next(OffsetEntrySize), rel, int32(position))
	b.e.publish(OffsetEntrySize)
	return nil
}

// TruncateTo drops the entries with the given offset and above. Views taken
// before keep them.
func (b *OffsetBuilder) TruncateTo(offset int64) {
	o := b.View()
	if offset <= b.base {
		b.Reset()
		return
	}
	keep := floor32(o.b, o.Len(), OffsetEntrySize, 0, relative(offset, b.base)-1) + 1
	b.e.truncate(keep * OffsetEntrySize)
}

// View is the index as it is now. It stays as it is, whatever the writer does.
func (b *OffsetBuilder) View() Offsets { return Offsets{b.base, b.e.view()} }

// Bytes are the entries as they belong into the file: those of View.
func (b *OffsetBuilder) Bytes() []byte { return b.e.view() }

// Len is the number of entries.
func (b *OffsetBuilder) Len() int { return len(b.e.view()) / OffsetEntrySize }

// Full says that the index takes no more entries and the segment must roll.
func (b *OffsetBuilder) Full() bool { return b.Len() >= b.max }

// TimeBuilder grows the time index of the active segment, for one writer and
// many readers like OffsetBuilder.
type TimeBuilder struct {
	base int64
	max  int
	e    entries
}

// NewTimeBuilder starts an empty index for the segment with the given base
// offset, which has room for max entries (segment.index.bytes / 12), the last
// of them kept for the roll.
func NewTimeBuilder(base int64, max int) *TimeBuilder {
	b := &TimeBuilder{base: base, max: max}
	b.Reset()
	return b
}

// Load replaces the content by a copy of t, which the caller has checked and
// which must have the same base.
func (b *TimeBuilder) Load(t Times) { b.e.start(t.Bytes(), 0) }

// Reset drops all entries.
func (b *TimeBuilder) Reset() { b.e.start(nil, 0) }

// MaybeAppend adds an entry if the timestamp is above the last one's, and does
// nothing if it is the same: a roll and a close offer the greatest timestamp
// once more. Going back is an error (ErrOffset, ErrTimestamp). A full index
// refuses (ErrFull) unless skipFull, with which the roll, the close and the end
// of recovery use the entry that Full kept for them.
func (b *TimeBuilder) MaybeAppend(timestamp, offset int64, skipFull bool) error {
	t := b.View()
	rel, err := relative31(offset, b.base)
	if err != nil {
		return err
	}
	lastTimestamp, lastOffset := t.Last()
	if t.Len() > 0 {
		if offset < lastOffset {
			return ErrOffset
		}
		if timestamp < lastTimestamp {
			return ErrTimestamp
		}
	}
	if timestamp <= lastTimestamp {
		return nil
	}
	if !skipFull && b.Full() {
		return ErrFull
	}
	putTime(b.e.next(TimeEntrySize), timestamp, rel)
	b.e.publish(TimeEntrySize)
	return nil
}

// TruncateTo drops the entries with the given offset and above. Views taken
// before keep them.
func (b *TimeBuilder) TruncateTo(offset int64) {
	t := b.View()
	if offset <= b.base {
		b.Reset()
		return
	}
	keep := floor32(t.b, t.Len(), TimeEntrySize, 8, relative(offset, b.base)-1) + 1
	b.e.truncate(keep * TimeEntrySize)
}

// View is the index as it is now. It stays as it is, whatever the writer does.
func (b *TimeBuilder) View() Times { return Times{b.base, b.e.view()} }

// Bytes are the entries as they belong into the file: those of View.
func (b *TimeBuilder) Bytes() []byte { return b.e.view() }

// Len is the number of entries.
func (b *TimeBuilder) Len() int { return len(b.e.view()) / TimeEntrySize }

// Last is the last entry, or (-1, base) if there is none.
func (b *TimeBuilder) Last() (timestamp, offset int64) { return b.View().Last() }

// Full says that only the entry kept for the roll is left: the segment must roll.
func (b *TimeBuilder) Full() bool { return b.Len() >= b.max-1 }

// TxnBuilder grows the transaction index of the active segment, for one writer
// and many readers like OffsetBuilder. It is never full.
type TxnBuilder struct{ e entries }

// NewTxnBuilder starts an empty index.
func NewTxnBuilder() *TxnBuilder {
	b := new(TxnBuilder)
	b.Reset()
	return b
}

// Load replaces the content by a copy of t, which the caller has checked.
func (b *TxnBuilder) Load(t Txns) { b.e.start(t.Bytes(), 0) }

// Reset drops all entries.
func (b *TxnBuilder) Reset() { b.e.start(nil, 0) }

// Append adds an entry, whose marker must lie above the last one's (ErrOffset).
func (b *TxnBuilder) Append(a AbortedTxn) error {
	t := b.View()
	if n := t.Len(); n > 0 && a.LastOffset <= t.Entry(n-1).LastOffset {
		return ErrOffset
	}
	a.Append(b.e.next(TxnEntrySize)[:0])
	b.e.publish(TxnEntrySize)
	return nil
}

// TruncateTo drops the transactions whose marker has the given offset or a
// higher one. Views taken before keep them.
func (b *TxnBuilder) TruncateTo(offset int64) {
	if offset == math.MinInt64 {
		b.Reset()
		return
	}
	t := b.View()
	b.e.truncate((floor64(t.b, t.Len(), TxnEntrySize, 18, offset-1) + 1) * TxnEntrySize)
}

// View is the index as it is now. It stays as it is, whatever the writer does.
func (b *TxnBuilder) View() Txns { return Txns{b.e.view()} }

// Bytes are the entries as they belong into the file: those of View.
func (b *TxnBuilder) Bytes() []byte { return b.e.view() }

// Len is the number of entries.
func (b *TxnBuilder) Len() int { return b.View().Len() }

// relative31 is offset - base, or ErrRange if that does not fit 31 bits.
func relative31(offset, base int64) (int32, error) {
	if d := relative(offset, base); d >= 0 && d <= math.MaxInt32 {
		return int32(d), nil
	}
	return 0, ErrRange
}
