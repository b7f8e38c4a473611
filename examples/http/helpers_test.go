package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

const (
	binary = "application/octet-stream"
	asJSON = "application/json"
	lines  = "application/x-ndjson"
)

// fixture is a server over a store in memory, and a client of it.
type fixture struct {
	t     *testing.T
	s     *server
	store *leat.Store
	url   string
	http  *http.Client
}

// start begins a server on a loopback address.
func start(t *testing.T, o *leat.Options, change ...func(*limits)) *fixture {
	t.Helper()
	store, err := leat.OpenMem(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := &fixture{t: t, store: store, s: newTestServer(store, change...)}
	f.listen()
	return f
}

func (f *fixture) listen() {
	srv := httptest.NewServer(f.s.handler())
	f.t.Cleanup(func() {
		f.s.stop() // streams end
		srv.Close()
	})
	f.url, f.http = srv.URL, srv.Client()
}

// get1 is a topic that is there.
func (f *fixture) get1(name string) *leat.Topic {
	f.t.Helper()
	topic, err := f.store.Topic(name)
	require.NoError(f.t, err)
	return topic
}

func newTestServer(store *leat.Store, change ...func(*limits)) *server {
	l := defaultLimits
	for _, c := range change {
		c(&l)
	}
	return newServer(store, settings{dir: "memory"}, l, slog.New(slog.DiscardHandler))
}

// pipe starts a server whose connections are pipes, for a bubble of synctest. It
// returns what stops it, and waits.
func pipe(t *testing.T, change ...func(*limits)) (*fixture, func()) {
	t.Helper()
	store, err := leat.OpenMem(nil)
	require.NoError(t, err)
	f := &fixture{t: t, store: store, s: newTestServer(store, change...), url: "http://localhost"}
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	f.http = &http.Client{Transport: &http.Transport{DialContext: l.dial}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.s.serve(ctx, l) }()
	return f, func() {
		cancel()
		require.NoError(t, <-served)
		f.http.CloseIdleConnections()
		require.NoError(t, store.Close())
	}
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// request makes one; header are names and values.
func (f *fixture) request(method, path string, body io.Reader, header ...string) *http.Request {
	f.t.Helper()
	r, err := http.NewRequest(method, f.url+path, body)
	require.NoError(f.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	return r
}

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

func (f *fixture) do(r *http.Request) *answer {
	f.t.Helper()
	resp, err := f.http.Do(r)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	return &answer{f.t, resp.StatusCode, resp.Header, body}
}

func (f *fixture) get(path string) *answer {
	f.t.Helper()
	return f.do(f.request("GET", path, nil))
}

func (f *fixture) post(path, contentType, body string, header ...string) *answer {
	f.t.Helper()
	return f.do(f.request("POST", path, strings.NewReader(body), append(header, "Content-Type", contentType)...))
}

// is checks the status.
func (a *answer) is(status int) *answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "%s", a.body)
	return a
}

// into decodes the answer, every field of it.
func (a *answer) into(v any) {
	a.t.Helper()
	require.NoError(a.t, strictly(a.body, v), "%s", a.body)
}

// problem is the error that the answer must be.
func (a *answer) problem(status int, code string) problem {
	a.t.Helper()
	a.is(status)
	require.Equal(a.t, asJSON, a.header.Get("Content-Type"))
	var p problem
	require.NoError(a.t, json.Unmarshal(a.body, &p))
	require.Equal(a.t, code, p.Code, "%s", a.body)
	require.NotEmpty(a.t, p.Error)
	return p
}

func (f *fixture) topic(name string, c leat.TopicConfig) *leat.Topic {
	f.t.Helper()
	topic, err := f.store.CreateTopic(context.Background(), name, c)
	require.NoError(f.t, err)
	return topic
}

func partitionOf(t *testing.T, topic *leat.Topic, id int32) *leat.Partition {
	t.Helper()
	p, err := topic.Partition(id)
	require.NoError(t, err)
	return p
}

func appendTo(t *testing.T, topic *leat.Topic, id int32, records ...leat.Record) {
	t.Helper()
	_, err := partitionOf(t, topic, id).Append(context.Background(), records...)
	require.NoError(t, err)
}

// event is a server-sent one.
type event struct{ name, id, data string }

// stream is one that is under way.
type stream struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Scanner
}

func (f *fixture) follow(path, lastID string) *stream {
	f.t.Helper()
	r := f.request("GET", path, nil)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := f.http.Do(r)
	require.NoError(f.t, err)
	require.Equal(f.t, http.StatusOK, resp.StatusCode)
	require.Equal(f.t, "text/event-stream", resp.Header.Get("Content-Type"))
	return &stream{f.t, resp, bufio.NewScanner(resp.Body)}
}

// next is the next event; one without a name is a sign of life, or the end.
func (s *stream) next() (e event, ok bool) {
	s.t.Helper()
	for s.in.Scan() {
		name, value, _ := strings.Cut(s.in.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			return e, true
		}
	}
	return e, false
}

// want is the next event, which must be of that name.
func (s *stream) want(name string) event {
	s.t.Helper()
	e, ok := s.next()
	require.True(s.t, ok, "the stream has ended: %v", s.in.Err())
	require.Equal(s.t, name, e.name, "%+v", e)
	return e
}

func (s *stream) record() (event, jsonRecord) {
	s.t.Helper()
	e := s.want("record")
	var r jsonRecord
	require.NoError(s.t, json.Unmarshal([]byte(e.data), &r))
	return e, r
}

func (s *stream) close() { s.resp.Body.Close() }

// records decodes those of an answer.
func records(t *testing.T, raw []json.RawMessage) []jsonRecord {
	t.Helper()
	var list []jsonRecord
	for _, one := range raw {
		var r jsonRecord
		require.NoError(t, json.NewDecoder(bytes.NewReader(one)).Decode(&r))
		list = append(list, r)
	}
	return list
}
