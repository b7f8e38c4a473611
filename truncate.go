package leat

import (
	"context"
	"fmt"
	"strings"

	"github.com/leatlog/leat/log"
)

// TruncateTo takes records back: the partition ends at offset then, or, where that
// lies inside a batch, at the beginning of the batch. It is what a replica does
// whose leader has other records from there on. What was known of producers,
// transactions and leader epochs is as it was at that end; the high watermark is
// lowered to it. A partition without ExternalEpochs begins a new leader epoch.
//
// Appends wait meanwhile. A batch that a reader was given stays as it was, for as
// long as it would have; a reader that was beyond the new end gets an *OffsetError
// once, and goes on with what is there if it is asked again.
//
// When it returns nil the records are gone for good. After an error nothing has
// changed, except that with ErrFailed the partition may have become shorter or
// not: Reopen tells.
//
// *OffsetError: offset lies below the log start offset (see ResetTo) or beyond the
// log end offset. *CorruptError: what is to stay is damaged. ErrInvalidTopic: an
// internal topic.
func (p *Partition) TruncateTo(offset int64) error {
	return p.shorten(func(l *log.Log, checkpoint func() error) error { return l.TruncateTo(offset, checkpoint) })
}

// ResetTo takes all records back and lets the partition begin anew, empty, at
// start: what a replica does that is too far behind its leader, or was told to
// forget what it has. What was known of producers, transactions and leader epochs
// is forgotten, but that a new epoch of a partition without ExternalEpochs is above
// those before. It is also the way to give up a partition that is damaged, which
// is as good as new then. Readers and errors are as in TruncateTo; only a negative
// start is an *OffsetError.
func (p *Partition) ResetTo(start int64) error {
	return p.shorten(func(l *log.Log, checkpoint func() error) error { return l.ResetTo(start, checkpoint) })
}

// shorten holds the checkpoints for a call that lowers offsets, which writes them
// before it touches a file: whoever holds them may wait for the log, so they come
// first. Deletions come before both: they may wait for a checkpoint.
func (p *Partition) shorten(do func(l *log.Log, checkpoint func() error) error) error {
	s := p.topic.store
	if strings.HasPrefix(p.topic.name, internalPrefix) {
		return fmt.Errorf("%w: %q is internal", ErrInvalidTopic, p.topic.name)
	}
	l, err := p.change()
	if err != nil {
		return err
	}
	release, err := l.HoldDeletions(context.Background())
	if err != nil {
		return err
	}
	defer release()
	if err := s.administer(context.Background()); err != nil {
		return err
	}
	defer s.administered()
	if err := p.topic.usable(); err != nil {
		return err
	}
	s.touch()
	return p.fail(do(l, s.checkpoint)) // ErrClosed, if l was replaced meanwhile
}

// SetHighWatermark tells how far what is stored may be read: the offset below
// which, for the wrapper, records are safe. It is for topics with
// ExternalWatermark, and ErrInvalidConfig for others. It never goes back, except
// with TruncateTo and ResetTo; a lower offset changes nothing. It outlives the
// process. *OffsetError: beyond the log end offset.
func (p *Partition) SetHighWatermark(offset int64) error {
	l, err := p.change()
	if err != nil {
		return err
	}
	if err := p.topic.usable(); err != nil {
		return err
	}
	if p.topic.Config().External&ExternalWatermark == 0 {
		return invalidConfig("the high watermark of %s is not a wrapper's: TopicConfig.External is %v", p, p.topic.Config().External)
	}
	p.topic.store.touch()
	return p.fail(l.SetHighWatermark(offset))
}

// EndOffsetForEpoch is what a leader answers to a follower that asks where an
// epoch ended (Kafka: OffsetsForLeaderEpoch): the largest epoch that is not above
// the one asked for, and the offset behind its last record. An epoch below all
// that are known is answered by itself, with the first offset known. Without an
// answer, and for epochs above all known, both are -1.
func (p *Partition) EndOffsetForEpoch(epoch int32) (int32, int64) {
	l, err := p.use()
	if err != nil {
		return -1, -1
	}
	return l.EndOffsetForEpoch(epoch)
}

// LeaderEpoch is the epoch that appended batches are stamped with, -1 when there
// is none yet or the partition cannot be opened.
func (p *Partition) LeaderEpoch() int32 {
	l, err := p.use()
	if err != nil {
		return -1
	}
	return l.LatestEpoch()
}

// truncated is for a reader whose log has taken records back. What it knows of
// the end and of transactions is of before; its position may be gone.
func (r *Reader) truncated() error {
	r.batch.Release()
	r.cur.SeekTo(r.offset)
	err := r.cur.Truncated()
	r.limit, r.aborted = r.log.Visible(r.committed), abortedTxns{}
	if r.untilEnd {
		r.until = min(r.until, r.limit)
	}
	return err
}
