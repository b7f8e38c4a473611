package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/leatlog/leat"
)

// printed is a form in which records are printed.
type printed interface {
	// append appends the record, with what ends it.
	append(dst []byte, r *leat.Record) []byte
}

// recordFormat is a --format of kcat's.
type recordFormat struct {
	parts []formatPart
	null  string // stands for what is null
	end   string // behind each record
}

// formatPart is a text, or what stands behind a '%'.
type formatPart struct {
	verb byte // 0: text
	text string
}

const formatVerbs = "kKsSRhopTt"

// parseTemplate reads a --format. A record ends with end, unless the format ends
// with an escape: then it says itself how a record ends.
func parseTemplate(format, null, end string) (*recordFormat, error) {
	t := &recordFormat{null: null, end: end}
	var text []byte
	for s := format; s != ""; {
		switch {
		case s[0] == '\\':
			b, rest, err := cutEscape(s)
			if err != nil {
				return nil, err
			}
			text, s = append(text, b), rest
			if rest == "" {
				t.end = ""
			}
			continue
		case s[0] != '%':
			text, s = append(text, s[0]), s[1:]
			continue
		case len(s) == 1:
			return nil, errors.New("it ends with a single '%' ('%%' prints one)")
		case s[1] == '%':
			text, s = append(text, '%'), s[2:]
			continue
		case strings.IndexByte(formatVerbs, s[1]) < 0:
			return nil, fmt.Errorf("%%%c is none of %%%s", s[1], strings.Join(strings.Split(formatVerbs, ""), " %"))
		}
		if len(text) > 0 {
			t.parts, text = append(t.parts, formatPart{text: string(text)}), nil
		}
		t.parts, s = append(t.parts, formatPart{verb: s[1]}), s[2:]
	}
	if len(text) > 0 {
		t.parts = append(t.parts, formatPart{text: string(text)})
	}
	return t, nil
}

// unescape is a string of the command line with its escapes resolved.
func unescape(s string) (string, error) {
	var text []byte
	for s != "" {
		if s[0] != '\\' {
			text, s = append(text, s[0]), s[1:]
			continue
		}
		b, rest, err := cutEscape(s)
		if err != nil {
			return "", err
		}
		text, s = append(text, b), rest
	}
	return string(text), nil
}

// escape is the byte that the escape at the beginning of s stands for, and what
// follows it.
func cutEscape(s string) (b byte, rest string, err error) {
	if len(s) == 1 {
		return 0, "", errors.New(`it ends with a single '\' ('\\' is one)`)
	}
	switch s[1] {
	case 'n':
		return '\n', s[2:], nil
	case 'r':
		return '\r', s[2:], nil
	case 't':
		return '\t', s[2:], nil
	case '0':
		return 0, s[2:], nil
	case '\\':
		return '\\', s[2:], nil
	case 'x':
		if len(s) >= 4 {
			if n, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
				return byte(n), s[4:], nil
			}
		}
	}
	return 0, "", fmt.Errorf(`%q is none of \n \r \t \0 \\ \xNN`, s[:2])
}

func (t *recordFormat) append(dst []byte, r *leat.Record) []byte {
	for i := range t.parts {
		switch p := &t.parts[i]; p.verb {
		case 0:
			dst = append(dst, p.text...)
		case 'k':
			dst = t.bytes(dst, r.Key)
		case 's':
			dst = t.bytes(dst, r.Value)
		case 'K':
			dst = strconv.AppendInt(dst, lengthOf(r.Key), 10)
		case 'S':
			dst = strconv.AppendInt(dst, lengthOf(r.Value), 10)
		case 'R':
			dst = binary.BigEndian.AppendUint32(dst, uint32(lengthOf(r.Value)))
		case 'h':
			for n, h := range r.Headers {
				if n > 0 {
					dst = append(dst, ',')
				}
				dst = append(append(dst, h.Key...), '=')
				dst = t.bytes(dst, h.Value)
			}
		case 'o':
			dst = strconv.AppendInt(dst, r.Offset, 10)
		case 'p':
			dst = strconv.AppendInt(dst, int64(r.Partition), 10)
		case 'T':
			dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
		case 't':
			dst = append(dst, r.Topic...)
		}
	}
	return append(dst, t.end...)
}

func (t *recordFormat) bytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, t.null...)
	}
	return append(dst, b...)
}

// lengthOf is -1 for null, as kcat has it.
func lengthOf(b []byte) int64 {
	if b == nil {
		return -1
	}
	return int64(len(b))
}
