package leat

import (
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Batch is one stored record batch. It is for one goroutine at a time.
//
// A batch that Reader.Next gave lives until the next call of a method of that
// reader that moves it; one from Retain until Release. After that its bytes are
// nil and its records ErrClosed.
//
// Its bytes lie in a memory map where there is one. If the disk fails, or
// another process cuts the file, while a caller touches them, the process gets a
// signal that only the caller's own goroutine could catch (debug.SetPanicOnFault).
type Batch struct {
	raw       codec.Batch // nil when its life is over
	topic     string
	partition int32
	// The records that the reader was asked for: Records leaves out others.
	from, until int64

	coders *compress.Coders
	cur    *log.Cursor      // of the reader that gave it; nil when retained
	seg    *segment.Segment // pinned by a retained batch; nil if raw is a copy
	path   string           // when cur is nil, for errors
	pos    int64
	log    *log.Log // of a batch that a consumer gave; else nil

	// reading is what Records decodes with, kept for the next batch. It is nil
	// while a loop has it, so that a loop within the loop gets its own.
	reading *reading
	// shared is where the batches of one consumer keep theirs, in place of reading.
	shared *atomic.Pointer[reading]
}

// reading is the state of one loop over records.
type reading struct {
	dec   codec.Decoder
	raw   codec.Record
	rec   Record
	buf   []byte // of unpacked records
	debug debugRecord
}

// maxKeptBuffer bounds what one large batch leaves behind in a reader.
const maxKeptBuffer = 8 << 20

// BaseOffset is the offset of the batch, at or below that of its first record.
// It is -1, as are the other numbers, when the batch's life is over.
func (b *Batch) BaseOffset() int64 {
	if b.raw == nil {
		return -1
	}
	return b.raw.BaseOffset()
}

// NextOffset is the offset behind the batch, where reading goes on.
func (b *Batch) NextOffset() int64 {
	if b.raw == nil {
		return -1
	}
	return b.raw.NextOffset()
}

// RecordCount is the number of records stored, those included that Records
// leaves out.
func (b *Batch) RecordCount() int {
	if b.raw == nil {
		return -1
	}
	return int(b.raw.RecordCount())
}

// Compression is how the records are stored.
func (b *Batch) Compression() Compression {
	if b.raw == nil {
		return None
	}
	return b.raw.Compression()
}

// Topic is the name of the topic it was read from.
func (b *Batch) Topic() string { return b.topic }

// Partition is the number of the partition it was read from.
func (b *Batch) Partition() int32 { return b.partition }

// Bytes is the whole batch as it lies on the disk, in Kafka's format. It is
// read-only, and lives as long as the batch; to keep it, copy it.
func (b *Batch) Bytes() []byte { return b.raw[:len(b.raw):len(b.raw)] }

// Records yields the records of the batch, without those that lie before the
// position the reader was set to, or at or behind ReaderOptions.Until. Each
// record lives for one turn of the loop; Record.Clone keeps it. An error ends the
// loop: a *CorruptError, or ErrClosed when the batch's life is over.
func (b *Batch) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) { b.each(yield) }
}

// each is Records. It returns false when yield wanted no more.
func (b *Batch) each(yield func(*Record, error) bool) bool {
	if b.raw == nil {
		return yield(nil, ErrClosed)
	}
	r := b.take()
	defer b.put(r)
	if err := b.begin(r); err != nil {
		return yield(nil, b.corrupt(b.raw.BaseOffset(), err))
	}
	rec, raw := &r.rec, &r.raw
	rec.Topic, rec.Partition = b.topic, b.partition
	at := b.raw.BaseOffset()
	ms := int64(0)
	rec.Timestamp = time.UnixMilli(0)
	for {
		if err := r.dec.Next(raw); err != nil {
			return err == io.EOF || yield(nil, b.corrupt(at, err))
		}
		at = raw.Offset
		if at < b.from || at >= b.until {
			continue
		}
		if raw.Timestamp != ms { // most records of a batch have the same
			ms = raw.Timestamp
			rec.Timestamp = time.UnixMilli(ms)
		}
		rec.Offset, rec.Key, rec.Value, rec.Headers = at, raw.Key, raw.Value, raw.Headers
		if debugSlices {
			r.debug.copy(rec)
		}
		more := yield(rec, nil)
		if debugSlices {
			r.debug.end(rec.Headers)
		}
		if !more {
			return false
		}
		if b.raw == nil {
			return yield(nil, ErrClosed) // released within the loop
		}
	}
}

// take is what a loop decodes with.
func (b *Batch) take() *reading {
	r := b.reading
	if b.reading = nil; b.shared != nil {
		r = b.shared.Swap(nil)
	}
	if r == nil {
		r = new(reading)
	}
	return r
}

// begin unpacks the records if they are compressed.
func (b *Batch) begin(r *reading) error {
	if b.raw.Compression() == None {
		return r.dec.Reset(b.raw, b.raw.Payload())
	}
	payload, err := codec.Unpack(b.raw, r.buf, b.coders, log.MaxUnpacked)
	if errors.Is(err, compress.ErrClosed) {
		// The store is closed, and the batch outlives it.
		payload, err = codec.Unpack(b.raw, r.buf, compress.New(), log.MaxUnpacked)
	}
	if err != nil {
		return err
	}
	r.buf = payload
	return r.dec.Reset(b.raw, payload)
}

// put keeps r for the next loop, and lets go of what it points to.
func (b *Batch) put(r *reading) {
	if debugSlices {
		poisoned(r.buf[:cap(r.buf)])
	}
	if cap(r.buf) > maxKeptBuffer {
		r.buf = nil
	}
	if b.shared != nil {
		b.shared.Store(r)
		return
	}
	b.reading = r
}

// corrupt says where the batch lies. Codecs that are not known are not damage.
func (b *Batch) corrupt(offset int64, err error) error {
	if errors.Is(err, ErrUnsupported) || errors.Is(err, codec.ErrUnsupported) {
		return errors.Join(ErrUnsupported, err)
	}
	path, pos := b.path, b.pos
	if b.cur != nil {
		path, pos = b.cur.Position()
	}
	e := &CorruptError{Path: path, Position: pos, Offset: offset, Err: err}
	if b.cur != nil {
		b.cur.Corrupt(e)
	} else if b.log != nil {
		_ = b.log.Corrupt(e) // which the caller gets
	}
	return e
}

// outlive lets a batch of a reader's cursor live until Release, whatever the
// reader does meanwhile; if it is not mapped, until kept is released.
func (b *Batch) outlive(l *log.Log, kept *segment.Held) {
	b.path, b.pos = b.cur.Position()
	b.log = l
	switch {
	case debugSlices: // it is a copy
	case b.cur.Mapped():
		b.seg = b.cur.Segment()
		b.seg.Repin()
	default:
		b.cur.Keep(kept)
	}
	b.cur = nil
}

// Retain keeps the batch beyond the reader's next call, and beyond the reader,
// the topic and the store: the batch that it returns owes one Release. Bytes in
// a memory map are not copied.
func (b *Batch) Retain() *Batch {
	r := &Batch{topic: b.topic, partition: b.partition, from: b.from, until: b.until, coders: b.coders}
	if b.raw == nil {
		return r
	}
	r.path, r.pos = b.path, b.pos
	seg := b.seg
	if b.cur != nil {
		r.path, r.pos = b.cur.Position()
		if b.cur.Mapped() {
			seg = b.cur.Segment()
		}
	}
	if debugSlices || seg == nil {
		r.raw = append(make(codec.Batch, 0, len(b.raw)), b.raw...)
		return r
	}
	seg.Repin()
	r.raw, r.seg = b.raw, seg
	return r
}

// Release ends the batch's life. A second Release does nothing.
func (b *Batch) Release() {
	if b.raw == nil {
		return
	}
	if debugSlices {
		poisoned(b.raw)
	}
	b.raw = nil
	if b.seg != nil {
		b.seg.Unpin()
		b.seg = nil
	}
	if b.cur == nil {
		b.reading = nil
	}
}
