package main

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leatlog/leat"
)

// Collector gives Prometheus what Store.Stats says, at each scrape. It needs
// nothing else of this program: copy the file.
type Collector struct {
	// Store is what is measured. It must be open, or have been.
	Store *leat.Store
	// Totals leaves out the series of each partition: nine for every one that is
	// open, which are many where there are thousands.
	Totals bool
}

// Describe gives nothing, which makes it an unchecked collector: the series of
// partitions come and go.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect measures the store.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.Store.Stats()
	for _, m := range totals {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(&s))
	}
	for _, m := range times {
		h := m.of(&s)
		buckets := make(map[float64]uint64, len(bounds))
		for _, d := range bounds {
			buckets[d.Seconds()] = h.CountUpTo(d)
		}
		ch <- prometheus.MustNewConstHistogram(m.desc, h.Count(), h.Sum().Seconds(), buckets)
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		for _, m := range groups {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(g), label(g.Group))
		}
	}
	if c.Totals {
		return
	}
	for i := range s.PerPartition {
		p := &s.PerPartition[i]
		for _, m := range partitions {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(p), p.Topic, strconv.Itoa(int(p.Partition)))
		}
	}
}

// label is a group's name, or if that is no text, which Leat allows and Prometheus does
// not, the name in quotes.
func label(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strconv.QuoteToASCII(name)
}

// bounds are from 1 us to 17 s, powers of two of nanoseconds: those are bounds of
// leat's own buckets, so that the counts are exact.
var bounds = func() (list []time.Duration) {
	for shift := 10; shift <= 34; shift++ {
		list = append(list, 1<<shift)
	}
	return list
}()

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// metric is one number of T.
type metric[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*T) float64
}

func number[T any](kind prometheus.ValueType, name, help string, labels []string, of func(*T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc("leat_"+name, help, labels, nil), kind, of}
}

func total(kind prometheus.ValueType, name, help string, of func(*leat.Stats) float64) metric[leat.Stats] {
	return number(kind, name, help, nil, of)
}

func partition(kind prometheus.ValueType, name, help string, of func(*leat.PartitionStats) float64) metric[leat.PartitionStats] {
	return number(kind, "partition_"+name, help, []string{"topic", "partition"}, of)
}

func group(name, help string, of func(*leat.GroupStats) float64) metric[leat.GroupStats] {
	return number(gauge, "group_"+name, help, []string{"group"}, of)
}

var totals = []metric[leat.Stats]{
	total(gauge, "topics", "Topics there are.", func(s *leat.Stats) float64 { return float64(s.Topics) }),
	total(gauge, "partitions", "Partitions there are, open or not.", func(s *leat.Stats) float64 { return float64(s.Partitions) }),
	total(gauge, "open_partitions", "Partitions that have been used.", func(s *leat.Stats) float64 { return float64(s.Open) }),
	total(gauge, "failed_partitions", "Open partitions that have failed.", func(s *leat.Stats) float64 { return float64(s.Failed) }),
	total(gauge, "damaged_partitions", "Open partitions that hold damaged data.", func(s *leat.Stats) float64 { return float64(s.Damaged) }),
	total(gauge, "segments", "Segments of the open partitions.", func(s *leat.Stats) float64 { return float64(s.Segments) }),
	total(gauge, "size_bytes", "Bytes of the batches in the open partitions.", func(s *leat.Stats) float64 { return float64(s.Bytes) }),
	total(gauge, "maps", "Memory maps in use.", func(s *leat.Stats) float64 { return float64(s.Maps) }),
	total(gauge, "max_maps", "Memory maps that may be in use.", func(s *leat.Stats) float64 { return float64(s.MaxMaps) }),
	total(gauge, "open_files", "File descriptors in use.", func(s *leat.Stats) float64 { return float64(s.Files) }),
	total(counter, "appended_batches_total", "Batches appended.", func(s *leat.Stats) float64 { return float64(s.Appended.Batches) }),
	total(counter, "appended_records_total", "Records appended.", func(s *leat.Stats) float64 { return float64(s.Appended.Records) }),
	total(counter, "appended_bytes_total", "Bytes appended, as stored.", func(s *leat.Stats) float64 { return float64(s.Appended.Bytes) }),
	total(counter, "read_batches_total", "Batches read.", func(s *leat.Stats) float64 { return float64(s.Read.Batches) }),
	total(counter, "read_records_total", "Records in the batches read.", func(s *leat.Stats) float64 { return float64(s.Read.Records) }),
	total(counter, "read_bytes_total", "Bytes read, as stored.", func(s *leat.Stats) float64 { return float64(s.Read.Bytes) }),
	total(counter, "rolls_total", "Segments begun.", func(s *leat.Stats) float64 { return float64(s.Rolls) }),
	total(counter, "deleted_segments_total", "Segments deleted by retention.", func(s *leat.Stats) float64 { return float64(s.SegmentsDeleted) }),
	total(counter, "deleted_bytes_total", "Bytes deleted by retention.", func(s *leat.Stats) float64 { return float64(s.BytesDeleted) }),
	total(counter, "recoveries_total", "Partitions recovered.", func(s *leat.Stats) float64 { return float64(s.Recoveries) }),
	total(counter, "cut_bytes_total", "Bytes of torn tails, kept in quarantine files.", func(s *leat.Stats) float64 { return float64(s.BytesCut) }),
	total(counter, "damages_total", "Places found to be damaged.", func(s *leat.Stats) float64 { return float64(s.Damages) }),
}

var times = []struct {
	desc *prometheus.Desc
	of   func(*leat.Stats) leat.Histogram
}{
	{seconds("append", "How long appends took until their durability held."), func(s *leat.Stats) leat.Histogram { return s.Append }},
	{seconds("sync", "How long the disk took to make appends durable."), func(s *leat.Stats) leat.Histogram { return s.Sync }},
	{seconds("fetch", "How long it took to read a batch that was there."), func(s *leat.Stats) leat.Histogram { return s.Fetch }},
	{seconds("end_to_end", "How old batches were when a reader that waited got them."), func(s *leat.Stats) leat.Histogram { return s.EndToEnd }},
}

func seconds(what, help string) *prometheus.Desc {
	return prometheus.NewDesc("leat_"+what+"_seconds", help, nil, nil)
}

// groups has what Store.Stats has at hand. For the bytes and the age of what is yet to
// be read, call Store.Groups().Lag, which looks at the log.
var groups = []metric[leat.GroupStats]{
	group("members", "Members in this process.", func(g *leat.GroupStats) float64 { return float64(g.Members) }),
	group("partitions", "Partitions that the group has committed.", func(g *leat.GroupStats) float64 { return float64(g.Partitions) }),
	group("lag_records", "Offsets not committed, in the open ones of these partitions.", func(g *leat.GroupStats) float64 { return float64(g.Lag) }),
}

var partitions = []metric[leat.PartitionStats]{
	partition(gauge, "log_start_offset", "First offset that can be read.", func(p *leat.PartitionStats) float64 { return float64(p.LogStartOffset) }),
	partition(gauge, "last_stable_offset", "Offset below which every transaction is decided.", func(p *leat.PartitionStats) float64 { return float64(p.LastStableOffset) }),
	partition(gauge, "high_watermark", "Offset below which records are as durable as the topic demands.", func(p *leat.PartitionStats) float64 { return float64(p.HighWatermark) }),
	partition(gauge, "log_end_offset", "Offset that the next record gets.", func(p *leat.PartitionStats) float64 { return float64(p.LogEndOffset) }),
	partition(gauge, "unsynced_offsets", "Offsets that a power cut could take.", func(p *leat.PartitionStats) float64 { return float64(p.Unsynced()) }),
	partition(gauge, "segments", "Segments.", func(p *leat.PartitionStats) float64 { return float64(p.Segments) }),
	partition(gauge, "size_bytes", "Bytes of the batches.", func(p *leat.PartitionStats) float64 { return float64(p.Bytes) }),
	partition(counter, "appended_records_total", "Records appended since it was opened.", func(p *leat.PartitionStats) float64 { return float64(p.Appended.Records) }),
	partition(counter, "read_records_total", "Records read since it was opened.", func(p *leat.PartitionStats) float64 { return float64(p.Read.Records) }),
}
