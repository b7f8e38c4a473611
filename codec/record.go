package codec

import "bytes"

// RecordHeader is one header of a record. Kafka wants the key to be UTF-8; it
// is kept as it is. A nil Value is absent, which is not the same as empty.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Record is one record of a batch. A nil Key or Value is absent (a nil Value is
// a tombstone in a compacted topic), which is not the same as empty.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds since 1970; -1: none
	Key       []byte
	Value     []byte
	Headers   []RecordHeader // in order; keys may repeat
}

// Equal tells whether r and o are the same in every field. It tells nil from
// empty in keys, values and header values.
func (r *Record) Equal(o *Record) bool {
	if r.Offset != o.Offset || r.Timestamp != o.Timestamp ||
		!same(r.Key, o.Key) || !same(r.Value, o.Value) || len(r.Headers) != len(o.Headers) {
		return false
	}
	for i := range r.Headers {
		a, b := &r.Headers[i], &o.Headers[i]
		if a.Key != b.Key || !same(a.Value, b.Value) {
			return false
		}
	}
	return true
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// Clone is a copy of r that shares no memory with it.
func (r *Record) Clone() Record {
	c := *r
	c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	if r.Headers != nil {
		c.Headers = make([]RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			c.Headers[i] = RecordHeader{Key: h.Key, Value: bytes.Clone(h.Value)}
		}
	}
	return c
}
