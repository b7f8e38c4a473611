package leat

import (
	"errors"
	"fmt"

	"github.com/leatlog/leat/internal/fields"
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

// metadataKey is the key of either: a store's has no name.
type metadataKey struct {
	kind int16
	name string
}

func (k *metadataKey) fields(c *fields.Coder) {
	c.Version(&k.kind, kindStore, fields.Never)
	if k.kind == kindTopic {
		c.String("name", &k.name)
	}
}

func (t *topicRecord) fields(c *fields.Coder) {
	metadataVersions(c)
	c.ID("id", (*[16]byte)(&t.id))
	c.Int32("partitions", &t.partitions)
	c.Int8("state", (*int8)(&t.state))
	fields.List(c, "pairs", &t.pairs, func(p *pair) {
		c.String("property", &p.name)
		c.String("value", &p.value)
	})
}

func metadataVersions(c *fields.Coder) {
	version := int16(metadataVersion)
	c.Version(&version, metadataVersion, fields.Never)
}

func topicKey(name string) []byte { return appendMetadataKey(metadataKey{kindTopic, name}) }
func storeKey() []byte            { return appendMetadataKey(metadataKey{kind: kindStore}) }

func appendMetadataKey(k metadataKey) []byte {
	c := fields.Append(nil)
	k.fields(&c)
	b, _ := c.End("key") // the name of a topic fits
	return b
}

func storeValue() []byte {
	c := fields.Append(nil)
	metadataVersions(&c)
	b, _ := c.End("value")
	return b
}

// value encodes t. Strings longer than a length can say are refused here, so
// that no record is ever stored that cannot be read.
func (t *topicRecord) value() ([]byte, error) {
	c := fields.Append(nil)
	t.fields(&c)
	b, err := c.End(fmt.Sprintf("topic %q", t.name))
	if err != nil {
		return nil, invalidConfig("%v", err)
	}
	return b, nil
}

// parseMetadataKey is the kind of a record, and the name if it is a topic's.
func parseMetadataKey(b []byte) (kind int16, name string, err error) {
	c := fields.Read(b)
	var k metadataKey
	k.fields(&c)
	if k.kind == kindTopic && k.name == "" {
		c.Failf(fields.ErrFormat, "no name")
	}
	return k.kind, k.name, endMetadata(&c, "key")
}

// parseTopic decodes the value of a topic's record.
func parseTopic(name string, b []byte) (*topicRecord, error) {
	c := fields.Read(b)
	t := &topicRecord{name: name}
	t.fields(&c)
	switch {
	case t.partitions < 1:
		c.Failf(fields.ErrFormat, "%d partitions", t.partitions)
	case t.state != topicLive && t.state != topicDeleting:
		c.Failf(fields.ErrVersion, "state %d", t.state)
	}
	return t, endMetadata(&c, fmt.Sprintf("topic %q", name))
}

func parseStore(b []byte) error {
	c := fields.Read(b)
	metadataVersions(&c)
	return endMetadata(&c, "store")
}

// endMetadata is the error of a record that was read.
func endMetadata(c *fields.Coder, what string) error {
	switch _, err := c.End(what); {
	case err == nil:
		return nil
	case errors.Is(err, fields.ErrVersion):
		return fmt.Errorf("%w: %w", errMetadataVersion, err)
	default:
		return fmt.Errorf("%w: %w", errMetadata, err)
	}
}
