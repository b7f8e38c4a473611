package leat

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The text of committed offsets is that of Kafka's kafka-consumer-groups
// --reset-offsets --export and --from-file: a line "topic,partition,offset" for each,
// and with several groups "group,topic,partition,offset", without a heading. A group
// whose name has a comma, a quote, a control character or outer spaces is in quotes, in
// which a quote is doubled, as in any CSV (RFC 4180); so it may have line ends.

// groupOffsetLine is one line of it.
type groupOffsetLine struct {
	line     int // the first that it is on, from 1
	group    string
	position Position
}

// appendGroupName quotes a name if it needs that.
func appendGroupName(dst []byte, name string) []byte {
	odd := strings.ContainsFunc(name, func(r rune) bool { return r == ',' || r == '"' || r < ' ' })
	if !odd && name == strings.TrimSpace(name) {
		return append(dst, name...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(name, `"`, `""`)...)
	return append(dst, '"')
}

// appendOffsetLine appends a line; without a group, that of the short form.
func appendOffsetLine(dst []byte, group string, p Position) []byte {
	if group != "" {
		dst = append(appendGroupName(dst, group), ',')
	}
	return fmt.Appendf(dst, "%s,%d,%d\n", p.Topic, p.Partition, p.Offset)
}

// maxOffsetLine is more than a line can have: a name in quotes, of which each byte
// is doubled, and a position.
const maxOffsetLine = 2*maxGroupName + 1024

// readGroupLines reads the text. group is that of lines that name none; empty: they
// all must. Errors name the line.
func readGroupLines(r io.Reader, group string) ([]groupOffsetLine, error) {
	in := &groupLines{r: bufio.NewReader(r)}
	type key struct {
		group, topic string
		partition    int32
	}
	seen := map[key]int{}
	var list []groupOffsetLine
	for {
		line, fields, err := in.next()
		if err == io.EOF {
			return list, nil
		}
		if err == nil {
			var x groupOffsetLine
			if x, err = parseOffsetLine(fields, group); err == nil {
				k := key{x.group, x.position.Topic, x.position.Partition}
				if was := seen[k]; was != 0 {
					err = fmt.Errorf("the offset of %s is on line %d already", folderName(k.topic, k.partition), was)
				}
				seen[k] = line
				x.line = line
				list = append(list, x)
			}
		}
		var failed *readError
		switch {
		case errors.As(err, &failed):
			return nil, failed.err
		case err != nil:
			return nil, onLine(line, err)
		}
	}
}

func onLine(line int, err error) error { return within(err, "line %d", line) }

// parseOffsetLine makes a position of the fields of a line.
func parseOffsetLine(fields []string, group string) (x groupOffsetLine, err error) {
	switch {
	case len(fields) == 3 && group != "":
		x.group = group
	case len(fields) == 4 && group == "":
		x.group, fields = fields[0], fields[1:]
		if err := checkGroup(x.group); err != nil {
			return x, err
		}
	case len(fields) == 3:
		return x, errors.New("topic, partition and offset are there, and no group: it is to be named in front, or for all lines")
	case len(fields) == 4:
		return x, fmt.Errorf("a group is there, %.80q, and one was named for all lines", fields[0])
	default:
		return x, fmt.Errorf("%d fields: wanted are topic,partition,offset, with the group in front when there are several", len(fields))
	}
	partition, err := strconv.ParseInt(fields[1], 10, 32)
	if err != nil || partition < 0 || strconv.FormatInt(partition, 10) != fields[1] {
		return x, fmt.Errorf("%.80q is no number of a partition", fields[1])
	}
	offset, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || offset < 0 || strconv.FormatInt(offset, 10) != fields[2] {
		return x, fmt.Errorf("%.80q is no offset", fields[2])
	}
	if err := checkTopicName(fields[0]); err != nil {
		return x, err
	}
	x.position = Position{Topic: fields[0], Partition: int32(partition), Offset: offset}
	return x, nil
}

// groupLines takes a text apart. A line may be empty, and end in "\r\n".
type groupLines struct {
	r    *bufio.Reader
	line int // lines read
}

// readError is an error of the reader, which no line is to blame for.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// next gives the fields of the next line that is not empty, and its number.
func (in *groupLines) next() (line int, fields []string, err error) {
	for {
		line = in.line + 1
		text, err := in.read(nil)
		if err != nil {
			return line, nil, err
		}
		if len(bytes.TrimRight(text, "\r\n")) > 0 {
			fields, err := in.split(text)
			return line, fields, err
		}
	}
}

// read appends the next line of the text, with its end.
func (in *groupLines) read(dst []byte) ([]byte, error) {
	was := len(dst)
	for {
		part, err := in.r.ReadSlice('\n')
		dst = append(dst, part...)
		switch {
		case len(dst) > maxOffsetLine:
			return dst, fmt.Errorf("it has more than %d bytes", maxOffsetLine)
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(dst) > was:
		case err == io.EOF:
			return dst, err
		case err != nil:
			return dst, &readError{err}
		}
		in.line++
		return dst, nil
	}
}

// split takes a line apart, and reads on where it ends within quotes.
func (in *groupLines) split(text []byte) (fields []string, err error) {
	for {
		var field []byte
		if len(text) > 0 && text[0] == '"' {
			if field, text, err = in.quoted(text[1:]); err != nil {
				return nil, err
			}
		} else {
			n := bytes.IndexAny(text, ",\r\n\"")
			if n < 0 {
				n = len(text)
			}
			field, text = text[:n], text[n:]
		}
		fields = append(fields, string(field))
		if len(bytes.TrimRight(text, "\r\n")) == 0 {
			return fields, nil
		}
		if text[0] != ',' || len(fields) == 4 {
			return nil, fmt.Errorf("%.80q is not expected behind %.80q", bytes.TrimRight(text, "\r\n"), field)
		}
		text = text[1:]
	}
}

// quoted reads up to the closing quote; rest is what follows on its line.
func (in *groupLines) quoted(text []byte) (field, rest []byte, err error) {
	for {
		n := bytes.IndexByte(text, '"')
		switch {
		case n < 0:
			field = append(field, text...)
			if text, err = in.read(nil); err == io.EOF {
				err = errors.New("a quote is not closed")
			}
			if err == nil && len(field)+len(text) > maxOffsetLine {
				err = fmt.Errorf("it has more than %d bytes", maxOffsetLine)
			}
			if err != nil {
				return nil, nil, err
			}
		case n+1 < len(text) && text[n+1] == '"':
			field, text = append(field, text[:n+1]...), text[n+2:]
		default:
			return append(field, text[:n]...), text[n+1:], nil
		}
	}
}
