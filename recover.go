package leat

import (
	"context"
	"iter"
	"time"

	"github.com/leatlog/leat/log"
)

// Cut is one place where a torn tail was cut off, and where what was cut is kept.
type Cut = log.Cut

// Recovery is what the open of a partition found and did.
type Recovery struct {
	Topic     string
	Partition int32
	// Clean: it was closed in order, and nothing had to be done. What follows, but
	// for the offsets, is zero then.
	Clean                    bool
	StartOffset, EndOffset   int64
	Segments                 int   // that were scanned
	Bytes                    int64 // of batches that were scanned
	BytesCut, BytesRewritten int64 // kept in quarantine files; written again, and synced
	Cuts                     []Cut
	Rebuilt                  []string // files that were made anew from the batches
	// Shortened: offsets are gone that may have been read. A new leader epoch has
	// begun where the log now ends, unless a wrapper owns epochs.
	Shortened bool
	Duration  time.Duration
	// Err: the partition is damaged (a *CorruptError) and refuses appends until it
	// is repaired, or could not be opened.
	Err error
}

// Recover opens every partition that is not open yet, which recovers those that
// were not closed in order, and yields what was found of each: the record of
// topics first, then topics by name. Without it a partition is recovered when it
// is first used. A partition that was open before is told of as it was found then.
//
// The error, with an empty Recovery, is ctx's, ErrClosed or ErrReadOnly, and ends
// it. What is wrong with one partition is in its Recovery, and the others go on.
func (s *Store) Recover(ctx context.Context) iter.Seq2[Recovery, error] {
	return func(yield func(Recovery, error) bool) {
		if s.follow != nil {
			yield(Recovery{}, ErrReadOnly)
			return
		}
		if s.isClosed() {
			yield(Recovery{}, ErrClosed)
			return
		}
		if !yield(recoveryOf(metadataTopic, 0, s.meta, s.metaReport), nil) {
			return
		}
		for _, t := range s.topics() {
			for id := range t.ids() {
				if err := ctx.Err(); err != nil {
					yield(Recovery{}, err)
					return
				}
				p := t.handle(id)
				l, err := p.use()
				if s.isClosed() {
					yield(Recovery{}, ErrClosed)
					return
				}
				if t.deleted.Load() {
					continue
				}
				r := Recovery{Topic: t.name, Partition: id, StartOffset: -1, EndOffset: -1, Err: err}
				if err == nil {
					r = recoveryOf(t.name, id, l, p.report.Load())
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// recoveryOf says what a report says; nil is that of a log that was closed in
// order.
func recoveryOf(topic string, id int32, l *log.Log, r *log.Report) Recovery {
	if r == nil {
		return Recovery{Topic: topic, Partition: id, Clean: true, StartOffset: l.LogStartOffset(), EndOffset: l.LogEndOffset()}
	}
	c := Recovery{
		Topic: topic, Partition: id, StartOffset: r.StartOffset, EndOffset: r.EndOffset,
		Segments: r.SegmentsScanned, Bytes: r.BytesScanned, BytesCut: r.BytesCut, BytesRewritten: r.BytesRewritten,
		Cuts: r.Cuts, Rebuilt: r.Rebuilt, Shortened: r.Shortened, Duration: r.Duration,
	}
	if r.Damage != nil {
		c.Err = r.Damage
	}
	return c
}

// keepReport keeps what an open has told, unless there was nothing to tell: idle
// partitions are to cost little.
func keepReport(r *log.Report) *log.Report {
	if r.Clean {
		return nil
	}
	return r
}
