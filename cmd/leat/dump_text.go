package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/leatlog/leat/codec"
)

// textLimit is how much of a key or a value people are shown; --json has all.
const textLimit = 200

// textPrinter writes for people: a line a file, a line a batch, its records
// indented below.
type textPrinter struct {
	w       *bufio.Writer
	dec     codec.Decoder
	decode  decoder // nil: keys and values are not decoded
	scratch []byte
}

func (p *textPrinter) open(f file) {
	fmt.Fprintf(p.w, "%s: %d bytes\n", f.name, f.size)
}

func (p *textPrinter) batch(_ file, b *batch) {
	h := b.header
	fmt.Fprintf(p.w, "batch %d..%d at %d: %d bytes, records %d, %s, %s", h.BaseOffset(), h.LastOffset(), b.position, b.size,
		h.RecordCount(), h.Compression(), h.TimestampType())
	if h.HasDeleteHorizon() {
		fmt.Fprintf(p.w, ", delete horizon %s", stamp(h.BaseTimestamp()))
	} else if h.BaseTimestamp() != h.MaxTimestamp() {
		fmt.Fprintf(p.w, ", from %s", stamp(h.BaseTimestamp()))
	}
	fmt.Fprintf(p.w, ", max %s, leader epoch %d", stamp(h.MaxTimestamp()), h.LeaderEpoch())
	if h.ProducerID() != -1 {
		fmt.Fprintf(p.w, ", producer %d epoch %d", h.ProducerID(), h.ProducerEpoch())
		if h.BaseSequence() != -1 {
			fmt.Fprintf(p.w, " sequence %d..%d", h.BaseSequence(), h.LastSequence())
		}
	}
	if h.IsTransactional() {
		p.w.WriteString(", transactional")
	}
	if h.IsControl() {
		p.w.WriteString(", control")
		if c := b.control; c != nil {
			p.w.WriteString(" " + controlName(c.Type))
			if c.IsMarker() {
				fmt.Fprintf(p.w, " coordinator epoch %d", c.CoordinatorEpoch)
			}
		}
	}
	if h.Magic() != codec.Magic {
		fmt.Fprintf(p.w, ", magic %d", h.Magic())
	}
	fmt.Fprintf(p.w, ", crc %08x", h.CRC())
	switch {
	case !b.crcValid:
		p.w.WriteString(" DAMAGED\n")
	case b.err != nil:
		fmt.Fprintf(p.w, " valid, UNREADABLE: %v\n", b.err)
	default:
		p.w.WriteString(" valid\n")
	}
	if !b.shown {
		return
	}
	// decode has been through all of it: there is no error to meet.
	_ = p.dec.Reset(h, b.records)
	var r codec.Record
	for p.dec.Next(&r) == nil {
		fmt.Fprintf(p.w, "  %d %s ", r.Offset, stamp(r.Timestamp))
		if p.decode != nil && !h.IsControl() {
			p.decoded(&r)
		} else {
			p.w.WriteString("key ")
			p.bytes(r.Key)
			p.w.WriteString(" value ")
			p.bytes(r.Value)
		}
		for _, h := range r.Headers {
			fmt.Fprintf(p.w, " header %q=", h.Key)
			p.bytes(h.Value)
		}
		p.w.WriteByte('\n')
	}
}

func (p *textPrinter) sidecar(f file, s *sidecar) {
	if kind := f.kind; !f.named && (kind == offsetIndex || kind == timeIndex) {
		p.w.WriteString("  no base offset in the name: offsets are relative\n")
	}
	switch f.kind {
	case offsetIndex:
		for i := range s.offsets.Len() {
			offset, position := s.offsets.Entry(i)
			fmt.Fprintf(p.w, "  offset %d at %d\n", offset, position)
		}
	case timeIndex:
		for i := range s.times.Len() {
			timestamp, offset := s.times.Entry(i)
			fmt.Fprintf(p.w, "  %s offset %d\n", stamp(timestamp), offset)
		}
	case txnIndex:
		for t := range s.txns.All() {
			fmt.Fprintf(p.w, "  producer %d aborted %d..%d, last stable offset %d\n", t.ProducerID, t.FirstOffset, t.LastOffset, t.LastStableOffset)
		}
	case snapshotFile:
		for _, e := range s.producers {
			fmt.Fprintf(p.w, "  producer %d epoch %d: last sequence %d, last offset %d, offset delta %d, %s, coordinator epoch %d",
				e.ProducerID, e.ProducerEpoch, e.LastSequence, e.LastOffset, e.OffsetDelta, stamp(e.Timestamp), e.CoordinatorEpoch)
			if e.CurrentTxnFirstOffset >= 0 {
				fmt.Fprintf(p.w, ", in a transaction since %d", e.CurrentTxnFirstOffset)
			}
			p.w.WriteByte('\n')
		}
	default:
		for line := range strings.Lines(s.text) {
			// Quoted only if it has to be: the file may have anything in it.
			line = strings.TrimSuffix(line, "\n")
			if q := strconv.Quote(line); len(q) != len(line)+2 {
				line = q
			}
			fmt.Fprintf(p.w, "  %s\n", line)
		}
	}
	if s.preallocated {
		p.w.WriteString("  then unused space\n")
	}
}

// decoded writes a record of an internal topic; what cannot be decoded, as it is.
func (p *textPrinter) decoded(r *codec.Record) {
	d, err := p.decode(r.Key, r.Value)
	if d.Type != "" {
		p.w.WriteString(d.Type + " ")
	}
	p.w.WriteString("key ")
	if d.Key != "" {
		p.w.WriteString(d.Key)
	} else {
		p.bytes(r.Key)
	}
	p.w.WriteString(" value ")
	if d.Value != "" {
		p.w.WriteString(d.Value)
	} else {
		p.bytes(r.Value)
	}
	if err != nil {
		fmt.Fprintf(p.w, " (not decoded: %v)", err)
	}
}

// bytes writes text as a Go string, so that nothing in it can act on a terminal.
func (p *textPrinter) bytes(v []byte) {
	if v == nil {
		p.w.WriteString("null")
		return
	}
	shown := v[:min(len(v), textLimit)]
	p.scratch = strconv.AppendQuote(p.scratch[:0], string(shown))
	p.w.Write(p.scratch)
	if len(shown) < len(v) {
		fmt.Fprintf(p.w, "... (%d bytes)", len(v))
	}
}

// stamp is a timestamp in milliseconds as a time; those that nobody would read
// as one stay numbers.
func stamp(ms int64) string {
	const year10000 = 253402300800000
	switch {
	case ms == -1:
		return "no-time"
	case ms < 0 || ms >= year10000:
		return strconv.FormatInt(ms, 10) + "ms"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
