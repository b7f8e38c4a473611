package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/leatlog/leat"
)

// problem is an error as a client sees it.
type problem struct {
	Error string `json:"error"` // for people
	Code  string `json:"code"`  // for programs: Kafka's name where it has one
	// With OFFSET_OUT_OF_RANGE: the range that there is.
	LogStartOffset *int64 `json:"log_start_offset,omitempty"`
	LogEndOffset   *int64 `json:"log_end_offset,omitempty"`

	status int
}

// refusal is a problem that is found here, not by the store.
type refusal struct{ problem }

func (r *refusal) Error() string { return r.problem.Error }

func refuse(status int, code, text string) error {
	return &refusal{problem{Error: text, Code: code, status: status}}
}

func badRequest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "INVALID_REQUEST", fmt.Sprintf(format, args...))
}

var (
	errBusy     = refuse(http.StatusServiceUnavailable, "BUSY", "too many of these requests are under way: try again later")
	errStopping = refuse(http.StatusServiceUnavailable, "STOPPING", "the server is stopping")
)

// statuses are those of leat's errors, in the order in which they are asked for.
var statuses = []struct {
	err    error
	status int
	code   string
}{
	{leat.ErrUnknownTopic, http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION"},
	{leat.ErrUnknownPartition, http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION"},
	{leat.ErrTopicExists, http.StatusConflict, "TOPIC_ALREADY_EXISTS"},
	{leat.ErrInvalidTopic, http.StatusBadRequest, "INVALID_TOPIC_EXCEPTION"},
	{leat.ErrInvalidConfig, http.StatusBadRequest, "INVALID_CONFIG"},
	{leat.ErrInvalidRecord, http.StatusBadRequest, "INVALID_RECORD"},
	{leat.ErrInvalidTimestamp, http.StatusBadRequest, "INVALID_TIMESTAMP"},
	{leat.ErrRecordTooLarge, http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE"},
	{leat.ErrOffsetOutOfRange, http.StatusRequestedRangeNotSatisfiable, "OFFSET_OUT_OF_RANGE"},
	{leat.ErrNoSpace, http.StatusInsufficientStorage, "KAFKA_STORAGE_ERROR"},
	{leat.ErrOffsetOverflow, http.StatusInsufficientStorage, "KAFKA_STORAGE_ERROR"},
	{leat.ErrFailed, http.StatusServiceUnavailable, "KAFKA_STORAGE_ERROR"},
	{leat.ErrCorrupt, http.StatusServiceUnavailable, "CORRUPT_MESSAGE"},
	{leat.ErrUnsupported, http.StatusNotImplemented, "UNSUPPORTED_FOR_MESSAGE_FORMAT"},
	{leat.ErrClosed, http.StatusServiceUnavailable, "STOPPING"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "REQUEST_TIMED_OUT"},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "REQUEST_TIMED_OUT"},
}

// problemOf says what went wrong, in HTTP's terms and Kafka's.
func problemOf(err error) problem {
	var known *refusal
	if errors.As(err, &known) {
		return known.problem
	}
	p := problem{Error: err.Error(), Code: "UNKNOWN_SERVER_ERROR", status: http.StatusInternalServerError}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			p.status, p.Code = s.status, s.code
			break
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		p.status, p.Code = http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE"
		p.Error = fmt.Sprintf("the body may have %d bytes", large.Limit)
	}
	var out *leat.OffsetError
	if errors.As(err, &out) {
		p.LogStartOffset, p.LogEndOffset = &out.Start, &out.End
	}
	return p
}

// fail answers with an error. An answer that has begun is broken off, so that
// nobody takes it for a whole one.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		panic(http.ErrAbortHandler) // nobody is there; one who was too slow with the body may be
	}
	p := problemOf(err)
	if p.status >= http.StatusInternalServerError && p.status != http.StatusServiceUnavailable {
		s.logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	if pw, ok := w.(*patientWriter); ok && pw.begun {
		panic(http.ErrAbortHandler)
	}
	answerProblem(w, p, p)
}

// answerProblem answers with the status of p, and v, which contains p.
func answerProblem(w http.ResponseWriter, p problem, v any) {
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	answerJSON(w, p.status, v)
}

// answerJSON answers. An error of writing is the client's: it is gone.
func answerJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
	return nil
}

// unrouted is the error of a path, or a method, that there is none of.
func unrouted(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) error {
	told := unroutedWriter{header: w.Header()} // Allow is of use
	mux.ServeHTTP(&told, r)
	if told.status == http.StatusMethodNotAllowed {
		return refuse(told.status, "METHOD_NOT_ALLOWED", "the methods allowed here are "+w.Header().Get("Allow"))
	}
	return refuse(http.StatusNotFound, "NOT_FOUND", "there is nothing at this path: see README.md for what there is")
}

type unroutedWriter struct {
	header http.Header
	status int
}

func (u *unroutedWriter) Header() http.Header         { return u.header }
func (u *unroutedWriter) WriteHeader(status int)      { u.status = status }
func (u *unroutedWriter) Write(b []byte) (int, error) { return len(b), nil }
