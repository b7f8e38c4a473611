package leat

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/leatlog/leat/log"
)

// TopicInfo describes a topic at one moment. It is printable.
type TopicInfo struct {
	Name string
	ID   TopicID
	// Adopted topics came from elsewhere: offsets may be missing in them.
	Adopted    bool
	Config     TopicConfig
	Partitions []PartitionInfo // by number
}

// PartitionInfo describes a partition at one moment. Numbers that are not known
// are -1.
type PartitionInfo struct {
	Partition int32
	// Open says that the partition is open. Of one that is not, only what the last
	// checkpoint says is known, and the disk is not asked: Topic.Partition opens it.
	Open bool

	LogStartOffset   int64
	LastStableOffset int64
	HighWatermark    int64
	LogEndOffset     int64
	DurableEnd       int64 // below it all is on stable storage, whatever the durability
	LeaderEpoch      int32
	Segments         int
	Bytes            int64 // of batches
	// Err is why appends are refused: a *CorruptError or ErrFailed; nil if they
	// are not. In a store that is open for reading it is why the partition cannot be
	// followed.
	Err error
}

// Describe tells what there is of the topic, without opening anything.
func (t *Topic) Describe() TopicInfo {
	info := TopicInfo{Name: t.name, ID: t.id, Adopted: t.adopted, Config: t.Config()}
	for p := range t.Partitions() {
		info.Partitions = append(info.Partitions, p.Describe())
	}
	return info
}

// Describe tells what there is of the partition, without opening it.
func (p *Partition) Describe() PartitionInfo {
	l := p.log.Load()
	if l == nil {
		return p.checkpointed()
	}
	// From the end to the start, so that each is at most what the one before was,
	// however fast the log grows.
	i := PartitionInfo{Partition: p.id, Open: true, LogEndOffset: l.LogEndOffset()}
	i.HighWatermark = min(l.HighWatermark(), i.LogEndOffset)
	i.LastStableOffset = min(l.LastStableOffset(), i.HighWatermark)
	i.DurableEnd = min(l.DurableEnd(), i.LogEndOffset)
	i.LogStartOffset = l.LogStartOffset()
	i.LeaderEpoch = l.LatestEpoch()
	for _, s := range l.Segments() {
		i.Segments++
		i.Bytes += s.Size
	}
	i.Err = p.fail(l.Trouble())
	return i
}

// checkpointed is what is known of a partition that is not open.
func (p *Partition) checkpointed() PartitionInfo {
	s := p.topic.store
	i := PartitionInfo{Partition: p.id, LastStableOffset: -1, LogEndOffset: -1, LeaderEpoch: -1, Segments: -1, Bytes: -1}
	i.DurableEnd, i.LogStartOffset, i.HighWatermark = s.found.of(log.TopicPartition{Topic: p.topic.name, Partition: p.id})
	if s.clean {
		i.LogEndOffset = i.DurableEnd // it was closed there
	}
	return i
}

// String is a line for the topic and a table of its partitions.
func (i TopicInfo) String() string {
	var b strings.Builder
	kind := ""
	if i.Adopted {
		kind = " adopted"
	}
	fmt.Fprintf(&b, "%s id=%v%s %v\n", i.Name, i.ID, kind, i.Config)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "partition\tstart\tstable\twatermark\tend\tdurable\tepoch\tsegments\tbytes\t")
	for _, p := range i.Partitions {
		fmt.Fprintf(w, "%d\t", p.Partition)
		for _, n := range p.numbers() {
			fmt.Fprintf(w, "%s\t", n)
		}
		fmt.Fprintf(w, "%s\n", p.remark())
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// String is one line.
func (i PartitionInfo) String() string {
	n := i.numbers()
	return strings.TrimSpace(fmt.Sprintf("partition=%d start=%s stable=%s watermark=%s end=%s durable=%s epoch=%s segments=%s bytes=%s%s",
		i.Partition, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], i.remark()))
}

// numbers are the columns; a dash is what is not known.
func (i *PartitionInfo) numbers() [8]string {
	var out [8]string
	for k, n := range [...]int64{i.LogStartOffset, i.LastStableOffset, i.HighWatermark, i.LogEndOffset, i.DurableEnd,
		int64(i.LeaderEpoch), int64(i.Segments), i.Bytes} {
		if out[k] = "-"; n >= 0 {
			out[k] = strconv.FormatInt(n, 10)
		}
	}
	return out
}

func (i *PartitionInfo) remark() string {
	switch {
	case i.Err != nil:
		return "  " + i.Err.Error()
	case !i.Open:
		return "  not open"
	}
	return ""
}
