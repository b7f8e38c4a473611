package leat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The records of __metadata say which topics there are. As in Kafka's internal
// topics, keys and values begin with a version, and a key's version is also its
// kind. All integers are big endian; a string is its length, i16, and UTF-8.
//
//	topic, key     | kind i16 = 0 | name string |
//	topic, value   | version i16 = 0 | id 16 bytes | partitions i32 | state i8 |
//	               | pairs i32 | pairs of (property string, value string) |
//	               null: the topic is gone
//
//	store, key     | kind i16 = 1 |
//	store, value   | version i16 = 0 |
//	               what the directory held before Leat is adopted
const (
	kindTopic = 0
	kindStore = 1

	metadataVersion = 0
)

// topicState is where a topic is in its life.
type topicState int8

const (
	topicLive     topicState = 0
	topicDeleting topicState = 1 // the decision is made, folders may be left
)

// topicRecord is what __metadata says of one topic. Pairs are in the order in
// which they were stored, names that this version does not know among them.
type topicRecord struct {
	name       string
	id         TopicID
	partitions int32
	state      topicState
	pairs      []pair
}

type pair struct{ name, value string }

// errMetadataVersion is a record of a newer Leat: nothing is damaged, but it
// cannot be understood, and must not be overwritten.
var errMetadataVersion = fmt.Errorf("%w: written by a newer Leat", ErrUnsupported)

var errMetadata = errors.New("not a record of __metadata")

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func topicKey(name string) []byte {
	return appendString(binary.BigEndian.AppendUint16(nil, kindTopic), name)
}

func storeKey() []byte   { return binary.BigEndian.AppendUint16(nil, kindStore) }
func storeValue() []byte { return binary.BigEndian.AppendUint16(nil, metadataVersion) }

// value encodes t. Strings longer than a length can say are refused here, so
// that no record is ever stored that cannot be read.
func (t *topicRecord) value() ([]byte, error) {
	b := binary.BigEndian.AppendUint16(nil, metadataVersion)
	b = append(b, t.id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.partitions))
	b = append(b, byte(t.state))
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.pairs)))
	for _, p := range t.pairs {
		if len(p.name) > math.MaxInt16 || len(p.value) > math.MaxInt16 {
			return nil, invalidConfig("%.40s is longer than %d bytes", p.name, math.MaxInt16)
		}
		b = appendString(appendString(b, p.name), p.value)
	}
	return b, nil
}

// parseMetadataKey is the kind of a record, and the name if it is a topic's.
func parseMetadataKey(b []byte) (kind int16, name string, err error) {
	d := parser{b: b}
	switch kind = d.int16(); kind {
	case kindTopic:
		name = d.string()
		if !d.bad && name == "" {
			d.bad = true
		}
	case kindStore:
	default:
		if !d.bad {
			return kind, "", fmt.Errorf("%w: key of kind %d", errMetadataVersion, kind)
		}
	}
	return kind, name, d.done("key")
}

// parseTopic decodes the value of a topic's record.
func parseTopic(name string, b []byte) (*topicRecord, error) {
	d := parser{b: b}
	if v := d.int16(); !d.bad && v != metadataVersion {
		return nil, fmt.Errorf("%w: topic %q has version %d", errMetadataVersion, name, v)
	}
	t := &topicRecord{name: name}
	copy(t.id[:], d.bytes(len(t.id)))
	t.partitions = d.int32()
	t.state = topicState(d.int8())
	n := d.int32()
	// Never sized by n, which may lie.
	for ; n > 0 && !d.bad; n-- {
		t.pairs = append(t.pairs, pair{d.string(), d.string()})
	}
	switch {
	case d.bad || n < 0:
	case t.partitions < 1:
		return nil, fmt.Errorf("%w: topic %q has %d partitions", errMetadata, name, t.partitions)
	case t.state != topicLive && t.state != topicDeleting:
		return nil, fmt.Errorf("%w: topic %q is in state %d", errMetadataVersion, name, t.state)
	}
	d.bad = d.bad || n < 0
	return t, d.done("value")
}

func parseStore(b []byte) error {
	d := parser{b: b}
	if v := d.int16(); !d.bad && v != metadataVersion {
		return fmt.Errorf("%w: store record has version %d", errMetadataVersion, v)
	}
	return d.done("value")
}

// parser takes fields from the front of b. Once one does not fit, bad is set and
// all further fields are zero.
type parser struct {
	b   []byte
	bad bool
}

func (d *parser) bytes(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *parser) int8() int8 {
	if b := d.bytes(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (d *parser) int16() int16 {
	if b := d.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *parser) int32() int32 {
	if b := d.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *parser) string() string { return string(d.bytes(int(d.int16()))) }

// done is the error for what did not fit or was left over.
func (d *parser) done(what string) error {
	switch {
	case d.bad:
		return fmt.Errorf("%w: its %s is cut short", errMetadata, what)
	case len(d.b) > 0:
		return fmt.Errorf("%w: %d bytes behind its %s", errMetadata, len(d.b), what)
	}
	return nil
}
