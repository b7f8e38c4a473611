package leat

import (
	"context"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/log"
)

// PartitionState is what a partition knows, beside what Describe tells.
type PartitionState struct {
	Info PartitionInfo
	// FirstUnstableOffset is where the earliest transaction began that is open, or
	// was decided by a marker not yet below the high watermark; -1: there is none.
	FirstUnstableOffset int64
	Producers           []ProducerState // by producer id (DescribeProducers)
	LeaderEpochs        []LeaderEpoch   // oldest first
	AbortedTxns         []TxnIndexEntry // in the order of their markers
	Segments            []SegmentInfo   // oldest first
}

// ProducerState is what a partition knows of one producer. A partition that was
// opened from the disk knows of its batches only the newest of the last producer
// snapshot and, up to five, those behind that. Timestamps are milliseconds since
// 1970, -1 where there is none.
type ProducerState = log.ProducerState

// LeaderEpoch says with which offset a leader epoch began.
type LeaderEpoch = log.EpochEntry

// TxnIndexEntry is an aborted transaction as the transaction index has it:
// producer, first offset, offset of its marker, and the last stable offset then.
type TxnIndexEntry = index.AbortedTxn

// SegmentInfo is a segment: its base offset, and the bytes of its batches.
type SegmentInfo = log.SegmentInfo

// State tells all that the partition knows at one moment, and opens it if it is
// not open. Appends wait while it copies what is in memory: that is microseconds,
// or milliseconds when there are thousands of producers.
//
// In a store that is open for reading, State waits for a second at most while the
// partition cannot be followed, and then tells what can be seen; Info.Err says
// why it is not more. Errors are those of Topic.Partition, and ErrClosed.
func (p *Partition) State(ctx context.Context) (*PartitionState, error) {
	l, err := p.use()
	if err != nil {
		return nil, err
	}
	s, err := l.State(ctx)
	if err != nil {
		return nil, p.fail(err)
	}
	i := PartitionInfo{
		Partition: p.id, Open: true, LogStartOffset: s.LogStartOffset, LastStableOffset: s.LastStableOffset,
		HighWatermark: s.HighWatermark, LogEndOffset: s.LogEndOffset, DurableEnd: s.DurableEnd, LeaderEpoch: s.LatestEpoch,
		Segments: len(s.Segments), Err: p.fail(l.Trouble()),
	}
	for _, segment := range s.Segments {
		i.Bytes += segment.Size
	}
	return &PartitionState{
		Info: i, FirstUnstableOffset: s.FirstUnstableOffset,
		Producers: s.Producers, LeaderEpochs: s.Epochs, AbortedTxns: s.Aborted, Segments: s.Segments,
	}, nil
}
