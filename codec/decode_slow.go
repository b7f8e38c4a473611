package codec

// slow reads one record step by step: the records that the fast path of next
// leaves, and those with something wrong, for which it finds out what.
func (d *Decoder) slow(r *Record) error {
	if !d.keep {
		d.headers = d.headers[:0]
	}
	c := cursor{b: d.payload, pos: d.pos, unpacked: d.unpacked}
	start := d.pos
	length := c.varint("record length")
	if c.err == nil && (length < minRecord-1 || int64(length) > int64(len(c.b)-c.pos)) {
		c.fail(start, "record length %d with %d bytes left", length, len(c.b)-c.pos)
	}
	if c.err != nil {
		return d.fail(c.err)
	}
	c.b = c.b[:c.pos+int(length)]
	c.pos++ // attributes: none is defined, Kafka ignores them
	timestampDelta := c.varlong("timestamp delta")
	at := c.pos
	offsetDelta := int64(c.varint("offset delta"))
	if c.err == nil && (offsetDelta < d.nextDelta || offsetDelta > d.lastDelta) {
		c.fail(at, "offset delta %d, expected %d to %d", offsetDelta, d.nextDelta, d.lastDelta)
	}
	r.Key = c.field("key length", "key")
	r.Value = c.field("value length", "value")
	r.Headers = d.readHeaders(&c)
	if c.err == nil && c.pos < len(c.b) {
		c.fail(c.pos, "%d bytes behind the end of the record", len(c.b)-c.pos)
	}
	if c.err != nil {
		return d.fail(c.err)
	}
	r.Offset = d.base + offsetDelta
	r.Timestamp = d.timestamp + timestampDelta&d.deltaMask
	d.nextDelta = offsetDelta + 1
	d.pos = c.pos
	d.left--
	return nil
}

// someHeaders reads headers that take exactly the payload from pos to end. It
// returns nil for none, and when anything is wrong.
func (d *Decoder) someHeaders(pos, end int) []RecordHeader {
	if !d.keep {
		d.headers = d.headers[:0]
	}
	c := cursor{b: d.payload[:end], pos: pos}
	headers := d.readHeaders(&c)
	if c.err != nil || c.pos != end {
		return nil
	}
	return headers
}

// readHeaders reads the rest of the record.
func (d *Decoder) readHeaders(c *cursor) []RecordHeader {
	at := c.pos
	count := c.varint("header count")
	if c.err != nil || count == 0 {
		return nil
	}
	if count < 0 || int64(count) > int64(len(c.b)-c.pos)/2 { // two lengths at least
		c.fail(at, "header count %d with %d bytes left of the record", count, len(c.b)-c.pos)
		return nil
	}
	first := len(d.headers)
	for range count {
		at := c.pos
		n := c.varint("header key length")
		if c.err != nil {
			return nil
		}
		key := c.bytes(at, n, "header key")
		value := c.field("header value length", "header value")
		if c.err != nil {
			return nil
		}
		if d.skip {
			continue
		}
		d.headers = append(d.headers, RecordHeader{Key: d.keys.get(key), Value: value})
	}
	return d.headers[first:len(d.headers):len(d.headers)]
}

// cursor reads b from pos on. The first failure stays in err, and everything
// after it gives zero values.
type cursor struct {
	b        []byte // the payload up to the end of the record
	pos      int
	unpacked bool
	err      error
}

func (c *cursor) fail(pos int, format string, args ...any) {
	if c.err == nil {
		e := corrupt(HeaderSize+pos, format, args...)
		e.Unpacked = c.unpacked
		c.err = e
	}
}

func (c *cursor) varint(what string) int32 {
	if c.err != nil {
		return 0
	}
	v, n := Varint(c.b[c.pos:])
	c.step(n, what)
	return v
}

func (c *cursor) varlong(what string) int64 {
	if c.err != nil {
		return 0
	}
	v, n := Varlong(c.b[c.pos:])
	c.step(n, what)
	return v
}

func (c *cursor) step(n int, what string) {
	switch {
	case n > 0:
		c.pos += n
	case n == 0:
		c.fail(c.pos, "%s runs past the end", what)
	default:
		c.fail(c.pos, "%s has more than %d bytes", what, -n)
	}
}

// field reads a key or a value: nil if its length is -1.
func (c *cursor) field(length, what string) []byte {
	at := c.pos
	n := c.varint(length)
	if c.err != nil || n == -1 {
		return nil
	}
	return c.bytes(at, n, what)
}

// bytes is the next n bytes; at is where n stood.
func (c *cursor) bytes(at int, n int32, what string) []byte {
	if n < 0 || int64(n) > int64(len(c.b)-c.pos) {
		c.fail(at, "%s length %d with %d bytes left of the record", what, n, len(c.b)-c.pos)
		return nil
	}
	end := c.pos + int(n)
	v := c.b[c.pos:end:end]
	c.pos = end
	return v
}
