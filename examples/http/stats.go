package main

import (
	"math"
	"net/http"
	"time"

	"github.com/leatlog/leat"
)

// statsAnswer is what the page asks for every second. Counts are since the store
// was opened: the page makes rates of them.
type statsAnswer struct {
	Now        int64                `json:"now"` // ms since 1970
	Dir        string               `json:"dir"`
	Partitions int                  `json:"partitions"`
	Open       int                  `json:"open"`
	Failed     int                  `json:"failed"`
	Damaged    int                  `json:"damaged"`
	Segments   int                  `json:"segments"`
	Bytes      int64                `json:"bytes"`
	Appended   counts               `json:"appended"`
	Read       counts               `json:"read"`
	Syncs      int64                `json:"syncs"`
	Latency    map[string]durations `json:"latency"`
	Topics     []topicStats         `json:"topics"`
}

type counts struct {
	Batches int64 `json:"batches"`
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
}

// durations are a histogram. Each bucket is the longest duration in it, in
// nanoseconds (0: longer than all), and how many are not longer, so that the
// difference of two answers is the histogram of the time between.
type durations struct {
	Count   uint64      `json:"count"`
	Buckets [][2]uint64 `json:"buckets"`
}

// topicStats adds up a topic's open partitions.
type topicStats struct {
	Name       string `json:"name"`
	Partitions int32  `json:"partitions"`
	Open       int    `json:"open"`
	Bad        int    `json:"bad"` // failed or damaged
	Segments   int    `json:"segments"`
	Bytes      int64  `json:"bytes"`
	Appended   int64  `json:"appended"` // records
	Read       int64  `json:"read"`
}

func (s *server) stats(w http.ResponseWriter, r *http.Request) error {
	if err := query(r).done(); err != nil {
		return err
	}
	st := s.store.Stats()
	answer := statsAnswer{
		Now: time.Now().UnixMilli(), Dir: s.dir,
		Partitions: st.Partitions, Open: st.Open, Failed: st.Failed, Damaged: st.Damaged,
		Segments: st.Segments, Bytes: st.Bytes,
		Appended: counts(st.Appended), Read: counts(st.Read), Syncs: st.Syncs,
		Latency: map[string]durations{}, Topics: []topicStats{},
	}
	for _, t := range times(&st) {
		answer.Latency[t.name] = bucketsOf(t.of)
	}
	at := map[string]int{}
	for t := range s.store.Topics() {
		at[t.Name()] = len(answer.Topics)
		answer.Topics = append(answer.Topics, topicStats{Name: t.Name(), Partitions: t.Config().Partitions})
	}
	for i := range st.PerPartition {
		p := &st.PerPartition[i]
		n, ok := at[p.Topic]
		if !ok {
			continue // created since
		}
		t := &answer.Topics[n]
		t.Open++
		t.Segments += p.Segments
		t.Bytes += p.Bytes
		t.Appended += p.Appended.Records
		t.Read += p.Read.Records
		if p.Failed || p.Damaged {
			t.Bad++
		}
	}
	return answerJSON(w, http.StatusOK, answer)
}

func bucketsOf(h leat.Histogram) durations {
	d := durations{Count: h.Count(), Buckets: [][2]uint64{}}
	for longest, n := range h.Buckets() {
		if longest == math.MaxInt64 {
			longest = 0
		}
		d.Buckets = append(d.Buckets, [2]uint64{uint64(longest), n})
	}
	return d
}
