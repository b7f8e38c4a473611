package fields

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// all has a field of each type.
type all struct {
	version   int16
	i8        int8
	i16       int16
	i32       int32
	i64       int64
	id        [16]byte
	text      string
	nullText  *string
	bytes     []byte
	nullBytes []byte
	list      []one
	nullList  []one
	numbers   []int32
	texts     []string
	object    *one
	known     int16
	tags      []Tag
	rest      []byte
}

type one struct {
	i8   int8
	tags []Tag
}

func (a *all) fields(c *Coder) {
	member := func(o *one) {
		c.Int8("i8", &o.i8)
		c.Tags(&o.tags)
	}
	c.Version(&a.version, 1, 1)
	c.Int8("i8", &a.i8)
	c.Int16("i16", &a.i16)
	c.Int32("i32", &a.i32)
	c.Int64("i64", &a.i64)
	c.ID("id", &a.id)
	c.String("text", &a.text)
	c.NullString("nullText", &a.nullText)
	c.Bytes("bytes", &a.bytes)
	c.NullBytes("nullBytes", &a.nullBytes)
	List(c, "list", &a.list, member)
	NullList(c, "nullList", &a.nullList, member)
	c.Int32s("numbers", &a.numbers)
	c.Strings("texts", &a.texts)
	NullObject(c, "object", &a.object, member)
	c.Tags(&a.tags, Tagged{Number: 1, Set: a.known != 0, Fields: func() { c.Int16("known", &a.known) }})
	c.Rest("rest", &a.rest)
}

const (
	ints = "\xff" + "\xff\xfe" + "\xff\xff\xff\xfd" + "\xff\xff\xff\xff\xff\xff\xff\xfc" // -1 to -4
	id   = "\x0e\xa2\x6b\x60\xa8\x17\x63\xb6\x41\x6a\x2d\xcf\xe9\x7f\x5f\xc8"
)

var allForms = []struct {
	name, bytes, json string
	value             all
}{
	{
		"version 0",
		"\x00\x00" + ints + id + "\x00\x01t" + "\x00\x01u" + "\x00\x00\x00\x01b" + "\x00\x00\x00\x01c" +
			"\x00\x00\x00\x01\x07" + "\x00\x00\x00\x02\x08\x09" + "\x00\x00\x00\x01\x00\x00\x00\x05" + "\x00\x00\x00\x02\x00\x01v\x00\x00" + "\x01\x06" + "more",
		`{"i8":-1,"i16":-2,"i32":-3,"i64":-4,"id":"DqJrYKgXY7ZBai3P6X9fyA","text":"t","nullText":"u","bytes":"Yg==","nullBytes":"Yw==",` +
			`"list":[{"i8":7}],"nullList":[{"i8":8},{"i8":9}],"numbers":[5],"texts":["v",""],"object":{"i8":6},"rest":"bW9yZQ=="}`,
		all{
			i8: -1, i16: -2, i32: -3, i64: -4, id: [16]byte([]byte(id)), text: "t", nullText: new("u"), bytes: []byte("b"), nullBytes: []byte("c"),
			list: []one{{i8: 7}}, nullList: []one{{i8: 8}, {i8: 9}}, numbers: []int32{5}, texts: []string{"v", ""}, object: &one{i8: 6}, rest: []byte("more"),
		},
	},
	{
		"version 0, null and none",
		"\x00\x00" + ints + id + "\x00\x00" + "\xff\xff" + "\x00\x00\x00\x00" + "\xff\xff\xff\xff" +
			"\x00\x00\x00\x00" + "\xff\xff\xff\xff" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\xff",
		`{"i8":-1,"i16":-2,"i32":-3,"i64":-4,"id":"DqJrYKgXY7ZBai3P6X9fyA","text":"","nullText":null,"bytes":"","nullBytes":null,` +
			`"list":[],"nullList":null,"numbers":[],"texts":[],"object":null}`,
		all{i8: -1, i16: -2, i32: -3, i64: -4, id: [16]byte([]byte(id)), bytes: []byte{}},
	},
	{
		"flexible",
		"\x00\x01" + ints + id + "\x02t" + "\x02u" + "\x02b" + "\x02c" +
			"\x02\x07\x00" + "\x03\x08\x00\x09\x01\x05\x01x" + "\x02\x00\x00\x00\x05" + "\x03\x02v\x01" + "\x01\x06\x00" + "\x03\x00\x01a\x01\x02\x00\x03\x02\x00",
		`{"i8":-1,"i16":-2,"i32":-3,"i64":-4,"id":"DqJrYKgXY7ZBai3P6X9fyA","text":"t","nullText":"u","bytes":"Yg==","nullBytes":"Yw==",` +
			`"list":[{"i8":7}],"nullList":[{"i8":8},{"i8":9,"taggedFields":[{"tag":5,"data":"eA=="}]}],"numbers":[5],"texts":["v",""],"object":{"i8":6},` +
			`"known":3,"taggedFields":[{"tag":0,"data":"YQ=="},{"tag":2,"data":""}]}`,
		all{
			version: 1, i8: -1, i16: -2, i32: -3, i64: -4, id: [16]byte([]byte(id)), text: "t", nullText: new("u"), bytes: []byte("b"), nullBytes: []byte("c"),
			list: []one{{i8: 7}}, nullList: []one{{i8: 8}, {9, []Tag{{5, []byte("x")}}}}, numbers: []int32{5}, texts: []string{"v", ""}, object: &one{i8: 6},
			known: 3, tags: []Tag{{0, []byte("a")}, {2, []byte{}}},
		},
	},
	{
		"flexible, null and none",
		"\x00\x01" + ints + id + "\x01" + "\x00" + "\x01" + "\x00" + "\x01" + "\x00" + "\x01" + "\x01" + "\xff" + "\x00",
		`{"i8":-1,"i16":-2,"i32":-3,"i64":-4,"id":"DqJrYKgXY7ZBai3P6X9fyA","text":"","nullText":null,"bytes":"","nullBytes":null,` +
			`"list":[],"nullList":null,"numbers":[],"texts":[],"object":null}`,
		all{version: 1, i8: -1, i16: -2, i32: -3, i64: -4, id: [16]byte([]byte(id)), bytes: []byte{}},
	},
	{
		"flexible, empty and there",
		"\x00\x01" + ints + id + "\x01" + "\x01" + "\x01" + "\x01" + "\x01" + "\x01" + "\x01" + "\x01" + "\x01\x00\x00" + "\x00",
		`{"i8":-1,"i16":-2,"i32":-3,"i64":-4,"id":"DqJrYKgXY7ZBai3P6X9fyA","text":"","nullText":"","bytes":"","nullBytes":"",` +
			`"list":[],"nullList":[],"numbers":[],"texts":[],"object":{"i8":0}}`,
		all{
			version: 1, i8: -1, i16: -2, i32: -3, i64: -4, id: [16]byte([]byte(id)),
			nullText: new(""), bytes: []byte{}, nullBytes: []byte{}, nullList: []one{}, object: &one{},
		},
	},
}

// The layout is Kafka's (see the package), and each form of a Coder has it.
func TestForms(t *testing.T) {
	for _, test := range allForms {
		t.Run(test.name, func(t *testing.T) {
			c := Append([]byte("before"))
			test.value.fields(&c)
			b, err := c.End("all")
			require.NoError(t, err)
			require.Equal(t, "before"+test.bytes, string(b))

			// What a type held before is not mixed with what is read.
			v := allForms[2].value
			v.known, v.rest = 0, nil
			c = Read([]byte(test.bytes))
			v.fields(&c)
			_, err = c.End("all")
			require.NoError(t, err)
			require.Equal(t, test.value, v)

			c = Show([]byte("before"))
			test.value.fields(&c)
			b, err = c.End("all")
			require.NoError(t, err)
			require.Equal(t, "before"+test.json, string(b))
		})
	}
}

// After an error nothing is read, and the first error stays.
func TestFirstError(t *testing.T) {
	for _, test := range allForms {
		if test.value.rest != nil {
			continue
		}
		for n := range test.bytes {
			var v all
			c := Read([]byte(test.bytes[:n]))
			v.fields(&c)
			_, err := c.End("all")
			require.ErrorIs(t, err, ErrFormat, "%s cut at %d", test.name, n)
			first := err.Error()
			v.fields(&c)
			_, err = c.End("all")
			require.EqualError(t, err, first)
		}
	}
}
