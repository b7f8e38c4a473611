package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/leatlog/leat"
)

// partition is the one that a request names.
func (s *server) partition(r *http.Request) (*leat.Partition, error) {
	topic, err := s.store.Topic(r.PathValue("topic"))
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseInt(r.PathValue("partition"), 10, 32)
	if err != nil || id < 0 {
		return nil, badRequest("the partition is %q: it must be a number", r.PathValue("partition"))
	}
	return topic.Partition(int32(id))
}

// poll waits until minBytes can be read behind an offset: for so long, or until
// the server stops, after which an answer says what there is.
func (s *server) poll(r *http.Request, p *leat.Partition, offset int64, minBytes int, d time.Duration, i leat.Isolation) error {
	if d == 0 {
		return nil
	}
	ctx, cancel := s.waiting(r, d)
	defer cancel()
	at := []leat.Position{{Topic: p.Topic().Name(), Partition: p.ID(), Offset: offset}}
	err := s.store.Wait(ctx, at, minBytes, i)
	if ctx.Err() != nil && r.Context().Err() == nil {
		return nil
	}
	return err
}

// fetchAnswer are records of one partition, and where to go on.
type fetchAnswer struct {
	Topic            string            `json:"topic"`
	Partition        int32             `json:"partition"`
	Records          []json.RawMessage `json:"records"`
	Next             int64             `json:"next"`
	LogStartOffset   int64             `json:"log_start_offset"`
	LastStableOffset int64             `json:"last_stable_offset"`
	HighWatermark    int64             `json:"high_watermark"`
	LogEndOffset     int64             `json:"log_end_offset"`
}

// fetchRecords gives records of one partition from an offset, a time, or the last
// few on. With wait it is a long poll.
func (s *server) fetchRecords(w http.ResponseWriter, r *http.Request) error {
	p, err := s.partition(r)
	if err != nil {
		return err
	}
	q := query(r)
	start := q.start()
	o := leat.ReaderOptions{From: start, Isolation: q.isolation()}
	maxRecords := q.atMost("max_records", s.limits.records, s.limits.records)
	maxBytes := q.atMost("max_bytes", s.limits.response, s.limits.response)
	minBytes := q.atMost("min_bytes", 1, s.limits.response)
	wait := q.duration("wait", s.limits.wait)
	preview := q.atMost("preview", 0, s.limits.response)
	if err := q.done(); err != nil {
		return err
	}

	rd, err := p.Reader(o)
	if err != nil {
		return err
	}
	offset := rd.Offset()
	if err := rd.Close(); err != nil {
		return err
	}
	if err := s.poll(r, p, offset, minBytes, wait, o.Isolation); err != nil {
		return err
	}
	o.From, o.UntilEnd = leat.At(offset), true
	if rd, err = p.Reader(o); err != nil {
		return err
	}
	defer rd.Close()
	answer := fetchAnswer{Topic: p.Topic().Name(), Partition: p.ID(), Records: []json.RawMessage{}}
	answer.Next, err = s.gather(r.Context(), rd, &answer.Records, maxRecords, maxBytes, preview)
	if err != nil {
		return err
	}
	i := p.Describe()
	answer.LogStartOffset, answer.LastStableOffset = i.LogStartOffset, i.LastStableOffset
	answer.HighWatermark, answer.LogEndOffset = i.HighWatermark, i.LogEndOffset
	return answerJSON(w, http.StatusOK, answer)
}

// start is offset=, time=, last= or, without any, the earliest.
func (q *params) start() leat.Start {
	if n := q.number("last", -1, 0, 1<<62); n >= 0 {
		return leat.LastN(n)
	}
	if t := q.time("time"); !t.IsZero() {
		return leat.AtTime(t)
	}
	if o := q.number("offset", -1, 0, 1<<62); o >= 0 {
		return leat.At(o)
	}
	return leat.Earliest
}

// gather adds records to list, as many as are allowed, and returns where to go
// on. Damage behind the first record ends the list; the next request comes upon it.
func (s *server) gather(ctx context.Context, rd *leat.Reader, list *[]json.RawMessage, maxRecords, maxBytes, preview int) (next int64, err error) {
	bytes := 0
	for rec, err := range rd.Records(ctx) {
		if err != nil {
			if len(*list) > 0 && errors.Is(err, leat.ErrCorrupt) {
				return rd.Offset(), nil
			}
			return 0, err
		}
		n := size(rec)
		if preview > 0 {
			n = min(n, 2*preview)
		}
		if len(*list) == maxRecords || len(*list) > 0 && bytes+n > maxBytes {
			return rec.Offset, nil
		}
		if n > s.limits.response {
			return 0, refuse(http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE",
				fmt.Sprintf("the record at offset %d has %d bytes: ask for a preview, or for raw batches", rec.Offset, n))
		}
		shown, err := show(rec, preview)
		if err != nil {
			return 0, err
		}
		*list, bytes = append(*list, shown), bytes+n
	}
	return rd.Offset(), nil
}

// fetchBatches gives raw batches, in Kafka's format. What a fetch response of
// Kafka's has beside them is in headers.
func (s *server) fetchBatches(w http.ResponseWriter, r *http.Request) error {
	p, err := s.partition(r)
	if err != nil {
		return err
	}
	q := query(r)
	o := leat.FetchOptions{
		Offset:    q.number("offset", 0, 0, 1<<62),
		MaxBytes:  max(q.atMost("max_bytes", 1<<20, s.limits.raw), 1),
		Isolation: q.isolation(),
	}
	minBytes := q.atMost("min_bytes", 1, s.limits.raw)
	wait := q.duration("wait", s.limits.wait)
	if err := q.done(); err != nil {
		return err
	}
	if err := s.poll(r, p, o.Offset, minBytes, wait, o.Isolation); err != nil {
		return err
	}
	f, err := p.Fetch(o)
	if err != nil {
		return err
	}
	defer f.Release()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(f.Len()))
	for name, offset := range map[string]int64{
		"Leat-Base-Offset":        f.BaseOffset(),
		"Leat-Next-Offset":        f.NextOffset(),
		"Leat-Log-Start-Offset":   f.LogStartOffset,
		"Leat-Last-Stable-Offset": f.LastStableOffset,
		"Leat-High-Watermark":     f.HighWatermark,
	} {
		h.Set(name, strconv.FormatInt(offset, 10))
	}
	for _, a := range f.Aborted {
		h.Add("Leat-Aborted", fmt.Sprintf("%d@%d", a.ProducerID, a.FirstOffset))
	}
	// HTTP stands between the file and the socket, so that the bytes go through
	// memory. To a *net.TCPConn of one's own the kernel would send them itself.
	_, err = f.WriteTo(w)
	return err
}
