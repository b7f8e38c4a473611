package leat

import (
	"bytes"
	"slices"
	"time"
	"unsafe"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/log"
)

// Header is a name and a value that travel with a record. A nil value and an
// empty one differ. Names may repeat, and keep their order.
type Header = codec.RecordHeader

// Record is one record. A nil Value is a tombstone (on a compacted topic it
// deletes its key), an empty one is not; a nil Key is no key.
//
// A record that a reader yields is for reading, and for one turn: Key, Value and
// the headers point into the log or into a buffer of the reader's. Clone it to
// keep it.
type Record struct {
	Topic      string    // set by readers; not looked at by Append
	Partition  int32     // likewise
	Offset     int64     // likewise
	Timestamp  time.Time // in milliseconds; zero: the time of the append. Read, -1 ms (before 1970) is none
	Key, Value []byte
	Headers    []Header
}

// Clone is a copy of r that shares no memory with it.
func (r *Record) Clone() *Record {
	c := *r
	c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	c.Headers = slices.Clone(r.Headers)
	for i, h := range c.Headers {
		c.Headers[i].Value = bytes.Clone(h.Value)
	}
	return &c
}

// asLog is records under the type that package log has for them. The conversion
// of the pointer only compiles while the two structs are the same, so that no
// record is copied on its way down, and a literal Append(ctx, Record{...}) stays
// on the caller's stack.
func asLog(records []Record) []log.Record {
	if len(records) == 0 {
		return nil
	}
	return unsafe.Slice((*log.Record)(&records[0]), len(records))
}
