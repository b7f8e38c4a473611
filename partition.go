package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/log"
)

// Partition is one log of a topic. All methods may be called from many
// goroutines.
type Partition struct {
	topic *Topic
	id    int32
	keyed atomic.Bool // see Topic.keyed
	// log is nil until the partition is opened. It is set, and replaced by
	// Reopen, by whoever has put something into opening: a channel and not a
	// mutex, because opening waits for the disk.
	log     atomic.Pointer[log.Log]
	opening chan struct{}
	removed bool // with its topic; guarded by opening
	// report is of the last open, nil if there was nothing to be done; see Recover.
	report atomic.Pointer[log.Report]
}

// AppendOptions are for one append.
type AppendOptions struct {
	Durability Durability // 0: the topic's
	// Follower, for AppendBatches only, keeps base offsets and leader epochs as
	// they are in the batches.
	Follower bool
	// Epoch is the leader epoch to stamp, with ExternalEpochs only; 0: the latest.
	// One above the latest begins with this append, and is on stable storage before
	// the records can be read; one below it is ErrStaleEpoch.
	Epoch int32
}

// Topic is the topic that the partition is of.
func (p *Partition) Topic() *Topic { return p.topic }

// ID is the partition's number, from 0.
func (p *Partition) ID() int32 { return p.id }

// String is the name of the partition's folder.
func (p *Partition) String() string { return folderName(p.topic.name, p.id) }

// LogStartOffset is the offset of the earliest record that can be read. It is -1,
// as are the other offsets, when the partition cannot be opened.
func (p *Partition) LogStartOffset() int64 { return p.offset((*log.Log).LogStartOffset) }

// LastStableOffset is the offset below which every transaction is decided: what
// a ReadCommitted reader can see.
func (p *Partition) LastStableOffset() int64 { return p.offset((*log.Log).LastStableOffset) }

// HighWatermark is the offset below which records are as durable as the topic
// demands: what a ReadUncommitted reader can see.
func (p *Partition) HighWatermark() int64 { return p.offset((*log.Log).HighWatermark) }

// LogEndOffset is the offset that the next record will get.
func (p *Partition) LogEndOffset() int64 { return p.offset((*log.Log).LogEndOffset) }

func (p *Partition) offset(of func(*log.Log) int64) int64 {
	l, err := p.use()
	if err != nil {
		return -1
	}
	return of(l)
}

// Append stores records as one unit, contiguous and all or nothing, and returns
// the offset of the first when the topic's durability holds. The input is
// copied. No records are stored as nothing, with the offset that the next record
// will get.
//
// A zero Timestamp is replaced by the time of the append. Errors leave the log
// as it was, except that after ctx has ended, with ErrFailed, or with ErrClosed of
// a store that was closed meanwhile, the records may be stored or not.
//
// The errors to expect are ErrRecordTooLarge (the records do not fit one batch),
// ErrInvalidTimestamp, ErrInvalidRecord, ErrStaleEpoch, ErrNoSpace, ErrFailed (see Reopen),
// *CorruptError (the partition is damaged), ErrInvalidTopic (an internal
// topic), ErrUnknownTopic (deleted) and ErrClosed. One that is syscall.EMFILE, of a process without a descriptor left,
// has changed nothing either, and a later append may do better.
func (p *Partition) Append(ctx context.Context, records ...Record) (int64, error) {
	return p.AppendWith(ctx, AppendOptions{}, records...)
}

// AppendWith is Append with options.
func (p *Partition) AppendWith(ctx context.Context, o AppendOptions, records ...Record) (int64, error) {
	l := p.log.Load()
	if l == nil || len(records) == 0 || p.keyed.Load() || o.Durability > Written || o.Epoch != 0 || o.Follower {
		return p.appendSlow(ctx, o, asLog(records))
	}
	base, err := l.Append(ctx, asLog(records), log.Durability(o.Durability))
	p.topic.store.touch()
	if err != nil {
		return -1, p.fail(err)
	}
	return base, nil
}

func (p *Partition) appendSlow(ctx context.Context, o AppendOptions, records []log.Record) (int64, error) {
	l, err := p.change()
	if err != nil {
		return -1, err
	}
	if err := refuseInternal(p.topic.name); err != nil {
		return -1, err
	}
	if o.Follower {
		return -1, invalidConfig("AppendOptions.Follower is for AppendBatches")
	}
	if err := o.check(l); err != nil {
		return -1, err
	}
	if len(records) == 0 {
		if err := p.topic.usable(); err != nil {
			return -1, err
		}
		return l.LogEndOffset(), nil
	}
	for i := range records {
		if p.keyed.Load() && records[i].Key == nil {
			return -1, fmt.Errorf("%w: record %d of %d has no key, and %s is compacted", ErrInvalidRecord, i, len(records), p.topic.name)
		}
	}
	base, err := l.AppendAt(ctx, records, o.Epoch, log.Durability(o.Durability))
	p.topic.store.touch()
	if err != nil {
		return -1, p.fail(err)
	}
	return base, nil
}

// Sync waits until everything that was appended before it is on stable storage,
// whatever durability was asked for.
func (p *Partition) Sync(ctx context.Context) error {
	l, err := p.change()
	if err != nil {
		return err
	}
	p.topic.store.touch()
	return p.fail(l.Sync(ctx))
}

// OffsetForTime is the offset of the first record whose timestamp is t or later,
// or the high watermark if there is none.
func (p *Partition) OffsetForTime(t time.Time) (int64, error) {
	l, err := p.use()
	if err != nil {
		return -1, err
	}
	return p.offsetForTime(l, t, l.HighWatermark())
}

// offsetForTime looks in what lies below end; none is found there, end it is.
func (p *Partition) offsetForTime(l *log.Log, t time.Time, end int64) (int64, error) {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++ // a record in the millisecond of t, but before t, is not meant
	}
	offset, _, found, err := l.OffsetForTimestamp(ms)
	switch {
	case err != nil:
		return -1, p.fail(err)
	case !found || offset > end:
		return end, nil
	}
	return offset, nil
}

// OffsetForMaxTimestamp is the offset and the timestamp of the record with the
// largest timestamp, the first of them if several have it. Without any record
// the offset is -1.
func (p *Partition) OffsetForMaxTimestamp() (int64, time.Time, error) {
	l, err := p.use()
	if err != nil {
		return -1, time.Time{}, err
	}
	offset, ms, found, err := l.OffsetForMaxTimestamp()
	if err != nil || !found {
		return -1, time.Time{}, p.fail(err)
	}
	return offset, time.UnixMilli(ms), nil
}

// Reopen brings a partition back that has failed: it recovers it as an Open
// after a crash would, from what is on the disk. Other partitions are not
// touched. Open readers go on where they were, or get an *OffsetError if that is
// no longer there. A partition that has not failed is left as it is.
func (p *Partition) Reopen(ctx context.Context) (err error) {
	if p.topic.store.follow != nil {
		return ErrReadOnly
	}
	if err := p.topic.store.enter(); err != nil {
		return err
	}
	defer p.topic.store.leave()
	select {
	case p.opening <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer p.opened(&err)
	if p.topic.deleted.Load() {
		return unknownTopic(p.topic.name)
	}
	old := p.log.Load()
	if old == nil {
		_, err := p.openLocked(false)
		return err
	}
	if old.Failed() == nil || old.Damage() != nil {
		return nil
	}
	old.Abandon()
	_, err = p.openLocked(true)
	return err
}

// change is use for what writes.
func (p *Partition) change() (*log.Log, error) {
	if p.topic.store.follow != nil {
		return nil, ErrReadOnly
	}
	return p.use()
}

// use is the partition's log, opened if it is not.
func (p *Partition) use() (l *log.Log, err error) {
	if l := p.log.Load(); l != nil {
		l.Poll() // if it is another process's
		return l, nil
	}
	if err := p.topic.store.enter(); err != nil {
		return nil, err
	}
	defer p.topic.store.leave()
	defer func() { err = p.topic.store.follow.explain(p, err) }()
	p.opening <- struct{}{}
	defer p.opened(&err)
	if l := p.log.Load(); l != nil {
		return l, nil
	}
	if p.topic.deleted.Load() {
		return nil, unknownTopic(p.topic.name)
	}
	return p.openLocked(false)
}

// openLocked opens the log; the caller has filled opening. again is for a log
// that was open already, and failed.
func (p *Partition) openLocked(again bool) (*log.Log, error) {
	s, t := p.topic.store, p.topic
	folder := p.String()
	if s.follow != nil {
		return s.follow.open(p, folder)
	}
	if _, err := s.fsys.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptError{Path: s.fsys.Path(folder), Offset: -1, Err: errors.New("the folder of the partition is gone")}
	} else if err != nil {
		return nil, within(err, "open %s", folder)
	}
	if err := s.checkFolder(t, folder); err != nil {
		return nil, err
	}
	state := s.openState(t, p.id)
	if again {
		state.Clean, state.New = false, false
		state.MarksValid = state.Marks != nil
		old := p.log.Load()
		state.RecoveryPoint, state.StartOffset, state.HighWatermark = old.RecoveryPoint(), old.LogStartOffset(), old.HighWatermark()
	}
	l, report, err := log.Open(s.env, folder, t.logConfig(p.id), state)
	if err != nil {
		return nil, within(err, "open %s", folder)
	}
	s.report(folder, report)
	p.report.Store(keepReport(report))
	p.log.Store(l)
	s.found.forgetCleaned(log.TopicPartition{Topic: t.name, Partition: p.id}, l)
	s.touch()
	return l, nil
}

// opened empties the channel that openLocked's caller has filled, and then tells
// of the open: whoever is told may use the partition.
func (p *Partition) opened(err *error) {
	<-p.opening
	if l := p.log.Load(); l != nil {
		l.Recovered()
	}
	_ = p.topic.store.env.Corrupt(*err) // which the caller gets
}

// fail makes of an error of the log what the caller is told. A log is closed
// with its store, but also when its topic is deleted and while it is reopened.
func (p *Partition) fail(err error) error {
	if err == nil || !errors.Is(err, ErrClosed) {
		return err
	}
	if err := p.topic.usable(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrFailed, p)
}
