package log

import (
	"fmt"
	"math"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// CheckClient asks of a batch that a client sends whether it may be appended
// (KAFKA_RULES 4.8): the epoch is the newest, and the sequence follows. A batch
// that is among the last five of its producer is found instead: that is its
// second sending, and dup is where the first is. Nothing changes.
func (p *Producers) CheckClient(b codec.Batch) (dup ProducerBatch, found bool, err error) {
	e := p.byID[b.ProducerID()]
	if e == nil {
		return dup, false, nil // forgotten, perhaps: any sequence will do
	}
	first, last := b.BaseSequence(), b.LastSequence()
	if e.epoch == b.ProducerEpoch() {
		for _, o := range e.batches[:e.count] {
			if o.firstSequence() == first && o.lastSequence == last {
				return o.public(), true, nil
			}
		}
	}
	switch {
	case b.ProducerEpoch() < e.epoch:
		return dup, false, fmt.Errorf("%w: producer %d has epoch %d, and a newer one %d", ErrFenced, e.id, b.ProducerEpoch(), e.epoch)
	case b.ProducerEpoch() != e.epoch && e.epoch != -1 && first != 0:
		return dup, false, fmt.Errorf("%w: producer %d begins epoch %d with sequence %d", ErrOutOfOrderSequence, e.id, b.ProducerEpoch(), first)
	case b.ProducerEpoch() == e.epoch && first != e.nextSequence():
		return dup, false, fmt.Errorf("%w: producer %d sends sequence %d, and %d is next", ErrOutOfOrderSequence, e.id, first, e.nextSequence())
	case e.txnFirst >= 0 && !b.IsTransactional():
		return dup, false, fmt.Errorf("%w: producer %d has a transaction open since offset %d, and sends data outside of it", ErrTxnState, e.id, e.txnFirst)
	}
	return dup, false, nil
}

// nextSequence is the sequence that the next batch of this epoch begins with.
func (e *producerEntry) nextSequence() int32 {
	if e.count == 0 {
		return 0
	}
	return codec.AddSequence(e.batches[e.count-1].lastSequence, 1)
}

// CheckMarker asks whether a marker may be appended (KAFKA_RULES 4.9). Of
// transactions by the protocol's version 2 each has an epoch of its own, which
// the marker raises.
func (p *Producers) CheckMarker(b codec.Batch, control codec.Control, version int16) error {
	e := p.byID[b.ProducerID()]
	if e == nil {
		return nil
	}
	epoch := b.ProducerEpoch()
	switch {
	case epoch < e.epoch, version >= 2 && epoch == e.epoch:
		return fmt.Errorf("%w: marker for epoch %d of producer %d, which has epoch %d", ErrFenced, epoch, e.id, e.epoch)
	case control.CoordinatorEpoch < e.coordinatorEpoch:
		return fmt.Errorf("%w: marker of coordinator epoch %d for producer %d, and %d has been seen", ErrCoordinatorFenced, control.CoordinatorEpoch, e.id, e.coordinatorEpoch)
	}
	return nil
}

// checkProducer asks the producer state whether the batch of a call may be
// appended; a duplicate is answered with where it is. writing is held.
func (l *Log) checkProducer(c *rawCall) (r RawResult, err error) {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	l.expireProducers()
	b := &c.batches[0]
	if c.from == fromCoordinator {
		return r, l.producers.CheckMarker(b.batch(), b.control, c.transaction)
	}
	dup, found, err := l.producers.CheckClient(b.batch())
	if err != nil || !found {
		return r, err
	}
	r = RawResult{BaseOffset: dup.FirstOffset, LastOffset: dup.LastOffset, AppendTime: -1, Duplicate: true}
	if c.cfg.LogAppendTime {
		r.AppendTime = dup.Timestamp
	}
	return r, nil
}

// noteProducers takes batches that are in place into the producer state, as
// recovery does, before they are published. writing is held.
func (l *Log) noteProducers(c *rawCall, seg *segment.Segment) error {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	for i := range c.batches {
		b := &c.batches[i]
		if b.batch().ProducerID() < 0 {
			continue
		}
		var control *codec.Control
		if b.marker {
			control = &b.control
		}
		if err := l.updateProducer(l.producers, b.batch(), control, seg.AbortedTxn); err != nil {
			return err
		}
	}
	l.setUnstable()
	return nil
}

// updateProducer takes one batch into a producer state.
func (l *Log) updateProducer(p *Producers, b codec.Batch, control *codec.Control, aborted func(abortedTxn) error) error {
	done, err := p.Update(b, control)
	if err != nil {
		// What is in the log is a fact; Kafka's recovery warns as well.
		l.env.logger.Warn("producer state", "partition", l.name(), "offset", b.BaseOffset(), "err", err)
		return nil
	}
	if done != nil && done.Aborted && aborted != nil {
		return aborted(abortedTxn{
			ProducerID: done.ProducerID, FirstOffset: done.FirstOffset, LastOffset: done.LastOffset,
			LastStableOffset: p.LastStableAfter(*done),
		})
	}
	return nil
}

// expireEvery is how often producers are looked through for those to forget
// (Kafka's producer.id.expiration.check.interval.ms).
const expireEvery = 10 * time.Minute

// expireProducers forgets producers in time. It runs when one appends, so that a
// log without producers does nothing. stateMu is held.
func (l *Log) expireProducers() {
	now := time.Now().UnixMilli()
	if now < l.expireAt {
		return
	}
	l.expireAt = now + expireEvery.Milliseconds()
	if age := l.expirationMs(); age < math.MaxInt64 {
		l.producers.Expire(now, age)
	}
}

// Marker ends a transaction in this log.
type Marker struct {
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Commit           bool
	Time             time.Time
	Version          int16 // of the transaction protocol: 0 to 2
}

// AppendMarker writes a marker, as a transaction coordinator does.
func (l *Log) AppendMarker(m Marker, d Durability) (RawResult, error) {
	c := l.env.rawCall()
	defer l.env.releaseRaw(c)
	c.cfg, c.from, c.transaction = l.cfg(), fromCoordinator, m.Version
	c.packed = codec.AppendMarker(c.packed[:0], codec.Header{
		LeaderEpoch: -1, BaseTimestamp: m.Time.UnixMilli(), ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch,
	}, m.Commit, m.CoordinatorEpoch)
	b := codec.Batch(c.packed)
	now := int64(noTime)
	if c.cfg.LogAppendTime {
		now = time.Now().UnixMilli()
	}
	if err := l.takeClient(c, b, nil, b.MaxTimestamp(), now); err != nil {
		return RawResult{}, err
	}
	var err error
	if c.batches[0].control, c.batches[0].marker, err = codec.DecodeControl(b); err != nil {
		return RawResult{}, err
	}
	return l.appendCall(c, d)
}
