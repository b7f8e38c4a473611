package log

import (
	"errors"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// A snapshot names the transactions that were open at its offset. The markers that
// end them follow, and cleanings may have removed those since: only after
// everything else of the transaction, and only once it was decided. So one of which
// the first batch is gone has ended, and would stay open for ever otherwise: it
// would hold the last stable offset back, and its producer's later batches out.

// dropEnded ends the transactions in a producer state, which is that of the snapshot
// at an offset, whose first batch a cleaning has removed.
func (l *Log) dropEnded(p *Producers, segs []*segment.Segment, at int64) error {
	if l.dense(at) {
		return nil // no cleaning has come as far as a marker behind it
	}
	list := newList(segs)
	var ended []*producerEntry
	for _, e := range p.open {
		i := list.find(e.txnFirst)
		if l.dense(e.txnFirst) || i < 0 {
			continue
		}
		there, err := l.holdsBatch(segs[i], e.id, e.txnFirst)
		if err != nil {
			return err
		}
		if !there {
			ended = append(ended, e)
		}
	}
	for _, e := range ended {
		l.env.logger.Info("transaction has ended and was cleaned", "partition", l.name(), "producer", e.id, "offset", e.txnFirst)
		p.close(e)
	}
	return nil
}

// holdsBatch tells whether a producer's batch that holds an offset may be in a
// segment. Behind damage anything may be.
func (l *Log) holdsBatch(s *segment.Segment, producer, offset int64) (bool, error) {
	errFound, errPassed := errors.New("found"), errors.New("passed")
	r, err := s.Scan(segment.ScanOptions{Each: func(_ *segment.Scan, _ int64, b codec.Batch) error {
		switch {
		case b.BaseOffset() > offset:
			return errPassed
		case b.LastOffset() >= offset && b.ProducerID() == producer:
			return errFound
		}
		return nil
	}})
	switch {
	case errors.Is(err, errPassed):
		return false, nil
	case errors.Is(err, errFound):
		return true, nil
	case err != nil:
		return false, err
	}
	return r.Stop != segment.StopEnd, nil
}
