package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// Positions in a batch, and in the messages of formats 0 and 1 as well.
const (
	lengthPos = 8
	magicPos  = 16
	crcPos    = 17
	oldCRCPos = 12
)

// legacyMin is the batch length below which Kafka takes a log for corrupt: what
// the smallest message of format 0 has.
const legacyMin = 14

// spare, and four times the file's size, bounds the bytes looked at in vain. Without it a
// file full of headers that promise huge batches would take a time that grows
// with the square of its size.
const spare = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batch is what is printed of a batch.
type batch struct {
	position int64
	size     int64 // as its length says
	crcValid bool
	header   codec.Batch
	// records are what to decode, if they are shown: the batch is not damaged,
	// and err not set. There may be none.
	records []byte
	shown   bool
	control *codec.Control
	err     error // why the records of a batch with a good CRC are not shown
}

// walk goes through the batches of a .log file.
type walk struct {
	d      *dumper
	f      file
	in     window
	dec    codec.Decoder
	wasted int64
}

func (w *walk) run() error {
	for pos := int64(0); pos < w.in.size; {
		if err := w.d.goOn(); err != nil {
			return err
		}
		next, err := w.step(pos)
		if err != nil {
			return err
		}
		pos = next
	}
	return nil
}

// step prints or reports what lies at pos, and tells where to go on.
func (w *walk) step(pos int64) (int64, error) {
	left := w.in.size - pos
	head, err := w.in.bytes(pos, int(min(left, codec.HeaderSize)))
	if err != nil {
		return 0, err
	}
	if nonZero(head) == len(head) {
		end, err := w.in.zeros(pos, w.d.goOn)
		if err != nil || end == w.in.size {
			return end, err // never written
		}
		return w.damage(pos, 0, "zero bytes, and not only those to the end")
	}
	if left <= magicPos+1 {
		w.d.report(w.f.path, pos, "cut: %d bytes, too few for a batch", left)
		return w.in.size, nil
	}

	length := int64(int32(binary.BigEndian.Uint32(head[lengthPos:])))
	size := length + codec.LogOverhead
	magic := int8(head[magicPos])
	var what string
	switch {
	case length < legacyMin:
		what = fmt.Sprintf("batch length %d", length)
	case size > left:
		what = fmt.Sprintf("cut, or damaged: a batch of %d bytes where %d are left", size, left)
	case magic < codec.Magic:
		what = "damaged"
		old, err := w.old(pos, size)
		if err != nil {
			return 0, err
		}
		if old {
			w.d.report(w.f.path, pos, "%v", &codec.MagicError{Magic: magic})
			return w.in.size, nil
		}
	case size < codec.HeaderSize:
		what = fmt.Sprintf("batch length %d, at least %d needed", length, codec.MinBatchLength)
	default:
		crc, err := w.crc(pos, size)
		if err != nil {
			return 0, err
		}
		if head, err = w.in.bytes(pos, codec.HeaderSize); err != nil { // again: crc may have moved on
			return 0, err
		}
		stored := codec.Batch(head).CRC()
		if crc == stored {
			return pos + size, w.sound(pos, size)
		}
		what = fmt.Sprintf("damaged: CRC is %08x, computed %08x", stored, crc)
	}
	if magic < codec.Magic {
		what += fmt.Sprintf("; magic byte %d", magic)
	}
	if left >= codec.HeaderSize {
		if head, err = w.in.bytes(pos, codec.HeaderSize); err != nil {
			return 0, err
		}
		w.d.print.batch(w.f, &batch{position: pos, size: size, header: head})
	}
	return w.damage(pos, size, what)
}

// sound prints a batch whose CRC is good.
func (w *walk) sound(pos, size int64) error {
	b := &batch{position: pos, size: size, crcValid: true}
	var err error
	if size > int64(w.d.maxBytes) {
		if b.header, err = w.in.bytes(pos, codec.HeaderSize); err != nil {
			return err
		}
		b.err = fmt.Errorf("a batch of %d bytes is more than --max-bytes %d", size, w.d.maxBytes)
	} else {
		if b.header, err = w.in.bytes(pos, int(size)); err != nil {
			return err
		}
		b.err = w.decode(b)
	}
	w.d.print.batch(w.f, b)
	if b.err != nil {
		w.d.report(w.f.path, pos, "%v", b.err)
	}
	return nil
}

// decode goes through all records, so that a printer which goes through them
// again meets no error. It costs little beside printing.
func (w *walk) decode(b *batch) error {
	if m := b.header.Magic(); m != codec.Magic {
		return &codec.MagicError{Magic: m}
	}
	if base := b.header.BaseOffset(); base < 0 {
		return fmt.Errorf("base offset %d is negative", base)
	}
	records, err := codec.Unpack(b.header, w.d.unpacked, w.d.coders, w.d.maxBytes)
	if err != nil {
		return err
	}
	if b.header.Compression() != compress.None && cap(records) > cap(w.d.unpacked) {
		w.d.unpacked = records
	}
	if err := w.dec.Reset(b.header, records); err != nil {
		return err
	}
	var control *codec.Control
	var r codec.Record
	for n := 0; ; n++ {
		switch err := w.dec.Next(&r); {
		case err == io.EOF:
			b.records, b.shown, b.control = records, true, control
			return nil
		case err != nil:
			return err
		case n == 0 && b.header.IsControl():
			c, err := codec.ParseControl(&r)
			if err != nil {
				return err
			}
			control = &c
		}
	}
}

// damage reports what is wrong at pos, finds the place to go on at, and says
// both. A size of 0 means that nothing says how long the damage is.
func (w *walk) damage(pos, size int64, what string) (int64, error) {
	next, err := w.behind(pos, size)
	switch {
	case errors.Is(err, errWasted):
		w.d.report(w.f.path, pos, "%s; too much behind it looks like batches and is none, gave up at position %d", what, next)
		return w.in.size, nil
	case err != nil:
		// What was found goes first, whatever happened afterwards.
		w.d.report(w.f.path, pos, "%s", what)
		return 0, err
	case next == w.in.size:
		w.d.report(w.f.path, pos, "%s; nothing readable behind it", what)
	default:
		w.d.report(w.f.path, pos, "%s; going on at position %d", what, next)
	}
	return next, nil
}

// behind finds where to go on behind a damaged batch.
func (w *walk) behind(pos, size int64) (int64, error) {
	if size >= codec.HeaderSize && size <= w.in.size-pos {
		if ok, err := w.follows(pos + size); ok || err != nil {
			return pos + size, err
		}
		if err := w.waste(size); err != nil {
			return pos, err
		}
	}
	return w.resync(pos + 1)
}

// follows tells whether pos may well be where a batch ended: the file ends, only
// zeros come, or the header of another batch, which may be damaged as well.
func (w *walk) follows(pos int64) (bool, error) {
	left := w.in.size - pos
	if left == 0 {
		return true, nil
	}
	head, err := w.in.bytes(pos, int(min(left, codec.HeaderSize)))
	if err != nil {
		return false, err
	}
	if nonZero(head) == len(head) {
		end, err := w.in.zeros(pos, w.d.goOn)
		if err != nil || end == w.in.size {
			return true, err
		}
		return false, w.waste(end - pos)
	}
	return len(head) == codec.HeaderSize && w.plausible(head, left), nil
}

// plausible tells whether a header could be one of this file.
func (w *walk) plausible(head codec.Batch, left int64) bool {
	size := int64(head.BatchLength()) + codec.LogOverhead
	base := head.BaseOffset()
	return head.Magic() == codec.Magic && size >= codec.HeaderSize && size <= left &&
		head.LastOffsetDelta() >= 0 && head.RecordCount() >= 0 &&
		base >= w.f.base && (!w.f.named || base-w.f.base <= math.MaxInt32)
}

var errWasted = errors.New("gave up")

func (w *walk) waste(n int64) error {
	if w.wasted += n; w.wasted > spare+4*w.in.size {
		return errWasted
	}
	return nil
}

// resync finds the next sound batch at from or later, or the end of the file.
func (w *walk) resync(from int64) (int64, error) {
	for pos := from; pos+codec.HeaderSize <= w.in.size; {
		if err := w.d.goOn(); err != nil {
			return pos, err
		}
		b, err := w.in.some(pos, codec.HeaderSize)
		if err != nil {
			return pos, err
		}
		// The magic byte of every batch that begins in b with its whole header.
		magics := b[magicPos : len(b)-codec.HeaderSize+magicPos+1]
		i := bytes.IndexByte(magics, codec.Magic)
		if i < 0 {
			pos += int64(len(magics))
			continue
		}
		pos += int64(i)
		if head := codec.Batch(b[i:]); w.plausible(head, w.in.size-pos) {
			size, stored := int64(head.BatchLength())+codec.LogOverhead, head.CRC()
			crc, err := w.crc(pos, size)
			if err != nil {
				return pos, err
			}
			if crc == stored {
				return pos, nil
			}
			if err := w.waste(size); err != nil {
				return pos, err
			}
		}
		pos++
	}
	return w.in.size, nil
}

// crc is what the CRC of the batch at pos should be. A batch that does not fit
// the window is not brought into memory for this: its length may be a lie.
func (w *walk) crc(pos, size int64) (uint32, error) {
	if size <= windowSize {
		b, err := w.in.bytes(pos, int(size))
		if err != nil {
			return 0, err
		}
		return codec.CRC(b[crcPos+4:]), nil
	}
	return w.in.crc(pos+crcPos+4, pos+size, castagnoli, w.d.goOn)
}

// old tells whether a message of format 0 or 1 lies at pos, rather than a batch
// with a damaged magic byte: the CRC of those is CRC-32, in another place.
func (w *walk) old(pos, size int64) (bool, error) {
	head, err := w.in.bytes(pos, magicPos+1)
	if err != nil || head[magicPos] > 1 {
		return false, err
	}
	stored := binary.BigEndian.Uint32(head[oldCRCPos:])
	crc, err := w.in.crc(pos+magicPos, pos+size, crc32.IEEETable, w.d.goOn)
	return crc == stored, err
}
