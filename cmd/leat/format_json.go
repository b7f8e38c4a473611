package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/leatlog/leat"
)

// A record as JSON, which consume prints and produce reads:
//
//	{"topic":"orders","partition":0,"offset":17,"timestamp":1700000000000,
//	 "key":"42","value":"paid","headers":[{"key":"host","value":"a"}]}
//
// What is no UTF-8, and so cannot be a string of JSON, is in base64 under
// another name: "keyBase64", "valueBase64". Null is null under the first name.

// asJSON prints records as objects, each on a line.
type asJSON struct{}

func (asJSON) append(dst []byte, r *leat.Record) []byte {
	dst = appendString(append(dst, `{"topic":`...), r.Topic)
	dst = strconv.AppendInt(append(dst, `,"partition":`...), int64(r.Partition), 10)
	dst = strconv.AppendInt(append(dst, `,"offset":`...), r.Offset, 10)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), r.Timestamp.UnixMilli(), 10)
	dst = appendData(append(dst, ','), "key", r.Key)
	dst = appendData(append(dst, ','), "value", r.Value)
	if len(r.Headers) > 0 {
		dst = append(dst, `,"headers":`...)
		for i, h := range r.Headers {
			dst = append(dst, "[,"[min(i, 1)], '{')
			dst = appendData(dst, "key", []byte(h.Key))
			dst = append(appendData(append(dst, ','), "value", h.Value), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, "}\n"...)
}

// appendData appends a member: a string if that is possible.
func appendData(dst []byte, name string, v []byte) []byte {
	dst = append(append(dst, '"'), name...)
	switch {
	case v == nil:
		return append(dst, `":null`...)
	case utf8.Valid(v):
		return appendString(append(dst, `":`...), v)
	}
	dst = base64.StdEncoding.AppendEncode(append(dst, `Base64":"`...), v)
	return append(dst, '"')
}

// appendString appends a text that is UTF-8.
func appendString[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"')
}

// jsonLine is what produce takes. Topic and offset say where a record was.
type jsonLine struct {
	Topic       json.RawMessage `json:"topic"`
	Partition   *int32          `json:"partition"`
	Offset      json.RawMessage `json:"offset"`
	Timestamp   *int64          `json:"timestamp"`
	Key         *string         `json:"key"`
	KeyBase64   []byte          `json:"keyBase64"`
	Value       jsonMember      `json:"value"`
	ValueBase64 []byte          `json:"valueBase64"`
	Headers     []struct {
		Key         *string `json:"key"`
		KeyBase64   []byte  `json:"keyBase64"`
		Value       *string `json:"value"`
		ValueBase64 []byte  `json:"valueBase64"`
	} `json:"headers"`
}

// jsonMember is a string or null that must be told from nothing at all: what was
// forgotten must not become a tombstone.
type jsonMember struct {
	there bool
	text  *string
}

func (m *jsonMember) UnmarshalJSON(b []byte) error {
	m.there = true
	return json.Unmarshal(b, &m.text)
}

// parseJSON reads a line; its record may say no partition and no time. A name
// that is not known is an error, or what it stands for would be lost.
func parseJSON(line []byte, r *incoming) error {
	if !utf8.Valid(line) {
		return errors.New("it is no UTF-8 (other bytes go into keyBase64 and valueBase64)")
	}
	var in jsonLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the object does not end")
		}
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind the object")
	}
	r.partition, r.timestamp = in.Partition, in.Timestamp
	var err error
	if r.key, err = either("key", in.Key, in.KeyBase64); err != nil {
		return err
	}
	if !in.Value.there && in.ValueBase64 == nil {
		return errors.New(`"value" is missing (null makes a tombstone)`)
	}
	if r.value, err = either("value", in.Value.text, in.ValueBase64); err != nil {
		return err
	}
	for i, h := range in.Headers {
		key, err := either("key", h.Key, h.KeyBase64)
		if err == nil && key == nil {
			err = errors.New(`"key" is missing`)
		}
		value, verr := either("value", h.Value, h.ValueBase64)
		if err = errors.Join(err, verr); err != nil {
			return fmt.Errorf("header %d: %w", i, err)
		}
		r.headers = append(r.headers, leat.Header{Key: string(key), Value: value})
	}
	return nil
}

// either is a value that is there as text or in base64; nil is null.
func either(name string, text *string, data []byte) ([]byte, error) {
	switch {
	case text == nil:
		return data, nil
	case data != nil:
		return nil, fmt.Errorf(`both %q and "%sBase64" are there`, name, name)
	}
	return []byte(*text), nil
}
