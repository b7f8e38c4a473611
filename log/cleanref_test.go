package log

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// The cleaner once more, slow and plain: it looks at the whole log for each
// question, and shares nothing with the one that is tested but the decoder.

// refBatch is a batch with its records.
type refBatch struct {
	codec.Header
	records []codec.Record
	raw     codec.Batch
}

func (b *refBatch) lastOffset() int64 { return b.BaseOffset + int64(b.LastOffsetDelta) }
func (b *refBatch) has(bit uint16) bool {
	return b.Attributes&bit != 0
}

// refClean is what a cleaning of log must leave of the batches that begin below
// latest+1, where latest is the last offset whose key was seen, and what it must
// leave alone.
type refClean struct {
	log            []*refBatch
	from, upper    int64 // first dirty and first uncleanable offset
	latest         int64
	now, horizon   int64
	producers      map[int64]lastRecord
	cleanedSegment func(b *refBatch) bool // whether its segment is cleaned at all
}

func (c *refClean) clean() (out []*refBatch) {
	for _, b := range c.log {
		if !c.cleanedSegment(b) {
			out = append(out, b)
			continue
		}
		if kept := c.keep(b); kept != nil {
			out = append(out, kept)
		}
	}
	return out
}

// decision is the marker that ends the transaction of a data batch: the next one
// of its producer.
func (c *refClean) decision(b *refBatch) *refBatch {
	for _, m := range c.log {
		if m.BaseOffset > b.BaseOffset && m.ProducerID == b.ProducerID && m.has(codec.ControlBit) && len(m.records) > 0 {
			return m
		}
	}
	return nil
}

func (c *refClean) aborted(b *refBatch) bool {
	if !b.has(codec.TransactionalBit) || b.has(codec.ControlBit) {
		return false
	}
	m := c.decision(b)
	return m != nil && m.records[0].Key[3] == codec.ControlAbort
}

// needed tells whether a batch of a marker's transaction is still there.
func (c *refClean) needed(m *refBatch) bool {
	return slices.ContainsFunc(c.log, func(b *refBatch) bool {
		return b.ProducerID == m.ProducerID && b.has(codec.TransactionalBit) && !b.has(codec.ControlBit) && c.decision(b) == m
	})
}

// newer tells whether a record of the same key follows among those seen.
func (c *refClean) newer(r *codec.Record) bool {
	for _, b := range c.log {
		if b.has(codec.ControlBit) || c.aborted(b) {
			continue
		}
		for i := range b.records {
			o := &b.records[i]
			if o.Offset > r.Offset && o.Offset >= c.from && o.Offset <= c.latest && o.Key != nil && string(o.Key) == string(r.Key) {
				return true
			}
		}
	}
	return false
}

func (c *refClean) keep(b *refBatch) *refBatch {
	dated := b.has(codec.DeleteHorizonBit)
	due := dated && b.BaseTimestamp <= c.now
	var records []codec.Record
	tombstones := false
	for i := range b.records {
		r := &b.records[i]
		keep := false
		switch {
		case b.has(codec.ControlBit):
			keep = c.needed(b) || !due
			tombstones = !c.needed(b)
		case c.aborted(b):
		case r.Offset > c.latest:
			keep = true
		case r.Key == nil || c.newer(r):
		default:
			keep = r.Value != nil || !due
		}
		if keep {
			records = append(records, *r)
			tombstones = tombstones || r.Value == nil
		}
	}
	h := b.Header
	if len(records) == 0 {
		last, known := c.producers[b.ProducerID]
		newest := known && (b.lastOffset() == last.offset || last.offset < 0 && b.has(codec.ControlBit) && b.ProducerEpoch == last.epoch)
		if b.ProducerID >= 0 && newest || b.lastOffset()+1 == c.upper {
			h.Attributes &= codec.TimestampTypeBit | codec.TransactionalBit | codec.ControlBit
			h.BaseTimestamp = -1
			return &refBatch{Header: h}
		}
		return nil
	}
	if tombstones && !dated && c.horizon >= 0 {
		h.Attributes |= codec.DeleteHorizonBit
		h.BaseTimestamp = c.horizon
	} else if len(records) == len(b.records) {
		return b
	} else if !dated {
		h.BaseTimestamp = records[0].Timestamp
	}
	h.Attributes &= 0x7f
	if !b.has(codec.TimestampTypeBit) {
		h.MaxTimestamp = records[0].Timestamp
		for _, r := range records {
			h.MaxTimestamp = max(h.MaxTimestamp, r.Timestamp)
		}
	}
	return &refBatch{Header: h, records: records}
}

// refLog reads a whole log.
func refLog(t testing.TB, l *Log) (list []*refBatch) {
	t.Helper()
	eachBatch(t, l, l.LogStartOffset(), func(b codec.Batch) {
		list = append(list, newRefBatch(t, l.env, b))
	})
	return list
}

func newRefBatch(t testing.TB, e *Env, b codec.Batch) *refBatch {
	t.Helper()
	b = slices.Clone(b)
	payload, err := codec.Unpack(b, nil, e.coders, MaxUnpacked)
	require.NoError(t, err)
	rs, err := codec.DecodeAll(b, payload, nil)
	require.NoError(t, err)
	return &refBatch{Header: b.Header(), records: rs, raw: b}
}

// requireRef compares what a log has with what the reference says: byte for byte
// what is not compressed.
func requireRef(t testing.TB, want, got []*refBatch) {
	t.Helper()
	for i, w := range want {
		require.Less(t, i, len(got), "a batch at offset %d is missing", w.BaseOffset)
		g := got[i]
		require.Equal(t, w.BaseOffset, g.BaseOffset)
		switch {
		case w.raw != nil:
			require.Equal(t, w.raw, g.raw, "batch at offset %d", w.BaseOffset)
		case compress.Codec(w.Attributes&codec.CodecMask) == compress.None:
			raw, err := codec.AppendBatch(nil, w.Header, w.records, nil)
			require.NoError(t, err)
			require.Equal(t, codec.Batch(raw), g.raw, "batch at offset %d", w.BaseOffset)
		default:
			h := g.Header
			h.CRC, h.BatchLength = w.CRC, w.BatchLength
			w.RecordCount = int32(len(w.records))
			require.Equal(t, w.Header, h, "batch at offset %d", w.BaseOffset)
			require.Equal(t, len(w.records), len(g.records))
			for k := range w.records {
				require.True(t, w.records[k].Equal(&g.records[k]), "record at offset %d", w.records[k].Offset)
			}
		}
	}
	require.Len(t, got, len(want))
}
