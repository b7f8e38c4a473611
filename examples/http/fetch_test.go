package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestFetch reads a partition piece by piece, from everywhere one can begin.
func TestFetch(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{})
	began := time.UnixMilli(1_700_000_000_000)
	for i := range 100 {
		appendTo(t, topic, 0, leat.Record{Timestamp: began.Add(time.Duration(i) * time.Second), Value: fmt.Appendf(nil, "value %02d", i)})
	}
	from := func(params string) ([]int64, fetchAnswer) {
		var a fetchAnswer
		f.get("/topics/orders/partitions/0/records?" + params).is(http.StatusOK).into(&a)
		require.Equal(t, int64(100), a.LogEndOffset)
		var offsets []int64
		for _, r := range records(t, a.Records) {
			offsets = append(offsets, r.Offset)
			require.Equal(t, fmt.Sprintf("value %02d", r.Offset), string(r.Value))
		}
		return offsets, a
	}
	var all []int64
	for next := int64(0); next < 100; {
		offsets, a := from(fmt.Sprintf("offset=%d&max_records=7", next))
		require.LessOrEqual(t, len(offsets), 7)
		all, next = append(all, offsets...), a.Next
	}
	require.Len(t, all, 100)
	require.True(t, slices.IsSorted(all))

	offsets, a := from("offset=10&max_bytes=24") // three values of eight bytes
	require.Equal(t, []int64{10, 11, 12}, offsets)
	require.Equal(t, int64(13), a.Next)
	offsets, _ = from("offset=10&max_bytes=1")
	require.Equal(t, []int64{10}, offsets, "the first comes whole")
	offsets, _ = from("last=2")
	require.Equal(t, []int64{98, 99}, offsets)
	offsets, _ = from("time=" + began.Add(97*time.Second).UTC().Format(time.RFC3339))
	require.Equal(t, []int64{97, 98, 99}, offsets)
	offsets, _ = from(fmt.Sprintf("time=%d", began.Add(98*time.Second-time.Millisecond).UnixMilli()))
	require.Equal(t, []int64{98, 99}, offsets)
	offsets, a = from("offset=100")
	require.Empty(t, offsets)
	require.Equal(t, int64(100), a.Next)
}

// TestFetchLarge does not make a large answer: of a large record there is a
// preview, cut between characters.
func TestFetchLarge(t *testing.T) {
	f := start(t, nil, func(l *limits) { l.response = 1000 })
	topic := f.topic("orders", leat.TopicConfig{})
	appendTo(t, topic, 0, leat.Record{Value: []byte("small")},
		leat.Record{Key: []byte("k"), Value: []byte(strings.Repeat("é", 1000)), Headers: []leat.Header{{Key: "a"}}}, leat.Record{Value: []byte("small")})
	var a fetchAnswer
	f.get("/topics/orders/partitions/0/records").is(http.StatusOK).into(&a)
	require.Len(t, a.Records, 1)
	require.Equal(t, int64(1), a.Next)
	p := f.get("/topics/orders/partitions/0/records?offset=1").problem(http.StatusRequestEntityTooLarge, "MESSAGE_TOO_LARGE")
	require.Contains(t, p.Error, "offset 1")
	a = fetchAnswer{}
	f.get("/topics/orders/partitions/0/records?offset=1&preview=5").is(http.StatusOK).into(&a)
	list := records(t, a.Records)
	require.Len(t, list, 2)
	require.Equal(t, jsonRecord{Offset: 1, Timestamp: list[0].Timestamp, Key: blob("k"), Value: blob("éé"), Bytes: 2001, Cut: true}, list[0])
	require.False(t, list[1].Cut)
}

// TestFetchBatches reads raw batches, which are those on the disk.
func TestFetchBatches(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{SegmentBytes: 1024, Compression: leat.Zstd})
	for i := range 60 {
		appendTo(t, topic, 0, leat.Record{Value: bytes.Repeat([]byte{byte(i)}, 50)}, leat.Record{})
	}
	var want []byte
	rd, err := partitionOf(t, topic, 0).Reader(leat.ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	defer rd.Close()
	for b, err := rd.Next(t.Context()); err == nil; b, err = rd.Next(t.Context()) {
		want = append(want, b.Bytes()...)
	}
	require.NotEmpty(t, want)

	var got []byte
	requests := 0
	for next := "0"; next != "120"; requests++ {
		a := f.get("/topics/orders/partitions/0/batches?max_bytes=500&offset=" + next).is(http.StatusOK)
		require.Equal(t, binary, a.header.Get("Content-Type"))
		require.Equal(t, strconv.Itoa(len(a.body)), a.header.Get("Content-Length"))
		require.Equal(t, next, a.header.Get("Leat-Base-Offset"))
		require.Equal(t, "120", a.header.Get("Leat-High-Watermark"))
		require.Equal(t, "120", a.header.Get("Leat-Last-Stable-Offset"))
		require.Equal(t, "0", a.header.Get("Leat-Log-Start-Offset"))
		got, next = append(got, a.body...), a.header.Get("Leat-Next-Offset")
	}
	require.Equal(t, want, got)
	require.Greater(t, requests, len(want)/1024)
	require.Empty(t, f.get("/topics/orders/partitions/0/batches?offset=120").is(http.StatusOK).body)
}

// TestLongPoll waits for what is not there yet: until it comes, until there is
// enough of it, until the time is over, or until the server stops.
func TestLongPoll(t *testing.T) {
	for _, kind := range []string{"records", "batches"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { longPoll(t, kind) })
		})
	}
}

func longPoll(t *testing.T, kind string) {
	f, stop := pipe(t)
	topic := f.topic("orders", leat.TopicConfig{})
	poll := func(params string) (<-chan *answer, *time.Time) {
		c := make(chan *answer, 1)
		var at time.Time
		go func() {
			a := f.get("/topics/orders/partitions/0/" + kind + "?" + params)
			at = time.Now()
			c <- a
		}()
		synctest.Wait()
		return c, &at
	}
	began := time.Now()
	empty, at := poll("wait=5s")
	<-empty
	require.Equal(t, began.Add(5*time.Second), *at)

	began = time.Now()
	bounded, at := poll("wait=24h")
	(<-bounded).is(http.StatusOK)
	require.Equal(t, began.Add(defaultLimits.wait), *at, "nobody waits longer than that")

	woken, _ := poll("wait=20s")
	many, _ := poll("wait=20s&min_bytes=300")
	appendTo(t, topic, 0, leat.Record{Value: []byte("here it is")})
	synctest.Wait()
	require.Len(t, woken, 1)
	require.Contains(t, string((<-woken).is(http.StatusOK).body), "here it is")
	require.Empty(t, many, "that is not enough")
	appendTo(t, topic, 0, leat.Record{Value: bytes.Repeat([]byte("x"), 300)})
	synctest.Wait()
	require.Len(t, many, 1)
	(<-many).is(http.StatusOK)

	began = time.Now()
	stopped, at := poll("offset=2&wait=20s")
	stop()
	synctest.Wait()
	(<-stopped).is(http.StatusOK)
	require.Equal(t, began, *at)
	require.NoError(t, context.Cause(t.Context()))
}
