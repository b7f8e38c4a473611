package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leatlog/leat"
)

// appended says where a record is.
type appended struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// appendRecord stores the body as the value of a record. Its key and its
// partition are parameters, its headers are "Leat-Header: name=value". The answer
// means what that of leat.Partition.Append means: the record is durable.
func (s *server) appendRecord(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.store.Topic(r.PathValue("topic"))
	if err != nil {
		return err
	}
	q := query(r)
	rec := leat.Record{Key: q.bytes("key"), Timestamp: q.time("timestamp")}
	id := int32(q.number("partition", -1, 0, 1<<31-1))
	if err := q.done(); err != nil {
		return err
	}
	for _, h := range r.Header.Values("Leat-Header") {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return badRequest("Leat-Header is %q: it must be name=value", h)
		}
		rec.Headers = append(rec.Headers, leat.Header{Key: name, Value: []byte(value)})
	}
	if rec.Value, err = s.body(w, r, s.limits.value); err != nil {
		return err
	}
	if id < 0 {
		id = s.choose(topic, rec.Key)
	}
	p, err := topic.Partition(id)
	if err != nil {
		return err
	}
	offset, err := p.Append(r.Context(), rec)
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusCreated, appended{topic.Name(), id, offset})
}

// choose is the partition of a key, as Kafka's clients choose it; records without
// one go to all in turn.
func (s *server) choose(t *leat.Topic, key []byte) int32 {
	if key != nil {
		return t.PartitionFor(key)
	}
	return int32(s.next.Add(1) % uint32(max(t.Config().Partitions, 1)))
}

// body reads the whole body, of at most limit bytes, within limits.readBody.
func (s *server) body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, bodyError(err)
	}
	return b, nil
}

// bodyError says of other errors than the known ones that they are the client's.
func bodyError(err error) error {
	if p := problemOf(err); p.status != http.StatusInternalServerError {
		return err
	}
	return badRequest("the body cannot be read: %v", err)
}

// batchRecord is a record of a batch.
type batchRecord struct {
	Key       blob         `json:"key"`
	Value     blob         `json:"value"`
	Headers   []jsonHeader `json:"headers"`
	Timestamp int64        `json:"timestamp"` // ms since 1970; 0: now
	Partition *int32       `json:"partition"`
}

// batchAnswer has an entry for each record, in their order.
type batchAnswer struct {
	*problem             // the first there was; nil: none
	Records  []batchItem `json:"records"`
}

type batchItem struct {
	Partition int32  `json:"partition"`
	Offset    *int64 `json:"offset,omitempty"` // of a record that is stored
	Error     string `json:"error,omitempty"`  // of one that is not
}

// appendBatch stores many records: a JSON array, or one a line. Those for one
// partition are stored as one unit, all or none. A partition may fail when others
// have not: the answer tells of each record.
func (s *server) appendBatch(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.store.Topic(r.PathValue("topic"))
	if err != nil {
		return err
	}
	if err := query(r).done(); err != nil {
		return err
	}
	body, err := s.body(w, r, s.limits.batch)
	if err != nil {
		return err
	}
	records, err := s.parseBatch(r.Header.Get("Content-Type"), body)
	if err != nil {
		return err
	}

	answer := batchAnswer{Records: make([]batchItem, len(records))}
	units := map[int32]*unit{}
	for i := range records {
		id := s.partitionOf(topic, &records[i])
		answer.Records[i].Partition = id
		u := units[id]
		if u == nil {
			u = &unit{}
			if u.p, err = topic.Partition(id); err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
			units[id] = u
		}
		u.add(&records[i], i)
	}
	var wg sync.WaitGroup
	for _, u := range units {
		// Each waits for the disk: they do so together.
		wg.Go(func() { u.offset, u.err = u.p.Append(r.Context(), u.records...) })
	}
	wg.Wait()
	for _, id := range slices.Sorted(maps.Keys(units)) {
		u := units[id]
		if u.err != nil && answer.problem == nil {
			p := problemOf(u.err)
			answer.problem = &p
		}
		for n, i := range u.at {
			if u.err != nil {
				answer.Records[i].Error = u.err.Error()
				continue
			}
			offset := u.offset + int64(n)
			answer.Records[i].Offset = &offset
		}
	}
	if answer.problem != nil {
		answerProblem(w, *answer.problem, answer)
		return nil
	}
	return answerJSON(w, http.StatusCreated, answer)
}

// unit are the records of a batch that go to one partition.
type unit struct {
	p       *leat.Partition
	records []leat.Record
	at      []int // their places in the batch
	offset  int64
	err     error
}

func (u *unit) add(b *batchRecord, at int) {
	rec := leat.Record{Key: b.Key, Value: b.Value}
	if b.Timestamp != 0 {
		rec.Timestamp = time.UnixMilli(b.Timestamp)
	}
	for _, h := range b.Headers {
		rec.Headers = append(rec.Headers, leat.Header{Key: h.Name, Value: h.Value})
	}
	u.records, u.at = append(u.records, rec), append(u.at, at)
}

func (s *server) partitionOf(t *leat.Topic, b *batchRecord) int32 {
	if b.Partition != nil {
		return *b.Partition
	}
	return s.choose(t, b.Key)
}

// parseBatch reads the records, all of them or none.
func (s *server) parseBatch(contentType string, body []byte) ([]batchRecord, error) {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	lines := mediaType == "application/x-ndjson"
	if !lines && mediaType != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "CONTENT_TYPE", "a batch is application/json, an array, or application/x-ndjson, a record on each line")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if !lines {
		if t, err := dec.Token(); err != nil || t != json.Delim('[') {
			return nil, badRequest("a batch in JSON is an array of records")
		}
	}
	var records []batchRecord
	for lines || dec.More() {
		var b batchRecord
		err := dec.Decode(&b)
		if lines && errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, badRequest("record %d: %v", len(records), err)
		}
		if len(records) == s.limits.batchRecords {
			return nil, refuse(http.StatusRequestEntityTooLarge, "RECORD_LIST_TOO_LARGE", fmt.Sprintf("a batch may have %d records", s.limits.batchRecords))
		}
		records = append(records, b)
	}
	if _, err := dec.Token(); err != nil {
		return nil, badRequest("after record %d: %v", len(records)-1, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("there is something behind the array")
	}
	return records, nil
}
