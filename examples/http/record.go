package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/leatlog/leat"
)

// blob is a key or a value in JSON: text, {"base64": "..."} where it is no UTF-8,
// and null where there is none.
type blob []byte

type base64Blob struct {
	Base64 *[]byte `json:"base64"`
}

func (b blob) MarshalJSON() ([]byte, error) {
	switch {
	case b == nil:
		return []byte("null"), nil
	case utf8.Valid(b):
		return json.Marshal(string(b))
	}
	return json.Marshal(struct {
		Base64 string `json:"base64"`
	}{base64.StdEncoding.EncodeToString(b)})
}

func (b *blob) UnmarshalJSON(in []byte) error {
	if bytes.HasPrefix(in, []byte("{")) {
		var binary base64Blob
		if err := strictly(in, &binary); err != nil || binary.Base64 == nil {
			return errors.New(`bytes are text, {"base64": "..."} or null`)
		}
		*b = append(blob{}, *binary.Base64...) // empty is not null
		return nil
	}
	var text *string
	if err := json.Unmarshal(in, &text); err != nil {
		return errors.New(`bytes are text, {"base64": "..."} or null`)
	}
	*b = nil
	if text != nil {
		*b = append(blob{}, *text...)
	}
	return nil
}

func strictly(in []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(in))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

type jsonHeader struct {
	Name  string `json:"name"`
	Value blob   `json:"value"`
}

// jsonRecord is a record as it is shown.
type jsonRecord struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"` // ms since 1970
	Key       blob         `json:"key"`
	Value     blob         `json:"value"`
	Headers   []jsonHeader `json:"headers,omitempty"`
	// Bytes are those of key and value. Cut: there is more to the record than is shown.
	Bytes int  `json:"bytes"`
	Cut   bool `json:"cut,omitempty"`
}

// show gives the JSON of a record, which shares no memory with it. A preview, of
// so many bytes each of key and value, leaves out the headers; 0 shows everything.
func show(r *leat.Record, preview int) (json.RawMessage, error) {
	j := jsonRecord{
		Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(),
		Key: r.Key, Value: r.Value, Bytes: len(r.Key) + len(r.Value),
	}
	if preview > 0 {
		var cut [2]bool
		j.Key, cut[0] = begin(r.Key, preview)
		j.Value, cut[1] = begin(r.Value, preview)
		j.Cut = cut[0] || cut[1] || len(r.Headers) > 0
	} else {
		for _, h := range r.Headers {
			j.Headers = append(j.Headers, jsonHeader{h.Key, h.Value})
		}
	}
	return json.Marshal(j)
}

// begin is the beginning of b, of at most n bytes. Text is not cut inside a
// character.
func begin(b []byte, n int) ([]byte, bool) {
	if len(b) <= n {
		return b, false
	}
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(b[i]) {
			return b[:i], true
		}
	}
	return b[:n], true
}

// size is about how many bytes a record is worth in an answer.
func size(r *leat.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// matcher says which records are looked for.
type matcher struct {
	key      []byte // exactly; nil: any
	contains []byte // in key or value
	until    time.Time
}

func (m *matcher) any() bool { return m.key == nil && len(m.contains) == 0 && m.until.IsZero() }

func (m *matcher) matches(r *leat.Record) bool {
	return (m.key == nil || r.Key != nil && bytes.Equal(r.Key, m.key)) &&
		(m.until.IsZero() || r.Timestamp.Before(m.until)) &&
		(len(m.contains) == 0 || bytes.Contains(r.Value, m.contains) || bytes.Contains(r.Key, m.contains))
}
