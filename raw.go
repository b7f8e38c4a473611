package leat

import (
	"context"
	"time"

	"github.com/leatlog/leat/log"
)

// AppendResult says where batches are: what Kafka answers to a produce request.
type AppendResult struct {
	BaseOffset, LastOffset int64
	AppendTime             time.Time // of a topic with LogAppendTime, else zero
	LogStartOffset         int64
	// Duplicate: a producer sent the batch for the second time. Nothing was
	// stored, and the offsets are those of the first time.
	Duplicate bool

	partition *Partition
	log       *log.Log
	durable   int64 // to be waited for; 0: nothing
	since     int64 // the log's generation
}

// Wait returns when the durability that was asked for holds. Results may be
// waited for later, in any order, by any goroutine, or not at all: then the
// batches become durable within TopicConfig.FlushInterval.
//
// An error of ctx says nothing about the batches. ErrFailed and ErrClosed, if
// the partition failed or was closed before they were durable, leave them stored
// or not. *OffsetError: they were taken back, by TruncateTo or ResetTo.
func (r *AppendResult) Wait(ctx context.Context) error {
	if r.durable == 0 {
		return nil
	}
	return r.partition.fail(r.log.WaitDurable(ctx, r.durable, r.since))
}

// AppendBatches stores record batches that are encoded already, for a server, a
// mirror or a restore: one or more whole ones in Kafka's format, back to back.
// All of them are stored or none. They are not combined with other appends, and
// raw is neither changed nor kept.
//
// It returns when the batches are in place, and AppendResult.Wait when they are
// as durable as was asked for, so that many calls can be under way at once. With
// Synced they can be read only then.
//
// A crash before then may leave the first of several batches without the others.
//
// What a client sends has base offset 0 in every batch, which is patched, as is
// the leader epoch. It is checked as a Kafka broker does it: CRC, each record,
// offsets, keys of a compacted topic, timestamps. Batches keep their codec, unless
// TopicConfig.Compression names another; with LogAppendTime the time of the append
// is put into their headers. A batch with a producer id comes alone. Its epoch and
// sequence are checked, and a batch sent for the second time, among the last five
// of its producer, is recognised. Transactional batches are refused: there is no
// transaction coordinator yet.
//
// With AppendOptions.Follower the batches are another log's: they keep offsets
// and leader epochs, codec and timestamps, and may be control batches, of
// transactions, compacted, or larger than the topic's limit. Offsets must rise,
// from the log end offset on, and some may be missing. CRC and header are checked,
// the records are not: their leader did that.
//
// The errors to expect are ErrCorrupt (not whole batches, or a CRC that is wrong;
// no *CorruptError: nothing stored is damaged), ErrInvalidRecord (a rule for
// batches is broken), ErrInvalidTimestamp, ErrUnsupported (an old message format,
// an unknown codec), ErrRecordTooLarge (a batch for TopicConfig.MaxBatchBytes, or
// all together for SegmentBytes), *OffsetError (a follower's batches begin below
// the log end offset: Offset and End), ErrStaleEpoch, ErrOutOfOrderSequence,
// ErrFenced, ErrTxnState, ErrInvalidConfig (of o), and those of Append:
// ErrInvalidTopic too, also for Follower, as a store keeps its internal topics itself. Nothing is
// stored then, and the partition goes on, unless the error is ErrFailed.
func (p *Partition) AppendBatches(raw []byte, o AppendOptions) (*AppendResult, error) {
	l, err := p.change()
	if err != nil {
		return nil, err
	}
	if err := refuseInternal(p.topic.name); err != nil {
		return nil, err
	}
	if err := o.check(l); err != nil {
		return nil, err
	}
	r, err := l.AppendRaw(raw, log.RawOptions{
		Durability: log.Durability(o.Durability), Follower: o.Follower, Epoch: o.Epoch, Keyed: p.keyed.Load(),
	})
	p.topic.store.touch()
	if err != nil {
		return nil, p.fail(err)
	}
	a := &AppendResult{
		BaseOffset: r.BaseOffset, LastOffset: r.LastOffset, LogStartOffset: r.LogStartOffset, Duplicate: r.Duplicate,
		partition: p, log: l, durable: r.Durable, since: r.Generation,
	}
	if r.AppendTime >= 0 {
		a.AppendTime = time.UnixMilli(r.AppendTime)
	}
	return a, nil
}

// check refuses options that cannot be.
func (o *AppendOptions) check(l *log.Log) error {
	switch {
	case o.Durability > Written:
		return invalidConfig("AppendOptions.Durability is %v", o.Durability)
	case o.Epoch < 0:
		return invalidConfig("AppendOptions.Epoch is %d", o.Epoch)
	case o.Epoch != 0 && o.Follower:
		return invalidConfig("AppendOptions.Epoch is %d, and Follower keeps the epochs of the batches", o.Epoch)
	case o.Epoch != 0 && !l.ExternalEpochs():
		return invalidConfig("AppendOptions.Epoch is %d, and the topic has not left epochs to its user (ExternalEpochs)", o.Epoch)
	}
	return nil
}
