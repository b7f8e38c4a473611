// Package fields reads, writes and shows the fields of records as Kafka's message
// schemas lay them out: the keys and values of its internal topics, and of Leat's.
//
// A type says once which fields it has, in their order, by a method that hands
// them to a Coder one by one; the Coder takes them from bytes, appends them to
// bytes, or appends them as JSON for people. So the three cannot disagree.
//
//	func (k *OffsetKey) fields(c *fields.Coder) {
//		c.Version(&k.Version, 1, fields.Never)
//		c.String("group", &k.Group)
//		c.String("topic", &k.Topic)
//		c.Int32("partition", &k.Partition)
//	}
//
// All integers are big endian. From the version on that is called flexible
// (KIP-482), lengths are unsigned varints of the length plus one, and each
// structure ends in tagged fields:
//
//	             up to then                          flexible
//	string       | length i16 | UTF-8 |              | length+1 uvarint | UTF-8 |
//	bytes        | length i32 | ... |                | length+1 uvarint | ... |
//	list         | count i32 | members |             | count+1 uvarint | members |
//	null         length or count -1                  0
//	end          nothing                             | count uvarint | (tag uvarint, size uvarint, ...) |
package fields
