package leat

import (
	"context"
	"errors"
	"fmt"

	"github.com/leatlog/leat/log"
)

// place puts batches into the log, each with one append. A batch that the log
// refuses for what is in some record comes back in parts: that one is refused
// alone, the others are stored, in order.
func (l *lane) place(batches []*pending) []*pending {
	defer l.placing.Unlock()
	for i, b := range batches {
		if l.placeOne(b); !b.splits() {
			continue
		}
		all := append([]*pending(nil), batches[:i]...)
		all = l.halve(b, all)
		for _, b := range batches[i+1:] {
			if l.placeOne(b); b.splits() {
				all = l.halve(b, all)
			} else {
				all = append(all, b)
			}
		}
		return all
	}
	return batches
}

func (l *lane) placeOne(b *pending) {
	b.err = nil
	if len(b.records) == 0 {
		return // all withdrawn
	}
	for {
		opened, err := l.part.change()
		if err == nil {
			err = l.checkKeys(b.records)
		}
		if err != nil {
			b.err = err
			return
		}
		c := &l.producer.cfg
		whole := opened.Failed() == nil
		b.log = opened
		b.placed, err = opened.Place(asLog(b.records), c.Compression, log.Durability(c.Durability))
		l.producer.store.touch()
		switch {
		case err == nil:
			return
		case errors.Is(err, ErrClosed) && l.part.log.Load() != opened:
			continue // it was reopened
		}
		if b.err = l.part.fail(err); whole && errors.Is(err, ErrFailed) {
			b.err = unknownOutcome(b.err)
		}
		return
	}
}

// checkKeys refuses what Append refuses.
func (l *lane) checkKeys(records []Record) error {
	if !l.part.keyed.Load() {
		return nil
	}
	for i := range records {
		if records[i].Key == nil {
			return fmt.Errorf("%w: record %d of %d has no key, and %s is compacted", ErrInvalidRecord, i, len(records), l.part.topic.name)
		}
	}
	return nil
}

// splits tells whether some record of several may be to blame for the error.
func (b *pending) splits() bool {
	return b.err != nil && len(b.records) > 1 &&
		(errors.Is(b.err, ErrRecordTooLarge) || errors.Is(b.err, ErrInvalidTimestamp) || errors.Is(b.err, ErrInvalidRecord))
}

// halve places the halves of a batch that was refused, and halves those that are
// refused again, and appends what comes of it to done.
func (l *lane) halve(b *pending, done []*pending) []*pending {
	n := len(b.records) / 2
	first := &pending{sequence: b.sequence, partial: true, records: b.records[:n:n], entries: b.entries[:n:n]}
	rest := &pending{sequence: b.sequence, partial: b.partial, records: b.records[n:], entries: b.entries[n:]}
	for _, half := range []*pending{first, rest} {
		for _, e := range half.entries {
			if e.waiter == nil {
				half.async++
				half.cost += l.producer.room.clamp(recordCost(recordSize(e.record)))
			}
		}
		if l.placeOne(half); half.splits() {
			done = l.halve(half, done)
		} else {
			done = append(done, half)
		}
	}
	return done
}

// durable waits until what was placed is durable.
func (l *lane) durable(batches []*pending) {
	for _, b := range batches {
		if b.err != nil || b.placed.Durable == 0 {
			continue
		}
		err := b.log.WaitDurable(context.Background(), b.placed.Durable, b.placed.Generation)
		if err == nil {
			continue
		}
		if b.err = l.part.fail(err); !errors.Is(err, ErrOffsetOutOfRange) { // by which it is known to be truncated away
			b.err = unknownOutcome(b.err)
		}
	}
}
