// Package coordination encodes and decodes the records of Kafka's internal topics
// __consumer_offsets and __transaction_state, and the blobs of the consumer
// protocol that lie in them, as group-coordinator/ and transaction-coordinator/
// of Apache Kafka describe them.
//
// A key begins with a version that is also the kind of its record; a null value is
// a tombstone. What is parsed is a copy of the bytes, and appended again gives
// the same bytes.
package coordination

import "github.com/leatlog/leat/internal/fields"

// Errors of this package, wrapped with the record and the field.
var (
	ErrFormat  = fields.ErrFormat  // the bytes are no such record
	ErrVersion = fields.ErrVersion // newer than what is known here: to be left alone
	ErrValue   = fields.ErrValue   // Append: cannot be stored in that version
)

// Tag is a tagged field of a newer Kafka.
type Tag = fields.Tag

// Record is a key or a value: a pointer to one of the types of this package.
type Record interface {
	fields(c *fields.Coder)
	what() string // for errors
}

// Parse decodes b into r, which is a new one.
func Parse(b []byte, r Record) error {
	c := fields.Read(b)
	r.fields(&c)
	_, err := c.End(r.what())
	return err
}

// Append appends r to dst, which is returned as it came if there is an error.
func Append(dst []byte, r Record) ([]byte, error) {
	c := fields.Append(dst)
	r.fields(&c)
	return c.End(r.what())
}
