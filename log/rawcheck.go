package log

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// origin says who made a batch, and with it what is asked of it (Kafka's
// AppendOrigin).
type origin uint8

const (
	fromClient      origin = iota // anything may be wrong with it
	fromCoordinator               // a marker of ours
	fromLeader                    // another log has it: what it says is a fact
)

// checkClient takes the batches of a client into a call, checked as Kafka's
// LogValidator does (KAFKA_RULES 4.4), with timestamps and codec as they will be
// stored.
func (l *Log) checkClient(c *rawCall, raw []byte, o *RawOptions) error {
	now := int64(noTime)
	if c.cfg.LogAppendTime {
		now = time.Now().UnixMilli()
	}
	for pos := 0; pos < len(raw) || pos == 0; {
		b, err := nextRaw(raw[pos:])
		if err == nil {
			err = l.checkClientBatch(c, b, o, now)
		}
		if err != nil {
			return inputError(len(c.batches), pos, err)
		}
		pos += len(b)
	}
	if len(c.batches) > 1 {
		for i := range c.batches {
			// Kafka takes one batch a call at most. Here that is asked for only
			// where it matters: of two, one may be a duplicate.
			if c.batches[i].batch().ProducerID() >= 0 {
				return fmt.Errorf("%w: a batch with a producer id comes alone, not among %d", ErrInvalidRecord, len(c.batches))
			}
		}
	}
	return nil
}

// nextRaw is the whole batch at the beginning of raw.
func nextRaw(raw []byte) (codec.Batch, error) {
	b, err := codec.Next(raw)
	switch {
	case err == nil:
		return b, nil
	case len(raw) == 0:
		return nil, fmt.Errorf("%w: no batch", ErrInvalidRecord)
	case errors.Is(err, codec.ErrUnsupported):
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// inputError says which batch of a call is refused.
func inputError(n, pos int, err error) error {
	return fmt.Errorf("%w (batch %d of the input, at byte %d)", err, n, pos)
}

// checkHeader is asked of every batch. What the CRC covers and is impossible all
// the same was made so: that is no corruption.
func checkHeader(b codec.Batch) error {
	err := b.Check()
	switch {
	case err == nil:
	case errors.Is(err, codec.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case b.CRCValid():
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	default:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if k := b.Compression(); !k.Valid() {
		return fmt.Errorf("%w: compression codec %d", ErrUnsupported, uint8(k))
	}
	if int64(b.RecordCount()) > int64(b.LastOffsetDelta())+1 {
		return fmt.Errorf("%w: %d records in %d offsets", ErrInvalidRecord, b.RecordCount(), int64(b.LastOffsetDelta())+1)
	}
	return nil
}

func (l *Log) checkClientBatch(c *rawCall, b codec.Batch, o *RawOptions, now int64) error {
	cfg := c.cfg
	if int64(len(b)) > int64(cfg.MaxBatchBytes) {
		return l.tooLarge(int64(len(b)))
	}
	if err := checkHeader(b); err != nil {
		return err
	}
	if err := b.CheckClient(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	switch {
	case b.BaseOffset() != 0:
		return fmt.Errorf("%w: base offset %d, where the log gives the offsets", ErrInvalidRecord, b.BaseOffset())
	case b.HasDeleteHorizon():
		return fmt.Errorf("%w: a delete horizon, which only a cleaner sets", ErrInvalidRecord)
	case b.ProducerID() >= 0 && b.ProducerEpoch() < 0:
		return fmt.Errorf("%w: producer id %d with epoch %d", ErrInvalidRecord, b.ProducerID(), b.ProducerEpoch())
	case b.IsTransactional() && b.ProducerID() < 0:
		return fmt.Errorf("%w: transactional without a producer id", ErrInvalidRecord)
	case b.IsTransactional() && !o.Transactional:
		return fmt.Errorf("%w: no transaction of producer %d is known, since nothing coordinates transactions here yet", ErrTxnState, b.ProducerID())
	case b.TimestampType() == codec.LogAppendTime && !cfg.LogAppendTime:
		return fmt.Errorf("%w: a batch with LogAppendTime to a topic with CreateTime", ErrInvalidTimestamp)
	}
	plain, err := codec.Unpack(b, c.plain, l.env.coders, MaxUnpacked)
	if b.Compression() != compress.None && cap(plain) > cap(c.plain) {
		c.plain = plain
	}
	if err != nil {
		return unpackError(err)
	}
	s, err := c.decoder.Inspect(b, plain)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	if o.Keyed && s.NullKeys > 0 {
		return fmt.Errorf("%w: %d of %d records have no key, and %s is compacted", ErrInvalidRecord, s.NullKeys, s.Records, cfg.Topic)
	}
	if !cfg.LogAppendTime {
		if err := l.checkRawTimes(cfg, s); err != nil {
			return err
		}
	}
	return l.takeClient(c, b, plain, max(s.MaxTimestamp, -1), now)
}

// unpackError tells records that are too many from such as are none, and both
// from a store that has been closed.
func unpackError(err error) error {
	switch {
	case errors.Is(err, compress.ErrClosed):
		return ErrClosed
	case errors.Is(err, compress.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
}

// checkRawTimes refuses records whose timestamps are outside the topic's window,
// like checkTimes. No timestamp (-1) is always allowed.
func (l *Log) checkRawTimes(cfg *Config, s codec.Summary) error {
	after, before := cfg.TimestampAfter, cfg.TimestampBefore
	if s.MinTimestamp == math.MaxInt64 && s.MaxTimestamp <= -1 ||
		(after < 0 || s.MaxTimestamp-max(l.seen.Load(), 0) <= after.Milliseconds()) && before < 0 {
		return nil
	}
	now := time.Now().UnixMilli()
	l.seen.Store(now)
	switch {
	case after >= 0 && s.MaxTimestamp > now+after.Milliseconds():
		return fmt.Errorf("%w: timestamp %d is more than %s ahead of the clock, %d (message.timestamp.after.max.ms)",
			ErrInvalidTimestamp, s.MaxTimestamp, after, now)
	case before >= 0 && s.MinTimestamp < now-before.Milliseconds():
		return fmt.Errorf("%w: timestamp %d is more than %s behind the clock, %d (message.timestamp.before.max.ms)",
			ErrInvalidTimestamp, s.MinTimestamp, before, now)
	}
	return nil
}

// takeClient takes a checked batch in, as it will be stored but for its offset
// and epoch. latest is the true largest timestamp of its records.
func (l *Log) takeClient(c *rawCall, b codec.Batch, plain []byte, latest, now int64) error {
	r := c.add(b)
	changed := false
	if k := c.cfg.Compression; k != compress.None && k != b.Compression() && !b.IsControl() {
		if err := l.repack(c, r, plain, k); err != nil {
			return err
		}
		changed = true
	}
	h := r.batch().Header()
	if now != noTime {
		h.Attributes |= codec.TimestampTypeBit
		latest = now
	}
	if changed || h.MaxTimestamp != latest || h.Attributes != b.Attributes() {
		h.MaxTimestamp = latest
		h.Put(r.header[:])
		codec.SealParts(r.header[:], r.payload)
	}
	return nil
}

// checkReplicated takes the batches of a follower into a call, which it finds as
// the leader stored them. The records are not looked at: the CRC says that they
// are the leader's.
func (l *Log) checkReplicated(c *rawCall, raw []byte) error {
	next := int64(-1)
	for pos := 0; pos < len(raw) || pos == 0; {
		b, err := nextRaw(raw[pos:])
		if err == nil {
			err = l.takeReplicated(c, b, next)
		}
		if err != nil {
			return inputError(len(c.batches), pos, err)
		}
		c.sparse = c.sparse || next >= 0 && b.BaseOffset() > next
		next = b.NextOffset()
		pos += len(b)
	}
	return nil
}

func (l *Log) takeReplicated(c *rawCall, b codec.Batch, next int64) error {
	if err := checkHeader(b); err != nil {
		return err
	}
	if b.BaseOffset() < next {
		return fmt.Errorf("%w: base offset %d, where %d is next", ErrInvalidRecord, b.BaseOffset(), next)
	}
	r := c.add(b)
	if b.IsControl() && b.ProducerID() >= 0 {
		control, ok, err := codec.DecodeControl(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
		}
		r.control, r.marker = control, ok
	}
	return nil
}

// checkFollows refuses batches that a follower has already. writing is held.
func (l *Log) checkFollows(c *rawCall, end int64) error {
	if base := c.batches[0].batch().BaseOffset(); base < end {
		err := &OffsetError{Topic: l.cfg().Topic, Partition: l.cfg().Partition, Offset: base, Start: l.start.Load(), End: end}
		return fmt.Errorf("%w: the batches begin below the log's end", err)
	}
	return nil
}
