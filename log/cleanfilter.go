package log

import (
	"fmt"
	"io"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// verdict is what is to become of a batch (Kafka's MemoryRecords.filterTo with
// the cleaner's RecordFilter).
type verdict struct {
	kept    int  // records that stay: those of cleaner.keep
	horizon bool // a delete horizon is to be set
	empty   bool // without records it stays all the same: a header tells offsets and sequence
}

// lastRecord is what Kafka calls the last record of an active producer: the offset
// of its newest data, or, when its newest batch is a marker, -1 and the epoch.
type lastRecord struct {
	offset int64
	epoch  int16
}

// lastRecords are those of all producers that the log knows.
func (l *Log) lastRecords() map[int64]lastRecord {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if len(l.producers.byID) == 0 {
		return nil
	}
	m := make(map[int64]lastRecord, len(l.producers.byID))
	for id, e := range l.producers.byID {
		r := lastRecord{-1, e.epoch}
		if e.count > 0 {
			r.offset = e.batches[e.count-1].lastOffset
		}
		m[id] = r
	}
	return m
}

// verdict judges a batch, and its records one by one.
func (c *cleaner) verdict(b codec.Batch) (v verdict, err error) {
	due := b.HasDeleteHorizon() && b.BaseTimestamp() <= c.now
	discard, marker := false, false
	if b.IsControl() {
		d, aborted, err := c.txns.control(b)
		if err != nil {
			return v, err
		}
		if aborted != nil {
			if err := c.abort(*aborted); err != nil {
				return v, err
			}
		}
		// A marker that nothing needs any more stays as long as a tombstone would.
		discard, marker = d && due, d
	} else {
		discard = c.txns.data(b)
	}
	v.empty = b.NextOffset() == c.upper || c.lastOfProducer(b)
	switch {
	case discard:
		return v, nil
	case b.IsControl():
		v.kept = int(b.RecordCount())
		v.horizon = v.kept > 0 && marker && c.mayBegin(b)
		c.keepAll(v.kept)
		return v, nil
	}
	err = c.judge(b, due)
	v.kept, v.horizon = c.kept, c.tombs && c.mayBegin(b)
	return v, err
}

// lastOfProducer tells whether a batch holds the last sequence of a producer, which
// must be known as long as the producer is.
func (c *cleaner) lastOfProducer(b codec.Batch) bool {
	if b.ProducerID() < 0 {
		return false
	}
	r, ok := c.producers[b.ProducerID()]
	switch {
	case !ok:
		return false
	case r.offset >= 0:
		return b.LastOffset() == r.offset
	}
	return b.IsControl() && b.ProducerEpoch() == r.epoch
}

// mayBegin tells whether a batch can be given a delete horizon: once, none before
// 1970, and none at all when tombstones stay for good.
func (c *cleaner) mayBegin(b codec.Batch) bool {
	return !b.HasDeleteHorizon() && c.o.TombstoneRetain >= 0 && c.horizon() >= 0
}

// horizon is the delete horizon that this cleaning sets.
func (c *cleaner) horizon() int64 { return c.now + c.o.TombstoneRetain.Milliseconds() }

// judge marks the records of a batch that stay. Of those that the first pass has
// seen that are the newest with their keys; a tombstone, until it is due.
func (c *cleaner) judge(b codec.Batch, due bool) error {
	if err := c.decode(b); err != nil {
		return err
	}
	n := (int(b.RecordCount()) + 63) / 64
	c.keep = slices.Grow(c.keep[:0], n)[:n]
	clear(c.keep)
	c.kept, c.tombs = 0, false
	for more := true; more; {
		var err error
		if more, err = c.gather(0, c.latest); err != nil {
			return err
		}
		for i := range c.probes {
			p := &c.probes[i]
			if (p.value || !due) && p.offset >= c.keys.get(p.key) {
				c.keepRecord(p.record, !p.value)
			}
		}
	}
	return nil
}

func (c *cleaner) keepRecord(i int, tombstone bool) {
	c.keep[i/64] |= 1 << (i % 64)
	c.kept++
	c.tombs = c.tombs || tombstone
}

func (c *cleaner) keepAll(n int) {
	c.keep = c.keep[:0]
	for range (n + 63) / 64 {
		c.keep = append(c.keep, ^uint64(0))
	}
}

// abort notes an aborted transaction whose marker stays.
func (c *cleaner) abort(t abortedTxn) error { return c.out.abort(t) }

// keptAttributes are those that a batch which is written anew has: the others mean
// nothing, and Kafka drops them.
const keptAttributes = codec.CodecMask | codec.TimestampTypeBit | codec.TransactionalBit | codec.ControlBit

// appendEmptied appends what is left of a batch without its records.
func appendEmptied(dst []byte, b codec.Batch) []byte {
	h := b.Header()
	h.Attributes &= keptAttributes &^ codec.CodecMask
	h.BaseTimestamp, h.RecordCount = -1, 0
	from := len(dst)
	dst = slices.Grow(dst, codec.HeaderSize)[:from+codec.HeaderSize]
	h.Put(dst[from:])
	codec.Seal(dst[from:])
	return dst
}

// rewrite appends to c.raw the records of a batch that stay. With a delete horizon,
// new or not, timestamps count from that, else from the first record's.
//
// That may make a batch larger than it was. One that would be too large for a
// reader or for the segment keeps its horizon and base timestamp as they are, so
// that it is no larger: its tombstones stay for longer.
func (c *cleaner) rewrite(b codec.Batch, v verdict) error {
	h := b.Header()
	h.Attributes &= keptAttributes
	h.RecordCount = int32(v.kept)
	switch {
	case v.horizon:
		h.BaseTimestamp = c.horizon()
		h.Attributes |= codec.DeleteHorizonBit
	case b.HasDeleteHorizon() && b.BaseTimestamp() >= 0:
		h.Attributes |= codec.DeleteHorizonBit
	default:
		h.BaseTimestamp = noBase
	}
	n := len(c.raw)
	grown, err := c.encode(b, &h)
	if err != nil || !grown {
		return err
	}
	c.raw = c.raw[:n]
	if v.kept == int(b.RecordCount()) {
		c.raw = append(c.raw, b...)
		return nil
	}
	h.Attributes = h.Attributes&^codec.DeleteHorizonBit | b.Attributes()&codec.DeleteHorizonBit
	h.BaseTimestamp = b.BaseTimestamp()
	if grown, err = c.encode(b, &h); grown {
		return fmt.Errorf("%w: the batch at offset %d is larger compressed anew, and what is left of its segment more than %d bytes",
			ErrRecordTooLarge, b.BaseOffset(), maxCleanedLog)
	}
	return err
}

// noBase stands for the first record's timestamp.
const noBase = noTime

// encode appends a batch with the header h and the records of b that stay. tooLarge
// says that it, or what is still to come of the segment, has no room.
func (c *cleaner) encode(b codec.Batch, h *codec.Header) (tooLarge bool, err error) {
	k := b.Compression()
	payload := b.Payload()
	if k != compress.None {
		payload = *c.plain // of the decode for the verdict
	}
	if err := c.decoder.Reset(b, payload); err != nil {
		return false, err
	}
	from := len(c.raw)
	// A record may need 9 bytes more for its time and 4 for its length.
	bound := len(payload) + 13*int(h.RecordCount) + 8
	var dst []byte
	if k == compress.None {
		c.raw = slices.Grow(c.raw, codec.HeaderSize+bound)
		dst = c.raw[from+codec.HeaderSize : from+codec.HeaderSize+bound]
	} else {
		if c.packing == nil {
			c.packing = c.l.env.buffer()
		}
		*c.packing = slices.Grow((*c.packing)[:0], bound)
		dst = (*c.packing)[:bound]
	}
	base, times := h.BaseTimestamp, int64(noTime)
	size := 0
	var r codec.Record
	for i := 0; ; i++ {
		if err := c.decoder.Next(&r); err == io.EOF {
			break
		} else if err != nil {
			return false, err
		}
		if c.keep[i/64]>>(i%64)&1 == 0 {
			continue
		}
		if base == noBase {
			base = r.Timestamp
		}
		times = max(times, r.Timestamp)
		size += codec.PutRecord(dst[size:], int32(r.Offset-h.BaseOffset), r.Timestamp-base, r.Key, r.Value, r.Headers)
	}
	h.BaseTimestamp = base
	if b.TimestampType() == codec.CreateTime {
		h.MaxTimestamp = times
	}
	if k == compress.None {
		c.raw = c.raw[:from+codec.HeaderSize+size]
	} else {
		if size > MaxUnpacked {
			return true, nil
		}
		c.raw = slices.Grow(c.raw, codec.HeaderSize)[:from+codec.HeaderSize]
		c.raw, err = c.l.env.coders.Append(c.raw, dst[:size], k)
		if err != nil {
			return false, codersError(err)
		}
	}
	if c.out.size()+int64(len(c.raw))+c.left > maxCleanedLog {
		return true, nil
	}
	h.Put(c.raw[from:])
	codec.Seal(c.raw[from:])
	return false, nil
}
