package main

import (
	"bufio"
	"fmt"

	"github.com/leatlog/leat"
)

// printState shows people all that is known of a partition.
func printState(w *bufio.Writer, t *leat.Topic, p *leat.PartitionState, width int) {
	i := &p.Info
	fmt.Fprintf(w, "partition %s-%d, topic id %v\n", t.Name(), i.Partition, t.ID())
	for _, line := range []struct {
		name string
		n    int64
	}{
		{"log start offset", i.LogStartOffset},
		{"last stable offset", i.LastStableOffset},
		{"first unstable offset", p.FirstUnstableOffset},
		{"high watermark", i.HighWatermark},
		{"log end offset", i.LogEndOffset},
		{"latest epoch", int64(i.LeaderEpoch)},
		{"bytes", i.Bytes},
	} {
		fmt.Fprintf(w, "  %-23s%s\n", line.name, digits(line.n))
	}

	producers := newTable(">producer", ">epoch", ">coordinator epoch", ">last sequence", ">last offset", "last time", ">transaction since")
	for _, s := range p.Producers {
		sequence, offset := "-", "-"
		if n := len(s.Batches); n > 0 {
			sequence, offset = digits(s.Batches[n-1].LastSequence), digits(s.Batches[n-1].LastOffset)
		}
		producers.row(digits(s.ProducerID), digits(int32(s.ProducerEpoch)), digits(s.CoordinatorEpoch), sequence, offset,
			stamp(s.LastTimestamp), digits(s.CurrentTxnFirstOffset))
	}
	epochs := newTable(">epoch", ">start offset")
	for _, e := range p.LeaderEpochs {
		epochs.row(digits(e.Epoch), digits(e.StartOffset))
	}
	aborted := newTable(">producer", ">first offset", ">last offset", ">last stable offset")
	for _, a := range p.AbortedTxns {
		aborted.row(digits(a.ProducerID), digits(a.FirstOffset), digits(a.LastOffset), digits(a.LastStableOffset))
	}
	segments := newTable(">base offset", ">bytes")
	for _, s := range p.Segments {
		segments.row(digits(s.BaseOffset), digits(s.Size))
	}
	for _, part := range []struct {
		name  string
		table *table
	}{{"producers", producers}, {"leader epochs", epochs}, {"aborted transactions", aborted}, {"segments", segments}} {
		if len(part.table.rows) == 0 {
			fmt.Fprintf(w, "\nno %s\n", part.name)
			continue
		}
		fmt.Fprintf(w, "\n%s\n", part.name)
		part.table.print(w, width)
	}
}
