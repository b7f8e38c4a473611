package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestErrors asks for what is not there, not allowed or too much: each answer has
// a status that fits, a code for programs and a text for people.
func TestErrors(t *testing.T) {
	f := start(t, nil, func(l *limits) { l.value, l.batch, l.config, l.partitions = 2000, 100, 100, 4 })
	f.topic("orders", leat.TopicConfig{Partitions: 2, MaxBatchBytes: 1000})
	f.topic("many", leat.TopicConfig{Partitions: 5})
	for _, c := range []struct {
		request string
		body    string
		status  int
		code    string
	}{
		{"GET /nothing", "", 404, "NOT_FOUND"},
		{"GET /page/", "", 404, "NOT_FOUND"},
		{"GET /page/index.html", "", 404, "NOT_FOUND"},
		{"DELETE /topics/orders", "", 405, "METHOD_NOT_ALLOWED"},
		{"POST /healthz", "", 405, "METHOD_NOT_ALLOWED"},
		{"GET /topics/absent", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/absent/records", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/absent/events", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"POST /topics/absent/records", "x", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"POST /topics/absent/batch", "[]", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"POST /topics/orders/records?partition=2", "x", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/orders/partitions/2/records", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/orders/partitions/2/batches", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/orders/records?partition=2", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/orders/events?partition=2", "", 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{"GET /topics/orders/partitions/x/records", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/-1/records", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?offset=x", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?offset=0&offset=0", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?ofset=1", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?wait=1", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?time=noon", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?isolation=full", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?%zz", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/partitions/0/records?offset=1", "", 416, "OFFSET_OUT_OF_RANGE"},
		{"GET /topics/orders/partitions/0/batches?offset=1", "", 416, "OFFSET_OUT_OF_RANGE"},
		{"GET /topics/orders/records?partition=0&offset=1", "", 416, "OFFSET_OUT_OF_RANGE"},
		{"GET /topics/orders/records?at=0", "", 400, "INVALID_REQUEST"},
		{"GET /topics/orders/events?from=0:1,0:2", "", 400, "INVALID_REQUEST"},
		{"GET /topics/many/records", "", 400, "INVALID_REQUEST"},
		{"GET /topics/many/events", "", 400, "INVALID_REQUEST"},
		{"POST /topics/orders/records?timestamp=9999999999999", "x", 400, "INVALID_TIMESTAMP"},
		{"POST /topics/orders/records", strings.Repeat("x", 1001), 413, "MESSAGE_TOO_LARGE"},
		{"POST /topics/orders/records", strings.Repeat("x", 2001), 413, "MESSAGE_TOO_LARGE"},
		{"POST /topics/orders/batch", strings.Repeat(" ", 101), 413, "MESSAGE_TOO_LARGE"},
		{"POST /topics", strings.Repeat(" ", 101), 413, "MESSAGE_TOO_LARGE"},
		{"POST /topics", `{"name": "orders"}`, 409, "TOPIC_ALREADY_EXISTS"},
		{"POST /topics", `{"name": "../etc"}`, 400, "INVALID_TOPIC_EXCEPTION"},
		{"POST /topics", `{"name": "a", "partitions": -1}`, 400, "INVALID_CONFIG"},
		{"POST /topics", `{"name": "a", "config": {"no.such": "1"}}`, 400, "INVALID_CONFIG"},
		{"POST /topics", `{"title": "a"}`, 400, "INVALID_REQUEST"},
	} {
		t.Run(c.request, func(t *testing.T) {
			method, path, _ := strings.Cut(c.request, " ")
			contentType := asJSON
			p := f.do(f.request(method, path, strings.NewReader(c.body), "Content-Type", contentType)).problem(c.status, c.code)
			if c.status == http.StatusRequestedRangeNotSatisfiable {
				require.Zero(t, *p.LogStartOffset)
				require.Zero(t, *p.LogEndOffset)
			}
		})
	}
	require.Zero(t, f.store.Stats().Appended.Records)
	require.Equal(t, "GET, HEAD", f.post("/stats", asJSON, "").is(405).header.Get("Allow"))
}

// TestFull fills the store up to its limit: that is 507, and reading goes on.
func TestFull(t *testing.T) {
	f := start(t, &leat.Options{DiskLimit: 1 << 20})
	f.topic("orders", leat.TopicConfig{Cleanup: leat.CleanupCompact})
	stored := 0
	value := strings.Repeat("x", 100_000)
	for ; ; stored++ {
		require.Less(t, stored, 20)
		a := f.post("/topics/orders/records?key=a", binary, value)
		if a.status != http.StatusCreated {
			a.problem(http.StatusInsufficientStorage, "KAFKA_STORAGE_ERROR")
			break
		}
	}
	var got fetchAnswer
	f.get("/topics/orders/partitions/0/records?preview=1").is(http.StatusOK).into(&got)
	require.Len(t, got.Records, stored)
}

// damaged opens a store with a topic of two partitions. Of the first one's three
// records the second cannot be read.
func damaged(t *testing.T) *leat.Store {
	t.Helper()
	dir := t.TempDir()
	store, err := leat.Open(dir, nil)
	require.NoError(t, err)
	topic, err := store.CreateTopic(t.Context(), "orders", leat.TopicConfig{Partitions: 2})
	require.NoError(t, err)
	for range 3 {
		appendTo(t, topic, 0, leat.Record{Value: []byte("0123456789")})
	}
	require.NoError(t, store.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")))
	name := filepath.Join(dir, "orders-0", fmt.Sprintf("%020d.log", 0))
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(name, data, 0o600))

	store, err = leat.Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}

// TestDamaged serves a store whose data is damaged: it is told by the health check,
// refuses appends there, and works elsewhere.
func TestDamaged(t *testing.T) {
	store := damaged(t)
	f := &fixture{t: t, store: store, s: newTestServer(store)}
	f.listen()
	f.post("/topics/orders/records?partition=0", binary, "x").problem(http.StatusServiceUnavailable, "CORRUPT_MESSAGE")
	f.post("/topics/orders/records?partition=1", binary, "x").is(http.StatusCreated)
	p := f.get("/healthz")
	p.problem(http.StatusServiceUnavailable, "KAFKA_STORAGE_ERROR")
	var bad sick
	p.into(&bad)
	require.Len(t, bad.Partitions, 1)
	require.Equal(t, "orders", bad.Partitions[0].Topic)
	require.Contains(t, bad.Partitions[0].Error, "orders-0")
	require.Equal(t, "1", p.header.Get("Retry-After"))
	var st statsAnswer
	f.get("/stats").is(http.StatusOK).into(&st)
	require.Equal(t, 1, st.Damaged)
	require.Equal(t, 1, st.Topics[0].Bad)
	var info topicInfo
	f.get("/topics/orders").is(http.StatusOK).into(&info)
	require.NotEmpty(t, info.Partitions[0].Error)
	require.Empty(t, info.Partitions[1].Error)
	var one partitionAnswer
	f.get("/topics/orders/partitions/0").is(http.StatusOK).into(&one)
	require.Equal(t, info.Partitions[0].Error, one.Error)
	require.Equal(t, 1, one.State.Segments.Count)

	// What can be read is read, and the search of the others goes on.
	var got fetchAnswer
	f.get("/topics/orders/partitions/0/records").is(http.StatusOK).into(&got)
	require.Len(t, got.Records, 1)
	f.get(fmt.Sprintf("/topics/orders/partitions/0/records?offset=%d", got.Next)).problem(http.StatusServiceUnavailable, "CORRUPT_MESSAGE")
	var found searchAnswer
	f.get("/topics/orders/records").is(http.StatusOK).into(&found)
	require.Len(t, found.Records, 2)
	require.Len(t, found.Failed, 1)
	require.Equal(t, int32(0), found.Failed[0].Partition)

	// So does a stream, which tells.
	s := f.follow("/topics/orders/events?from=earliest", "")
	s.want("begin")
	seen := map[string]int{}
	for range 3 {
		e, _ := s.next()
		seen[e.name]++
	}
	require.Equal(t, map[string]int{"record": 2, "failure": 1}, seen)
	appendTo(t, f.get1("orders"), 1, leat.Record{Value: []byte("more")})
	_, r := s.record()
	require.Equal(t, "more", string(r.Value))
	s.close()
}

// TestHealthy is the health check of a store that is well, and of a server that is
// about to stop.
func TestHealthy(t *testing.T) {
	f := start(t, nil)
	require.Equal(t, `{"status":"ok"}`, strings.TrimSpace(string(f.get("/healthz").is(http.StatusOK).body)))
	f.s.stop()
	f.get("/healthz").problem(http.StatusServiceUnavailable, "STOPPING")
}

// TestClosed asks a server whose store is gone.
func TestClosed(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{})
	appendTo(t, topic, 0, leat.Record{})
	require.NoError(t, f.store.Close())
	f.post("/topics/orders/records", binary, "x").problem(http.StatusServiceUnavailable, "STOPPING")
	f.get("/topics/orders/partitions/0/batches").problem(http.StatusServiceUnavailable, "STOPPING")
}

// TestGone drops the answer when nobody waits for it.
func TestGone(t *testing.T) {
	f := start(t, nil)
	f.topic("orders", leat.TopicConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	r := f.request("GET", "/topics/orders/partitions/0/records?wait=30s", nil).WithContext(ctx)
	waiting := make(chan error, 1)
	go func() {
		_, err := f.http.Do(r)
		waiting <- err
	}()
	cancel()
	require.ErrorIs(t, <-waiting, context.Canceled)
	f.get("/healthz").is(http.StatusOK)
}
