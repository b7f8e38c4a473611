package fields

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/leatlog/leat/codec"
)

var (
	// ErrFormat is a record that is cut short, goes on behind its end, or says
	// what no version can say.
	ErrFormat = errors.New("record is damaged")

	// ErrVersion is a record of a version that is not known here. It may be
	// sound, and must not be overwritten.
	ErrVersion = errors.New("version not known")

	// ErrValue is a value that cannot be written.
	ErrValue = errors.New("value cannot be stored")
)

// Never is the flexible version of what has none.
const Never = math.MaxInt16

type mode int8

const (
	reading mode = iota
	appending
	showing
)

// Coder is handed the fields of one record. After the first error all further
// fields are left alone. It is for one goroutine.
type Coder struct {
	// Expand says that what is known to lie in bytes is shown, not the bytes.
	Expand bool

	mode     mode
	flexible bool   // the version is, see the package
	comma    bool   // showing: a member precedes
	b        []byte // reading: what is left; else what there is so far
	size     int    // reading: of the record; appending: of what was there before
	behind   int    // reading: bytes of the record behind b, while b is a tagged field
	err      error
}

// Read takes fields from the front of b. What they hold are copies.
func Read(b []byte) Coder { return Coder{mode: reading, b: b, size: len(b)} }

// Append appends fields to dst.
func Append(dst []byte) Coder { return Coder{mode: appending, b: dst, size: len(dst)} }

// Show appends fields to dst as the members of a JSON object: names as in
// Kafka's schemas, bytes in base64, ids as Kafka prints them. Nothing in it acts
// on a terminal.
func Show(dst []byte) Coder { return Coder{mode: showing, b: append(dst, '{')} }

// Reading tells whether fields are being set.
func (c *Coder) Reading() bool { return c.mode == reading }

// End is what was appended to, as it came if there is an error, which says what
// went wrong in a record that is called what.
func (c *Coder) End(what string) ([]byte, error) {
	switch {
	case c.err != nil && c.mode == appending:
		return c.b[:c.size], fmt.Errorf("%s: %w", what, c.err)
	case c.err != nil:
		return nil, fmt.Errorf("%s: %w", what, c.err)
	case c.mode == reading && len(c.b) > 0:
		return nil, fmt.Errorf("%s: %w: %d bytes behind its end", what, ErrFormat, len(c.b))
	case c.mode == showing:
		return append(c.b, '}'), nil
	}
	return c.b, nil
}

// Failf makes err the error of the record, with a reason.
func (c *Coder) Failf(err error, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", err, fmt.Sprintf(format, args...))
	}
}

func (c *Coder) short(name string) {
	c.Failf(ErrFormat, "%s does not fit in %d bytes, at %d", name, c.size, c.size-c.behind-len(c.b))
}

// take is the next n bytes, nil if there are not so many.
func (c *Coder) take(name string, n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > len(c.b) {
		c.short(name)
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

// Version is the first field of a value, and of most keys: from 0 to last, and
// flexible from the version of that name on.
func (c *Coder) Version(v *int16, last, flexible int16) {
	if c.mode == showing {
		c.flexible = *v >= flexible
		return // told beside the fields
	}
	c.Int16("version", v)
	switch {
	case c.err != nil:
	case *v < 0:
		c.Failf(ErrFormat, "version %d", *v)
	case *v > last:
		c.Failf(ErrVersion, "%d, the newest known is %d", *v, last)
	}
	c.flexible = *v >= flexible
}

// Int8 is a field of 8 bits.
func (c *Coder) Int8(name string, v *int8) {
	switch c.mode {
	case reading:
		if b := c.take(name, 1); b != nil {
			*v = int8(b[0])
		}
	case appending:
		c.b = append(c.b, byte(*v))
	default:
		c.showInt(name, int64(*v))
	}
}

// Int16 is a field of 16 bits.
func (c *Coder) Int16(name string, v *int16) {
	switch c.mode {
	case reading:
		if b := c.take(name, 2); b != nil {
			*v = int16(binary.BigEndian.Uint16(b))
		}
	case appending:
		c.b = binary.BigEndian.AppendUint16(c.b, uint16(*v))
	default:
		c.showInt(name, int64(*v))
	}
}

// Int32 is a field of 32 bits.
func (c *Coder) Int32(name string, v *int32) {
	switch c.mode {
	case reading:
		if b := c.take(name, 4); b != nil {
			*v = int32(binary.BigEndian.Uint32(b))
		}
	case appending:
		c.b = binary.BigEndian.AppendUint32(c.b, uint32(*v))
	default:
		c.showInt(name, int64(*v))
	}
}

// Int64 is a field of 64 bits.
func (c *Coder) Int64(name string, v *int64) {
	switch c.mode {
	case reading:
		if b := c.take(name, 8); b != nil {
			*v = int64(binary.BigEndian.Uint64(b))
		}
	case appending:
		c.b = binary.BigEndian.AppendUint64(c.b, uint64(*v))
	default:
		c.showInt(name, *v)
	}
}

// ID is a topic's id.
func (c *Coder) ID(name string, v *[16]byte) {
	switch c.mode {
	case reading:
		copy(v[:], c.take(name, len(v)))
	case appending:
		c.b = append(c.b, v[:]...)
	default:
		c.name(name)
		c.b = append(c.b, '"')
		c.b = base64.RawURLEncoding.AppendEncode(c.b, v[:])
		c.b = append(c.b, '"')
	}
}

// String is text that is always there.
func (c *Coder) String(name string, v *string) {
	switch c.mode {
	case reading:
		if n := c.length(name, false, 2); n >= 0 {
			*v = string(c.take(name, n))
		}
	case appending:
		c.putLength(name, len(*v), 2)
		c.b = append(c.b, *v...)
	default:
		c.name(name)
		c.b = appendQuoted(c.b, *v)
	}
}

// NullString is text, or nil for null.
func (c *Coder) NullString(name string, v **string) {
	switch {
	case c.mode == reading:
		*v = nil
		if n := c.length(name, true, 2); n >= 0 {
			s := string(c.take(name, n))
			*v = &s
		}
	case *v != nil:
		c.String(name, *v)
	case c.mode == appending:
		c.putLength(name, -1, 2)
	default:
		c.name(name)
		c.b = append(c.b, "null"...)
	}
}

// Object is a structure within a structure.
func (c *Coder) Object(name string, fields func()) {
	if c.mode != showing {
		fields()
		return
	}
	c.name(name)
	c.open('{')
	fields()
	c.close('}')
}

// Rest is all that is left, if anything.
func (c *Coder) Rest(name string, v *[]byte) {
	switch {
	case c.mode == reading && c.err == nil && len(c.b) > 0:
		*v = append([]byte{}, c.take(name, len(c.b))...)
	case c.mode == appending:
		c.b = append(c.b, *v...)
	case c.mode == showing && len(*v) > 0:
		c.putBytes(name, *v)
	}
}

// Bytes are always there: nil is written as none, and none is read as not nil.
func (c *Coder) Bytes(name string, v *[]byte) {
	if c.mode == reading {
		*v = nil
		if n := c.length(name, false, 4); n >= 0 {
			*v = append([]byte{}, c.take(name, n)...)
		}
		return
	}
	c.putBytes(name, *v)
}

// NullBytes are nil for null.
func (c *Coder) NullBytes(name string, v *[]byte) {
	switch {
	case c.mode == reading:
		*v = nil
		if n := c.length(name, true, 4); n >= 0 {
			*v = append([]byte{}, c.take(name, n)...)
		}
	case *v != nil:
		c.putBytes(name, *v)
	case c.mode == appending:
		c.putLength(name, -1, 4)
	default:
		c.name(name)
		c.b = append(c.b, "null"...)
	}
}

func (c *Coder) putBytes(name string, v []byte) {
	if c.mode == appending {
		c.putLength(name, len(v), 4)
		c.b = append(c.b, v...)
		return
	}
	c.name(name)
	c.b = append(c.b, '"')
	c.b = base64.StdEncoding.AppendEncode(c.b, v)
	c.b = append(c.b, '"')
}

// length reads a length or a count, -1 for null and after an error. It is never
// above what is left, since a member has a byte at least: so no list is as large
// as a damaged count says.
func (c *Coder) length(name string, null bool, width int) int {
	n := int64(-1)
	switch {
	case c.flexible:
		n = int64(c.uvarint(name)) - 1
	case width == 2:
		var v int16
		c.Int16(name, &v)
		n = int64(v)
	default:
		var v int32
		c.Int32(name, &v)
		n = int64(v)
	}
	switch {
	case c.err != nil:
		return -1
	case n < -1 || n == -1 && !null:
		c.Failf(ErrFormat, "length of %s is %d", name, n)
		return -1
	case n > int64(len(c.b)):
		c.short(name)
		return -1
	}
	return int(n)
}

// putLength writes a length or a count, -1 for null.
func (c *Coder) putLength(name string, n, width int) {
	switch {
	case n > math.MaxInt32-1 || width == 2 && n > math.MaxInt16:
		c.Failf(ErrValue, "%s is %d long", name, n)
	case c.flexible:
		c.b = codec.AppendUvarint(c.b, uint32(n+1))
	case width == 2:
		c.b = binary.BigEndian.AppendUint16(c.b, uint16(n))
	default:
		c.b = binary.BigEndian.AppendUint32(c.b, uint32(n))
	}
}

func (c *Coder) uvarint(name string) uint32 {
	if c.err != nil {
		return 0
	}
	v, n := codec.Uvarint(c.b)
	if n <= 0 {
		c.short(name)
		return 0
	}
	c.b = c.b[n:]
	return v
}

// name begins a member of an object, and without a name one of a list.
func (c *Coder) name(name string) {
	if c.comma {
		c.b = append(c.b, ',')
	}
	c.comma = true
	if name != "" {
		c.b = append(append(append(c.b, '"'), name...), '"', ':')
	}
}

func (c *Coder) showInt(name string, v int64) {
	c.name(name)
	c.b = strconv.AppendInt(c.b, v, 10)
}
