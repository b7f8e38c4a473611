package main

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// limitConns lets n connections be open at the same time. Others wait in the
// system's queue.
func limitConns(l net.Listener, n int) net.Listener {
	return &limitedListener{Listener: l, places: make(chan struct{}, n), done: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	places chan struct{}
	done   chan struct{}
	once   sync.Once
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// patient gives a request time by what it does: so long for the body, and so long
// for each chunk of the answer.
func (s *server) patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.ContentLength != 0 {
			// http.Server takes it back when the body has been read.
			rc.SetReadDeadline(time.Now().Add(s.limits.readBody))
		}
		p := &patientWriter{ResponseWriter: w, rc: rc, chunk: s.limits.writeChunk}
		next.ServeHTTP(p, r)
		p.extend() // for what is in the buffers
	})
}

// patientWriter gives the client a while for each chunk.
type patientWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	chunk time.Duration
	begun bool // the header is on its way: it is too late for another status
}

// chunkBytes is how much a client has to take within limits.writeChunk.
const chunkBytes = 64 << 10

// extend is asked before each write. A connection without deadlines (in a test)
// has none.
func (p *patientWriter) extend() { p.rc.SetWriteDeadline(time.Now().Add(p.chunk)) }

func (p *patientWriter) WriteHeader(status int) {
	p.begun = true
	p.ResponseWriter.WriteHeader(status)
}

func (p *patientWriter) Write(b []byte) (n int, err error) {
	p.begun = true
	for {
		p.extend()
		m, err := p.ResponseWriter.Write(b[n:min(len(b), n+chunkBytes)])
		n += m
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// FlushError is what http.ResponseController.Flush calls.
func (p *patientWriter) FlushError() error {
	p.begun = true
	p.extend()
	return p.rc.Flush()
}

func (p *patientWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
