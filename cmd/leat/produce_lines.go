package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/leatlog/leat"
)

// incoming is a record that is to be appended. Its slices live as long as the
// line they were made of.
type incoming struct {
	key, value []byte
	headers    []leat.Header
	partition  *int32 // nil: the key decides
	timestamp  *int64 // nil: now
}

// lineForm says how a line is a record.
type lineForm struct {
	json      bool
	separator []byte  // between key and value; empty: there are no keys
	null      *string // stands for null; nil: nothing does
	headers   []leat.Header
}

func (f *lineForm) parse(line []byte, r *incoming) error {
	*r = incoming{headers: append(r.headers[:0], f.headers...)}
	if f.json {
		return parseJSON(line, r)
	}
	r.value = line
	if len(f.separator) > 0 {
		key, value, ok := bytes.Cut(line, f.separator)
		if !ok {
			return fmt.Errorf("there is no key separator %q in it", f.separator)
		}
		r.key, r.value = f.orNull(key), value
	}
	r.value = f.orNull(r.value)
	return nil
}

func (f *lineForm) orNull(b []byte) []byte {
	if f.null != nil && string(b) == *f.null {
		return nil
	}
	if b == nil {
		return []byte{}
	}
	return b
}

// parseHeaders reads what --header was given: name=value, or a name alone, whose
// value is null.
func parseHeaders(list []string) (headers []leat.Header, err error) {
	for _, s := range list {
		name, value, ok := bytes.Cut([]byte(s), []byte("="))
		if len(name) == 0 {
			return nil, errors.New("--header must be like name=value")
		}
		h := leat.Header{Key: string(name)}
		if ok {
			h.Value = append([]byte{}, value...)
		}
		headers = append(headers, h)
	}
	return headers, nil
}
