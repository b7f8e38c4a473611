package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/leatlog/leat"
)

// scanChunk is how many offsets of a partition a search for something looks at
// before it turns to the next partition.
const scanChunk = 4096

// scanSparse is that of a partition with few records left to so many offsets: a
// compacted one.
const scanSparse = 1 << 18

// searchAnswer are records of a topic, from all of its partitions or one, in the
// order that was asked for.
type searchAnswer struct {
	Records []json.RawMessage `json:"records"`
	// Next is what to give as at, to go on; empty: there is no more.
	Next string `json:"next"`
	// End is where to begin to follow: behind everything that was looked at.
	End     string `json:"end"`
	Scanned int64  `json:"scanned"` // records looked at
	// Failed are partitions that could not be searched, or not to their end.
	Failed []failedPartition `json:"failed,omitempty"`
}

type failedPartition struct {
	Partition int32  `json:"partition"`
	Error     string `json:"error"`
}

// search gives the records of a topic, newest or oldest first: all, or those with
// a key, with a text in key or value, before a time. It is a scan, of limited
// time: an answer without any record, but with next, has not looked everywhere yet.
func (s *server) search(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.store.Topic(r.PathValue("topic"))
	if err != nil {
		return err
	}
	q := query(r)
	sc := scan{
		newest:  q.choice("order", "oldest", "newest") == "newest",
		limit:   max(q.atMost("limit", 50, s.limits.records), 1),
		preview: max(q.atMost("preview", 200, 4096), 1),
		match:   q.matcher(),
		isolate: q.isolation(),
		bytes:   s.limits.scan,
	}
	only := q.number("partition", -1, 0, 1<<31-1)
	offset := q.number("offset", -1, 0, 1<<62)
	from := q.time("time")
	at, resume := q.take("at")
	if err := q.done(); err != nil {
		return err
	}
	leave, err := take(s.searches)
	if err != nil {
		return err
	}
	defer leave()

	var cursor positions
	if resume {
		if cursor, err = parsePositions(at); err != nil {
			return err
		}
	}
	answer := searchAnswer{Records: []json.RawMessage{}}
	for id := range topic.Config().Partitions {
		if only >= 0 && only != int64(id) {
			continue
		}
		position, ok := cursor[id]
		if resume && !ok {
			continue
		}
		if len(sc.parts) == s.limits.partitions {
			return badRequest("the topic has more than %d partitions: name one", s.limits.partitions)
		}
		p := scanPart{id: id}
		p.p, err = topic.Partition(id)
		if err == nil {
			err = p.begin(&sc, offset, from, only >= 0)
		}
		switch {
		case err != nil && only >= 0:
			return err
		case err != nil:
			answer.Failed = append(answer.Failed, failedPartition{id, err.Error()})
			continue
		case resume:
			p.at = min(max(position, p.start), p.end)
		}
		sc.parts = append(sc.parts, p)
	}
	if only >= 0 && len(sc.parts) == 0 {
		return fmt.Errorf("%w: %s-%d", leat.ErrUnknownPartition, topic.Name(), only)
	}

	// One chunk is always looked at, so that whoever asks again gets on.
	ctx, cancel := s.waiting(r, s.limits.wait)
	defer cancel()
	sc.deadline = time.Now().Add(s.limits.search)
	sc.quota = min(max(2*sc.limit/max(len(sc.parts), 1), 10), sc.limit)
	for len(answer.Records) < sc.limit {
		more, err := sc.round(ctx)
		if s.stopping.Err() != nil {
			return errStopping
		}
		if err != nil {
			return err
		}
		answer.Records = sc.merge(answer.Records)
		if !more {
			break
		}
	}
	for i := range sc.parts {
		p := &sc.parts[i]
		switch {
		case p.err != nil && only >= 0 && len(answer.Records) == 0:
			return p.err
		case p.err != nil:
			answer.Failed = append(answer.Failed, failedPartition{p.id, p.err.Error()})
		}
	}
	answer.Next, answer.End, answer.Scanned = sc.next(), sc.ends(), sc.scanned
	return answerJSON(w, http.StatusOK, answer)
}

// scan walks some partitions side by side.
type scan struct {
	newest  bool
	limit   int
	preview int
	match   matcher
	isolate leat.Isolation
	parts   []scanPart
	scanned int64

	bytes    int64 // that a chunk may have, about: limits.scan
	quota    int   // hits of a partition that a round keeps: they lie in memory
	deadline time.Time
}

// scanPart is one of them. What is left to look at is from at to end or, when the
// newest come first, from start to at.
type scanPart struct {
	id             int32
	p              *leat.Partition
	start, end, at int64
	fit            int64 // offsets whose records have about limits.scan bytes
	empty          int   // chunks in a row without a record
	hits           []hit // of this round, in the order of the scan
	err            error // why it is not looked at any further
}

type hit struct {
	offset, time int64
	shown        json.RawMessage
}

// begin finds the range of a partition and where in it to begin.
func (p *scanPart) begin(sc *scan, offset int64, from time.Time, strict bool) (err error) {
	p.start = p.p.LogStartOffset()
	p.end = p.p.LastStableOffset()
	if sc.isolate == leat.ReadUncommitted {
		p.end = p.p.HighWatermark()
	}
	p.end = max(p.end, p.start)
	i := p.p.Describe()
	p.fit = sc.bytes / max(i.Bytes/max(i.LogEndOffset-i.LogStartOffset, 1), 1)
	p.at = p.start
	if sc.newest {
		p.at = p.end
	}
	if offset >= 0 {
		if strict && (offset < p.start || offset > p.end) {
			return &leat.OffsetError{Topic: p.p.Topic().Name(), Partition: p.id, Offset: offset, Start: p.start, End: p.end}
		}
		p.at = min(max(offset, p.start), p.end)
	}
	if !from.IsZero() {
		if p.at, err = p.p.OffsetForTime(from); err != nil {
			return err
		}
		p.at = min(max(p.at, p.start), p.end)
	}
	return nil
}

// left tells whether there is something to look at.
func (p *scanPart) left(newest bool) bool {
	switch {
	case p.err != nil:
		return false
	case newest:
		return p.at > p.start
	}
	return p.at < p.end
}

// round looks at the next chunk of each partition, and tells whether there is
// more to look at, and time for it. An error is of ctx: other errors are the
// partition's.
func (sc *scan) round(ctx context.Context) (more bool, err error) {
	for i := range sc.parts {
		p := &sc.parts[i]
		if !p.left(sc.newest) {
			continue
		}
		chunk, before := sc.chunk(p), sc.scanned
		from, until := p.at, min(p.at+chunk, p.end)
		if sc.newest {
			from, until = max(p.at-chunk, p.start), p.at
		}
		p.at, p.err = sc.look(ctx, p, from, until)
		if sc.newest {
			slices.Reverse(p.hits)
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if p.empty++; sc.scanned > before {
			p.empty = 0
		}
		more = more || p.left(sc.newest)
		if time.Now().After(sc.deadline) {
			return false, nil
		}
	}
	return more, nil
}

// chunk is how many offsets to look at: more as long as there is nothing, fewer
// where records are large.
func (sc *scan) chunk(p *scanPart) int64 {
	n := int64(scanChunk)
	if sc.match.any() {
		n = int64(sc.quota)
	}
	n = max(n, min(n<<min(p.empty, 20), scanSparse))
	return max(min(n, p.fit), 1)
}

// look keeps what matches in [from, until), and returns where to go on.
func (sc *scan) look(ctx context.Context, p *scanPart, from, until int64) (int64, error) {
	done := until
	if sc.newest {
		done = from
	}
	rd, err := p.p.Reader(leat.ReaderOptions{From: leat.At(from), Until: until, Isolation: sc.isolate})
	if err != nil {
		return done, sc.passed(p, err)
	}
	defer rd.Close()
	for rec, err := range rd.Records(ctx) {
		if err != nil {
			return done, sc.passed(p, err)
		}
		sc.scanned++
		if !sc.match.matches(rec) {
			continue
		}
		if len(p.hits) == sc.quota && !sc.newest {
			return rec.Offset, nil
		}
		shown, err := show(rec, sc.preview)
		if err != nil {
			return done, err
		}
		p.hits = append(p.hits, hit{rec.Offset, rec.Timestamp.UnixMilli(), shown})
		if len(p.hits) > sc.quota {
			// The last ones are wanted; the others are found again.
			p.hits = slices.Delete(p.hits, 0, 1)
			done = p.hits[0].offset
		}
	}
	return done, nil
}

// passed is err, unless retention has come by since the scan began.
func (sc *scan) passed(p *scanPart, err error) error {
	if !errors.Is(err, leat.ErrOffsetOutOfRange) {
		return err
	}
	p.start = p.p.LogStartOffset()
	p.end = max(p.end, p.start)
	return nil
}

// merge adds the hits of all partitions to list: by time, and those of one partition by
// offset. What is too many is given back to its partition, to be found again.
func (sc *scan) merge(list []json.RawMessage) []json.RawMessage {
	for len(list) < sc.limit {
		var first *scanPart
		for i := range sc.parts {
			p := &sc.parts[i]
			if len(p.hits) > 0 && (first == nil || sc.before(p.hits[0], first.hits[0])) {
				first = p
			}
		}
		if first == nil {
			return list
		}
		list = append(list, first.hits[0].shown)
		first.hits = first.hits[1:]
		if len(first.hits) == 0 && len(list) < sc.limit && first.left(sc.newest) {
			break // what comes next in it may lie before the others' hits
		}
	}
	for i := range sc.parts {
		p := &sc.parts[i]
		if len(p.hits) == 0 {
			continue
		}
		p.at = p.hits[0].offset
		if sc.newest {
			p.at++
		}
		p.hits = p.hits[:0]
	}
	return list
}

func (sc *scan) before(a, b hit) bool {
	if sc.newest {
		return a.time > b.time
	}
	return a.time < b.time
}

// next are the positions of what is left; empty: nothing is.
func (sc *scan) next() string {
	next := positions{}
	for i := range sc.parts {
		if p := &sc.parts[i]; p.left(sc.newest) {
			next[p.id] = p.at
		}
	}
	return next.String()
}

func (sc *scan) ends() string {
	ends := positions{}
	for i := range sc.parts {
		ends[sc.parts[i].id] = sc.parts[i].end
	}
	return ends.String()
}
