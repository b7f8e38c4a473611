package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// acknowledged are the records that a server has said it has.
type acknowledged struct {
	mu struct {
		sync.Mutex
		values map[place]string
	}
}

// load appends from some clients until the server is gone. It returns what ends
// when so many records are acknowledged, and what waits for the clients.
func (k *acknowledged) load(url string, clients, some int) (soon <-chan struct{}, wait func()) {
	k.mu.values = map[place]string{}
	reached := make(chan struct{})
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := 0; ; i++ {
				value := fmt.Sprintf("%d-%d", n, i)
				resp, err := client.Post(url+"/topics/orders/records", binary, strings.NewReader(value))
				if err != nil {
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				var a appended
				if err != nil || resp.StatusCode != http.StatusCreated || strictly(body, &a) != nil {
					return
				}
				k.mu.Lock()
				k.mu.values[place{a.Partition, a.Offset}] = value
				if len(k.mu.values) == some {
					close(reached)
				}
				k.mu.Unlock()
			}
		})
	}
	return reached, wg.Wait
}

// check opens the store again and looks for all of them.
func (k *acknowledged) check(t *testing.T, dir string, clean bool) {
	t.Helper()
	store, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer store.Close()
	topic, err := store.Topic("orders")
	require.NoError(t, err)
	stored := map[place]string{}
	for p := range topic.Partitions() {
		rd, err := p.Reader(leat.ReaderOptions{UntilEnd: true})
		require.NoError(t, err)
		for r, err := range rd.Records(t.Context()) {
			require.NoError(t, err)
			stored[place{r.Partition, r.Offset}] = string(r.Value)
		}
		require.NoError(t, rd.Close())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	require.NotEmpty(t, k.mu.values)
	for at, value := range k.mu.values {
		require.Equal(t, value, stored[at], "%+v was acknowledged", at)
	}
	if clean {
		require.Zero(t, store.Stats().Recoveries, "the store was closed in order")
	}
}

// createOrders makes the topic that load appends to.
func createOrders(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Post(url+"/topics", asJSON, strings.NewReader(`{"name": "orders", "partitions": 3}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusCreated, resp.StatusCode)
}

// TestStop stops a server while many append, some wait, and some follow: what was
// acknowledged is there, and the store was closed in order.
func TestStop(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	ctx, interrupt := context.WithCancel(t.Context())
	out, to := io.Pipe()
	status := make(chan int, 1)
	var complaints strings.Builder
	go func() {
		status <- command(ctx, []string{"-dir", dir, "-addr", "127.0.0.1:0"}, to, &complaints)
		to.Close()
	}()
	url := serving(t, out)
	createOrders(t, url)
	var k acknowledged
	some, wait := k.load(url, 8, 200)
	<-some

	f := &fixture{t: t, url: url, http: &http.Client{Transport: &http.Transport{}}}
	s := f.follow("/topics/orders/events", "")
	s.want("begin")
	interrupt()
	for more := true; more; {
		_, more = s.next()
	}
	require.NoError(t, s.in.Err(), "a stream ends as it should")
	s.close()
	require.Zero(t, <-status)
	wait()
	require.Empty(t, complaints.String())
	k.check(t, dir, true)
}

// serving reads where a server serves from what it prints.
func serving(t *testing.T, out io.Reader) string {
	t.Helper()
	var store, dir, word, url string
	_, err := fmt.Fscan(out, &store, &dir, &word, &url)
	require.NoError(t, err)
	require.Equal(t, []string{"store", "serving"}, []string{store, word})
	go io.Copy(io.Discard, out)
	return strings.TrimSuffix(url, "/")
}

// TestStopReserve does not wait for connections that say nothing, as browsers keep
// them in reserve.
func TestStopReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t)
		c := f.connect()
		synctest.Wait()
		began := time.Now()
		stop()
		require.Less(t, time.Since(began), time.Second)
		closed(t, c)
	})
}

// TestStopImpatient does not wait for ever for a client that takes its time.
func TestStopImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := leat.OpenMem(nil)
		require.NoError(t, err)
		s := newTestServer(store)
		f := &fixture{t: t, store: store}
		f.topic("orders", leat.TopicConfig{})
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- s.serve(ctx, l) }()
		c, err := l.dial(t.Context(), "", "")
		require.NoError(t, err)
		io.WriteString(c, "POST /topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\n12345")
		synctest.Wait()
		began := time.Now()
		cancel()
		require.ErrorIs(t, <-served, context.DeadlineExceeded)
		require.Equal(t, defaultLimits.grace, time.Since(began))
		closed(t, c)
		synctest.Wait()
		require.NoError(t, store.Close())
	})
}

// TestCommand is what the command says when it is not used as it should be.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	held, err := leat.Open(dir, nil)
	require.NoError(t, err)
	defer held.Close()
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-help"}, 0, "usage: http -dir DIR"},
		{nil, 2, "usage: http -dir DIR"},
		{[]string{"-dir", dir, "more"}, 2, "usage: http -dir DIR"},
		{[]string{"-port", "1"}, 2, "flag provided but not defined"},
		{[]string{"-dir", dir}, 1, "store is open"},
		{[]string{"-dir", filepath.Join(t.TempDir(), "a"), "-addr", "nowhere"}, 1, "nowhere"},
	} {
		var out, says strings.Builder
		require.Equal(t, c.status, command(t.Context(), c.args, &out, &says), "%v", c.args)
		require.Contains(t, says.String(), c.says)
		require.Empty(t, out.String())
	}
}

// TestServeFails ends when the listener does.
func TestServeFails(t *testing.T) {
	store, err := leat.OpenMem(nil)
	require.NoError(t, err)
	defer store.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	s := newServer(store, settings{}, defaultLimits, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, s.serve(t.Context(), l), net.ErrClosed)
}
