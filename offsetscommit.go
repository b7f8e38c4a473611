package leat

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/log"
)

// maxCommitMetadata is Kafka's offset.metadata.max.bytes.
const maxCommitMetadata = 4096

// commitOffsets commits positions for a group. It does so in an order of which a
// crash at any point leaves the old commit or the new one, and never one of records
// that are gone:
//
//  1. each partition is made durable through its position;
//  2. fence says that the caller may still commit these, and holds that;
//  3. one batch is appended to __consumer_offsets and synced;
//  4. what it says is known;
//  5. what fence returned is called: a new owner may read the offsets.
//
// So a commit of somebody who has lost a partition is refused, or lies in the log
// before what the new owner commits. fence may be nil. It must not wait for long.
//
// A position is checked: ErrUnknownTopic, ErrUnknownPartition, *OffsetError
// (negative, or beyond the high watermark), ErrMetadataTooLarge (above 4096
// bytes). It may lie below the log start offset: what was done was done. Then,
// and with what fence says, ErrNoSpace or ErrRecordTooLarge, nothing has changed. After an
// error of ctx and ErrFailed the commit may have happened or not, as a whole.
func (s *Store) commitOffsets(ctx context.Context, group string, at []Position, fence func() (release func(), err error)) error {
	if s.follow != nil {
		return ErrReadOnly
	}
	if group == "" {
		return ErrNoGroup
	}
	c := offsetsCommit{store: s, topics: make([]*Topic, len(at)), epochs: make([]int32, len(at))}
	if err := c.check(ctx, at); err != nil {
		return err
	}
	records, err := c.records(group, at)
	if err != nil {
		return err
	}
	g, l, err := s.offsetsLog(ctx, group)
	if err != nil {
		return err
	}
	if fence != nil {
		release, err := fence()
		if err != nil {
			return err
		}
		if release != nil {
			defer release()
		}
	}
	if len(at) == 0 {
		return nil
	}
	if err := s.offsets.gate.enter(ctx); err != nil {
		return err
	}
	defer s.offsets.gate.leave()
	for _, t := range c.topics {
		// Its deletion has shut the gate, or is still to do so: see
		// forgetTopicOffsets.
		if t.deleted.Load() {
			return unknownTopic(t.name)
		}
	}
	_, err = l.Append(ctx, records, log.Synced)
	s.touch()
	if err != nil {
		return g.p.fail(err)
	}
	g.tryCatchUp() // or somebody else does, before he answers anybody
	return nil
}

// offsetsLog is where a group's records go to, with the topic made if there is
// none.
func (s *Store) offsetsLog(ctx context.Context, group string) (*offsetsPartition, *log.Log, error) {
	if err := s.makeOffsetsTopic(ctx); err != nil {
		return nil, nil, err
	}
	g, err := s.offsets.of(ctx, group)
	if err != nil {
		return nil, nil, err
	}
	if g == nil {
		return nil, nil, ErrClosed
	}
	l, err := g.p.use()
	return g, l, err
}

// offsetsCommit is a commit while it is being prepared.
type offsetsCommit struct {
	store  *Store
	topics []*Topic // of each position
	epochs []int32  // of the record before it
}

// commitWait is a partition that is to be made durable.
type commitWait struct {
	p                  *Partition
	l                  *log.Log
	offset, generation int64
}

// check looks at the positions, and makes the partitions durable through them.
func (c *offsetsCommit) check(ctx context.Context, at []Position) error {
	var waits []commitWait
	for i := range at {
		w, err := c.checkOne(i, &at[i])
		if err != nil {
			return err
		}
		if w.l.DurableEnd() < w.offset {
			waits = append(waits, w)
		}
	}
	switch len(waits) {
	case 0:
		return nil
	case 1:
		return waits[0].wait(ctx)
	}
	// Side by side, since each is a sync of its own.
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, 4*runtime.GOMAXPROCS(0))
		errs  = make([]error, len(waits))
	)
	for i := range waits {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = waits[i].wait(ctx)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *commitWait) wait(ctx context.Context) error {
	return w.p.fail(w.l.WaitDurable(ctx, w.offset, w.generation))
}

func (c *offsetsCommit) checkOne(i int, at *Position) (w commitWait, err error) {
	if len(at.Metadata) > maxCommitMetadata {
		return w, fmt.Errorf("%w: %d bytes for %s, 4096 are allowed", ErrMetadataTooLarge, len(at.Metadata), folderName(at.Topic, at.Partition))
	}
	t, err := c.store.Topic(at.Topic)
	if err != nil {
		return w, err
	}
	if !t.has(at.Partition) {
		return w, unknownPartition(at.Topic, at.Partition)
	}
	p := t.handle(at.Partition)
	l, err := p.use()
	if err != nil {
		return w, err
	}
	w = commitWait{p: p, l: l, offset: at.Offset, generation: l.Generation()}
	if end := l.HighWatermark(); at.Offset < 0 || at.Offset > end {
		return w, &OffsetError{Topic: at.Topic, Partition: at.Partition, Offset: at.Offset, Start: l.LogStartOffset(), End: end}
	}
	c.topics[i], c.epochs[i] = t, l.EpochBefore(at.Offset)
	return w, nil
}

// records encodes the commit, into one piece of memory.
func (c *offsetsCommit) records(group string, at []Position) ([]log.Record, error) {
	size := 0
	for i := range at {
		size += len(group) + len(at[i].Topic) + len(at[i].Metadata) + 64
	}
	buf := make([]byte, 0, size)
	records := make([]log.Record, len(at))
	now := time.Now()
	for i := range at {
		from := len(buf)
		var err error
		buf, err = coordination.AppendOffsetKey(buf, coordination.OffsetKey{
			Version: coordination.KindOffset, Group: group, Topic: at[i].Topic, Partition: at[i].Partition,
		})
		if err != nil {
			return nil, invalidConfig("group %.40q: %v", group, err)
		}
		value := len(buf)
		buf, err = coordination.AppendOffsetValue(buf, coordination.OffsetValue{
			Version: 3, Offset: at[i].Offset, LeaderEpoch: c.epochs[i], Metadata: at[i].Metadata,
			CommitTimestamp: now.UnixMilli(), ExpireTimestamp: -1,
		})
		if err != nil {
			return nil, invalidConfig("commit of %v: %v", at[i], err)
		}
		records[i] = log.Record{Key: buf[from:value:value], Value: buf[value:len(buf):len(buf)], Timestamp: now}
	}
	return records, nil
}
