package leat

import (
	"time"

	"github.com/leatlog/leat/log"
)

// Observer is a set of calls, each of which may be nil, that tell what a store
// does as it does it: Options.Observer. Store.Stats counts the same things, and
// costs next to nothing; an Observer is for those who need each of them.
//
// A call runs on the goroutine that did the work, which waits for it: that of a
// caller of the store or, for what happens in the background, one of the store's
// own. Calls may come at the same time, and calls that tell of one partition in
// another order than that in which things happened. Nothing is locked meanwhile:
// they may use the store, append to the partition that they tell of too. Only
// what waits for them must not be waited for, so they must not close the store or
// reopen or delete what they tell of; and an append that is made for every append
// never ends. What panics in a call is not caught.
//
// The store's own topics are not told of, but for their recovery and damage.
type Observer struct {
	// Append: a batch was stored. Offset is that of its first record, Records and
	// Bytes are the batch's, as stored. Of records from several callers that were
	// stored as one batch there is one event, told by one of those. Duration is how
	// long that call took until its durability held; Err is why it returned an
	// error all the same: its context ended, or the sync failed.
	//
	// With it, every append is timed, which costs some 50 ns.
	Append func(Event)

	// Sync: data was made durable, of however many appends. Records begin at Offset;
	// there may be none, of a sync that only found others' work. Err: it failed, and
	// the partition with it.
	Sync func(Event)

	// Roll: a segment was begun, at Offset. Records and Bytes are what the one before
	// it has. Err: it could not be begun; the next append tries again.
	Roll func(Event)

	// Delete: the oldest segments were deleted. Offset is the first that is gone,
	// Segments how many are, Records and Bytes what they held; offsets that were
	// missing count as records. Err: not all could be.
	Delete func(Event)

	// Compact: a partition was cleaned, in one round of perhaps several. Below Offset
	// it is clean now. Segments were replaced, with Records and Bytes less than they
	// had; both may be negative by a few bytes, of a partition in which nothing was to
	// be removed. Err: it could not be cleaned, or not as a whole; no record was lost.
	Compact func(Event)

	// Recover: a partition that had not been closed in order was opened. It ends at
	// Offset and has Records; Segments and Bytes were scanned. Err: data had to be cut
	// off, which is kept in a quarantine file, or is damaged (a *CorruptError).
	Recover func(Event)

	// Corrupt: somebody came upon damage, by opening or by reading. It is told once
	// a place, however often it is read.
	Corrupt func(*CorruptError)

	// Background: something failed that no caller gets to know, or not only a caller:
	// a partition failed (ErrFailed), a segment could not be finished yet, a
	// checkpoint not be written, a partition not be cleaned.
	Background func(error)
}

// Event is something that happened to a partition. What the fields say is told by
// the call of Observer; those that a call does not speak of are zero.
type Event struct {
	Topic     string
	Partition int32
	Offset    int64
	Records   int64
	Bytes     int64
	Segments  int
	Duration  time.Duration
	Err       error
}

// forLog is what package log calls.
func (o *Observer) forLog() *log.Observer {
	if o == nil {
		return nil
	}
	tell := func(f func(Event)) func(log.Event) {
		if f == nil {
			return nil
		}
		return func(e log.Event) { f(Event(e)) }
	}
	return &log.Observer{
		Append: tell(o.Append), Sync: tell(o.Sync), Roll: tell(o.Roll), Delete: tell(o.Delete),
		Compact: tell(o.Compact), Recover: tell(o.Recover), Corrupt: o.Corrupt, Background: o.Background,
	}
}

// background tells of an error that no caller gets.
func (s *Store) background(err error) {
	if o := s.opts.Observer; o != nil && o.Background != nil {
		o.Background(err)
	}
}
