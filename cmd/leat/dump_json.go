package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
)

// jsonPrinter writes objects field by field: with encoding/json a batch would
// have to be in memory once more, and again as text.
type jsonPrinter struct {
	w       *bufio.Writer
	dec     codec.Decoder
	decode  decoder // nil: keys and values are not decoded
	scratch []byte
	comma   bool // a member precedes
}

func (p *jsonPrinter) open(file) {}

func (p *jsonPrinter) batch(f file, b *batch) {
	h := b.header
	p.begin()
	if f.inFolder {
		p.string("file", f.name)
	}
	p.int("position", b.position)
	p.int("sizeInBytes", b.size)
	p.int("magic", int64(h.Magic()))
	p.int("baseOffset", h.BaseOffset())
	p.int("lastOffset", h.LastOffset())
	p.int("nextOffset", h.NextOffset())
	p.int("crc", int64(h.CRC()))
	p.bool("crcValid", b.crcValid)
	p.int("batchLength", int64(h.BatchLength()))
	p.int("partitionLeaderEpoch", int64(h.LeaderEpoch()))
	p.int("attributes", int64(h.Attributes()))
	p.string("compression", h.Compression().String())
	p.string("timestampType", h.TimestampType().String())
	p.bool("isTransactional", h.IsTransactional())
	p.bool("isControl", h.IsControl())
	if h.HasDeleteHorizon() {
		p.int("deleteHorizonMs", h.BaseTimestamp())
	} else {
		p.raw("deleteHorizonMs", "null")
	}
	p.int("lastOffsetDelta", int64(h.LastOffsetDelta()))
	p.int("baseTimestamp", h.BaseTimestamp())
	p.int("maxTimestamp", h.MaxTimestamp())
	p.int("producerId", h.ProducerID())
	p.int("producerEpoch", int64(h.ProducerEpoch()))
	p.int("baseSequence", int64(h.BaseSequence()))
	p.int("lastSequence", int64(h.LastSequence()))
	p.int("recordCount", int64(h.RecordCount()))
	if b.shown {
		p.records(b)
	}
	if b.control != nil {
		p.control(b.control)
	}
	if b.err != nil {
		p.string("error", b.err.Error())
	}
	p.end()
}

func (p *jsonPrinter) records(b *batch) {
	p.raw("records", "[")
	p.comma = false
	// decode has been through all of it: there is no error to meet.
	_ = p.dec.Reset(b.header, b.records)
	var r codec.Record
	for p.dec.Next(&r) == nil {
		p.element("{")
		p.int("offset", r.Offset)
		p.int("timestamp", r.Timestamp)
		if seq := b.header.Sequence(r.Offset); seq >= 0 {
			p.int("sequence", int64(seq))
		}
		p.bytes("key", r.Key)
		p.bytes("value", r.Value)
		if len(r.Headers) > 0 {
			p.raw("headers", "[")
			p.comma = false
			for _, h := range r.Headers {
				p.element("{")
				p.string("key", h.Key)
				p.bytes("value", h.Value)
				p.close("}")
			}
			p.close("]")
		}
		if p.decode != nil && !b.header.IsControl() {
			p.decoded(&r)
		}
		p.close("}")
	}
	p.close("]")
}

func (p *jsonPrinter) decoded(r *codec.Record) {
	d, err := p.decode(r.Key, r.Value)
	p.raw("decoded", "{")
	p.comma = false
	if d.Type != "" {
		p.string("type", d.Type)
	}
	if d.Key != "" {
		p.int("keyVersion", int64(d.KeyVersion))
		p.raw("keyFields", d.Key)
	}
	switch {
	case err != nil:
		p.string("error", err.Error())
	case r.Value == nil:
		p.raw("valueVersion", "null")
		p.raw("valueFields", "null")
	default:
		p.int("valueVersion", int64(d.ValueVersion))
		p.raw("valueFields", d.Value)
	}
	p.close("}")
}

func (p *jsonPrinter) control(c *codec.Control) {
	p.raw("control", "{")
	p.comma = false
	p.string("type", controlName(c.Type))
	p.int("typeId", int64(c.Type))
	p.int("keyVersion", int64(c.KeyVersion))
	if c.IsMarker() {
		p.int("valueVersion", int64(c.ValueVersion))
		p.int("coordinatorEpoch", int64(c.CoordinatorEpoch))
	}
	p.close("}")
}

func (p *jsonPrinter) sidecar(f file, s *sidecar) {
	p.begin()
	p.string("file", f.name)
	p.int("sizeInBytes", f.size)
	switch f.kind {
	case offsetIndex:
		p.bool("preallocated", s.preallocated)
		p.pairs("entries_offset_position", s.offsets.Len(), s.offsets.Entry)
	case timeIndex:
		p.bool("preallocated", s.preallocated)
		p.pairs("entries_timestamp_offset", s.times.Len(), s.times.Entry)
	case txnIndex:
		p.txns(s.txns)
	case snapshotFile:
		p.producers(s)
	case epochsFile:
		p.string("text", s.text)
		p.pairs("entries_epoch_startOffset", len(s.epochs), func(i int) (int64, int64) {
			return int64(s.epochs[i].Epoch), s.epochs[i].StartOffset
		})
	default:
		p.string("text", s.text)
	}
	p.end()
}

func (p *jsonPrinter) pairs(name string, n int, entry func(i int) (int64, int64)) {
	p.raw(name, "[")
	p.comma = false
	for i := range n {
		p.element("[")
		a, b := entry(i)
		s := strconv.AppendInt(p.scratch[:0], a, 10)
		s = append(s, ',')
		p.scratch = strconv.AppendInt(s, b, 10)
		p.w.Write(p.scratch)
		p.close("]")
	}
	p.close("]")
}

func (p *jsonPrinter) txns(list index.Txns) {
	p.raw("entries", "[")
	p.comma = false
	for t := range list.All() {
		p.element("{")
		p.int("version", int64(t.Version))
		p.int("producerId", t.ProducerID)
		p.int("firstOffset", t.FirstOffset)
		p.int("lastOffset", t.LastOffset)
		p.int("lastStableOffset", t.LastStableOffset)
		p.close("}")
	}
	p.close("]")
}

func (p *jsonPrinter) producers(s *sidecar) {
	p.raw("entries", "[")
	p.comma = false
	for _, e := range s.producers {
		p.element("{")
		p.int("producerId", e.ProducerID)
		p.int("producerEpoch", int64(e.ProducerEpoch))
		p.int("lastSequence", int64(e.LastSequence))
		p.int("lastOffset", e.LastOffset)
		p.int("offsetDelta", int64(e.OffsetDelta))
		p.int("timestamp", e.Timestamp)
		p.int("coordinatorEpoch", int64(e.CoordinatorEpoch))
		p.int("currentTxnFirstOffset", e.CurrentTxnFirstOffset)
		p.close("}")
	}
	p.close("]")
}

// begin and end write an object on a line of its own.
func (p *jsonPrinter) begin() {
	p.w.WriteByte('{')
	p.comma = false
}

func (p *jsonPrinter) end() { p.w.WriteString("}\n") }

// element opens a member of a list.
func (p *jsonPrinter) element(open string) {
	if p.comma {
		p.w.WriteByte(',')
	}
	p.w.WriteString(open)
	p.comma = false
}

// close closes an object or a list, after which a comma is due.
func (p *jsonPrinter) close(bracket string) {
	p.w.WriteString(bracket)
	p.comma = true
}

func (p *jsonPrinter) name(name string) {
	if p.comma {
		p.w.WriteByte(',')
	}
	p.comma = true
	p.w.WriteByte('"')
	p.w.WriteString(name)
	p.w.WriteString(`":`)
}

func (p *jsonPrinter) raw(name, value string) {
	p.name(name)
	p.w.WriteString(value)
}

func (p *jsonPrinter) int(name string, v int64) {
	p.name(name)
	p.scratch = strconv.AppendInt(p.scratch[:0], v, 10)
	p.w.Write(p.scratch)
}

func (p *jsonPrinter) bool(name string, v bool) {
	p.raw(name, strconv.FormatBool(v))
}

// bytes writes base64, and null for nil.
func (p *jsonPrinter) bytes(name string, v []byte) {
	if v == nil {
		p.raw(name, "null")
		return
	}
	p.raw(name, `"`)
	for len(v) > 0 {
		// Whole groups of three, so that the pieces join; a large value is
		// never in memory as text.
		n := min(len(v), 3<<12)
		p.scratch = base64.StdEncoding.AppendEncode(p.scratch[:0], v[:n])
		p.w.Write(p.scratch)
		v = v[n:]
	}
	p.w.WriteByte('"')
}

func (p *jsonPrinter) string(name, v string) {
	p.name(name)
	if strings.IndexFunc(v, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) < 0 {
		p.w.WriteByte('"')
		p.w.WriteString(v)
		p.w.WriteByte('"')
		return
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a string cannot fail; what is not UTF-8 becomes U+FFFD
	p.w.Write(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
}

func controlName(id int16) string {
	switch id {
	case codec.ControlAbort:
		return "ABORT"
	case codec.ControlCommit:
		return "COMMIT"
	case codec.ControlLeaderChange:
		return "LEADER_CHANGE"
	case codec.ControlSnapshotHeader:
		return "SNAPSHOT_HEADER"
	case codec.ControlSnapshotFooter:
		return "SNAPSHOT_FOOTER"
	case codec.ControlKRaftVersion:
		return "KRAFT_VERSION"
	case codec.ControlKRaftVoters:
		return "KRAFT_VOTERS"
	}
	return "UNKNOWN"
}
