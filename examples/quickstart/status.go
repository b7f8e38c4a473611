package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leatlog/leat"
)

// statusOf is the status code of a line in the common or combined format: what
// stands behind the quoted request. A line without one gives "none".
func statusOf(line []byte) string {
	_, rest, ok := bytes.Cut(line, []byte(`"`))
	for escaped := false; ok && len(rest) > 0; rest = rest[1:] {
		if rest[0] == '"' && !escaped {
			fields := bytes.Fields(rest[1:])
			if len(fields) == 0 || !isCode(fields[0]) {
				break
			}
			return string(fields[0])
		}
		escaped = rest[0] == '\\' && !escaped
	}
	return "none"
}

func isCode(b []byte) bool {
	return len(b) == 3 && '1' <= b[0] && b[0] <= '5' && '0' <= b[1] && b[1] <= '9' && '0' <= b[2] && b[2] <= '9'
}

// counts is how many lines there are of each status code.
type counts map[string]int

// maxCodes bounds the text, since metadata of a commit has 4096 bytes at most. There
// are some sixty codes; who makes up more of them finds them under "other".
const maxCodes = 100

func (c counts) add(code string) {
	if _, ok := c[code]; !ok && len(c) >= maxCodes {
		code = "other"
	}
	c[code]++
}

func (c counts) merge(d counts) {
	for code, n := range d {
		c[code] += n
	}
}

func (c counts) sum() (all int) {
	for _, n := range c {
		all += n
	}
	return all
}

// String has the most frequent first.
func (c counts) String() string {
	var s []string
	for _, code := range slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(b, a))
	}) {
		s = append(s, fmt.Sprintf("%s: %d", code, c[code]))
	}
	return strings.Join(s, ", ")
}

// parseCounts reads what String wrote.
func parseCounts(text string) (counts, error) {
	c := counts{}
	if text == "" {
		return c, nil
	}
	for s := range strings.SplitSeq(text, ", ") {
		code, count, _ := strings.Cut(s, ": ")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("the group's position has metadata that are no counts: %.100q", text)
		}
		c[code] = n
	}
	return c, nil
}

// tally counts records and the bytes of their keys and values against the clock.
type tally struct {
	records, bytes int
	began          time.Time
}

func (t *tally) start() { t.began = time.Now() }

func (t *tally) add(r *leat.Record) {
	t.records++
	t.bytes += len(r.Key) + len(r.Value)
}

func (t *tally) rate() string {
	took := time.Since(t.began)
	mb, s := float64(t.bytes)/1e6, took.Seconds()
	return fmt.Sprintf("%d records, %.2f MB in %v: %.0f records/s, %.1f MB/s",
		t.records, mb, took.Round(time.Microsecond), float64(t.records)/s, mb/s)
}
