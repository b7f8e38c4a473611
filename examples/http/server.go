package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat"
)

// server is a store on HTTP.
type server struct {
	store  *leat.Store
	dir    string
	hosts  []string
	limits limits
	logger *slog.Logger

	// stopping ends when the server is about to stop: those who wait for records
	// leave then. Appends do not look at it.
	stopping context.Context
	stop     context.CancelFunc

	streams  chan struct{} // a place for each that is under way
	searches chan struct{}
	next     atomic.Uint32 // partition of the next record without a key
}

func newServer(store *leat.Store, c settings, l limits, logger *slog.Logger) *server {
	s := &server{
		store: store, dir: c.dir, hosts: c.hosts, limits: l, logger: logger,
		streams:  make(chan struct{}, l.streams),
		searches: make(chan struct{}, l.searches),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

// handler routes requests. Those that may change something, or cost something,
// pass the guard first.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /topics":                                        s.listTopics,
		"POST /topics":                                       s.createTopic,
		"GET /topics/{topic}":                                s.describeTopic,
		"POST /topics/{topic}/records":                       s.appendRecord,
		"POST /topics/{topic}/batch":                         s.appendBatch,
		"GET /topics/{topic}/records":                        s.search,
		"GET /topics/{topic}/events":                         s.follow,
		"GET /topics/{topic}/partitions/{partition}":         s.describePartition,
		"GET /topics/{topic}/partitions/{partition}/records": s.fetchRecords,
		"GET /topics/{topic}/partitions/{partition}/batches": s.fetchBatches,
		"GET /stats":                                         s.stats,
		"GET /metrics":                                       s.metrics,
		"GET /healthz":                                       s.health,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := answer(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	servePage(mux)
	routed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.fail(w, r, unrouted(mux, w, r))
			return
		}
		mux.ServeHTTP(w, r)
	})
	return s.patient(s.guard(routed))
}

// serve answers on the listener until ctx ends, which is no error, and then
// finishes what is under way. The store can be closed when it returns.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	var fresh freshConns
	srv := &http.Server{
		Handler:           s.handler(),
		MaxHeaderBytes:    s.limits.header,
		ReadHeaderTimeout: s.limits.readHeader,
		WriteTimeout:      s.limits.writeChunk, // of what is not written by a patientWriter
		IdleTimeout:       s.limits.idle,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		ConnState:         fresh.note,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(limitConns(listener, s.limits.conns)) }()
	select {
	case err := <-served:
		s.stop()
		return errors.Join(err, srv.Close())
	case <-ctx.Done():
	}

	s.stop()
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.grace)
	defer cancel()
	fresh.close()
	err := srv.Shutdown(soon)
	if err != nil {
		// Somebody is slower than we can wait for. What they sent has not been
		// acknowledged, and closing the store ends what is left of it.
		err = errors.Join(errors.New("not all requests could be finished"), err, srv.Close())
	}
	<-served
	return err
}

// freshConns are connections that have not sent anything yet. Browsers keep such
// in reserve, and http.Server.Shutdown would wait for five seconds for them.
type freshConns struct {
	mu struct {
		sync.Mutex
		conns  map[net.Conn]bool
		closed bool
	}
}

func (f *freshConns) note(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state != http.StateNew {
		delete(f.mu.conns, c)
		return
	}
	if f.mu.closed {
		c.Close()
		return
	}
	if f.mu.conns == nil {
		f.mu.conns = make(map[net.Conn]bool)
	}
	f.mu.conns[c] = true
}

func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.closed = true
	for c := range f.mu.conns {
		c.Close()
	}
}

// waiting is a context that ends with the request, when the server stops, or
// after d.
func (s *server) waiting(r *http.Request, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), d)
	unhook := context.AfterFunc(s.stopping, cancel)
	return ctx, func() { unhook(); cancel() }
}

// take takes one of a limited number of places, or says that there is none.
func take(places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, errBusy
	}
}
