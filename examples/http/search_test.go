package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// place is where a record is.
type place struct {
	partition int32
	offset    int64
}

// TestSearch compares what searches of all kinds find, page by page to the end,
// with what was stored: each record once, those of a partition in order, and by
// time where nothing is left out.
func TestSearch(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		random := rand.New(rand.NewPCG(seed, 7))
		f := start(t, nil, func(l *limits) {
			if seed == 3 {
				l.search = -time.Second // there is never time for more than one chunk
			}
		})
		topic := f.topic("orders", leat.TopicConfig{Partitions: 3})
		began := time.UnixMilli(1_700_000_000_000)
		var all []jsonRecord
		for i := range 700 {
			id := int32(random.IntN(3))
			r := jsonRecord{
				Partition: id, Offset: partitionOf(t, topic, id).LogEndOffset(), Timestamp: began.UnixMilli() + int64(i)*10,
				Key: fmt.Appendf(nil, "key %d", random.IntN(5)), Value: fmt.Appendf(nil, "value %d", i),
			}
			all = append(all, r)
			appendTo(t, topic, id, leat.Record{Timestamp: time.UnixMilli(r.Timestamp), Key: r.Key, Value: r.Value})
		}
		for _, c := range []struct {
			params string
			want   func(r jsonRecord) bool
			byTime bool
		}{
			{"limit=1000", func(jsonRecord) bool { return true }, true},
			{"limit=7", func(jsonRecord) bool { return true }, true},
			{"limit=20&partition=1", func(r jsonRecord) bool { return r.Partition == 1 }, true},
			{"limit=3&key=key+2", func(r jsonRecord) bool { return string(r.Key) == "key 2" }, false},
			{"limit=50&key=key+2&partition=0", func(r jsonRecord) bool { return r.Partition == 0 && string(r.Key) == "key 2" }, true},
			{"key=key", func(jsonRecord) bool { return false }, true},
			{"limit=2&contains=9", func(r jsonRecord) bool { return strings.Contains(string(r.Value), "9") }, false},
			{"contains=key+1&limit=1", func(r jsonRecord) bool { return string(r.Key) == "key 1" }, false},
			{"limit=10&until=" + strconv.FormatInt(began.UnixMilli()+1000, 10), func(r jsonRecord) bool { return r.Timestamp < began.UnixMilli()+1000 }, false},
		} {
			for _, order := range []string{"oldest", "newest"} {
				want := slices.DeleteFunc(slices.Clone(all), func(r jsonRecord) bool { return !c.want(r) })
				if order == "newest" {
					slices.Reverse(want)
				}
				got := searchAll(f, c.params+"&order="+order)
				what := fmt.Sprintf("seed %d, %s, %s", seed, c.params, order)
				require.Len(t, got, len(want), what)
				if !c.byTime || seed == 3 {
					slices.SortStableFunc(want, func(a, b jsonRecord) int { return int(a.Partition - b.Partition) })
					slices.SortStableFunc(got, func(a, b jsonRecord) int { return int(a.Partition - b.Partition) })
				}
				for i := range want {
					require.Equal(t, place{want[i].Partition, want[i].Offset}, place{got[i].Partition, got[i].Offset}, what)
				}
			}
		}
		got := searchAll(f, "partition=2&offset=100")
		require.Equal(t, int64(100), got[0].Offset)
		got = searchAll(f, "limit=5&time="+url.QueryEscape(began.Add(5*time.Second).UTC().Format(time.RFC3339)))
		require.Len(t, got, 200)
	}
}

// TestSearchSkewed has the newest and the oldest records in one partition each:
// the others have to wait for their turn.
func TestSearchSkewed(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", leat.TopicConfig{Partitions: 3})
	for i := range 600 {
		appendTo(t, topic, int32(i/200), leat.Record{Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i))})
	}
	for _, order := range []string{"oldest", "newest"} {
		got := searchAll(f, "limit=150&order="+order)
		require.Len(t, got, 600)
		require.True(t, slices.IsSortedFunc(got, func(a, b jsonRecord) int {
			if order == "newest" {
				a, b = b, a
			}
			return int(a.Timestamp - b.Timestamp)
		}), order)
	}
}

// TestSearchLarge looks at the clock after so many bytes, however large the records
// are: else an answer would come too late, and asking again be of no use.
func TestSearchLarge(t *testing.T) {
	f := start(t, nil, func(l *limits) {
		l.search = -time.Second
		l.scan = 10_000
	})
	topic := f.topic("orders", leat.TopicConfig{})
	for range 100 {
		appendTo(t, topic, 0, leat.Record{Value: make([]byte, 1000)})
	}
	for _, order := range []string{"oldest", "newest"} {
		var a searchAnswer
		f.get("/topics/orders/records?key=none&order=" + order).is(http.StatusOK).into(&a)
		require.LessOrEqual(t, a.Scanned, int64(10))
		require.Positive(t, a.Scanned)
		require.NotEmpty(t, a.Next)
		require.Len(t, searchAll(f, "limit=1000&order="+order), 100)
	}
	f.s.limits.scan = 1 // less than any record: one at a time
	require.Len(t, searchAll(f, "limit=1000"), 100)
}

// TestSearchSparse walks over millions of offsets that have no records any more, as
// in a compacted topic, in few steps.
func TestSearchSparse(t *testing.T) {
	f := start(t, nil)
	p := partitionOf(t, f.topic("orders", leat.TopicConfig{}), 0)
	replicate(t, p, 0, 1)
	replicate(t, p, 50_000_000, 1)
	for _, newest := range []bool{false, true} {
		for _, match := range []matcher{{}, {contains: []byte("x")}} {
			sc := scan{
				newest: newest, limit: 2, preview: 1, match: match, isolate: leat.ReadUncommitted,
				bytes: defaultLimits.scan, quota: 2, parts: []scanPart{{p: p}}, deadline: time.Now().Add(time.Hour),
			}
			require.NoError(t, sc.parts[0].begin(&sc, -1, time.Time{}, true))
			rounds, more := 0, true
			for ; more; rounds++ {
				require.Less(t, rounds, 300)
				var err error
				more, err = sc.round(t.Context())
				require.NoError(t, err)
			}
			require.Len(t, sc.parts[0].hits, 2)
			require.Equal(t, int64(2), sc.scanned)
		}
	}
}

// searchAll follows next to the end.
func searchAll(f *fixture, params string) (all []jsonRecord) {
	f.t.Helper()
	at := ""
	for requests := 0; ; requests++ {
		require.Less(f.t, requests, 2000, "a search does not end")
		var a searchAnswer
		f.get("/topics/orders/records?" + params + at).is(http.StatusOK).into(&a)
		require.Empty(f.t, a.Failed)
		all = append(all, records(f.t, a.Records)...)
		if a.Next == "" {
			return all
		}
		at = "&at=" + url.QueryEscape(a.Next)
	}
}

// TestSearchBusy lets only so many searches at the data.
func TestSearchBusy(t *testing.T) {
	f := start(t, nil, func(l *limits) { l.searches = 1 })
	f.topic("orders", leat.TopicConfig{})
	leave, err := take(f.s.searches)
	require.NoError(t, err)
	a := f.get("/topics/orders/records")
	a.problem(http.StatusServiceUnavailable, "BUSY")
	require.Equal(t, "1", a.header.Get("Retry-After"))
	leave()
	f.get("/topics/orders/records").is(http.StatusOK)
	f.get("/topics/orders/records").is(http.StatusOK)
}
