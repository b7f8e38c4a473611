package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/leatlog/leat"
)

// retryAfter is what an EventSource waits before it connects again.
const retryAfter = time.Second

// follow sends the records of a topic as they come, as server-sent events:
//
//	event: begin    where it begins, at once
//	event: record   a record
//	event: gap      offsets that were not there any more: records were deleted
//	event: failure  a partition that cannot be followed any further, and why
//
// The id of an event are the positions to go on with in all partitions, so that
// an EventSource that comes back (Last-Event-ID) misses nothing and gets nothing
// twice.
func (s *server) follow(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.store.Topic(r.PathValue("topic"))
	if err != nil {
		return err
	}
	q := query(r)
	from, _ := q.take("from")
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		from = id
	}
	f := follower{
		s: s, topic: topic, at: positions{}, events: make(chan followed),
		only:    q.number("partition", -1, 0, 1<<31-1),
		preview: q.atMost("preview", 0, s.limits.response),
		match:   q.matcher(),
		isolate: q.isolation(),
	}
	if err := q.done(); err != nil {
		return err
	}
	leave, err := take(s.streams)
	if err != nil {
		return err
	}
	defer leave()
	if s.stopping.Err() != nil {
		return errStopping
	}
	if err := f.begin(from); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(r.Context())
	defer f.wg.Wait()
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return nil
	}
	return f.send(ctx, w)
}

// follower is one stream. A goroutine for each partition reads and waits for the
// one that sends.
type follower struct {
	s       *server
	topic   *leat.Topic
	only    int64 // the one partition to follow; -1: all
	preview int
	match   matcher
	isolate leat.Isolation

	at     positions // of what was sent
	events chan followed
	wg     sync.WaitGroup
}

// followed is something that happened in a partition. Behind it reading goes on at
// next.
type followed struct {
	partition int32
	next      int64
	event     string // "": nothing to tell but next
	data      []byte
}

// begin finds where to begin: earliest, latest (if nothing is said) or positions.
// Partitions that those do not name are new, and followed from their beginning.
func (f *follower) begin(from string) (err error) {
	named := positions{}
	if from != "" && from != "earliest" && from != "latest" {
		if named, err = parsePositions(from); err != nil {
			return err
		}
	}
	n := f.topic.Config().Partitions
	if f.only < 0 && int(n) > f.s.limits.partitions {
		return badRequest("the topic has more than %d partitions: name one", f.s.limits.partitions)
	}
	for id := range n {
		if f.only >= 0 && f.only != int64(id) {
			continue
		}
		p, err := f.topic.Partition(id)
		if err != nil && f.only >= 0 {
			return err
		}
		at, ok := named[id]
		switch {
		case ok:
		case err != nil: // the stream tells
		case from == "" || from == "latest":
			at = p.LastStableOffset()
			if f.isolate == leat.ReadUncommitted {
				at = p.HighWatermark()
			}
		default:
			at = p.LogStartOffset()
		}
		f.at[id] = at
	}
	if len(f.at) == 0 {
		return fmt.Errorf("%w: %s-%d", leat.ErrUnknownPartition, f.topic.Name(), f.only)
	}
	return nil
}

// send writes what comes until ctx ends, the client is gone, or nothing is left to
// follow.
func (f *follower) send(ctx context.Context, w http.ResponseWriter) error {
	rc := http.NewResponseController(w)
	var out bytes.Buffer
	fmt.Fprintf(&out, "retry: %d\n", retryAfter.Milliseconds())
	f.write(&out, "begin", []byte(`{}`))
	if err := flush(w, rc, &out); err != nil {
		return nil
	}
	left := 0
	start := func(id int32) {
		left++
		at := f.at[id]
		f.wg.Go(func() { f.read(ctx, id, at) })
	}
	for id := range f.at {
		start(id)
	}
	beat := time.NewTicker(f.s.limits.heartbeat)
	defer beat.Stop()
	for left > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			// A sign of life, for us whether the client is there, and for it. The id
			// brings its position up when nothing matches.
			fmt.Fprintf(&out, ":\nid: %s\n\n", f.at)
			for id := int32(len(f.at)); f.only < 0 && id < f.topic.Config().Partitions && len(f.at) < f.s.limits.partitions; id++ {
				f.at[id] = 0 // the topic has grown
				start(id)
			}
		case e := <-f.events:
			f.at[e.partition] = e.next
			if e.event == "failure" {
				left--
			}
			if e.event != "" {
				f.write(&out, e.event, e.data)
			}
		}
		if err := flush(w, rc, &out); err != nil {
			return nil
		}
	}
	return nil
}

func (f *follower) write(out *bytes.Buffer, event string, data []byte) {
	// JSON has no line ends in it.
	fmt.Fprintf(out, "event: %s\nid: %s\ndata: %s\n\n", event, f.at, data)
}

func flush(w http.ResponseWriter, rc *http.ResponseController, out *bytes.Buffer) error {
	if out.Len() == 0 {
		return nil
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return err
	}
	out.Reset()
	return rc.Flush()
}

// read follows one partition until ctx ends or it fails.
func (f *follower) read(ctx context.Context, id int32, at int64) {
	tell := func(e followed) bool {
		e.partition = id
		select {
		case f.events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		next, err := f.records(ctx, id, at, tell)
		var out *leat.OffsetError
		if errors.As(err, &out) {
			// Retention has deleted what was to come, or a truncation has.
			at = min(max(next, out.Start), out.End)
			data, _ := json.Marshal(map[string]any{"partition": id, "from": next, "to": at})
			tell(followed{next: at, event: "gap", data: data})
			continue
		}
		if ctx.Err() != nil {
			return
		}
		p := problemOf(err)
		data, _ := json.Marshal(map[string]any{"partition": id, "error": p.Error, "code": p.Code})
		tell(followed{next: next, event: "failure", data: data})
		return
	}
}

// records tells of record after record, and returns where it could not go on.
func (f *follower) records(ctx context.Context, id int32, at int64, tell func(followed) bool) (int64, error) {
	p, err := f.topic.Partition(id)
	if err != nil {
		return at, err
	}
	rd, err := p.Reader(leat.ReaderOptions{From: leat.At(at), Isolation: f.isolate})
	if err != nil {
		return at, err
	}
	defer rd.Close()
	skipped := 0
	for rec, err := range rd.Records(ctx) {
		if err != nil {
			return rd.Offset(), err
		}
		if !f.match.matches(rec) {
			if skipped++; skipped%scanChunk == 0 && !tell(followed{next: rec.Offset + 1}) {
				break
			}
			continue
		}
		if f.preview == 0 && size(rec) > f.s.limits.response {
			return rec.Offset, refuse(http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE", fmt.Sprintf("the record at offset %d has %d bytes: ask for a preview", rec.Offset, size(rec)))
		}
		shown, err := show(rec, f.preview)
		if err != nil {
			return rec.Offset, err
		}
		if !tell(followed{next: rec.Offset + 1, event: "record", data: shown}) {
			break
		}
	}
	return rd.Offset(), ctx.Err()
}
