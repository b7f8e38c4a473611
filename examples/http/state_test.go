package main

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// replicate appends, as a follower does, one batch of a record for each producer,
// in a transaction, from offset at on. Each has its own leader epoch. The markers
// behind them abort the transactions of all but the last; it returns the offset
// behind it all.
func replicate(t *testing.T, p *leat.Partition, at int64, producers ...int64) int64 {
	t.Helper()
	coders := compress.New()
	defer coders.Close()
	var raw []byte
	for i, id := range producers {
		h := codec.Header{
			BaseOffset: at, LeaderEpoch: int32(i + 1), Attributes: codec.TransactionalBit, ProducerID: id, ProducerEpoch: 2,
			BaseTimestamp: 1_700_000_000_000 + at, MaxTimestamp: 1_700_000_000_000 + at,
		}
		b, err := codec.AppendBatch(nil, h, []codec.Record{{Offset: at, Timestamp: h.BaseTimestamp, Value: []byte("x")}}, coders)
		require.NoError(t, err)
		raw = append(raw, b...)
		at++
	}
	last := len(producers) - 1
	for _, id := range producers[:last] {
		raw = codec.AppendMarker(raw, codec.Header{BaseOffset: at, LeaderEpoch: int32(last + 1), ProducerID: id, ProducerEpoch: 2, BaseTimestamp: 1_700_000_000_000 + at}, false, 0)
		at++
	}
	r, err := p.AppendBatches(raw, leat.AppendOptions{Follower: true})
	require.NoError(t, err)
	require.NoError(t, r.Wait(t.Context()))
	return at
}

// rolled fills segments of a partition until there are so many. Each but the last
// takes one record.
func rolled(t *testing.T, p *leat.Partition, segments int) {
	t.Helper()
	for p.Describe().Segments < segments {
		_, err := p.Append(t.Context(), leat.Record{Value: bytes.Repeat([]byte("x"), 600)})
		require.NoError(t, err)
	}
}

// smallSegments has one record of rolled's in a segment.
var smallSegments = leat.TopicConfig{SegmentBytes: 1024, Durability: leat.Written}

// TestPartitionState tells of segments, leader epochs, producers and transactions.
func TestPartitionState(t *testing.T) {
	f := start(t, nil)
	topic := f.topic("orders", smallSegments)
	p := partitionOf(t, topic, 0)
	end := replicate(t, p, 0, 30, 10, 20)
	require.Equal(t, int64(5), end)
	rolled(t, p, 4)

	get := func(path string) (a partitionAnswer) {
		f.get("/topics/orders/partitions/0" + path).is(http.StatusOK).into(&a)
		return a
	}
	a := get("")
	require.Equal(t, "orders", a.Topic)
	require.True(t, a.Open)
	require.Equal(t, 4, a.Segments)
	require.Equal(t, int64(2), a.FirstUnstableOffset)
	require.Equal(t, int64(2), a.LastStableOffset)
	require.Equal(t, int64(8), a.LogEndOffset)
	require.Equal(t, int64(8), a.Appended)
	st := a.State
	require.Equal(t, 4, st.Segments.Count)
	var bases []int64
	sum := int64(0)
	for _, g := range st.Segments.List {
		bases = append(bases, g.BaseOffset)
		sum += g.Bytes
	}
	require.Equal(t, a.Bytes, sum)
	require.Equal(t, []int64{0, 5, 6, 7}, bases)
	require.Equal(t, listed[epoch]{3, []epoch{{1, 0}, {2, 1}, {3, 2}}}, st.LeaderEpochs)
	require.Equal(t, 1, st.OpenTxns)
	require.Equal(t, listed[producer]{3, []producer{
		{20, 2, 1_700_000_000_002, 2}, {10, 2, 1_700_000_000_004, -1}, {30, 2, 1_700_000_000_003, -1},
	}}, st.Producers)
	require.Equal(t, listed[aborted]{2, []aborted{{30, 0, 3}, {10, 1, 4}}}, st.AbortedTxns)

	// A limit leaves out the oldest, and counts them.
	st = get("?limit=1").State
	require.Equal(t, listed[segment]{4, []segment{{7, st.Segments.List[0].Bytes}}}, st.Segments)
	require.Equal(t, listed[epoch]{3, []epoch{{3, 2}}}, st.LeaderEpochs)
	require.Equal(t, 1, st.OpenTxns)
	require.Equal(t, listed[producer]{3, []producer{{20, 2, 1_700_000_000_002, 2}}}, st.Producers)
	require.Equal(t, listed[aborted]{2, []aborted{{10, 1, 4}}}, st.AbortedTxns)
	require.Equal(t, listed[aborted]{2, []aborted{}}, get("?limit=0").State.AbortedTxns)
	require.Equal(t, 4, len(get("?limit=1000000").State.Segments.List))

	// An empty partition has lists, not null.
	f.topic("empty", leat.TopicConfig{})
	f.get("/topics/empty/partitions/0").is(http.StatusOK).into(&a)
	require.Equal(t, 1, a.State.Segments.Count)
	require.Equal(t, int64(-1), a.FirstUnstableOffset)
	require.NotNil(t, a.State.Producers.List)
	require.NotNil(t, a.State.AbortedTxns.List)

	for path, code := range map[string]string{
		"orders/partitions/1": "UNKNOWN_TOPIC_OR_PARTITION", "nothing/partitions/0": "UNKNOWN_TOPIC_OR_PARTITION",
		"orders/partitions/-1": "INVALID_REQUEST", "orders/partitions/4294967296": "INVALID_REQUEST", "orders/partitions/0?limit=-1": "INVALID_REQUEST",
	} {
		status := http.StatusNotFound
		if code == "INVALID_REQUEST" {
			status = http.StatusBadRequest
		}
		f.get("/topics/"+path).problem(status, code)
	}
	f.post("/topics/orders/partitions/0", asJSON, "").problem(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
}

// TestPartitionStateMany is about a partition with more segments than are told.
func TestPartitionStateMany(t *testing.T) {
	f := start(t, nil, func(l *limits) { l.records = 7 })
	rolled(t, partitionOf(t, f.topic("orders", smallSegments), 0), 300)
	var a partitionAnswer
	f.get("/topics/orders/partitions/0?limit=500").is(http.StatusOK).into(&a)
	require.Equal(t, 300, a.State.Segments.Count)
	require.Len(t, a.State.Segments.List, 7)
	require.Equal(t, a.LogEndOffset-1, a.State.Segments.List[6].BaseOffset, "the active one is told")
}
