package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestAppend stores a record, and reads it as a consumer of the library would.
func TestAppend(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{Partitions: 5})
	at := time.UnixMilli(1_700_000_000_123)
	var a appended
	f.post("/topics/orders/records?key=customer%2042&timestamp=1700000000123", binary, "paid\x00\xff",
		"Leat-Header", "trace=a=b", "Leat-Header", "trace=", "Leat-Header", "Kind=x").is(http.StatusCreated).into(&a)
	id := topic.PartitionFor([]byte("customer 42"))
	require.Equal(t, appended{"orders", id, 0}, a)

	rd, err := partitionOf(t, topic, id).Reader(leat.ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	defer rd.Close()
	n := 0
	for r, err := range rd.Records(t.Context()) {
		require.NoError(t, err)
		n++
		require.Equal(t, "customer 42", string(r.Key))
		require.Equal(t, "paid\x00\xff", string(r.Value))
		require.Equal(t, []leat.Header{{Key: "trace", Value: []byte("a=b")}, {Key: "trace", Value: []byte{}}, {Key: "Kind", Value: []byte("x")}}, r.Headers)
		require.True(t, at.Equal(r.Timestamp))
	}
	require.Equal(t, 1, n)

	f.post("/topics/orders/records?partition=3", binary, "").is(http.StatusCreated).into(&a)
	require.Equal(t, appended{"orders", 3, 0}, a)
	seen := map[int32]bool{}
	for range 5 {
		f.post("/topics/orders/records", binary, "no key").is(http.StatusCreated).into(&a)
		seen[a.Partition] = true
	}
	require.Len(t, seen, 5, "records without a key go to all partitions in turn")
}

// TestBatch stores records of every form, in both forms of a batch.
func TestBatch(t *testing.T) {
	for contentType, glue := range map[string][3]string{asJSON: {"[", ",", "]"}, lines: {"", "\n", "\n"}} {
		t.Run(contentType, func(t *testing.T) {
			f := start(t, nil)
			f.topic("orders", leat.TopicConfig{Partitions: 3})
			body := glue[0] + strings.Join([]string{
				`{"key": "k", "value": "text <b>"}`,
				`{"key": null, "value": {"base64": "AP8="}, "partition": 1, "timestamp": 1700000000123}`,
				`{"key": {"base64": ""}, "value": null, "partition": 1, "headers": [{"name": "n", "value": "v"}, {"name": "n", "value": null}]}`,
				`{"partition": 1}`,
			}, glue[1]) + glue[2]
			var a batchAnswer
			f.post("/topics/orders/batch", contentType, body).is(http.StatusCreated).into(&a)
			require.Len(t, a.Records, 4)
			for i := range 3 {
				require.Equal(t, int32(1), a.Records[i+1].Partition)
				require.Equal(t, int64(i), *a.Records[i+1].Offset, "one unit, in order")
			}
			var got fetchAnswer
			f.get("/topics/orders/partitions/1/records").is(http.StatusOK).into(&got)
			list := records(t, got.Records)
			require.Len(t, list, 3)
			require.Equal(t, jsonRecord{Partition: 1, Timestamp: 1700000000123, Value: blob{0, 0xff}, Bytes: 2}, list[0])
			require.Equal(t, blob{}, list[1].Key)
			require.Nil(t, list[1].Value)
			require.Equal(t, []jsonHeader{{"n", blob("v")}, {"n", nil}}, list[1].Headers)
			require.Nil(t, list[2].Key)
			require.Contains(t, string(got.Records[1]), `"value":null`)
		})
	}
	t.Run("nothing", func(t *testing.T) {
		f := start(t, nil)
		f.topic("orders", leat.TopicConfig{})
		f.post("/topics/orders/batch", asJSON, `[]`).is(http.StatusCreated)
		f.post("/topics/orders/batch", lines, ``).is(http.StatusCreated)
		require.Zero(t, f.store.Stats().Appended.Batches)
	})
}

// TestBatchInParts has one partition refuse what others take: the answer tells of
// each record, and its status is that of the error.
func TestBatchInParts(t *testing.T) {
	f := start(t, nil)
	f.topic("orders", leat.TopicConfig{Partitions: 3, MaxBatchBytes: 1000})
	body := fmt.Sprintf(`[{"partition": 2, "value": "a"}, {"partition": 0, "value": "small"}, {"partition": 0, "value": %q}, {"partition": 2, "value": "b"}]`,
		strings.Repeat("x", 1000))
	answer := f.post("/topics/orders/batch", asJSON, body)
	answer.problem(http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE")
	var a batchAnswer
	a.problem = new(problem)
	answer.into(&a)
	for i, stored := range []bool{true, false, false, true} {
		require.Equal(t, stored, a.Records[i].Offset != nil, "record %d", i)
		require.Equal(t, stored, a.Records[i].Error == "", "record %d", i)
	}
	require.Equal(t, int64(1), *a.Records[3].Offset)
	topic, err := f.store.Topic("orders")
	require.NoError(t, err)
	require.Zero(t, partitionOf(t, topic, 0).LogEndOffset(), "all for a partition, or none")
	require.Equal(t, int64(2), partitionOf(t, topic, 2).LogEndOffset())
}

// TestBatchRefused stores nothing of what is not understood to its end.
func TestBatchRefused(t *testing.T) {
	f := start(t, nil, func(l *limits) { l.batchRecords = 3 })
	f.topic("orders", leat.TopicConfig{Partitions: 2})
	for _, c := range []struct {
		contentType, body string
		status            int
		code              string
	}{
		{asJSON, ``, 400, "INVALID_REQUEST"},
		{asJSON, `{"value": "x"}`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": "x"}`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": "x"}] [`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": "x"}, {"valu": "y"}]`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": 7}]`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": {}}]`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": {"base64": "!"}}]`, 400, "INVALID_REQUEST"},
		{asJSON, `[{"value": {"base64": "", "more": 1}}]`, 400, "INVALID_REQUEST"},
		{asJSON, `[{},{},{},{}]`, 413, "RECORD_LIST_TOO_LARGE"},
		{asJSON, `[{}, {"partition": 7}]`, 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{asJSON, `[{}, {"partition": -1}]`, 404, "UNKNOWN_TOPIC_OR_PARTITION"},
		{lines, "{\"value\": \"x\"}\n{\"value\"", 400, "INVALID_REQUEST"},
		{lines, "[]", 400, "INVALID_REQUEST"},
		{"text/csv", "a", 415, "CONTENT_TYPE"},
	} {
		f.post("/topics/orders/batch", c.contentType, c.body).problem(c.status, c.code)
	}
	require.Zero(t, f.store.Stats().Appended.Records)
}

// TestTopics creates, lists and describes.
func TestTopics(t *testing.T) {
	f := start(t, nil)
	var info topicInfo
	f.post("/topics", asJSON, `{"name": "orders", "partitions": 2, "config": {"retention.ms": "60000"}}`).is(http.StatusCreated).into(&info)
	require.Equal(t, "60000", info.Config["retention.ms"])
	require.Len(t, info.Partitions, 2)
	f.post("/topics", asJSON, `{"name": "a"}`).is(http.StatusCreated)
	var list struct {
		Topics []topicSummary `json:"topics"`
	}
	f.get("/topics").is(http.StatusOK).into(&list)
	require.Equal(t, []topicSummary{{"a", 1}, {"orders", 2}}, list.Topics)
	f.post("/topics/orders/records?partition=1", binary, "x").is(http.StatusCreated)
	f.get("/topics/orders").is(http.StatusOK).into(&info)
	require.Equal(t, int64(1), info.Partitions[1].LogEndOffset)
	require.Equal(t, int64(1), info.Partitions[1].Appended)
	f.get("/topics/orders?open=true").is(http.StatusOK).into(&info)
	require.True(t, info.Partitions[0].Open)

	f.post("/topics", asJSON, `{"name": "b", "partitions": 1000}`).is(http.StatusCreated)
	f.post("/topics", asJSON, `{"name": "c", "partitions": 1001}`).problem(http.StatusBadRequest, "INVALID_PARTITIONS")
	f.get("/topics/c").problem(http.StatusNotFound, "UNKNOWN_TOPIC_OR_PARTITION")
}
