package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestFollow resumes a stream behind every event in turn: nothing is missed, and
// nothing comes twice.
func TestFollow(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{Partitions: 3})
	const each = 5
	for i := range int64(each) {
		for id := range int32(3) {
			appendTo(t, topic, id, leat.Record{Value: fmt.Appendf(nil, "%d-%d", id, i)})
		}
	}
	s := f.follow("/topics/orders/events?from=earliest", "")
	last := s.want("begin").id
	require.Equal(t, "0:0,1:0,2:0", last)
	s.close()
	seen := map[int32]int64{}
	for range 3 * each {
		s := f.follow("/topics/orders/events?from=earliest", last)
		s.want("begin")
		e, r := s.record()
		require.Equal(t, seen[r.Partition], r.Offset, "after %s", last)
		require.Equal(t, fmt.Sprintf("%d-%d", r.Partition, r.Offset), string(r.Value))
		seen[r.Partition]++
		last = e.id
		s.close()
	}
	require.Equal(t, map[int32]int64{0: each, 1: each, 2: each}, seen)
	require.Equal(t, "0:5,1:5,2:5", last)

	// What is appended while nobody is connected comes first.
	appendTo(t, topic, 1, leat.Record{Value: []byte("1-5")})
	s = f.follow("/topics/orders/events", last)
	s.want("begin")
	_, r := s.record()
	require.Equal(t, "1-5", string(r.Value))
	appendTo(t, topic, 2, leat.Record{Value: []byte("2-5")})
	e, r := s.record()
	require.Equal(t, "2-5", string(r.Value))
	require.Equal(t, "0:5,1:6,2:6", e.id)
	s.close()
}

// TestFollowSome follows one partition, and records with a key, from the latest.
func TestFollowSome(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{Partitions: 2})
	appendTo(t, topic, 1, leat.Record{Key: []byte("a"), Value: []byte("before")})
	s := f.follow("/topics/orders/events?partition=1&key=a&preview=3", "")
	require.Equal(t, "1:1", s.want("begin").id)
	appendTo(t, topic, 0, leat.Record{Key: []byte("a"), Value: []byte("elsewhere")})
	appendTo(t, topic, 1, leat.Record{Key: []byte("b"), Value: []byte("another")})
	appendTo(t, topic, 1, leat.Record{Key: []byte("a"), Value: []byte("this one")})
	e, r := s.record()
	require.Equal(t, "thi", string(r.Value))
	require.True(t, r.Cut)
	require.Equal(t, "1:3", e.id)
	s.close()
}

// TestFollowGap tells of records that were deleted before they could be sent.
func TestFollowGap(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{})
	for range 5 {
		appendTo(t, topic, 0, leat.Record{})
	}
	require.NoError(t, partitionOf(t, topic, 0).DeleteRecords(t.Context(), 3))
	s := f.follow("/topics/orders/events", "0:1")
	s.want("begin")
	e := s.want("gap")
	require.JSONEq(t, `{"partition": 0, "from": 1, "to": 3}`, e.data)
	require.Equal(t, "0:3", e.id)
	_, r := s.record()
	require.Equal(t, int64(3), r.Offset)
	s.close()

	// A client that is ahead, of a log that was cut short, goes on at its end.
	s = f.follow("/topics/orders/events", "0:99")
	s.want("begin")
	require.JSONEq(t, `{"partition": 0, "from": 99, "to": 5}`, s.want("gap").data)
	s.close()
}

// TestFollowDeleted ends a stream when there is nothing left to follow.
func TestFollowDeleted(t *testing.T) {
	f := start(t, nil)
	f.topic("orders", leat.TopicConfig{Partitions: 2})
	s := f.follow("/topics/orders/events", "")
	s.want("begin")
	require.NoError(t, f.store.DeleteTopic(t.Context(), "orders"))
	for range 2 {
		var p problem
		var failed struct {
			Partition int32
			*problem
		}
		failed.problem = &p
		require.NoError(t, json.Unmarshal([]byte(s.want("failure").data), &failed))
		require.Equal(t, "UNKNOWN_TOPIC_OR_PARTITION", p.Code)
	}
	_, more := s.next()
	require.False(t, more)
	require.NoError(t, s.in.Err(), "the stream ends as it should")
}

// TestFollowLive looks at a stream over time: signs of life, partitions that are
// added, and its end when the server stops.
func TestFollowLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t)
		topic := f.topic("orders", leat.TopicConfig{})
		s := f.follow("/topics/orders/events", "")
		s.want("begin")
		began := time.Now()
		for range 3 {
			e := s.want("")
			require.Equal(t, "0:0", e.id)
			require.Empty(t, e.data)
		}
		require.Equal(t, 3*defaultLimits.heartbeat, time.Since(began))

		require.NoError(t, topic.AddPartitions(t.Context(), 1))
		appendTo(t, topic, 1, leat.Record{Value: []byte("new partition")})
		for {
			e, ok := s.next()
			require.True(t, ok)
			if e.name == "record" {
				require.Contains(t, e.data, "new partition")
				require.Equal(t, "0:0,1:1", e.id)
				break
			}
		}
		ended := make(chan bool)
		go func() {
			_, more := s.next()
			ended <- more
		}()
		stop()
		require.False(t, <-ended)
		require.NoError(t, s.in.Err())
		s.close()
	})
}

// TestFollowFilteredPosition brings the position up although nothing matches.
func TestFollowFilteredPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t)
		topic := f.topic("orders", leat.TopicConfig{})
		s := f.follow("/topics/orders/events?key=a", "")
		s.want("begin")
		appendTo(t, topic, 0, make([]leat.Record, scanChunk)...)
		require.Equal(t, fmt.Sprintf("0:%d", scanChunk), s.want("").id)
		s.close()
		stop()
	})
}

// TestFollowHead asks for the header only.
func TestFollowHead(t *testing.T) {
	f := start(t, nil)
	f.topic("orders", leat.TopicConfig{})
	a := f.do(f.request("HEAD", "/topics/orders/events", nil)).is(http.StatusOK)
	require.Equal(t, "text/event-stream", a.header.Get("Content-Type"))
}

// TestStreams lets only so many be under way, and counts those that have ended.
func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := pipe(t, func(l *limits) { l.streams = 2 })
		f.topic("orders", leat.TopicConfig{})
		var open []*stream
		for range 2 {
			s := f.follow("/topics/orders/events", "")
			s.want("begin")
			open = append(open, s)
		}
		f.get("/topics/orders/events").problem(http.StatusServiceUnavailable, "BUSY")
		require.Contains(t, string(f.get("/metrics").is(http.StatusOK).body), "\nleat_http_streams 2\n")
		open[0].close()
		synctest.Wait()
		s := f.follow("/topics/orders/events", "")
		s.want("begin")
		s.close()
		open[1].close()
		stop()
	})
}
