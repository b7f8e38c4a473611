package leat

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is where to read next: one past the last record done. The three
// numbers together also name a record for good, so a Position is comparable, to
// be the key of a map or to recognise what was done before.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
	Metadata  string // a consumer's own
}

// String is "orders-3@17", and with metadata `orders-3@17 "host a"`: the text
// that ParsePosition reads. That of the zero value is empty.
func (p Position) String() string {
	if p == (Position{}) {
		return ""
	}
	s := folderName(p.Topic, p.Partition) + "@" + strconv.FormatInt(p.Offset, 10)
	if p.Metadata != "" {
		s += " " + strconv.Quote(p.Metadata)
	}
	return s
}

// ParsePosition reads what Position.String wrote.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	bad := func(why string) (Position, error) {
		return Position{}, fmt.Errorf("leat: %.300q is not a position: %s", s, why)
	}
	place, metadata, ok := strings.Cut(s, " ")
	var p Position
	if ok {
		var err error
		if p.Metadata, err = strconv.Unquote(metadata); err != nil || p.Metadata == "" || strconv.Quote(p.Metadata) != metadata {
			return bad("the metadata is not quoted as String does it")
		}
	}
	folder, offset, ok := strings.Cut(place, "@")
	if !ok {
		return bad("there is no @")
	}
	n, err := strconv.ParseInt(offset, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != offset {
		return bad("there is no offset behind the @")
	}
	p.Offset = n
	if p.Topic, p.Partition, ok = parseFolder(folder); !ok {
		return bad("it does not begin with a topic and a partition")
	}
	return p, nil
}

// MarshalText is String; it makes a Position a JSON string and a key of a JSON
// object.
func (p Position) MarshalText() ([]byte, error) {
	s := p.String()
	if _, err := ParsePosition(s); err != nil {
		return nil, err
	}
	return []byte(s), nil
}

// UnmarshalText is ParsePosition.
func (p *Position) UnmarshalText(b []byte) error {
	v, err := ParsePosition(string(b))
	if err == nil {
		*p = v
	}
	return err
}
