package main

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/leatlog/leat"
)

// metrics are the store's numbers in Prometheus' text format. examples/metrics has
// more of them, with Prometheus' library.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) error {
	if err := query(r).done(); err != nil {
		return err
	}
	st := s.store.Stats()
	var b bytes.Buffer
	number := func(kind, name, help string, v int64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", name, help, name, kind, name, v)
	}
	number("gauge", "leat_topics", "Topics there are.", int64(st.Topics))
	number("gauge", "leat_partitions", "Partitions there are, open or not.", int64(st.Partitions))
	number("gauge", "leat_open_partitions", "Partitions that have been used.", int64(st.Open))
	number("gauge", "leat_failed_partitions", "Open partitions that have failed.", int64(st.Failed))
	number("gauge", "leat_damaged_partitions", "Open partitions that hold damaged data.", int64(st.Damaged))
	number("gauge", "leat_segments", "Segments of the open partitions.", int64(st.Segments))
	number("gauge", "leat_size_bytes", "Bytes of the batches in the open partitions.", st.Bytes)
	number("gauge", "leat_http_streams", "Event streams under way.", int64(len(s.streams)))
	number("counter", "leat_appended_batches_total", "Batches appended.", st.Appended.Batches)
	number("counter", "leat_appended_records_total", "Records appended.", st.Appended.Records)
	number("counter", "leat_appended_bytes_total", "Bytes appended, as stored.", st.Appended.Bytes)
	number("counter", "leat_read_records_total", "Records in the batches read.", st.Read.Records)
	number("counter", "leat_read_bytes_total", "Bytes read, as stored.", st.Read.Bytes)
	for _, t := range times(&st) {
		name := "leat_" + t.name + "_seconds"
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s histogram\n", name, t.help, name)
		for shift := 10; shift <= 34; shift++ { // 1 us to 17 s: bounds of leat's own buckets, so that the counts are exact
			d := time.Duration(1) << shift
			fmt.Fprintf(&b, "%s_bucket{le=\"%g\"} %d\n", name, d.Seconds(), t.of.CountUpTo(d))
		}
		fmt.Fprintf(&b, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %g\n%s_count %d\n", name, t.of.Count(), name, t.of.Sum().Seconds(), name, t.of.Count())
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(b.Bytes())
	return nil
}

type timed struct {
	name, help string
	of         leat.Histogram
}

// times are the durations that a store measures.
func times(st *leat.Stats) []timed {
	return []timed{
		{"append", "How long appends took until their durability held.", st.Append},
		{"sync", "How long the disk took to make appends durable.", st.Sync},
		{"fetch", "How long it took to read a batch that was there.", st.Fetch},
		{"end_to_end", "How old batches were when a reader that waited got them.", st.EndToEnd},
	}
}
