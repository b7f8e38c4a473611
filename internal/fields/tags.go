package fields

import (
	"bytes"
	"slices"

	"github.com/leatlog/leat/codec"
)

// Tag is a tagged field that is not known here, as it was read: a newer Kafka
// can add some without a new version, and they are to survive a rewrite.
type Tag struct {
	Number uint32
	Data   []byte
}

// Tagged is a tagged field that is known. It is not written unless Set; Fields
// hands it over.
type Tagged struct {
	Number uint32
	Set    bool
	Fields func()
}

// Tags ends a structure: its known tagged fields, in rising order, and those
// that are not. Before the flexible version there are none.
func (c *Coder) Tags(tags *[]Tag, known ...Tagged) {
	switch {
	case c.mode == reading:
		*tags = nil
		if c.flexible {
			c.readTags(tags, known)
		}
	case c.mode == appending:
		if c.flexible {
			c.appendTags(*tags, known)
		} else if len(*tags) > 0 {
			c.Failf(ErrValue, "this version has no tagged fields")
		}
	default:
		c.showTags(*tags, known)
	}
}

func (c *Coder) readTags(tags *[]Tag, known []Tagged) {
	last := int64(-1)
	for n := c.uvarint("tagged fields"); n > 0 && c.err == nil; n-- {
		number, size := c.uvarint("tag"), c.uvarint("size of a tagged field")
		if int64(number) <= last {
			// KIP-482: in rising order, each once.
			c.Failf(ErrFormat, "tag %d behind tag %d", number, last)
		}
		last = int64(number)
		if int64(size) > int64(len(c.b)) {
			c.short("tagged field")
		}
		data := c.take("tagged field", int(size))
		if c.err != nil {
			return
		}
		i := slices.IndexFunc(known, func(k Tagged) bool { return k.Number == number })
		if i < 0 {
			*tags = append(*tags, Tag{number, bytes.Clone(data)})
			continue
		}
		rest := c.b
		c.b = data
		c.behind += len(rest)
		known[i].Fields()
		if len(c.b) > 0 {
			c.Failf(ErrFormat, "%d bytes behind tagged field %d", len(c.b), number)
		}
		c.b = rest
		c.behind -= len(rest)
	}
}

func (c *Coder) appendTags(tags []Tag, known []Tagged) {
	n := len(tags)
	for _, k := range known {
		if k.Set {
			n++
		}
	}
	c.b = codec.AppendUvarint(c.b, uint32(n))
	last := int64(-1)
	put := func(number uint32, data []byte) {
		if int64(number) <= last {
			c.Failf(ErrValue, "tag %d behind tag %d", number, last)
		}
		last = int64(number)
		c.b = codec.AppendUvarint(codec.AppendUvarint(c.b, number), uint32(len(data)))
		c.b = append(c.b, data...)
	}
	for _, k := range known {
		if !k.Set {
			continue
		}
		for len(tags) > 0 && tags[0].Number < k.Number {
			put(tags[0].Number, tags[0].Data)
			tags = tags[1:]
		}
		front := c.b
		c.b = nil
		k.Fields()
		data := c.b
		c.b = front
		put(k.Number, data)
	}
	for _, t := range tags {
		put(t.Number, t.Data)
	}
}

func (c *Coder) showTags(tags []Tag, known []Tagged) {
	for _, k := range known {
		if k.Set {
			k.Fields()
		}
	}
	if len(tags) == 0 {
		return
	}
	c.name("taggedFields")
	c.open('[')
	for _, t := range tags {
		c.name("")
		c.open('{')
		c.showInt("tag", int64(t.Number))
		c.putBytes("data", t.Data)
		c.close('}')
	}
	c.close(']')
}
