package leat

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/leatlog/leat/internal/histogram"
)

// Stats is what a store is and has done, at one moment. The numbers are taken one
// after the other while others go on, so that they need not fit each other to the
// last record. What a reader has read, and what is being appended at the very
// moment, may be missing by up to 63 batches; it is in a later Stats.
//
// __metadata is left out; __consumer_offsets, which can be read, is a topic as others
// are. Counts are since Open, and never fall.
type Stats struct {
	Topics     int
	Partitions int // those of all topics, open or not
	Open       int // that have been used since Open; the numbers below are of these
	Failed     int // of these, that refuse appends until Partition.Reopen
	Damaged    int // of these, that refuse appends because what they hold is damaged
	Segments   int
	Bytes      int64 // of batches, on the disk

	Maps    int // memory maps in use; without one, reading takes a system call
	MaxMaps int // see Options
	Files   int // files that are open, each of which takes a descriptor

	Appended Counts
	// Read is what readers and fetches were given. A fetch counts as one batch, with
	// as many records as it has offsets.
	Read Counts

	Syncs           int64 // made because of appends, each of which may serve many
	Rolls           int64 // segments begun
	SegmentsDeleted int64
	BytesDeleted    int64
	Recoveries      int64 // partitions opened that had not been closed in order
	Cuts            int64 // torn tails that these have cut off
	BytesCut        int64 // kept in quarantine files
	Damages         int64 // places where data was found to be damaged
	Compactions     Compactions

	// Append is how long appends took until their durability held. Of those that do
	// not wait for the disk one in 64 is measured, and counts 64 times, unless there
	// is an Observer.Append.
	Append Histogram
	// Sync is how long the disk took.
	Sync Histogram
	// Fetch is how long it took to give a reader a batch that was there. One in 64 is
	// measured, and counts 64 times.
	Fetch Histogram
	// EndToEnd is how old a batch was when a reader was given it that had waited for
	// it: the time since its largest timestamp, which is in milliseconds, so that it
	// is up to one too long. With CreateTime and timestamps of the producer's, it is
	// by the producer's clock.
	EndToEnd Histogram

	// PerPartition are the partitions that are open, by topic and number.
	PerPartition []PartitionStats

	// Groups are the consumer groups, by name. What they have committed is not read for
	// this: it is known once a group has had a member, or somebody has asked for it.
	Groups []GroupStats
}

// PartitionStats is one partition at one moment. Start <= LastStableOffset <=
// HighWatermark <= LogEndOffset holds.
type PartitionStats struct {
	Topic     string
	Partition int32

	LogStartOffset   int64
	LastStableOffset int64
	HighWatermark    int64
	DurableEnd       int64 // below it all is on stable storage
	LogEndOffset     int64

	Segments int
	Bytes    int64 // of batches

	// Since the partition was opened, or opened again.
	Appended, Read Counts

	Failed  bool
	Damaged bool
}

// Unsynced is how many offsets a power cut could take: those between the durable
// end and the log end offset.
func (p PartitionStats) Unsynced() int64 { return p.LogEndOffset - p.DurableEnd }

// Counts are batches, the records in them, and their bytes as they are stored.
type Counts struct{ Batches, Records, Bytes int64 }

// Stats takes the store's measure. It neither opens a partition nor touches a
// file, and nobody waits for it, so that it can be called every second whatever
// the number of partitions. After Close it has the counts, and no partitions.
func (s *Store) Stats() Stats {
	var st Stats
	topics := s.topics() // by name
	st.Topics = len(topics)
	var open []*Partition
	for _, t := range topics {
		st.Partitions += t.count()
		first := len(open)
		open = t.appendOpen(open)
		slices.SortFunc(open[first:], func(a, b *Partition) int { return cmp.Compare(a.id, b.id) })
	}
	if len(open) > 0 {
		st.PerPartition = make([]PartitionStats, 0, len(open))
	}
	for _, p := range open {
		st.measure(p)
	}
	st.Maps, st.MaxMaps, st.Files = s.env.Maps().Count(), s.maxMaps, s.fsys.OpenFiles()

	st.Compactions = s.cleaner.stats(s.hasTopic)
	if !s.isClosed() {
		st.Groups = s.groupStats(topics)
	}

	n := s.env.Totals() // after the partitions, which have brought them up to date
	st.Appended, st.Read = Counts(n.Appended), Counts(n.Read)
	st.Syncs, st.Rolls = n.Syncs, n.Rolls
	st.SegmentsDeleted, st.BytesDeleted = n.SegmentsDeleted, n.Deleted.Bytes
	st.Recoveries, st.Cuts, st.BytesCut, st.Damages = n.Recoveries, n.Cuts, n.BytesCut, n.Damages
	st.Append, st.Sync, st.Fetch, st.EndToEnd = Histogram{n.Append}, Histogram{n.Sync}, Histogram{n.Fetch}, Histogram{n.EndToEnd}
	return st
}

// appendOpen appends the partitions that are open.
func (t *Topic) appendOpen(list []*Partition) []*Partition {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.mu.partitions {
		if p.log.Load() != nil {
			list = append(list, p)
		}
	}
	return list
}

// measure adds an open partition.
func (s *Stats) measure(p *Partition) {
	l := p.log.Load()
	if l == nil {
		return
	}
	n := l.Stats()
	s.Open++
	s.Segments += n.Segments
	s.Bytes += n.Bytes
	failed := n.Failed != nil && !n.Damaged
	if failed {
		s.Failed++
	}
	if n.Damaged {
		s.Damaged++
	}
	s.PerPartition = append(s.PerPartition, PartitionStats{
		Topic: p.topic.name, Partition: p.id,
		LogStartOffset: n.StartOffset, LastStableOffset: n.LastStableOffset, HighWatermark: n.HighWatermark,
		DurableEnd: n.DurableEnd, LogEndOffset: n.EndOffset,
		Segments: n.Segments, Bytes: n.Bytes, Appended: Counts(n.Appended), Read: Counts(n.Read),
		Failed: failed, Damaged: n.Damaged,
	})
}

// String is a few lines to read.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "topics %d, partitions %d (%d open, %d failed, %d damaged), segments %d, bytes %d\n",
		s.Topics, s.Partitions, s.Open, s.Failed, s.Damaged, s.Segments, s.Bytes)
	fmt.Fprintf(&b, "maps %d of %d, files %d, syncs %d, rolls %d, deleted %d segments of %d bytes\n",
		s.Maps, s.MaxMaps, s.Files, s.Syncs, s.Rolls, s.SegmentsDeleted, s.BytesDeleted)
	fmt.Fprintf(&b, "recovered %d partitions, cut off %d bytes in %d places, found %d damaged\n",
		s.Recoveries, s.BytesCut, s.Cuts, s.Damages)
	fmt.Fprintf(&b, "%v\n", s.Compactions)
	fmt.Fprintf(&b, "appended   %v\nread       %v\n", s.Appended, s.Read)
	fmt.Fprintf(&b, "append     %v\nsync       %v\nfetch      %v\nend to end %v", s.Append, s.Sync, s.Fetch, s.EndToEnd)
	return b.String()
}

// String is like "3 batches, 300 records, 31000 bytes".
func (c Counts) String() string {
	return fmt.Sprintf("%d batches, %d records, %d bytes", c.Batches, c.Records, c.Bytes)
}

// String is the partition's name and what there is to know of it, in one line.
func (p PartitionStats) String() string {
	state := ""
	switch {
	case p.Damaged:
		state = ", damaged"
	case p.Failed:
		state = ", failed"
	}
	return fmt.Sprintf("%s: offsets %d to %d, high watermark %d, last stable %d, durable %d, segments %d, bytes %d%s",
		folderName(p.Topic, p.Partition), p.LogStartOffset, p.LogEndOffset, p.HighWatermark, p.LastStableOffset,
		p.DurableEnd, p.Segments, p.Bytes, state)
}

// Histogram counts durations in buckets, each at most an eighth wider than the one
// before it is long: eight for every power of two from 64 ns to 68.7 s. The zero
// value is empty. It does not change and may be copied.
type Histogram struct{ s histogram.Snapshot }

// Count is how many durations there are.
func (h Histogram) Count() uint64 { return h.s.Count() }

// Sum is all of them together.
func (h Histogram) Sum() time.Duration { return h.s.Sum() }

// Mean is the sum by the count, 0 when there is none.
func (h Histogram) Mean() time.Duration { return h.s.Mean() }

// Quantile is a duration that the share q, from 0 to 1, of all are not longer
// than: at most an eighth too long, or 64 ns. It is 0 when there is none, and at
// most 68.7 s.
func (h Histogram) Quantile(q float64) time.Duration { return h.s.Quantile(q) }

// Buckets yields the buckets that are not empty, in order: the longest duration
// that belongs to each, and how many there are that are not longer. The first is
// math.MaxInt64 for what is longer than 68.7 s.
func (h Histogram) Buckets() iter.Seq2[time.Duration, uint64] { return h.s.Buckets() }

// CountUpTo is how many are not longer than d, which is exact where d is the bound
// of a bucket: a power of two of nanoseconds, or that and some eighths of it.
// Elsewhere the bucket that d lies in is left out.
func (h Histogram) CountUpTo(d time.Duration) uint64 { return h.s.CountUpTo(d) }

// String is like "64 times, mean 1.2ms, p50 1ms, p99 3ms, p99.9 5ms".
func (h Histogram) String() string {
	if h.Count() == 0 {
		return "never"
	}
	return fmt.Sprintf("%d times, mean %v, p50 %v, p99 %v, p99.9 %v",
		h.Count(), h.Mean(), h.Quantile(0.5), h.Quantile(0.99), h.Quantile(0.999))
}

// MarshalJSON gives count, sum, mean and some quantiles, in nanoseconds.
func (h Histogram) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Count uint64
		Sum   time.Duration
		Mean  time.Duration
		P50   time.Duration
		P90   time.Duration
		P99   time.Duration
		P999  time.Duration
	}{h.Count(), h.Sum(), h.Mean(), h.Quantile(0.5), h.Quantile(0.9), h.Quantile(0.99), h.Quantile(0.999)})
}
