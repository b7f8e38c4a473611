package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leatlog/leat"
)

// params reads the query of a request, and keeps the first error. A name that
// nothing asked for is an error too: it was meant to do something.
type params struct {
	values url.Values
	err    error
}

func query(r *http.Request) *params {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		err = badRequest("the query cannot be read: %v", err)
	}
	return &params{v, err}
}

// take is the value of a parameter, and whether it is there.
func (p *params) take(name string) (string, bool) {
	v := p.values[name]
	delete(p.values, name)
	if len(v) > 1 && p.err == nil {
		p.err = badRequest("%s is given %d times", name, len(v))
	}
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

func (p *params) invalid(name, v, want string) {
	if p.err == nil {
		p.err = badRequest("%s is %q: it must be %s", name, v, want)
	}
}

// number is a parameter from low to high.
func (p *params) number(name string, otherwise, low, high int64) int64 {
	v, ok := p.take(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		p.invalid(name, v, fmt.Sprintf("a number from %d to %d", low, high))
		return otherwise
	}
	return n
}

// atMost is a number from 0 that is lowered to a limit.
func (p *params) atMost(name string, otherwise, limit int) int {
	return min(int(p.number(name, int64(otherwise), 0, 1<<31-1)), limit)
}

// bytes is a parameter as it is; nil if it is not there.
func (p *params) bytes(name string) []byte {
	v, ok := p.take(name)
	if !ok {
		return nil
	}
	return append([]byte{}, v...)
}

func (p *params) flag(name string) bool {
	return p.choice(name, "false", "true") == "true"
}

// choice is one of some words, the first if it is not there.
func (p *params) choice(name string, words ...string) string {
	v, ok := p.take(name)
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, v) {
		p.invalid(name, v, strings.Join(words, " or "))
	}
	return v
}

func (p *params) isolation() leat.Isolation {
	if p.choice("isolation", "read_committed", "read_uncommitted") == "read_uncommitted" {
		return leat.ReadUncommitted
	}
	return leat.ReadCommitted
}

// duration is one such as 500ms or 10s, lowered to a limit.
func (p *params) duration(name string, limit time.Duration) time.Duration {
	v, ok := p.take(name)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		p.invalid(name, v, "a duration like 500ms or 10s")
	}
	return min(d, limit)
}

// time is one as RFC 3339 has it, or milliseconds since 1970; zero if it is not
// there.
func (p *params) time(name string) time.Time {
	v, ok := p.take(name)
	if !ok {
		return time.Time{}
	}
	if ms, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		p.invalid(name, v, "like 2026-03-01T12:00:00Z, or milliseconds since 1970")
	}
	return t
}

// matcher is what is looked for.
func (p *params) matcher() matcher {
	return matcher{key: p.bytes("key"), contains: p.bytes("contains"), until: p.time("until")}
}

// done is the first error.
func (p *params) done() error {
	if p.err == nil && len(p.values) > 0 {
		p.err = badRequest("there is no parameter %s here", slices.Min(slices.Collect(maps.Keys(p.values))))
	}
	return p.err
}

// positions are where to go on in some partitions of a topic, like "0:17,1:4".
// They are the ids of events.
type positions map[int32]int64

func (p positions) String() string {
	var b []byte
	for _, id := range slices.Sorted(maps.Keys(p)) {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, p[id], 10)
	}
	return string(b)
}

func parsePositions(text string) (positions, error) {
	p := positions{}
	for one := range strings.SplitSeq(text, ",") {
		id, offset, ok := strings.Cut(one, ":")
		n, err := strconv.ParseInt(id, 10, 32)
		o, err2 := strconv.ParseInt(offset, 10, 64)
		if _, twice := p[int32(n)]; !ok || err != nil || err2 != nil || n < 0 || o < 0 || twice {
			return nil, badRequest("%q are no positions: they are like 0:17,1:4", text)
		}
		p[int32(n)] = o
	}
	return p, nil
}
