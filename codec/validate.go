package codec

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/leatlog/leat/compress"
)

func unsupportedCodec(k compress.Codec) error {
	return fmt.Errorf("%w: compression codec %d at byte %d of the batch", ErrUnsupported, uint8(k), attributesPos)
}

// Unpack is the records of b as Decoder wants them: b.Payload() itself if it is
// not compressed, or else its decompressed form, written over buf (from its
// beginning, grown if it has to be). More than limit bytes are an error that
// matches compress.ErrTooLarge; what cannot be decompressed, ErrCorrupt.
func Unpack(b Batch, buf []byte, coders *compress.Coders, limit int) ([]byte, error) {
	k := b.Compression()
	switch {
	case k == compress.None:
		return b.Payload(), nil
	case !k.Valid():
		return nil, unsupportedCodec(k)
	case b.RecordCount() == 0 && len(b) == HeaderSize:
		return nil, nil
	}
	out, err := coders.AppendDecoded(buf[:0], b.Payload(), k, limit)
	switch {
	case errors.Is(err, compress.ErrCorrupt):
		return nil, &Error{What: fmt.Sprintf("%s records", k), Pos: HeaderSize, Err: err}
	case err != nil:
		return nil, fmt.Errorf("codec: %d bytes of %s records at byte %d of the batch: %w", len(b)-HeaderSize, k, HeaderSize, err)
	}
	return out, nil
}

// Summary is what Inspect finds out about a batch on the way.
type Summary struct {
	Records      int
	MaxTimestamp int64 // the true one of the records, -1 if there are none
	MinTimestamp int64 // of those that have one (-1 is none); math.MaxInt64 if none has
	NullKeys     int   // records without a key, which a compacted topic refuses
}

// Inspect checks the whole of b: the header as Check does, and every record. A
// compressed batch may have limit bytes of records. With client it also asks
// for what Kafka asks of a batch that a client sends: offset deltas 0, 1, 2 and
// so on to the last offset delta, at least one record, no control batch, and a
// sequence if there is a producer id; what breaks only these rules is
// ErrInvalid.
func Inspect(b Batch, coders *compress.Coders, limit int, client bool) (Summary, error) {
	s := Summary{MaxTimestamp: -1, MinTimestamp: math.MaxInt64}
	if err := b.Check(); err != nil {
		return s, err
	}
	if client {
		if err := b.CheckClient(); err != nil {
			return s, err
		}
	}
	payload, err := Unpack(b, nil, coders, limit)
	if err != nil {
		return s, err
	}
	var d Decoder
	return d.Inspect(b, payload)
}

// Inspect checks every record of b, whose payload is as Reset wants it, and keeps
// none: it allocates nothing, however many headers the records have.
func (d *Decoder) Inspect(b Batch, payload []byte) (Summary, error) {
	s := Summary{MaxTimestamp: -1, MinTimestamp: math.MaxInt64}
	if err := d.Reset(b, payload); err != nil {
		return s, err
	}
	d.skip = true
	defer func() { d.skip = false }()
	most := int64(math.MinInt64)
	var r Record
	for {
		err := d.Next(&r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return s, err
		}
		s.Records++
		most = max(most, r.Timestamp)
		if r.Timestamp != -1 {
			s.MinTimestamp = min(s.MinTimestamp, r.Timestamp)
		}
		if r.Key == nil {
			s.NullKeys++
		}
	}
	if s.Records > 0 {
		s.MaxTimestamp = most
	}
	return s, nil
}

// Validate is Inspect for callers that want the verdict only.
func Validate(b Batch, coders *compress.Coders, limit int, client bool) error {
	_, err := Inspect(b, coders, limit, client)
	return err
}

// CheckClient is the part of Kafka's rules for clients (LogValidator's
// validateBatch) that the header shows. Dense offset deltas follow: Decoder
// wants them rising and within the last, and here are as many records as can be.
func (b Batch) CheckClient() error {
	count, last := b.RecordCount(), b.LastOffsetDelta()
	switch {
	case int64(count) != int64(last)+1: // so that there is at least one
		return fmt.Errorf("%w: record count %d and last offset delta %d at byte %d of the batch", ErrInvalid, count, last, lastOffsetDeltaPos)
	case b.IsControl():
		return fmt.Errorf("%w: a control batch from a client, attributes %#x at byte %d of the batch", ErrInvalid, b.Attributes(), attributesPos)
	case b.ProducerID() >= 0 && b.BaseSequence() < 0:
		return fmt.Errorf("%w: producer id %d with base sequence %d at byte %d of the batch", ErrInvalid, b.ProducerID(), b.BaseSequence(), baseSequencePos)
	}
	return nil
}
