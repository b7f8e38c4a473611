package log

import (
	"errors"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// A snapshot names the transactions that were open at its offset. The markers that
// end them follow, and cleanings may have removed those since: only after
// everything else of the transaction, and only once it was decided. So one of which
// nothing is left before the snapshot may have ended, and would stay open for ever
// otherwise: it would hold the last stable offset back, and its producer's later
// batches out. If it has not, what follows of it begins it again, and nothing that
// it could leave out is there. A cleaning may well have removed the first batches of
// an aborted one and not come to the others yet.

// dropEnded ends the transactions in a producer state, which is that of the snapshot
// at an offset, of which cleanings have left nothing before that.
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
		there := false
		for ; i < len(segs) && segs[i].Base() < at && !there; i++ {
			var err error
			if there, err = l.holdsData(segs[i], e.id, e.txnFirst, at); err != nil {
				return err
			}
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

// holdsData tells whether transactional data of a producer, from an offset up to
// another, may be in a segment. Behind damage anything may be.
func (l *Log) holdsData(s *segment.Segment, producer, from, to int64) (bool, error) {
	errFound, errPassed := errors.New("found"), errors.New("passed")
	r, err := s.Scan(segment.ScanOptions{Each: func(_ *segment.Scan, _ int64, b codec.Batch) error {
		switch {
		case b.BaseOffset() >= to:
			return errPassed
		case b.LastOffset() >= from && b.ProducerID() == producer && b.IsTransactional() && !b.IsControl():
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
