package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// connect is a bare connection to a server of pipe.
func (f *fixture) connect() net.Conn {
	f.t.Helper()
	c, err := f.http.Transport.(*http.Transport).DialContext(context.Background(), "", "")
	require.NoError(f.t, err)
	return c
}

// closed waits until the server hangs up, and says how long that took.
func closed(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	_, err := io.Copy(io.Discard, c)
	require.NoError(t, err)
	return time.Since(began)
}

// TestSlowClients are cut off, each by the limit that is meant for it.
func TestSlowClients(t *testing.T) {
	l := defaultLimits
	for _, c := range []struct {
		name, sent string
		after      time.Duration
	}{
		{"says nothing", "", l.readHeader},
		{"half a header", "GET /stats HTTP/1.1\r\nHost: loc", l.readHeader},
		{"half a body", "POST /topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\n12345", l.readBody},
		{"half a chunked body", "POST /topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", l.readBody},
		{"no further request", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", l.idle},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, stop := pipe(t)
				f.topic("orders", leat.TopicConfig{})
				conn := f.connect()
				go io.WriteString(conn, c.sent)
				// A server waits a moment before it hangs up on one who may still be sending.
				require.InDelta(t, c.after.Seconds(), closed(t, conn).Seconds(), 1)
				conn.Close()
				require.Zero(t, f.store.Stats().Appended.Records)
				stop()
			})
		})
	}
}

// TestSlowBody is told what was wrong before it is cut off.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t)
		f.topic("orders", leat.TopicConfig{})
		conn := f.connect()
		go io.WriteString(conn, "POST /topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\n12345")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		(&answer{t, resp.StatusCode, resp.Header, body}).problem(http.StatusRequestTimeout, "REQUEST_TIMED_OUT")
		conn.Close()
		stop()
	})
}

// TestSlowReader takes a large answer slowly, which is allowed, and then not at
// all, which is not.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t)
		topic := f.topic("orders", leat.TopicConfig{})
		for range 8 {
			appendTo(t, topic, 0, leat.Record{Value: bytes.Repeat([]byte("x"), 100_000)})
		}
		conn := f.connect()
		fmt.Fprintf(conn, "GET /topics/orders/partitions/0/batches HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		began := time.Now()
		for range 10 {
			_, err := io.CopyN(io.Discard, resp.Body, chunkBytes)
			require.NoError(t, err)
			<-time.After(defaultLimits.writeChunk * 3 / 4)
		}
		require.Greater(t, time.Since(began), 5*defaultLimits.writeChunk)
		<-time.After(2 * defaultLimits.writeChunk)
		_, err = io.Copy(io.Discard, resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		conn.Close()
		stop()
	})
}

// TestSlowFollower does not read its stream: the place is free again soon.
func TestSlowFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t, func(l *limits) { l.streams = 1 })
		f.topic("orders", leat.TopicConfig{})
		conn := f.connect()
		fmt.Fprintf(conn, "GET /topics/orders/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-time.After(defaultLimits.writeChunk - time.Second)
		f.get("/topics/orders/events").problem(http.StatusServiceUnavailable, "BUSY")
		<-time.After(2 * time.Second)
		s := f.follow("/topics/orders/events", "")
		s.want("begin")
		s.close()
		conn.Close()
		stop()
	})
}

// TestConnections lets only so many be open: the next one is served when one is
// closed.
func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t, func(l *limits) { l.conns = 2 })
		ask := func(c net.Conn) error {
			if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				return err
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			return err
		}
		first, second := f.connect(), f.connect()
		require.NoError(t, ask(first))
		require.NoError(t, ask(second))
		third := make(chan net.Conn)
		go func() { third <- f.connect() }() // a listener of pipes has no queue
		synctest.Wait()
		select {
		case <-third:
			require.Fail(t, "a third connection")
		default:
		}
		first.Close()
		c := <-third
		require.NoError(t, ask(c))
		require.NoError(t, ask(second))
		c.Close()
		second.Close()
		stop()
	})
}

// TestLimitedListener closes while all places are taken.
func TestLimitedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		l := limitConns(pipes, 1)
		go pipes.dial(t.Context(), "", "")
		c, err := l.Accept()
		require.NoError(t, err)
		ended := make(chan error)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		synctest.Wait()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-ended, net.ErrClosed)
		require.NoError(t, c.Close())
		require.Empty(t, l.(*limitedListener).places)
	})
}

// TestLimitedConn closes a connection twice, which gives back one place.
func TestLimitedConn(t *testing.T) {
	pipes := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	l := limitConns(pipes, 2)
	go func() {
		for range 2 {
			pipes.dial(context.Background(), "", "")
		}
	}()
	first, err := l.Accept()
	require.NoError(t, err)
	second, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, first.Close())
	require.NoError(t, first.Close())
	require.Len(t, l.(*limitedListener).places, 1)
	require.NoError(t, second.Close())
	require.NoError(t, l.Close())
}

// TestSlowDisk takes longer over a request than a client may take for its body:
// that does not count.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(nil)
		srv := &http.Server{Handler: s.patient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := s.body(w, r, 10)
			require.NoError(t, err)
			<-time.After(2 * defaultLimits.readBody)
			require.NoError(t, r.Context().Err(), "the client is still there")
		}))}
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		go srv.Serve(l)
		f := &fixture{t: t, url: "http://localhost", http: &http.Client{Transport: &http.Transport{DialContext: l.dial}}}
		f.post("/", binary, "x").is(http.StatusOK)
		f.http.CloseIdleConnections()
		require.NoError(t, srv.Close())
	})
}

// TestBrokenOff has an error come up in the middle of an answer: nobody can take
// it for a whole one.
func TestBrokenOff(t *testing.T) {
	f := start(t, nil)
	srv := httptest.NewServer(f.s.patient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "the beginning")
		f.s.fail(w, r, leat.ErrCorrupt)
	})))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	require.ErrorContains(t, err, "EOF")
}

// TestHeaderLimit refuses headers that are too large.
func TestHeaderLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t)
		a := f.do(f.request("GET", "/stats", nil, "X", strings.Repeat("x", 2*defaultLimits.header)))
		a.is(http.StatusRequestHeaderFieldsTooLarge)
		stop()
	})
}

// TestMetrics compares the metrics with what was done.
func TestMetrics(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{Partitions: 2})
	for range 5 {
		appendTo(t, topic, 1, leat.Record{}, leat.Record{})
	}
	a := f.get("/metrics").is(http.StatusOK)
	require.Contains(t, a.header.Get("Content-Type"), "version=0.0.4")
	metrics := map[string]string{}
	for line := range strings.Lines(string(a.body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			metrics[name] = value
		}
	}
	require.Equal(t, "10", metrics["leat_appended_records_total"])
	require.Equal(t, "5", metrics["leat_appended_batches_total"])
	require.Equal(t, "2", metrics["leat_partitions"])
	require.Equal(t, "1", metrics["leat_open_partitions"])
	require.Equal(t, "0", metrics["leat_failed_partitions"])
	require.Equal(t, "5", metrics["leat_append_seconds_count"])
	require.Equal(t, "5", metrics[`leat_append_seconds_bucket{le="+Inf"}`])

	var st statsAnswer
	f.get("/stats").is(http.StatusOK).into(&st)
	require.Equal(t, counts{5, 10, st.Bytes}, st.Appended)
	require.Equal(t, []topicStats{{Name: "orders", Partitions: 2, Open: 1, Segments: 1, Bytes: st.Bytes, Appended: 10}}, st.Topics)
	times := st.Latency["append"]
	require.Equal(t, uint64(5), times.Count)
	require.Equal(t, uint64(5), times.Buckets[len(times.Buckets)-1][1])
}
